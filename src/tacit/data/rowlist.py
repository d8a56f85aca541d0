"""What tables hold beside their columns: label, group and split of every row, and what is left to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tacit import celltypes
from tacit.data import tables
from tacit.data.blocks import ROWS, RowNames, distinct
from tacit.data.listing import LABEL_COLUMNS, Listing, Problem, few, parts_said
from tacit.errors import BadData
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

        found = data if isinstance(data, pa.Table) else pa.table(data)
        self.columns, self.notes = distinct(list(found.column_names))
        self.table = found.rename_columns(self.columns)
        self.name, self.header, self.first, self.bad = name, True, 0, list[Problem]()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self.table.to_batches(ROWS))


def listing(
    opened: Sequence[Block], parts: Sequence[str], path: str, *, target: str | None, group: str | None, split: str | None
) -> Listing:
    """The rows of tables that belong together. parts: "train", "test", "val" or "" for each of them. path: for messages."""
    first = opened[0]
    for other in opened:
        if lost := [c for c in first.columns if c not in other.columns and c not in LABEL_COLUMNS]:
            raise BadData(f"{other.name} has no column {few(map(repr, lost))}, which {first.name} has", "both parts need the same columns")
    several = tables.several(first, target)
    special = {
        option: first.columns[i]
        for option, i in tables.special(first, target=None if several else target, group=group, split=split).items()
    }
    if several:
        special.pop("target", None)
    aside = [*special.values(), *several]
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
    places = [part for part, n in zip(parts, counts, strict=True) for _ in range(n)] if any(parts) else None
    if "split" in special:
        given, strange = parts_said(said[special["split"]], special["split"], split is not None)
        places = given if given is not None else places
        notes += [strange] if strange else []
    taken = [f"{o}: {c}" for o, c in special.items()]
    notes += [f"columns by name: {', '.join(taken)}"] if taken and not (target or group or split) else []
    labels = None
    if "target" in special:
        cells = ["" if c is None else c for c in said[special["target"]]]
        labels, notes = tables.typed(cells), notes + tables.unlabelled(cells)
    grouped = ["" if c is None else c for c in said[special["group"]]] if "group" in special else None
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
