"""Which training rows carry a label at which level: the same subsets for every representation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Level = int | str
FEW = {False: 10, True: 50}  # labels a class that count as few, where the verdict is given; for numbers (True), labels
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


def own_groups(groups: np.ndarray | None) -> np.ndarray | None:
    """Groups numbered 0..G-1, each unknown one (-1) its own; None when every row stands alone."""
    if groups is None or not len(groups):
        return None
    groups = np.asarray(groups, dtype=np.int64)
    unknown = groups < 0
    numbered = np.where(unknown, groups.max(initial=0) + 1 + np.cumsum(unknown), groups)
    names, codes = np.unique(numbered, return_inverse=True)
    return codes if len(names) < len(codes) else None


def plan_levels(
    y: np.ndarray,
    classes: int,
    levels: Sequence[Level],
    seeds: int,
    seed: int = 0,
    scoring: int = 2000,
    groups: np.ndarray | None = None,
) -> list[LevelPlan]:
    """Draw the label subsets of every level; a larger level's subset contains the smaller one's of the same seed.

    y: int64 [n], classes 0..K-1 (classes = 0: numbers), all labelled. levels: ascending counts, "all" last.
    seeds: label draws a level ("all" has one). scoring: most rows used to choose among competitors.
    groups: int64 [n], rows that belong together (-1 = unknown); rows that score share none with the labelled ones.
    """
    n, groups = len(y), own_groups(groups)
    counts = np.bincount(y.astype(np.int64), minlength=classes) if classes else np.array([n])
    present = counts[counts > 0]
    plans = []
    for level in levels:
        if level == "all":
            draws = (Draw(*fold(y, classes, seed, groups=groups)),) if n else ()
            plans.append(LevelPlan("all", n, n / max(len(present), 1) if classes else n, draws, "" if n else "no labelled training row"))
            continue
        wanted = int(level)
        if n == 0 or present.min() < wanted:
            least = int(present.min()) if n else 0
            what = f"the smallest class has {least} labelled training rows" if classes else f"there are {least} labelled training rows"
            plans.append(LevelPlan(level, 0, wanted, (), what))
            continue
        drawn = tuple(_draw(y, classes, wanted, np.random.default_rng(label_seed(seed, run)), scoring, groups) for run in range(seeds))
        plans.append(LevelPlan(level, len(drawn[0].rows) if drawn else 0, wanted, drawn))
    return plans


def _draw(y: np.ndarray, classes: int, wanted: int, rng: np.random.Generator, scoring: int, groups: np.ndarray | None) -> Draw:
    """The first `wanted` rows of each class in a random order; nested in `wanted` for one generator state.

    With groups, those of a third of the rows come last, so that rows of other groups are left to score.
    """
    order = rng.permutation(len(y))
    if groups is not None:
        late = _hold(y, classes, order, 1 / 3, groups)
        order = np.concatenate([order[~late[order]], order[late[order]]])
    if classes:
        rank = np.empty(len(y), dtype=np.int64)
        for k in range(classes):
            mine = order[y[order] == k]
            rank[mine] = np.arange(len(mine))
        taken = rank[order] < wanted
    else:
        taken = np.arange(len(y)) < wanted
    rest = order[~taken]
    if groups is not None:
        rest = rest[~np.isin(groups[rest], groups[order[taken]])]
    return Draw(np.sort(order[taken]), np.sort(rest[:scoring]))


def fold(y: np.ndarray, classes: int, seed: int, share: float = 0.1, groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held) rows: a stratified share is held out; a class with fewer than 5 rows gives none (numbers: fewer than 5 rows).

    y: int64 [n] in 0..classes-1, or numbers when classes = 0. share: part held out, in 0..1.
    groups: int64 [n], held out whole or not at all (-1 = unknown, its own); a class may then give more than its share, but at
    most half, and none if one group holds more than that.
    """
    rng = np.random.default_rng([seed, 202])
    held = _hold(y, classes, rng.permutation(len(y)), share, own_groups(groups))
    return np.flatnonzero(~held), np.flatnonzero(held)


def _hold(y: np.ndarray, classes: int, order: np.ndarray, share: float, groups: np.ndarray | None) -> np.ndarray:
    """Which rows are held out, bool [n]: of each class the first in `order`, whole groups together."""
    code = y.astype(np.int64) if classes else np.zeros(len(y), dtype=np.int64)
    total = np.bincount(code, minlength=max(classes, 1))
    quota = (share * total + 0.5).astype(np.int64)
    held = np.zeros(len(y), dtype=bool)
    if groups is None:
        for k in range(len(total)):
            held[order[code[order] == k][: quota[k]]] = True
        return held
    names, first = np.unique(groups[order], return_index=True)
    names = names[np.argsort(first)]
    counts = np.zeros((groups.max() + 1, len(total)), dtype=np.int64)
    np.add.at(counts, (groups, code), 1)
    taken, have = np.zeros(len(counts), dtype=bool), np.zeros_like(total)

    def take(g: int) -> None:
        nonlocal have
        taken[g], have = True, have + counts[g]

    for g in names:
        if (have + counts[g] <= quota).all():
            take(g)
    # a class whose groups are all larger than its share gives its smallest
    for g in names[np.argsort(counts[names].sum(1), kind="stable")]:
        lacks = (have == 0) & (quota > 0) & (counts[g] > 0)
        if not taken[g] and lacks.any() and (2 * (have + counts[g]) <= total).all():
            take(g)
    return taken[groups]
