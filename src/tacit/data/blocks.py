"""A table read in blocks of rows, so that memory does not grow with the file: csv, tsv, jsonl, parquet, arrow."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tacit.data import tables
from tacit.data.listing import Problem, ending, few, size_in_words
from tacit.data.text import NOTES, encoding_of
from tacit.data.tree import Tree, too_large
from tacit.errors import BadData
from tacit.modality import BadItem

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
BLOCK = 4 * 2**20  # bytes of text at once
ROWS = 65_536  # rows at once of files that hold columns
HEAD = 2**20  # bytes that decide separator, header and encoding
NAMED_BAD = 1_000  # rows that cannot be read and are named one by one


@dataclass
class Blocks:
    """The rows of one file. columns: names. header: the file itself names them. skip: lines before the first row of a text table.

    bad: rows that cannot be read, filled while reading to the end. notes: what the user should know.
    """

    tree: Tree
    name: str
    columns: list[str] = field(default_factory=list)
    header: bool = True
    skip: int = 0
    mark: str = ","
    encoding: str = "utf-8-sig"
    bad: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> int:
        """Line of the first row."""
        return 1 + self.skip

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Blocks of rows in the file's order; every column of `columns`, text cells from text files. Raises BadData."""
        import pyarrow as pa

        self.bad = []
        try:
            kind = ending(self.name)
            if kind == ".parquet":
                yield from self._parquet()
            elif kind in (".arrow", ".feather"):
                yield from self._arrow()
            elif kind in (".jsonl", ".ndjson"):
                yield from self._jsonl()
            else:
                yield from self._csv()
        except BadItem as error:
            raise BadData(f"{self.name}: {error}", "copy or download it again") from None
        except (pa.ArrowException, OSError, EOFError, gzip.BadGzipFile) as error:
            raise BadData(f"{self.name} is truncated or damaged: {str(error).splitlines()[0][:200]}", "write it again") from None

    def _csv(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from pyarrow import csv as reader

        wrong: list[tuple[int, int, int]] = []  # row among all, cells found, cells expected
        count = 0

        def skip(row: Any) -> str:
            nonlocal count
            count += 1
            if len(wrong) < NAMED_BAD:
                wrong.append((row.number or 0, row.actual_columns, row.expected_columns))
            return "skip"

        with stream(self.tree, self.name, self.encoding) as file:
            yield from reader.open_csv(
                file,
                reader.ReadOptions(use_threads=False, block_size=BLOCK, column_names=self.columns, skip_rows=self.skip, encoding="utf8"),
                reader.ParseOptions(delimiter=self.mark, invalid_row_handler=skip, newlines_in_values=True),
                reader.ConvertOptions(column_types=dict.fromkeys(self.columns, pa.string()), strings_can_be_null=False),
            )
        self.bad = [Problem(f"{self.name}:{row}", f"{found} cells where the others have {wanted}") for row, found, wanted in wrong]
        if count > len(wrong):
            self.notes = [*self.notes, f"{count - len(wrong):,} further rows of another length are left out"]

    def _jsonl(self) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        bad = 0
        with stream(self.tree, self.name, self.encoding) as file:
            for k, line in enumerate(io.TextIOWrapper(file, "utf-8", "replace"), 1):  # type: ignore[type-var]
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    record = None
                if not isinstance(record, dict):
                    bad += 1
                    self.bad += [Problem(f"{self.name}:{k}", "not a JSON object")] if bad <= NAMED_BAD else []
                    continue
                rows.append(record)
                if len(rows) == ROWS // 8:
                    yield self._batch(rows)
                    rows = []
        if rows:
            yield self._batch(rows)

    def _batch(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        import pyarrow as pa

        return pa.RecordBatch.from_arrays([pa.array([_cell(r.get(c)) for r in rows], pa.string()) for c in self.columns], self.columns)

    def _parquet(self) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(_plain(self.tree, self.name), pre_buffer=False) as file:
            for block in file.iter_batches(ROWS, use_threads=False):
                yield block.rename_columns(self.columns)

    def _arrow(self) -> Iterator[pa.RecordBatch]:
        with _ipc(_plain(self.tree, self.name)) as file:
            many = getattr(file, "num_record_batches", None)
            for block in file if many is None else (file.get_batch(i) for i in range(many)):
                for start in range(0, block.num_rows, ROWS):
                    yield block.slice(start, ROWS).rename_columns(self.columns)


class RowNames(Sequence[str]):
    """Names of rows, file:line, made when asked for. parts: (file, line of the first row, rows)."""

    def __init__(self, parts: list[tuple[str, int, int]]) -> None:
        self.parts = parts
        self.ends = np.cumsum([n for *_, n in parts])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = i + len(self) if i < 0 else i
        if not 0 <= i < len(self):
            raise IndexError(i)
        k = int(np.searchsorted(self.ends, i, "right"))
        name, line, n = self.parts[k]
        return f"{name}:{i - (int(self.ends[k]) - n) + line}"


def blocks(tree: Tree, name: str) -> Blocks:
    """How the rows of a file are read: separator, header, encoding and names of the columns. Raises BadData."""
    import pyarrow as pa

    try:
        kind = ending(name)
        if kind in (".csv", ".tsv"):
            return _look(tree, name)
        if kind in (".jsonl", ".ndjson"):
            return _keys(tree, name)
        if kind == ".parquet":
            columns = tables.parquet_columns(_plain(tree, name), name)
        else:
            with _ipc(_plain(tree, name)) as file:
                columns = list(file.schema.names)
    except BadItem as error:
        raise BadData(f"{name}: {error}", "copy or download it again") from None
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{name} is truncated or damaged: {str(error).splitlines()[0][:200]}", "write it again") from None
    columns, notes = distinct(columns)
    return Blocks(tree, name, columns, notes=notes)


@dataclass(frozen=True)
class Head:
    """The first rows of a text table as cells, and how to read on. named: the first one names the columns. skip: lines up to it."""

    rows: list[list[str]]
    named: bool
    skip: int
    mark: str
    encoding: str


def head(tree: Tree, name: str) -> Head:
    """How a text table begins. Raises BadItem."""
    data = tree.data(name, HEAD)
    encoding = encoding_of(data, whole=len(data) < HEAD)
    text = data.decode(encoding, "replace")
    if "\0" in text:
        raise BadItem("not a text file")
    lines = text.splitlines()
    lines = lines[:-1] if len(data) >= HEAD and len(lines) > 1 else lines
    mark = tables.separator(text, name)
    csv.field_size_limit(2**24)
    try:
        rows = [[c.strip() for c in row] for row in csv.reader(lines, delimiter=mark, skipinitialspace=True) if any(c.strip() for c in row)]
    except csv.Error as error:
        raise BadItem(f"no table: {error}") from None
    named = bool(rows) and tables.is_header(rows[0], rows[1] if len(rows) > 1 else [])
    before = next((k for k, line in enumerate(lines) if line.strip()), 0)
    return Head(rows, named, before + named, mark, encoding)


def distinct(columns: list[str]) -> tuple[list[str], list[str]]:
    """Names of columns, each once and none empty, and a note where one had to be changed."""
    out: list[str] = []
    changed = []
    for i, name in enumerate(columns):
        name = re.sub(r"\s+", " ", str(name)).strip() or f"column {i}"
        new, k = name, 2
        while new in out:
            new, k = f"{name} ({k})", k + 1
        changed += [repr(new)] if new != name else []
        out.append(new)
    return out, [f"several columns have one name: {few(changed)} stand for the later ones"] if changed else []


def _look(tree: Tree, name: str) -> Blocks:
    seen = head(tree, name)
    if not seen.rows:
        raise BadData(f"{name} holds no row")
    width = len(seen.rows[0])
    names, notes = (
        distinct(seen.rows[0]) if seen.named else ([str(i) for i in range(width)], ["no header: the columns are called by their number"])
    )
    notes += [f"{name}: {NOTES[seen.encoding]}"] if NOTES[seen.encoding] else []
    return Blocks(tree, name, names, seen.named, seen.skip, seen.mark, seen.encoding, notes=notes)


def _keys(tree: Tree, name: str) -> Blocks:
    """The keys of the first rows are the columns."""
    data = tree.data(name, HEAD)
    encoding = encoding_of(data, whole=len(data) < HEAD)
    columns: dict[str, None] = {}
    for line in data.decode(encoding, "replace").splitlines()[:1000]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            columns |= dict.fromkeys(map(str, record))
    if not columns:
        raise BadData(f"{name} holds no JSON object", "write one object a line")
    return Blocks(tree, name, list(columns), encoding=encoding)


def _cell(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Guarded(io.RawIOBase):
    """A file that is read on, gzip undone and text turned into UTF-8 without a mark on the way, and that stops at a bomb."""

    def __init__(self, source: Any, packed: int, encoding: str, zipped: bool) -> None:
        self.source = gzip.GzipFile(fileobj=source) if zipped else source
        self.closing = source
        self.packed, self.count, self.zipped = packed, 0, zipped
        # a file may begin as UTF-8 and go on as something else
        self.decoder = codecs.getincrementaldecoder(encoding)("tacit-western" if encoding == "utf-8-sig" else "replace")
        self.left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.left:
            data = self.source.read(max(len(buffer), 65_536))
            self.count += len(data)
            if self.zipped and too_large(self.count, self.packed):
                words = f"grows from {size_in_words(self.packed)} to more than {size_in_words(self.count)}"
                raise BadItem(f"{words}: a possible gzip bomb")
            self.left = self.decoder.decode(data, not data).encode()
            if not data:
                break
        part, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self.closing.close()
        super().close()


def stream(tree: Tree, name: str, encoding: str) -> io.BufferedReader:
    """A text file as UTF-8 that is read on, gzip undone on the way."""
    raw = tree.raw(name)
    zipped = name.lower().endswith(".gz") and isinstance(raw, Path)
    source = raw.open("rb") if isinstance(raw, Path) else io.BytesIO(raw)
    packed = raw.stat().st_size if isinstance(raw, Path) else len(raw)
    return io.BufferedReader(_Guarded(source, packed, encoding, zipped), 2**20)


def _plain(tree: Tree, name: str) -> Any:
    """What pyarrow opens: a path, or bytes where the file lies in an archive or is gzipped."""
    import pyarrow as pa

    raw = tree.raw(name)
    if isinstance(raw, Path) and not name.lower().endswith(".gz"):
        return str(raw)
    return pa.BufferReader(tree.data(name))


def _ipc(source: Any) -> Any:
    """An Arrow file or stream."""
    import pyarrow as pa

    mapped = pa.memory_map(source) if isinstance(source, str) else source
    try:
        return pa.ipc.open_file(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        return pa.ipc.open_stream(mapped)
