"""Pairs of texts: two columns of a table, each text an item, each row a pair."""

from __future__ import annotations

import numpy as np

from tacit import wording
from tacit.data import dataset, forms, splits
from tacit.data.dataset import Dataset
from tacit.data.forms import Supervision
from tacit.errors import Asked

HINT = "name two columns: --text-column first,second"


def sides(data: Dataset) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """The texts of two joined columns as items of their own, each text once; the pairs int64 [R, 2]; and the row that each pair is of.

    A text of any held-out pair is held out, so that no text of a test pair is ever learned from. Raises Asked for texts of one column.
    """
    assert data.raws is not None
    mark = f" {wording.SEPARATOR} "
    parts = [text.split(mark) for text in data.raws()]
    rows = np.array([i for i, p in enumerate(parts) if len(p) == 2 and all(v.strip() for v in p)], np.int64)
    if 2 * len(rows) < len(parts):
        raise Asked(f"{len(parts) - len(rows):,} of {len(parts):,} rows of {data.path} do not hold two texts", HINT)
    where: dict[str, int] = {}
    pairs = np.array([[where.setdefault(text.strip(), len(where)) for text in parts[i]] for i in rows], np.int64).reshape(-1, 2)
    held = np.zeros(len(where), np.int8)
    for part in (splits.VAL, splits.TEST):
        held[pairs[data.split[rows] == part].ravel()] = part
    names = {splits.TRAIN: "train", splits.TEST: "test", splits.VAL: "val"}
    items = dataset.from_texts(list(where), split=[names[k] for k in held.tolist()], name=data.path, spec=data.spec, max_bad=1.0)
    if len(items) < len(where):  # what no token is left of
        kept = np.full(len(where), -1)
        kept[[int(name.rsplit(":", 1)[1]) for name in items.names]] = np.arange(len(items))
        pairs = kept[pairs]
        whole = (pairs >= 0).all(1)
        pairs, rows = pairs[whole], rows[whole]
    return items, pairs, rows


def paired(data: Dataset, head: str) -> tuple[Dataset, Supervision]:
    """The texts of two joined columns as items, and what is to be predicted for their pairs. Raises Asked without labels."""
    if data.labels is None:
        raise Asked(f"{data.path} has no labels for {head}", "name the column with --target")
    items, pairs, rows = sides(data)
    notes = [f"{len(rows):,} pairs of {len(items):,} texts"]
    if lost := len(data) - len(rows):
        notes.append(f"{lost:,} rows do not hold two texts and are left out")
    return items, forms.of_pairs(pairs, data.labels[rows], data.classes, head, data.path, notes)
