"""Rows of a table as plain numbers, for classics that know no categories or no missing values."""

from __future__ import annotations

import numpy as np

from tacit.types import Spec

CLIP = 4.0  # deviations; see docs/decisions.md
FENCE = 20.0  # times the distance of the quartiles: what lies further has no say in the deviation
VALUES = 100  # of a category, with a column each
MOST = 2_000  # such columns in all, so that a linear probe stays within seconds
CODES = 250  # of a category, for trees: scikit-learn takes 255


class Table:
    """How the columns of a table, or of plain vectors, become numbers; measured on the whole training split, without labels."""

    def fit(self, x: np.ndarray, spec: Spec, *, numbers: bool = True) -> Table:
        """Measure the columns; x: float32 [N, F], NaN = missing, a category as the index of its value, -1 = a value not in the list.

        numbers: measure numbers too, which `plain` needs and `codes` does not.
        """
        columns = spec.extra.get("columns") or [{"kind": "number"}] * x.shape[1]
        self.category = np.array([c["kind"] in ("category", "boolean") for c in columns], dtype=bool)
        self._missing = ~np.isfinite(x).all(0)
        self._values = {int(j): _frequent(x[:, j]) for j in np.flatnonzero(self.category)}
        counts = np.array([len(v) for v in self._values.values()], dtype=np.int64)
        self._most = next((k for k in range(VALUES, 1, -1) if np.minimum(counts, k).sum() <= MOST), 1)
        cut = int((counts > self._most).sum())
        self.note = f"of {cut} column{'s' * (cut > 1)} only the {self._most} most frequent values have a column each" if cut else ""
        self._scale = {int(j): _measure(x[:, j]) for j in np.flatnonzero(~self.category) if numbers}
        return self

    def plain(self, x: np.ndarray) -> np.ndarray:
        """float32 [N, D], none missing, column after column.

        A number has mean 0 and deviation 1, at most 4 deviations away from 0 (missing = 0); a category is a 0/1 column for each of
        its values, the most frequent first (another value = all 0); either has a further 0/1 column if it is missing in some
        training row.
        """
        width = [len(self._values[j][: self._most]) if self.category[j] else 1 for j in range(x.shape[1])]
        ends = np.cumsum(np.array(width) + self._missing)
        out = np.zeros((len(x), int(ends[-1])), dtype=np.float32)
        for j, end in enumerate(ends):
            missing = ~np.isfinite(x[:, j])
            start = end - width[j] - self._missing[j]
            if self.category[j]:
                for k, value in enumerate(self._values[j][: self._most]):
                    out[:, start + k] = x[:, j] == value
            else:
                low, high, mean, std = self._scale[j]
                value = (np.clip(x[:, j].astype(np.float64), low, high) - mean) / std
                out[:, start] = np.where(missing, 0.0, np.clip(value, -CLIP, CLIP))
            if self._missing[j]:
                out[:, end - 1] = missing
        return out

    def codes(self, x: np.ndarray) -> np.ndarray:
        """float32 [N, F]: numbers as they are (NaN = missing), categories as ranks of their frequency.

        A missing category is one more value if it is missing in some training row; a value that no training row has is NaN.
        """
        out = np.where(np.isfinite(x), x, np.float32(np.nan)).astype(np.float32)
        for j, values in self._values.items():
            known = values[:CODES]
            order = np.argsort(known)
            place = np.searchsorted(known, x[:, j], sorter=order)
            rank = order[np.minimum(place, len(known) - 1)] if len(known) else np.zeros(len(x), dtype=np.int64)
            hit = known[rank] == x[:, j] if len(known) else np.zeros(len(x), dtype=bool)
            out[:, j] = np.where(hit, rank, np.nan)
            if self._missing[j]:
                out[~np.isfinite(x[:, j]), j] = len(known)
        return out


def _frequent(column: np.ndarray) -> np.ndarray:
    """Known values of a category in the training rows, the most frequent first."""
    values, counts = np.unique(column[column >= 0], return_counts=True)
    return values[np.argsort(-counts, kind="stable")]


def _measure(column: np.ndarray) -> tuple[float, float, float, float]:
    """(lowest, highest, mean, deviation) of a number: a single value from elsewhere must not flatten all the others."""
    known = column[np.isfinite(column)].astype(np.float64)
    if not len(known):
        return 0.0, 0.0, 0.0, 1.0
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    if low == high:  # mostly one value, such as 0: the others tell what is far
        rest = known[known != middle]
        low, high = np.quantile(rest, [0.25, 0.75]) if len(rest) else (low, high)
    reach = FENCE * (high - low)
    inside = np.clip(known, min(low - reach, middle), max(high + reach, middle))
    mean, std = float(inside.mean()), float(inside.std())
    if std <= 1e-6 * abs(mean):
        std = 1.0
    return float(inside.min()), float(inside.max()), mean, std or 1.0
