"""Sequences of events as one row of plain numbers each, for classics that know no order."""

from __future__ import annotations

import numpy as np

from tacit.evaluation.tables import Table
from tacit.types import Spec

CHUNK = 2**24  # numbers at once
OF_A_COLUMN = 20  # numbers that come of a column, for estimates of cost


class Aggregates:
    """What is usually computed of an event log by hand: how many events, and of each column mean, deviation and latest value.

    A category is the share of events with each of its (100 most frequent) values.
    """

    note = ""

    def fit(self, x: np.ndarray, spec: Spec) -> Aggregates:
        """Measure the columns over all events of x, float32 [N, F, T], padding (nothing known in any column) left out."""
        rows = np.moveaxis(x, 1, 2).reshape(-1, x.shape[1])
        rows = rows[~np.isnan(rows).all(1)]
        self._table = Table().fit(rows, spec)
        self.note = self._table.note
        width = self._table.plain(rows[:1]).shape[1]
        self.category = np.zeros(3 * width + 1, dtype=bool)
        return self

    def plain(self, x: np.ndarray) -> np.ndarray:
        """float32 [N, 3 D + 1]: the logarithm of how many events there are, then mean, deviation and latest value of D columns."""
        step = max(1, CHUNK // max(1, x.shape[2] * len(self.category)))
        return np.concatenate([self._some(np.asarray(x[i : i + step])) for i in range(0, len(x), step)])

    codes = plain  # for trees: no column is a category any more

    def _some(self, x: np.ndarray) -> np.ndarray:
        there = ~np.isnan(x).all(1)  # [N, T]
        cells = self._table.plain(np.moveaxis(x, 1, 2).reshape(-1, x.shape[1])).reshape(*there.shape, -1)
        weight = there[..., None]
        count = np.maximum(weight.sum(1), 1)
        mean = (cells * weight).sum(1) / count
        spread = np.sqrt((((cells - mean[:, None]) ** 2) * weight).sum(1) / count)
        latest = there.shape[1] - 1 - there[:, ::-1].argmax(1)
        return np.concatenate([np.log(count), mean, spread, cells[np.arange(len(x)), latest]], 1).astype(np.float32)


def rows_of(x: np.ndarray, spec: Spec, *, numbers: bool = True) -> Table | Aggregates:
    """How items of a table or an event log become rows, measured on training items x; numbers: as of `Table.fit`."""
    return Aggregates().fit(x, spec) if spec.modality == "events" else Table().fit(x, spec, numbers=numbers)


def columns_of(sizes: tuple[int, ...]) -> int:
    """About how many columns such rows have; sizes: F of a table, T and F of events."""
    return sizes[-1] * (1 if len(sizes) == 1 else OF_A_COLUMN)
