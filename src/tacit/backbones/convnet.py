from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.convolution import as_map, as_tokens, conv, norm
from tacit.encoder import Backbone
from tacit.types import Count, Layout, Tokens


class ConvNet(Backbone):
    """A few strided convolutions: thirty times faster than a ResNet-18 on small images, and the choice on a CPU.

    channels: of the first layer; each layer doubles it, up to dim. depth: number of layers. dim: width of the features.
    strides: how many layers (the last ones) halve the grid; 0 = as many as leave 2 cells a side.
    """

    wants, can = "dense", frozenset({"mask", "resize", "ragged", "tokens"})
    presets = {"tiny": {"channels": 16, "dim": 64, "depth": 3}, "small": {}, "base": {"channels": 96, "dim": 512, "depth": 5}}

    def __init__(
        self,
        width: int,
        layout: Layout,
        grid: tuple[int, ...],
        *,
        channels: Count = 64,
        dim: Count = 256,
        depth: Count = 4,
        strides: int = 0,
    ) -> None:
        super().__init__(width, layout, grid)
        rank = layout.rank
        halvings = min(depth, strides or max(0, (max(grid) - 1).bit_length() - 1))
        self.stride, self.dim = 2**halvings, dim
        widths = [width, *(min(channels * 2**i, dim) for i in range(depth - 1)), dim]
        self.steps: Sequence[int] = [1] * (depth - halvings) + [2] * halvings
        self.layers = nn.ModuleList(conv(rank, a, b, 3, s) for a, b, s in zip(widths[:-1], widths[1:], self.steps, strict=True))
        self.norms = nn.ModuleList(norm(rank, b) for b in widths[1:])

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, padding = as_map(tokens, full)
        for i, (layer, bn, step) in enumerate(zip(self.layers, self.norms, self.steps, strict=True)):
            x = padding(self.after(i, F.relu(bn(layer(x))), 1), step)
        return as_tokens(x), ()
