"""Tokens of sound itself: a stack of convolutions over samples, one token every 20 ms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import pool_valid
from tacit.patches import GridTokenizer
from tacit.types import Batch, Tokens

STEP = 0.02  # seconds


class WaveTokenizer(GridTokenizer):
    """The convolutional feature encoder of wav2vec 2.0: strides 5, 2, 2, ... until a token stands for 20 ms; each sees 25 ms.

    Tokens overlap by 5 ms, so what a hidden token held is seen in part by its neighbours, as in the paper. mean, std: of the samples.
    rate: samples a second. dim: channels (the paper's 512 are for a thousand hours).
    source: Baevski et al. 2020, arXiv:2006.11477, section 2; ours normalises every layer over its channels (the paper's large model), and
    lets each kernel begin at its token's first sample, so that lengths divide.
    """

    def __init__(self, mean: float, std: float, rate: int, *, dim: int = 128) -> None:
        strides = [5]
        product = 5
        while product * 2 <= round(rate * STEP * 1.2):
            strides.append(2)
            product *= 2
        super().__init__((mean,), (std,), (product,), dim=dim, normalise_target=False)
        self.project = None  # of plain patches
        self.dim = dim
        kernels = [10, *[3] * max(0, len(strides) - 3), *[2] * min(2, len(strides) - 1)]
        self.strides, self.kernels = strides, kernels
        widths = [1, *[dim] * len(strides)]
        self.layers = nn.ModuleList(nn.Conv1d(a, b, k, s) for a, b, k, s in zip(widths[:-1], widths[1:], kernels, strides, strict=True))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in strides)

    def forward(self, batch: Batch) -> Tokens:
        """batch.x [B, 1, T] -> tokens [B, ceil(T / patch), dim]."""
        x: Tensor = self.normalised(batch.x)
        size, there = x.shape[-1], batch.valid
        if there is None and size % self.patch[0]:
            there = torch.ones(len(x), size, dtype=torch.bool, device=x.device)
        x = F.pad(x, (0, -size % self.patch[0]))
        if there is not None:
            there = F.pad(there, (0, -size % self.patch[0]))
            x = x * there[:, None]
        for layer, norm, kernel, stride in zip(self.layers, self.norms, self.kernels, self.strides, strict=True):
            x = layer(F.pad(x, (0, kernel - stride)))
            x = F.gelu(norm(x.transpose(1, 2))).transpose(1, 2)
            if there is not None:  # what does not exist stays silent, as it is beyond the end of an item alone
                there = there[:, ::stride]
                x = x * there[:, None].to(x.dtype)
        grid = (x.shape[-1],)
        valid = pool_valid(batch.valid, len(x), (size,), self.patch, grid, x.device)
        return Tokens(x.transpose(1, 2), valid, grid)
