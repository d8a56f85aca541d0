"""Nearest neighbour under dynamic time warping."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.regular import lengths, regular
from tacit.types import Spec


class DTW:
    """1-NN with dynamic time warping, full window, squared differences summed over channels; lengths may differ, gaps are bridged."""

    modalities: ClassVar[frozenset[str]] = frozenset({"series"})
    name: ClassVar[str] = "dtw"
    probe: ClassVar[str] = "1nn"

    def __init__(self, *, window: float = 1.0) -> None:
        """window: largest shift in time, as a share of the length (0 = Euclidean distance, 1 = any)."""
        self.window = window

    @staticmethod
    def cost(train: int, other: int, steps: int, channels: int = 1) -> float:
        """Seconds that the distances of `train` series to `other` ones take on one core, roughly; all of `steps` steps."""
        return train * other * float(steps) ** 2 * channels * 1.2e-9

    def fit(self, x: np.ndarray, y: np.ndarray) -> DTW:
        """Keep the series float32 [n, C, T] and their classes [n]."""
        self._x, self._y = x, y
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Class of the nearest training series for each series [n, C, T]."""
        return self._y[self.distances(self._x, x).argmin(0)]

    def distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Squared DTW distance of every series of a to every series of b, float32 [len(a), len(b)]; trailing NaN is padding."""
        spec = Spec("series", a.shape[1], a.shape[2:], ragged=True)
        ends_a, ends_b = lengths(a, spec), lengths(b, spec)
        a, b = (np.ascontiguousarray(regular(v, spec, stretch=False).transpose(1, 2, 0)) for v in (a, b))  # [C, T, n]
        first, second = (g.ravel() for g in np.meshgrid(np.arange(a.shape[2]), np.arange(b.shape[2]), indexing="ij"))
        out = np.empty(len(first), dtype=np.float32)
        # Chunks whose diagonals stay in the second-level cache.
        step = max(16, 32_768 // a.shape[1])
        for start in range(0, len(first), step):
            i, j = first[start : start + step], second[start : start + step]
            out[start : start + step] = _warp(a[:, :, i], b[:, ::-1, j], ends_a[i], ends_b[j], self.window)
        return out.reshape(a.shape[2], b.shape[2])


def _warp(a: np.ndarray, reversed_b: np.ndarray, ends_a: np.ndarray, ends_b: np.ndarray, window: float) -> np.ndarray:
    """DTW of P pairs at once, diagonal by diagonal: a [C, n, P], b reversed in time [C, m, P] -> [P]."""
    _, n, pairs = a.shape
    m = reversed_b.shape[1]
    reversed_b = np.ascontiguousarray(reversed_b)
    reach = max(int(window * max(n, m)), abs(n - m)) if window < 1 else max(n, m)
    finish = ends_a + ends_b - 2
    out = np.zeros(pairs, dtype=np.float32)
    # Row i + 1 of each buffer holds cell (i, d - i) of diagonal d; everything else is infinite.
    last, before, now = (np.full((n + 1, pairs), np.inf, dtype=np.float32) for _ in range(3))
    before[0] = 0.0  # the cell before (0, 0)
    for d in range(n + m - 1):
        low, high = max(0, d - m + 1, -(-(d - reach) // 2)), min(n - 1, d, (d + reach) // 2)
        now[: low + 1] = np.inf
        now[high + 2 :] = np.inf
        inner = slice(low + 1, high + 2)
        # b index d - i lies at m - 1 - d + i in the reversed series.
        shift = m - 1 - d
        gap = a[0, low : high + 1] - reversed_b[0, shift + low : shift + high + 1]
        gap *= gap
        for c in range(1, len(a)):
            gap += (a[c, low : high + 1] - reversed_b[c, shift + low : shift + high + 1]) ** 2
        cell = now[inner]
        np.minimum(last[inner], last[low : high + 1], out=cell)
        np.minimum(cell, before[low : high + 1], out=cell)
        cell += gap
        if d == 0:
            before[0] = np.inf
        done = np.flatnonzero(finish == d)
        out[done] = now[ends_a[done], done]
        last, before, now = now, last, before
    return out
