"""What finds strange items without any learning of representations: the bar for the detector, on the same normal items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tacit.evaluation.aggregates import rows_of
from tacit.evaluation.cepstra import Cepstra
from tacit.evaluation.classics.lsa import LSA
from tacit.evaluation.regular import regular
from tacit.types import Spec

MOST = 10_000  # normal items that they learn from
SIDE = 16  # pixels a side that images are averaged down to, at most


def classics(x: np.ndarray, spec: Spec, seed: int = 0) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """name -> function from decoded items [n, ...] to scores float64 [n], larger = stranger. x: normal items."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor

    if len(x) > MOST:
        x = x[np.sort(np.random.default_rng([seed, 505]).choice(len(x), MOST, replace=False))]
    read = _reader(np.asarray(x), spec)
    known = read(np.asarray(x))
    forest = IsolationForest(n_estimators=200, random_state=seed).fit(known)
    lof = LocalOutlierFactor(n_neighbors=min(20, len(known) - 1), novelty=True).fit(known)
    # as many components as hold nine tenths of the variance; of constant items there is none to share out
    space = PCA(0.9 if known.std(0).any() else 1, svd_solver="full").fit(known)

    def residual(z: np.ndarray) -> np.ndarray:
        return np.asarray(((z - space.inverse_transform(space.transform(z))) ** 2).sum(1))

    found: dict[str, Any] = {
        "isolation_forest": lambda v: -forest.score_samples(read(v)),
        "pca_residual": lambda v: residual(read(v)),
        "lof": lambda v: -lof.score_samples(read(v)),
    }
    if spec.modality == "series":
        profile = _windows(regular(np.asarray(x), spec))
        found["zscore"] = lambda v: np.abs(read(v)).max(1)
        found["discord"] = lambda v: _nearest(_windows(regular(v, spec)), profile)
    return found


def _reader(x: np.ndarray, spec: Spec) -> Callable[[np.ndarray], np.ndarray]:
    """Items as plain standardised numbers [n, D]; texts as LSA has them, recordings as cepstra."""
    if spec.modality in ("table", "vector", "events"):
        return rows_of(x, spec).plain
    if spec.modality == "text":
        return LSA().fit(x, spec).transform
    if spec.modality == "audio":
        cepstra = Cepstra()
        rows = cepstra.rows(x, spec)
        middle, spread = rows.mean(0), np.maximum(rows.std(0), 1e-6)
        return lambda v: np.asarray((cepstra.rows(v, spec) - middle) / spread)
    flat = _pooled if spec.modality == "image" else lambda v: regular(v, spec).reshape(len(v), -1)
    some = flat(x)
    mean, scale = some.mean(0, dtype=np.float64), some.std(0, dtype=np.float64)
    scale = np.where(scale > 1e-6 * np.maximum(1e-6, np.abs(mean)), scale, 1.0)
    return lambda v: ((flat(v) - mean) / scale).astype(np.float32)


def _pooled(x: np.ndarray) -> np.ndarray:
    """Images [n, C, H, W] averaged down to at most SIDE pixels a side, flat."""
    step = [max(1, s // SIDE) for s in x.shape[2:]]
    cut = x[:, :, : x.shape[2] // step[0] * step[0], : x.shape[3] // step[1] * step[1]].astype(np.float32)
    n, c, h, w = cut.shape
    return np.asarray(cut.reshape(n, c, h // step[0], step[0], w // step[1], step[1]).mean((3, 5)).reshape(n, -1))


def _windows(x: np.ndarray) -> np.ndarray:
    """Each window [n, C, T] with mean 0 and length 1, as the matrix profile compares them."""
    flat = x - x.mean(-1, keepdims=True)
    flat = flat.reshape(len(x), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def _nearest(a: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Distance of each row to the nearest of the bank; source: Yeh et al. 2016, matrix profile I (discords), between sets of windows."""
    out = np.empty(len(a))
    for i in range(0, len(a), 512):
        out[i : i + 512] = np.sqrt(np.maximum(2 - 2 * (a[i : i + 512] @ bank.T).max(1), 0))
    return out
