from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Share


class Occlusion(Attribution):
    """What is lost when one part is taken away, and what is gained when it alone is there; a weighted mean of both.

    alone: weight of what it gives alone.
    """

    source = "Zeiler & Fergus 2013, arXiv:1311.2901; ours adds the part alone, since what two parts say twice is missed by taking away one"

    def __init__(self, *, alone: Share = 0.5) -> None:
        self.alone = alone

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        one = torch.eye(problem.count, dtype=torch.bool)
        lost = problem.all - problem.values(~one)
        gained = problem.values(one) - problem.none
        return Attributed((1 - self.alone) * lost + self.alone * gained)
