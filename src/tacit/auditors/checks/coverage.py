"""Who is there: classes and groups with too few items to learn from, or to say anything about."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.attributes import FEWEST, Attribute, crossed
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, percent
from tacit.errors import few
from tacit.types import Count


class Coverage(Check):
    """Classes that training or the held-out part lacks, groups with fewer than 30 items, groups without labels, groups in which a class
    never occurs, and groups whose share differs between training and held-out items."""

    section = "data"

    def __init__(self, *, fewest: Count = FEWEST) -> None:
        """fewest: items below which nothing is said about a group."""
        self.fewest = fewest

    def look(self, case: Case) -> Iterator[Finding]:
        if case.labels is not None:
            yield from self._classes(case)
        for a in case.attributes:
            sizes, n = a.sizes(), int((a.codes >= 0).sum())
            small = [i for i in np.argsort(sizes, kind="stable").tolist() if sizes[i] < self.fewest]
            if small:
                shown = few((f"{a.values[i]} ({sizes[i]})" for i in small), 5)
                share = float(sizes[small].sum() / n)
                yield Finding(
                    "coverage.small", "medium",
                    f"{a.name}: {len(small)} of {len(a.values)} groups have fewer than {self.fewest} items: {shown}. No number of theirs "
                    "means anything, and the model has hardly seen them", "items of the smallest group", float(sizes[small[0]]), n,
                    "collect more of them, or say that the model is not for them", group=a.name, weight=0.5 + share,
                    more={"groups": {a.values[i]: int(sizes[i]) for i in small}},
                )  # fmt: skip
            yield from self._unlabelled(case, a)
            yield from self._shares(case, a)
            if lost := int((a.codes < 0).sum()):
                share = lost / len(a.codes)
                yield Finding(
                    "coverage.unknown", "medium" if share > 0.2 else "low",
                    f"{a.name} is not known for {lost:,} items ({percent(share)}), about which no group can speak",
                    "share of items without the attribute", share, len(a.codes), "ask for it, and find out whether who is missing differs",
                    group=a.name, weight=share,
                )  # fmt: skip
        for c in crossed(case.attributes):
            sizes = c.sizes()
            if (sizes < self.fewest).any():
                lost = int((sizes < self.fewest).sum())
                yield Finding(
                    "coverage.intersections", "low",
                    f"{c.name}: {lost} of {len(sizes)} intersections have fewer than {self.fewest} items and are not looked at",
                    "intersections that are too small", float(lost), int(sizes.sum()), "collect more of them", group=c.name,
                )  # fmt: skip

    def _classes(self, case: Case) -> Iterator[Finding]:
        data, y = case.data, case.labels
        assert y is not None
        train, test = (np.bincount(v[v >= 0], minlength=len(data.classes)) for v in (y[data.train], y[data.test]))
        lost = [data.classes[i] for i in np.flatnonzero((train == 0) & (test > 0))]
        if lost and train.sum():
            yield Finding(
                "coverage.classes", "high", f"no training item has the class {few(lost)}, which held-out items have",
                "classes without a training item", float(len(lost)), int(train.sum() + test.sum()), "split again, or label some of them",
            )  # fmt: skip
        both = train + test
        rare = [f"{data.classes[i]} ({both[i]})" for i in np.flatnonzero((both > 0) & (both < 10))]
        if rare:
            yield Finding(
                "coverage.rare", "medium", f"{len(rare)} classes have fewer than ten labelled items: {few(rare, 5)}",
                "items of the rarest class", float(both[both > 0].min()), int(both.sum()), "label more of them, or join classes",
            )  # fmt: skip
        if not lost and not rare:
            smallest = int(both.argmin())
            yield Finding(
                "coverage", "fine", f"every class has at least {both[smallest]:,} labelled items ({data.classes[smallest]})",
                "items of the rarest class", float(both[smallest]), int(both.sum()),
            )  # fmt: skip

    def _unlabelled(self, case: Case, a: Attribute) -> Iterator[Finding]:
        y = case.data.labels
        if y is None:
            return
        known = y >= 0 if case.data.classes else ~np.isnan(y)
        sizes, labelled = a.sizes(), a.sizes(np.flatnonzero(known))
        none = [a.values[i] for i in np.flatnonzero((sizes >= self.fewest) & (labelled == 0))]
        if none:
            yield Finding(
                "coverage.unlabelled", "high", f"{a.name}: no item of {few(none)} has a label: nothing can be said about how they are "
                "served",
                "groups without a label", float(len(none)), int(known.sum()), "label some of them", group=a.name, weight=1.0,
            )  # fmt: skip
        if not case.data.classes:
            return
        for i in np.flatnonzero(labelled >= 2 * self.fewest):
            mine = known & (a.codes == i)
            lacking = np.setdiff1d(np.unique(y[known]), np.unique(y[mine]))
            expected = [float((y[known] == c).mean() * mine.sum()) for c in lacking]
            gone = [case.data.classes[int(c)] for c, e in zip(lacking, expected, strict=True) if e >= 10]
            if gone:
                yield Finding(
                    "coverage.cells", "high", f"{a.name}: no item of {a.values[i]} has the class {few(gone)}: group and class are "
                    "confounded",
                    "items that chance would let expect", float(max(expected)), int(mine.sum()),
                    "collect them, or a model will take the one for the other", group=a.name, weight=0.5,
                )  # fmt: skip

    def _shares(self, case: Case, a: Attribute) -> Iterator[Finding]:
        data = case.data
        train, test = a.sizes(data.train), a.sizes(data.test)
        if not train.sum() or not test.sum():
            return
        p, q = train / train.sum(), test / test.sum()
        both = (train + test) / (train.sum() + test.sum())
        error = np.sqrt(both * (1 - both) * (1 / train.sum() + 1 / test.sum()))
        z = np.divide(q - p, error, out=np.zeros(len(p)), where=error > 0)
        worst = int(np.argmax(np.where(z > 4, q - p, -1)))
        if z[worst] > 4 and q[worst] - p[worst] > 0.05 and p[worst] < 0.5 * q[worst]:
            yield Finding(
                "coverage.shares", "high",
                f"{a.name}: {a.values[worst]} are {percent(p[worst])} of the training items and {percent(q[worst])} of the held-out ones: "
                "the model was made of others", "difference of the shares", float(q[worst] - p[worst]), int(train.sum() + test.sum()),
                "collect training items of theirs, or draw a balanced sample", group=a.name, weight=float(q[worst] - p[worst]),
            )  # fmt: skip
