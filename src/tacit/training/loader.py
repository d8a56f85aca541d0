"""Batches of decoded items on the device. The data sits in memory (or a memory map): no worker processes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tacit.data.dataset import Dataset
from tacit.errors import Asked
from tacit.modality import Modality
from tacit.runtime import rng
from tacit.types import Batch


class Loader:
    """Serves batches of chosen rows of a data set.

    rows: rows of the data set; batch ids count them from 0. labels: hand labels along (only for methods that need them).
    """

    def __init__(self, data: Dataset, rows: np.ndarray, modality: Modality, device: torch.device, labels: bool = False) -> None:
        self.data, self.rows, self.modality, self.device = data, rows, modality, device
        self.labels = None if not labels or data.labels is None else torch.from_numpy(np.ascontiguousarray(data.labels[rows]))
        self.groups = None if data.groups is None else torch.from_numpy(np.ascontiguousarray(data.groups[rows]))
        self.resident: Tensor | None = None
        if device.type == "cuda":
            size = int(np.prod(data.x.shape[1:])) * data.x.itemsize * len(rows)
            if size < torch.cuda.mem_get_info(device)[0] // 4:
                self.resident = torch.from_numpy(np.ascontiguousarray(data.x[rows])).to(device)

    def batch(self, index: np.ndarray) -> Batch:
        """The items at these positions of `rows`."""
        rows = self.rows[index]
        if self.resident is not None:
            x = self.resident[torch.from_numpy(index).to(self.device)]
        else:
            x = torch.from_numpy(np.ascontiguousarray(self.data.x[rows])).to(self.device, non_blocking=True)
        valid = None
        if self.data.lengths is not None:
            length = torch.from_numpy(self.data.lengths[rows]).to(self.device)
            valid = torch.arange(self.data.x.shape[-1], device=self.device) < length[:, None]
        ids = torch.from_numpy(np.ascontiguousarray(index)).to(self.device)
        label, group = (None if v is None else v[torch.from_numpy(index)].to(self.device) for v in (self.labels, self.groups))
        return Batch(self.modality.load(x), ids, valid, label=label, group=group)


def rows_of(data: Dataset, needs: frozenset[str]) -> np.ndarray:
    """int64 rows to train on: the training part, without its unlabelled items where the method needs labels. Raises Asked without any."""
    rows = data.train
    if "labels" not in needs or data.labels is None:
        return rows
    labels = data.labels[rows]
    rows = rows[labels >= 0 if data.classes else np.isfinite(labels)]
    if not len(rows):
        raise Asked("no training item has a label, and this method learns from labels", "name the column with --target")
    return rows


def order(seed: int, items: int, batch: int, step: int) -> np.ndarray:
    """Rows of a step: without replacement within an epoch, the remainder of an epoch dropped; a function of (seed, step) alone."""
    per_epoch = max(1, items // batch)
    epoch, place = divmod(step, per_epoch)
    return _shuffled(seed, items, epoch)[place * batch : (place + 1) * batch]


@lru_cache(maxsize=2)
def _shuffled(seed: int, items: int, epoch: int) -> np.ndarray:
    """An epoch's order; kept, because drawing it for a million items takes longer than a small step."""
    return torch.randperm(items, generator=rng(seed, "order", epoch)).numpy()
