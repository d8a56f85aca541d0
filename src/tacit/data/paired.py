"""Pairs of texts: two columns of a table, each text an item, each row a pair."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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
    parted, groups = [names[k] for k in held.tolist()], _groups(data, pairs, rows, len(where))
    items = dataset.from_texts(list(where), groups=groups, split=parted, name=data.path, spec=data.spec, max_bad=1.0)
    if len(items) < len(where):  # what no token is left of
        kept = np.full(len(where), -1)
        kept[[int(name.rsplit(":", 1)[1]) for name in items.names]] = np.arange(len(items))
        pairs = kept[pairs]
        whole = (pairs >= 0).all(1)
        pairs, rows = pairs[whole], rows[whole]
    return items, pairs, rows


def _groups(data: Dataset, pairs: np.ndarray, rows: np.ndarray, count: int) -> list[str] | None:
    """The group of each text: of its rows; texts that rows of several groups share make one group of these. None = there are none."""
    if data.groups is None:
        return None
    own = data.groups[rows]
    ends = np.concatenate([pairs, np.where(own >= 0, own + count, pairs[:, 0])[:, None]], 1)
    graph = coo_array((np.ones(2 * len(ends)), (ends[:, :2].ravel(), ends[:, [2, 2]].ravel())), shape=(count + len(data.group_names),) * 2)
    found = connected_components(graph, directed=False)[1]
    return [f"group {k}" for k in found[:count].tolist()]


def paired(data: Dataset, head: str) -> tuple[Dataset, Supervision]:
    """The texts of two joined columns as items, and what is to be predicted for their pairs. Raises Asked without labels."""
    if data.labels is None:
        raise Asked(f"{data.path} has no labels for {head}", "name the column with --target")
    items, pairs, rows = sides(data)
    notes = [f"{len(rows):,} pairs of {len(items):,} texts"]
    if lost := len(data) - len(rows):
        notes.append(f"{lost:,} rows do not hold two texts and are left out")
    apart = items.split[pairs[:, 0]] != items.split[pairs[:, 1]]
    if apart.any():
        notes.append(
            f"{int(apart.sum()):,} pairs to learn from share a text with a held-out pair, and count for neither side; "
            "pretrain with --group COLUMN, which keeps rows with the same text together"
        )
    if (data.split == splits.TRAIN).any() and not (items.split[pairs] == splits.TRAIN).all(1).any():
        raise Asked(
            f"every pair of {data.path} that could be learned from shares a text with a held-out pair",
            "pretrain with --group COLUMN, which keeps rows with the same text together, or name the parts with --split",
        )
    return items, forms.of_pairs(pairs, data.labels[rows], data.classes, head, data.path, notes)
