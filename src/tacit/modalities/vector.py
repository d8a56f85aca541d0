"""Vectors: rows of plain numbers without an order, as scikit-learn's X."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tacit.later import later
from tacit.modality import BadItem, Raw
from tacit.types import Spec
from tacit.unordered import Unordered

if TYPE_CHECKING:
    from tacit import columns
    from tacit.encoder import Tokenizer
else:
    columns = later("tacit.columns")


class Vector(Unordered):
    """Rows of numbers that were computed elsewhere: features, embeddings, a 2-D array.

    swap: share of columns that a global view takes from another item of the batch (SCARF, arXiv:2106.15147).
    """

    axes = 2

    @classmethod
    def plan(cls, sample: Sequence[Raw], *, size: int | None = None, limit: int = 224) -> Spec:
        """One channel a column, no other axis. size, limit: not used."""
        if not len(sample):
            raise BadItem("there is no row")
        return Spec("vector", int(np.asarray(sample[0]).shape[-1]), ())

    @classmethod
    def example(cls) -> Spec:
        """Eight columns."""
        return Spec("vector", 8, (), (0.0,) * 8, (1.0,) * 8)

    @classmethod
    def finish(cls, spec: Spec, x: np.ndarray) -> Spec:
        """Measure mean and std of each column without missing values; a constant column gets std 1. x: float32 [n, F]."""
        known = np.isfinite(x)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, x, 0).sum(0, dtype=np.float64) / count
        std = np.sqrt((np.where(known, x - mean, 0) ** 2).sum(0) / count)
        std = np.where(std > 1e-12 * np.maximum(1, np.abs(mean)), std, 1.0)
        return replace(spec, mean=tuple(map(float, mean)), std=tuple(map(float, std)))

    def tokenizer(self, dense: bool) -> Tokenizer:
        return columns.VectorTokenizer(self.spec.mean, self.spec.std)
