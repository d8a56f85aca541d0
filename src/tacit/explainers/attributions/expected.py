from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count, NonNegative


class Expected(Attribution):
    """Gradients at random places of lines from the hidden item to noisy copies of it (gradient SHAP, expected gradients).

    draws: places. noise: in units of the item's own deviation.
    """

    source = "Erion et al. 2021, arXiv:1906.10670; the reference is the hidden item, or the mean of other items"
    gradients, complete, random = True, True, True

    def __init__(self, *, draws: Count = 64, noise: NonNegative = 0.05) -> None:
        self.draws, self.noise = draws, noise

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        start, end = problem.ends()
        # one place in each of equal steps of the line: as far apart as places can be
        share = (torch.arange(self.draws) + torch.rand(self.draws, generator=generator)) / self.draws
        share = share.to(end).view(-1, *[1] * (end.ndim - 1))
        drawn = torch.randn(self.draws, *end.shape[1:], generator=generator).to(end)
        noisy = end + drawn * end.std() * self.noise
        _, gradient = problem.gradients(start + share * (noisy - start))
        each = problem.per_piece((gradient * (noisy - start)).mean(0, keepdim=True))
        return Attributed(each, total=problem.along(start, end))
