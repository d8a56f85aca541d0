"""The encoder: tokenizer + mask token (if a method needs one) + backbone. It is what is trained, probed, explained and exported."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tacit.errors import CannotPair
from tacit.layers import unravel
from tacit.types import LABELS, OF_DATA, Batch, Cells, Features, Layout, Target, Tokens


class Tokenizer(nn.Module):
    """What a token is, where it sits, and what predicting it means. One per modality.

    patch: samples a token covers along each axis. dim: width of a token. nats: a surprise of its targets is minus a log-probability.
    draws: it can say what a prediction would look like (`drawn`). reach: cells before its own that a token shows, too.
    valued: its targets hold numbers of one kind.
    """

    nats: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    valued: ClassVar[bool] = False
    reach: int = 0

    patch: tuple[int, ...]
    dim: int

    def forward(self, batch: Batch) -> Tokens:
        raise NotImplementedError

    def target(self, batch: Batch, cell: Sequence[int], *, raw: bool = False) -> Target:
        """What the cells of this size held; raw: as it is, without whatever the modality does to make it a better task."""
        raise NotImplementedError

    def spoil(self, x: Tensor, noise: float, holes: float, generator: torch.Generator) -> Tensor:
        """A noisy copy of values [B, C, ...] with holes that hold the batch's mean; what is missing stays missing.

        noise: in standard deviations of the channel. holes: share of the values.
        """
        channels = x.transpose(0, 1).flatten(1)  # [C, B * ...]
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean = channels.nanmean(1, keepdim=True)
        std = (channels - mean).square().nanmean(1).sqrt().nan_to_num().view(shape)
        noisy = x + torch.randn(x.shape, generator=generator, device=x.device) * std * noise
        gone = (torch.rand(x.shape, generator=generator, device=x.device) < holes) & ~x.isnan()
        return torch.where(gone, mean.nan_to_num().view(shape), noisy)

    def commonness(self, batch: Batch) -> Tensor | None:
        """How common the content of each token is in the training data, its share [B, N]; None = nobody counted."""
        return None

    def alone(self) -> Tokenizer:
        """Another tokenizer of this kind, whose tokens show their own cells only."""
        return copy.deepcopy(self)

    def units(self, batch: Batch) -> Tensor | None:
        """The number of the unit (of text: the word) that each token belongs to, int64 [B, N]; None = each is its own."""
        return None

    def drawn(self, batch: Batch, predicted: Tensor, where: Tensor, generator: torch.Generator) -> Batch:
        """The batch with the cells of where [B, N] drawn from what a head predicts there [K, ...]; only where `draws`."""
        raise NotImplementedError

    def head(self, dim: int, cell: Sequence[int]) -> nn.Module:
        """From features [K, dim] to what `Target.distance` takes; raises CannotPair where such a cell cannot be predicted."""
        raise NotImplementedError


class Backbone(nn.Module):
    """From tokens to features on a grid that is `stride` times coarser.

    wants: "patch" (tokens of a patch) or "dense" (patch size 1, raw channels). can: capabilities, from
    mask, drop, causal, layers, resize, tokens, unordered, ragged, chunk. ranks: ranks of grids that it takes.
    stride: of all axes, or of each. presets: size name -> hyperparameters; on_cpu: the size that a CPU trains fast enough.
    between: what changes the activations after a layer, in training (Deep Augmentation). paired: the rows of this pass are several
    views of the same items, one after the other; it changes nothing elsewhere.
    """

    wants: ClassVar[str] = "dense"
    can: ClassVar[frozenset[str]] = frozenset()
    ranks: ClassVar[frozenset[int]] = frozenset({1, 2, 3})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    on_cpu: ClassVar[str] = "small"
    pool: str = "mean"
    stride: int | tuple[int, ...] = 1
    dim: int
    paired: bool = False

    def __init__(self, width: int, layout: Layout, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.layout = layout
        self.between: Callable[[int, Tensor, int], Tensor] | None = None

    def after(self, layer: int, x: Tensor, axis: int = -1) -> Tensor:
        """What the next layer sees of the activations x [B, ...] of layer 0, 1, ...; every backbone calls it after each layer.

        axis: where the channels are.
        """
        return x if self.between is None or not (self.training and self.paired) else self.between(layer, x, axis)

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
    a parameter without a gradient breaks distributed training. chunk: rows that pass the network at once in training, 0 = all; their
    activations are computed again on the way back, so that memory depends on the chunk and the loss sees the whole batch
    (gradient caching, Gao et al. 2021, arXiv:2101.06983). causal: a cell sees only earlier ones, in training and afterwards; for
    methods whose needs name "causal".
    """

    chunk: int = 0
    # of this step's views, while several methods look at the same ones
    memo: dict[tuple[int, ...], tuple[tuple[Batch, ...], list[Features]]] | None = None

    def __init__(self, tokenizer: Tokenizer, backbone: Backbone, layout: Layout, mask_token: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
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
        return tuple(p * s for p, s in zip(self.tokenizer.patch, self.strides, strict=True))

    @property
    def strides(self) -> tuple[int, ...]:
        """Tokens that one feature covers, along each axis."""
        stride = self.backbone.stride
        return stride if isinstance(stride, tuple) else (stride,) * len(self.tokenizer.patch)

    def cells(self, batch: Batch) -> Cells:
        """Grid and validity of the features, known before computing them."""
        sizes = batch.x.shape[-len(self.cell) :]
        grid = tuple(-(-s // c) for s, c in zip(sizes, self.cell, strict=True))
        return Cells(grid, pool_valid(batch.valid, batch.x.shape[0], sizes, self.cell, grid, batch.x.device))

    def target(self, batch: Batch, *, raw: bool = False) -> Target:
        """What the cells of this batch held; raw: as it is."""
        return self.tokenizer.target(batch, self.cell, raw=raw)

    def cut(self, values: Tensor, most: int = 4) -> Tensor:
        """A dense answer [B, K, *S] cut into cells: [B, N, parts, K], means over at most `most` parts along each axis of a cell."""
        rank, parts = len(self.cell), parts_of(self.cell, most)
        part = [c // p for c, p in zip(self.cell, parts, strict=True)]
        pooled = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1](values, part, ceil_mode=True)
        grid = [-(-s // c) for s, c in zip(values.shape[2:], self.cell, strict=True)]
        pooled = F.pad(pooled, [p for g, n, s in reversed(list(zip(grid, parts, pooled.shape[2:], strict=True))) for p in (0, g * n - s)])
        for a in range(rank):
            pooled = pooled.unflatten(2 + 2 * a, (grid[a], parts[a]))
        order = [0, *[2 + 2 * a for a in range(rank)], *[3 + 2 * a for a in range(rank)], 1]
        return pooled.permute(order).reshape(len(values), math.prod(grid), math.prod(parts), -1)

    def head(self, dim: int | None = None) -> nn.Module:
        """A head from features of width `dim` (default: the encoder's own) to the target's prediction."""
        return self.tokenizer.head(dim or self.dim, self.cell)

    def each(self, views: Sequence[Batch]) -> list[Features]:
        """Features of several views, one pass for each distinct shape, in the given order."""
        key = tuple(map(id, views))
        if self.memo is not None and key in self.memo:
            return self.memo[key][1]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, view in enumerate(views):
            groups.setdefault((view.stream, tuple(view.x.shape)), []).append(i)
        out: dict[int, Features] = {}
        for rows in groups.values():
            self.backbone.paired = len(rows) > 1
            try:
                joined = self(join([views[i] for i in rows]))
            finally:
                self.backbone.paired = False
            out.update(zip(rows, split(joined, [len(views[i].ids) for i in rows]), strict=True))
        features = [out[i] for i in range(len(views))]
        if self.memo is not None:
            self.memo[key] = (tuple(views), features)  # the views too: an id is a name only while its object lives
        return features

    def forward(
        self,
        batch: Batch,
        *,
        mask: Tensor | None = None,
        drop: bool = False,
        layers: int = 0,
        tokens: Tokens | None = None,
        kept: int = 0,
    ) -> Features:
        """Features of a batch.

        mask: bool [B, N] over `cells(batch)`, True = hidden. drop: hidden cells never enter the backbone (else they are
        replaced by the mask token). layers: also return the last k layers.
        tokens: tokens made before, so that a method can see them too. kept: cells left by `drop`, 0 = those of the fullest row.
        """
        if self.chunk and self.training and torch.is_grad_enabled() and len(batch.ids) > self.chunk:
            return self._chunked(batch, mask, tokens, drop=drop, layers=layers)
        tokens = tokens or self.tokenizer(batch)
        cells = self.cells(batch)
        grid, valid = cells.grid, cells.valid
        b, n = valid.shape
        full = batch.valid is None
        position = torch.arange(n, device=valid.device).expand(b, n)
        if mask is not None and drop:
            seen = valid & ~mask
            kept = kept or int(seen.sum(1).max())
            position = (~seen).to(torch.uint8).argsort(dim=1, stable=True)[:, :kept]
            valid = seen.gather(1, position)
            full = full and bool(valid.all())
            width = tokens.x.shape[-1]
            weight = None if tokens.weight is None else tokens.weight.gather(1, position)
            tokens = Tokens(tokens.x.gather(1, position[..., None].expand(-1, -1, width)), valid, tokens.grid, weight)
        elif mask is not None:
            if self.mask_token is None:
                raise CannotPair("this encoder was built without a mask token", "add 'mask' to the method's needs")
            hidden = grow(mask, grid, tokens.grid, self.strides)[..., None]
            # how common a hidden token is would give it away
            weight = None if tokens.weight is None else tokens.weight.masked_fill(hidden[..., 0], 0.0)
            tokens = replace(tokens, x=torch.where(hidden, self.mask_token.to(tokens.x.dtype), tokens.x), weight=weight)
        out, outs = self.backbone(tokens, position, full, causal=self.causal, layers=layers)
        weight = tokens.weight if set(self.strides) == {1} else None
        pooled = pool(out, None if full else valid, self.backbone.pool, weight)
        size = torch.tensor(batch.x.shape[-len(grid) :], device=out.device)
        at = (unravel(position, grid).float() + 0.5) * torch.tensor(self.cell, device=out.device) / size
        if batch.frame is not None:
            at = batch.frame[:, None, :, 0] + at * batch.frame[:, None, :, 1]
        return Features(out, pooled, position, at, valid, grid, outs)

    def _chunked(self, batch: Batch, mask: Tensor | None, tokens: Tokens | None, **options: Any) -> Features:
        """`forward` in chunks of rows, each computed again when its gradient is needed."""
        parts, kept = [], 0
        if mask is not None and options["drop"]:  # every chunk keeps as many cells as the fullest row of the batch
            kept = int((self.cells(batch).valid & ~mask).sum(1).max())
        for i in range(0, len(batch.ids), self.chunk):
            rows = slice(i, i + self.chunk)
            part = replace(batch, **{k: v[rows] for k in ROWS if (v := getattr(batch, k)) is not None})
            cut = None if mask is None else mask[rows]
            own = None
            if tokens is not None:
                own = Tokens(tokens.x[rows], tokens.valid[rows], tokens.grid, None if tokens.weight is None else tokens.weight[rows])

            def run(part: Batch = part, cut: Tensor | None = cut, own: Tokens | None = own) -> tuple[Any, ...]:
                before, self.chunk = self.chunk, 0
                try:
                    f = self.forward(part, mask=cut, tokens=own, kept=kept, **options)
                finally:
                    self.chunk = before
                return f.tokens, f.pooled, f.position, f.at, f.valid, f.grid, f.layers

            parts.append(Features(*checkpoint(run, use_reentrant=False)))

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(f, name) for f in parts])

        outs = tuple(torch.cat(layer) for layer in zip(*(f.layers for f in parts), strict=True))
        features, pooled, position, at, valid = (joined(name) for name in ("tokens", "pooled", "position", "at", "valid"))
        return Features(features, pooled, position, at, valid, parts[0].grid, outs)


def parts_of(cell: Sequence[int], most: int = 4) -> tuple[int, ...]:
    """Into how many equal parts a cell is cut along each axis: as many as divide it, at most `most`."""
    return tuple(max(d for d in range(1, most + 1) if c % d == 0) for c in cell)


ROWS = ("x", "ids", "valid", "frame", "answer", "label", "group")


def pool(x: Tensor, valid: Tensor | None, how: str, weights: Tensor | None = None) -> Tensor:
    """[B, N, D] -> [B, D] over valid cells: their mean, weighted if there are weights [B, N], their maximum, or the sum of both."""
    if how == "both":
        return pool(x, valid, "mean") + pool(x, valid, "max")
    if how == "max":
        if valid is None:
            return x.amax(1)
        highest = x.masked_fill(~valid[..., None], -torch.inf).amax(1)
        return torch.where(valid.any(1, keepdim=True), highest, 0.0)  # no cell at all: zero, as the mean
    if weights is not None:
        weights = weights if valid is None else weights * valid
        return torch.einsum("bnd,bn->bd", x, (weights / weights.sum(1, keepdim=True).clamp(min=1e-9)).to(x.dtype))
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


def grow(mask: Tensor, grid: Sequence[int], to: Sequence[int], stride: Sequence[int]) -> Tensor:
    """A mask over a coarse grid, repeated onto the finer grid of tokens, `stride` times along each axis; the last cell may be cut off."""
    if tuple(grid) == tuple(to):
        return mask
    m = mask.view(-1, *grid)
    for axis, (t, s) in enumerate(zip(to, stride, strict=True)):
        m = m.repeat_interleave(s, 1 + axis).narrow(1 + axis, 0, t)
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
    tokenizer = tokenizer_of(backbone.wants == "dense")
    if "order" in needs and not layout.ordered:
        raise CannotPair("this method reads cells one after the other, and these have no order", "use denoising or simclr")
    if "symbols" in needs and not tokenizer.draws:
        raise CannotPair("this method replaces symbols, and these cells hold none that could be drawn", "use denoising or simclr")
    if "values" in needs and not tokenizer.valued:
        raise CannotPair(
            "this method sorts cells by the numbers that they hold, and these hold symbols or several kinds", "use mlm or vime"
        )
    needs = needs - LABELS - OF_DATA
    lacking = sorted(needs - backbone.can)
    if "causal" in needs and not layout.ordered:
        lacking.append("an order of the columns, which have none")
    if layout.rank not in backbone.ranks:
        lacking.append(f"rank-{layout.rank} grids")
    if not layout.ordered and "unordered" not in backbone.can:
        lacking.append("unordered columns")
    if lacking:
        raise CannotPair(f"backbone {backbone.__name__.lower()} cannot: {', '.join(lacking)}", _alternatives(needs, layout))
    if tokenizer.reach and needs & {"mask", "drop"}:
        raise CannotPair("a token shows the one before it, too, which this method hides", "set modality.pairs=0, or use word2vec or simclr")
    grid = tuple(-(-s // p) for s, p in zip(sizes, tokenizer.patch, strict=True))
    return Encoder(tokenizer, backbone(tokenizer.dim, layout, grid, **knobs), layout, "mask" in needs, "causal" in needs)


def _alternatives(needs: frozenset[str], layout: Layout) -> str:
    from tacit import registry

    fits = []
    for name, b in registry.every("backbones").items():
        order = layout.ordered or ("unordered" in b.can and "causal" not in needs)
        if needs <= b.can and layout.rank in b.ranks and order:
            fits.append(name)
    return f"backbones that can: {', '.join(fits)}" if fits else "no backbone can; choose another method, such as simclr"
