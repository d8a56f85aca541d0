"""What images, series and all other data on an ordered grid share: crops in any rank, frames, patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tacit.errors import Asked, CannotPair
from tacit.later import later
from tacit.modality import Modality
from tacit.types import Batch, Spec, Views, Whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tacit import augment, layers, pieces
    from tacit.encoder import Tokenizer
else:
    torch, augment, layers, pieces = later("torch"), later("tacit.augment"), later("tacit.layers"), later("tacit.pieces")

PARTS = 3  # a side, of the pretext tasks that cut an item into parts
PART = 0.85  # of a part's place that the part shows
ORDERS = 64  # of parts, at most: a larger set is no better a task (Noroozi & Favaro 2016, table 5, on ImageNet: 69)
TILE = 2 / 3  # of a side: as large as the crops that training shows


Size = Whole


def no_larger(local: int, sizes: Sequence[int]) -> int:
    """The size of local views. Raises Asked where it is larger than the item."""
    if local > min(sizes):
        raise Asked(f"modality.local={local}: local views are larger than the items ({min(sizes)} samples)", f"give at most {min(sizes)}")
    return local


class Grid(Modality):
    """Items [B, C, *S] on a grid of rank len(S).

    sizes: the training size of global views. lowest: smallest share of the item that a global view keeps (area or length).
    local: side of a local view in samples, 0 = half of the training size.
    stretch: a global view's aspect ratio is drawn from 1/stretch..stretch (rank 2 and more).
    """

    gives: ClassVar[frozenset[str]] = frozenset({"global_", "local", "weak", "plain", "crop"})
    smooth = True
    piece: ClassVar[str] = "patch"  # what a part of an item is called
    lowest: float = 0.3
    local: int = 0
    stretch: float = 4 / 3
    weakest: float = 0.7

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.sizes = tuple(spec.extra.get("size", spec.sizes))
        self.parts = PARTS ** len(self.sizes)

    def views(self, batch: Batch, want: Views, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        if not want.crop:
            return super().views(batch, want, generator, cell)
        others = super().views(batch, replace(want, crop=0), generator, cell)
        return others + self.crops(batch, want.crop, generator, cell)

    def shares(self, kind: str, want: Views) -> tuple[float, float]:
        """Smallest and largest share of an item that a view of this kind shows."""
        least = want.lowest or self.lowest
        return {"global_": (least, 1.0), "local": (min(self.lowest, least) / 4, min(self.lowest, least)), "weak": (self.weakest, 1.0)}[kind]

    def local_sizes(self, cell: Sequence[int]) -> tuple[int, ...]:
        """Size of a local view: about half of the training size, in whole cells."""
        return tuple(max(1, round((self.local or s / 2) / c)) * c for s, c in zip(self.sizes, cell, strict=True))

    def pretext(self, task: str, batch: Batch, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """permute: all parts of an item in one of some orders; relation: its middle part and a neighbour; others: see the modality."""
        if task not in ("permute", "relation"):
            raise CannotPair(f"there is no pretext task {task!r} here")
        b, rank, device = len(batch.x), len(self.sizes), generator.device
        size = self.local_sizes(cell)
        whole, span = self.place(b, (self.weakest, 1.0), generator)
        side = span / PARTS
        middle = PARTS**rank // 2

        def part(which: Tensor) -> Batch:
            """Parts with these numbers [B], a little smaller than their place and moved within it, so that no edge goes on in the next."""
            corner = whole + layers.unravel(which, (PARTS,) * rank) * side
            loose = augment.uniform(generator, (b, rank)) * (1 - PART)
            return replace(self.resample(batch, corner + loose * side, side * PART, size), frame=None)

        if task == "permute":
            orders = torch.tensor(permutations(PARTS**rank), device=device)
            answer = (augment.uniform(generator, (b,)) * len(orders)).long().clamp(max=len(orders) - 1)
            parts = [part(orders[answer, i]) for i in range(PARTS**rank)]
            return [*parts[:-1], replace(parts[-1], answer=answer)]
        others = PARTS**rank - 1
        answer = (augment.uniform(generator, (b,)) * others).long().clamp(max=others - 1)
        return [part(torch.full_like(answer, middle)), replace(part(answer + (answer >= middle)), answer=answer)]

    def place(self, b: int, share: tuple[float, float], generator: torch.Generator, stretch: float = 1.0) -> tuple[Tensor, Tensor]:
        """Random boxes: start and extent [B, r], together covering a share of the item drawn from `share`."""
        rank = len(self.sizes)
        side = augment.uniform(generator, (b, 1), *share) ** (1 / rank)
        extent = side.expand(b, rank)
        if rank > 1 and stretch > 1:
            log = torch.log(torch.tensor(stretch)).item()
            # no side longer than the item's, or less than the share would be left
            ratio = torch.exp(augment.uniform(generator, (b, 1), -log, log) / 2).clamp(side, 1 / side)
            extent = (extent * torch.cat([ratio, 1 / ratio, torch.ones(b, rank - 2, device=ratio.device)], 1)).clamp(max=1)
        start = augment.uniform(generator, (b, rank)) * (1 - extent)
        return start, extent

    def resample(self, batch: Batch, start: Tensor, extent: Tensor, size: Sequence[int], blur: Sequence[Tensor] | None = None) -> Batch:
        """Boxes of items as a batch of one size; a ragged item's frame is its own length, and no padding remains.

        start, extent: [B, r], or [1, r] where all items are cut alike. blur: a further matrix for each axis.
        """
        b, reach = batch.x.shape[0], batch.x.shape[2:]
        own: list[Tensor | int] = list(reach)
        if batch.valid is not None:
            own[-1] = _lengths(batch)
        pairs = zip(own, reach, size, strict=True)
        matrices = [augment.interpolation(start[:, a], extent[:, a], n, r, s) for a, (n, r, s) in enumerate(pairs)]
        if blur is not None:
            matrices = [torch.bmm(g, m) for g, m in zip(blur, matrices, strict=True)]
        x = batch.x
        if batch.valid is not None:
            x = x.masked_fill(~batch.valid.reshape(x.shape[0], 1, *reach), 0.0)
        gaps = self.item_bytes > 1  # what is stored in bytes has no NaN
        matrices = [m.expand(b, -1, -1) for m in matrices]
        frame = torch.stack([start, extent], -1).expand(b, -1, -1)
        return replace(batch, x=augment.apply_axes(x, matrices, gaps), valid=None, frame=frame)

    def cut_up(self, view: Batch, tokenizer: Tokenizer, most: int) -> pieces.Pieces:
        sizes = view.x.shape[2:]
        valid = torch.ones(sizes, dtype=torch.bool, device=view.x.device) if view.valid is None else view.valid[0].view(sizes)
        return pieces.blocks(valid, tokenizer.patch, most, self.piece, lambda box: self.placed(box, tuple(sizes)))

    def without(self, view: Batch, parts: pieces.Pieces, keep: Tensor, background: Tensor | None) -> Batch:
        return pieces.filled(view, parts, keep, self.emptied(view.x))

    def placed(self, box: pieces.Box, sizes: tuple[int, ...]) -> str:
        """Where a box lies, in words; sizes: of what the encoder sees."""
        return " x ".join(stretch(a, b, n) for (a, b), n in zip(box, sizes, strict=True))

    def emptied(self, x: Tensor) -> Tensor:
        """What stands in an item [1, C, *S] where a part is gone: a blur that leaves the level of a place and no shape.

        The same whatever else is gone: lines from what is left to what is left would draw the item again from parts far apart."""
        return pieces.blurred(x)

    def whole(self, batch: Batch) -> Batch:
        """The item itself at the training size; untouched where it is stored at that size."""
        return batch if tuple(batch.x.shape[2:]) == self.sizes else self.scaled(batch)

    def scaled(self, batch: Batch) -> Batch:
        """The item itself, brought to the training size whatever its own is."""
        zero = torch.zeros(1, len(self.sizes), device=batch.x.device)
        return replace(self.resample(batch, zero, zero + 1, self.sizes), frame=None)

    def tiles_of(self, batch: Batch) -> list[Batch]:
        """`tiles` crops along each axis, evenly spread, each TILE of a side long, at the training size."""
        device, rank = batch.x.device, len(self.sizes)
        extent = torch.full((1, rank), TILE, device=device)
        steps = torch.linspace(0, 1 - TILE, self.tiles).tolist() if self.tiles > 1 else [(1 - TILE) / 2] * self.tiles
        corners = itertools.product(steps, repeat=rank)
        return [self.resample(batch, torch.tensor([c], device=device), extent, self.sizes) for c in corners]

    def crops(self, batch: Batch, count: int, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """Windows that overlap in a common part, at full resolution; one length a batch, one offset an item.

        Length and offset are multiples of the cell, so that cells of different windows coincide.
        source: Yue et al. 2022, section 3.2 (random cropping), on every axis.
        """
        b, sizes, device = len(batch.x), batch.x.shape[2:], generator.device
        blocks = [max(1, s // c) for s, c in zip(sizes, cell, strict=True)]
        lengths: list[list[int]] = [[] for _ in range(count)]
        before: list[list[int]] = [[] for _ in range(count)]
        common = 0
        for n in blocks:
            draw = torch.rand(2 + 2 * count, generator=generator, device=device).tolist()
            common = min(n, 2 + int(draw[0] * (n - 1)))
            left = int(draw[1] * (n - common + 1))
            for k in range(count):
                # as in the paper, one window reaches further left and the other further right
                ahead = int(draw[2 + 2 * k] * (left + 1)) if k % 2 == 0 else 0
                behind = int(draw[3 + 2 * k] * (n - left - common + 1)) if k % 2 == 1 else 0
                lengths[k].append(common + ahead + behind)
                before[k].append(ahead)
        low = [min(-bf[a] for bf in before) for a in range(len(blocks))]
        high = [max(ln[a] - bf[a] for ln, bf in zip(lengths, before, strict=True)) for a in range(len(blocks))]
        shift = []
        for a, n in enumerate(blocks):
            room = torch.full((b,), n - (high[a] - low[a]) + 1.0, device=device)
            if batch.valid is not None and a == len(blocks) - 1:
                room = (_lengths(batch) // cell[a] - (high[a] - low[a]) + 1.0).clamp(min=1)
            shift.append((augment.uniform(generator, (b,)) * room).long() - low[a])
        out = []
        for k in range(count):
            begin = [s - bf for s, bf in zip(shift, before[k], strict=True)]
            if batch.valid is not None:
                # an item shorter than the windows together would otherwise lie wholly before the later ones
                begin[-1] = torch.minimum(begin[-1], (_lengths(batch) // cell[-1] - common).clamp(min=0))
            start = [n * c for n, c in zip(begin, cell, strict=True)]
            size = [min(n * c, s) for n, c, s in zip(lengths[k], cell, sizes, strict=True)]
            out.append(self._window(batch, start, size))
        return out

    @staticmethod
    def _window(batch: Batch, start: Sequence[Tensor], size: Sequence[int]) -> Batch:
        x, b = batch.x, len(batch.x)
        sizes = x.shape[2:]
        valid = None if batch.valid is None else batch.valid.reshape(b, *sizes)
        for axis, (s, n) in enumerate(zip(start, size, strict=True)):
            index = s[:, None] + torch.arange(n, device=x.device)
            shape = [b] + [1] * (x.ndim - 1)
            shape[2 + axis] = n
            x = x.gather(2 + axis, index.view(shape).expand(*x.shape[: 2 + axis], n, *x.shape[3 + axis :]))
            if valid is not None:
                shape = [b] + [1] * (valid.ndim - 1)
                shape[1 + axis] = n
                valid = valid.gather(1 + axis, index.view(shape).expand(*valid.shape[: 1 + axis], n, *valid.shape[2 + axis :]))
        whole = torch.tensor(sizes, device=x.device, dtype=torch.float32)
        begin = torch.stack(list(start), 1) / whole
        extent = (torch.tensor(size, device=x.device) / whole).expand(b, -1)
        return replace(batch, x=x, valid=None if valid is None else valid.flatten(1), frame=torch.stack([begin, extent], -1))


def stretch(begin: float, end: float, size: int) -> str:
    """Positions of an axis in words; begin, end: shares of it."""
    first = round(begin * size)
    last = max(first, round(end * size) - 1)
    return str(first) if first == last else f"{first} to {last}"


@cache
def permutations(n: int) -> list[list[int]]:
    """All orders of n parts, or ORDERS of them that differ in as many places as possible, chosen greedily."""
    if math.factorial(n) <= ORDERS:
        return [list(p) for p in itertools.permutations(range(n))]
    drawn = np.random.default_rng(0)
    chosen = [np.arange(n)]
    candidates = np.stack([drawn.permutation(n) for _ in range(2000)])
    apart = (candidates != chosen[0]).sum(1)
    while len(chosen) < ORDERS:
        chosen.append(candidates[int(apart.argmax())])
        apart = np.minimum(apart, (candidates != chosen[-1]).sum(1))
    return [p.tolist() for p in chosen]


def _lengths(batch: Batch) -> Tensor:
    """Samples of each item along the last axis that exist, int64 [B], at least 1."""
    assert batch.valid is not None
    return batch.valid.reshape(batch.x.shape[0], -1, batch.x.shape[-1]).any(1).sum(-1).clamp(min=1)
