from __future__ import annotations

import torch

from tacit.errors import MissingExtra
from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count


class ByCaptum(Attribution):
    """Integrated gradients by the package `captum`. steps: along the path from nothing to the item."""

    engine = "captum"
    source = "Sundararajan et al. 2017, arXiv:1703.01365, as the package captum has it"
    gradients, complete = True, True

    def __init__(self, *, steps: Count = 64) -> None:
        self.steps = steps

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        try:
            from captum.attr import IntegratedGradients
        except ModuleNotFoundError as error:
            raise MissingExtra("captum", "explain", "--engine captum") from error
        start, end = problem.ends()
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            found = IntegratedGradients(problem.at).attribute(end, baselines=start, n_steps=self.steps, internal_batch_size=16)
        return Attributed(problem.per_piece(found), said="by the package captum", total=problem.along(start, end))
