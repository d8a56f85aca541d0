"""What every way of attributing a number to parts has in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from tacit.explainers.problem import Problem
from tacit.types import Count, Share


@dataclass(frozen=True)
class Attributed:
    """each: what every part adds to the number, float64 [P]. doubt: how sure each is [P], None = not known. said: how it was found, where
    that is worth knowing. total: what all parts together should be; left out, it is the difference that hiding all of them makes."""

    each: Tensor
    doubt: Tensor | None = None
    said: str = ""
    total: float = math.nan


class Attribution:
    """Base of all. Subclasses take keyword-only settings; the file is the registration.

    gradients: it follows the gradient. complete: what the parts add sums to the difference that hiding all of them
    makes. random: another seed gives another answer. tells: False = it is known not to say what the network uses, and is shown as such.
    engine: the package that it is by, "" = ours; such are cross-checks.
    """

    source: ClassVar[str] = ""
    gradients: ClassVar[bool] = False
    complete: ClassVar[bool] = False
    random: ClassVar[bool] = False
    tells: ClassVar[bool] = True
    engine: ClassVar[str] = ""

    def __call__(self, problem: Problem, seed: int) -> Attributed:
        """The map of a problem; every seed draws its own random numbers."""
        found = self.attribute(problem, torch.Generator().manual_seed(seed))
        return replace(found, total=problem.all - problem.none) if math.isnan(found.total) else found

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        raise NotImplementedError


class Drawn(Attribution):
    """Base of those that look at random sets of parts. draws: sets. keep: share of the parts that stay."""

    random = True

    def __init__(self, *, draws: Count = 1000, keep: Share = 0.5) -> None:
        self.draws, self.keep = draws, keep

    def sets(self, problem: Problem, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which parts stay, float64 [draws, P], and the number for each set."""
        stay = torch.rand(self.draws, problem.count, generator=generator) < self.keep
        return stay.double(), problem.values(stay)
