"""The values of a series themselves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.regular import regular
from tacit.types import Spec


class Raw:
    """Raw values, each channel with mean 0 and deviation 1 over the training split; gaps bridged, unequal lengths stretched."""

    modalities: ClassVar[frozenset[str]] = frozenset({"series"})
    scale: ClassVar[str] = "whole"

    def fit(self, x: np.ndarray, spec: Spec) -> Raw:
        """Measure the channels; x: series float32 [N, C, T], NaN = missing."""
        self._spec = spec
        full = regular(x, spec)
        self._mean = full.mean((0, 2), dtype=np.float64)[:, None]
        std = full.std((0, 2), dtype=np.float64)[:, None]
        self._std = np.where(std > 0, std, 1.0)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Series float32 [N, C, T] as float32 [N, C*T]."""
        full = (regular(x, self._spec) - self._mean) / self._std
        return full.reshape(len(x), -1).astype(np.float32)
