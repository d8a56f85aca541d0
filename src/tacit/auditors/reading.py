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
    """score: balanced accuracy (numbers: R2). excess: of the way from chance to certainty, at most 1, with its 95 % interval; p: by
    permutation of what was told. n: items. guess: what was told of every item."""

    score: float
    excess: float
    low: float
    high: float
    p: float
    n: int
    guess: np.ndarray


def told(x: np.ndarray, y: np.ndarray, *, classes: bool = True, seed: int = 0, how: str = "tree") -> Told | None:
    """How well y [n] is told from a few features x [n, P] (NaN = missing), in five folds; None where there is nothing to tell.

    how: "tree", one small tree, for one or few features; "forest", for several. Classes with fewer than five items are left out.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    x = np.asarray(x, np.float64).reshape(len(x), -1)
    x = np.where(np.isfinite(x), x, -1e9)
    if classes:
        _, code, count = np.unique(y, return_inverse=True, return_counts=True)
        keep = count[code] >= FOLDS
        x, y = x[keep], np.unique(y[keep], return_inverse=True)[1]
    k = int(y.max()) + 1 if classes and len(y) else 0
    if len(y) < 4 * FOLDS or (classes and k < 2) or not (x.max(0) > x.min(0)).any():
        return None
    least = max(3, len(y) // 200)
    kinds: dict[tuple[str, bool], Any] = {
        ("tree", True): lambda: DecisionTreeClassifier(
            max_leaf_nodes=4 * k, min_samples_leaf=least, class_weight="balanced", random_state=0
        ),
        ("tree", False): lambda: DecisionTreeRegressor(max_leaf_nodes=16, min_samples_leaf=least, random_state=0),
        ("forest", True): lambda: RandomForestClassifier(60, min_samples_leaf=3, class_weight="balanced", random_state=0, n_jobs=1),
        ("forest", False): lambda: RandomForestRegressor(60, min_samples_leaf=3, random_state=0, n_jobs=1),
    }
    folds = (StratifiedKFold if classes else KFold)(FOLDS, shuffle=True, random_state=seed)
    guess = np.zeros(len(y), np.int64 if classes else np.float64)
    for fit, held in folds.split(x, y):
        guess[held] = kinds[how, classes]().fit(x[fit], y[fit]).predict(x[held])
    rng = np.random.default_rng([seed, 77])
    score = _score(guess, y, k)
    chance = 1 / k if k else 0.0
    excess = (score - chance) / (1 - chance)
    every = np.arange(len(y))
    draws = [_score(guess[r], y[r], k) for r in (rng.choice(every, len(every)) for _ in range(TIMES))]
    low, high = ((v - chance) / (1 - chance) for v in interval(np.array(draws)))
    others = [_score(rng.permutation(guess), y, k) for _ in range(TIMES)]
    p = (1 + sum(v >= score for v in others)) / (TIMES + 1)
    whole = np.full(len(keep), -1) if classes else guess
    if classes:
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
    if k:
        n = np.bincount(y, minlength=k)
        right = np.bincount(y[guess == y], minlength=k)
        return float((right[n > 0] / n[n > 0]).mean())
    spread = float(((y - y.mean()) ** 2).sum())
    return 1 - float(((y - guess) ** 2).sum()) / spread if spread else 0.0
