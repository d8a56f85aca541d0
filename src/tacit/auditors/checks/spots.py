"""One place that gives the label away: a pixel, a column, a moment, a word."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit import wording
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.auditors.reading import Told, told
from tacit.types import Count


class Spots(Check):
    """The single value of an item that tells the class best, chosen on every second item and tested on the others.

    Of images a pixel, of tables a column, of series a value at one moment, of texts a word (present or not). Content seldom needs only
    one: what does is mostly a mark, a leak, or the label itself.
    """

    section, needs = "shortcuts", ("classes",)

    def __init__(self, *, most: Count = 3000) -> None:
        """most: items that are looked at."""
        self.most = most

    def look(self, case: Case) -> Iterator[Finding]:
        assert case.labels is not None
        yield from self._given_away(case)
        rows = case.some(np.flatnonzero(case.labels >= 0), self.most)
        mixed = np.random.default_rng([case.seed, 616]).permutation(rows)
        rows = mixed[np.argsort(case.labels[mixed], kind="stable")]  # every second one is a half with as many of each class
        y = case.labels[rows]
        if len(np.unique(y)) < 2 or len(rows) < 40:
            return
        found = self._word(case, rows, y) if case.data.raws is not None else self._place(case, rows, y)
        if found is None:
            return
        where, score = found
        severity = grade(score.excess, 0.8, 0.65, 0.5) if score.p < 0.01 and score.low > 0 else "fine"
        said = f"{where} alone tells the class, {percent(score.excess)} of the way from guessing to certainty"
        yield Finding(
            "shortcuts.spot", severity,
            said if severity != "fine" else f"no single place gives the class away (the best is {where}: {percent(score.excess)})",
            "balanced accuracy beyond chance", score.excess, score.n,
            "find out where it comes from; leave it out if it is not there when the model decides" if severity != "fine" else "",
            score.low, score.high, weight=score.excess + 0.01,
        )  # fmt: skip

    @staticmethod
    def _given_away(case: Case) -> Iterator[Finding]:
        """Columns that were left out when the table was read, because they alone give the label."""
        for c in case.data.spec.extra.get("left", ()) if case.data.modality == "table" else ():
            if c["kind"] == "leak":
                yield Finding(
                    "shortcuts.column", "high", f"column {c['name']!r} {c['why']}: it is left out of training", "columns that give "
                    "the label away",
                    1.0, len(case.data), "find out when it is written down: a model in use will not have it", group=str(c["name"]),
                    weight=1.02,
                )  # fmt: skip

    @staticmethod
    def _place(case: Case, rows: np.ndarray, y: np.ndarray) -> tuple[str, Told] | None:
        data = case.data
        if case.kind.flat or data.modality == "events":
            return None
        x = np.asarray(data.x[rows])
        shape = x.shape[1:]
        flat = x.reshape(len(x), -1)
        look, test = slice(0, None, 2), slice(1, None, 2)
        if flat.shape[1] <= 64:  # columns may be categories, in any order
            tried = [told(flat[look, f], y[look], seed=case.seed) for f in range(flat.shape[1])]
            best = int(np.argmax([-1 if t is None else t.excess for t in tried]))
        else:
            best = int(np.argmax(_between(flat[look], y[look])))
        score = told(flat[test, best], y[test], seed=case.seed)
        if score is None:
            return None
        if len(case.columns) == flat.shape[1]:
            return f"column {case.columns[best]!r}", score
        at = np.unravel_index(best, shape)
        if len(shape) == 3:
            return f"the pixel in row {at[1]}, column {at[2]}" + (f" (channel {at[0]})" if shape[0] > 1 else ""), score
        return f"the value at {at[-1]}" + (f" of channel {at[0]}" if len(shape) > 1 and shape[0] > 1 else ""), score

    @staticmethod
    def _word(case: Case, rows: np.ndarray, y: np.ndarray) -> tuple[str, Told] | None:
        from sklearn.feature_extraction.text import CountVectorizer

        texts = wording.texts_of(case.data.x[rows], case.data.spec.extra)
        try:
            reader = CountVectorizer(binary=True, min_df=max(2, len(rows) // 200), token_pattern=r"(?u)\S+")
            there = reader.fit_transform(texts)
        except ValueError:  # no word is frequent enough
            return None
        a = there[::2]
        best, top, kind = 0, -1.0, int(y[0])
        for c in np.unique(y):
            mine = y[::2] == c
            if mine.all() or not mine.any():
                continue
            apart = np.abs(np.asarray(a[mine].mean(0)).ravel() - np.asarray(a[~mine].mean(0)).ravel())
            if apart.max() > top:
                best, top, kind = int(apart.argmax()), float(apart.max()), int(c)
        score = told(there[1::2, best].toarray(), (y[1::2] == kind).astype(np.int64), seed=case.seed)
        word = reader.get_feature_names_out()[best]
        return None if score is None else (f"the word {word!r} (class {case.data.classes[int(kind)]})", score)


def _between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of the variance of each column of x [n, P] that lies between the classes; 0 where it is constant."""
    out = np.zeros(x.shape[1])
    step = max(1, 20_000_000 // len(x))
    one = (y[:, None] == np.unique(y)).astype(np.float64)
    for i in range(0, x.shape[1], step):
        v = np.nan_to_num(x[:, i : i + step].astype(np.float64))
        v = v - v.mean(0)
        whole = (v**2).sum(0)
        sums = one.T @ v
        part = (sums**2 / one.sum(0)[:, None]).sum(0)
        out[i : i + step] = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 1e-9)
    return out
