"""The verdict: did self-supervision help, against the best of what one would have done without it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tacit.evaluation.labels import FEW
from tacit.evaluation.readers import Reading
from tacit.evaluation.scores import Scorer
from tacit.evaluation.sentence import sentence
from tacit.evaluation.ways import best_ways, elsewhere

DISCORDANT = 6  # items that only one side gets right: with fewer, no sign test reaches 5 %


def verdict(readings: Sequence[Reading], scorer: Scorer, labels_seen: bool | None = False) -> dict[str, Any]:
    """Our linear probe against the best other, level by level, and the answer.

    The best other is chosen on training folds. helps: True when the 95 % interval of the paired difference is above 0 at some
    level with few labels and below 0 at none, False in the reverse case, otherwise None; a level with fewer than 6 items that only
    one side gets right, or with a single label draw, shows nothing. The level that decides is the smallest
    that shows the effect; without one, the largest with few labels. best_way: see `ways.best_ways`; it has no part in the answer.
    labels_seen: pretraining read labels (None = unknown); then helps is None whatever the numbers say.
    """
    name = next((r.representation for r in readings if r.kind == "ssl"), "")
    ours = [r for r in readings if r.kind == "ssl" and r.probe != "knn" and r.representation == name]
    others = [r for r in readings if r.candidate]
    levels = [_compare(mine, [r for r in others if r.plan.level == mine.plan.level], others, scorer) for mine in ours]
    measured = [row for row in levels if row["difference"] is not None]
    few = [row for row in measured if row["count"] <= FEW[scorer.regression]]
    effects = [row for row in few if (row["low"] > 0 or row["high"] < 0) and row["discordant"] >= DISCORDANT and row["draws"] != 1]
    signs = {row["low"] > 0 for row in effects}
    contradictory = len(signs) == 2
    helps = signs.pop() if len(signs) == 1 and not labels_seen else None
    decides = next(iter(effects or few[::-1] or measured), None)
    out: dict[str, Any] = {
        "helps": helps,
        "labels_seen": labels_seen,
        "ours": ours[0].representation if ours else None,
        "best_other": decides["best_other"] if decides else None,
        "difference": decides["difference"] if decides else None,
        "low": decides["low"] if decides else None,
        "high": decides["high"] if decides else None,
        "level": decides["labels_per_class"] if decides else None,
        "metric": scorer.metrics[0],
        "n_test": scorer.n,
        "levels": levels,
        "labels_saved": _saved(measured, readings, scorer) if measured else None,
        "turns_at": None,
        "turn_is_clear": None,
        "best_way": best_ways(readings, decides["labels_per_class"] if decides else None, scorer),
    }
    if decides:
        out["turns_at"], out["turn_is_clear"] = _turn(measured, decides)
    out["sentence"] = sentence(out, contradictory=contradictory, few=bool(few))
    return out


def _compare(mine: Reading, rivals: list[Reading], everywhere: list[Reading], scorer: Scorer) -> dict[str, Any]:
    """One level: who is the best other, and the paired difference to it."""
    plan = mine.plan
    row: dict[str, Any] = {"labels_per_class": plan.level, "count": plan.count, "n_train_labels": plan.labels, "ours": None}
    row |= {"best_other": None, "other": None, "difference": None, "low": None, "high": None, "discordant": None, "draws": None}
    row["reason"] = plan.reason or mine.reason
    if mine.predicted is None:
        return row
    row["ours"] = float(scorer.each(scorer.metrics[0], mine.predicted).mean())
    scored = [(r.choice, elsewhere(r, everywhere), r) for r in rivals if r.choice is not None and r.predicted is not None]
    if not scored:
        row["reason"] = "no other representation" if not rivals else "no labelled training rows are left to choose the best other on"
        return row
    best = max(scored, key=lambda s: s[:2])[2]
    assert best.predicted is not None
    # on the label seeds that both have, so that the three numbers subtract
    runs = min(len(mine.predicted), len(best.predicted))
    both = mine.predicted[:runs], best.predicted[:runs]
    row["ours"], row["other"] = (float(scorer.each(scorer.metrics[0], p).mean()) for p in both)
    row["best_other"] = best.representation
    row["difference"], row["low"], row["high"] = scorer.difference(*both)
    row["discordant"], row["draws"] = scorer.discordant(*both), None if plan.level == "all" else runs
    return row


def _saved(measured: list[dict[str, Any]], readings: Sequence[Reading], scorer: Scorer) -> dict[str, Any]:
    """How many labels ours needs for what others reach with all of them, and what ours at few labels is worth to them."""

    def first(target: float) -> float | None:
        return next((row["count"] for row in measured if row["ours"] >= target), None)

    out: dict[str, Any] = {"best_other": None, "supervised": None, "worth": None}
    last = measured[-1]
    if last["labels_per_class"] == "all":
        out["best_other"] = {"name": last["best_other"], "all": last["other"], "labels_per_class": first(last["other"])}
    for reading in readings:
        if reading.kind == "supervised" and reading.plan.level == "all" and reading.predicted is not None:
            reached = float(scorer.each(scorer.metrics[0], reading.predicted).mean())
            out["supervised"] = {"name": "supervised", "all": reached, "labels_per_class": first(reached)}
    few = [row for row in measured if row["count"] <= FEW[scorer.regression]]
    if few:
        ours = few[-1]
        count = _labels_for(ours["ours"], [(row["count"], row["other"]) for row in measured])
        # beyond the levels measured nothing is known, unless the last one is all there are
        beyond = last["count"] if count is None and last["labels_per_class"] == "all" and last["count"] > ours["count"] else None
        out["worth"] = {"ours_with": ours["count"], "others_with": count, "more_than": beyond}
    return out


def _labels_for(target: float, curve: list[tuple[float, float]]) -> float | None:
    """Labels at which a curve first reaches the target, between its points on a logarithmic axis; None = never."""
    before: tuple[float, float] | None = None
    for count, value in curve:
        if value >= target:
            if before is None or value == before[1]:
                return count
            share = (target - before[1]) / (value - before[1])
            return float(np.exp(np.log(before[0]) + share * np.log(count / before[0])))
        if before is None or value > before[1]:
            before = (count, value)
    return None


def _turn(measured: list[dict[str, Any]], decides: dict[str, Any]) -> tuple[float | None, bool | None]:
    """(labels from which the other side is ahead to the end, whether some interval there excludes 0), or (None, None)."""
    sign = np.sign(decides["difference"])
    start = len(measured)
    while start > 0 and measured[start - 1]["difference"] * sign < 0:
        start -= 1
    if sign == 0 or start == len(measured) or start == 0 or measured.index(decides) >= start:
        return None, None
    a, b = measured[start - 1], measured[start]
    share = a["difference"] / (a["difference"] - b["difference"])
    clear = any(row["high"] < 0 if sign > 0 else row["low"] > 0 for row in measured[start:])
    return float(np.exp(np.log(a["count"]) + share * np.log(b["count"] / a["count"]))), clear
