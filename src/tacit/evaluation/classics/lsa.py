"""Latent semantic analysis: directions in which words occur together."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tacit.evaluation.lexical import Lexicon
from tacit.types import Spec


class LSA:
    """TF-IDF of words (1 and 2) and characters (3 to 5), and the directions of its largest singular values, each text at length 1."""

    source: ClassVar[str] = "Deerwester et al. 1990"
    modalities: ClassVar[frozenset[str]] = frozenset({"text"})
    name: ClassVar[str] = "lsa"
    scale: ClassVar[str] = "whole"
    beside: ClassVar[dict[str, float]] = {"text": 1.0}  # our embedding joins it, with as much total variance

    def __init__(self, *, size: int = 300, seed: int = 0) -> None:
        """size: number of directions, at most. seed: of the randomised decomposition."""
        self.size, self.seed = size, seed

    def fit(self, x: Any, spec: Spec) -> LSA:
        """Find the directions on training texts [N, 1, T]."""
        from sklearn.decomposition import TruncatedSVD

        self._lexicon = Lexicon().fit(x, spec)
        rows = self._lexicon.matrix(x)
        self._svd = TruncatedSVD(max(1, min(self.size, min(rows.shape) - 1)), random_state=self.seed).fit(rows)
        return self

    def transform(self, x: Any) -> np.ndarray:
        """Texts [N, 1, T] as float32 [N, size]."""
        z = self._svd.transform(self._lexicon.matrix(x)).astype(np.float32)
        return np.asarray(z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12))
