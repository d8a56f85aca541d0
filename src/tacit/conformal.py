"""Split conformal prediction: sets and intervals that hold the truth as often as promised, whatever the model is worth.

The promise holds on average over draws of held-out and new items that are exchangeable (same source, nothing chosen by its outcome), not
for each item or class on its own. alpha, 0..1: the share of new items that may be missed; 0.1 promises 90 %.
source: Vovk et al. 2005; Angelopoulos & Bates 2021, arXiv:2107.07511.
"""

from __future__ import annotations

import math

import numpy as np

from tacit.calibration import known
from tacit.errors import Asked, BadData, nearest

KINDS = ("aps", "lac")


def quantile(scores: np.ndarray, alpha: float) -> float:
    """The bound that a new score stays below (or at) with probability 1 - alpha: order statistic ceil((n + 1)(1 - alpha)) of n.

    +inf where n is less than fewest(alpha).

    scores: of held-out items [n], higher = fits worse; +inf is allowed. Raises BadData where one is not a number.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        raise BadData("a conformal score is not a number", "leave out items without a label, and mend predictions that are NaN")
    # The small number undoes rounding: 10 * (1 - 0.7) is 3.0000000000000004
    place = math.ceil((len(scores) + 1) * (1 - _share(alpha)) - 1e-9)
    return float(np.partition(scores, place - 1)[place - 1]) if place <= len(scores) else math.inf


def fewest(alpha: float) -> int:
    """How many held-out items a promise of 1 - alpha needs; with fewer, every class is in the set and every interval infinite."""
    return math.ceil(1 / _share(alpha) - 1e-9) - 1


def threshold(p: np.ndarray, y: np.ndarray, alpha: float, kind: str = "lac", seed: int | None = None) -> float:
    """The threshold for `sets`, from held-out items that neither the head nor its temperature was fitted on.

    p: probabilities [n, K]. y: classes int64 [n] in 0..K-1, -1 = unknown and left out.
    kind: "lac", smallest sets on average (Sadinle et al. 2019, arXiv:1609.00451); "aps", larger sets where the item is hard, whose
    coverage is more even over items (Romano et al. 2020, arXiv:2006.02544). seed: as in `sets`; None = not randomised.
    """
    p, y = np.asarray(p, dtype=np.float64), np.asarray(y)
    rows = known(y, p.shape[1])
    return quantile(_scores(p, kind, seed, stream=0)[rows, y[rows]], alpha)


def thresholds(p: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    """A threshold for each of K labels of which several can hold, float64 [K]; `sets(p, thresholds)` gives the labels that may hold.

    What is promised, label by label: of new items that have the label, 1 - alpha have it in their set. Nothing is promised about labels
    put there wrongly, nor about a whole set being right. A label with fewer than fewest(alpha) held-out items that have it is always in.

    p: probabilities [n, K]. y: binary [n, K], NaN = unknown.
    """
    p, y = np.asarray(p, dtype=np.float64), np.asarray(y)
    return np.array([quantile(1 - p[y[:, label] == 1, label], alpha) for label in range(p.shape[1])])


def sets(p: np.ndarray, threshold: float | np.ndarray, kind: str = "lac", seed: int | None = None) -> np.ndarray:
    """The classes that cannot be ruled out, bool [n, K].

    A set of "lac" is empty where no class is credible enough, which happens where the model is right more often than 1 - alpha: the
    caller may abstain. A set of "aps" always holds the most probable class, so there coverage is the accuracy of the model.

    p: probabilities [n, K]. threshold: of the same kind, and with a seed only if this has one. seed: "aps" only, draws a number for each
    row, after which the coverage of an item does not depend on how sure the model is; but its set then depends on its row.
    """
    chosen: np.ndarray = _scores(np.asarray(p, dtype=np.float64), kind, seed, stream=1) <= threshold
    return chosen


def coverage(sets: np.ndarray, y: np.ndarray) -> float:
    """Share of items whose class is in their set, 0..1; NaN where no label is known. sets: bool [n, K]. y: int64 [n], -1 = unknown."""
    sets, y = np.asarray(sets), np.asarray(y)
    rows = known(y, sets.shape[1])
    return float(sets[rows, y[rows]].mean()) if rows.any() else math.nan


def size(sets: np.ndarray) -> float:
    """Mean number of classes in a set; NaN without items. sets: bool [n, K]."""
    return float(np.asarray(sets).sum(1).mean()) if len(sets) else math.nan


def width(residual: np.ndarray, alpha: float, scale: np.ndarray | None = None) -> float:
    """Half the width of an interval around a predicted value, in its units (of `scale`, where given): `interval` applies it.

    residual: true minus predicted values of held-out items [n]; the sign does not matter. scale: how hard each of them is [n], > 0,
    such as a predicted spread: the interval of a new item is then as much wider as its own scale.
    source: Lei et al. 2018, arXiv:1604.04173, sections 2.2 and 5.2.
    """
    residual = np.abs(np.asarray(residual, dtype=np.float64))
    return quantile(residual if scale is None else residual / _positive(scale), alpha)


def interval(value: np.ndarray, width: float, scale: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(low, high), float64 [n] each, around predicted values [n]; width: from `width`. scale: [n], > 0, given if `width` had one."""
    value = np.asarray(value, dtype=np.float64)
    half = np.full(value.shape, width) if scale is None else width * _positive(scale)
    return value - half, value + half


def _scores(p: np.ndarray, kind: str, seed: int | None, stream: int) -> np.ndarray:
    """How badly each class fits, float64 [n, K]; stream: keeps the draws of held-out and of new items apart."""
    if kind == "lac":
        return 1 - p
    if kind != "aps":
        raise Asked(f"no conformal set is called {kind!r}", nearest(kind, KINDS))
    order = np.argsort(-p, axis=1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=1)
    mass = sorted_p.cumsum(1)
    if seed is not None:
        mass -= np.random.default_rng([seed, stream]).random((len(p), 1)) * sorted_p
    # The most probable class is always in; its score says so already when the threshold is found, or sets would cover too much
    mass[:, :1] = 0.0
    out = np.empty_like(mass)
    np.put_along_axis(out, order, mass, axis=1)
    return out


def _share(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise Asked(f"alpha is {alpha}, but must lie between 0 and 1", "0.1 promises that 90 % of the sets hold the truth")
    return alpha


def _positive(scale: np.ndarray) -> np.ndarray:
    scale = np.asarray(scale, dtype=np.float64)
    if not (scale > 0).all():
        raise BadData("a scale of an interval is not above 0", "add a small constant to predicted spreads")
    return scale
