"""Labels that came later: a table of names of items with a class, a number, several labels, a mask, or pairs of items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tacit import registry
from tacit.data import forms, labels, masks, tables
from tacit.data.dataset import Dataset, marked
from tacit.data.forms import Supervision
from tacit.data.itemnames import IDS, Names
from tacit.data.listing import LABEL_COLUMNS, MISSING, few
from tacit.data.tables import Table
from tacit.data.tags import Tags
from tacit.data.text import is_number
from tacit.data.tree import grow
from tacit.errors import Asked, BadData
from tacit.modality import BadItem, Raw

PAIRS = [(f"{word}{mark}{k}", f"{word}{mark}{m}") for word in IDS for mark in ("", "_") for k, m in ("12", "ab")]
PAIRS += [("a", "b"), ("first", "second"), ("left", "right")]
SCORES = (*LABEL_COLUMNS, "similarity", "score", "value", "same")
SAME = {**dict.fromkeys(("yes", "true", "same"), "1"), **dict.fromkeys(("no", "false", "different"), "0")}
HINT = "the first column, or one called id, file_name or name, holds the names of the items"


def read(data: Dataset, path: Path, target: str | None, head: str | None) -> Supervision:
    """The labels that a table holds for items of this data set.

    target: the column, None = by its name; several with commas between them. head: how to read them, None = as they suggest.
    Raises Asked where fewer than half of the rows name items of the data, or one item has two different labels.
    """
    names = Names(data.names)
    table, notes = _table(path, names)
    several = tables.several(table, target)
    if (pair := None if several else _pair(table, names, head)) is not None:
        return _pairs(data, names, table, pair, target, head or "similarity", path, notes)
    where = _found(table, IDS) or 0
    rows, matched, said = _matched(data, names, table, [where], path)
    items, notes = matched[:, 0], notes + said
    column = None if several else _target(table, where, target, head, path)
    if column is None:
        several = several or {c: i for i, c in enumerate(table.columns) if i != where}
        values = np.stack([tables.flags([r[i] for r in rows], c) for c, i in several.items()], 1)
        kept = _once(data, items, values, [", ".join(r[i] for i in several.values()) for r in rows], path)
        return forms.several(items[kept], values[kept], tuple(several), head, str(path), notes)
    cells = [r[column].strip() for r in rows]
    if head == "tagging" or (head is None and table.columns[column].lower() in masks.COLUMNS and _names_files(cells, path)):
        files = labels.codes(cells)[0]
        if data.raws is not None:
            kept = _once(data, items, np.full(len(cells), -1) if files is None else files, cells, path)
            spans: list[str | None] = [None] * len(data)
            for k in kept.tolist():
                spans[items[k]] = cells[k] or None
            return forms.tagging(np.arange(len(data)), marked(data, spans), head, str(path), notes)
        kept = _once(data, items, np.full(len(cells), -1) if files is None else files, cells, path)
        return forms.tagging(items[kept], _tags(data, items[kept], [cells[k] for k in kept], path), head, str(path), notes)
    if head == "multilabel":
        values, found = forms.words(cells)
        kept = _once(data, items, values, cells, path)
        return forms.several(items[kept], values[kept], found, head, str(path), notes)
    if head == "regression":
        y, classes, rule = forms.numbers(cells, f"{path.name}: {table.columns[column]}"), (), ""  # type: np.ndarray | None, tuple[str, ...], str
    else:
        y, classes, rule = labels.encode(tables.typed(cells))
        notes += [*_mixed(cells), *tables.unlabelled(cells), *([rule] if "classes" not in rule else [])]
    if y is None:
        raise BadData(f"{path}: the column {table.columns[column]!r} is empty", "name another one with --target")
    kept = _once(data, items, y, cells, path)
    return forms.single(items[kept], y[kept], classes, head, str(path), notes)


def _table(path: Path, names: Names) -> tuple[Table, list[str]]:
    """The table in this file, and notes. Raises Asked if there is none, BadData if it is empty or damaged."""
    if not path.is_file():
        raise Asked(f"there is no file of labels {str(path)!r}", "give a .csv, .tsv, .jsonl or .parquet file")
    try:
        table = tables.read(grow(path).data(path.name), path.name)
    except BadItem as error:
        raise BadData(f"{path}: {error}", "copy or download it again") from None
    if table.header and table.columns and names.row(table.columns[0]) >= 0:  # the first row is an item, not the names of columns
        count = list(map(str, range(len(table.columns))))
        table = Table(count, [table.columns, *table.rows], [1, *table.lines], table.bad, table.note, False)
    if not table.rows:
        raise BadData(f"{path} holds no label", "write one row for each labelled item")
    if len(table.columns) < 2:
        raise Asked(f"{path} has one column only, {table.columns[0]!r}", f"it needs names of items and labels: {HINT}")
    bad = f"{len(table.bad)} rows of {path.name} cannot be read: {few(f'{p.name}: {p.reason}' for p in table.bad)}"
    return table, ([f"{path.name}: {table.note}"] if table.note else []) + ([bad] if table.bad else [])


def _found(table: Table, wanted: Sequence[str]) -> int | None:
    """Where the first column of these names is."""
    column = tables.find(table.columns, wanted) if table.header else None
    return None if column is None else table.columns.index(column)


def _matched(
    data: Dataset, names: Names, table: Table, columns: Sequence[int], path: Path
) -> tuple[list[list[str]], np.ndarray, list[str]]:
    """The rows of a table whose names are known, int64 [n, columns] rows of the data, and notes. Raises Asked if fewer than half are."""
    found = np.array([[names.row(row[i]) for i in columns] for row in table.rows], np.int64)
    known = np.asarray((found >= 0).all(1))
    lost = [row[i] for row, which in zip(table.rows, found, strict=True) for i, r in zip(columns, which, strict=True) if r == -1]
    several = [row[i] for row, which in zip(table.rows, found, strict=True) for i, r in zip(columns, which, strict=True) if r == -2]
    if 2 * known.sum() < len(known):
        ours = few(map(repr, data.names))
        said = f"{len(known) - known.sum()} of {len(known)} rows of {path} name no item of {data.path}: {few(map(repr, lost + several))}"
        raise Asked(f"{said}, where the data has {ours}", HINT)
    notes = [f"{len(lost)} names in {path.name} are not in the data: {few(map(repr, lost))}"] if lost else []
    notes += [f"{len(several)} names in {path.name} fit several items and are left out: {few(map(repr, several))}"] if several else []
    return [row for row, k in zip(table.rows, known, strict=True) if k], found[known], notes


def _target(table: Table, where: int, target: str | None, head: str | None, path: Path) -> int | None:
    """The column with the label; None = all but the names are yes-or-no labels. Raises Asked where it cannot be told."""
    if target is not None:
        return table.index(target, "target")
    others = [i for i in range(len(table.columns)) if i != where]
    wanted = {"tagging": masks.COLUMNS, None: (*LABEL_COLUMNS, *masks.COLUMNS)}.get(head, LABEL_COLUMNS)
    column = _found(table, wanted)
    if column is not None and column != where:
        return column
    if len(others) == 1:
        return others[0]
    if head == "multilabel":
        return None
    raise Asked(f"which column of {path} holds the label? {few((table.columns[i] for i in others), 8)}", "name it with --target")


def _once(data: Dataset, items: np.ndarray, values: np.ndarray, said: Sequence[str], path: Path) -> np.ndarray:
    """Positions of `items` [n] without repetitions, in the order of the data; an item's label counts before a missing one.

    values: [n] or [n, K], -1 or NaN = missing. said: the label as written. Raises Asked for an item with two different labels.
    """
    first: dict[int, int] = {}
    for k, item in enumerate(items.tolist()):
        j = first.setdefault(item, k)
        if j == k or _missing(values[k]):
            continue
        if _missing(values[j]):
            first[item] = k
        elif not np.array_equal(values[j], values[k], equal_nan=values.dtype.kind == "f"):
            raise Asked(f"{path}: {data.names[item]} is labelled {said[j]!r} and also {said[k]!r}", "keep one row for each item")
    return np.array([k for _, k in sorted(first.items())], np.int64)


def _missing(value: np.ndarray) -> bool:
    return bool(np.isnan(value).all() if value.dtype.kind == "f" else (value < 0).all())


def _mixed(cells: Sequence[str]) -> list[str]:
    """A note where numbers and words stand in one column."""
    known = [c for c in cells if c.lower() not in MISSING]
    words = [c for c in dict.fromkeys(known) if not is_number(c)]
    mixed = words and any(map(is_number, known))
    return [f"the labels mix numbers with words such as {few(map(repr, words))}: all are taken as classes"] if mixed else []


def _names_files(cells: Sequence[str], path: Path) -> bool:
    return any(masks.named(c, path.name, lambda file: (path.parent / file).is_file())[0] for c in cells if c)


def _tags(data: Dataset, items: np.ndarray, cells: Sequence[str], path: Path) -> Tags:
    """The tags of these items, in the files that the cells name, none of which may lie outside the table's folder."""
    kind = registry.find("modalities", data.modality)

    def read(i: int) -> Raw | None:
        if not cells[i]:
            return None
        file, reason = masks.named(cells[i], path.name, lambda name: (path.parent / name).is_file())
        if not file:
            raise BadItem(f"{cells[i]}: {reason}")
        raw = masks.content(path.parent / file, file)
        found, expected = kind.extent(raw), _extent(data, int(items[i]))
        if expected is not None and found != expected:
            size, other = (" x ".join(map(str, s)) for s in (expected, found))
            raise BadItem(f"{cells[i]} tags {other} {kind.tagged}, the item has {size}")
        return raw

    return Tags(kind, data.spec, [data.names[i] for i in items], read)


