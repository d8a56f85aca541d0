from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem


class Rollout(Attribution):
    """Where attention comes from in the end, whatever is explained. It says where the network looks, not what it uses."""

    source = "Abnar & Zuidema 2020, arXiv:2005.00928, from the mean over all places"
    gradients, tells = True, False

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        whole = None
        layers, there = problem.attention()
        for weights, _ in layers:
            step = 0.5 * weights.mean(0) + 0.5 * torch.eye(weights.shape[-1], device=weights.device)
            whole = step if whole is None else step @ whole
        assert whole is not None
        return Attributed(problem.of_tokens(whole[there].mean(0)), None, "it does not depend on what is explained")
