"""A list of items to keep, as `tacit audit --write-keep` writes it: all others are left out, and belong to no part."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from tacit.data import beside, tables
from tacit.data.dataset import Dataset
from tacit.data.labelfile import IDS, Names
from tacit.data.splits import LEFT_OUT
from tacit.errors import Asked, TacitError, few


def kept(data: Dataset, path: str | Path) -> Dataset:
    """The data with everything left out that the list does not name, as `split` says.

    path: a table whose column id, file_name or name (else the first) holds names of items. Raises Asked where it names other data.
    """
    found = beside.table(Path(path))
    named = tables.find(found.columns, IDS)
    where = 0 if named is None else found.columns.index(named)
    names = Names(data.names)
    rows = [names.row(row[where]) for row in found.rows]
    lost = [row[where] for row, i in zip(found.rows, rows, strict=True) if i < 0]
    if len(lost) > 0.01 * len(rows):
        said = f"{len(lost):,} of {len(rows):,} names in {path} are not in {data.path}: {few(map(repr, lost))}"
        raise Asked(said, f"the data has {few(map(repr, data.names))}")
    split = data.split.copy()
    out = np.setdiff1d(np.arange(len(data)), [i for i in rows if i >= 0])
    split[out] = LEFT_OUT
    note = f"{len(out):,} of {len(data):,} items are left out, as {Path(path).name} says"
    return replace(data, split=split, split_rule=f"{data.split_rule}; {note}", notes=(*data.notes, note))


def write(data: Dataset, rows: np.ndarray, path: str | Path) -> Path:
    """Write the names of these rows as a list to keep, atomically."""
    path = Path(path)
    beside_ = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside_.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id"])
            writer.writerows([str(data.names[int(r)])] for r in rows)
        beside_.replace(path)
    except OSError as error:
        beside_.unlink(missing_ok=True)
        raise TacitError(f"{path} cannot be written: {error.strerror or error}", "choose another place") from error
    return path
