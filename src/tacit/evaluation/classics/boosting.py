"""Gradient boosting of decision trees: the classic that self-supervised encoders of tables have to beat."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import numpy as np

from tacit.evaluation.aggregates import columns_of, rows_of
from tacit.evaluation.labels import fold
from tacit.threads import cores
from tacit.types import Spec

MANY = 1_000  # labels from which on a fold decides how many trees there are
FEW = 200  # labels below which half the rate is better
TREES = 1_000  # at most, of all classes together
PATIENCE = 50  # rounds without a better score on that fold
SMALL = 1_000_000  # numbers in x below which a second thread costs more than it brings


class Boosting:
    """Gradient boosting by LightGBM where it is installed, otherwise by scikit-learn; `note` says which.

    Categories are split as categories, missing values have a side of their own. With fewer than 1,000 labels there are
    100 trees of random splits whose leaves hold a twentieth of the labels, which beat the library's own settings on training folds;
    with more, a tenth of the labels says when to stop, then all are fitted.
    """

    source: ClassVar[str] = "Ke et al., NeurIPS 2017"
    modalities: ClassVar[frozenset[str]] = frozenset({"table", "events"})
    name: ClassVar[str] = "boosting"
    regression: ClassVar[bool] = True
    grouped: ClassVar[bool] = True

    def __init__(self, *, rate: float = 0.1, trees: int = 100, share: float = 0.5, seed: int = 0) -> None:
        """rate: of learning, halved below 200 labels. trees: with few labels. share: of the columns that a split looks at. seed: of it."""
        self.rate, self.trees, self.share, self.seed = rate, trees, share, seed
        self.note = ""
        self._library: Any = None

    def prepare(self, x: np.ndarray, spec: Spec) -> Boosting:
        """Learn which columns are categories from all training rows, float32 [N, F] (events [N, F, T]), NaN = missing; reads no label."""
        self._table = rows_of(x, spec, numbers=False)
        try:
            self._library = importlib.import_module("lightgbm")
            self.note = f"by LightGBM {self._library.__version__}"
        except ImportError:
            self._library = None
            self.note = "by scikit-learn, as LightGBM is not installed (pip install 'tacit[boosting]')"
        return self

    @staticmethod
    def cost(train: int, other: int, *sizes: int) -> float:
        """Seconds that all fits on `train` rows take, roughly, and the reading of `other` ones; sizes: F, or T and F of events."""
        return train * columns_of(sizes) * 8e-6 / cores() + other * 1e-3

    def fit(self, x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Boosting:
        """x: float32 [n, F]. y: classes int64 [n], or numbers float [n]. groups: int64 [n], held out as a whole, -1 = unknown."""
        x = self._table.codes(x)
        self._classes, self._centre, self._unit = None, 0.0, 1.0
        if np.issubdtype(y.dtype, np.integer):
            self._classes, y = np.unique(y, return_inverse=True)
            kinds = len(self._classes)
        else:
            kinds = 0  # in units of their own: LightGBM keeps targets in float32
            self._centre, self._unit = float(y.mean()), float(y.std()) or 1.0
            y = (y - self._centre) / self._unit
        if kinds == 1 or (not kinds and not y.any()):
            self._model = None
            return self
        many = len(y) >= MANY
        kept, held = fold(y, kinds, self.seed, groups=groups) if many else (np.arange(len(y)), np.zeros(0, dtype=np.int64))
        trees = max(1, min(self.trees, TREES // max(kinds, 1)))
        grow = self._lightgbm if self._library is not None else self._sklearn
        if len(held):
            trees = grow(x, y, kinds, TREES // (kinds if kinds > 2 else 1), kept, held)[1]
        self._model = grow(x, y, kinds, trees)[0]
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Class int64 [n], or number float64 [n], of each row [n, F]."""
        if self._model is None:
            return np.full(len(x), self._centre) if self._classes is None else np.full(len(x), self._classes[0])
        x = self._table.codes(x)
        if self._library is not None:
            found = np.asarray(self._model.predict(x, num_threads=cores()))
        else:
            found = self._model.predict(x) if self._classes is None else self._model.predict_proba(x)
        if self._classes is None:
            return found * self._unit + self._centre
        return self._classes[(found > 0.5).astype(np.int64) if found.ndim == 1 else found.argmax(1)]

    def _rate(self, labels: int) -> float:
        return self.rate / 2 if labels < FEW else self.rate

    def _lightgbm(
        self, x: np.ndarray, y: np.ndarray, kinds: int, trees: int, kept: np.ndarray | None = None, held: np.ndarray | None = None
    ) -> tuple[Any, int]:
        """(model, trees): all of them, or (kept, held: rows) those that the held rows want."""
        n = len(y)
        few = n < MANY
        asked = {
            "objective": "regression" if not kinds else "binary" if kinds == 2 else "multiclass",
            "learning_rate": self._rate(n),
            "min_data_in_leaf": max(1, min(20, n // 20)),
            "min_data_in_bin": max(1, min(3, n // 20)),
            "min_data_per_group": max(1, min(100, n // 20)),
            "extra_trees": few,
            "feature_fraction_bynode": self.share,
            "num_threads": 1 if x.size < SMALL else cores(),
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        asked |= {"num_class": kinds} if kinds > 2 else {}
        categories = np.flatnonzero(self._table.category).tolist()

        def rows(of: np.ndarray | None, like: Any = None) -> Any:
            part = (x, y) if of is None else (x[of], y[of])
            return self._library.Dataset(*part, reference=like, categorical_feature=categories, params=asked)

        first = rows(kept)
        if held is None:
            return self._library.train(asked, first, trees), trees
        stop = self._library.early_stopping(PATIENCE, verbose=False)
        model = self._library.train(asked, first, trees, valid_sets=[rows(held, first)], callbacks=[stop])
        return model, max(1, model.best_iteration)

    def _sklearn(
        self, x: np.ndarray, y: np.ndarray, kinds: int, trees: int, kept: np.ndarray | None = None, held: np.ndarray | None = None
    ) -> tuple[Any, int]:
        """As `_lightgbm`, with scikit-learn's histograms."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
        from sklearn.metrics import log_loss, mean_squared_error

        n = len(y)
        # of a column without any value scikit-learn finds no bins
        x = np.where(np.isfinite(x if kept is None else x[kept]).any(0), x, np.float32(0))
        model: Any = (HistGradientBoostingClassifier if kinds else HistGradientBoostingRegressor)(
            learning_rate=self._rate(n),
            max_iter=trees,
            min_samples_leaf=max(1, min(20, n // 20)),
            max_features=self.share,
            categorical_features=self._table.category,
            early_stopping=False,
            random_state=self.seed,
        )
        if kept is None or held is None:
            return model.fit(x, y), trees
        model.set_params(warm_start=True)
        best, chosen = np.inf, 1
        for done in range(PATIENCE // 2, trees + 1, PATIENCE // 2):
            model.set_params(max_iter=done).fit(x[kept], y[kept])
            if kinds:
                error = log_loss(y[held], model.predict_proba(x[held]), labels=np.arange(kinds))
            else:
                error = mean_squared_error(y[held], model.predict(x[held]))
            if error < best:
                best, chosen = error, done
            elif done >= chosen + PATIENCE:
                break
        return model, chosen
