"""What every way of attributing a number to parts has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tacit.errors import CannotPair
from tacit.explainers.problem import Problem


@dataclass(frozen=True)
class Attributed:
    """each: what every part adds to the number, float64 [P]. doubt: how sure each is [P], None = not known. said: how it was found, where
    that is worth knowing. total: what all parts together should be, None = the difference that hiding all of them makes."""

    each: Tensor
    doubt: Tensor | None = None
    said: str = ""
    total: float | None = None


class Attribution:
    """Base of all. Subclasses take keyword-only settings; the file is the registration.

    gradients: it needs a network that can be differentiated. complete: what the parts add sums to the difference that hiding all of them
    makes. random: another seed gives another answer. tells: False = it is known not to say what the network uses, and is shown as such.
    """

    source: ClassVar[str] = ""
    gradients: ClassVar[bool] = False
    complete: ClassVar[bool] = False
    random: ClassVar[bool] = False
    tells: ClassVar[bool] = True

    def __call__(self, problem: Problem, generator: torch.Generator) -> Attributed:
        if self.gradients and not problem.value.differentiable:
            raise CannotPair(f"{type(self).__name__.lower()} follows gradients, and this model has none", "--how occlusion or shapley")
        return self.attribute(problem, generator)

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        raise NotImplementedError
