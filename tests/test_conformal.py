"""Conformal sets and intervals: exact order statistics, and coverage over exchangeable draws."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tacit.calibration import softmax
from tacit.conformal import coverage, fewest, interval, quantile, sets, size, threshold, thresholds, width
from tacit.errors import Asked, BadData


def draw(n: int, rng: np.random.Generator, classes: int = 6, scale: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [n, K] of an overconfident model that is right about half of the time, and the truth."""
    logits = rng.standard_normal((n, classes)) * scale
    y = (rng.random((n, 1)) > softmax(logits).cumsum(1)).sum(1)
    return softmax(2 * logits), np.minimum(y, classes - 1)


@pytest.mark.parametrize("alpha", ["0.1", "0.2", "0.05", "0.3", "0.7", "0.29"])
def test_quantiles_are_exact_order_statistics(alpha: str) -> None:
    exact = Fraction(alpha)
    for n in (*range(60), 99, 100, 199, 299):
        scores = np.random.default_rng(n).permutation(n) + 1.0
        place = math.ceil((n + 1) * (1 - exact))
        assert quantile(scores, float(exact)) == (place if place <= n else math.inf)
        assert (n < fewest(float(exact))) == (place > n)


def test_how_many_items_a_promise_needs() -> None:
    assert [fewest(a) for a in (0.5, 0.2, 0.1, 0.05, 0.01, 0.3)] == [1, 4, 9, 19, 99, 3]
    for alpha in (0, 1, -0.1, float("nan")):
        with pytest.raises(Asked, match="alpha"):
            fewest(alpha)
        with pytest.raises(Asked, match="alpha"):
            quantile(np.ones(3), alpha)
    with pytest.raises(BadData, match="not a number"):
        quantile(np.array([1, np.nan]), 0.5)
    assert quantile(np.array([1.0, np.inf, np.inf]), 0.5) == math.inf


@pytest.mark.parametrize("alpha", [0.1, 0.2])
@pytest.mark.parametrize(("kind", "randomised"), [("lac", False), ("aps", False), ("aps", True)])
def test_sets_cover_what_was_promised(kind: str, randomised: bool, alpha: float) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for number in range(200):
        seed = number if randomised else None
        p, y = draw(400, rng)
        limit = threshold(p[:200], y[:200], alpha, kind, seed)
        covered.append(coverage(sets(p[200:], limit, kind, seed), y[200:]))
    assert np.mean(covered) == pytest.approx(1 - alpha, abs=0.02)
    # ... and not less on average than promised, up to four standard errors
    assert np.mean(covered) > 1 - alpha - 4 * np.std(covered) / np.sqrt(200)


def test_sets_of_lac_are_the_smaller_ones_and_of_aps_are_never_empty() -> None:
    p, y = draw(4000, np.random.default_rng(1))
    lac, aps = (sets(p[2000:], threshold(p[:2000], y[:2000], 0.2, kind), kind) for kind in ("lac", "aps"))
    assert size(lac) < size(aps)
    sure = softmax(np.eye(3)[[0, 1, 2] * 50] * 4 + np.random.default_rng(0).standard_normal((150, 3)))
    right = np.array([0, 1, 2] * 50)
    tight = sets(sure, threshold(sure, right, 0.3), "lac")
    assert not tight.any(1).all() and coverage(tight, right) == pytest.approx(0.7, abs=0.02)
    for seed in (None, 0):
        full = sets(sure, threshold(sure, right, 0.3, "aps", seed), "aps", seed)
        assert full[np.arange(150), sure.argmax(1)].all()


def test_scores_of_aps_by_hand() -> None:
    p = np.array([[0.2, 0.5, 0.3], [0.25, 0.25, 0.5]])
    assert threshold(p, np.array([0, -1]), 0.5, "aps") == pytest.approx(1.0)
    assert threshold(p, np.array([2, -1]), 0.5, "aps") == pytest.approx(0.8)
    assert threshold(p, np.array([1, -1]), 0.5, "aps") == 0  # the most probable class is always in
    assert threshold(p, np.array([2, -1]), 0.5, "lac") == pytest.approx(0.7)
    # Equal probabilities come in the order of the classes
    np.testing.assert_array_equal(sets(p, 0.8, "aps"), [[False, True, True], [True, False, True]])
    np.testing.assert_array_equal(sets(p, 0.1, "aps"), [[False, True, False], [False, False, True]])
    np.testing.assert_array_equal(sets(p, 0.7, "lac"), [[False, True, True], [False, False, True]])


