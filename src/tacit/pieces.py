"""The parts of one item that an explanation tells apart, and copies of the item without some of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.types import Batch

Box = tuple[tuple[float, float], ...]  # start and end along each axis of what the encoder sees, as shares of it


@dataclass(frozen=True)
class Pieces:
    """of: int64 [*S], the piece of every position of what the encoder sees of the item, -1 = of none (padding).

    names: of each piece, in the data's own words. kind: what a piece is called. boxes: where each piece lies, () = it has no place.
    """

    of: Tensor
    names: tuple[str, ...]
    kind: str
    boxes: tuple[Box, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def on(self, device: str) -> Pieces:
        """The same on another device."""
        return replace(self, of=self.of.to(device))

    def total(self, each: Tensor) -> Tensor:
        """Sums [P] of values [*S] of the positions over each piece."""
        there = self.of >= 0
        return torch.zeros(len(self), dtype=each.dtype, device=each.device).index_add(0, self.of[there], each[there])

    def kept(self, keep: Tensor) -> Tensor:
        """Which positions stay, bool [K, *S], of the pieces that stay [K, P]; what belongs to none stays."""
        flat = keep[:, self.of.clamp(min=0).flatten()] | (self.of.flatten() < 0)
        return flat.unflatten(1, tuple(self.of.shape))


def blocks(valid: Tensor, unit: Sequence[int], most: int, kind: str, named: Callable[[Box], str]) -> Pieces:
    """Blocks of a grid, at most `most`: blocks of a token each, doubled along the axis that has most of them.

    valid: bool [*S], which positions exist. unit: positions of a token along each axis.
    """
    sizes = tuple(valid.shape)
    there = [valid.movedim(a, 0).reshape(sizes[a], -1).any(1) for a in range(valid.ndim)]
    long = [int(t.nonzero()[-1, 0]) + 1 if bool(t.any()) else 1 for t in there]
    side = [min(u, n) for u, n in zip(unit, long, strict=True)]
    count = [-(-n // s) for n, s in zip(long, side, strict=True)]
    while math.prod(count) > most:
        axis = max(range(len(side)), key=lambda a: count[a])
        side[axis] *= 2
        count[axis] = -(-long[axis] // side[axis])
    index = torch.zeros(sizes, dtype=torch.int64)
    for a, (n, s) in enumerate(zip(sizes, side, strict=True)):
        place = (torch.arange(n) // s).clamp(max=count[a] - 1).view([-1 if b == a else 1 for b in range(len(sizes))])
        index = index * count[a] + place
    index = torch.where(valid.cpu(), index, -1)
    known, of = index.unique(return_inverse=True)
    of = of - int((known < 0).any())
    boxes = []
    for number in known[known >= 0].tolist():
        box, rest = [], int(number)
        for a in reversed(range(len(sizes))):
            at = rest % count[a]
            rest //= count[a]
            box.append((at * side[a] / sizes[a], min((at + 1) * side[a], long[a]) / sizes[a]))
        boxes.append(tuple(reversed(box)))
    return Pieces(of.to(valid.device), tuple(named(b) for b in boxes), kind, tuple(boxes))


def runs(unit: Tensor, most: int) -> Tensor:
    """Units in a row [T], -1 = none, joined to at most `most` pieces that are numbered from 0."""
    known, of = unit.unique(return_inverse=True)
    of = of - int((known < 0).any())
    each = -(-(int(of.max()) + 1) // most) if len(of) else 1
    return torch.where(of < 0, -1, of // each)


def filled(view: Batch, pieces: Pieces, keep: Tensor, fill: Tensor) -> Batch:
    """Copies of one item on a grid [1, C, *S] with the values of `fill` where pieces are gone; keep: bool [K, P]."""
    stay = pieces.kept(keep)[:, None]
    return repeated(replace(view, x=torch.where(stay, view.x, fill)), len(keep))


def removed(view: Batch, pieces: Pieces, keep: Tensor) -> Batch:
    """Copies of one sequence [1, C, T] without the positions of pieces that are gone: what follows moves forward."""
    stay = pieces.kept(keep)
    if view.valid is not None:
        stay = stay & view.valid
    n = stay.sum(1)
    size = max(1, int(n.max()))
    place = (~stay).to(torch.uint8).argsort(dim=1, stable=True)[:, :size]
    valid = torch.arange(size, device=n.device) < n[:, None]
    x = view.x.expand(len(keep), -1, -1).gather(2, place[:, None].expand(-1, view.x.shape[1], -1)).masked_fill(~valid[:, None], torch.nan)
    return replace(repeated(view, len(keep)), x=x, valid=valid, frame=None)


def exchanged(view: Batch, pieces: Pieces, keep: Tensor, background: Tensor) -> Batch:
    """Copies of one row [1, F] with the values of other rows [R, F] where pieces are gone: [K * R, F], those of one copy in a row."""
    stay = pieces.kept(keep)[:, None]
    x = torch.where(stay, view.x[:, None], background[None]).flatten(0, 1)
    return replace(repeated(view, len(x)), x=x)


def repeated(view: Batch, count: int) -> Batch:
    """One item, or copies of it already, as a batch of `count` that are the same item."""
    x = view.x if len(view.x) == count else view.x.expand(count, *view.x.shape[1:])
    valid = None if view.valid is None else view.valid[:1].expand(count, -1)
    frame = None if view.frame is None else view.frame[:1].expand(count, -1, -1)
    return Batch(x, torch.arange(count, device=x.device), valid, frame, stream=view.stream)


def blurred(x: Tensor, share: float = 1 / 8) -> Tensor:
    """Items [B, C, *S] with a blur of this share of each side, which leaves the level of a place and no shape; NaN if nothing is near."""
    there = (~x.isnan()).to(x.dtype)
    x = x.nan_to_num(0.0)
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        place = torch.arange(n, device=x.device, dtype=x.dtype)
        weight = torch.exp(-0.5 * ((place[:, None] - place) / max(1.0, share * n)).square())
        weight = weight / weight.sum(1, keepdim=True)
        x, there = (torch.matmul(v.movedim(axis, -1), weight.T).movedim(-1, axis) for v in (x, there))
    return x / there


NEAR = 1 / 6, 1 / 12  # weight of a neighbour beside, and of one across a corner


def imputed(x: Tensor, stay: Tensor, generator: torch.Generator, noise: float = 0.01, turns: int = 400) -> Tensor:
    """Images [1, C, H, W] whose missing places are the weighted mean of their neighbours, with noise, [K, C, H, W]; stay: [K, 1, H, W].

    source: Rong et al. 2022, arXiv:2202.00449 (ROAD), noisy linear imputation; ours relaxes its equations from a blur of what is left, and
    stops after so many turns: what is deep in a hole stays near the blur. Values that were missing before stay missing.
    """
    beside, corner = NEAR
    weight = torch.tensor([[corner, beside, corner], [beside, 0.0, beside], [corner, beside, corner]], dtype=x.dtype, device=x.device)
    weight = weight.expand(x.shape[1], 1, 3, 3)
    known = stay & ~x.isnan()
    left = torch.where(known, x, torch.nan)
    mean = left.nanmean((-2, -1), keepdim=True).nan_to_num(0.0)
    start = blurred(left)
    out = torch.where(known, x, torch.where(start.isnan(), mean, start))
    share = F.conv2d(torch.ones_like(x), weight, padding=1, groups=x.shape[1])
    for _ in range(turns):
        after = torch.where(known, x, F.conv2d(out, weight, padding=1, groups=x.shape[1]) / share)
        far = float((after - out).abs().max())
        out = after
        if far < 1e-5:
            break
    scale = x[~x.isnan()].std() if int((~x.isnan()).sum()) > 1 else 0.0
    shake = torch.randn(out.shape, generator=generator, dtype=out.dtype).to(out.device) * noise * scale
    return torch.where(x.isnan(), x, torch.where(known, x, out + shake))
