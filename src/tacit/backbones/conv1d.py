from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tacit.encoder import Backbone
from tacit.layers import exporting
from tacit.types import Count, Fraction, Layout, Tokens


class _Dilated(nn.Module):
    """GELU, convolution, GELU, convolution, and a residual; position-wise in everything else, so padding stays padding."""

    def __init__(self, width: int, out: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, out, 3, dilation=dilation)
        self.second = nn.Conv1d(out, out, 3, dilation=dilation)
        self.short = nn.Conv1d(width, out, 1) if width != out else nn.Identity()

    def forward(self, x: Tensor, keep: Tensor | None, causal: bool) -> Tensor:
        y = x
        for layer in (self.first, self.second):
            y = F.gelu(y)
            y = _convolve(layer, y if keep is None else y * keep, causal)
        return self.short(x) + y


def _convolve(layer: nn.Conv1d, x: Tensor, causal: bool) -> Tensor:
    """Dilated convolution of [B, C, T] to the same length."""
    reach = layer.dilation[0]
    if not exporting() and reach >= x.shape[-1]:  # the other taps would read nothing but padding
        tap = 2 if causal else 1
        return F.conv1d(x, layer.weight[:, :, tap : tap + 1], layer.bias)
    if causal:
        return F.conv1d(F.pad(x, (2 * reach, 0)), layer.weight, layer.bias, dilation=reach)
    return F.conv1d(x, layer.weight, layer.bias, padding=reach, dilation=reach)


class Conv1d(Backbone):
    """Dilated convolutions over time that keep its full resolution, one feature per time stamp.

    hidden: width inside. dim: width of the features. depth: residual blocks; block i has dilation 2**i.
    dropout: on the features, in training. pool: "max" or "mean" over time gives the embedding.
    """

    source = "the encoder of Yue et al. 2022, arXiv:2106.10466"
    wants, ranks = "dense", frozenset({1})
    can = frozenset({"mask", "causal", "layers", "resize", "ragged", "tokens", "chunk"})
    presets = {"tiny": {"hidden": 16, "dim": 32, "depth": 3}, "small": {}, "base": {"hidden": 128, "dim": 512}}

    def __init__(
        self,
        width: int,
        layout: Layout,
        grid: tuple[int, ...],
        *,
        hidden: Count = 64,
        dim: Count = 320,
        depth: Count = 10,
        dropout: Fraction = 0.1,
        pool: Annotated[str, Field(pattern="^(max|mean)$")] = "max",
    ) -> None:
        super().__init__(width, layout, grid)
        self.dim, self.pool = dim, pool
        self.inward = nn.Linear(width, hidden)
        widths = [hidden] * (depth + 1) + [dim]
        self.blocks = nn.ModuleList(_Dilated(a, b, 2**i) for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True)))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = self.inward(tokens.x).transpose(1, 2)
        keep = None if full else tokens.valid[:, None].to(x.dtype)
        outs = []
        for i, block in enumerate(self.blocks):
            x = self.after(i, block(x, keep, causal), 1)
            outs.append(x)
        last = [o.transpose(1, 2) for o in outs[-layers:]] if layers else []
        return self.dropout(x.transpose(1, 2)), tuple(last)
