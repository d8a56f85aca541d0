"""The encoder: tokenizer + mask token (if a method needs one) + backbone. It is what is trained, probed, explained and exported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.errors import CannotPair
from tacit.layers import unravel
from tacit.types import Batch, Cells, Features, Layout, Target, Tokens


class Tokenizer(nn.Module):
    """What a token is, where it sits, and what predicting it means. One per modality.

    patch: samples a token covers along each axis. dim: width of a token.
    """

    patch: tuple[int, ...]
    dim: int

    def forward(self, batch: Batch) -> Tokens:
        raise NotImplementedError

    def target(self, batch: Batch, cell: Sequence[int]) -> Target:
        """What the cells of this size held."""
        raise NotImplementedError

    def head(self, dim: int, cell: Sequence[int]) -> nn.Module:
        """From features [K, dim] to what `Target.distance` takes; raises CannotPair where such a cell cannot be predicted."""
        raise NotImplementedError


class Backbone(nn.Module):
    """From tokens to features on a grid that is `stride` times coarser.

    wants: "patch" (tokens of a patch) or "dense" (patch size 1, raw channels). can: capabilities, from
    mask, drop, causal, layers, resize, tokens, unordered, ragged. ranks: ranks of grids that it takes.
    presets: size name -> hyperparameters.
    """

    wants: ClassVar[str] = "dense"
    can: ClassVar[frozenset[str]] = frozenset()
    ranks: ClassVar[frozenset[int]] = frozenset({1, 2, 3})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    pool: str = "mean"
    stride: int = 1
    dim: int

    def __init__(self, width: int, layout: Layout, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.layout = layout

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """tokens.x [B, M, width] at cells `position` [B, M] -> features [B, M', dim] and the last `layers` of them.

        full: every token is valid, known without looking at the device.
        """
        raise NotImplementedError


class Encoder(nn.Module):
    """Tokenizer and backbone as one module.

    mask_token: create the learned token that stands for hidden cells; only for methods whose needs name "mask", because
    a parameter without a gradient breaks distributed training.
    """

    def __init__(self, tokenizer: Tokenizer, backbone: Backbone, layout: Layout, mask_token: bool = False) -> None:
        super().__init__()
        self.tokenizer, self.backbone, self.layout = tokenizer, backbone, layout
        self.dim = backbone.dim
        self.mask_token = nn.Parameter(torch.randn(tokenizer.dim) * 0.02) if mask_token else None

    @property
    def can(self) -> frozenset[str]:
        """Capabilities of the backbone."""
        return self.backbone.can

    @property
    def cell(self) -> tuple[int, ...]:
        """Samples that one feature covers, along each axis."""
        return tuple(p * self.backbone.stride for p in self.tokenizer.patch)

    def cells(self, batch: Batch) -> Cells:
        """Grid and validity of the features, known before computing them."""
        sizes = batch.x.shape[-len(self.cell) :]
        grid = tuple(-(-s // c) for s, c in zip(sizes, self.cell, strict=True))
        return Cells(grid, pool_valid(batch.valid, len(batch.x), sizes, self.cell, grid, batch.x.device))

    def target(self, batch: Batch) -> Target:
        """What the cells of this batch held."""
        return self.tokenizer.target(batch, self.cell)

    def head(self, dim: int | None = None) -> nn.Module:
        """A head from features of width `dim` (default: the encoder's own) to the target's prediction."""
        return self.tokenizer.head(dim or self.dim, self.cell)

    def each(self, views: Sequence[Batch]) -> list[Features]:
        """Features of several views, one pass for each distinct shape, in the given order."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, view in enumerate(views):
            groups.setdefault((view.stream, tuple(view.x.shape)), []).append(i)
        out: dict[int, Features] = {}
        for rows in groups.values():
            joined = self(join([views[i] for i in rows]))
            out.update(zip(rows, split(joined, [len(views[i].ids) for i in rows]), strict=True))
        return [out[i] for i in range(len(views))]

    def forward(
        self,
        batch: Batch,
        *,
        mask: Tensor | None = None,
        drop: bool = False,
        causal: bool = False,
        layers: int = 0,
        tokens: Tokens | None = None,
    ) -> Features:
        """Features of a batch.

        mask: bool [B, N] over `cells(batch)`, True = hidden. drop: hidden cells never enter the backbone (else they are
        replaced by the mask token). causal: a cell sees only earlier ones. layers: also return the last k layers.
        tokens: tokens made before, so that a method can see them too.
        """
        tokens = tokens or self.tokenizer(batch)
        cells = self.cells(batch)
        grid, valid = cells.grid, cells.valid
        b, n = valid.shape
        full = batch.valid is None
        position = torch.arange(n, device=valid.device).expand(b, n)
        if mask is not None and drop:
            seen = valid & ~mask
            kept = int(seen.sum(1).max())
            position = (~seen).to(torch.uint8).argsort(dim=1, stable=True)[:, :kept]
            valid = seen.gather(1, position)
            full = full and bool(valid.all())
            width = tokens.x.shape[-1]
            tokens = Tokens(tokens.x.gather(1, position[..., None].expand(-1, -1, width)), valid, tokens.grid)
        elif mask is not None:
            if self.mask_token is None:
                raise CannotPair("this encoder was built without a mask token", "add 'mask' to the method's needs")
            hidden = grow(mask, grid, tokens.grid)[..., None]
            tokens = replace(tokens, x=torch.where(hidden, self.mask_token.to(tokens.x.dtype), tokens.x))
        out, outs = self.backbone(tokens, position, full, causal=causal, layers=layers)
        pooled = pool(out, None if full else valid, self.backbone.pool)
        size = torch.tensor(batch.x.shape[-len(grid) :], device=out.device)
        at = (unravel(position, grid).float() + 0.5) * torch.tensor(self.cell, device=out.device) / size
        if batch.frame is not None:
            at = batch.frame[:, None, :, 0] + at * batch.frame[:, None, :, 1]
        return Features(out, pooled, position, at, valid, grid, outs)


def pool(x: Tensor, valid: Tensor | None, how: str) -> Tensor:
    """[B, N, D] -> [B, D] over valid cells: their mean or their maximum."""
    if how == "max":
        if valid is None:
            return x.amax(1)
        highest = x.masked_fill(~valid[..., None], -torch.inf).amax(1)
        return torch.where(valid.any(1, keepdim=True), highest, 0.0)  # no cell at all: zero, as the mean
    if valid is None:
        return x.mean(1)
    weight = valid[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def pool_valid(
    valid: Tensor | None, rows: int, sizes: Sequence[int], cell: Sequence[int], grid: Sequence[int], device: torch.device
) -> Tensor:
    """A cell exists where at least one of its samples does: bool [B, N]."""
    if valid is None:
        return torch.ones(rows, math.prod(grid), dtype=torch.bool, device=device)
    v = valid.reshape(rows, *sizes).float()
    v = F.pad(v, [p for s, c, g in reversed(list(zip(sizes, cell, grid, strict=True))) for p in (0, g * c - s)])
    for axis, (c, g) in enumerate(zip(cell, grid, strict=True)):
        v = v.unflatten(1 + axis, (g, c)).amax(2 + axis)
    return v.flatten(1) > 0


def grow(mask: Tensor, grid: Sequence[int], to: Sequence[int]) -> Tensor:
    """A mask over a coarse grid, repeated onto the finer grid of tokens."""
    if tuple(grid) == tuple(to):
        return mask
    m = mask.view(-1, *grid)
    for axis, (g, t) in enumerate(zip(grid, to, strict=True)):
        m = m.repeat_interleave(-(-t // g), 1 + axis).narrow(1 + axis, 0, t)
    return m.flatten(1)


def join(batches: Sequence[Batch]) -> Batch:
    """Batches of one shape as one."""
    if len(batches) == 1:
        return batches[0]

    def cat(name: str) -> Tensor | None:
        parts = [getattr(b, name) for b in batches]
        return None if any(p is None for p in parts) else torch.cat(parts)

    valid = cat("valid")
    if valid is None and any(b.valid is not None for b in batches):
        valid = torch.cat([b.valid if b.valid is not None else torch.ones_like(b.x[:, 0], dtype=torch.bool) for b in batches])
    x, ids = (torch.cat([getattr(b, name) for b in batches]) for name in ("x", "ids"))
    frame, answer, label, group = (cat(name) for name in ("frame", "answer", "label", "group"))
    return Batch(x, ids, valid, frame, answer, label, group, batches[0].stream)


def split(features: Features, counts: Sequence[int]) -> list[Features]:
    """The inverse of `join`, on features."""
    fields = [f.split(list(counts)) for f in (features.tokens, features.pooled, features.position, features.at, features.valid)]
    layers = [layer.split(list(counts)) for layer in features.layers]
    return [
        Features(t, p, n, a, v, features.grid, tuple(layer[i] for layer in layers))
        for i, (t, p, n, a, v) in enumerate(zip(*fields, strict=True))
    ]


def match(f: Features, g: Features) -> tuple[Tensor, Tensor]:
    """For each cell of f, the nearest cell of g in the item's frame; g must have all cells of its grid.

    Returns index int64 [B, M] into g's cells, and ok bool [B, M], True where it is nearer than half a cell of f.
    """
    ok, index = f.valid, torch.zeros_like(f.position)
    for axis, n in enumerate(g.grid):
        first, last = g.at[:, :1, axis], g.at[:, -1:, axis]
        pitch = (last - first) / (n - 1) if n > 1 else torch.ones_like(first)
        at = f.at[..., axis]
        own = (at.amax(1, keepdim=True) - at.amin(1, keepdim=True)) / max(1, f.grid[axis] - 1)
        near = ((at - first) / pitch).round().clamp(0, n - 1)
        ok = ok & ((at - first - near * pitch).abs() <= torch.where(own > 0, 0.51 * own, 1e-4))
        index = index * n + near.long()
    return index, ok & g.valid.gather(1, index)


def build(
    tokenizer_of: Any, backbone: type[Backbone], layout: Layout, sizes: Sequence[int], needs: frozenset[str], knobs: Mapping[str, Any]
) -> Encoder:
    """Assemble an encoder and check that its backbone can what the method and the data need.

    tokenizer_of: dense -> Tokenizer. needs: the method's, plus "ragged"/"unordered" from the data.
    Raises CannotPair, naming backbones that would do.
    """
    lacking = sorted((needs - {"labels"}) - backbone.can)
    if layout.rank not in backbone.ranks:
        lacking.append(f"rank-{layout.rank} grids")
    if not layout.ordered and "unordered" not in backbone.can:
        lacking.append("unordered columns")
    if lacking:
        raise CannotPair(f"backbone {backbone.__name__.lower()} cannot: {', '.join(lacking)}", _alternatives(needs, layout))
    tokenizer = tokenizer_of(backbone.wants == "dense")
    grid = tuple(-(-s // p) for s, p in zip(sizes, tokenizer.patch, strict=True))
    return Encoder(tokenizer, backbone(tokenizer.dim, layout, grid, **knobs), layout, "mask" in needs)


def _alternatives(needs: frozenset[str], layout: Layout) -> str:
    from tacit import registry

    fits = []
    for name in registry.names("backbones"):
        b = registry.find("backbones", name)
        if needs - {"labels"} <= b.can and layout.rank in b.ranks and (layout.ordered or "unordered" in b.can):
            fits.append(name)
    return f"backbones that can: {', '.join(fits)}" if fits else "no backbone can; choose another method"
