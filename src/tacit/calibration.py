"""Does a probability mean what it says: temperature scaling, calibration errors and the reliability curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.errors import Asked, BadData, nearest
from tacit.statistics import wilson

COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Bin:
    """One point of the reliability curve: mean confidence and accuracy (with its 95 % interval low..high) of n items."""

    confidence: float
    accuracy: float
    low: float
    high: float
    n: int


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities of the classes, float64 [n, K], rows sum to 1.

    logits: [n, K]; -inf = the class cannot be; a row of nothing else becomes uniform. temperature: > 1 is less sure, < 1 surer.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    top = scaled.max(1, keepdims=True)
    scaled = np.where(np.isneginf(top), 0.0, scaled - np.where(np.isneginf(top), 0.0, top))
    p = np.exp(scaled)
    return p / p.sum(1, keepdims=True)


def sigmoid(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probability of each label on its own, float64, as many as logits; temperature: as in softmax."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype=np.float64) / temperature))


def temperature(logits: np.ndarray, y: np.ndarray) -> float:
    """The temperature, 0.05..20, with the lowest negative log-likelihood on held-out items; 1.0 where nothing can be learned from them.

    One imagined item asks for 1.0 (its loss is 1/T + log T): it weighs nothing among many items, and keeps a handful that all
    happen to be right from claiming certainty. Items whose own class has the logit -inf say nothing about it and are left out.

    logits: [n, K]. y: classes int64 [n], -1 = unknown; or a binary matrix [n, K], NaN = unknown, for labels of which several can hold.
    source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    logits, y = np.asarray(logits, dtype=np.float64), np.asarray(y)
    if np.isnan(logits).any() or np.isposinf(logits).any():
        raise BadData("a logit is not a number, or infinite", "the model has diverged, or its input held missing values")
    if y.ndim == 2:
        usable = np.isfinite(logits) & ~np.isnan(y)
        truth = y[usable] > 0.5
        margins = np.where(truth, -1.0, 1.0)[:, None] * logits[usable][:, None]
    else:
        usable = known(y, logits.shape[1])
        usable[usable] = np.isfinite(logits[usable, y[usable]])
        truth = y[usable]
        margins = logits[usable] - logits[usable, truth][:, None]
        margins[np.arange(len(truth)), truth] = -np.inf
    if len(np.unique(truth)) < 2:
        return 1.0

    def loss(log_t: float) -> float:
        sharpness = np.exp(-log_t)
        # log(1 + sum of e^margin), where a margin is how far another answer lies above the right one
        return float(np.logaddexp(0.0, _logsumexp(margins * sharpness)).sum() + sharpness + log_t)

    # Convex in 1/T, so there is one valley
    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def nll(p: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; probabilities below 2.2e-16 count as that much. NaN where no label is known.

    p: [n, K], in 0..1. y: classes int64 [n], -1 = unknown; or a binary matrix [n, K], NaN = unknown: then the mean over known labels.
    """
    right = _of_truth(p, y)
    return float(-np.log(np.maximum(right, np.finfo(np.float64).eps)).mean()) if len(right) else float("nan")


def brier(p: np.ndarray, y: np.ndarray) -> float:
    """Brier score: squared errors summed over the classes (so 0..2), mean over items. NaN where no label is known.

    With a binary matrix y it is the mean of (p - y)^2 over known labels (so 0..1).

    p: [n, K], in 0..1. y: as in nll. source: Brier 1950.
    """
    right = _of_truth(p, y)
    if not len(right):
        return float("nan")
    if np.ndim(y) == 2:
        return float(((1 - right) ** 2).mean())
    labelled = np.asarray(p, dtype=np.float64)[np.asarray(y) >= 0]
    return float(((labelled**2).sum(1) - 2 * right + 1).mean())


def ece(confidence: np.ndarray, right: np.ndarray, bins: int = 15, equal: str = "mass") -> float:
    """Expected calibration error, 0..1: mean over items of how far the accuracy of their bin is from its mean confidence.

    It is biased upwards where bins hold few items. NaN without items.

    confidence: probability of the predicted class [n], in 0..1. right: whether it was, bool [n]. bins: number of them.
    equal: "mass", every bin has as many items, equal confidences stay together; or "width", (0, 1/bins], (1/bins, 2/bins], ...
    source: Guo et al. 2017, arXiv:1706.04599, equation 3 (width); Nixon et al. 2019, arXiv:1904.01685 (mass).
    """
    n, sure, hit = _binned(confidence, right, bins, equal)
    return float(np.abs(sure - hit).sum() / n.sum()) if len(n) else float("nan")


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> list[Bin]:
    """The reliability curve: accuracy against confidence in bins of equal mass, least confident first, with Wilson intervals.

    confidence, right, bins: as in ece. There are fewer bins where confidences are equal or items few.
    """
    rows = zip(*_binned(confidence, right, bins, "mass"), strict=True)
    return [Bin(float(sure / n), float(hit / n), *wilson(float(hit / n), int(n)), int(n)) for n, sure, hit in rows]


def _binned(confidence: np.ndarray, right: np.ndarray, bins: int, equal: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every bin that is not empty: items, sum of confidences, number of right ones."""
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if equal not in ("mass", "width"):
        raise Asked(f"bins cannot be of equal {equal!r}", nearest(equal, ("mass", "width")))
    if not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise BadData("a confidence is not in 0..1", "give probabilities, not logits")
    if equal == "mass":
        place = np.searchsorted(np.sort(confidence), confidence) * bins // max(len(confidence), 1)
    else:
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    n = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights, minlength=bins)[n > 0] for weights in (confidence, right)]
    return n[n > 0], sums[0], sums[1]


def known(y: np.ndarray, classes: int) -> np.ndarray:
    """Which labels are known, bool [n]; y: int64 [n] in 0..classes-1, -1 = unknown. Raises BadData where one is larger."""
    if len(y) and y.max() >= classes:
        raise BadData(f"there is a label {y.max()}, but probabilities for {classes} classes only", "label with 0..K-1, and -1 for unknown")
    return y >= 0


def _of_truth(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Probability that was given to what is true, for every known label."""
    p, y = np.asarray(p, dtype=np.float64), np.asarray(y)
    if y.ndim == 2:
        return np.where(y > 0.5, p, 1 - p)[~np.isnan(y)]
    rows = known(y, p.shape[1])
    return p[rows, y[rows]]


def _logsumexp(x: np.ndarray) -> np.ndarray:
    top = x.max(1, initial=-np.inf)
    safe = np.where(np.isneginf(top), 0.0, top)
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(x - safe[:, None]).sum(1))
