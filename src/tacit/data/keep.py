"""A list of items to keep, as `tacit audit --write-keep` writes it: all others are left out, and belong to no part."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit.data import tables
from tacit.data.itemnames import IDS, Names, table
from tacit.data.splits import LEFT_OUT
from tacit.errors import Asked, TacitError, few

if TYPE_CHECKING:
    from tacit.data.dataset import Dataset


def left_out(names: Sequence[str], path: str | Path, where: str) -> np.ndarray:
    """int64 rows of the names that a list does not hold.

    path: a table whose column id, file_name or name (else the first) holds names of items. where: the data, for messages. Raises Asked
    where the list names other data.
    """
    listed = _own(Path(path))
    if listed is None:
        found = table(Path(path))
        named = tables.find(found.columns, IDS)
        column = 0 if named is None else found.columns.index(named)
        listed = [row[column] for row in found.rows]
    exact = {str(n): i for i, n in enumerate(names)}
    known = Names(names)
    rows = [exact[n] if n in exact else known.row(n) for n in listed]
    lost = [n for n, i in zip(listed, rows, strict=True) if i < 0]
    if len(lost) > 0.01 * len(rows):
        said = f"{len(lost):,} of {len(rows):,} names in {path} are not in {where}: {few(map(repr, lost))}"
        raise Asked(said, f"the data has {few(map(repr, names))}")
    return np.setdiff1d(np.arange(len(names)), [i for i in rows if i >= 0])


def _own(path: Path) -> list[str] | None:
    """The names in a list as `write` writes it, whatever they hold; None = it is another table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            return [row[0] for row in rows if row] if next(rows, None) == ["id"] else None
    except (OSError, UnicodeDecodeError, csv.Error):
        return None


def write(names: Sequence[str], rows: np.ndarray, path: str | Path) -> Path:
    """Write the names of these rows as a list to keep, atomically."""
    path = Path(path)
    beside_ = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside_.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id"])
            writer.writerows([str(names[int(r)])] for r in rows)
        beside_.replace(path)
    except OSError as error:
        beside_.unlink(missing_ok=True)
        raise TacitError(f"{path} cannot be written: {error.strerror or error}", "choose another place") from error
    return path


def only(data: Dataset) -> Dataset:
    """The data without the items that were left out, as if they had never been there; tags and several labels an item are dropped."""
    if not (data.split == LEFT_OUT).any():
        return data
    rows = np.flatnonzero(data.split != LEFT_OUT)
    there = set(rows.tolist())
    told = data.raws
    some: dict[str, Any] = {
        "x": data.x[rows], "names": tuple(str(data.names[i]) for i in rows), "split": data.split[rows], "hashes": data.hashes[rows],
        "tagged": None, "multi": None, "multi_names": (),
        "raws": None if told is None else lambda: (t for i, t in enumerate(told()) if i in there),
    }  # fmt: skip
    some |= {k: None if (v := getattr(data, k)) is None else v[rows] for k in ("lengths", "labels", "groups")}
    return replace(data, **some)
