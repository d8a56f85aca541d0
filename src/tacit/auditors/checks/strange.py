"""Items that are like nothing else: broken recordings, wrong files, rows with a unit error."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, percent
from tacit.statistics import wilson
from tacit.types import Positive


class Strange(Check):
    """Items far from all others: the distance to the tenth nearest one, in units of how such distances are spread."""

    section = "data"
    source = "kNN distance, Ramaswamy et al. 2000; the spread by median and MAD of its logarithm"

    def __init__(self, *, far: Positive = 6.0) -> None:
        """far: deviations from the median from where an item is strange."""
        self.far = far

    def look(self, case: Case) -> Iterator[Finding]:
        from sklearn.neighbors import NearestNeighbors

        rows = case.some(np.arange(len(case.data)))
        z = case.z[rows].astype(np.float32)
        n, k = len(rows), min(10, max(1, len(rows) // 5))
        if n < 20:
            return
        z = z - z.mean(0)
        with np.errstate(divide="ignore"):
            distance = np.log(NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(z).kneighbors(z)[0][:, k])
        known = np.isfinite(distance)
        middle = np.median(distance[known])
        spread = 1.4826 * np.median(np.abs(distance[known] - middle)) or 1.0
        strange = np.flatnonzero((known & (distance > middle + self.far * spread)) | self._taken(case, rows))
        share = len(strange) / n
        if len(strange):
            order = strange[np.argsort(-distance[strange], kind="stable")]
            yield Finding(
                "outliers", "medium" if share > 0.02 else "low",
                f"{len(strange):,} {case.kind.unit} ({percent(share)}) are far from all others", "share of outliers", share, n,
                "look at them: broken ones spoil training, rare ones may be what matters (tacit detect says why)", *wilson(share, n),
                items=case.names(rows[order]), weight=share, more={"ids": [str(case.data.names[rows[i]]) for i in order[:200]]},
            )  # fmt: skip
        else:
            yield Finding("outliers", "fine", f"no item of {n:,} lies far from all others", "outliers", 0.0, n)

    @staticmethod
    def _taken(case: Case, rows: np.ndarray, far: float = 10.0) -> np.ndarray:
        """bool [n]: taken in another way than nearly all others (far too noisy, dark, short, ...); not of tables, whose columns differ."""
        data = case.data
        if data.modality in ("table", "vector", "events"):
            return np.zeros(len(rows), bool)
        x = data.x[rows] if case.kind.flat else np.asarray(data.x[rows])
        found = np.zeros(len(rows), bool)
        measured = case.kind.nuisances(x, None if data.lengths is None else data.lengths[rows], data.spec)
        for v in (v for name, v in measured.items() if not name.startswith(("share", "missing"))):
            low, middle, high = np.quantile(v, [0.25, 0.5, 0.75])
            away = np.abs(v - middle) > far * max(high - low, 1e-9 + 1e-6 * abs(middle)) / 1.349
            found |= away & (high > low) & (away.mean() < 0.05)
        return found
