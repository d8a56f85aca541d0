"""A decision that rests on few concepts, beside one that rests on the whole embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tacit.evaluation.readers import standardise
from tacit.registry import find
from tacit.statistics import interval


@dataclass(frozen=True)
class Sparse:
    """A decision by few concepts. used: concepts with a weight. accuracy, full: on held-out items, of the concepts and of the whole
    embedding. gap: full minus accuracy with its 95 % interval. weights: [classes, K]."""

    used: int
    accuracy: float
    full: float
    gap: tuple[float, float, float]
    weights: np.ndarray


def decided(
    codes: tuple[np.ndarray, np.ndarray],
    whole: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    classes: int,
    seed: int,
) -> Sparse:
    """A linear decision with an L1 penalty on concepts beside a linear probe of the embedding; each pair is of training and held-out items.

    The penalty is chosen on a fifth of the training items: the strongest within a standard error of the best.
    """
    import warnings

    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    (y, t), (a, b), (z, zt) = labels, standardise(*codes), standardise(*whole)

    def made(c: float, rows: np.ndarray) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of iterations: a path of penalties needs no last digit
            model = LogisticRegression(l1_ratio=1.0, solver="saga", C=c, max_iter=200, random_state=seed, tol=1e-3)
            return model.fit(a[rows], y[rows])

    every = np.arange(len(y))
    aside, present = math.ceil(0.2 * len(y)), len(np.unique(y))
    even = np.bincount(y)[y].min() > 1 and present <= min(aside, len(y) - aside)
    fit, held = train_test_split(every, test_size=aside, random_state=seed, stratify=y if even else None)
    chosen = 1.0
    if len(np.unique(y[fit])) > 1:
        tried = [(c, float((made(c, fit).predict(a[held]) == y[held]).mean())) for c in 10.0 ** np.arange(-3, 1.5, 0.5)]
        best = max(v for _, v in tried)
        good = best - math.sqrt(best * (1 - best) / len(held))
        chosen = next(c for c, v in tried if v >= good)
    head = made(chosen, every)
    right = head.predict(b) == t
    right_full = find("probes", "linear")().fit(z, y, classes, small=False, seed=seed, groups=None).predict(zt) == t
    difference = right_full.astype(float) - right
    draws = np.random.default_rng([seed, 313]).integers(0, len(t), (2000, len(t)))
    low, high = interval(difference[draws].mean(1))
    weights = np.zeros((classes, a.shape[1]))
    if len(head.classes_) == 2:
        weights[head.classes_[1]], weights[head.classes_[0]] = head.coef_[0], -head.coef_[0]
    else:
        weights[head.classes_] = head.coef_
    used = int((np.abs(weights).max(0) > 1e-6).sum())
    return Sparse(used, float(right.mean()), float(right_full.mean()), (float(difference.mean()), float(low), float(high)), weights)
