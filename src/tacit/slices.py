"""Parts of ragged items [B, F, T], moved to the front, so that all views of a batch have one shape."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tacit.types import Batch


def known(batch: Batch) -> Batch:
    """The same with `valid`: where it is not said, a sequence ends with the last event of which anything is known."""
    if batch.valid is not None:
        return batch
    known = ~batch.x.isnan().all(1)
    return replace(batch, valid=known.flip(1).cumsum(1).flip(1) > 0)


def lengths(batch: Batch) -> Tensor:
    """Places of each item that exist, int64 [B], at least 1."""
    assert batch.valid is not None
    return batch.valid.sum(1).clamp(min=1)


def front(batch: Batch, start: Tensor, n: Tensor, most: int = 2**31) -> Batch:
    """Slices of the sequences, int64 [B] start and length, moved to the front and padded to the batch's longest sequence.

    So all views of a batch have one shape, and pass the network together. most: places of a slice; n is no larger.
    """
    size = batch.x.shape[-1]
    steps = torch.arange(min(int(lengths(batch).max()), most), device=batch.x.device)
    index = (start[:, None] + steps).clamp(max=size - 1)
    valid = steps < n[:, None]
    x = batch.x.gather(2, index[:, None].expand(-1, batch.x.shape[1], -1)).masked_fill(~valid[:, None], torch.nan)
    frame = torch.stack([start / size, torch.full_like(start, len(steps)) / size], -1)[:, None]
    return replace(batch, x=x, valid=valid, frame=frame)
