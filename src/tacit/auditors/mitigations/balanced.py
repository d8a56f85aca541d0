"""As many items of every class from every group."""

from __future__ import annotations

import numpy as np

from tacit.auditors.repair import LinearDecision, Mitigation, Problem, weighted
from tacit.errors import BadData


class Balanced(Mitigation):
    """Balanced sampling: items are drawn until every group has as many of each class as its rarest cell, and all others are left out."""

    source = "Idrissi et al. 2022, arXiv:2110.14503 (SUBG)"

    def fit(self, problem: Problem) -> LinearDecision:
        rows = drawn(problem.y, problem.s, np.random.default_rng([problem.seed, 313]))
        return weighted(problem.z[rows], problem.y[rows], problem.classes, c=problem.c)


def drawn(y: np.ndarray, s: np.ndarray, rng: np.random.Generator, fewest: int = 5) -> np.ndarray:
    """Rows with as many items of each group and class. Raises BadData where a cell that there is has fewer than `fewest`."""
    cell = s * (int(y.max()) + 1) + y
    kinds, count = np.unique(cell, return_counts=True)
    if count.min() < fewest:
        raise BadData(f"the rarest class of a group has {count.min()} items to learn from", "label more of them")
    return np.sort(np.concatenate([rng.choice(np.flatnonzero(cell == k), count.min(), replace=False) for k in kinds]))
