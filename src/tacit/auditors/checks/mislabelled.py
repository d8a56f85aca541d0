"""Labels that the items themselves contradict, one by one or in whole blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit import registry
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, percent
from tacit.errors import BadData
from tacit.evaluation.readers import standardise
from tacit.statistics import wilson

FOLDS, BLOCKS = 5, (10, 20, 50, 100, 200)


class Mislabelled(Check):
    """Items whose label two readings of the other items, a linear one and nearest neighbours, both contradict with certainty.

    Each item is read by five folds that do not hold it. It is suspected where both readings agree on another class, and the linear one
    gives that class more than it gives to items which carry its label on average, and the own label less than a tenth. A block is a
    stretch of the data, as it is ordered, with far more of them than the rest.
    """

    section, needs = "data", ("classes",)
    source = "Northcutt et al. 2021, arXiv:1911.00068, for the threshold of each class; ours asks two readings"

    def look(self, case: Case) -> Iterator[Finding]:
        assert case.labels is not None
        rows = case.some(np.flatnonzero(case.labels >= 0))
        y = case.labels[rows]
        count = np.bincount(y, minlength=len(case.data.classes))
        rows, y = (v[count[y] >= 2 * FOLDS] for v in (rows, y))
        kinds, y = np.unique(y, return_inverse=True)
        if len(kinds) < 2:
            raise BadData("fewer than two classes have ten labelled items", "label more of them")
        p, voted = _read(case.z[rows], y, len(kinds), case.seed)
        mine = p[np.arange(len(y)), y]
        sure = np.array([p[y == c, c].mean() for c in range(len(kinds))])
        said = p.argmax(1)
        suspect = (said != y) & (voted == said) & (p.max(1) >= sure[said]) & (mine < 0.1)
        share, n = float(suspect.mean()), len(y)
        order = np.flatnonzero(suspect)[np.argsort(mine[suspect], kind="stable")]
        names = [case.data.classes[k] for k in kinds]
        told = [
            {"id": str(case.data.names[rows[i]]), "label": names[y[i]], "looks like": names[said[i]], "probability": float(p[i, said[i]])}
            for i in order[:200]
        ]
        start, stop, bad = _block(suspect)
        block = stop > start
        if block:
            a, b = case.data.names[rows[start]], case.data.names[rows[stop - 1]]
            yield Finding(
                "labels.block", "high",
                f"in a block of {stop - start} items ({a} to {b}) {bad} labels are contradicted by the items, elsewhere "
                f"{percent((suspect.sum() - bad) / max(1, n - stop + start))}: somebody labelled a whole batch wrongly",
                "share of suspected labels in the block", bad / (stop - start), stop - start, "check this batch at its source",
                *wilson(bad / (stop - start), stop - start), items=case.names(rows[order]), weight=bad / n, more={"suspects": told},
                drop=tuple(rows[order].tolist()),
            )  # fmt: skip
        if suspect.any():
            yield Finding(
                "labels.suspected", "high" if share > 0.08 and not block else "medium" if share > 0.03 else "low",
                f"{int(suspect.sum()):,} labels ({percent(share)}) are contradicted by what the items look like",
                "share of suspected labels", share, n, "look at them, the surest first; --write-keep keep.csv leaves them out",
                *wilson(share, n), items=case.names(rows[order]), weight=0.0 if block else share, more={"suspects": told},
                drop=tuple(rows[order].tolist()),
            )  # fmt: skip
        if not suspect.any():
            yield Finding("labels.suspected", "fine", f"none of {n:,} labels is contradicted by its item", "suspected labels", 0.0, n)


def _read(z: np.ndarray, y: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities [n, classes] of a linear reading, classes [n] by neighbours) of items that were held out from it."""
    from sklearn.model_selection import StratifiedKFold

    p, voted = np.zeros((len(y), classes)), np.zeros(len(y), np.int64)
    for fit, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(z, y):
        a, b = standardise(z[fit], z[held], "whole")
        linear = registry.find("probes", "linear")(c=0.1).fit(a, y[fit], classes, small=True)
        out = linear.scores(b)
        e = np.exp(out - out.max(1, keepdims=True))
        p[held] = e / e.sum(1, keepdims=True)
        voted[held] = registry.find("probes", "knn")(k=10).fit(a, y[fit], classes, small=True).predict(b)
    return p, voted


def _block(suspect: np.ndarray) -> tuple[int, int, int]:
    """(first, last + 1, suspects) of the stretch that is least likely by chance, (0, 0, 0) where chance explains all of them.

    source: scan statistic, Naus 1965, with a binomial tail and all stretches counted as trials.
    """
    from scipy.stats import binom

    n, total = len(suspect), int(suspect.sum())
    best, found = 0.0, (0, 0, 0)
    sums = np.r_[0, np.cumsum(suspect)]
    for width in BLOCKS:
        if total < 5 or width * 2 > n:
            continue
        inside = sums[width:] - sums[:-width]
        at = int(inside.argmax())
        k = int(inside[at])
        rate = max(total - k, 1) / (n - width)
        chance = float(binom.logsf(k - 1, width, rate)) + np.log(n * len(BLOCKS))
        if chance < min(best, np.log(1e-4)) and k >= max(5, 0.3 * width):
            first, last = at, at + width
            while not suspect[first]:
                first += 1
            while not suspect[last - 1]:
                last -= 1
            best, found = chance, (first, last, k)
    return found
