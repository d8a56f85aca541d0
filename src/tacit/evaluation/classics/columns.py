"""The columns of plain vectors themselves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.types import Spec


class Columns:
    """The numbers as they are; a missing one counts as the mean of its column in the training split."""

    modalities: ClassVar[frozenset[str]] = frozenset({"vector"})
    name: ClassVar[str] = "columns"

    def fit(self, x: np.ndarray, spec: Spec) -> Columns:
        """Measure the columns; x: float32 [N, F], NaN = missing."""
        known = np.isfinite(x)
        self._mean = np.where(known, x, 0).sum(0, dtype=np.float64) / np.maximum(known.sum(0), 1)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Vectors float32 [N, F], none missing."""
        return np.where(np.isfinite(x), x, self._mean).astype(np.float32)
