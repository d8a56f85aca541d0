"""Few-shot episodes: again and again a small problem of a few classes with a few labels each, drawn from the test items."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.errors import Asked
from tacit.evaluation.probes.linear import Linear
from tacit.evaluation.readers import Representation, scale_of, standardise
from tacit.threads import few_threads

QUERIES = 15  # items of each class that are to be told
COUNT = 600
CHOOSING = 60  # episodes of training items that choose the best other
READERS = ("centroid", "logistic")
SHARED = "few-shot episodes share test items: the interval is of the episodes, not of new data"
HOW = "write it like 5way1shot, or 5way1shot,5way5shot"


@dataclass(frozen=True)
class Kind:
    """ways: classes of an episode. shots: labels that each of them has. queries: other items of each that are to be told."""

    ways: int
    shots: int
    queries: int = QUERIES

    def __str__(self) -> str:
        return f"{self.ways}way{self.shots}shot"


def kind_of(word: str) -> Kind:
    """5 ways and 1 shot from "5way1shot". Raises Asked for anything else, fewer than 2 ways, or no shot."""
    found = re.fullmatch(r"(\d+)-?way[-_]?(\d+)-?shot", word.strip().lower())
    if not found:
        raise Asked(f"--episodes: {word.strip()!r} is no kind of episode", HOW)
    ways, shots = int(found[1]), int(found[2])
    if ways < 2 or shots < 1:
        raise Asked(f"--episodes {word.strip()}: an episode has at least 2 ways and 1 shot", HOW)
    return Kind(ways, shots)


def check(kind: Kind, y: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(classes with enough items, a note about those that are left out).

    y: int64 [n] classes of the test items, -1 = unlabelled. classes: their names, empty where a number is predicted.
    Raises Asked where episodes are not possible.
    """
    if not len(classes):
        raise Asked(f"--episodes {kind}: episodes are for classes, and these labels are numbers", "leave --episodes out")
    counts = np.bincount(y[y >= 0].astype(np.int64), minlength=len(classes))
    least = kind.shots + kind.queries
    enough = np.flatnonzero(counts >= least)
    if len(enough) < kind.ways:
        need = f"{least} labelled test items ({kind.shots} to learn from, {kind.queries} to tell)"
        most = f"at most {len(enough)} ways" if len(enough) > 1 else "fewer shots" if (counts > kind.queries).sum() > 1 else "other data"
        raise Asked(f"--episodes {kind}: {len(enough)} of {len(classes)} classes have the {need}, which {kind.ways} ways need", most)
    short = [str(classes[k]) for k in np.flatnonzero((counts < least) & (counts > 0))]
    shown = ", ".join(short[:10]) + (f" and {len(short) - 10} more" if len(short) > 10 else "")
    return enough, [f"{kind} leaves out classes with fewer than {least} test items: {shown}"] if short else []


def draw(y: np.ndarray, enough: np.ndarray, kind: Kind, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`count` episodes: (support [ways, shots], queries [ways, queries]), rows of y, no row in both. enough: classes to draw from."""
    rng = np.random.default_rng([seed, 303, kind.ways, kind.shots])
    rows = {k: np.flatnonzero(y == k) for k in enough.tolist()}
    for _ in range(count):
        chosen = rng.permutation(enough)[: kind.ways]
        taken = np.stack([rng.permutation(rows[int(k)])[: kind.shots + kind.queries] for k in chosen])
        yield taken[:, : kind.shots], taken[:, kind.shots :]


def episodes(
    representations: Sequence[Representation],
    y_train: np.ndarray,
    y_test: np.ndarray,
    kind: Kind,
    classes: Sequence[str],
    *,
    count: int = COUNT,
    seed: int = 0,
) -> tuple[list[dict[str, Any]], list[str]]:
    """(rows of the results, notes): accuracy of every representation on the same episodes of test items, read in two ways.

    "centroid": the nearest class mean of features at unit length; "logistic": our linear probe with C = 1. Features are standardised on
    the training split, as for the probes. value +/- 1.96 s / sqrt(episodes). Ours also has the paired difference to the best other, which
    is chosen on episodes of training items. y_train, y_test: classes int64, -1 = unlabelled. count: number of episodes.
    Raises Asked where they are not possible.

    source: Snell et al. 2017, arXiv:1703.05175 (centroids); Wang et al. 2019, arXiv:1911.04623 (at unit length, standardised).
    """
    enough, notes = check(kind, y_test, classes)
    used = [r for r in representations if r.kind != "option"]
    # a training split may have less of a class than the test split; then there is no choice, and no difference is told
    rich = np.flatnonzero(np.bincount(y_train[y_train >= 0], minlength=len(classes)) >= kind.shots + kind.queries)
    right: dict[tuple[str, str], np.ndarray] = {}
    choice: dict[tuple[str, str], float] = {}
    for r in used:
        train, test = standardise(r.train, r.test, scale_of(r))
        scored = _scored(test, draw(y_test, enough, kind, count, seed))
        right |= {(r.name, reader): scored[:, k] for k, reader in enumerate(READERS)}
        if r.kind != "ssl" and len(rich) >= kind.ways:
            tried = _scored(train, draw(y_train, rich, kind, min(count, CHOOSING), seed + 1)).mean(0)
            choice |= {(r.name, reader): float(tried[k]) for k, reader in enumerate(READERS)}
    items = int(np.isin(y_test, enough).sum())
    rows = []
    for r in used:
        for reader in READERS:
            each = right[r.name, reader]
            value, low, high = _interval(each)
            row: dict[str, Any] = {"representation": r.name, "probe": f"episodes:{kind}:{reader}", "labels_per_class": kind.shots}
            row |= {"metric": "accuracy", "value": value, "low": max(0.0, low), "high": min(1.0, high), "n_test": items}
            row |= {"seeds": count, "n_train_labels": kind.ways * kind.shots}
            others = {name: score for (name, by), score in choice.items() if by == reader}
            if r.kind == "ssl" and others:
                best = max(others, key=lambda name: others[name])
                row["best_other"] = best
                row |= dict(zip(("difference", "low_difference", "high_difference"), _interval(each - right[best, reader]), strict=True))
            rows.append(row)
    return rows, [*notes, SHARED]


def _interval(each: np.ndarray) -> tuple[float, float, float]:
    half = 1.96 * float(each.std(ddof=1)) / len(each) ** 0.5 if len(each) > 1 else 0.0
    return float(each.mean()), float(each.mean()) - half, float(each.mean()) + half


def _scored(z: np.ndarray, drawn: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Share of queries that each reader gets right, [episodes, readers]."""
    with few_threads(1):
        return np.array([[float(f(z[support], z[queries]).mean()) for f in (_centroid, _logistic)] for support, queries in drawn])


def _centroid(support: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """support [ways, shots, D], queries [ways, queries, D] -> which queries are right, bool [ways, queries]."""
    support, queries = (v / np.maximum(np.linalg.norm(v, axis=2, keepdims=True), 1e-12) for v in (support, queries))
    centres = support.mean(1)
    # the squared distance without the query's own length, which is the same for every centre
    far = (centres**2).sum(1) - 2 * queries @ centres.T
    right: np.ndarray = far.argmin(2) == np.arange(len(support))[:, None]
    return right


def _logistic(support: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The same by our linear probe."""
    ways, shots, width = support.shape
    probe = Linear().fit(support.reshape(-1, width), np.repeat(np.arange(ways), shots), ways, small=True)
    right: np.ndarray = probe.predict(queries.reshape(-1, width)).reshape(ways, -1) == np.arange(ways)[:, None]
    return right
