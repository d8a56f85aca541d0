"""Tables: one item a row, columns of numbers, words and dates."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from tacit import celltypes
from tacit.data import tables
from tacit.data.blocks import ENDINGS, Head, blocks, head
from tacit.data.listing import GROUP_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS, Listing, ending
from tacit.data.pairs import parts
from tacit.data.rowlist import listing
from tacit.data.text import is_number
from tacit.data.tree import Tree
from tacit.errors import Asked
from tacit.modality import BadItem

ASIDE = (*LABEL_COLUMNS, *GROUP_COLUMNS, *SPLIT_COLUMNS, "id", "index", "name")


class Rows:
    """Tables: .csv, .tsv, .jsonl, .parquet, .arrow, one item a row; columns for label, group, split by name; _TRAIN and _TEST are parts.

    As event logs (--sequence-by), one item for each word in a column.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"table", "events"})

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.5 for a file of columns, or for a csv or tsv that is not one series a row; less for a folder, by their share of its files."""
        wanted = [n for n in tree.names if _wanted(n)]
        if not wanted:
            return 0.0
        try:
            found = ending(wanted[0]) not in (".csv", ".tsv") or not _a_series(head(tree, wanted[0]))
        except BadItem:
            return 0.1
        return (0.5 if found else 0.3) * (1.0 if tree.single else (len(wanted) / len(tree.names)) ** 0.5)

    @staticmethod
    def read(tree: Tree, *, modality: str | None, **asked: Any) -> Listing:
        """List the rows; columns called label, target, class or y, group or patient, and split are taken by their name.

        asked: columns by what they are for, as of `rowlist.listing`.
        """
        if modality not in (None, "table", "events"):
            raise Asked(f"{tree.path} is a table, not {modality} data", "leave --modality out")
        tree, files = parts(tree, _wanted)
        opened = [blocks(tree, name) for name in files]
        found = listing(opened, list(files.values()), str(tree.path), **asked)
        return replace(found, bad=[*tree.bad, *found.bad], notes=[*tree.notes, *found.notes], tree=tree)


def _wanted(name: str) -> bool:
    return ending(name) in ENDINGS


def _a_series(seen: Head) -> bool:
    """Whether rows are one series of numbers each: columns that are only counted, or that have no names and change smoothly along a row."""
    rows, named = seen.rows, seen.named
    if not rows:
        return False
    names = rows[0] if named else [""] * len(rows[0])
    body = [r for r in rows[int(named) :][:200] if len(r) == len(rows[0])]
    keep = [i for i, name in enumerate(names) if not name or tables.find([name], ASIDE) is None]
    values = np.array([[float(c) if is_number(c) else np.nan for c in (r[i] for i in keep)] for r in body]).reshape(len(body), len(keep))
    gaps = np.array([[c.lower() in celltypes.MORE_MISSING for c in (r[i] for i in keep)] for r in body], bool).reshape(values.shape)
    words = (np.isnan(values) & ~gaps).any(0)
    if not len(body) or words.sum() > (not named):  # without names, one column of words may be the class
        return False
    if named:
        stems = {re.sub(r"\d+$", "", names[i]) for i in keep}
        return len(keep) > 2 and len(stems) == 1 and all(re.search(r"\d+$", names[i]) for i in keep)
    values = values[:, ~words]
    if len(body) < 20 or values.shape[1] < 3:  # too little to look at
        return not words.any()
    spread = np.nanstd(values, 0)
    if values.shape[1] < 8 or np.nanmax(spread) > 20 * max(1e-12, float(np.nanmedian(spread))):
        return False
    near = np.nanmean(np.abs(np.diff(values, axis=1)))
    far = np.nanmean(np.abs(values - np.roll(values, values.shape[1] // 2, 1)))
    return bool(near < 0.6 * far) or not far > 0
