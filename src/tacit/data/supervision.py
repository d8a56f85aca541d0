"""What is to be predicted: the labels of some items, in the form that a head learns from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tacit.data.dataset import Dataset
from tacit.data.listing import few
from tacit.errors import Asked, BadData

HEADS = ("classification", "multilabel", "regression", "tagging", "similarity")
WHOLE = 2.0**24  # up to here float32 holds every whole number


@dataclass(frozen=True)
class Supervision:
    """What is to be predicted for some items of a data set.

    head: name of the head that suits: "classification", "multilabel", "regression", "tagging" or "similarity".
    items: int64 [R], rows of the data set; of pairs [R, 2].
    values: classification int64 [R]; multilabel float32 [R, K], NaN = unknown; regression float32 [R]; tagging int16 [R, *S],
    -1 = unknown; similarity float32 [R].
    classes: names, empty for numbers. notes: what a person should know.
    """

    head: str
    items: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)


def supervise(data: Dataset, *, target: str | None = None, file: str | Path | None = None, head: str | None = None) -> Supervision:
    """The labels of a data set for fine-tuning, unlabelled items left out.

    head: how to read them, None = as the labels suggest. Raises Asked where they cannot be read that way.
    """
    if data.labels is None:
        raise Asked(f"{data.path} has no labels to learn from", "put the items into class folders, or name a label column with --target")
    return _classes(data) if head == "classification" or (head is None and data.classes) else _numbers(data)


def check(s: Supervision, rows: np.ndarray) -> list[str]:
    """What a person should know before a head learns from these labels.

    rows: int64, positions in `s` of the items to learn from; the others are held out.
    Raises BadData if nothing can be learned: fewer than two labelled items, or all labels equal.
    """
    if len(rows) < 2:
        raise BadData(f"{len(rows)} labelled items to learn from", "label more items, at least two of every class")
    known = [_known(s, s.values[rows][:, k]) for k in range(len(s.classes))] if s.head == "multilabel" else [_known(s, s.values[rows])]
    if all(len(v) == 0 or (v == v[0]).all() for v in known):
        first = next((v[0] for v in known if len(v)), None)
        said = s.classes[int(first)] if s.classes and s.head != "multilabel" and first is not None else first
        raise BadData(
            f"all labels to learn from are equal: {said}", "label items of another kind too, or name another label column with --target"
        )
    if s.head == "multilabel":
        same = [c for c, v in zip(s.classes, known, strict=True) if len(v) == 0 or (v == v[0]).all()]
        return [f"labels that are the same for all training items and cannot be learned: {few(same)}"] if same else []
    if not s.classes:
        return []
    return _rare(s, rows)


def _rare(s: Supervision, rows: np.ndarray) -> list[str]:
    """Notes on classes of one item, and on classes that only held-out items have."""
    learned, every = _having(s, s.values[rows]), _having(s, s.values)
    single = [c for c, n, m in zip(s.classes, every, learned, strict=True) if n == m == 1]
    absent = [c for c, n, m in zip(s.classes, every, learned, strict=True) if n and not m]
    notes = [f"classes of a single item, which cannot be held out: {few(map(repr, single))}"] if single else []
    return notes + ([f"classes that no training item has, so they will never be predicted: {few(map(repr, absent))}"] if absent else [])


def _having(s: Supervision, values: np.ndarray) -> np.ndarray:
    """int64 [K]: how many items have each class, anywhere."""
    if values.ndim == 1:
        return np.bincount(values, minlength=len(s.classes))
    return np.array([int((values == k).any(tuple(range(1, values.ndim))).sum()) for k in range(len(s.classes))])


def _known(s: Supervision, values: np.ndarray) -> np.ndarray:
    """Values that are known, flat."""
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values[values >= 0]


def _classes(data: Dataset) -> Supervision:
    """Classes, made of whole numbers where the data took them for values."""
    y = data.labels
    assert y is not None
    if data.classes:
        items = np.flatnonzero(y >= 0)
        return Supervision("classification", items, y[items].astype(np.int64), data.classes)
    items = np.flatnonzero(~np.isnan(y))
    known = y[items].astype(np.float64)
    broken = known[(known != np.rint(known)) | (np.abs(known) > WHOLE)]
    if len(broken):
        raise Asked(
            f"the labels of {data.path} are numbers such as {broken[0]:g}, not classes", "leave the head out, or ask for regression"
        )
    found, values = np.unique(known.astype(np.int64), return_inverse=True)
    return Supervision("classification", items, values.astype(np.int64), tuple(map(str, found.tolist())))


def _numbers(data: Dataset) -> Supervision:
    """Values, read out of the names of the classes where the data took them for classes."""
    y = data.labels
    assert y is not None
    if not data.classes:
        items = np.flatnonzero(~np.isnan(y))
        return Supervision("regression", items, y[items].astype(np.float32))
    items = np.flatnonzero(y >= 0)
    return Supervision("regression", items, _as_numbers(data.classes, data.path)[y[items]])


def _as_numbers(words: tuple[str, ...], where: str) -> np.ndarray:
    """float32 of labels that are written as words. Raises Asked naming some that are no numbers."""
    strange = []
    for word in words:
        try:
            if not np.isfinite(np.float32(word)):
                strange.append(word)
        except ValueError:
            strange.append(word)
    if strange:
        raise Asked(
            f"a number cannot be predicted: the labels of {where} are words such as {few(map(repr, strange))}",
            "leave the head out to predict classes, or name a column of numbers with --target",
        )
    return np.array(words, np.float32)
