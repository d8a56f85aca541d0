"""The best way to use the labels: our linear probe, fine-tuning, supervised training, or a classic; chosen on training folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tacit.evaluation.readers import Reading
from tacit.evaluation.scores import Scorer


def best_ways(readings: Sequence[Reading], decides: Any, scorer: Scorer) -> dict[str, Any] | None:
    """{"largest": the best way at the most labels measured, "deciding": at the level that decides}; None where nothing was trained on
    the labels beside the probes.

    decides: that level, None = there is none. Each way: probe, representation, kind, level, labels (a class), value, low, high, and
    difference, low_difference, high_difference to our linear probe on the same labels (0 and None where it is the best itself);
    compared: how many ways; finetuned: whether fine-tuning was one of them.
    """
    ways = [r for r in readings if r.way and r.predicted is not None and r.choice is not None]
    if not any(r.kind in ("finetune", "supervised") for r in ways):
        return None
    levels = [r.plan.level for r in ways if r.kind == "ssl"]  # ascending, as they were read
    if not levels:
        return None
    found = {"largest": _best(ways, levels[-1], scorer)}
    if decides in levels:
        found["deciding"] = _best(ways, decides, scorer)
    return found


def elsewhere(reading: Reading, everywhere: Sequence[Reading]) -> float:
    """Mean score on training folds at all levels: breaks the ties that small folds give."""
    same = [r.choice for r in everywhere if (r.representation, r.probe) == (reading.representation, reading.probe) and r.choice is not None]
    return float(np.mean(same))


def _best(ways: Sequence[Reading], level: Any, scorer: Scorer) -> dict[str, Any]:
    here = [r for r in ways if r.plan.level == level]
    ours = next(r for r in here if r.kind == "ssl")
    # of equals the probe: it is cheaper and forgets nothing
    best = max(here, key=lambda r: (r.choice, elsewhere(r, ways), r is ours))
    assert best.predicted is not None and ours.predicted is not None
    value, low, high = scorer.score(scorer.metrics[0], best.predicted)
    row: dict[str, Any] = {"probe": best.probe, "representation": best.representation, "kind": best.kind, "level": level}
    row |= {"labels": best.plan.count, "value": value, "low": low, "high": high}
    row |= {"difference": 0.0, "low_difference": None, "high_difference": None}
    if best is not ours:
        runs = min(len(best.predicted), len(ours.predicted))
        found = scorer.difference(best.predicted[:runs], ours.predicted[:runs])
        row |= dict(zip(("difference", "low_difference", "high_difference"), found, strict=True))
    return row | {"compared": len(here), "finetuned": any(r.kind == "finetune" for r in here)}
