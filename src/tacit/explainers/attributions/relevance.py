from __future__ import annotations

import torch

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem


class Relevance(Attribution):
    """Attention weighted by its gradient, layer by layer: what was looked at and made the number larger."""

    source = "Chefer et al. 2021, arXiv:2103.15679, from the mean over all places"
    gradients, tells = True, False

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        whole = None
        layers, there = problem.attention()
        for weights, gradient in layers:
            whole = torch.eye(weights.shape[-1], device=weights.device) if whole is None else whole
            whole = whole + (weights * gradient).clamp(min=0).mean(0) @ whole
        assert whole is not None
        own = whole - torch.eye(len(whole), device=whole.device)
        return Attributed(problem.of_tokens(own[there].mean(0)), None, "parts that speak against the number are not seen")
