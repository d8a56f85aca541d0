"""Histograms of oriented gradients."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.types import Spec


class HOG:
    """Histograms of oriented gradients: 9 unsigned orientations, blocks of 2 x 2 cells, L2-Hys.

    Of a colour image each pixel gives the gradient of the channel where it is largest. Votes are shared between the two nearest
    orientations. The cell is a seventh of the short side, at least 2 pixels: on training folds of images of 8, 28 and 32 pixels
    the best or within a point of it.
    """

    source: ClassVar[str] = "Dalal and Triggs, CVPR 2005"
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    scale: ClassVar[str] = "whole"

    def __init__(self, *, cell: int = 0, bins: int = 9) -> None:
        """cell: side of a cell in pixels, 0 = from the image size. bins: orientations between 0 and 180 degrees."""
        self.cell, self.bins = cell, bins

    def fit(self, x: np.ndarray, spec: Spec) -> HOG:
        """Choose the cell for images uint8 [N, C, H, W]."""
        short = min(x.shape[-2:])
        self._side = max(1, min(self.cell or max(2, round(short / 7)), short))
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Images uint8 [N, C, H, W] as float32 [N, D]; a margin that fills no whole cell is left out."""
        step = max(1, 4_000_000 // max(1, int(np.prod(x.shape[1:]))))
        return np.concatenate([self._some(np.asarray(x[i : i + step])) for i in range(0, len(x), step)])

    def _some(self, x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float32) / np.float32(255)
        down, right = np.zeros_like(x), np.zeros_like(x)
        down[:, :, 1:-1] = x[:, :, 2:] - x[:, :, :-2]
        right[..., 1:-1] = x[..., 2:] - x[..., :-2]
        size = np.hypot(down, right)
        if x.shape[1] > 1:
            most = size.argmax(1)[:, None]
            down, right, size = (np.take_along_axis(v, most, axis=1) for v in (down, right, size))
        down, right, size = down[:, 0], right[:, 0], size[:, 0]
        # Bin centres lie at (b + 1/2) * 180 / bins degrees.
        place = (np.arctan2(down, right) % np.pi) * (self.bins / np.pi) - 0.5
        floor = np.floor(place)
        upper = (place - floor) * size
        lower = size - upper
        low = floor.astype(np.int64) % self.bins
        high = (low + 1) % self.bins
        n, height, width = size.shape
        s = self._side
        rows, columns = height // s, width // s
        cells = np.empty((n, rows, columns, self.bins), dtype=np.float32)
        for b in range(self.bins):
            vote = np.where(low == b, lower, 0) + np.where(high == b, upper, 0)
            vote = vote[:, : rows * s, : columns * s].reshape(n, rows, s, columns, s)
            cells[..., b] = vote.sum((2, 4)) / (s * s)
        wide, tall = min(2, columns), min(2, rows)
        blocks = [cells[:, i : rows - tall + 1 + i, j : columns - wide + 1 + j] for i in range(tall) for j in range(wide)]
        block = np.concatenate(blocks, axis=-1)
        block = np.minimum(_unit(block), 0.2)
        return _unit(block).reshape(n, -1)


def _unit(block: np.ndarray) -> np.ndarray:
    return block / np.sqrt((block**2).sum(-1, keepdims=True) + np.float32(1e-6))
