"""Every item counts by how rare its group and class are together."""

from __future__ import annotations

import numpy as np

from tacit.auditors.repair import LinearDecision, Mitigation, Problem, weighted
from tacit.types import Fraction


class Reweighing(Mitigation):
    """Weights P(group) P(class) / P(group, class), with which group and class are independent in what is learned from.

    strength: exponent of the weights.
    """

    source = "Kamiran and Calders 2012"

    def __init__(self, *, strength: Fraction = 1.0) -> None:
        self.strength = strength

    def fit(self, problem: Problem) -> LinearDecision:
        return weighted(problem.z, problem.y, problem.classes, weights(problem.y, problem.s) ** self.strength, problem.c)


def weights(y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """float64 [n], mean 1: how much each item counts."""
    n = len(y)
    cell = s * (int(y.max()) + 1) + y
    together = np.bincount(cell)[cell] / n
    alone = np.bincount(s)[s] / n * (np.bincount(y)[y] / n)
    return alone / together
