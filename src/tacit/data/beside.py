"""A column of a table that names items of a data set, brought into the order of the data."""

from __future__ import annotations

from pathlib import Path

from tacit.data import tables
from tacit.data.dataset import Dataset
from tacit.data.itemnames import IDS, Names, table
from tacit.data.listing import few
from tacit.errors import Asked, nearest


def column(data: Dataset, path: Path, name: str) -> list[str]:
    """What the column says of every item of the data, "" = nothing; the column id, file_name or name (else the first) names the items.

    Raises Asked where fewer than half of the items are named, or one is named twice with different words.
    """
    found = table(path)
    if name not in found.columns:
        raise Asked(f"{path} has no column {name!r}", nearest(name, found.columns))
    named = tables.find(found.columns, IDS)
    where = 0 if named is None else found.columns.index(named)
    at, names = found.columns.index(name), Names(data.names)
    out: list[str | None] = [None] * len(data)
    lost = []
    for row in found.rows:
        i = names.row(row[where])
        if i < 0:
            lost.append(row[where])
            continue
        if out[i] not in (None, row[at]):
            raise Asked(f"{path} says {out[i]!r} and also {row[at]!r} of {data.names[i]}", "keep one row for each item")
        out[i] = row[at]
    there = sum(v is not None for v in out)
    if 2 * there < len(data):
        said = f"{path} names {there:,} of {len(data):,} items of {data.path}"
        more = f": it has {few(map(repr, lost))}, where the data has {few(map(repr, data.names))}" if lost else ""
        raise Asked(said + more, "it belongs to other data, or its rows are named otherwise: a column id holds the names of the items")
    return ["" if v is None else v for v in out]
