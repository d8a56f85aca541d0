"""A mixture of decisions that meets the constraint together."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tacit.auditors.repair import Mitigation, Problem
from tacit.errors import MissingExtra
from tacit.types import Positive

MOST = 10_000  # items that it learns from


class Gradient(Mitigation):
    """fairlearn's ExponentiatedGradient with equalised odds over logistic regressions. It needs no group when it decides.

    slack: how far the constraint may be missed while learning.
    """

    source = "Agarwal et al. 2018, arXiv:1803.02453"
    stays = "it decides by a lot drawn among several readings: no single layer says the same"
    binary = True

    def __init__(self, *, slack: Positive = 0.02) -> None:
        self.slack = slack

    def fit(self, problem: Problem) -> Any:
        try:
            from fairlearn.reductions import EqualizedOdds, ExponentiatedGradient
        except ModuleNotFoundError as error:
            raise MissingExtra("fairlearn", "fairness", "exponentiated gradient") from error
        from sklearn.linear_model import LogisticRegression

        rows = np.random.default_rng([problem.seed, 343]).permutation(len(problem.y))[:MOST]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ExponentiatedGradient(
                LogisticRegression(C=problem.c, max_iter=100), EqualizedOdds(difference_bound=self.slack), max_iter=20
            )
            found.fit(problem.z[rows], problem.y[rows], sensitive_features=problem.s[rows])
        return _Mixture(found, problem.seed)


class _Mixture:
    def __init__(self, found: Any, seed: int) -> None:
        self.found, self.seed = found, seed

    def scores(self, z: np.ndarray, s: np.ndarray) -> np.ndarray:
        """0 and 1, drawn once by the seed."""
        made = np.asarray(self.found.predict(z, random_state=self.seed)).astype(np.int64)
        return np.stack([1 - made, made], 1).astype(np.float64)
