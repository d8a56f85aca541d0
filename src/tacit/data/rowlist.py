"""What tables hold beside their columns: label, group and split of every row, and what is left to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tacit import celltypes
from tacit.data import tables
from tacit.data.blocks import RowNames
from tacit.data.listing import GROUP_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS, Listing, Problem, few, parts_said
from tacit.errors import Asked, BadData, nearest
from tacit.modality import BadItem

if TYPE_CHECKING:
    import pyarrow as pa


class Block(Protocol):
    """Rows of one file or of one table in memory, as `blocks.Blocks` reads them."""

    name: str
    columns: list[str]
    header: bool
    bad: list[Problem]
    notes: list[str]

    @property
    def first(self) -> int:
        """Number of the first row."""
        ...

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...


class Held:
    """A table in memory: anything that pyarrow takes, such as a pandas or polars frame."""

    def __init__(self, data: Any, name: str) -> None:
        import pyarrow as pa

        from tacit.data.blocks import distinct

        found = data if isinstance(data, pa.Table) else pa.table(data)
        self.columns, self.notes = distinct(list(found.column_names))
        self.table = found.rename_columns(self.columns)
        self.name, self.header, self.first, self.bad = name, True, 0, list[Problem]()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self.table.combine_chunks().to_batches(65_536))


def listing(
    opened: Sequence[Block], parts: Sequence[str], path: str, *, target: str | None, group: str | None, split: str | None
) -> Listing:
    """The rows of tables that belong together. parts: "train", "test", "val" or "" for each of them. path: for messages."""
    first = opened[0]
    for other in opened:
        if lost := [c for c in first.columns if c not in other.columns and c not in LABEL_COLUMNS]:
            raise BadData(f"{other.name} has no column {few(map(repr, lost))}, which {first.name} has", "both parts need the same columns")
    special = {o: _column(first, o, c) for o, c in (("target", target), ("group", group), ("split", split))}
    several = [] if target is None or "," not in target or target in first.columns else [w.strip() for w in target.split(",") if w.strip()]
    for column in several:
        _column(first, "target", column)
    if several:
        special["target"] = None
    aside = [c for c in (*special.values(), *several) if c is not None]
    left = [c for c in first.columns if c not in aside]
    if not left:
        raise BadData(f"{path} has no column left to learn from", "a table needs columns beside the label")
    said: dict[str, list[Any]] = {c: [] for c in aside}
    counts = []
    for block in opened:
        n = 0
        for some in block:
            n += some.num_rows
            for c in aside:
                cells = some.column(c) if c in some.schema.names else None
                said[c] += [None] * some.num_rows if cells is None else celltypes.words(cells)
        counts.append(n)
    notes = [n for b in opened for n in b.notes]
    split_cells = special["split"]
    places = [part for part, n in zip(parts, counts, strict=True) for _ in range(n)] if any(parts) else None
    if split_cells is not None:
        given, strange = parts_said(said[split_cells], split_cells, split is not None)
        places = given if given is not None else places
        notes += [strange] if strange else []
    taken = [f"{o}: {c}" for o, c in special.items() if c is not None]
    notes += [f"columns by name: {', '.join(taken)}"] if taken and not (target or group or split) else []
    labels = None
    if special["target"] is not None:
        cells = ["" if c is None else c for c in said[special["target"]]]
        labels, notes = tables.typed(cells), notes + tables.unlabelled(cells)
    grouped = None if special["group"] is None else ["" if c is None else c for c in said[special["group"]]]
    multi = np.stack([tables.flags(["" if v is None else v for v in said[c]], c) for c in several], 1) if several else None

    def rows() -> Iterator[pa.RecordBatch]:
        for block in opened:
            for some in block:
                yield some.select(left)

    return Listing(
        "table",
        f"{len(left)} columns of a table, one item a row",
        RowNames([(b.name, b.first, n) for b, n in zip(opened, counts, strict=True)]),
        labels,
        grouped,
        places,
        _alone,
        [p for b in opened for p in b.bad],
        notes,
        f"{target} {group} {split}",
        multi=multi,
        multi_names=tuple(several),
        blocks=rows,
    )


def _alone(i: int) -> Any:
    raise BadItem("rows of a table are read in blocks")


def _column(first: Block, option: str, asked: str | None) -> str | None:
    """The column for an option: as asked (its number will do, also from the end), else by its name. Raises Asked for an unknown one."""
    if asked is None:
        known = {"target": LABEL_COLUMNS, "group": GROUP_COLUMNS, "split": SPLIT_COLUMNS}[option]
        return tables.find(first.columns, known) if first.header else None
    if asked in first.columns or (option == "target" and "," in asked):
        return asked
    if asked.lstrip("-").isdigit() and -len(first.columns) <= int(asked) < len(first.columns):
        return first.columns[int(asked)]
    raise Asked(f"there is no column {asked!r} for --{option}", nearest(asked, first.columns))
