"""Averages of the events of a sequence."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.aggregates import Aggregates as Rows
from tacit.types import Spec


class Aggregates:
    """How many events a sequence has, and mean, deviation and latest value of each column; a category as shares of its values."""

    modalities: ClassVar[frozenset[str]] = frozenset({"events"})
    name: ClassVar[str] = "aggregates"
    note: str = ""

    def fit(self, x: np.ndarray, spec: Spec) -> Aggregates:
        """Measure the columns; x: float32 [N, F, T], NaN = missing or padding."""
        self._rows = Rows().fit(x, spec)
        self.note = self._rows.note
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Sequences float32 [N, F, T] as float32 [N, D]."""
        return self._rows.plain(x)
