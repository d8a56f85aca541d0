"""Groups that nobody named: clusters of the embedding, and the one where the model fails most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tacit.auditors.attributes import FEWEST, Attribute
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.auditors.rates import Decisions, measure
from tacit.errors import BadData
from tacit.types import Count


class Clusters(Check):
    """k-means on one half of the decided items forms clusters, and the other half says how often the model is wrong in each.

    A cluster counts where the model is wrong more often than its own probabilities say: what is hard by itself is no hidden group.
    """

    section, needs = "shortcuts", ("decisions", "vectors")
    source = "Sohoni et al. 2020, arXiv:2011.12945 (GEORGE), for clusters as groups; ours tests them on other items"

    def __init__(self, *, most: Count = 10) -> None:
        """most: clusters."""
        self.most = most

    def look(self, case: Case) -> Iterator[Finding]:
        from sklearn.cluster import KMeans

        d, z = case.decisions, case.vectors
        assert d is not None and z is not None
        count = min(self.most, len(d.rows) // (3 * FEWEST))
        if count < 2:
            raise BadData(f"{len(d.rows)} decided items are too few to form groups of {FEWEST}", "decide about more of them")
        x = z[d.rows].astype(np.float64)
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
        order = np.random.default_rng([case.seed, 606]).permutation(len(x))
        half = len(x) // 2
        fitted = KMeans(count, n_init=4, random_state=case.seed).fit(x[order[:half]])
        test = np.sort(order[half:])
        codes = np.full(len(case.data), -1)
        codes[d.rows[test]] = fitted.predict(x[test])
        named = Attribute("cluster", codes, tuple(f"cluster {i + 1}" for i in range(count)))
        found = measure(replace(d.some(test), score=None), named, seed=case.seed)
        what = "accuracy" if d.classes else "mean absolute error"
        rate = found.values["accuracy" if d.classes else "mae"]
        at = int(np.argmin(rate) if d.classes else np.argmax(rate))
        worst, value, n = found.names[at], float(rate[at]), int(found.sizes[at])
        low, high = found.bounds["accuracy" if d.classes else "mae"][at].tolist()
        mine = np.flatnonzero(codes[d.rows[test]] == named.values.index(worst))
        rows = d.rows[test][mine]
        severity, beyond = self._graded(d.some(test[mine]), value, len(found.names))
        number = percent(value) if d.classes else f"{value:.3g}"
        yield Finding(
            "clusters.worst", severity,
            f"of {len(found.names)} clusters of the embedding the worst has {what} {number} (n = {n})"
            + ("" if beyond is None else f", where the model itself expects {percent(value + beyond)}")
            + (f": it does not know that it fails there; most of these items are {_commonest(case, rows)}" if severity != "fine" else ""),
            f"{'error rate' if d.classes else what} of the worst cluster", 1 - value if d.classes else value, n,
            "look at its items: they may share a camera, a site, a kind of people nobody recorded" if severity != "fine" else "",
            1 - high if d.classes else low, 1 - low if d.classes else high, items=case.names(rows), weight=beyond or 0.0,
            more=found.plain(),
        )  # fmt: skip

    @staticmethod
    def _graded(d: Decisions, accuracy: float, clusters: int) -> tuple[str, float | None]:
        """How bad it is that a cluster fails, where the model is sure there and wrong (what is hard by itself, it says), and by how much it
        expects more, None where it does not say."""
        from scipy.stats import binom

        if not d.classes or d.score is None or d.score.ndim != 2:
            return "fine", None
        expected = float(d.score[np.arange(len(d.made)), d.made].mean())
        right = int((d.truth == d.made).sum())
        p = float(binom.cdf(right, len(d.made), expected)) * clusters
        return (grade(expected - accuracy, 0.2, 0.1, 0.05) if p < 0.01 else "fine"), expected - accuracy


def _commonest(case: Case, rows: np.ndarray) -> str:
    """The classes of some items, the most frequent first."""
    y = case.labels
    if y is None:
        return "see the names"
    kinds, count = np.unique(y[rows][y[rows] >= 0], return_counts=True)
    top = np.argsort(-count, kind="stable")[:3]
    return ", ".join(f"{case.data.classes[kinds[i]]} {percent(count[i] / count.sum())}" for i in top)
