"""Principal components of log-mel spectra."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F

from tacit.evaluation.cepstra import items, log_mel
from tacit.evaluation.rowspace import row_space
from tacit.types import Spec

FRAMES = 32


class MelPCA:
    """The first 64 principal components of the log-mel bands, each recording stretched to 32 frames."""

    modalities: ClassVar[frozenset[str]] = frozenset({"audio"})
    name: ClassVar[str] = "melpca"
    scale: ClassVar[str] = "whole"

    def __init__(self, *, components: int = 64, bands: int = 40) -> None:
        """components: how many, at most. bands: of the mel spectrum."""
        self.components, self.bands = components, bands

    def fit(self, x: Any, spec: Spec, rows: int = 20_000) -> MelPCA:
        """Find the axes on training recordings [N, 1, T]; rows: at most so many, spread over the split."""
        self._spec = spec
        some = x[np.linspace(0, len(x) - 1, min(rows, len(x))).astype(int)]
        space = row_space(self._flat(some))
        best = np.argsort(-space.norms, kind="stable")[: self.components]
        best = best[space.norms[best] > space.norms.max(initial=0.0) * 1e-6] if len(best) else best
        self._mean, self._basis = space.mean, space.basis[:, best]
        return self

    def transform(self, x: Any) -> np.ndarray:
        """Recordings [N, 1, T] as float32 [N, components]."""
        out = (self._flat(x) - self._mean) @ self._basis
        return out.astype(np.float32) if out.shape[1] else np.zeros((len(x), 1), dtype=np.float32)

    def _flat(self, x: Any) -> np.ndarray:
        rows = []
        for item in items(x):
            logs = log_mel(item, self._spec, self.bands)
            rows.append(F.interpolate(logs, (self.bands, FRAMES), mode="bilinear", align_corners=False, antialias=True).flatten().numpy())
        return np.stack(rows) if rows else np.zeros((0, self.bands * FRAMES), np.float32)
