from __future__ import annotations

import itertools
import math
import time
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tacit.errors import Asked
from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem
from tacit.types import Count, Positive

EXACT = 9  # parts up to which every set is looked at
LARGEST = 1000


class Shapley(Attribution):
    """Every part's share of the number, averaged over all orders in which parts could be added.

    error: largest standard error that is aimed at, as a share of the largest attribution. most: sets of parts that are looked at, at most.
    batch: sets between two looks at the error.
    """

    source = "Lundberg & Lee 2017, arXiv:1705.07874 (KernelSHAP), sets in pairs (Covert & Lee 2021); all sets where parts are few"
    complete, random = True, True

    def __init__(self, *, error: Positive = 0.05, most: Count = 2048, batch: Annotated[int, Field(ge=8)] = 256) -> None:
        self.error, self.most, self.batch = error, most, batch

    def attribute(self, problem: Problem, generator: torch.Generator) -> Attributed:
        n = problem.count
        if n > LARGEST:
            begin = time.perf_counter()
            problem.values(torch.rand(16, n, generator=generator) < 0.5)
            cost = 40 * n * (time.perf_counter() - begin) / 16
            said = f"{n:,} parts need some {40 * n:,} sets of them, about {cost / 60:,.0f} minutes"
            raise Asked(said, "explain fewer, larger parts (--parts 64)")
        if n == 1:
            return Attributed(torch.tensor([problem.all - problem.none], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
        if n <= EXACT:
            return Attributed(_exact(problem), torch.zeros(n, dtype=torch.float64), "all sets of parts")
        size = torch.arange(1, n, dtype=torch.float64)
        chance = 1 / (size * (n - size))  # of a set of this size, all of its sets together
        a, parts, seen = torch.zeros(n, n, dtype=torch.float64), list[tuple[Tensor, Tensor]](), 0
        found, doubt = torch.zeros(n, dtype=torch.float64), torch.full((n,), math.inf, dtype=torch.float64)
        while seen < self.most:
            keep = _sets(torch.multinomial(chance, self.batch // 2, replacement=True, generator=generator) + 1, n, generator)
            v = problem.values(keep) - problem.none
            m = keep.double()
            parts.append((m.T @ m / len(m), m.T @ v / len(m)))
            seen += len(m)
            a = sum((p[0] for p in parts), torch.zeros_like(a)) / len(parts)
            b = sum((p[1] for p in parts), torch.zeros(n, dtype=torch.float64)) / len(parts)
            found = _solved(a, b, problem.all - problem.none)
            if len(parts) > 2:  # each batch by the common matrix: its noise is that of its numbers
                each = torch.stack([_solved(a, p[1] + (a - p[0]) @ found, problem.all - problem.none) for p in parts])
                doubt = each.std(0) / len(parts) ** 0.5
                if float(doubt.max()) <= self.error * float(found.abs().max()):
                    break
        short = float(doubt.max()) > self.error * float(found.abs().max())
        said = f"{seen:,} sets of parts, standard error {float(doubt.max()) / max(float(found.abs().max()), 1e-12):.0%} of the largest"
        return Attributed(found, doubt, said + (f": above the {self.error:.0%} aimed at" if short else ""))


def _sets(sizes: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Random sets of these sizes, each with its complement, bool [2 K, n]."""
    order = torch.rand(len(sizes), n, generator=generator).argsort(1).argsort(1)
    keep = order < sizes[:, None]
    return torch.cat([keep, ~keep])


def _solved(a: Tensor, b: Tensor, total: float) -> Tensor:
    """Least squares of sums over sets, where all parts together give `total`."""
    n = len(b)
    inverse = torch.linalg.pinv(a + 1e-9 * torch.eye(n, dtype=a.dtype))
    one = torch.ones(n, dtype=a.dtype)
    free, share = inverse @ b, inverse @ one
    return free - share * ((free.sum() - total) / share.sum())


def _exact(problem: Problem) -> Tensor:
    """From the number of every set of parts."""
    n = problem.count
    sets = torch.tensor(list(itertools.product([False, True], repeat=n)))
    v = problem.values(sets)
    out = torch.zeros(n, dtype=torch.float64)
    size = sets.sum(1)
    weight = torch.tensor([math.factorial(int(s)) * math.factorial(max(0, n - int(s) - 1)) / math.factorial(n) for s in size])
    for p in range(n):
        without = (~sets[:, p]).nonzero()[:, 0]
        out[p] = (weight[without].double() * (v[without + 2 ** (n - 1 - p)] - v[without])).sum()
    return out
