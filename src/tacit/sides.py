"""The two sides of an evaluation: what may be tested on, and how the test's labels and lengths are read as the training's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tacit.data.dataset import Dataset
from tacit.errors import Asked, BadData


def clean_test(data: Dataset, rows: np.ndarray, other: Dataset, held: np.ndarray, path: Path | None) -> tuple[np.ndarray, list[str]]:
    """The test rows that neither the probe's nor the pretraining's training items repeat, and notes about the others."""
    notes = []
    repeats = np.isin(other.hashes[held], data.hashes[rows])
    if path is not None and (path / "seen.npy").is_file():
        seen = np.load(path / "seen.npy", allow_pickle=False)
        repeats |= np.isin(other.hashes[held], seen)
    else:
        notes.append("what pretraining saw is unknown: leaks into it were not checked")
    if repeats.any():
        notes.append(f"{int(repeats.sum())} of {len(held)} test items are exact duplicates of training items and were left out")
    held = held[~repeats]
    if not len(held):
        raise BadData("no test item is left to evaluate on", "hold some items out, or give --test DATA that the run has not seen")
    return held, notes


def spanning(data: Dataset, rows: np.ndarray, other: Dataset, held: np.ndarray) -> list[str]:
    """A note about groups (by name) with items on both sides of a split that was given."""
    sides = ((data, rows), (other, held))
    parts = [set() if d.groups is None else {d.group_names[g] for g in np.unique(d.groups[r]) if g >= 0} for d, r in sides]
    both = parts[0] & parts[1]
    if not both:
        return []
    return [f"{len(both)} of the {len(parts[1])} groups in the test also have training items: the scores do not hold for new groups"]


def same_classes(other: Dataset, data: Dataset) -> Dataset:
    """Test labels as the training labels are read: few rows may make numbers of classes or the reverse. Raises Asked where they cannot."""
    assert other.labels is not None
    if not data.classes:
        try:
            numbers = np.array([*map(float, other.classes), np.nan], np.float32)
        except ValueError:
            words = f"the training labels are numbers, those of {other.path} are classes such as {other.classes[0]!r}"
            raise Asked(words, "name the column with the same target in both") from None
        return replace(other, labels=numbers[other.labels], classes=())
    if other.classes:
        found = [other.classes[k] if k >= 0 else None for k in other.labels]
    else:
        found = [None if np.isnan(v) else str(int(v)) if v.is_integer() else f"{v:g}" for v in other.labels.astype(float)]
    new = sorted({f for f in found if f is not None} - set(data.classes))
    if new:
        more = "" if len(new) <= 5 else f" and {len(new) - 5} more"
        raise Asked(f"the test data has classes that the training data lacks: {', '.join(new[:5])}{more}", "test on the same classes")
    index = {name: k for k, name in enumerate(data.classes)} | {None: -1}
    return replace(other, labels=np.array([index[f] for f in found], np.int64), classes=data.classes)


def as_long(x: np.ndarray, xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training and test items at one stored length: the shorter ones padded with NaN at their end."""
    if x.shape[2:] == xt.shape[2:] or x.ndim != 3 or not isinstance(x, np.ndarray):  # a Flat is as long as each item is
        return x, xt
    most = max(x.shape[2], xt.shape[2])
    first, second = (np.pad(v, ((0, 0), (0, 0), (0, most - v.shape[2])), constant_values=np.nan) for v in (x, xt))
    return first, second
