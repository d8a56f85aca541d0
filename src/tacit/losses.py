"""Losses, always in float32: each leaves autocast and casts its inputs, because a cast alone keeps matrix products in bf16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.gather import everyone, own_rows, world

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run in float32 (or float64, if asked) with autocast off; arguments given by name are cast too."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)).device.type
        with torch.autocast(device, enabled=False):
            named = {name: _float32(value) for name, value in kwargs.items()}
            return function(*map(_float32, args), **named)  # type: ignore[arg-type]

    return run


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value


@full_precision
def info_nce(z: Tensor, ids: Tensor, temperature: float, stream: Tensor | None = None) -> Tensor:
    """Contrastive loss: rows with equal ids attract, all others repel.

    z: [B, D], normalised here; ids: [B]; temperature: > 0; stream: [B], if given only pairs across streams count.
    In a distributed run the rows of all processes count. source: Chen et al. 2020, arXiv:2002.05709, equation 1; several positives
    are averaged outside the logarithm (Khosla et al. 2020, arXiv:2004.11362, equation 2, L_out).
    """
    z, ids = F.normalize(everyone(z), dim=1), everyone(ids)
    stream = None if stream is None else everyone(stream)
    apart = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    if stream is not None:
        apart = stream[:, None] != stream[None]
    positive = (ids[:, None] == ids[None]) & apart
    log_p = (z @ z.T / temperature).masked_fill(~apart, -1e9).log_softmax(1)
    count = positive.sum(1)
    return -((log_p * positive).sum(1) / count.clamp(min=1))[count > 0].mean()


@full_precision
def contrast(query: Tensor, key: Tensor, positive: Tensor, temperature: float, counts: Tensor | None = None) -> Tensor:
    """Contrastive loss of queries [B, D] against other keys [K, D], normalised here.

    positive: bool [B, K], keys that belong to a query; rows without any are left out. counts: bool [B, K], keys that are compared
    with at all, None = all. source: van den Oord et al. 2018, arXiv:1807.03748, equation 4.
    """
    similar = F.normalize(query, dim=1) @ F.normalize(key, dim=1).T / temperature
    if counts is not None:
        similar = similar.masked_fill(~(counts | positive), -1e9)
    count = positive.sum(1)
    own = -(similar.log_softmax(1) * positive).sum(1) / count.clamp(min=1)
    return (own * (count > 0)).sum() / (count > 0).sum().clamp(min=1)


@full_precision
def paired(query: Tensor, key: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Contrastive loss of queries [B, D] with the key [B, D] of the same row, against the keys of all rows of all processes.

    known: bool [B], rows that count.
    """
    every = torch.arange(len(key) * world(), device=key.device)
    own = (own_rows(every)[:, None] == every) & known[:, None]
    return contrast(query, everyone(key), own, temperature, everyone(known)[None].expand_as(own))


@full_precision
def likeness(a: Tensor, b: Tensor) -> Tensor:
    """Cosines [B, K] between rows of a [B, D] and of b [K, D]; a row of zeros has 0 with all."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


@full_precision
def variance(z: Tensor, eps: float = 1e-4) -> Tensor:
    """VICReg's hinge that keeps every dimension's standard deviation at 1 or more."""
    z = everyone(z)
    return F.relu(1 - (z.var(0) + eps).sqrt()).mean()


@full_precision
def covariance(z: Tensor) -> Tensor:
    """VICReg's sum of squared off-diagonal covariances, divided by the width."""
    z = everyone(z)
    z = z - z.mean(0)
    c = z.T @ z / (len(z) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


@full_precision
def cross_correlation(a: Tensor, b: Tensor, eps: float = 1e-5) -> Tensor:
    """Correlation of every dimension of a [B, D] with every dimension of b: [D, D]; source: Zbontar et al. 2021, arXiv:2103.03230."""
    a, b = everyone(a), everyone(b)
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + eps).sqrt() for z in (a, b))
    return a.T @ b / len(a)


