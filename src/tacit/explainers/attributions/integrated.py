from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count


class Integrated(Attribution):
    """Gradients summed along a straight line from the item with everything hidden to the item (integrated gradients).

    steps: of the line.
    """

    source = "Sundararajan et al. 2017, arXiv:1703.01365, at the midpoints of the steps"
    gradients, complete = True, True

    def __init__(self, *, steps: Count = 64) -> None:
        self.steps = steps

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        start, end = problem.ends()
        share = ((torch.arange(self.steps, device=end.device) + 0.5) / self.steps).view(-1, *[1] * (end.ndim - 1))
        _, gradient = problem.gradients(start + share * (end - start))
        each = problem.per_piece(gradient.mean(0, keepdim=True) * (end - start))
        return Attributed(each, total=problem.along(start, end))
