"""Tokens and targets of columns that have no order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tacit.encoder import Tokenizer
from tacit.patches import Patches
from tacit.types import Batch, Tokens


class VectorTokenizer(Tokenizer):
    """One token a column: its standardised value, and whether it was observed. mean, std: one number a column."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.patch, self.dim = (1,), 2

    def forward(self, batch: Batch) -> Tokens:
        x = (batch.x - self.mean) / self.std
        tokens = torch.stack([x.nan_to_num(), (~x.isnan()).to(x.dtype)], -1)
        return Tokens(tokens, torch.ones_like(x, dtype=torch.bool), (x.shape[1],))

    def target(self, batch: Batch, cell: Sequence[int], *, raw: bool = False) -> Patches:
        x = (batch.x - self.mean) / self.std
        return Patches(x.nan_to_num()[..., None], ~x.isnan()[..., None])

    def head(self, dim: int, cell: Sequence[int]) -> nn.Module:
        return nn.Linear(dim, 1)
