"""Heads that see cells: the predictor that fills in what an encoder did not see."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tacit.layers import Block, Place
from tacit.types import Cells, Features, Layout


class Predictor(nn.Module):
    """From the features of the seen cells to a vector for every cell of the grid.

    It owns its positions, so that a hidden table column or patch keeps its identity.

    dim: width of the incoming features. width: width inside and out. depth: number of transformer blocks.
    source: the decoder of He et al. 2021, arXiv:2111.06377.
    """

    def __init__(self, dim: int, layout: Layout, *, width: int = 128, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.dim = width
        self.inward = nn.Linear(dim, width)
        self.mask = nn.Parameter(torch.randn(width) * 0.02)
        self.place = Place(width, layout)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, seen: Features, cells: Cells, full: bool = False) -> Tensor:
        """[B, N, width] for every cell of `cells`; full: all cells are valid (known without looking)."""
        b, n = cells.valid.shape
        known = torch.where(seen.valid[..., None], self.inward(seen.tokens), self.mask)
        x = self.mask.to(known.dtype).expand(b, n, -1).clone()
        x = x.scatter(1, seen.position[..., None].expand_as(known), known)
        everywhere = torch.arange(n, device=x.device).expand(b, n)
        x = x + self.place(everywhere, cells.grid).to(x.dtype)
        for block in self.blocks:
            x = block(x, None if full else cells.valid)
        return self.norm(x)
