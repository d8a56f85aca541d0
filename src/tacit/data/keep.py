"""A list of items to keep, as `tacit audit --write-keep` writes it: all others are left out, and belong to no part."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tacit.data import tables
from tacit.data.itemnames import IDS, Names, table
from tacit.errors import Asked, TacitError, few


def left_out(names: Sequence[str], path: str | Path, where: str) -> np.ndarray:
    """int64 rows of the names that a list does not hold.

    path: a table whose column id, file_name or name (else the first) holds names of items. where: the data, for messages. Raises Asked
    where the list names other data.
    """
    found = table(Path(path))
    named = tables.find(found.columns, IDS)
    column = 0 if named is None else found.columns.index(named)
    known = Names(names)
    rows = [known.row(row[column]) for row in found.rows]
    lost = [row[column] for row, i in zip(found.rows, rows, strict=True) if i < 0]
    if len(lost) > 0.01 * len(rows):
        said = f"{len(lost):,} of {len(rows):,} names in {path} are not in {where}: {few(map(repr, lost))}"
        raise Asked(said, f"the data has {few(map(repr, names))}")
    return np.setdiff1d(np.arange(len(names)), [i for i in rows if i >= 0])


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
