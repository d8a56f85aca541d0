"""Vectors of past steps: more negatives, neighbours or assignments than a batch holds, kept through a resume."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tacit.gather import everyone


class Queue(nn.Module):
    """The last `size` rows that were pushed; buffers of fixed shape, so a checkpoint carries them.

    size: rows kept. dim: their width.
    """

    rows: Tensor
    ids: Tensor
    pushed: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("ids", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    @property
    def filled(self) -> Tensor:
        """bool [size]: rows that hold something."""
        return torch.arange(len(self.rows), device=self.rows.device) < self.pushed

    @torch.no_grad()
    def push(self, z: Tensor, ids: Tensor | None = None) -> None:
        """Put rows z [B, D] of all processes (and which items they are) in the place of the oldest ones."""
        z = everyone(z.detach().float())
        own = everyone(ids) if ids is not None else torch.full((len(z),), -1, dtype=torch.int64, device=z.device)
        z, own = z[-len(self.rows) :], own[-len(self.rows) :]
        place = (self.pushed + torch.arange(len(z), device=z.device)) % len(self.rows)
        self.rows[place], self.ids[place] = z, own
        self.pushed += len(z)
