from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import Backbone
from tacit.errors import Asked
from tacit.layers import attend, exporting, in_windows, of_windows
from tacit.types import Count, Fraction, Layout, Tokens


class Roformer(Backbone):
    """A transformer for sequences: positions turn queries and keys, and padding costs nothing, because tokens of all items are packed.

    dim: width. depth: blocks. heads: attention heads, must divide dim. dropout: in training. window: tokens that see each other; a longer
    item is read in windows of this length. pack: False = compute padding, too.
    """

    source = "Su et al. 2021, arXiv:2104.09864 (RoFormer); packing as in Portes et al. 2023, arXiv:2312.17482, with attention by item"
    wants, ranks = "patch", frozenset({1})
    can = frozenset({"mask", "drop", "causal", "layers", "resize", "tokens", "ragged", "chunk", "dropout"})
    on_cpu = "tiny"
    presets = {"tiny": {"dim": 128, "depth": 2, "heads": 2}, "small": {}, "base": {"dim": 768, "depth": 12, "heads": 12}}

    def __init__(
        self,
        width: int,
        layout: Layout,
        grid: tuple[int, ...],
        *,
        dim: Count = 256,
        depth: Count = 4,
        heads: Count = 4,
        dropout: Fraction = 0.1,
        window: Count = 512,
        pack: bool = True,
    ) -> None:
        super().__init__(width, layout, grid)
        if dim % heads or dim // heads % 2:
            raise Asked(f"backbone.heads={heads} does not divide backbone.dim={dim} into even parts")
        self.dim, self.heads, self.window, self.pack = dim, heads, window, pack
        self.inward = nn.Linear(width, dim) if width != dim else nn.Identity()
        self.first = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(_Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        b, n = position.shape
        x, valid = tokens.x, tokens.valid
        windows = not exporting() and n > self.window
        if windows:
            x, valid, position = in_windows(self.window, x, valid, position)
            full = False
        plan = _Plan.of(valid, position, full, self.dim // self.heads, causal, self.pack and not exporting())
        h = self.first(self.inward(plan.packed(x)))
        outs = []
        for i, block in enumerate(self.blocks):
            h = self.after(i, block(h, plan))
            outs.append(h)
        kept = [plan.spread(v) for v in (self.norm(h), *(outs[-layers:] if layers else ()))]
        if windows:
            kept = of_windows(b, n, *kept)
        return kept[0], tuple(kept[1:])


@dataclass(frozen=True)
class _Plan:
    """How the tokens of a batch lie in memory.

    where: int64 [V], the tokens that exist, of all rows one after the other; None = all [B, N] as they are. rows, length: B and N.
    turn: cosine and sine of each position [B, 1, N, d / 2]. mask: who sees whom, bool [B, 1, N or 1, N]; None = all.
    """

    where: Tensor | None
    rows: int
    length: int
    turn: tuple[Tensor, Tensor]
    mask: Tensor | None
    causal: bool

    @classmethod
    def of(cls, valid: Tensor, position: Tensor, full: bool, width: int, causal: bool, pack: bool) -> _Plan:
        b, n = valid.shape
        frequency = 10_000.0 ** -(torch.arange(0, width, 2, device=valid.device) / width)
        angle = (position[..., None].float() * frequency)[:, None]
        mask = None
        if not full:
            # a row without any valid key would be NaN, so every token may look at itself
            mask = valid[:, None, None, :] | torch.eye(n, dtype=torch.bool, device=valid.device)
            mask = mask & torch.ones(n, n, dtype=torch.bool, device=valid.device).tril() if causal else mask
        where = valid.flatten().nonzero()[:, 0] if pack and not full else None
        return cls(where, b, n, (angle.cos(), angle.sin()), mask, causal)

    def packed(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [V, D], or as it is."""
        return x if self.where is None else x.flatten(0, 1)[self.where]

    def spread(self, x: Tensor) -> Tensor:
        """The inverse of `packed`, with zeros where no token is."""
        if self.where is None:
            return x
        return x.new_zeros(self.rows * self.length, x.shape[-1]).index_copy(0, self.where, x).view(self.rows, self.length, -1)

    def turned(self, x: Tensor) -> Tensor:
        """Pairs of numbers of x [B, H, N, d] turned by their position."""
        cos, sin = (v.to(x.dtype) for v in self.turn)
        a, c = x.chunk(2, -1)
        return torch.cat([a * cos - c * sin, a * sin + c * cos], -1)


class _Block(nn.Module):
    """Pre-norm block with rotary positions and a gated feed-forward part; source: Shazeer 2020, arXiv:2002.05202 (GEGLU)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        hidden = -(-8 * dim // 3 // 16) * 16
        self.up, self.down = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, plan: _Plan) -> Tensor:
        """x [V, D], or [B, N, D] where nothing is packed."""
        d = x.shape[-1]
        wide = plan.spread(self.qkv(self.norm1(x)))
        q, k, v = wide.view(plan.rows, plan.length, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = attend(plan.turned(q), plan.turned(k), v, plan.mask, plan.causal and plan.mask is None)
        x = x + self.dropout(self.out(plan.packed(a.transpose(1, 2).reshape(plan.rows, plan.length, d))))
        gate, up = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.dropout(self.down(F.gelu(gate) * up))
