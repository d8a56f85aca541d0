from __future__ import annotations

from torch import Tensor, nn

from tacit.encoder import Backbone
from tacit.errors import Asked
from tacit.layers import Block, Place
from tacit.types import Count, Layout, Tokens


class Transformer(Backbone):
    """Vision transformer on the token grid of whatever it is given: patches of an image, of a series, columns of a table.

    dim: width. depth: blocks. heads: attention heads, must divide dim. The embedding is the mean of the tokens.
    """

    source = "Dosovitskiy et al. 2020, arXiv:2010.11929; positions are sine-cosine, as in MAE"
    wants = "patch"
    can = frozenset({"mask", "drop", "causal", "layers", "resize", "tokens", "unordered", "ragged", "chunk"})
    on_cpu = "tiny"
    presets = {"tiny": {"dim": 64, "depth": 2, "heads": 2}, "small": {}, "base": {"dim": 384, "depth": 12, "heads": 6}}

    def __init__(self, width: int, layout: Layout, grid: tuple[int, ...], *, dim: Count = 192, depth: Count = 6, heads: Count = 3) -> None:
        super().__init__(width, layout, grid)
        if dim % heads:
            raise Asked(f"backbone.heads={heads} does not divide backbone.dim={dim}")
        self.dim = dim
        self.inward = nn.Linear(width, dim)
        self.place = Place(dim, layout)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = self.inward(tokens.x)
        x = x + self.place(position, tokens.grid).to(x.dtype)
        outs = []
        for i, block in enumerate(self.blocks):
            x = self.after(i, block(x, None if full else tokens.valid, causal))
            outs.append(x)
        return self.norm(x), tuple(outs[-layers:]) if layers else ()
