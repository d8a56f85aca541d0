"""Another threshold for every group."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from tacit.auditors.repair import LinearDecision, Mitigation, Problem, weighted
from tacit.errors import MissingExtra


class Thresholds(Mitigation):
    """fairlearn's ThresholdOptimizer with equalised odds on top of logistic regression: the group decides the threshold, partly by lot."""

    source = "Hardt et al. 2016, arXiv:1610.02413"
    stays = "it needs the group of whoever is decided about, and decides by lot: no explanation holds, and in many places it is not allowed"
    binary = True

    def fit(self, problem: Problem) -> Any:
        try:
            from fairlearn.postprocessing import ThresholdOptimizer
        except ModuleNotFoundError as error:
            raise MissingExtra("fairlearn", "fairness", "group thresholds") from error
        base = weighted(problem.z, problem.y, problem.classes, c=problem.c)
        found = ThresholdOptimizer(estimator=_Odds(base), constraints="equalized_odds", prefit=True, predict_method="decision_function")
        found.fit(problem.z, problem.y, sensitive_features=problem.s)
        return _ByGroup(found, problem.seed)


class _Odds(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A decision that was learned, as scikit-learn's estimators look."""

    def __init__(self, decision: LinearDecision) -> None:
        self.decision = decision
        self.classes_ = np.array([0, 1])

    def fit(self, x: np.ndarray, y: np.ndarray) -> _Odds:
        """It is fitted."""
        return self

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        """Log-odds of the second class [n]."""
        out = self.decision.scores(np.asarray(x), np.zeros(len(x), np.int64))
        return np.asarray(out[:, 1] - out[:, 0])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The class."""
        return (self.decision_function(x) > 0).astype(np.int64)


class _ByGroup:
    def __init__(self, found: Any, seed: int) -> None:
        self.found, self.seed = found, seed

    def scores(self, z: np.ndarray, s: np.ndarray) -> np.ndarray:
        """0 and 1, drawn once by the seed."""
        made = np.asarray(self.found.predict(z, sensitive_features=s, random_state=self.seed)).astype(np.int64)
        return np.stack([1 - made, made], 1).astype(np.float64)
