from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count, Share


class Relax(Attribution):
    """The mean number over random sets that hold a part, and how much the number varies among them: importance with its uncertainty.

    draws: sets. keep: share of the parts that stay.
    """

    source = "Wickstrom et al. 2023, arXiv:2112.10161 (RELAX); ours hides parts, and subtracts the mean over all sets"
    random = True

    def __init__(self, *, draws: Count = 1000, keep: Share = 0.5) -> None:
        self.draws, self.keep = draws, keep

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        stay = torch.rand(self.draws, problem.count, generator=generator) < self.keep
        v, m = problem.values(stay), stay.double()
        weight = m.sum(0).clamp(min=1)
        mean = (m * v[:, None]).sum(0) / weight
        varies = (m * (v[:, None] - mean).square()).sum(0) / weight
        return Attributed(mean - v.mean(), varies, "uncertainty: variance of the number among sets with the part")
