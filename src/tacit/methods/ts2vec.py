from __future__ import annotations

import math

import torch
from torch import Tensor

from tacit.encoder import Encoder, match
from tacit.losses import instance_contrast, time_contrast
from tacit.method import Method
from tacit.teacher import Teacher
from tacit.types import Batch, Context, Count, Fraction, Info, Share, Step, Views


class TS2Vec(Method):
    """Tell the same moment of two overlapping crops from other moments and from other items, at every time scale.

    The two crops are masked independently; the loss is averaged over max-pooled scales, on grids of any rank.
    The encoder that is kept averages the weights of all steps.

    alpha: weight of the contrast between items; the rest goes to the contrast between moments. hidden: probability that a cell is masked.
    longest: scales of more cells leave the contrast between moments out, because its memory grows with their square.
    """

    family = "contrastive"
    when = "a feature for every moment is wanted, as in long recordings of unequal length"
    source = "Yue et al. 2022, arXiv:2106.10466"
    views, needs = Views(crop=2), frozenset({"resize", "mask"})

    def __init__(self, encoder: Encoder, info: Info, *, alpha: Fraction = 0.5, hidden: Share = 0.5, longest: Count = 1000) -> None:
        super().__init__(encoder, info)
        self.alpha, self.hidden, self.longest = alpha, hidden, longest
        self.average = Teacher(encoder)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        f, g = (self.encoder(v, mask=self._mask(v, ctx)) for v in views)
        index, ok = match(f, g)
        cells, grid = _overlap(ok, f.grid)
        a, ok, index = f.tokens[:, cells].float(), ok[:, cells], index[:, cells]
        b = g.tokens.gather(1, index[..., None].expand(-1, -1, a.shape[-1])).float()
        loss, scales, guess = a.new_zeros(()), 0, 0.0
        while True:
            n = a.shape[1]
            between = instance_contrast(a, b, ok)
            within = time_contrast(a, b, ok) if 1 < n <= self.longest else between.new_zeros(())
            loss = loss + self.alpha * between + (1 - self.alpha) * within
            guess += self.alpha * math.log(2 * len(a) - 1) + (1 - self.alpha) * (math.log(2 * n - 1) if 1 < n <= self.longest else 0)
            scales += 1
            if n == 1:
                break
            a, b, ok, grid = _coarser(a, ok, grid), _coarser(b, ok, grid), _any(ok, grid), tuple(-(-n // 2) for n in grid)
        return Step(loss / scales, f.pooled.detach(), chance=guess / scales)

    def _mask(self, view: Batch, ctx: Context) -> Tensor:
        cells = self.encoder.cells(view)
        if cells.valid.shape[1] < 2:
            return torch.zeros_like(cells.valid)
        # each cell by itself, as in the paper: the two crops hide different shares too
        drawn = torch.rand(cells.valid.shape, generator=ctx.generator, device=cells.valid.device)
        return (drawn < self.hidden) & cells.valid

    def after_step(self, ctx: Context) -> None:
        self.average.follow(self.encoder, 1 - 1 / (1 + int(self.average.steps)), warm=False)

    def deploy(self) -> Encoder:
        return self.average.module  # type: ignore[return-value]


def _overlap(ok: Tensor, grid: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """Flat cells of the smallest box that holds all cells [B, N] that are ok, and the box's own grid."""
    cells = torch.arange(ok.shape[1], device=ok.device).view(grid)
    held = ok.any(0).view(grid).nonzero()  # [K, r]
    if len(held):
        for axis, (low, high) in enumerate(zip(held.amin(0).tolist(), held.amax(0).tolist(), strict=True)):
            cells = cells.narrow(axis, low, high - low + 1)
    return cells.flatten(), tuple(cells.shape)


def _coarser(x: Tensor, ok: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Max-pool [B, N, D] by two along every axis, over the cells that are ok."""
    low = torch.finfo(x.dtype).min
    x = x.masked_fill(~ok[..., None], low).view(len(x), *grid, x.shape[-1])
    for axis, n in enumerate(grid):
        if n % 2:
            x = torch.cat([x, torch.full_like(x.narrow(1 + axis, 0, 1), low)], 1 + axis)
        x = x.unflatten(1 + axis, (-1, 2)).amax(2 + axis)
    x = x.flatten(1, -2)
    return x.masked_fill(x == low, 0.0)


def _any(ok: Tensor, grid: tuple[int, ...]) -> Tensor:
    """A coarse cell is ok if one of its parts is."""
    return _coarser(ok[..., None].float(), ok, grid)[..., 0] > 0
