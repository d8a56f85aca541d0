"""How far an embedding lies from those of normal items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 10_000  # normal items that neighbours are looked for in
NEIGHBOURS = 50
CHUNK = 4_000_000


@dataclass(frozen=True, eq=False)
class Distances:
    """Normal embeddings, every dimension scaled to deviation 1: bank float32 [m, D]; mean, scale [D]; whiten [D, D] for Mahalanobis.

    Euclidean and not by the angle as in `tacit.outliers`: a row that is extreme in everything points where moderate ones point
    (mammography: AUROC 0.76 against 0.34).
    """

    bank: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    whiten: np.ndarray

    @classmethod
    def fit(cls, z: np.ndarray, seed: int = 0) -> Distances:
        """z: embeddings of normal items [n, D]."""
        z = np.asarray(z, dtype=np.float64)
        mean, scale = z.mean(0), z.std(0)
        scale = np.where(scale > 1e-6 * np.maximum(1e-6, np.abs(mean)), scale, 1.0)
        a = (z - mean) / scale
        covariance = np.cov(a.T).reshape(a.shape[1], a.shape[1]) + 1e-2 * np.eye(a.shape[1])
        values, vectors = np.linalg.eigh(covariance)
        rows = np.arange(len(a)) if len(a) <= MOST else np.sort(np.random.default_rng([seed, 404]).choice(len(a), MOST, replace=False))
        return cls(a[rows].astype(np.float32), mean, scale, vectors / np.sqrt(np.maximum(values, 1e-9)))

    def score(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(distance to the NEIGHBOURS-th nearest normal item, squared Mahalanobis distance), float64 [n] each."""
        a = (np.asarray(z, dtype=np.float64) - self.mean) / self.scale
        k = min(NEIGHBOURS, len(self.bank)) - 1
        near = np.empty(len(a))
        own = (self.bank.astype(np.float64) ** 2).sum(1)
        step = max(1, CHUNK // max(1, len(self.bank)))
        for i in range(0, len(a), step):
            part = a[i : i + step]
            squared = (part**2).sum(1)[:, None] - 2 * (part.astype(np.float32) @ self.bank.T) + own
            near[i : i + step] = np.sqrt(np.maximum(np.partition(squared, k, axis=1)[:, k], 0))
        return near, ((a @ self.whiten) ** 2).sum(1)

    def arrays(self) -> dict[str, np.ndarray]:
        """As plain arrays."""
        return {"bank": self.bank, "mean": self.mean, "scale": self.scale, "whiten": self.whiten}

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Distances:
        """The inverse of `arrays`."""
        return cls(*(np.asarray(arrays[k]) for k in ("bank", "mean", "scale", "whiten")))
