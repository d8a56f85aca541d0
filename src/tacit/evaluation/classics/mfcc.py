"""Mel-frequency cepstral coefficients: the classic of speech and sound."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tacit.evaluation.cepstra import Cepstra
from tacit.types import Spec


class MFCC:
    """20 cepstral coefficients of 40 mel bands with their slopes and the slopes of those: mean and deviation over time."""

    source: ClassVar[str] = "Davis and Mermelstein 1980; slopes as in Furui 1986"
    modalities: ClassVar[frozenset[str]] = frozenset({"audio"})
    name: ClassVar[str] = "mfcc"

    def __init__(self, *, coefficients: int = 20) -> None:
        """coefficients: how many, of 40 bands."""
        self._cepstra = Cepstra(coefficients)

    def fit(self, x: Any, spec: Spec) -> MFCC:
        """Remember how the data is framed; nothing is learned."""
        self._spec = spec
        return self

    def transform(self, x: Any) -> np.ndarray:
        """Recordings [N, 1, T] as float32 [N, 6 * coefficients]."""
        return self._cepstra.rows(x, self._spec)
