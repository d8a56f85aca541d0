"""Rows of a table that belong together, as sequences in the order of their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit import celltypes
from tacit.errors import Asked, BadData, few

if TYPE_CHECKING:
    from tacit.data.rowlist import Block


@dataclass(frozen=True)
class Sequences:
    """Which rows are one sequence, and in which order.

    names: of the sequences. order: int64, numbers of rows, one sequence after the other. starts: int64 [n + 1], where each begins in
    `order`. gaps: how long ago the event before was, float64 [rows], NaN = unknown. by, time: the columns that said so ("" = none);
    dated, day_first: how the time is written. notes: what the user should know.
    """

    names: list[str]
    order: np.ndarray
    starts: np.ndarray
    gaps: np.ndarray
    by: str
    time: str
    notes: list[str]
    dated: bool
    day_first: bool

    def rows(self, i: int) -> np.ndarray:
        """Numbers of the rows of a sequence, in its order."""
        return np.asarray(self.order[self.starts[i] : self.starts[i + 1]])

    @property
    def last(self) -> list[int]:
        """The last row of each sequence."""
        return [int(r) for r in self.order[self.starts[1:] - 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Events of each sequence, int64 [n]."""
        return np.asarray(np.diff(self.starts))

    @property
    def gap(self) -> str:
        """Name of the column that says how long ago the event before was, "" where no time is known."""
        return "" if not self.time else "days between events" if self.dated else f"{self.time} between events"


def sequences(opened: Sequence[Block], parts: Sequence[str], by: str, time: str | None, like: Mapping[str, Any] | None = None) -> Sequences:
    """Group the rows of tables by a column and order them by another (None = as they come; ties stay as they come).

    parts: "train", "test", "val" or "" for each table; a name in two parts is two sequences. like: `dated` and `day_first` as they were
    found before, for a trained model. Raises Asked for an order column of words, BadData where nothing is a sequence.
    """
    codes: dict[str | None, int] = {}
    entity: list[np.ndarray] = []
    seen = celltypes.Seen(time or "")
    for block, part in zip(opened, parts, strict=True):
        for some in block:
            words = celltypes.text(some.column(by)).dictionary_encode()
            names = [w if w is None or not part else f"{part}/{w}" for w in words.dictionary.to_pylist()]
            own = np.array([codes.setdefault(n, len(codes)) for n in names] or [0], np.int64)
            place = np.asarray(words.indices.fill_null(-1))
            entity.append(np.where(place < 0, -1, own[place]))
            if time is not None:
                seen.look(some.column(time))
    of = np.concatenate(entity) if entity else np.zeros(0, np.int64)
    when, dated, day_first = (np.arange(len(of), dtype=np.float64), False, False) if time is None else _times(opened, seen, like)
    known = (of >= 0) & ~np.isnan(when)
    if not known.any():
        raise BadData(f"no row says both {by!r} and its time", "look at these columns")
    rows = np.flatnonzero(known)
    order = rows[np.lexsort((rows, when[rows], of[rows]))]
    _, counts = np.unique(of[order], return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts)])
    steps = np.diff(when[order], prepend=np.nan)
    steps[starts[:-1]] = np.nan
    gaps = np.full(len(of), np.nan)
    gaps[order] = steps
    names = list(codes)
    present = [str(names[k]) for k in of[order][starts[:-1]]]
    if like is None and len(order) == len(present):
        raise BadData(f"{len(present):,} different words in {by!r}, each in one row: no row follows another", "name another column")
    notes = [] if time is not None else ["sequences in the order of the file: --order-by names a column that says when"]
    lost = int((of < 0).sum()), int(((of >= 0) & np.isnan(when)).sum())
    notes += [f"{lost[0]:,} rows without {by!r} are left out"] if lost[0] else []
    notes += [f"{lost[1]:,} rows without a time in {time!r} are left out"] if lost[1] else []
    single = int((counts == 1).sum())
    notes += [f"{single:,} of {len(counts):,} sequences are a single row: nothing follows it"] if single else []
    ties = 0 if time is None else int((steps == 0).sum())
    if ties:
        notes.append(f"{ties:,} of {len(order):,} rows have the same time as the one before them: they stay in the order of the file")
    return Sequences(present, order, starts, gaps, by, time or "", notes, dated, day_first)


def _times(opened: Sequence[Block], seen: celltypes.Seen, like: Mapping[str, Any] | None) -> tuple[np.ndarray, bool, bool]:
    """Numbers, or days since 1970 where it holds dates, float64 [rows]; whether it does, and the day first. Raises Asked for words."""
    known = seen.rows - seen.missing
    dated, day_first = seen.typed == "date" or seen.date > seen.number, seen.days > seen.months
    if like is not None:
        dated, day_first = bool(like["dated"]), bool(like["day_first"])
    if (seen.date if dated else seen.number) < 0.5 * known:
        strange = f", such as {few(map(repr, seen.strange))}" if seen.strange else ""
        raise Asked(f"{seen.name!r} holds neither numbers nor dates{strange}: it is no order", "name another column with --order-by")
    read: Any = (lambda cells: celltypes.dates(cells, day_first)) if dated else celltypes.numbers
    values = np.concatenate([read(some.column(seen.name)) for block in opened for some in block])
    return np.where(np.isinf(values), np.nan, values), dated, day_first
