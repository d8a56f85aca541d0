"""AdamW, and Muon for matrices; weight decay off norms, biases and tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices and kernels that decay, and everything of rank below 2 (norms, biases, tokens) that does not."""
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    decays = [p for n, p in trained if p.ndim >= 2 and not n.endswith("table")]
    stays = [p for n, p in trained if p.ndim < 2 or n.endswith("table")]
    return [{"params": decays, "weight_decay": weight_decay, "matrix": True}, {"params": stays, "weight_decay": 0.0, "matrix": False}]


def adamw(module: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.95)) -> torch.optim.AdamW:
    """AdamW over all trainable parameters; foreach keeps the Python overhead of small networks low."""
    return torch.optim.AdamW(parameter_groups(module, weight_decay), lr=lr, betas=betas, foreach=True)


def muon(
    module: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.95), dtype: torch.dtype = torch.float32
) -> Muon:
    """Muon over matrices and kernels, AdamW over the rest. dtype: of the orthogonalisation, bfloat16 where that is fast."""
    return Muon(parameter_groups(module, weight_decay), lr=lr, betas=betas, foreach=True, dtype=dtype)


class Muon(torch.optim.AdamW):
    """Momentum whose step on a matrix is made orthogonal, so that all its directions are learned at one pace.

    A kernel [out, in, ...] counts as a matrix [out, in * ...]. Groups with "matrix" False get AdamW. The step of a matrix is SCALE times
    the learning rate, so that one rate suits both.
    source: Jordan et al. 2024, Muon, an optimizer for hidden layers; ours also treats the first and the last layers so.
    """

    SCALE = 10.0
    MOMENTUM = 0.95

    def __init__(self, groups: list[dict[str, Any]], *, dtype: torch.dtype = torch.float32, **options: Any) -> None:
        super().__init__(groups, **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of all groups."""
        every = self.param_groups
        try:
            self.param_groups = [g for g in every if not g["matrix"]]
            loss = super().step(closure)
        finally:
            self.param_groups = every
        for group in every:
            if group["matrix"]:
                self._matrices(group)
        return loss

    def _matrices(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        gradients: list[Tensor] = [p.grad for p in parameters]
        for p in parameters:
            if "momentum" not in self.state[p]:
                # the step is not used, but AdamW looks for it when a state is loaded
                self.state[p] = {"step": torch.zeros(()), "momentum": torch.zeros_like(p)}
        moments = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_mul_(moments, self.MOMENTUM)
        torch._foreach_add_(moments, gradients)
        ahead = torch._foreach_add(gradients, moments, alpha=self.MOMENTUM)  # Nesterov's
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        for p, g in zip(parameters, ahead, strict=True):
            flat = g.reshape(len(g), -1)
            step = orthogonal(flat, self.dtype) * max(1.0, flat.shape[0] / flat.shape[1]) ** 0.5
            p.add_(step.view_as(g), alpha=-self.SCALE * group["lr"])


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32, rounds: int = 5) -> Tensor:
    """About the nearest matrix whose singular values are all 1 (they end between 0.7 and 1.2), by Newton and Schulz's iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.to(dtype)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)
