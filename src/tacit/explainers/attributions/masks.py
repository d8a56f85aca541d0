from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count, Share


class Masks(Attribution):
    """Many random sets of parts: the mean number where a part stays, minus that where it is gone.

    draws: sets. keep: share of the parts that stay.
    """

    source = "Petsiuk et al. 2018, arXiv:1806.07421 (RISE); ours subtracts the mean of the sets without the part"
    random = True

    def __init__(self, *, draws: Count = 1000, keep: Share = 0.5) -> None:
        self.draws, self.keep = draws, keep

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        stay = torch.rand(self.draws, problem.count, generator=generator) < self.keep
        v, m = problem.values(stay), stay.double()
        with_, without = m.sum(0).clamp(min=1), (1 - m).sum(0).clamp(min=1)
        first, second = (m * v[:, None]).sum(0) / with_, ((1 - m) * v[:, None]).sum(0) / without
        spread = (m * (v[:, None] - first).square()).sum(0) / with_.square() + ((1 - m) * (v[:, None] - second).square()).sum(
            0
        ) / without.square()
        return Attributed(first - second, spread.sqrt(), f"{self.draws} random sets of parts")
