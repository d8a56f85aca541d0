"""Nearest neighbours by the protocol of DINOv2: cosine, neighbours weighted by softmax(similarity / 0.07)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.labels import fold


class KNN:
    """Weighted nearest neighbours on L2-normalised features.

    k is 10, 20, 100 or 200, chosen on a tenth of the labels; with few labels it is min(20, labels a class).
    """

    standardised: ClassVar[bool] = False
    regression: ClassVar[bool] = False

    def __init__(self, *, temperature: float = 0.07, ks: tuple[int, ...] = (10, 20, 100, 200), k: int = 0) -> None:
        """temperature: softmax temperature of the weights. ks: numbers of neighbours to choose from. k: fixed number, 0 = choose."""
        self.temperature, self.ks, self.k = temperature, ks, k

    def fit(self, z: np.ndarray, y: np.ndarray, classes: int, *, small: bool, seed: int = 0, groups: np.ndarray | None = None) -> KNN:
        """z: features [n, D]. y: int64 [n] in 0..classes-1. small: too few labels to hold some out. seed: of the held-out tenth.

        groups: int64 [n], held out as a whole, -1 = unknown.
        """
        z, y = _unit(z), np.asarray(y, dtype=np.int64)
        self.chosen = self.k or min(20, max(1, len(y) // max(len(np.unique(y)), 1)) if small else 20)
        if not self.k and not small:
            kept, held = fold(y, classes, seed, groups=groups)
            ks = [k for k in self.ks if k <= len(kept)]
            if len(held) and len(ks) > 1:
                votes = self._votes(z[held], z[kept], y[kept], classes, ks)
                right = [(v.argmax(1) == y[held]).mean() for v in votes]
                best = max(right)
                # Of equally good ones the number nearest to 20, which usually works best.
                self.chosen = min((k for k, r in zip(ks, right, strict=True) if r == best), key=lambda k: abs(np.log(k / 20)))
        self._z, self._y, self._classes = z, y, classes
        return self

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Share of the neighbours' weight for each class, float64 [n, classes]."""
        return self._votes(_unit(z), self._z, self._y, self._classes, [self.chosen])[0]

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Class of each row, int64 [n]."""
        return self.scores(z).argmax(1)

    def _votes(self, query: np.ndarray, z: np.ndarray, y: np.ndarray, classes: int, ks: list[int]) -> list[np.ndarray]:
        out = [np.zeros((len(query), classes)) for _ in ks]
        most = min(max(ks), len(z))
        step = max(1, 20_000_000 // len(z))
        for start in range(0, len(query), step):
            similar = query[start : start + step] @ z.T
            near = np.argpartition(-similar, most - 1, axis=1)[:, :most] if most < len(z) else np.tile(np.arange(len(z)), (len(similar), 1))
            value = np.take_along_axis(similar, near, axis=1).astype(np.float64)
            order = np.argsort(-value, axis=1, kind="stable")
            near, value = np.take_along_axis(near, order, axis=1), np.take_along_axis(value, order, axis=1)
            weight = np.exp((value - value[:, :1]) / self.temperature)
            for votes, k in zip(out, ks, strict=True):
                place = y[near[:, :k]] + np.arange(len(similar))[:, None] * classes
                total = np.bincount(place.ravel(), weight[:, :k].ravel(), minlength=len(similar) * classes).reshape(-1, classes)
                votes[start : start + step] = total / total.sum(1, keepdims=True)
        return out


def _unit(z: np.ndarray) -> np.ndarray:
    z = np.asarray(z, dtype=np.float32)
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
