"""A random forest."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tacit.evaluation.aggregates import columns_of, rows_of
from tacit.threads import cores
from tacit.types import Spec

SMALL = 100_000  # numbers in x below which a second thread costs more than it brings


class Forest:
    """Random forest of 300 trees on the table's columns, categories as ranks of their frequency, missing values as they are.

    A tree is grown on at most 10,000 rows, which costs nothing on training folds of four tables of 13,000 to 26,000.
    """

    source: ClassVar[str] = "Breiman, Machine Learning 2001"
    modalities: ClassVar[frozenset[str]] = frozenset({"table", "events"})
    name: ClassVar[str] = "forest"
    regression: ClassVar[bool] = True

    def __init__(self, *, trees: int = 300, rows: int = 10_000, seed: int = 0) -> None:
        """trees: how many. rows: drawn for each, at most. seed: of their rows and columns."""
        self.trees, self.rows, self.seed = trees, rows, seed

    @staticmethod
    def cost(train: int, other: int, *sizes: int) -> float:
        """Seconds that all fits on up to `train` rows and the reading of `other` ones take, roughly; sizes: F, or T and F of events."""
        drawn = min(train, 10_000)
        return (drawn * math.log2(drawn + 1) * math.sqrt(columns_of(sizes)) * 3.5e-5) / cores() + other * 3e-4

    def prepare(self, x: np.ndarray, spec: Spec) -> Forest:
        """Learn the values of the categories from all training rows, float32 [N, F] (events [N, F, T]), NaN = missing; reads no label."""
        self._table = rows_of(x, spec, numbers=False)
        return self

    def fit(self, x: np.ndarray, y: np.ndarray) -> Forest:
        """x: float32 [n, F]. y: classes int64 [n], or numbers float [n]."""
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        kind: Any = RandomForestClassifier if np.issubdtype(y.dtype, np.integer) else RandomForestRegressor
        x = self._table.codes(x)
        jobs, drawn = 1 if x.size < SMALL else cores(), min(len(x), self.rows)
        self._model = kind(self.trees, max_features="sqrt", max_samples=drawn, random_state=self.seed, n_jobs=jobs).fit(x, y)
        self._model.n_jobs = 1  # threads add the votes in any order, and rounding breaks ties
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Class int64 [n], or number float64 [n], of each row [n, F]."""
        return np.asarray(self._model.predict(self._table.codes(x)))
