from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Drawn
from tacit.explainers.problem import Problem


class Masks(Drawn):
    """Many random sets of parts: the mean number where a part stays, minus that where it is gone.

    draws: sets. keep: share of the parts that stay.
    """

    source = "Petsiuk et al. 2018, arXiv:1806.07421 (RISE); ours subtracts the mean of the sets without the part"

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        m, v = self.sets(problem, generator)
        means, error = [], torch.zeros(problem.count, dtype=v.dtype)
        for side in (m, 1 - m):
            count = side.sum(0).clamp(min=1)
            means.append((side * v[:, None]).sum(0) / count)
            error += (side * (v[:, None] - means[-1]).square()).sum(0) / count.square()
        return Attributed(means[0] - means[1], error.sqrt(), f"{self.draws} random sets of parts")
