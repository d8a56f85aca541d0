"""A concept that a user names by examples: its direction, tested against examples drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit.errors import Asked

DRAWS = 99
LEAST = 5


@dataclass(frozen=True)
class Direction:
    """A concept given by examples. auroc: how well its direction tells held-out examples from other items. chance: the same of sets drawn
    at random, mean and highest of 95 %. p: share of random sets that do as well. vector: unit [D]."""

    auroc: float
    chance: tuple[float, float]
    p: float
    vector: np.ndarray
    n: int


def direction(z: np.ndarray, examples: Sequence[int] | np.ndarray, seed: int = 0) -> Direction:
    """The direction in embeddings [N, D] toward some items, tested against as many items drawn at random.

    source: Kim et al. 2018, arXiv:1711.11279 (concept vectors, and their test against random ones); ours goes from the mean
    of other items to that of the examples, which few examples settle better than a classifier. Raises Asked for too few examples.
    """
    rows = np.unique(np.asarray(examples))
    if len(rows) < LEAST or len(z) < 4 * len(rows):
        few = f"{len(rows)} examples" if len(rows) < LEAST else f"{len(z)} items"
        raise Asked(f"{few} are too few to test a concept", f"give {LEAST} examples or more, of at most a quarter of the items")
    scaled = (z - z.mean(0)) / np.maximum(z.std(0), 1e-9)
    rng = np.random.default_rng([seed, 414])
    own = _separated(scaled, rows, rng)
    others = np.setdiff1d(np.arange(len(z)), rows)
    random = np.array([_separated(scaled, rng.choice(others, len(rows), replace=False), rng) for _ in range(DRAWS)])
    toward = scaled[rows].mean(0) - scaled[others].mean(0)
    vector = toward / max(float(np.linalg.norm(toward)), 1e-12)
    p = (1 + int((random >= own).sum())) / (1 + DRAWS)
    return Direction(own, (float(random.mean()), float(np.quantile(random, 0.95))), p, vector, len(rows))


def _separated(z: np.ndarray, rows: np.ndarray, rng: np.random.Generator, most: int = 200) -> float:
    """AUROC of held-out examples against other items, along the direction between the means of the rest of both; mean over five folds."""
    from sklearn.metrics import roc_auc_score

    others = rng.permutation(np.setdiff1d(np.arange(len(z)), rows))[:most]
    folds = min(5, len(rows))
    own_fold, other_fold = rng.permutation(len(rows)) % folds, rng.permutation(len(others)) % folds
    found = []
    for k in range(folds):
        held = np.concatenate([rows[own_fold == k], others[other_fold == k]])
        toward = z[rows[own_fold != k]].mean(0) - z[others[other_fold != k]].mean(0)
        found.append(float(roc_auc_score(np.isin(held, rows), z[held] @ toward)))
    return float(np.mean(found))
