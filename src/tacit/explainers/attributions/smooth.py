from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count, Positive


class Smooth(Attribution):
    """The mean gradient at noisy copies of the item, times what hiding would change (SmoothGrad).

    draws: copies. noise: in units of the item's own deviation.
    """

    source = "Smilkov et al. 2017, arXiv:1706.03825"
    gradients, random = True, True

    def __init__(self, *, draws: Count = 32, noise: Positive = 0.15) -> None:
        self.draws, self.noise = draws, noise

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        start, end = problem.ends()
        drawn = torch.randn(self.draws, *end.shape[1:], generator=generator).to(end)
        _, gradient = problem.gradients(end + drawn * end.std() * self.noise)
        return Attributed(problem.per_piece(gradient.mean(0, keepdim=True) * (end - start)))
