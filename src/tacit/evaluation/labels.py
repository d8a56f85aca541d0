"""Which training rows carry a label at which level: the same subsets for every representation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Level = int | str
SMALL = 20  # labels a class below which nothing is held out for tuning


def label_seed(seed: int, run: int) -> list[int]:
    """Entropy of the generator that draws the labels of one run."""
    return [seed, 101, run]


@dataclass(frozen=True)
class Draw:
    """The labels of one run: rows with a label, and (for choosing among competitors) other training rows that score them."""

    rows: np.ndarray
    scoring: np.ndarray


@dataclass(frozen=True)
class LevelPlan:
    """One level of labels: its draws (one each label seed), or the reason why the data cannot give it.

    level: labels a class (regression: labels), or "all". labels: rows with a label. count: labels a class, "all" included.
    """

    level: Level
    labels: int
    count: float
    draws: tuple[Draw, ...]
    reason: str = ""

    @property
    def small(self) -> bool:
        """Too few labels to hold some out for tuning."""
        return self.count < SMALL


def plan_levels(y: np.ndarray, classes: int, levels: Sequence[Level], seeds: int, seed: int = 0, scoring: int = 2000) -> list[LevelPlan]:
    """Draw the label subsets of every level; a larger level's subset contains the smaller one's of the same seed.

    y: int64 [n], classes 0..K-1 (classes = 0: numbers), all labelled. levels: ascending counts, "all" last.
    seeds: label draws a level ("all" has one). scoring: most rows used to choose among competitors.
    """
    n = len(y)
    counts = np.bincount(y.astype(np.int64), minlength=classes) if classes else np.array([n])
    present = counts[counts > 0]
    plans = []
    for level in levels:
        if level == "all":
            draws = (Draw(*fold(y, classes, seed)),) if n else ()
            plans.append(LevelPlan("all", n, n / max(len(present), 1) if classes else n, draws, "" if n else "no labelled training row"))
            continue
        wanted = int(level)
        if n == 0 or present.min() < wanted:
            least = int(present.min()) if n else 0
            what = f"the smallest class has {least} labelled training rows" if classes else f"there are {least} labelled training rows"
            plans.append(LevelPlan(level, 0, wanted, (), what))
            continue
        drawn = tuple(_draw(y, classes, wanted, np.random.default_rng(label_seed(seed, run)), scoring) for run in range(seeds))
        plans.append(LevelPlan(level, len(drawn[0].rows) if drawn else 0, wanted, drawn))
    return plans


def _draw(y: np.ndarray, classes: int, wanted: int, rng: np.random.Generator, scoring: int) -> Draw:
    """The first `wanted` rows of each class in a random order; nested in `wanted` for one generator state."""
    order = rng.permutation(len(y))
    if classes:
        rank = np.empty(len(y), dtype=np.int64)
        for k in range(classes):
            mine = order[y[order] == k]
            rank[mine] = np.arange(len(mine))
        taken = rank[order] < wanted
    else:
        taken = np.arange(len(y)) < wanted
    return Draw(np.sort(order[taken]), np.sort(order[~taken][:scoring]))


def fold(y: np.ndarray, classes: int, seed: int, share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held) rows: a stratified share is held out; a class with fewer than 5 rows gives none (numbers: fewer than 5 rows).

    y: int64 [n] in 0..classes-1, or numbers when classes = 0. share: part held out, in 0..1.
    """
    rng = np.random.default_rng([seed, 202])
    order = rng.permutation(len(y))
    held = np.zeros(len(y), dtype=bool)
    for k in range(max(classes, 1)):
        mine = order[y[order] == k] if classes else order
        held[mine[: int(share * len(mine) + 0.5)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
