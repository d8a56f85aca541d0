"""Batches of what heads learn from that is no label an item: pairs of items, tags of their places."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tacit.data.dataset import Dataset
from tacit.training.loader import Loader
from tacit.types import Batch


class Tagged(Loader):
    """Batches with tags [B, T], as far as the batch goes: texts are padded to the longest of their batch only."""

    def batch(self, index: np.ndarray) -> Batch:
        found = super().batch(index)
        assert found.label is not None
        step = self.modality.step_of(self.modality.spec)
        return found if found.label.ndim > 2 else replace(found, label=found.label[:, : -(-found.x.shape[-1] // step)])


class Pairs(Loader):
    """Batches of pairs: all first items, then all second ones, with the pair's answer twice."""

    def __init__(self, data: Dataset, pairs: np.ndarray, values: np.ndarray, *parts: Any) -> None:
        super().__init__(replace(data, labels=None), pairs, *parts)
        self.values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64 if values.dtype.kind in "iu" else np.float32))

    def batch(self, index: np.ndarray) -> Batch:
        both = self.rows[index]
        one = Loader(self.data, np.concatenate([both[:, 0], both[:, 1]]), self.modality, self.device)
        found = one.batch(np.arange(2 * len(index)))
        label = self.values[torch.from_numpy(index)].to(self.device)
        return replace(found, label=torch.cat([label, label]), group=None)


def wide(kind: np.dtype[Any]) -> Any:
    """The type in which answers travel in a batch."""
    return np.int64 if kind.kind in "iu" else np.float32