def test_randomised_sets_repeat_and_shrink() -> None:
    p, y = draw(2000, np.random.default_rng(2))
    limit = threshold(p, y, 0.2, "aps", 5)
    assert limit == threshold(p, y, 0.2, "aps", 5) != threshold(p, y, 0.2, "aps", 6)
    np.testing.assert_array_equal(sets(p, limit, "aps", 5), sets(p, limit, "aps", 5))
    assert limit < threshold(p, y, 0.2, "aps")
    # New items get other draws than held-out ones: with the same, exactly 80 % of the very same rows would be covered
    assert coverage(sets(p, limit, "aps", 5), y) != np.ceil(0.8 * 2001) / 2000


def test_ties_lose_no_coverage() -> None:
    rng = np.random.default_rng(0)
    p = rng.choice([0.1, 0.3, 0.6], (3000, 3))
    p = p / p.sum(1, keepdims=True)
    y = np.minimum((rng.random((3000, 1)) > p.cumsum(1)).sum(1), 2)
    for kind in ("lac", "aps"):
        assert coverage(sets(p[1500:], threshold(p[:1500], y[:1500], 0.2, kind), kind), y[1500:]) > 0.77
    assert quantile(np.full(20, 3.0), 0.1) == 3


def test_too_few_items_rule_nothing_out() -> None:
    p, y = draw(8, np.random.default_rng(0))
    for kind in ("lac", "aps"):
        assert threshold(p, y, 0.1, kind) == threshold(p[:0], y[:0], 0.1, kind) == math.inf
        assert sets(p, math.inf, kind).all()
    assert width(np.ones(8), 0.1) == math.inf
    low, high = interval(np.zeros(2), math.inf)
    assert (low == -math.inf).all() and (high == math.inf).all()
    assert math.isnan(coverage(np.ones((2, 3), dtype=bool), np.array([-1, -1]))) and math.isnan(size(np.ones((0, 3), dtype=bool)))


def test_wrong_labels_and_kinds() -> None:
    p, y = draw(20, np.random.default_rng(0))
    with pytest.raises(BadData, match="label 6"):
        threshold(p, np.full(20, 6), 0.1)
    with pytest.raises(Asked, match="apps"):
        threshold(p, y, 0.1, "apps")
    some = np.where(np.arange(20) < 5, -1, y)
    assert threshold(p, some, 0.2) == threshold(p[5:], y[5:], 0.2)
    everything = np.ones((20, 6), dtype=bool)
    assert coverage(everything, some) == 1 and size(everything) == 6


@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_intervals_cover_what_was_promised(alpha: float) -> None:
    rng = np.random.default_rng(0)
    plain, scaled, wide = [], [], []
    for _ in range(200):
        hard = rng.choice([0.2, 3.0], 600)
        guess, truth = np.zeros(600), rng.standard_normal(600) * hard
        low, high = interval(guess[300:], width(truth[:300], alpha))
        plain.append(((truth[300:] >= low) & (truth[300:] <= high)).mean())
        low, high = interval(guess[300:], width(truth[:300], alpha, hard[:300]), hard[300:])
        scaled.append(((truth[300:] >= low) & (truth[300:] <= high)).mean())
        wide.append((high - low)[hard[300:] < 1].mean())
    assert np.mean(plain) == pytest.approx(1 - alpha, abs=0.02)
    assert np.mean(scaled) == pytest.approx(1 - alpha, abs=0.02)
    normal = {0.1: 1.645, 0.2: 1.282}[alpha]
    assert np.mean(wide) == pytest.approx(2 * 0.2 * normal, rel=0.05)


def test_widths_are_those_of_absolute_residuals() -> None:
    assert width(np.array([-3.0, 1, 2, -4]), 0.2) == 4
    assert width(np.array([-3.0, 1, 2, -4]), 0.5) == 3
    assert width(np.array([-3.0, 1, 2, -4]), 0.2, np.array([6, 1, 1, 8])) == 2
    with pytest.raises(BadData, match="scale"):
        width(np.ones(5), 0.5, np.array([1, 1, 0, 1, 1]))
    with pytest.raises(BadData, match="scale"):
        interval(np.ones(1), 1.0, np.array([np.nan]))


def test_each_label_has_its_own_threshold() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        p = rng.beta(1, 3, (1000, 3))
        y = (rng.random((1000, 3)) < p).astype(np.float64)
        y[:, 2] = 0
        y[rng.random((1000, 3)) < 0.2] = np.nan
        limits = thresholds(p[:500], y[:500], 0.1)
        chosen = sets(p[500:], limits)
        assert limits.shape == (3,) and limits[2] == math.inf and chosen[:, 2].all()
        found.append([chosen[y[500:, label] == 1, label].mean() for label in (0, 1)])
        assert not chosen[:, :2].all()
    np.testing.assert_allclose(np.mean(found, axis=0), 0.9, atol=0.02)
