"""Cells that hold what the same cells of other items hold: a corruption in which every value is a real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tacit.types import Batch, Cells


def swapped(batch: Batch, cells: Cells, cell: Sequence[int], mask: Tensor, generator: torch.Generator) -> tuple[Batch, Tensor]:
    """A copy in which masked cells hold another item's, and which cells now hold something else than before, bool [B, N].

    Whose, is drawn for every cell anew, all other items that have it being as likely. A missing value is taken like any other; padding
    stays and is not taken; what no other item has stays. cell: samples along each axis. mask: bool [B, N], the cells to replace.
    source: Bahri et al. 2021, arXiv:2106.15147, algorithm 1 (the marginal distribution of a feature), of the batch and not of all items.
    """
    x, sizes = batch.x, batch.x.shape[-len(cell) :]
    b = len(x)
    number = cell_of(sizes, cell, cells.grid, x.device)
    where, giver = (mask & cells.valid)[:, number], others(cells.valid, generator)[:, number]  # [B, samples]
    if batch.valid is not None:  # the last cell of an item may hold padding beside samples
        there = batch.valid.reshape(b, -1)
        where = where & there & there.gather(0, giver)
    flat = x.reshape(b, -1, len(number))  # [B, C, samples]; columns have no channels
    taken = flat.gather(0, giver[:, None].expand_as(flat))
    made = torch.where(where[:, None], taken, flat)
    differs = ((made != flat) & ~(made.isnan() & flat.isnan())).any(1)
    changed = torch.zeros(cells.valid.shape, device=x.device).index_add_(1, number, differs.float()) > 0
    return replace(batch, x=made.reshape(x.shape)), changed


def cell_of(sizes: Sequence[int], cell: Sequence[int], grid: Sequence[int], device: torch.device) -> Tensor:
    """The flat number of the cell that each sample of an item lies in, int64 [product of sizes]."""
    number = torch.zeros(1, dtype=torch.int64, device=device)
    for s, c, g in zip(sizes, cell, grid, strict=True):
        number = (number[:, None] * g + torch.arange(s, device=device) // c).flatten()
    return number


def others(valid: Tensor, generator: torch.Generator) -> Tensor:
    """For every cell of every item another item that has it, int64 [B, N]; the item itself if no other has."""
    # the items that have a cell stand in a ring of random order, and each takes the next one's: so all are as likely, nobody gets
    # its own, and as every row draws its own place the result does not depend on the order of the batch
    place = torch.rand(valid.shape, generator=generator, device=valid.device).masked_fill(~valid, 2.0)
    ring = place.argsort(0)
    after = (ring.argsort(0) + 1) % valid.sum(0).clamp(min=1)
    return ring.gather(0, after)
