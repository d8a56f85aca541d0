from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tacit.convolution import Padding, as_map, as_tokens, conv, halved, norm
from tacit.encoder import Backbone
from tacit.errors import Asked
from tacit.types import Count, Layout, Tokens

_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class _Residual(nn.Module):
    """Basic block of two 3x3 layers (ResNet-18, 34) or bottleneck of 1x1, 3x3, 1x1 (ResNet-50)."""

    def __init__(self, rank: int, width: int, inner: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out = inner * 4 if bottleneck else inner
        shape = (
            [(width, inner, 1, 1), (inner, inner, 3, stride), (inner, out, 1, 1)]
            if bottleneck
            else [(width, inner, 3, stride), (inner, out, 3, 1)]
        )
        self.steps = [s[3] for s in shape]
        self.layers = nn.ModuleList(conv(rank, *s) for s in shape)
        self.norms = nn.ModuleList(norm(rank, s[1]) for s in shape)
        self.short = nn.Sequential(conv(rank, width, out, 1, stride), norm(rank, out)) if stride > 1 or width != out else nn.Identity()

    def forward(self, x: Tensor, padding: Padding) -> Tensor:
        y = x
        for i, (layer, bn) in enumerate(zip(self.layers, self.norms, strict=True)):
            y = bn(layer(y))
            if i < len(self.layers) - 1:
                y = padding(F.relu(y), self.steps[i])
        return padding(F.relu(y + self.short(x)))


class ResNet(Backbone):
    """Residual network on grids of any rank; the stem suits the size of the items.

    depth: 18, 34 or 50. channels: width of the first stage. stem: "small" (3x3, no reduction), "large" (7x7 and max-pool,
    a reduction by 4) or "auto": large from 96 samples a side.
    """

    source = "He et al. 2015, arXiv:1512.03385; the small stem is the one usual for 32-pixel images"
    wants, can = "dense", frozenset({"mask", "resize", "ragged", "tokens"})
    presets = {"tiny": {"channels": 8}, "small": {}, "base": {"depth": 50}}

    def __init__(
        self,
        width: int,
        layout: Layout,
        grid: tuple[int, ...],
        *,
        depth: int = 18,
        channels: Count = 64,
        stem: Annotated[str, Field(pattern="^(auto|small|large)$")] = "auto",
    ) -> None:
        super().__init__(width, layout, grid)
        if depth not in _STAGES:
            raise Asked(f"backbone.depth={depth}: a ResNet has depth 18, 34 or 50")
        rank, bottleneck = layout.rank, depth >= 50
        self.large = stem == "large" or (stem == "auto" and min(grid) >= 96)
        self.stem = conv(rank, width, channels, 7 if self.large else 3, 2 if self.large else 1)
        self.stem_norm = norm(rank, channels)
        blocks, now, inner = [], channels, channels
        self.stride = 4 if self.large else 1
        for stage, count in enumerate(_STAGES[depth]):
            for i in range(count):
                step = 2 if i == 0 and stage > 0 else 1
                blocks.append(_Residual(rank, now, inner, step, bottleneck))
                now = inner * 4 if bottleneck else inner
            self.stride *= 2 if stage > 0 else 1
            inner *= 2
        self.blocks, self.dim = nn.ModuleList(blocks), now

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, padding = as_map(tokens, full)
        x = padding(F.relu(self.stem_norm(self.stem(x))), 2 if self.large else 1)
        if self.large:
            x = padding(halved(x), 2)
        for i, block in enumerate(self.blocks):
            x = padding(self.after(i, block(x, padding), 1))
        return as_tokens(x), ()
