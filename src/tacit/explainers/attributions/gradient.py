from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem


class Gradient(Attribution):
    """The gradient at the item, times what hiding would change (gradient x input)."""

    source = "Shrikumar et al. 2016, arXiv:1605.01713"
    gradients = True

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        start, end = problem.ends()
        _, gradient = problem.gradients(end)
        return Attributed(problem.per_piece(gradient * (end - start)))
