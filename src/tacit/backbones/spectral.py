from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tacit.convolution import Padding, conv, norm
from tacit.encoder import Backbone
from tacit.types import Count, Layout, Tokens


class Spectral(Backbone):
    """Convolutions over bands and time, then one feature for each moment that knows which band was which.

    channels: of the first layer, doubled by each, up to 4 times as many. depth: layers that halve the bands; the first `slow` of them
    halve the time too. dim: width of the features. pool: "mean", "max" or "both" over time gives the embedding.
    """

    source = "the encoder of Niizumi et al. 2021, arXiv:2103.06695 (BYOL-A); ours strides instead of pooling"
    wants, ranks = "dense", frozenset({2})
    can = frozenset({"mask", "resize", "ragged", "tokens"})
    presets = {"tiny": {"channels": 16, "dim": 64}, "small": {}, "base": {"channels": 64, "dim": 1024}}

    def __init__(
        self,
        width: int,
        layout: Layout,
        grid: tuple[int, ...],
        *,
        channels: Count = 32,
        dim: Count = 512,
        depth: Count = 3,
        slow: Annotated[int, Field(ge=0)] = 2,
        pool: Annotated[str, Field(pattern="^(mean|max|both)$")] = "both",
    ) -> None:
        super().__init__(width, layout, grid)
        tall = grid[0]
        depth = min(depth, max(1, (tall - 1).bit_length()))
        slow = min(slow, depth, max(0, (grid[1] - 1).bit_length()))
        self.steps = [(2, 2 if i < slow else 1) for i in range(depth)]
        widths = [width, *(min(channels * 2**i, 4 * channels) for i in range(depth))]
        self.stride, self.dim, self.pool, self.tall = (tall, 2**slow), dim, pool, tall
        self.layers = nn.ModuleList(conv(2, a, b, 3, s) for a, b, s in zip(widths[:-1], widths[1:], self.steps, strict=True))  # type: ignore[arg-type]
        self.norms = nn.ModuleList(norm(2, b) for b in widths[1:])
        left = tall
        for _ in range(depth):
            left = -(-left // 2)
        self.first, self.second = nn.Linear(widths[-1] * left, dim), nn.Linear(dim, dim)

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        b, _, c = tokens.x.shape
        tall, long = tokens.grid
        x = tokens.x.view(b, tall, long, c).movedim(-1, 1)
        rows = -(-tall // self.tall)
        if tall != rows * self.tall:
            x = F.pad(x, (0, 0, 0, rows * self.tall - tall))
        if rows > 1:  # more bands than in training are read in several parts
            x = x.unflatten(2, (rows, self.tall)).transpose(1, 2).flatten(0, 1)
        there = None if full else tokens.valid.view(b, tall, long)[:, 0].repeat_interleave(rows, 0)
        padding = Padding(there, (1, long))
        x = padding(x)
        for i, (layer, bn, step) in enumerate(zip(self.layers, self.norms, self.steps, strict=True)):
            x = padding(self.after(i, F.relu(bn(layer(x))), 1), step[1])
        x = x.permute(0, 3, 1, 2).flatten(2).contiguous()  # [B, T, channels * bands]
        x = F.relu(self.second(F.relu(self.first(x))))
        return (x.reshape(b, -1, x.shape[-1]) if rows > 1 else x), ()
