"""Principal components of the pixels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.rowspace import row_space
from tacit.evaluation.shrink import SMALLER, flat, side_for
from tacit.types import Spec


class PCA:
    """The first 64 principal components of the raw pixels.

    On training folds of three image sets 16 to 256 components were within a point of each other, and whitening cost up to
    30 points at 1 label a class. When the training images would take more than 1 GiB, they are averaged down to at most 32 pixels
    a side; `note` then says so.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    scale: ClassVar[str] = "whole"

    def __init__(self, *, components: int = 64) -> None:
        """components: how many, at most."""
        self.components = components

    def fit(self, x: np.ndarray, spec: Spec, rows: int = 20_000) -> PCA:
        """Find the axes on images uint8 [N, C, H, W]; rows: at most so many, spread over the split."""
        self._side = side_for(x)
        self.note = SMALLER if self._side < max(x.shape[-2:]) else ""
        some = x[np.linspace(0, len(x) - 1, min(rows, len(x))).astype(int)]
        space = row_space(flat(some, self._side))
        best = np.argsort(-space.norms, kind="stable")[: self.components]
        best = best[space.norms[best] > space.norms.max(initial=0.0) * 1e-6] if len(best) else best
        self._mean, self._basis = space.mean, space.basis[:, best]
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Images uint8 [N, C, H, W] as float32 [N, components]; at least one column, of zeros if all images are equal."""
        out = (flat(x, self._side) - self._mean) @ self._basis
        return out.astype(np.float32) if out.shape[1] else np.zeros((len(x), 1), dtype=np.float32)
