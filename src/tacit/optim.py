"""AdamW, and Muon for matrices; weight decay off norms, biases and tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WIDE = 512  # smaller side of a matrix, above which a projector's gets AdamW


def parameter_groups(module: nn.Module, weight_decay: float, pace: Callable[[str], float] = lambda name: 1.0) -> list[dict[str, Any]]:
    """Matrices and kernels, which decay, and everything of rank below 2 (norms, biases, tokens), which does not, for each pace.

    "matrix" says what Muon treats as such: not the wide matrices of a projector, whose steps would cost as much as the encoder's.
    pace: name of a parameter -> its learning rate, as a share of the run's.
    """
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    groups = []
    for speed in sorted({pace(n) for n, _ in trained}, reverse=True) or [1.0]:
        mine = [(n, p) for n, p in trained if pace(n) == speed]
        stays = [p for n, p in mine if p.ndim < 2 or n.endswith("table")]
        matrix, wide = list[nn.Parameter](), list[nn.Parameter]()
        for name, p in mine:
            if p.ndim >= 2 and not name.endswith("table"):
                (matrix if "encoder" in name.split(".") or min(len(p), p[0].numel()) <= WIDE else wide).append(p)
        groups += [
            {"params": matrix, "weight_decay": weight_decay, "matrix": True, "pace": speed},
            {"params": wide, "weight_decay": weight_decay, "matrix": False, "pace": speed},
            {"params": stays, "weight_decay": 0.0, "matrix": False, "pace": speed},
        ]
    return groups


def adamw(
    module: nn.Module,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
    pace: Callable[[str], float] = lambda name: 1.0,
) -> torch.optim.AdamW:
    """AdamW over all trainable parameters, in one pass over each of them (on a CPU six times as fast as several)."""
    return torch.optim.AdamW(parameter_groups(module, weight_decay, pace), lr=lr, betas=betas, fused=True)


def muon(
    module: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.95), dtype: torch.dtype = torch.float32
) -> Muon:
    """Muon over matrices and kernels, AdamW over the rest. dtype: of the orthogonalisation, bfloat16 where that is fast."""
    return Muon(parameter_groups(module, weight_decay), lr=lr, betas=betas, foreach=True, dtype=dtype)


class Muon(torch.optim.AdamW):
    """Momentum whose step on a matrix is made orthogonal, so that all its directions are learned at one pace.

    A kernel [out, in, ...] counts as a matrix [out, in * ...]. Groups with "matrix" False get AdamW. The step of a matrix is SCALE times
    the learning rate, so that one rate suits both.
    source: Jordan et al. 2024, Muon, an optimizer for hidden layers; ours also treats the first and the last layers so, but no
    wide matrix outside the encoder.
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
        alike: dict[torch.Size, list[int]] = {}
        for i, g in enumerate(ahead):
            alike.setdefault(g.flatten(1).shape, []).append(i)
        for (rows, columns), of in alike.items():
            steps = orthogonal(torch.stack([ahead[i].flatten(1) for i in of]), self.dtype) * max(1.0, rows / columns) ** 0.5
            for i, step in zip(of, steps, strict=True):
                parameters[i].add_(step.view_as(parameters[i]), alpha=-self.SCALE * group["lr"])


def orthogonal(matrices: Tensor, dtype: torch.dtype = torch.float32, rounds: int = 5) -> Tensor:
    """About the nearest matrices to [K, M, N] whose singular values are all 1 (they end between 0.7 and 1.2), by Newton and Schulz."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.to(dtype)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
