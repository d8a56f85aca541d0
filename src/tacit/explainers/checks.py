"""Does a map say what the network uses? Every map is tested before it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.problem import Problem, one_by_one

ORDERS = 20  # random orders that an order by attribution has to be better than
POINTS = 12  # of a curve, at most
AGREE = 0.8  # top parts that two seeds have to share
COMPLETE = 0.05  # of the difference, that the sum of all parts may miss
SILENT = 1e-7
SAME = 1e-4  # of what goes in, below which a change is none
FEWEST = 4  # parts; fewer have so few orders that the best one comes by chance


@dataclass(frozen=True)
class Check:
    """passed: None = it could not be tested. value: what was measured. against: what it is held against. said: in words."""

    name: str
    passed: bool | None
    value: float | None
    against: float | None
    said: str


@dataclass(frozen=True)
class Tested:
    """Checks of one map, and the curves behind them: shares of parts and the number there, of the map and the mean of random orders."""

    checks: tuple[Check, ...]
    curves: Mapping[str, Sequence[float]]

    @property
    def verdict(self) -> str:
        """passed: two checks or more passed and none failed; failed; not testable."""
        known = [c.passed for c in self.checks if c.passed is not None]
        if not all(known):
            return "failed"
        return "passed" if len(known) >= 2 else "not testable"

    def plain(self) -> list[dict[str, object]]:
        """As plain JSON."""
        return [asdict(c) for c in self.checks]


def areas(problem: Problem, orders: Sequence[Sequence[int]], insert: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean number while parts are taken away in each order (insert: added), float64 [O], and the curves [O, S + 1].

    source: Petsiuk et al. 2018, arXiv:1806.07421 (deletion and insertion), on the explained number itself.
    """
    n = problem.count
    at = np.unique(np.round(np.linspace(0, n, min(n, POINTS) + 1)).astype(int))
    sets = []
    for order in orders:
        chosen = one_by_one(order, n)[torch.from_numpy(at)]
        sets.append(chosen if insert else ~chosen)
    curves = problem.values(torch.cat(sets)).view(len(orders), len(at)).numpy()
    return np.trapezoid(curves, at / n, axis=1), curves


ROAD = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares of the parts that are taken away


def road(problem: Problem, order: Sequence[int], seed: int) -> float:
    """How much better an image without its weakest parts is than without its strongest, mean over shares, neighbours filling the gaps.

    order: parts, the strongest first. source: Rong et al. 2022, arXiv:2202.00449, (LeRF - MoRF) / 2.
    """
    n = problem.count
    keep = torch.ones(2 * len(ROAD), n, dtype=torch.bool)
    for i, share in enumerate(ROAD):
        gone = max(1, round(share * n))
        keep[2 * i, list(order[:gone])] = False
        keep[2 * i + 1, list(order[n - gone :])] = False
    strong, weak = problem.refilled(keep, seed).view(-1, 2).mean(0).tolist()
    return float((weak - strong) / 2)


def ranked(each: Tensor) -> list[int]:
    """Parts, the one that adds most first."""
    return torch.argsort(each, descending=True, stable=True).tolist()


def jaccard(a: Tensor, b: Tensor, k: int) -> float:
    """Share of the k strongest parts of two maps that they have in common."""
    first, second = (set(torch.argsort(v.abs(), descending=True, stable=True)[:k].tolist()) for v in (a, b))
    return len(first & second) / len(first | second)


def short_of(found: Attributed) -> float:
    """What the sum of all parts misses of the difference that they should make, as a share of it."""
    return abs(float(found.each.sum()) - found.total) / max(abs(found.total), 1e-9)


def check(
    problem: Problem,
    found: Attributed,
    way: Attribution,
    seed: int,
    rivals: Mapping[str, Callable[[], Attributed]],
    again: Callable[[int], Attributed],
) -> Tested:
    """All checks of one map.

    rivals: maps that have to be worse, by what they are called. again: the map by another seed.
    """
    n, each = problem.count, found.each
    if n < FEWEST or float(each.abs().max()) <= SILENT:
        why = f"there are only {n} parts" if n < FEWEST else silence(problem, way)
        return Tested((Check("deletion", None, None, None, why),), {})
    draw = np.random.default_rng(seed)
    orders = [ranked(each), *([draw.permutation(n).tolist() for _ in range(ORDERS)]), *(ranked(rival().each) for rival in rivals.values())]
    out, curves = [], {}
    scores = {}
    for name, insert in (("deletion", False), ("insertion", True)):
        area, curve = areas(problem, orders, insert)
        random = area[1 : 1 + ORDERS]
        ahead = (area[0] - random) * (1 if insert else -1)
        better, beaten = bool((ahead > -SILENT).all() and ahead.max() > SILENT), int((ahead > SILENT).sum())
        word = "added" if insert else "taken away"
        said = f"with the strongest parts {word} first the number is on average {area[0]:.3f}, in random orders {random.mean():.3f}"
        out.append(Check(name, better, float(area[0]), float(random.mean()), f"{said}: better than {beaten} of {ORDERS}"))
        curves[name], curves[f"{name} random"] = curve[0].tolist(), curve[1 : 1 + ORDERS].mean(0).tolist()
        scores[name] = area
    gap = scores["insertion"] - scores["deletion"]
    for name, held in zip(rivals, gap[1 + ORDERS :].tolist(), strict=True):
        said = f"insertion minus deletion {gap[0]:.3f}; by the map of {name} {held:.3f}"
        out.append(Check(name, bool(gap[0] > held + SILENT), float(gap[0]), held, said))
    if way.complete:
        missed = short_of(found)
        said = f"all parts together are {float(each.sum()):.3f}, and hiding everything changes {found.total:.3f}"
        out.append(Check("completeness", missed <= COMPLETE, missed, COMPLETE, said))
    if way.random:
        k = max(1, n // 4)
        same = float(np.mean([jaccard(each, again(s).each, k) for s in (1, 2)]))
        out.append(Check("stability", same >= AGREE, same, AGREE, f"by other seeds {same:.0%} of the strongest {k} parts are the same"))
    return Tested(tuple(out), curves)


def silence(problem: Problem, way: Attribution) -> str:
    """Why no part changes anything."""
    if way.gradients and abs(problem.all - problem.none) > SILENT:
        return "the gradient is zero here: a number that is largest at the item itself has none there (--how integrated, or --class)"
    if float(problem.change().abs().max()) <= SAME:
        return "hiding a part changes nothing that goes in: the item is the same everywhere"
    return "hiding a part changes what goes in, and not the number: the network does not react to it"
