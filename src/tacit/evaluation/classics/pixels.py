"""The pixels themselves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.types import Spec


class Pixels:
    """Raw pixels, 0 to 1."""

    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    scale: ClassVar[str] = "whole"

    def fit(self, x: np.ndarray, spec: Spec) -> Pixels:
        """Nothing to learn; x: images uint8 [N, C, H, W]."""
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Images uint8 [N, C, H, W] as float32 [N, C*H*W]."""
        return np.asarray(x).reshape(len(x), -1).astype(np.float32) / np.float32(255)
