"""Groups that nobody named: clusters of the embedding, and the one where the model fails most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.attributes import FEWEST, Attribute
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.auditors.rates import Decisions, measure
from tacit.errors import BadData
from tacit.types import Count


class Clusters(Check):
    """k-means on one half of the decided items forms clusters, and the other half says how often the model is wrong in each."""

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
        found = measure(Decisions(d.rows[test], d.truth[test], d.made[test], d.classes, None, d.positive, d.who), named, seed=case.seed)
        gap = found.gaps.get("accuracy_difference") or found.gaps["error_difference"]
        what = "accuracy" if d.classes else "mean absolute error"
        worst = gap.least if d.classes else gap.most
        rate = found.values["accuracy" if d.classes else "mae"]
        value, n = rate[found.names.index(worst)], int(found.sizes[found.names.index(worst)])
        severity = grade(gap.value, 0.3, 0.15, 0.05) if gap.p < 0.01 and d.classes else "fine"
        rows = d.rows[test][codes[d.rows[test]] == named.values.index(worst)]
        number = percent(value) if d.classes else f"{value:.3g}"
        yield Finding(
            "clusters.worst", severity,
            f"of {count} clusters of the embedding the worst has {what} {number} (n = {n})"
            + (f", {100 * gap.value:.1f} points behind the best" if d.classes else "")
            + (f"; its items are alike in what they hold: {_commonest(case, rows)}" if severity != "fine" else ""),
            f"gap of the {what} between clusters", gap.value, gap.n,
            "look at its items: they may share a camera, a site, a kind of people nobody recorded" if severity != "fine" else "",
            gap.low, gap.high, items=case.names(rows), weight=gap.value if d.classes else 0.0, more=found.plain(),
        )  # fmt: skip


def _commonest(case: Case, rows: np.ndarray) -> str:
    """The classes of some items, the most frequent first."""
    y = case.labels
    if y is None:
        return "see the names"
    kinds, count = np.unique(y[rows][y[rows] >= 0], return_counts=True)
    top = np.argsort(-count, kind="stable")[:3]
    return ", ".join(f"{case.data.classes[kinds[i]]} {percent(count[i] / count.sum())}" for i in top)
