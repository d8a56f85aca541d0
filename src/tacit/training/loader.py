"""Batches of decoded items on the device. The data sits in memory (or a memory map): no worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tacit.data.dataset import Dataset
from tacit.errors import Asked
from tacit.modality import Modality
from tacit.runtime import rng
from tacit.types import LABELS, Batch


class Loader:
    """Serves batches of chosen rows of a data set.

    rows: rows of the data set; batch ids count them from 0. labels: hand labels along (only for methods that need them).
    """

    def __init__(self, data: Dataset, rows: np.ndarray, modality: Modality, device: torch.device, labels: bool = False) -> None:
        self.data, self.rows, self.modality, self.device = data, rows, modality, device
        self.labels = None if not labels or data.labels is None else torch.from_numpy(np.ascontiguousarray(data.labels[rows]))
        self.groups = None if data.groups is None else torch.from_numpy(np.ascontiguousarray(data.groups[rows]))
        self.resident: Tensor | None = None
        if device.type == "cuda" and isinstance(data.x, np.ndarray):
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
            valid = torch.arange(x.shape[-1], device=self.device) < length[:, None]
        ids = torch.from_numpy(np.ascontiguousarray(index)).to(self.device)
        label, group = (None if v is None else v[torch.from_numpy(index)].to(self.device) for v in (self.labels, self.groups))
        return Batch(self.modality.load(x), ids, valid, label=label, group=group)


def rows_of(data: Dataset, needs: frozenset[str]) -> np.ndarray:
    """int64 rows to train on: the training part, without its unlabelled items where the method needs a label for each.

    Raises Asked where a method learns from labels and there are none.
    """
    rows = data.train
    if not needs & LABELS:
        return rows
    labels = None if data.labels is None else data.labels[rows]
    known = np.zeros(len(rows), bool) if labels is None else labels >= 0 if data.classes else np.isfinite(labels)
    if not known.any():
        raise Asked("no training item has a label, and this method learns from labels", "name the column with --target")
    return rows[known] if "labels" in needs else rows


def mates_of(groups: np.ndarray) -> Mates:
    """For int64 groups (-1 = none) of n items: how to draw another item of the same group. Raises Asked where no group has two."""
    n = len(groups)
    alone = groups < 0
    label = np.where(alone, groups.max(initial=0) + 1 + np.arange(n), groups)
    order_ = np.argsort(label, kind="stable")
    _, first, count = np.unique(label[order_], return_index=True, return_counts=True)
    if count.max(initial=0) < 2:
        raise Asked("every group has a single training item, so no item has a mate", "leave train.positives=group out")
    start, size, place = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    start[order_], size[order_] = np.repeat(first, count), np.repeat(count, count)
    place[order_] = np.arange(n) - np.repeat(first, count)
    # the first item of a group stands for all of it
    return Mates(order_, start, size, place, order_[start])


@dataclass(frozen=True)
class Mates:
    """order: items sorted by group; start, size, place: of an item's group in it, and the item's place there; stands: its first item."""

    order: np.ndarray
    start: np.ndarray
    size: np.ndarray
    place: np.ndarray
    stands: np.ndarray

    def draw(self, index: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """Another item of the same group for each of these, the item itself where it has none."""
        u = torch.rand(len(index), generator=generator, device=generator.device).cpu().numpy()
        size = self.size[index]
        step = np.where(size > 1, 1 + np.minimum((u * (size - 1)).astype(np.int64), size - 2), 0)
        return self.order[self.start[index] + (self.place[index] + step) % size]


def order(seed: int, items: int, batch: int, step: int) -> np.ndarray:
    """Rows of a step: without replacement within an epoch, the remainder of an epoch dropped; a function of (seed, step) alone."""
    per_epoch = max(1, items // batch)
    epoch, place = divmod(step, per_epoch)
    return _shuffled(seed, items, epoch)[place * batch : (place + 1) * batch]


@lru_cache(maxsize=2)
def _shuffled(seed: int, items: int, epoch: int) -> np.ndarray:
    """An epoch's order; kept, because drawing it for a million items takes longer than a small step."""
    return torch.randperm(items, generator=rng(seed, "order", epoch)).numpy()
