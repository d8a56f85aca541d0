"""Tables as text cells: csv, tsv, jsonl and parquet, whatever their encoding."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tacit.data.listing import GROUP_COLUMNS, LABEL_COLUMNS, MISSING, SPLIT_COLUMNS, Problem, ending, few
from tacit.data.text import decode_text, is_number
from tacit.errors import Asked, BadData, nearest

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """columns: names (made up where there is no header: "0", "1", ...). rows: text cells. lines: line number of each row in the file."""

    columns: list[str]
    rows: list[list[str]]
    lines: list[int]
    bad: list[Problem]
    note: str
    header: bool

    def index(self, column: str, option: str) -> int:
        """Where a column is; the user may also give its number, also from the end. Raises Asked."""
        return index(self.columns, column, option)

    def cells(self, i: int) -> list[str]:
        """One column's cells."""
        return [row[i] for row in self.rows]


def read(data: bytes, name: str) -> Table:
    """The table in these bytes; name: for the format and for messages. Raises BadData."""
    kind = ending(name)
    if kind == ".parquet":
        return _parquet(data, name)
    text, note = decode_text(data)
    return _jsonl(text, name, note) if kind == ".jsonl" else _csv(text, name, note)


def parquet_columns(raw: Any, name: str) -> list[str]:
    """Names of the columns of a parquet file, of which only the end is read. raw: its path, its bytes, or open. Raises BadData."""
    import pyarrow
    import pyarrow.parquet

    try:
        source = pyarrow.BufferReader(raw) if isinstance(raw, bytes) else raw
        with pyarrow.parquet.ParquetFile(source) as file:
            return list(file.schema_arrow.names)
    except (pyarrow.ArrowException, OSError) as error:
        raise BadData(f"{name} is truncated or damaged: {str(error).splitlines()[0][:200]}", "write it again") from None


def typed(cells: Sequence[str]) -> list[Any]:
    """Labels out of text cells: None where missing, numbers if all others are numbers, else words."""
    known = [c for c in cells if c.strip().lower() not in MISSING]
    as_number = bool(known) and all(map(is_number, known))
    return [None if c.strip().lower() in MISSING else float(c) if as_number else c.strip() for c in cells]


def unlabelled(cells: Sequence[str]) -> list[str]:
    """A note where a label that may well be a class counts as missing."""
    words = sorted({c.strip() for c in cells if c.strip().lower() in ("na", "none", "null")})
    return [f"the labels {', '.join(map(repr, words))} count as unlabelled: rename them if they are classes"] if words else []


