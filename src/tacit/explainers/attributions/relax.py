from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Drawn
from tacit.explainers.problem import Problem


class Relax(Drawn):
    """The mean number over random sets that hold a part, and how much the number varies among them: importance with its uncertainty.

    draws: sets. keep: share of the parts that stay.
    """

    source = "Wickstrom et al. 2023, arXiv:2112.10161 (RELAX); ours hides parts, and subtracts the mean over all sets"

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        m, v = self.sets(problem, generator)
        count = m.sum(0).clamp(min=1)
        mean = (m * v[:, None]).sum(0) / count
        varies = (m * (v[:, None] - mean).square()).sum(0) / count
        return Attributed(mean - v.mean(), varies, "uncertainty: variance of the number among sets with the part")
