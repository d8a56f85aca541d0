"""How well one thing can be told from another: cross-validated, with chance taken away, and a p-value by permutation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.statistics import interval

FOLDS, TIMES = 5, 300


@dataclass(frozen=True)
class Told:
    """score: balanced accuracy. excess: of the way from chance to certainty, at most 1, with its 95 % interval; p: by
    permutation of what was told. n: items. guess: what was told of every item."""

    score: float
    excess: float
    low: float
    high: float
    p: float
    n: int
    guess: np.ndarray


def told(x: np.ndarray, y: np.ndarray, *, seed: int = 0, how: str = "tree") -> Told | None:
    """How well y [n] is told from a few features x [n, P] (NaN = missing), in five folds; None where there is nothing to tell.

    how: "tree", one small tree, for one or few features; "forest", for several. Classes with fewer than five items are left out.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold
    from sklearn.tree import DecisionTreeClassifier

    x = np.asarray(x, np.float64).reshape(len(x), -1)
    x = np.where(np.isfinite(x), x, -1e9)
    _, code, count = np.unique(y, return_inverse=True, return_counts=True)
    keep = count[code] >= FOLDS
    x, y = x[keep], np.unique(y[keep], return_inverse=True)[1]
    k = int(y.max()) + 1 if len(y) else 0
    if len(y) < 4 * FOLDS or k < 2 or not (x.max(0) > x.min(0)).any():
        return None
    least = max(3, len(y) // 200)
    reader: Any = DecisionTreeClassifier(max_leaf_nodes=4 * k, min_samples_leaf=least, class_weight="balanced", random_state=0)
    if how == "forest":
        reader = RandomForestClassifier(60, min_samples_leaf=3, class_weight="balanced", random_state=0, n_jobs=1)
    guess = np.zeros(len(y), np.int64)
    for fit, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        guess[held] = reader.fit(x[fit], y[fit]).predict(x[held])  # `fit` forgets the fold before
    rng = np.random.default_rng([seed, 77])
    score = _score(guess, y, k)
    chance = 1 / k
    excess = (score - chance) / (1 - chance)
    every = np.arange(len(y))
    draws = [_score(guess[r], y[r], k) for r in (rng.choice(every, len(every)) for _ in range(TIMES))]
    low, high = ((v - chance) / (1 - chance) for v in interval(np.array(draws)))
    others = [_score(rng.permutation(guess), y, k) for _ in range(TIMES)]
    p = (1 + sum(v >= score for v in others)) / (TIMES + 1)
    whole = np.full(len(keep), -1)
    whole[keep] = guess
    return Told(score, float(excess), float(low), float(high), p, len(y), whole)


def codes(values: Sequence[Any], most: int = 50) -> np.ndarray:
    """A column of words as numbers, float64 [n], NaN = missing; the most frequent have their own, all others share one."""
    words = ["" if v is None else str(v) for v in values]
    _, code, count = np.unique(words, return_inverse=True, return_counts=True)
    rank = np.argsort(np.argsort(-count, kind="stable"), kind="stable")
    out = np.minimum(rank[code], most).astype(np.float64)
    out[np.array([w == "" for w in words])] = np.nan
    return out


def _score(guess: np.ndarray, y: np.ndarray, k: int) -> float:
    n = np.bincount(y, minlength=k)
    right = np.bincount(y[guess == y], minlength=k)
    return float((right[n > 0] / n[n > 0]).mean())
