from __future__ import annotations

from torch import Tensor

from tacit.encoder import Backbone
from tacit.types import Layout, Tokens


class Bag(Backbone):
    """No network at all: the features are the tokens' own vectors, and the embedding is their mean. For word vectors."""

    source = "Mikolov et al. 2013, arXiv:1301.3781"
    wants = "patch"
    can = frozenset({"resize", "tokens", "unordered", "ragged", "chunk", "apart"})
    presets = {"tiny": {}, "small": {}, "base": {}}

    def __init__(self, width: int, layout: Layout, grid: tuple[int, ...]) -> None:
        super().__init__(width, layout, grid)
        self.dim = width

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = self.after(0, tokens.x)
        return x, (x,) * min(layers, 1)
