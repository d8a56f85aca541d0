"""How well an attribute is told from embeddings: a linear, a nearest-neighbour and a network probe, and the band of chance."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tacit import registry
from tacit.auditors.rates import auc
from tacit.evaluation.readers import standardise
from tacit.statistics import interval

PROBES = ("linear", "neighbours", "network")
TIMES = 300


@dataclass(frozen=True)
class Leak:
    """auc: mean over the groups of that against all others, with its 95 % interval over held-out items. p: share of permutations of the
    held-out attribute that give as much; chance: the band that 95 % of them lie in. accuracy, majority: shares of held-out items.
    n: these."""

    auc: float
    low: float
    high: float
    p: float
    chance: tuple[float, float]
    accuracy: float
    majority: float
    n: int

    def plain(self) -> dict[str, Any]:
        """Plain JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def leak(z: np.ndarray, s: np.ndarray, held: np.ndarray, truth: np.ndarray, probe: str, seed: int = 0) -> Leak:
    """Fit a probe for the attribute s [n] on embeddings z [n, D], and test it on `held` [m, D] with `truth` [m].

    probe: "linear" (logistic regression, C = 1), "neighbours" (k = 20, cosine), "network" (one hidden layer of 64).
    """
    kinds, code = np.unique(s, return_inverse=True)
    scores = scored(z, code, held, len(kinds), probe, seed)
    where = np.searchsorted(kinds, truth)
    said = kinds[scores.argmax(1)]
    rng = np.random.default_rng([seed, 515])
    value = _macro(scores, where, len(kinds))
    draws = [_macro(scores[r], where[r], len(kinds)) for r in (rng.integers(0, len(where), len(where)) for _ in range(TIMES))]
    chance = np.array([_macro(scores, rng.permutation(where), len(kinds)) for _ in range(TIMES)])
    low, high = interval(np.array([d for d in draws if np.isfinite(d)] or [value]))
    p = (1 + int((chance >= value).sum())) / (TIMES + 1)
    majority = float(np.bincount(where).max() / len(where))
    return Leak(value, low, high, p, interval(chance), float((said == truth).mean()), majority, len(truth))


def scored(z: np.ndarray, y: np.ndarray, held: np.ndarray, classes: int, probe: str, seed: int = 0) -> np.ndarray:
    """Scores [m, classes] of held-out embeddings by a probe that learned y from z."""
    a, b = standardise(z, held)
    if probe == "linear":
        return np.asarray(registry.find("probes", "linear")(c=1.0).fit(a, y, classes, small=True).scores(b))
    if probe == "neighbours":
        return np.asarray(registry.find("probes", "knn")(k=20).fit(a, y, classes, small=True).scores(b))
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net = MLPClassifier(
            (64,), alpha=1e-3, max_iter=40, early_stopping=len(y) >= 200, random_state=seed, batch_size=max(1, min(200, int(0.8 * len(y))))
        )
        p = net.fit(np.asarray(a, np.float64), y).predict_proba(np.asarray(b, np.float64))
    out = np.zeros((len(held), classes))
    out[:, net.classes_] = p
    return out


def _macro(scores: np.ndarray, y: np.ndarray, classes: int) -> float:
    if classes == 2:
        return auc(scores[:, 1] - scores[:, 0], y == 1)
    each = [auc(scores[:, k], y == k) for k in range(classes)]
    known = [v for v in each if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
