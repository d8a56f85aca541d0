"""What of a group stands in the embedding, before anybody has trained a decision on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.attributes import FEWEST, Attribute
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade
from tacit.auditors.probes import PROBES, Leak, leak
from tacit.errors import BadData
from tacit.types import Count


class Leakage(Check):
    """How well a linear, a nearest-neighbour and a network probe tell each attribute from the embedding of items that they did not see.

    AUC of each group against the others, mean over groups; 0.5 = it is not there. A leak is no harm by itself: it says what a decision on
    top of this embedding could use, so it counts as low or medium unless a policy says more.
    """

    section, needs = "representation", ("vectors", "attributes")

    def __init__(self, *, most: Count = 5000) -> None:
        """most: items that probes learn from, and that they are tested on."""
        self.most = most

    def look(self, case: Case) -> Iterator[Finding]:
        assert case.vectors is not None
        told = 0
        for a in case.attributes:
            fit, held = sides(case, a, self.most)
            if not len(fit):
                continue
            case.say(f"probing for {a.name}\r")
            found = {name: leak(case.vectors[fit], a.codes[fit], case.vectors[held], a.codes[held], name, case.seed) for name in PROBES}
            told += 1
            yield self._said(case, a, found)
        if not told:
            raise BadData(f"no attribute has two groups with {2 * FEWEST} items", "collect more of them")

    @staticmethod
    def _said(case: Case, a: Attribute, found: dict[str, Leak]) -> Finding:
        best = max(found, key=lambda k: found[k].auc)
        top = found[best]
        each = ", ".join(f"{name} {t.auc:.3f} [{t.low:.3f}, {t.high:.3f}]" for name, t in found.items())
        named = case.columns
        inside = " (it is one of the columns)" if a.name in named else ""
        severity = grade(2 * top.auc - 1, 2.0, 0.8, 0.2) if top.p < 0.01 else "fine"
        return Finding(
            "leakage", severity,
            f"{a.name} can be read from the embedding{inside}: AUC {each}; accuracy {100 * top.accuracy:.1f} %, "
            f"{100 * (top.accuracy - top.majority):+.1f} points beside the most frequent group"
            if severity != "fine"
            else f"{a.name} cannot be read from the embedding better than chance lets expect: AUC {each}",
            f"AUC of the {best} probe", top.auc, top.n,
            "tacit erase takes out what is linear; what a network still reads stands beside it" if severity != "fine" else "",
            top.low, top.high, group=a.name, weight=top.auc - 0.5, more={k: t.plain() for k, t in found.items()},
        )  # fmt: skip


def sides(case: Case, a: Attribute, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows to learn from, held-out rows) that have one of the large groups; both empty where two groups have not enough items."""
    rows = [r[a.codes[r] >= 0] for r in (case.data.train, case.data.test)]
    if min(map(len, rows)) < 4 * FEWEST:
        every = np.random.default_rng([case.seed, 404]).permutation(np.flatnonzero(a.codes >= 0))
        rows = [np.sort(every[: len(every) // 2]), np.sort(every[len(every) // 2 :])]
    large = [g for g in range(len(a.values)) if all((a.codes[r] == g).sum() >= FEWEST for r in rows)]
    if len(large) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    fit, held = (case.some(r[np.isin(a.codes[r], large)], most) for r in rows)
    return fit, held
