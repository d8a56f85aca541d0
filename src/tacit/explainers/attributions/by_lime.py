from __future__ import annotations

import numpy as np
import torch

from tacit.errors import MissingExtra
from tacit.explainers.attribution import Attributed, Drawn
from tacit.explainers.problem import Problem


class ByLime(Drawn):
    """A weighted linear model of random sets of parts by the package `lime`. draws: sets. keep: share of the parts that stay."""

    engine = "lime"
    source = "Ribeiro et al. 2016, arXiv:1602.04938, as the package lime has it"

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        try:
            from lime.lime_base import LimeBase
        except ModuleNotFoundError as error:
            raise MissingExtra("lime", "explain", "--engine lime") from error
        stay, values = self.sets(problem, generator)
        data = np.vstack([np.ones((1, problem.count)), stay.numpy()])  # the item itself comes first
        labels = np.r_[problem.all, values.numpy()][:, None]
        distance = 1 - np.sqrt(data.mean(1))  # of a set to the item, by the cosine of their indicators
        base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)), random_state=0)
        found = base.explain_instance_with_data(data, labels, distance, 0, problem.count, feature_selection="none")
        each = torch.zeros(problem.count, dtype=torch.float64)
        for part, weight in found[1]:
            each[int(part)] = float(weight)
        return Attributed(each, said="by the package lime")
