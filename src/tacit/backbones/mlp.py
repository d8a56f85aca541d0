from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import Backbone
from tacit.types import Count, Layout, Tokens


class MLP(Backbone):
    """A perceptron that looks at the whole item at once; the natural choice for plain vectors.

    dim: width of the features. hidden: width of the hidden layers. depth: hidden layers.
    Every cell's feature is the item's plus a linear map of the cell itself, so that cells can be told apart.
    """

    wants, can = "dense", frozenset({"mask", "unordered"})
    presets = {"tiny": {"dim": 32, "hidden": 64}, "small": {}, "base": {"dim": 512, "hidden": 1024, "depth": 3}}

    def __init__(
        self, width: int, layout: Layout, grid: tuple[int, ...], *, dim: Count = 128, hidden: Count = 256, depth: Count = 2
    ) -> None:
        super().__init__(width, layout, grid)
        self.dim = dim
        widths = [width * math.prod(grid)] + [hidden] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for b in widths[1:])
        self.out, self.own = nn.Linear(hidden, dim), nn.Linear(width, dim)

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = tokens.x if full else tokens.x * tokens.valid[..., None].to(tokens.x.dtype)
        h = x.flatten(1)
        for i, (layer, bn) in enumerate(zip(self.layers, self.norms, strict=True)):
            h = self.after(i, F.relu(bn(layer(h))))
        return self.out(h)[:, None] + self.own(x), ()