def _extent(data: Dataset, row: int) -> tuple[int, ...] | None:
    """The positions of an item as it was found, before decoding; None where that cannot be told."""
    kind = registry.find("modalities", data.modality)
    if data.lengths is not None:
        return (int(data.lengths[row]),)
    if "x" in data.opened:
        return kind.extent(np.asarray(data.opened["x"][int(data.names[row].rsplit(":", 1)[1])]))
    path = Path(data.opened.get("path", "")) / data.names[row]
    return kind.extent(path) if path.is_file() else None


def _pair(table: Table, names: Names, head: str | None) -> tuple[int, int] | None:
    """The two columns with names of items, if the table is about pairs."""
    lower = [c.strip().lower() for c in table.columns]
    pair = next(((lower.index(a), lower.index(b)) for a, b in PAIRS if a in lower and b in lower), None) if table.header else None
    if head in forms.OF_PAIRS:
        return pair or (0, 1)
    if head is not None or pair is None or _found(table, IDS) is not None:
        return None
    return pair if any(all(names.row(row[i]) >= 0 for i in pair) for row in table.rows) else None


def pairs(path: Path, items: Sequence[str]) -> np.ndarray:
    """int64 [R, 2]: rows of the items that a table pairs, in its order; items: names of the data's items. Raises Asked for unknown ones."""
    names = Names(items)
    table, _ = _table(path, names)
    first, second = _pair(table, names, "similarity") or (0, 1)
    found = np.array([[names.row(row[first]), names.row(row[second])] for row in table.rows], np.int64).reshape(-1, 2)
    if (found < 0).any():
        unknown = sorted(
            {row[i] for row, both in zip(table.rows, found, strict=True) for i, r in zip((first, second), both, strict=True) if r < 0}
        )
        raise Asked(f"{path} names items that the data does not have: {few(unknown)}", f"the data's own names are such as {few(items, 3)}")
    return found