@full_precision
def gaussianity(z: Tensor, directions: Tensor, knots: int = 17, reach: float = 5.0) -> Tensor:
    """How far z [B, D] is from a standard normal distribution along unit directions [D, K].

    The Epps-Pulley statistic: the squared difference of the empirical and the normal characteristic function, weighted with
    exp(-t^2 / 2), summed over `knots` points of -reach..reach by the trapezoid rule, times B.
    source: Balestriero & LeCun 2025, arXiv:2511.08544, algorithm 1 (weight = the normal characteristic function).
    """
    x = everyone(z) @ directions  # [B, K]
    t = torch.linspace(-reach, reach, knots, device=z.device, dtype=x.dtype)
    angle = x[..., None] * t
    normal = (-t.square() / 2).exp()
    apart = (angle.cos().mean(0) - normal).square() + angle.sin().mean(0).square()  # [K, knots]
    return torch.trapezoid(apart * normal, t).mean() * len(x)


@full_precision
def soft_cross_entropy(logits: Tensor, goal: Tensor) -> Tensor:
    """Cross entropy of logits [B, K] with probabilities [B, K]."""
    return -(goal * logits.log_softmax(1)).sum(1).mean()


@full_precision
def triplet(z: Tensor, ids: Tensor, margin: float) -> Tensor:
    """Every row's positives must be nearer than its nearest others by a margin, in squared distance of unit vectors.

    z: [B, D]; ids: [B], rows with equal ids are positives. Of the others, the nearest that is farther than the positive is taken,
    or the farthest if all are nearer. source: Schroff et al. 2015, arXiv:1503.03832, equations 1 and 4 (semi-hard negatives).
    """
    z, ids = F.normalize(everyone(z), dim=1), everyone(ids)
    distance = (2 - 2 * z @ z.T).clamp(min=0)
    same = ids[:, None] == ids[None]
    pairs = same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    others = distance.masked_fill(same, torch.inf).sort(1).values  # the others of each row, nearest first, infinity at the end
    at = torch.searchsorted(others.detach(), distance.detach().contiguous(), right=True).clamp(max=len(z) - 1)
    semi = others.gather(1, at)  # [B, B], for every pair the nearest other that is farther
    farthest = distance.masked_fill(same, -1.0).amax(1, keepdim=True)
    far = torch.where(semi.isinf(), farthest, semi)
    counted = pairs & (farthest >= 0)
    return (F.relu(distance - far + margin) * counted).sum() / counted.sum().clamp(min=1)


@full_precision
def smooth_l1(a: Tensor, b: Tensor, beta: float = 1.0) -> Tensor:
    """Mean Huber distance: squared below beta, absolute above."""
    return F.smooth_l1_loss(a, b, beta=beta)


@full_precision
def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence from N(mean, variance) [B, D] to N(0, 1), summed over D, mean over B.

    source: Kingma & Welling 2013, arXiv:1312.6114, appendix B.
    """
    return (0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)).sum(1).mean()


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
    """Cross entropy of logits [K, classes] with int64 answers [K]; rows with a negative answer are left out."""
    known = answer >= 0
    each = F.cross_entropy(logits, answer.clamp(min=0), label_smoothing=smoothing, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


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


@full_precision
def cosines_of_classes(z: Tensor, y: Tensor) -> Tensor:
    """Squared distance of the cosines of all pairs of a batch from 1 (of one class) and 0 (of two), both kinds counting alike.

    z: [B, D]. y: classes, int64 [B], -1 = unknown. source: Tunstall et al. 2022, arXiv:2209.11055 (SetFit), whose pairs are drawn and
    stored; ours are those of the batch.
    """
    unit = F.normalize(z, dim=1)
    cosine, known = unit @ unit.T, (y >= 0) & (y >= 0)[:, None]
    same = (y == y[:, None]) & known & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    other = (y != y[:, None]) & known
    near = ((1 - cosine).square() * same).sum() / same.sum().clamp(min=1)
    far = (cosine.square() * other).sum() / other.sum().clamp(min=1)
    return (near + far) / 2
