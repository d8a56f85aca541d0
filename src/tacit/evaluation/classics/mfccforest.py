"""A random forest on cepstra."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tacit.evaluation.cepstra import Cepstra
from tacit.types import Spec


class MFCCForest:
    """Random forest of 300 trees on mean and deviation of mel-frequency cepstral coefficients and their slopes."""

    source: ClassVar[str] = "Breiman 2001; on cepstra as in the baseline of ESC-50 (Piczak 2015)"
    modalities: ClassVar[frozenset[str]] = frozenset({"audio"})
    name: ClassVar[str] = "mfccforest"
    regression: ClassVar[bool] = True

    def __init__(self, *, trees: int = 300, seed: int = 0) -> None:
        """trees: how many. seed: of their rows and columns."""
        self.trees, self.seed, self._cepstra = trees, seed, Cepstra()

    @staticmethod
    def cost(train: int, other: int, *sizes: int) -> float:
        """Seconds that all fits on up to `train` recordings and the reading of `other` ones take, roughly."""
        return train * math.log2(train + 1) * 3.5e-4 + other * 2e-3

    def prepare(self, x: Any, spec: Spec) -> MFCCForest:
        """Compute the cepstra of all training recordings [N, 1, T] once; reads no label."""
        self._spec = spec
        self._cepstra.rows(x, spec)
        return self

    def fit(self, x: Any, y: np.ndarray) -> MFCCForest:
        """x: recordings [n, 1, T]. y: classes int64 [n], or numbers float [n]."""
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        kind: Any = RandomForestClassifier if np.issubdtype(y.dtype, np.integer) else RandomForestRegressor
        self._model = kind(self.trees, max_features="sqrt", random_state=self.seed).fit(self._cepstra.rows(x, self._spec), y)
        return self

    def predict(self, x: Any) -> np.ndarray:
        """Class int64 [n], or number float64 [n], of each recording [n, 1, T]."""
        return np.asarray(self._model.predict(self._cepstra.rows(x, self._spec)))
