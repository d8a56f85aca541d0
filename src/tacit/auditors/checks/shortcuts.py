"""What tells the label without the content (brightness, borders, length, level, the speaker), and whether the model uses it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.attributes import FEWEST
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.auditors.reading import Told, told
from tacit.statistics import wilson


class Shortcuts(Check):
    """A forest reads the label from nuisances alone (what the modality says tells how an item was taken), and from each group alone.

    Where a model's decisions are at hand, its errors are counted where the shortcut points to the truth and where it points elsewhere.
    """

    section, needs = "shortcuts", ("classes",)

    def look(self, case: Case) -> Iterator[Finding]:
        assert case.labels is not None
        rows = case.some(np.flatnonzero(case.labels >= 0), 4000)
        y, data = case.labels[rows], case.data
        x = data.x[rows] if case.kind.flat else np.asarray(data.x[rows])
        case.say("looking for shortcuts\r")
        found = case.kind.nuisances(x, None if data.lengths is None else data.lengths[rows], data.spec)
        each = {name: told(v, y, seed=case.seed) for name, v in found.items()}
        scores = {name: t for name, t in each.items() if t is not None and t.p < 0.01 and t.low > 0}
        best = max(scores, key=lambda k: scores[k].excess, default="")
        whole = told(np.stack(list(found.values()), 1), y, seed=case.seed, how="forest") if found else None
        strong = whole if whole is not None and whole.p < 0.01 and whole.low > 0 else None
        top = scores.get(best)
        score = max((s for s in (strong, top) if s is not None), key=lambda s: s.excess, default=None)
        severity = "fine" if score is None else grade(score.excess, 0.8, 0.5, 0.25)
        if score is None or severity == "fine":
            value = 0.0 if score is None else score.excess
            yield Finding(
                "shortcuts.nuisances", "fine", "the label cannot be told from how items were taken", "excess over chance", value, len(rows)
            )
        else:
            names = sorted(scores, key=lambda k: -scores[k].excess)[:3]
            shown = ", ".join(f"{k} {percent(scores[k].excess)}" for k in names)
            yield Finding(
                "shortcuts.nuisances", severity,
                f"the class can be told without the content, {percent(score.excess)} of the way from guessing to certainty (alone: "
                f"{shown})",
                "balanced accuracy beyond chance", score.excess, score.n,
                "take all classes the same way, teach the views to ignore it (modality.*), and test on items where it differs",
                score.low, score.high, weight=score.excess, more={"alone": {k: t.excess for k, t in scores.items()}},
            )  # fmt: skip
            yield from _followed(case, rows, score, "how items were taken")
        for a in case.attributes:
            yield from self._group(case, a.name, a.codes, a.values)
        if data.groups is not None:
            yield from self._group(case, str(data.opened.get("group") or "the group"), data.groups, data.group_names)

    @staticmethod
    def _group(case: Case, name: str, codes: np.ndarray, values: tuple[str, ...]) -> Iterator[Finding]:
        """How well the group alone tells the class: the most frequent class of each, of items that were not counted."""
        y = case.labels
        assert y is not None
        rows = np.flatnonzero((y >= 0) & (codes >= 0))
        if len(values) > 1000 or len(rows) < 2 * FEWEST:
            return
        mean = len(rows) / max(1, len(np.unique(codes[rows])))
        if mean < 3:  # nearly every item is its own group
            return
        onehot = codes[rows].astype(np.float64)[:, None] if len(values) > 30 else np.eye(len(values))[codes[rows]]
        score = told(onehot, y[rows], seed=case.seed)
        severity = "fine" if score is None or score.p >= 0.01 else grade(score.excess, 0.6, 0.3, 0.15)
        if score is not None and severity != "fine":
            yield Finding(
                "shortcuts.groups", severity,
                f"{name} alone tells the class, {percent(score.excess)} of the way from guessing to certainty: a model that "
                "recognises the one "
                "need not learn the other", "balanced accuracy beyond chance", score.excess, score.n,
                "collect every class of every group, split by group, and look at each group's errors", score.low, score.high,
                group=name, weight=score.excess,
            )  # fmt: skip


def _followed(case: Case, rows: np.ndarray, score: Told, what: str) -> Iterator[Finding]:
    """Is the model wrong where the shortcut points elsewhere?"""
    d, y = case.decisions, case.labels
    if d is None or not d.classes or y is None:
        return
    points = np.full(len(case.data), -1)
    kinds = np.unique(y[rows][score.guess >= 0])
    points[rows[score.guess >= 0]] = kinds[np.minimum(score.guess[score.guess >= 0], len(kinds) - 1)]
    there = points[d.rows] >= 0
    same = points[d.rows][there] == y[d.rows][there]
    wrong = (d.truth != d.made)[there]
    n = np.array([int((~same).sum()), int(same.sum())])
    if n.min() < FEWEST:
        return
    off, on = float(wrong[~same].mean()), float(wrong[same].mean())
    (low_off, high_off), (low_on, high_on) = wilson(off, int(n[0])), wilson(on, int(n[1]))
    apart = off - on
    severity = grade(apart, 0.2, 0.1, 0.05) if low_off > high_on else "fine"
    yield Finding(
        "shortcuts.followed", severity,
        f"{d.who} is wrong for {percent(off)} of the items where {what} points to another class, and for {percent(on)} where it points to "
        "the truth" + (": it follows the shortcut" if severity != "fine" else ": no sign that it follows it"),
        "difference of the error rates", apart, int(n.sum()), "" if severity == "fine" else "teach it to ignore that, and measure again",
        low_off - high_on, high_off - low_on, weight=apart,
    )  # fmt: skip
