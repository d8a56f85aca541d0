from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tacit.errors import MissingExtra
from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count


class ByShap(Attribution):
    """Shapley values by the package `shap` (its Kernel SHAP), with the parts as its features.

    looks: at the item, at most; with few parts every set is looked at.
    """

    engine = "shap"
    source = "Lundberg & Lee 2017, arXiv:1705.07874, as the package shap has it"
    complete, random = True, True

    def __init__(self, *, looks: Count = 2000) -> None:
        self.looks = looks

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        try:
            import shap
        except ModuleNotFoundError as error:
            raise MissingExtra("shap", "explain", "--engine shap") from error

        def value(stay: np.ndarray) -> np.ndarray:
            return problem.values(torch.from_numpy(stay > 0.5)).numpy()

        n = problem.count
        before = np.random.get_state()
        np.random.seed(int(torch.randint(2**31, (1,), generator=generator)))  # shap draws from NumPy's own
        try:
            found = shap.KernelExplainer(value, np.zeros((1, n))).shap_values(
                np.ones((1, n)), nsamples=self.looks, l1_reg=False, silent=True
            )
        finally:
            np.random.set_state(before)
        each: Tensor = torch.from_numpy(np.asarray(found, np.float64).reshape(-1))
        return Attributed(each, said="by the package shap")
