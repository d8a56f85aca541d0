"""MiniRocket: the classic that self-supervised encoders of series have to beat."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tacit.errors import MissingExtra
from tacit.evaluation.regular import regular
from tacit.types import Spec

SHORTEST = 9  # its kernels


class MiniRocket:
    """9,996 almost deterministic convolutional features, read by a ridge classifier as its authors do.

    Gaps are bridged by straight lines and unequal lengths stretched, because the transform knows neither;
    series shorter than 9 steps are continued with their last value.
    """

    source: ClassVar[str] = "arXiv 2012.08791"
    modalities: ClassVar[frozenset[str]] = frozenset({"series"})
    probes: ClassVar[tuple[str, ...]] = ("ridge",)
    # our embedding joins it with a tenth of its total variance, by 5 folds of the training splits of 32 UCR sets
    beside: ClassVar[dict[str, float]] = {"series": 0.1}

    def __init__(self, *, seed: int = 0, kernels: int = 10_000) -> None:
        """seed: of the biases' sampled items. kernels: number of features before rounding to a multiple of 84."""
        self.seed, self.kernels = seed, kernels

    def fit(self, x: np.ndarray, spec: Spec) -> MiniRocket:
        """Choose dilations and biases on series float32 [N, C, T], NaN = missing. Raises MissingExtra without aeon."""
        try:
            from aeon.transformations.collection.convolution_based import MiniRocket as Transform
        except ImportError:
            raise MissingExtra("aeon", "series", "MiniRocket") from None
        self._spec = spec
        self._transform: Any = Transform(n_kernels=self.kernels, random_state=self.seed)
        self._transform.fit(self._prepare(x))
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Series float32 [N, C, T] as float32 [N, D]: shares of positive values, 0 to 1."""
        return np.asarray(self._transform.transform(self._prepare(x)), dtype=np.float32)

    def _prepare(self, x: np.ndarray) -> np.ndarray:
        full = regular(x, self._spec)
        return np.pad(full, ((0, 0), (0, 0), (0, max(0, SHORTEST - full.shape[-1]))), mode="edge")
