"""Is a way of attributing to be believed on this run at all? The tests of one map, over many items, with intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit.explainers.attribution import Attribution
from tacit.explainers.checks import AGREE, COMPLETE, FEWEST, SILENT, areas, jaccard, ranked, road, short_of
from tacit.explainers.problem import Problem
from tacit.statistics import interval

ORDERS = 10  # random orders an item
FILLED = 3  # random orders of an item that neighbours fill
DRAWS = 2000


@dataclass(frozen=True)
class Trial:
    """n: items with enough parts. gains: test -> (mean, low, high) of paired differences, each better when larger. complete, stable: share
    of items that keep the promise, None = it makes none. seconds: a map. passed: every gain but the trivial one lies above 0 with its whole
    interval, and promises are kept."""

    n: int
    gains: dict[str, tuple[float, float, float]]
    complete: float | None
    stable: float | None
    seconds: float
    passed: bool | None


def trial(problems: Sequence[Problem], twins: Sequence[Problem], way: Attribution, seed: int) -> Trial:
    """problems: one an item. twins: the same items before a network with random weights.

    Gains: areas of deletion and insertion by the attribution against random orders; insertion minus deletion against the order by how much
    hiding a part changes what goes in (trivial), and against that of the twin's map on the trained network (random weights); of images
    also ROAD against random orders.
    """
    rows: dict[str, list[float]] = {"deletion": [], "insertion": [], "trivial": [], "random weights": []}
    if problems and problems[0].pictured:
        rows["road"] = []
    kept: dict[str, list[float]] = {"complete": [], "stable": []}
    draw, spent = np.random.default_rng([seed, 707]), 0.0
    for problem, twin in zip(problems, twins, strict=True):
        if problem.count < FEWEST:
            continue
        begin = time.perf_counter()
        found = way(problem, seed)
        spent += time.perf_counter() - begin
        if float(found.each.abs().max()) <= SILENT:
            continue
        n = problem.count
        orders = [ranked(found.each), ranked(problem.change()), ranked(way(twin, seed).each)]
        orders += [draw.permutation(n).tolist() for _ in range(ORDERS)]
        gone, there = (areas(problem, orders, insert)[0] for insert in (False, True))
        score = there - gone
        rows["deletion"].append(float(gone[3:].mean() - gone[0]))
        rows["insertion"].append(float(there[0] - there[3:].mean()))
        rows["trivial"].append(float(score[0] - score[1]))
        rows["random weights"].append(float(score[0] - score[2]))
        if "road" in rows:
            random = [road(problem, o, seed) for o in orders[3 : 3 + FILLED]]
            rows["road"].append(road(problem, orders[0], seed) - float(np.mean(random)))
        if way.complete:
            kept["complete"].append(float(short_of(found) <= COMPLETE))
        if way.random:
            kept["stable"].append(jaccard(found.each, way(problem, seed + 1).each, max(1, n // 4)))
    count = len(rows["deletion"])
    if not count:
        return Trial(0, {}, None, None, 0.0, None)
    gains = {k: _mean(np.array(v), seed) for k, v in rows.items()}
    complete, stable = (float(np.mean(v)) if v else None for v in kept.values())
    good = all(low > 0 for k, (_, low, _) in gains.items() if k != "trivial")
    passed = good and (complete is None or complete >= 0.95) and (stable is None or stable >= AGREE)
    return Trial(count, gains, complete, stable, spent / count, passed if count >= 2 else None)


def _mean(x: np.ndarray, seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng([seed, 717])
    means = x[rng.integers(0, len(x), (DRAWS, len(x)))].mean(1)
    low, high = interval(means)
    return float(x.mean()), float(low), float(high)
