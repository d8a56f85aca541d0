"""Clusters and soft assignments to them: what clustering methods share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.losses import full_precision


@torch.no_grad()
def spherical_kmeans(z: Tensor, k: int, generator: torch.Generator, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """k-means on directions: centres of unit length [k, D] and the cluster of every row of z [N, D].

    Starts from k rows that lie far apart (k-means++ on the cosine distance); a cluster that runs empty restarts at the row that
    its own centre fits worst. rounds: of assignment and averaging. source: Dhillon & Modha 2001; as in DeepCluster v2.
    """
    z = F.normalize(z.float(), dim=1)
    n = len(z)
    centres = z[_far_apart(z, min(k, n), generator)]
    if len(centres) < k:
        centres = torch.cat([centres, F.normalize(torch.randn(k - n, z.shape[1], generator=generator, device=z.device), dim=1)])
    own = torch.zeros(n, dtype=torch.int64, device=z.device)
    for _ in range(rounds):
        likeness, own = (z @ centres.T).max(1)
        total = torch.zeros_like(centres).index_add_(0, own, z)
        count = own.bincount(minlength=k)
        total = torch.where(total.norm(dim=1, keepdim=True) > 1e-6, total, centres)  # empty, or its rows cancel: the centre stays
        empty = (count == 0).nonzero()[:, 0]
        if len(empty):
            worst = likeness.argsort()[: len(empty)]
            total[empty[: len(worst)]] = z[worst]
        centres = F.normalize(total, dim=1)
    return centres, (z @ centres.T).argmax(1)


@torch.no_grad()
def kmeans(x: Tensor, k: int, generator: torch.Generator, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """k-means: centres [k, D] and the cluster of every row of x [N, D]. Clusters are empty where there are fewer different rows.

    Starts from k rows that lie far apart; every row draws its own numbers, so that the order of the rows does not matter.
    rounds: of assignment and averaging. source: Arthur & Vassilvitskii 2007 (k-means++).
    """
    x = x.float()
    race = -torch.rand(len(x), k, generator=generator, device=x.device).log()  # first at race / weight is a draw in proportion to weight
    centres = x.index_select(0, race[:, 0].argmin()[None])
    away = (x - centres).square().sum(1)
    closed = [torch.zeros(1, dtype=torch.bool, device=x.device)]
    for i in range(1, k):
        at = (race[:, i] / away).argmin()[None]
        closed.append(away[at] == 0)  # every row is a centre already: two equal ones would divide equal rows
        centre = x.index_select(0, at)
        centres, away = torch.cat([centres, centre]), torch.minimum(away, (x - centre).square().sum(1))
    absent = torch.cat(closed)
    own = _nearest(x, centres, absent)
    for _ in range(rounds):
        member = F.one_hot(own, k).to(x.dtype)
        count = member.sum(0)[:, None]
        centres = torch.where(count > 0, member.T @ x / count.clamp(min=1), centres)
        own = _nearest(x, centres, absent)
    return centres, own


def _nearest(x: Tensor, centres: Tensor, absent: Tensor) -> Tensor:
    away = centres.square().sum(1) - 2 * x @ centres.T  # up to the row's own length
    return away.masked_fill(absent, torch.inf).argmin(1)


def _far_apart(z: Tensor, k: int, generator: torch.Generator) -> Tensor:
    first = int(torch.randint(0, len(z), (1,), generator=generator, device=z.device))
    chosen = [first]
    distance = (1 - z @ z[first]).clamp(min=0)
    for _ in range(k - 1):
        weight = distance + 1e-12
        draw = torch.rand((), generator=generator, device=z.device) * weight.sum()
        chosen.append(min(int((weight.cumsum(0) < draw).sum()), len(z) - 1))
        distance = torch.minimum(distance, (1 - z @ z[chosen[-1]]).clamp(min=0))
    return torch.tensor(chosen, device=z.device)


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, temperature: float = 0.05, rounds: int = 3) -> Tensor:
    """Soft assignments of rows to prototypes [B, K] that use every prototype equally; each row sums to 1.

    scores: likeness [B, K]. temperature: smoothness, > 0. rounds: of normalising columns, then rows.
    source: Caron et al. 2020, arXiv:2006.09882, equation 3 (Cuturi 2013).
    """
    q = scores / temperature
    for _ in range(rounds):  # in logarithms, because rows far below the highest score would vanish
        q = q.log_softmax(0)
        q = q.log_softmax(1)
    return q.exp()
