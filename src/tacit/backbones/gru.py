from __future__ import annotations

import torch
from torch import Tensor, nn

from tacit.encoder import Backbone
from tacit.types import Count, Fraction, Layout, Tokens


class GRU(Backbone):
    """A recurrent network that reads a series from its beginning to its end; one feature per time stamp.

    dim: width of the state. depth: layers. dropout: between layers, in training. It is causal by nature.
    """

    source = "Cho et al. 2014, arXiv:1406.1078"
    wants, ranks = "dense", frozenset({1})
    can = frozenset({"mask", "causal", "layers", "resize", "ragged", "tokens", "chunk"})
    presets = {"tiny": {"dim": 64}, "small": {}, "base": {"dim": 512, "depth": 3}}

    def __init__(
        self, width: int, layout: Layout, grid: tuple[int, ...], *, dim: Count = 256, depth: Count = 2, dropout: Fraction = 0.0
    ) -> None:
        super().__init__(width, layout, grid)
        self.dim = dim
        self.layers = nn.ModuleList(nn.GRU(width if i == 0 else dim, dim, batch_first=True) for i in range(depth))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, outs = tokens.x, []
        for i, layer in enumerate(self.layers):
            # padding lies at the end, so no state before it has seen any; in float32, as the recurrence adds up its errors
            with torch.autocast(x.device.type, enabled=False):
                x, _ = layer(self.dropout(x.float()) if i else x.float())
            x = self.after(i, x)
            outs.append(x)
        return x, tuple(outs[-layers:]) if layers else ()
