"""A decision on embeddings from which linear readings of the group were projected out, one after the other."""

from __future__ import annotations

from tacit.auditors import erasure
from tacit.auditors.repair import LinearDecision, Mitigation, Problem, weighted
from tacit.types import Count


class INLP(Mitigation):
    """Iterative nullspace projection: the baseline that LEACE is held against. It takes more out, and guarantees less.

    rounds: readings that are projected out, at most.
    """

    source = "Ravfogel et al. 2020, arXiv:2004.07667"

    def __init__(self, *, rounds: Count = 10) -> None:
        self.rounds = rounds

    def fit(self, problem: Problem) -> LinearDecision:
        eraser = erasure.inlp(problem.z, problem.s, self.rounds)
        own = weighted(eraser(problem.z), problem.y, problem.classes, c=problem.c)
        return LinearDecision(eraser.matrix @ own.weight, eraser.bias @ own.weight + own.bias, eraser)
