"""Losses, always in float32: each leaves autocast and casts its inputs, because a cast alone keeps matrix products in bf16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run in float32 with autocast off; arguments given by name are cast too."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)).device.type
        with torch.autocast(device, enabled=False):
            named = {name: _float32(value) for name, value in kwargs.items()}
            return function(*map(_float32, args), **named)  # type: ignore[arg-type]

    return run


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


@full_precision
def info_nce(z: Tensor, ids: Tensor, temperature: float, stream: Tensor | None = None) -> Tensor:
    """Contrastive loss: rows with equal ids attract, all others repel.

    z: [B, D], normalised here; ids: [B]; temperature: > 0; stream: [B], if given only pairs across streams count.
    source: Chen et al. 2020, arXiv:2002.05709, equation 1; several positives are averaged outside the logarithm (SupCon, L_out).
    """
    z = F.normalize(z, dim=1)
    apart = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    if stream is not None:
        apart = stream[:, None] != stream[None]
    positive = (ids[:, None] == ids[None]) & apart
    log_p = (z @ z.T / temperature).masked_fill(~apart, -1e9).log_softmax(1)
    count = positive.sum(1)
    return -((log_p * positive).sum(1) / count.clamp(min=1))[count > 0].mean()


@full_precision
def variance(z: Tensor, eps: float = 1e-4) -> Tensor:
    """VICReg's hinge that keeps every dimension's standard deviation at 1 or more."""
    return F.relu(1 - (z.var(0) + eps).sqrt()).mean()


@full_precision
def covariance(z: Tensor) -> Tensor:
    """VICReg's sum of squared off-diagonal covariances, divided by the width."""
    z = z - z.mean(0)
    c = z.T @ z / (len(z) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


@full_precision
def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference."""
    return F.mse_loss(a, b)


@full_precision
def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """2 - 2 cos(a, b), the squared distance of unit vectors; source: Grill et al. 2020, arXiv:2006.07733, equation 2."""
    return (2 - 2 * F.cosine_similarity(a, b, dim=-1)).mean()


@full_precision
def cross_entropy(logits: Tensor, answer: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy of logits [K, classes] with int64 answers [K]."""
    return F.cross_entropy(logits, answer, label_smoothing=smoothing)


@full_precision
def masked_mse(predicted: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Mean squared error over the entries that exist (seen True)."""
    seen = seen.float()
    return ((predicted - value).square() * seen).sum() / seen.sum().clamp(min=1)


@full_precision
def instance_contrast(a: Tensor, b: Tensor, ok: Tensor) -> Tensor:
    """At each cell, tell the other view of the same item from all other items.

    a, b: [B, N, D]; ok: bool [B, N], cells that both views have. source: Yue et al. 2022, arXiv:2106.10466, equation 2.
    """
    size = len(a)
    if size < 2:
        return a.sum() * 0.0
    z = torch.cat([a, b]).transpose(0, 1)  # [N, 2B, D]
    similar = z @ z.transpose(1, 2)
    own = torch.eye(2 * size, dtype=torch.bool, device=a.device)
    absent = ~torch.cat([ok, ok]).T[:, None, :]
    log_p = similar.masked_fill(own | absent, -1e9).log_softmax(-1)
    i = torch.arange(size, device=a.device)
    pair = (log_p[:, i, i + size] + log_p[:, i + size, i]) / 2  # [N, B]
    return -_mean_where(pair.T, ok)


@full_precision
def time_contrast(a: Tensor, b: Tensor, ok: Tensor) -> Tensor:
    """Within each item, tell the same cell of the other view from all other cells.

    a, b: [B, N, D]; ok: bool [B, N]. source: Yue et al. 2022, arXiv:2106.10466, equation 1.
    """
    n = a.shape[1]
    if n < 2:
        return a.sum() * 0.0
    z = torch.cat([a, b], 1)
    own = torch.eye(2 * n, dtype=torch.bool, device=a.device)
    absent = ~torch.cat([ok, ok], 1)[:, None, :]
    log_p = (z @ z.transpose(1, 2)).masked_fill(own | absent, -1e9).log_softmax(-1)
    i = torch.arange(n, device=a.device)
    return -_mean_where((log_p[:, i, i + n] + log_p[:, i + n, i]) / 2, ok)


def _mean_where(value: Tensor, ok: Tensor) -> Tensor:
    weight = ok.to(value.dtype)
    return (value * weight).sum() / weight.sum().clamp(min=1)
