"""Low-rank adapters: the pretrained matrices stay, a small product is learned beside each, and is added into it at the end."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """A matrix plus the product of two thin ones; kernels count as matrices [out, in * ...].

    source: Hu et al. 2021, arXiv:2106.09685, equation 3, with alpha = 2 x rank.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.down = nn.Parameter(torch.randn(rank, columns) / math.sqrt(columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + 2.0 * (self.up @ self.down).view(weight.shape)


def adapt(module: nn.Module, rank: int, stay: Collection[str] = ()) -> int:
    """Put an adapter beside every matrix and kernel, and freeze everything else; the number of adapters. stay: parameters without one."""
    module.requires_grad_(False)
    every = [(path, part, name, p) for path, part in module.named_modules() for name, p in list(part.named_parameters(recurse=False))]
    wanted = [(part, name) for path, part, name, p in every if p.ndim >= 2 and f"{path}.{name}".removeprefix(".") not in stay]
    wanted = [(part, name) for part, name in wanted if min(getattr(part, name).shape[0], getattr(part, name)[0].numel()) > 1]
    for part, name in wanted:
        parametrize.register_parametrization(part, name, LowRank(getattr(part, name), rank))
    return len(wanted)


def merge(module: nn.Module) -> None:
    """Add the adapters into their matrices: the network has its own architecture again."""
    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[arg-type, union-attr]
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    module.requires_grad_(True)