def _pairs(
    data: Dataset, names: Names, table: Table, pair: tuple[int, int], target: str | None, head: str, path: Path, notes: list[str]
) -> Supervision:
    """How similar pairs of items are, or which class they are of. Raises Asked where the column that says so cannot be told."""
    others = [i for i in range(len(table.columns)) if i not in pair]
    column = table.index(target, "target") if target is not None else _found(table, SCORES)
    column = others[0] if column is None and len(others) == 1 else column
    if column is None or column in pair:
        raise Asked(
            f"which column of {path} says what the pairs are? {few((table.columns[i] for i in others), 8)}", "name it with --target"
        )
    rows, items, said = _matched(data, names, table, pair, path)
    where, cells, classes = f"{path.name}: {table.columns[column]}", [r[column].strip() for r in rows], ()  # type: str, list[str], tuple[str, ...]
    y: np.ndarray | None
    if head == "similarity":
        y = forms.numbers([SAME.get(c.lower(), c) for c in cells], where)
    else:
        y, classes, _ = labels.encode(tables.typed(cells))
    if y is None:
        raise BadData(f"{where} is empty", "name another one with --target")
    first: dict[tuple[int, ...], int] = {}
    for k, both in enumerate(items.tolist()):
        key = tuple(both) if head == "pairs" else tuple(sorted(both))
        j = first.setdefault(key, k) if not _missing(y[k]) else k
        if y[j] != y[k] and j != k:
            raise Asked(f"{path}: the pair {few(data.names[i] for i in both)} has {y[j]:g} and also {y[k]:g}", "keep one row for each pair")
    kept = np.array(sorted(first.values()), np.int64)
    return forms.of_pairs(items[kept].reshape(-1, 2), y[kept], classes, head, where, (*notes, *said))
