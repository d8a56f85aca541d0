"""Intervals of any metric, and of the difference of two on the same items."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tacit.statistics import interval

Scores = Callable[[np.ndarray], Mapping[str, float]]


def bootstrap(scores: Scores, n: int, *, other: Scores | None = None, draws: int = 500, seed: int = 0) -> dict[str, tuple[float, ...]]:
    """name -> (value, low, high) of every metric; with `other`: (difference, low, high) to it, paired. 95 % percentile intervals.

    scores, other: rows of the items, drawn with replacement -> metrics. n: items. draws: bootstrap draws. A metric that is not defined on a
    tenth of the draws or more has no interval (NaN).
    """
    rng, every = np.random.default_rng([seed, 404]), np.arange(n)

    def both(rows: np.ndarray) -> dict[str, float]:
        found = dict(scores(rows))
        if other is None:
            return found
        theirs = other(rows)
        return {k: v - theirs[k] for k, v in found.items() if k in theirs}

    whole = both(every)
    drawn = [both(rng.integers(0, n, n)) for _ in range(draws)]
    out: dict[str, tuple[float, ...]] = {}
    for name, value in whole.items():
        values = np.array([d.get(name, np.nan) for d in drawn])
        known = values[np.isfinite(values)]
        low, high = interval(known) if len(known) > 0.9 * draws else (float("nan"), float("nan"))
        out[name] = value, low, high
    return out
