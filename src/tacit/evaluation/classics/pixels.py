"""The pixels themselves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.shrink import SMALLER, flat, side_for
from tacit.types import Spec


class Pixels:
    """Raw pixels, 0 to 1.

    When the training images would take more than 1 GiB, they are averaged down to at most 32 pixels a side; `note` then says so.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    scale: ClassVar[str] = "whole"

    def fit(self, x: np.ndarray, spec: Spec) -> Pixels:
        """Choose the size at which images uint8 [N, C, H, W] are read."""
        self._side = side_for(x)
        self.note = SMALLER if self._side < max(x.shape[-2:]) else ""
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Images uint8 [N, C, H, W] as float32 [N, C*H*W], smaller if they were too large."""
        return flat(x, self._side)
