"""Which cells are hidden: for grids of any rank and for unordered sets. All masks are bool [B, N], True = hidden."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tacit.errors import CannotPair
from tacit.types import Cells


def random_mask(cells: Cells, ratio: float, generator: torch.Generator) -> Tensor:
    """Hide the same share of every row's valid cells, at least one, never all.

    ratio: share of valid cells to hide, in 0..1.
    """
    valid = cells.valid
    if valid.shape[1] < 2:
        raise CannotPair("these items have a single cell, so none can be hidden", "use a smaller modality.patch, or simclr")
    score = torch.rand(valid.shape, generator=generator, device=valid.device).masked_fill(~valid, 2.0)
    count = valid.sum(1, keepdim=True)
    hide = (count * ratio).round().clamp(min=1)
    hide = torch.minimum(hide, (count - 1).clamp(min=0))
    return score.argsort(1).argsort(1) < hide


def unit_mask(cells: Cells, units: Tensor | None, ratio: float, generator: torch.Generator) -> Tensor:
    """Hide whole units, drawn until about the share `ratio` of a row's valid cells is hidden; at least one cell, never all.

    units: int64 [B, N], ascending numbers of the unit that each cell belongs to; None = each cell is its own.
    """
    if units is None:
        return random_mask(cells, ratio, generator)
    valid = cells.valid
    if valid.shape[1] < 2:
        raise CannotPair("these items have a single cell, so none can be hidden", "use a smaller modality.patch, or simclr")
    unit = units - units[:, :1]
    score = torch.rand(valid.shape, generator=generator, device=valid.device).gather(1, unit.clamp(max=valid.shape[1] - 1))
    score = score.masked_fill(~valid, 2.0)
    count = valid.sum(1, keepdim=True)
    order = score.argsort(dim=1, stable=True)
    rank = order.argsort(1)
    wanted = (count * ratio).round().clamp(min=1)
    # a unit is hidden when its first cell in the drawn order is
    first = torch.full_like(rank, valid.shape[1]).scatter_reduce(1, unit.clamp(max=valid.shape[1] - 1), rank, "amin")
    hidden = (first.gather(1, unit.clamp(max=valid.shape[1] - 1)) < wanted) & valid
    fine = (valid & ~hidden).any(1, keepdim=True)
    return torch.where(fine, hidden, random_mask(cells, ratio, generator))


def block_mask(cells: Cells, ratio: float, block: int, generator: torch.Generator) -> Tensor:
    """Hide boxes of side `block`: spans on rank 1, blocks on rank 2, tubes on rank 3, until about `ratio` is covered.

    Boxes overlap, so the share hidden is at most `ratio` plus one box; rows left with nothing hidden or nothing seen get a random mask.
    """
    grid, valid = cells.grid, cells.valid
    device, rows = valid.device, len(valid)
    mask = torch.zeros(rows, *grid, dtype=torch.bool, device=device)
    axes = torch.meshgrid(*[torch.arange(n, device=device) for n in grid], indexing="ij")
    coordinate = torch.stack(axes, -1)
    boxes = max(1, math.ceil(ratio * math.prod(grid) / min(block, max(grid)) ** len(grid)))
    for _ in range(boxes):
        start = [torch.randint(0, max(1, n - block + 1), (rows,), generator=generator, device=device) for n in grid]
        corner = torch.stack(start, -1).view(rows, *[1] * len(grid), -1)
        mask |= ((coordinate >= corner) & (coordinate < corner + block)).all(-1)
    flat = mask.flatten(1) & valid
    fine = (valid & ~flat).any(1, keepdim=True) & flat.any(1, keepdim=True)
    return torch.where(fine, flat, random_mask(cells, ratio, generator))