def find(columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first column whose name is one of the wanted ones, in any case."""
    lower = {c.strip().lower(): c for c in reversed(columns)}
    return next((lower[w] for w in wanted if w in lower), None)


def index(columns: Sequence[str], column: str, option: str) -> int:
    """Where a column is, by its name or number, also from the end. Raises Asked."""
    if column in columns:
        return list(columns).index(column)
    if column.lstrip("-").isdigit() and -len(columns) <= int(column) < len(columns):
        return int(column) % len(columns)
    raise Asked(f"there is no column {column!r} for --{option}", nearest(column, columns))


class Columns(Protocol):
    """What has named columns: a table that was read, or one that is read in blocks."""

    @property
    def columns(self) -> list[str]:
        """Their names."""
        ...

    @property
    def header(self) -> bool:
        """Whether the file itself names them."""
        ...


def special(table: Columns, **asked: str | None) -> dict[str, int]:
    """Which column is the target, the group and the split: as asked, else by its name. Raises Asked for an unknown column."""
    known = {"target": LABEL_COLUMNS, "group": GROUP_COLUMNS, "split": SPLIT_COLUMNS}
    found = {}
    for option, column in asked.items():
        column = column or (find(table.columns, known[option]) if table.header else None)
        if column is not None:
            found[option] = index(table.columns, column, option)
    return found


def several(table: Columns, target: str | None) -> dict[str, int]:
    """Where the columns of several targets are, named with commas between them; empty for one target. Raises Asked for an unknown one."""
    if target is None or "," not in target or target in table.columns:
        return {}
    return {name: index(table.columns, name, "target") for name in dict.fromkeys(w.strip() for w in target.split(",") if w.strip())}


def flags(cells: Sequence[str], column: str) -> np.ndarray:
    """Yes-or-no cells as float32 1 and 0, missing ones as NaN. Raises Asked for other words, naming some."""
    known = (
        dict.fromkeys(("1", "1.0", "yes", "true"), 1.0) | dict.fromkeys(("0", "0.0", "no", "false"), 0.0) | dict.fromkeys(MISSING, np.nan)
    )
    words = [c.strip().lower() for c in cells]
    if strange := sorted({c.strip() for c, w in zip(cells, words, strict=True) if w not in known}):
        raise Asked(
            f"{column!r} says {few(map(repr, strange))} where yes or no is expected",
            "understood: 1, 0, yes, no, true, false, and empty cells",
        )
    return np.array([known[w] for w in words], np.float32)


def _csv(text: str, name: str, note: str) -> Table:
    if "\0" in text[:10_000]:
        raise BadData(f"{name} is not a text file")
    csv.field_size_limit(2**24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator(text, name), skipinitialspace=True)
    rows, lines, bad = [], [], []  # type: list[list[str]], list[int], list[Problem]
    columns: list[str] = []
    header = False
    try:
        for cells in reader:
            if not any(c.strip() for c in cells):
                continue
            if not columns:
                columns = [c.strip() for c in cells]
                continue
            if not lines and not bad and not is_header(columns, cells):
                rows.append(columns)
                lines.append(1)
                columns = [str(i) for i in range(len(columns))]
            elif not lines and not bad:
                header = True
            if len(cells) != len(columns):
                bad.append(Problem(f"{name}:{reader.line_num}", f"{len(cells)} cells where the others have {len(columns)}"))
                continue
            rows.append(cells)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise BadData(f"{name}, line {reader.line_num}: {error}", "write it again as a plain csv file") from None
    if columns and not lines and not bad and any(map(is_number, columns)):  # a single row
        return Table([str(i) for i in range(len(columns))], [columns], [1], bad, note, False)
    return Table(columns, rows, lines, bad, note, header or not rows)


def separator(text: str, name: str) -> str:
    """What stands between cells, by the first lines; of a .tsv a tab, if there is one."""
    head = "\n".join(text.splitlines()[:20])
    return "\t" if ending(name) == ".tsv" and "\t" in head else max("\t,;|", key=head.count)


def is_header(first: list[str], second: list[str]) -> bool:
    """Whether the first row names columns: no number in it, or a known name, or words where the second row has numbers."""
    if not any(map(is_number, first)) or find(first, (*LABEL_COLUMNS, *GROUP_COLUMNS)):
        return True
    return any(not is_number(a) and a and is_number(b) for a, b in zip(first, second, strict=False))


def _jsonl(text: str, name: str, note: str) -> Table:
    found, lines, bad = [], [], []  # type: list[dict[str, Any]], list[int], list[Problem]
    for k, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            found.append(record)
            lines.append(k)
        else:
            bad.append(Problem(f"{name}:{k}", "not a JSON object"))
    columns = list(dict.fromkeys(key for record in found for key in record))
    rows = [[_text(r.get(c)) for c in columns] for r in found]
    return Table(columns, rows, lines, bad, note, True)


def _parquet(data: bytes, name: str) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
    except (pyarrow.ArrowException, OSError) as error:
        raise BadData(f"{name} is truncated or damaged: {str(error).splitlines()[0][:200]}", "write it again") from None
    cells = [[_text(v) for v in column.to_pylist()] for column in table.columns]
    rows = [list(row) for row in zip(*cells, strict=True)] if cells else []
    return Table(list(table.column_names), rows, list(range(1, len(rows) + 1)), [], "", True)


def _text(value: Any) -> str:
    """A value as a cell; a list as words with | between them, an empty one as "none"."""
    if isinstance(value, list):
        return "|".join(map(str, value)) or "none"
    return "" if value is None else str(value)
