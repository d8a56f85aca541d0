"""Items of very different lengths, stored one behind the other: no padding on disk, and only as much as a batch needs in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class Flat:
    """Looks like float32 [N, 1, T], where NaN fills up what an item is shorter than the longest one.

    A number gives one item as an array; rows (a slice, numbers or flags) give another Flat, whose T is that of its own longest item,
    and which becomes an array where one is asked for (np.asarray).
    """

    dtype, itemsize, ndim = np.dtype(np.float32), 4, 3

    def __init__(self, values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        """values: whole numbers of all items [total]. starts, lengths: int64 [N], where each item lies."""
        self.values, self.starts, self.lengths = values, starts, lengths
        self.longest = int(lengths.max(initial=1))

    @classmethod
    def of(cls, values: np.ndarray, lengths: np.ndarray) -> Flat:
        """Items that lie one behind the other without a gap."""
        return cls(values, np.cumsum(lengths) - lengths, lengths)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self), 1, self.longest)

    @property
    def size(self) -> int:
        """Values that are stored."""
        return int(self.lengths.sum())

    @property
    def nbytes(self) -> int:
        """Bytes that are stored."""
        return self.size * self.values.itemsize

    def __len__(self) -> int:
        return len(self.starts)

    def bundles(self, most: int, items: int) -> Iterator[np.ndarray]:
        """Row numbers, the shortest items first, so many at a time that they hold at most `most` values with their padding."""
        order = np.argsort(self.lengths, kind="stable")
        start = 0
        while start < len(order):
            wide = np.maximum(1, self.lengths[order[start : start + items]])
            fit = int((wide * np.arange(1, len(wide) + 1) <= most).sum())
            yield order[start : start + max(1, fit)]
            start += max(1, fit)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The items as they are stored, [n] each."""
        return (self.item(i) for i in range(len(self)))

    def item(self, i: int) -> np.ndarray:
        """The values of one item as they are stored [n]."""
        return np.asarray(self.values[int(self.starts[i]) : int(self.starts[i] + self.lengths[i])])

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, (int, np.integer)):
            only = np.array([rows])
            return np.asarray(Flat(self.values, self.starts[only], self.lengths[only]))[0]
        return Flat(self.values, self.starts[rows], self.lengths[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = np.full(self.shape, np.nan, np.float32)
        for i, item in enumerate(self):
            out[i, 0, : len(item)] = item
        return out if dtype is None else out.astype(dtype)
