"""The last layer learned again on balanced groups."""

from __future__ import annotations

import warnings

import numpy as np

from tacit.auditors.repair import LinearDecision, Mitigation, Problem
from tacit.errors import BadData
from tacit.types import Count

GRID = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
MOST = 4000  # items of one balanced draw


class DFR(Mitigation):
    """Deep feature reweighting: an L1 logistic regression on a group-balanced draw, its C chosen by the worst group on the other half, and
    the mean of several such draws.

    retrains: draws whose solutions are averaged. Ours draws from the training labels: no label has trained this encoder.
    """

    source = "Kirichenko et al. 2022, arXiv:2204.02937"

    def __init__(self, *, retrains: Count = 10) -> None:
        self.retrains = retrains

    def fit(self, problem: Problem) -> LinearDecision:
        rng = np.random.default_rng([problem.seed, 323])
        order = rng.permutation(len(problem.y))
        learn, judge = order[: len(order) // 2], order[len(order) // 2 :]
        rows = self._drawn(problem, learn, rng)
        scores = []
        for c in GRID:
            made = self._solved(problem, rows, c).scores(problem.z[judge], problem.s[judge]).argmax(1)
            right = made == problem.y[judge]
            cells = problem.s[judge] * problem.classes + problem.y[judge]
            scores.append(min(float(right[cells == k].mean()) for k in np.unique(cells)))
        c = GRID[int(np.argmax(scores))]
        every = [self._solved(problem, self._drawn(problem, order, rng), c) for _ in range(self.retrains)]
        return LinearDecision(np.mean([e.weight for e in every], 0), np.mean([e.bias for e in every], 0))

    @staticmethod
    def _drawn(problem: Problem, rows: np.ndarray, rng: np.random.Generator, fewest: int = 5) -> np.ndarray:
        cell = problem.s[rows] * problem.classes + problem.y[rows]
        kinds, count = np.unique(cell, return_counts=True)
        if count.min() < fewest:
            raise BadData(f"the rarest class of a group has {count.min()} items to learn from", "label more of them")
        most = min(int(count.min()), MOST // len(kinds))
        return np.concatenate([rows[rng.choice(np.flatnonzero(cell == k), most, replace=False)] for k in kinds])

    @staticmethod
    def _solved(problem: Problem, rows: np.ndarray, c: float) -> LinearDecision:
        from sklearn.linear_model import LogisticRegression

        weight, bias = np.zeros((problem.z.shape[1], problem.classes)), np.zeros(problem.classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for k in range(problem.classes if problem.classes > 2 else 1):
                kind = 1 if problem.classes == 2 else k
                reader = LogisticRegression(C=c, l1_ratio=1.0, solver="liblinear", random_state=0, max_iter=200)
                reader.fit(problem.z[rows], problem.y[rows] == kind)
                weight[:, kind], bias[kind] = reader.coef_[0], reader.intercept_[0]
        return LinearDecision(weight, bias)
