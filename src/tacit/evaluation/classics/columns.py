"""The columns of plain vectors and of tables themselves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.tables import Table
from tacit.types import Spec


class Columns:
    """The columns as numbers; a missing one counts as the mean of its column in the training split.

    Vectors stay as they are. Of a table each number has mean 0 and deviation 1 over the training split and is clipped at 4 deviations,
    so that a long tail does not drown the rest; a category has a 0/1 column for each of its (100 most frequent) values; and what is
    missing in some training row has a 0/1 column that says so. `note` says where values were left out.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"vector", "table"})
    name: ClassVar[str] = "columns"
    beside: ClassVar[dict[str, float]] = {"table": 1.0}  # our embedding joins it, with as much total variance
    note: str = ""

    def fit(self, x: np.ndarray, spec: Spec) -> Columns:
        """Measure the columns; x: float32 [N, F], NaN = missing."""
        self._table = Table().fit(x, spec) if spec.modality == "table" else None
        if self._table is not None:
            self.note = self._table.note
            return self
        known = np.isfinite(x)
        self._mean = np.where(known, x, 0).sum(0, dtype=np.float64) / np.maximum(known.sum(0), 1)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Vectors float32 [N, F], of a table [N, D] with the columns of its categories; none missing."""
        if self._table is not None:
            return self._table.plain(x)
        return np.where(np.isfinite(x), x, self._mean).astype(np.float32)
