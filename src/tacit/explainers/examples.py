"""By example: which known items an item is like, and whether they explain it at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR = 100  # known items that a mixture is made of, the nearest
TRIED = 60  # known items whose own residual says what is usual
USUAL = 0.95


@dataclass(frozen=True)
class Likeness:
    """nearest: rows of the known items with the highest cosine, best first; cosines: theirs. mixture: rows and weights (they sum to 1) of
    the known items whose mean comes nearest. residual: what that mean misses, as a share of the distance to the mean of all. usual: the
    residual that 95 % of known items stay below when the others explain them."""

    nearest: tuple[int, ...]
    cosines: tuple[float, ...]
    mixture: tuple[tuple[int, float], ...]
    residual: float
    usual: float

    @property
    def explained(self) -> bool:
        """Whether known items explain it as well as they explain each other."""
        return self.residual <= self.usual


def likeness(z: np.ndarray, known: np.ndarray, count: int = 5, seed: int = 0) -> Likeness:
    """z: embedding [D]; known: embeddings [n, D] of other items.

    source: Crabbe et al. 2021, arXiv:2110.15355 (SimplEx); ours solves for the weights exactly on the nearest items.
    """
    a = known - known.mean(0)
    cosine = (a @ (z - known.mean(0))) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(z - known.mean(0)), 1e-12)
    order = np.argsort(-cosine, kind="stable")[:count]
    rows, weights, residual = mixture(z, known)
    draw = np.random.default_rng([seed, 909]).choice(len(known), min(TRIED, len(known)), replace=False)
    usual = [mixture(known[i], np.delete(known, i, 0))[2] for i in draw] if len(known) > 2 else [np.inf]
    strongest = np.argsort(-weights, kind="stable")
    told = tuple((int(rows[i]), float(weights[i])) for i in strongest if weights[i] > 1e-3)
    return Likeness(tuple(order.tolist()), tuple(cosine[order].tolist()), told, residual, float(np.quantile(usual, USUAL)))


def mixture(z: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows of known items, weights >= 0 that sum to 1, and what their mean misses of z, as a share of what the mean of all misses."""
    from scipy.optimize import nnls

    gap = known - z
    rows = np.argsort((gap**2).sum(1), kind="stable")[:NEAR]
    points = known[rows].astype(np.float64)
    scale = float(np.linalg.norm(points - z, axis=1).mean()) or 1.0
    # a heavy row holds the sum of the weights at 1
    heavy = 1e3
    weights, _ = nnls(np.vstack([(points.T - z[:, None]) / scale, np.full((1, len(rows)), heavy)]), np.r_[np.zeros(len(z)), heavy])
    weights = weights / max(weights.sum(), 1e-12)
    missed = float(np.linalg.norm(weights @ points - z))
    return rows, weights, missed / max(float(np.linalg.norm(z - known.mean(0))), 1e-12)


def worth(z: np.ndarray, known: np.ndarray, labels: np.ndarray, answer: int, k: int = 10) -> np.ndarray:
    """What each known item adds to the chance that its k nearest neighbours give an item the right class, float64 [n].

    source: Jia et al. 2019, arXiv:1908.08619 (exact Shapley values of nearest neighbours, theorem 1).
    """
    order = np.argsort(((known - z) ** 2).sum(1), kind="stable")
    right = (labels[order] == answer).astype(np.float64)
    n = len(order)
    k = min(k, n)
    s = np.zeros(n)
    s[-1] = right[-1] / n
    for i in range(n - 2, -1, -1):
        s[i] = s[i + 1] + (right[i] - right[i + 1]) / k * min(k, i + 1) / (i + 1)
    out = np.zeros(n)
    out[order] = s
    return out
