"""What an encoder no longer knows after fine-tuning, measured without labels."""

from __future__ import annotations

import numpy as np

NEAR = 10


def forgetting(before: np.ndarray, after: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Compare two embeddings [N, D], [N, D'] of the same items.

    kept: share of the variance of `before` that a linear map from `after` recovers on items that the map was not fitted on, over the share
    that a map from `before` itself recovers. neighbours: share of the 10 nearest items that are the same. cka: linear centred kernel
    alignment (Kornblith et al. 2019, arXiv:1905.00414), 1 = alike.
    """
    from sklearn.linear_model import RidgeCV

    a, b = (_whole(z) for z in (before, after))
    order = np.random.default_rng(seed).permutation(len(a))
    fit, rest = order[: len(a) // 2], order[len(a) // 2 :]

    def recovered(z: np.ndarray) -> float:
        guess = RidgeCV(alphas=10.0 ** np.arange(-3, 6)).fit(z[fit], a[fit]).predict(z[rest])
        return 1 - float(((guess - a[rest]) ** 2).sum() / max(((a[rest] - a[fit].mean(0)) ** 2).sum(), 1e-30))

    # on few items a map finds only a part of an embedding even in itself
    itself = recovered(a) if len(rest) > 1 else 0.0
    kept = min(1.0, recovered(b) / itself) if itself > 0 else 0.0
    k = min(NEAR, len(a) - 1)
    both = [_nearest(z, k) for z in (before, after)]
    same = float(np.mean([len(set(p) & set(q)) / k for p, q in zip(*both, strict=True)])) if k else 1.0
    cross = float(((a.T @ b) ** 2).sum())
    norm = float(np.sqrt(((a.T @ a) ** 2).sum() * ((b.T @ b) ** 2).sum()))
    return {"kept": max(0.0, kept), "neighbours": same, "cka": cross / norm if norm else 0.0, "n": len(a)}


def words(found: dict[str, float]) -> str:
    """One line for a person."""
    lost = 100 * (1 - found["kept"])
    return (
        f"forgotten: {lost:.0f} % of what the pretrained embedding told apart cannot be read from the new one any more; "
        f"{100 * found['neighbours']:.0f} % of the 10 nearest items are the same (n = {found['n']:.0f})"
    )


def _whole(z: np.ndarray) -> np.ndarray:
    """Centred, and in units of the whole's deviation."""
    z = z.astype(np.float64) - z.mean(0)
    return z / (np.sqrt((z**2).mean()) or 1.0)


def _nearest(z: np.ndarray, k: int) -> np.ndarray:
    unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    return np.argpartition(-similar, k - 1, axis=1)[:, :k]
