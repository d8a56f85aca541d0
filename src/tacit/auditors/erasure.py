"""Take an attribute out of embeddings, so that no linear reading finds it: LEACE, and INLP as what it is measured against.

LEACE: r(x) = x - W^+ U U^T W (x - mu), with W = Sigma_xx^(-1/2) and U the left singular vectors of W Sigma_xz. Afterwards Cov(r(x), z) = 0,
so that no linear predictor with a convex loss does better than a constant one on what it was fitted on, and x is moved as little as can be.
source: Belrose et al. 2023, arXiv:2306.03819. Ours works in float64, scales each column of z to unit variance and keeps directions by a
tolerance relative to the largest one (theirs is absolute, and leaves a group of one in a hundred decodable with AUC 0.76); a ridge is added
to Sigma_xx where there are fewer than ten items a dimension, which leaves the guarantee as it is. Ravfogel et al. 2020, arXiv:2004.07667,
for INLP. NumPy alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit.errors import BadData

RELATIVE = 1e-9  # of the largest singular value: smaller directions are rounding
FEW, RIDGE = 10, 1e-6  # items a dimension below which a ridge of this share of the mean variance is added


@dataclass(frozen=True)
class Eraser:
    """r(x) = x @ matrix + bias, of embeddings [n, D]. removed: directions that were taken out."""

    matrix: np.ndarray
    bias: np.ndarray
    removed: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Embeddings without the attribute, float64 [n, D]. Raises BadData for embeddings of another width."""
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != len(self.bias):
            said = f"the eraser was fitted to embeddings of {len(self.bias)} numbers, these are {x.shape[-1]} wide"
            raise BadData(said, "use embeddings of the model that it was fitted with")
        return x.astype(np.float64) @ self.matrix + self.bias

    def partly(self, strength: float) -> Eraser:
        """Only so much of it, 0 = nothing, 1 = all."""
        one = np.eye(len(self.bias))
        return Eraser(one + strength * (self.matrix - one), strength * self.bias, self.removed)


def indicators(codes: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """What is erased as numbers, float64 [n, k]: for each attribute all groups but one, as 0 and 1.

    codes: int64 [n], -1 = unknown (counts as the mean), or several of them.
    """
    several = [codes] if isinstance(codes, np.ndarray) else codes
    columns = []
    for c in several:
        kinds = np.unique(c[c >= 0])
        for k in kinds[1:]:
            one = (c == k).astype(np.float64)
            one[c < 0] = one[c >= 0].mean()
            columns.append(one)
    if not columns:
        raise BadData("there is one group only: nothing can be erased", "name another attribute")
    return np.stack(columns, 1)


def leace(x: np.ndarray, codes: Sequence[np.ndarray] | np.ndarray) -> Eraser:
    """The eraser of attributes from embeddings x [n, D], as it was learned from them. codes: as in `indicators`. Raises BadData."""
    x = np.asarray(x, np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        raise BadData("embeddings of fewer than two items, or values that are not finite, cannot be erased from", "is the model sound?")
    z = indicators(codes)
    mu = x.mean(0)
    centred = x - mu
    z = z - z.mean(0)
    spread = z.std(0)
    z = z[:, spread > 0] / spread[spread > 0]
    n, d = x.shape
    cov = centred.T @ centred / n
    if n < FEW * d:
        cov = cov + np.eye(d) * (RIDGE * np.trace(cov) / d)
    cross = centred.T @ z / n
    values, axes = np.linalg.eigh(cov)
    keep = values > values.max(initial=0.0) * d * np.finfo(np.float64).eps
    root = np.sqrt(np.where(keep, values, 1.0))
    white = (axes * np.where(keep, 1 / root, 0.0)) @ axes.T
    back = (axes * np.where(keep, root, 0.0)) @ axes.T
    u, s, _ = np.linalg.svd(white @ cross, full_matrices=False)
    u = u[:, s > RELATIVE * s.max(initial=0.0)] if s.max(initial=0.0) > 0 else u[:, :0]
    taken = back @ u @ u.T @ white
    return Eraser(np.eye(d) - taken.T, mu @ taken.T, u.shape[1])


def inlp(x: np.ndarray, codes: np.ndarray, rounds: int = 10) -> Eraser:
    """Project the directions of one linear reading after the other out of x [n, D], until nothing linear is left or `rounds` are done."""
    from sklearn.linear_model import LogisticRegression

    known = codes >= 0
    x, codes = np.asarray(x, np.float64)[known], codes[known]
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-12)
    z = (x - mean) / scale
    project = np.eye(x.shape[1])
    majority = float(np.bincount(codes).max() / len(codes))
    removed = 0
    for _ in range(rounds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader = LogisticRegression(C=1.0, max_iter=200).fit(z @ project, codes)
        if reader.score(z @ project, codes) <= majority + 1e-9 and removed:
            break
        q, _ = np.linalg.qr((reader.coef_ @ project).T)
        project = project - q @ (q.T @ project)
        project = (project + project.T) / 2
        removed += q.shape[1]
        if removed >= x.shape[1] - 1:
            break
    # back to the scale of x, the mean staying where it is
    matrix = (project / scale[:, None]) * scale
    return Eraser(matrix, mean - mean @ matrix, removed)


def left(x: np.ndarray, codes: Sequence[np.ndarray] | np.ndarray) -> float:
    """The largest correlation of any dimension of x [n, D] with any group: 0 to rounding after LEACE on what it was fitted on."""
    x = np.asarray(x, np.float64)
    z = indicators(codes)
    a, b = x - x.mean(0), z - z.mean(0)
    b = b[:, b.std(0) > 0]
    size = np.sqrt((a**2).sum(0))[:, None] * np.sqrt((b**2).sum(0))
    flat = size <= 1e-12 * size.max(initial=0.0)
    return float(np.abs(np.divide(a.T @ b, size, out=np.zeros_like(size), where=~flat)).max(initial=0.0))
