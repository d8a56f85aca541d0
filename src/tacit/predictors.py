"""What pretext tasks put on top of an encoder: the predictor that fills in what it did not see, decoders, prototypes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tacit.layers import Block, Place
from tacit.losses import likeness
from tacit.types import Cells, Features, Layout


class Decoder(nn.Module):
    """From one vector an item to a vector for every cell of the grid: what autoencoders see again.

    dim: width of the vector. width: width inside and out. depth: number of transformer blocks.
    """

    def __init__(self, dim: int, layout: Layout, *, width: int = 128, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.dim = width
        self.inward, self.place = nn.Linear(dim, width), Place(width, layout)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor, cells: Cells, full: bool = False) -> Tensor:
        """z [B, dim] -> [B, N, width] for every cell; full: all cells are valid (known without looking)."""
        everywhere = torch.arange(cells.valid.shape[1], device=z.device).expand(cells.valid.shape)
        x = self.inward(z)[:, None]
        x = x + self.place(everywhere, cells.grid).to(x.dtype)
        for block in self.blocks:
            x = block(x, None if full else cells.valid)
        return self.norm(x)


class Reverse(torch.autograd.Function):
    """The identity, with the gradient reversed: what follows learns to tell apart, what precedes to be mistaken.

    source: Ganin & Lempitsky 2014, arXiv:1409.7495.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


class Prototypes(nn.Module):
    """Cosine similarity to a number of learned unit vectors: [B, dim] -> [B, count]."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, dim) / dim**0.5)

    def forward(self, z: Tensor) -> Tensor:
        return likeness(z, self.weight)


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
