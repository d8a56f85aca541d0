"""A decision on embeddings from which the group was erased."""

from __future__ import annotations

from tacit.auditors import erasure
from tacit.auditors.repair import LinearDecision, Mitigation, Problem, weighted
from tacit.types import Fraction


class Leace(Mitigation):
    """LEACE takes what is linear of the group out of the features; then logistic regression. Both together are one linear layer.

    strength: share of the erased part that is taken out.
    """

    source = "Belrose et al. 2023, arXiv:2306.03819; see tacit.auditors.erasure for where ours differs"

    def __init__(self, *, strength: Fraction = 1.0) -> None:
        self.strength = strength

    def fit(self, problem: Problem) -> LinearDecision:
        return behind(erasure.leace(problem.z, problem.s).partly(self.strength), problem)


def behind(eraser: erasure.Eraser, problem: Problem) -> LinearDecision:
    """A linear decision that was learned behind an eraser, as one that reads what stands before it."""
    own = weighted(eraser(problem.z), problem.y, problem.classes, c=problem.c)
    return LinearDecision(eraser.matrix @ own.weight, eraser.bias @ own.weight + own.bias, eraser)
