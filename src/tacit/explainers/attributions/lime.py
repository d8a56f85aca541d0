from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count, NonNegative, Positive


class Lime(Attribution):
    """A weighted linear model of the number on random sets of parts, those near the whole item weighing most.

    draws: sets. width: distance, as a share of the parts that are gone, at which a set's weight has fallen to 1/e. ridge: penalty on the
    coefficients.
    """

    source = "Ribeiro et al. 2016, arXiv:1602.04938; ours is fitted twice on halves of the sets, and says how far the strongest parts agree"
    random = True

    def __init__(self, *, draws: Count = 1000, width: Positive = 0.5, ridge: NonNegative = 1e-3) -> None:
        self.draws, self.width, self.ridge = draws, width, ridge

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        share = torch.rand(self.draws, 1, generator=generator)
        stay = torch.rand(self.draws, problem.count, generator=generator) < share
        v, m = problem.values(stay), stay.double()
        near = torch.exp(-(((1 - m).mean(1) / self.width) ** 2))
        halves = [self._fitted(m[i::2], v[i::2], near[i::2]) for i in range(2)]
        k = max(1, problem.count // 10)
        first, second = (set(h.abs().topk(k).indices.tolist()) for h in halves)
        both = len(first & second) / len(first | second)
        doubt = (halves[0] - halves[1]).abs() / 2
        return Attributed(self._fitted(m, v, near), doubt, f"the strongest {k} parts of two halves of the sets agree to {both:.0%}")

    def _fitted(self, m: torch.Tensor, v: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        total = weight.sum()
        x, y = m - (weight[:, None] * m).sum(0) / total, v - (weight * v).sum() / total
        a = (x * weight[:, None]).T @ x / total
        return torch.linalg.solve(a + self.ridge * torch.eye(len(a), dtype=a.dtype), (x * weight[:, None]).T @ y / total)
