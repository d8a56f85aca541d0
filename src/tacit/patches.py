"""Tokens and targets of anything that lies on a regular grid: images, series, audio, video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import Tokenizer, pool_valid
from tacit.losses import masked_mse
from tacit.types import Batch, Tokens


def padded(x: Tensor, cell: Sequence[int], fill: float = 0.0) -> Tensor:
    """[B, C, *S] with `fill` at the end of every axis that the cell does not divide."""
    sizes = x.shape[-len(cell) :]
    if all(s % c == 0 for s, c in zip(sizes, cell, strict=True)):
        return x
    return F.pad(x, [p for s, c in reversed(list(zip(sizes, cell, strict=True))) for p in (0, -s % c)], value=fill)


def patches(x: Tensor, cell: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """[B, C, *S] -> [B, N, C * prod(cell)] and the grid; sizes that do not divide are padded with zeros at the end."""
    rank = len(cell)
    x = padded(x, cell)
    grid = tuple(s // c for s, c in zip(x.shape[-rank:], cell, strict=True))
    for a in range(rank):
        x = x.unflatten(2 + 2 * a, (grid[a], cell[a]))
    x = x.permute(0, *[2 + 2 * a for a in range(rank)], 1, *[3 + 2 * a for a in range(rank)])
    return x.reshape(x.shape[0], math.prod(grid), -1), grid


@dataclass(frozen=True)
class Patches:
    """The values of each cell; seen is False for NaN and padding, which are never asked for."""

    values: Tensor  # [B, N, P]
    seen: Tensor  # bool [B, N, P]

    def distance(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Mean squared error of predicted [K, P] at the True cells of where [B, N]."""
        return masked_mse(predicted, self.values[where], self.seen[where])

    def each(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Mean squared error of each cell [K], in variances of the channel."""
        seen = self.seen[where].float()
        error = ((predicted.float() - self.values[where].float()).square() * seen).sum(-1)
        return error / torch.where(seen.sum(-1) > 0, seen.sum(-1), torch.nan)

    def doubt(self, predicted: Tensor, where: Tensor) -> Tensor:
        """0: a predicted value says nothing of its own error."""
        return torch.zeros(len(predicted), device=predicted.device)


class GridTokenizer(Tokenizer):
    """Patches of a grid, normalised with the data set's fixed mean and std; dense (patch 1) for convolutional backbones.

    A missing value becomes the mean. With `flag`, a further channel is 1 where it is missing.

    channels, mean, std: of the data. patch: samples per token along each axis. normalise_target: predict patches
    standardised one by one (He et al. 2021, section 4, "normalised pixels").
    """

    valued: ClassVar[bool] = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        patch: tuple[int, ...],
        *,
        dim: int = 128,
        flag: bool = False,
        normalise_target: bool = True,
    ) -> None:
        super().__init__()
        shape = (1, len(mean), *[1] * len(patch))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(shape))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(shape))
        self.patch, self.flag, self.channels, self.normalise_target = patch, flag, len(mean), normalise_target
        raw = (self.channels + flag) * math.prod(patch)
        self.project = None if math.prod(patch) == 1 else nn.Linear(raw, dim)
        self.dim = raw if self.project is None else dim

    def normalised(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def forward(self, batch: Batch) -> Tokens:
        """batch.x [B, C, *S] -> tokens [B, N, dim]."""
        x = self.normalised(batch.x)
        if batch.valid is not None:  # the last cell of an item may hold padding beside samples
            x = x.masked_fill(~batch.valid.reshape(x.shape[0], 1, *x.shape[2:]), torch.nan if self.flag else 0.0)
        sizes = x.shape[2:]
        if self.flag:
            x = padded(x, self.patch, torch.nan)
            # 0 where a value is there, so that an encoder which learns with hidden cells sees nothing new without them
            x = torch.cat([x.nan_to_num(), x.isnan().any(1, keepdim=True).to(x.dtype)], 1)
        x, grid = patches(x, self.patch)
        valid = pool_valid(batch.valid, x.shape[0], sizes, self.patch, grid, x.device)
        return Tokens(x if self.project is None else self.project(x), valid, grid)

    def target(self, batch: Batch, cell: Sequence[int], *, raw: bool = False) -> Patches:
        x = self.normalised(batch.x)
        seen = ~x.isnan()
        if batch.valid is not None:
            seen = seen & batch.valid.reshape(len(x), 1, *x.shape[2:])
        values, _ = patches(x.nan_to_num(), cell)
        known, _ = patches(seen.float(), cell)
        if self.normalise_target and not raw and math.prod(cell) > 1:  # a single sample has no spread over its cell
            count = known.sum(-1, keepdim=True).clamp(min=1)
            mean = (values * known).sum(-1, keepdim=True) / count
            var = ((values - mean).square() * known).sum(-1, keepdim=True) / count
            values = (values - mean) / (var + 1e-2).sqrt()
        return Patches(values, known > 0)

    def head(self, dim: int, cell: Sequence[int]) -> nn.Module:
        return nn.Linear(dim, self.channels * math.prod(cell))
