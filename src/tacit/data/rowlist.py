"""What tables hold beside their columns: label, group and split of every row, and what is left to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tacit import celltypes
from tacit.data import tables
from tacit.data.blocks import ROWS, RowNames, distinct
from tacit.data.listing import LABEL_COLUMNS, Listing, Problem, few, parts_said
from tacit.data.sequences import Sequences, sequences
from tacit.errors import Asked, BadData
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
    opened: Sequence[Block],
    parts: Sequence[str],
    path: str,
    *,
    target: str | None,
    group: str | None,
    split: str | None,
    sequence_by: str | None = None,
    order_by: str | None = None,
    like: Mapping[str, Any] | None = None,
) -> Listing:
    """The rows of tables that belong together. parts: "train", "test", "val" or "" for each of them. path: for messages.

    sequence_by, order_by: columns that say which rows are one item, and in which order; then label, group and split are those of its
    last row. like: how the order was read before, for a trained model.
    """
    first = opened[0]
    for other in opened:
        if lost := [c for c in first.columns if c not in other.columns and c not in LABEL_COLUMNS]:
            raise BadData(f"{other.name} has no column {few(map(repr, lost))}, which {first.name} has", "both parts need the same columns")
    by = None if sequence_by is None else first.columns[tables.index(first.columns, sequence_by, "sequence-by")]
    when = None if order_by is None else first.columns[tables.index(first.columns, order_by, "order-by")]
    if when is not None and by is None:
        raise Asked("--order-by says in which order the rows of a sequence come, and --sequence-by is not given", "name that column too")
    several = tables.several(first, target)
    special = {
        option: first.columns[i]
        for option, i in tables.special(first, target=None if several else target, group=group, split=split).items()
    }
    if several:
        special.pop("target", None)
    asked = {"target": target, "group": group, "split": split}
    # a column that only looks like a group by its name may be what sequences are made by
    special = {option: c for option, c in special.items() if asked[option] is not None or c not in (by, when)}
    aside = [*special.values(), *several]
    if both := [c for c in (by, when) if c in aside]:
        raise Asked(f"{both[0]!r} says which rows are a sequence, or their order, and cannot be a label, a group or a part, too")
    left = [c for c in first.columns if c not in (*aside, by, when)]
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
    found = None if by is None else sequences(opened, parts, by, when, like)
    places = [part for part, n in zip(parts, counts, strict=True) for _ in range(n)] if any(parts) else None
    if found is not None:
        notes += found.notes + _varying(found, said, places)
        places = None if places is None else [places[i] for i in found.last]
        said = {c: [cells[i] for i in found.last] for c, cells in said.items()}
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

    gap = distinct([*left, found.gap])[0][-1] if found is not None and found.gap else ""

    def rows() -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        done = 0
        for block in opened:
            for some in block:
                part = some.select(left)
                if found is not None and gap:
                    part = part.append_column(gap, pa.array(found.gaps[done : done + some.num_rows], from_pandas=True))
                done += some.num_rows
                yield part

    item = "a row" if by is None else f"for each {by!r}, its rows by {when or 'their place'}"
    why = f"{len(left)} columns of a table, one item {item}"
    return Listing(
        "table" if found is None else "events",
        why,
        RowNames([(b.name, b.first, n) for b, n in zip(opened, counts, strict=True)]) if found is None else found.names,
        labels,
        grouped,
        places,
        _alone,
        [p for b in opened for p in b.bad],
        notes,
        f"{target} {group} {split}" + (f" {by} {when}" if by else ""),
        multi=multi,
        multi_names=tuple(several),
        blocks=rows,
        sequences=found,
    )


def _varying(found: Sequences, said: Mapping[str, list[Any]], places: list[str] | None) -> list[str]:
    """A note for each column of a label, a group or a part that changes within sequences."""
    out = []
    for name, cells in {**said, **({"the part": places} if places is not None else {})}.items():
        many = sum(len({cells[r] for r in found.rows(i)}) > 1 for i in range(len(found.names)))
        out += [f"{many:,} of {len(found.names):,} sequences have several values of {name!r}: the last one counts"] if many else []
    return out


def _alone(i: int) -> Any:
    raise BadItem("rows of a table are read in blocks")
