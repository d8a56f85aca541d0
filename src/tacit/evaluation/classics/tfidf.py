"""TF-IDF and logistic regression: the classic that self-supervised encoders of text have to beat."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tacit.evaluation.labels import fold
from tacit.evaluation.lexical import Lexicon
from tacit.types import Spec

MANY = 20  # labels a class from which on a fold chooses C
CS = (1.0, 10.0, 100.0)


class Tfidf:
    """TF-IDF of words (1 and 2) and characters (3 to 5) from all training texts, read by logistic regression (numbers: ridge).

    With 20 labels a class or more, a tenth of them chooses C among 1, 10 and 100; with fewer it is 10.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"text"})
    name: ClassVar[str] = "tfidf"
    regression: ClassVar[bool] = True
    grouped: ClassVar[bool] = True

    def __init__(self, *, c: float = 10.0, seed: int = 0) -> None:
        """c: strength of the labels against the penalty where they are few. seed: of the fold."""
        self.c, self.seed = c, seed

    def prepare(self, x: Any, spec: Spec) -> Tfidf:
        """Learn words and their rarity from all training texts [N, 1, T]; reads no label."""
        self._lexicon = Lexicon().fit(x, spec)
        return self

    def fit(self, x: Any, y: np.ndarray, groups: np.ndarray | None = None) -> Tfidf:
        """x: [n, 1, T]. y: classes int64 [n], or numbers. groups: int64 [n], held out as a whole, -1 = unknown."""
        rows = self._lexicon.matrix(x)
        if not np.issubdtype(y.dtype, np.integer):
            from sklearn.linear_model import Ridge

            self._model: Any = Ridge(alpha=1.0, solver="lsqr").fit(rows, y)
            return self
        kinds = len(np.unique(y))
        c = self.c
        if kinds > 1 and len(y) >= MANY * kinds:
            _, code = np.unique(y, return_inverse=True)
            kept, held = fold(code, kinds, self.seed, groups=groups)
            if len(held):
                scores = [float((_logistic(rows[kept], y[kept], v).predict(rows[held]) == y[held]).mean()) for v in CS]
                c = CS[int(np.argmax(scores))]
        self._model = _Constant(y[0]) if kinds == 1 else _logistic(rows, y, c)
        return self

    def predict(self, x: Any) -> np.ndarray:
        """Class or number of each text [n, 1, T]."""
        return np.asarray(self._model.predict(self._lexicon.matrix(x)))


class _Constant:
    def __init__(self, value: Any) -> None:
        self.value = value

    def predict(self, rows: Any) -> np.ndarray:
        return np.full(rows.shape[0], self.value)


def _logistic(rows: Any, y: np.ndarray, c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=200, tol=1e-3).fit(rows, y)
