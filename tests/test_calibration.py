"""Temperatures and calibration errors against slow loops, scikit-learn and what is calibrated by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import brier_score_loss, log_loss

from tacit.calibration import COLDEST, Bin, brier, ece, known, nll, reliability, sigmoid, softmax, temperature
from tacit.errors import Asked, BadData
from tacit.statistics import wilson


def honest(n: int, classes: int = 5, scale: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, K] and classes that were drawn from exactly these probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, classes)) * scale
    y = (rng.random((n, 1)) > softmax(logits).cumsum(1)).sum(1)
    return logits, np.minimum(y, classes - 1)


def test_softmax_and_sigmoid() -> None:
    logits = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32) * 300
    for t in (0.1, 1.0, 7.0):
        np.testing.assert_allclose(softmax(logits, t), scipy_softmax(logits.astype(np.float64) / t, axis=1), atol=1e-12)
        np.testing.assert_allclose(sigmoid(logits, t), expit(logits.astype(np.float64) / t), atol=1e-12)
    never = -np.inf
    np.testing.assert_array_equal(softmax(np.array([[0, never, 0, never], [never] * 4])), [[0.5, 0, 0.5, 0], [0.25] * 4])
    assert softmax(logits).dtype == sigmoid(logits).dtype == np.float64
    assert sigmoid(np.array([[never]])) == 0


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_a_known_factor_of_overconfidence_is_recovered(factor: float) -> None:
    logits, y = honest(20_000)
    assert temperature(logits * factor, y) == pytest.approx(factor, rel=0.03)
    multi = (np.random.default_rng(1).random(logits.shape) < sigmoid(logits)).astype(np.float64)
    assert temperature(logits * factor, multi) == pytest.approx(factor, rel=0.03)


def test_the_temperature_is_the_lowest_of_a_grid() -> None:
    logits, y = honest(300)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 2001))
    # n NLL and the one imagined item
    losses = [len(y) * nll(softmax(logits * 2, t), y) + 1 / t + np.log(t) for t in grid]
    assert temperature(logits * 2, y) == pytest.approx(grid[np.argmin(losses)], rel=0.004)


def test_scaling_lowers_nll_and_ece_but_changes_no_decision() -> None:
    logits, y = honest(4000)
    t = temperature(logits[:2000] * 4, y[:2000])
    before, after = softmax(logits[2000:] * 4), softmax(logits[2000:] * 4, t)
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
    right = after.argmax(1) == y[2000:]
    assert nll(after, y[2000:]) < nll(before, y[2000:]) - 0.3
    assert ece(after.max(1), right) < 0.05 < ece(before.max(1), right) - 0.1


def test_temperature_of_odd_input() -> None:
    logits, y = honest(3000)
    assert temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == 1.0
    assert temperature(logits[:, :1], np.zeros(3000, dtype=np.int64)) == 1.0
    assert temperature(logits, np.full(3000, 2)) == 1.0
    assert temperature(logits, np.full(3000, -1)) == 1.0
    assert temperature(logits, np.full(logits.shape, np.nan)) == 1.0
    # A class without a training row: its own items tell nothing, the others must not suffer
    absent = np.c_[logits, np.full(3000, -np.inf)]
    mixed = np.where(np.arange(3000) < 500, 5, y)
    assert temperature(absent, mixed) == pytest.approx(temperature(logits[500:], y[500:]), rel=1e-4)
    unknown = np.where(np.arange(3000) < 500, -1, y)
    assert temperature(logits, unknown) == pytest.approx(temperature(logits[500:], y[500:]), rel=1e-9)
    multi = (np.random.default_rng(0).random(logits.shape) < sigmoid(logits)).astype(np.float64)
    hidden = np.where(np.arange(3000)[:, None] < 1000, np.nan, multi)
    gone = np.c_[logits, np.full(3000, -np.inf)]
    expected = temperature(logits[1000:], multi[1000:])
    assert temperature(gone, np.c_[hidden, np.zeros(3000)]) == pytest.approx(expected, rel=1e-4)
    for bad in (np.nan, np.inf):
        with pytest.raises(BadData, match="logit"):
            temperature(np.full((3, 2), bad), np.array([0, 1, 0]))


def test_few_items_that_are_all_right_do_not_make_it_certain() -> None:
    y = np.arange(10) % 2
    logits = np.eye(2)[y] * 3
    few, many = temperature(logits, y), temperature(np.tile(logits, (10_000, 1)), np.tile(y, 10_000))
    assert 0.3 < few < 1
    assert COLDEST <= many < few
    assert temperature(-logits * 100, y) == pytest.approx(20, rel=1e-3)


def test_nll_and_brier_are_those_of_scikit_learn() -> None:
    logits, y = honest(500, 4)
    p = softmax(logits)
    assert nll(p, y) == pytest.approx(log_loss(y, p), rel=1e-9)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p, labels=range(4), scale_by_half=False), rel=1e-9)
    assert brier(p, y) == pytest.approx(np.mean([sum((p[i, c] - (y[i] == c)) ** 2 for c in range(4)) for i in range(500)]), rel=1e-9)
    binary = (y > 1).astype(np.float64)[:, None]
    assert brier(p[:, :1], binary) == pytest.approx(brier_score_loss(binary[:, 0], p[:, 0]), rel=1e-9)
    assert nll(p[:, :1], binary) == pytest.approx(log_loss(binary[:, 0], p[:, 0]), rel=1e-9)


def test_nll_and_brier_at_the_edges() -> None:
    assert brier(np.array([[0.0, 1.0]]), np.array([0])) == 2
    assert nll(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(36.04, abs=0.01)
    p, y = softmax(honest(50)[0]), honest(50)[1]
    half = np.where(np.arange(50) < 25, -1, y)
    assert nll(p, half) == pytest.approx(nll(p[25:], y[25:])) and brier(p, half) == pytest.approx(brier(p[25:], y[25:]))
    assert np.isnan(nll(p, np.full(50, -1))) and np.isnan(brier(p[:0], y[:0]))
    holes = np.full((50, 5), np.nan)
    holes[3, 2] = 1
    assert nll(p, holes) == pytest.approx(-np.log(p[3, 2])) and brier(p, holes) == pytest.approx((1 - p[3, 2]) ** 2)
    with pytest.raises(BadData, match="label 5"):
        nll(p, np.full(50, 5))
    np.testing.assert_array_equal(known(np.array([-1, 0, 4]), 5), [False, True, True])


@pytest.mark.parametrize("n", [1, 14, 15, 100, 1003])
def test_ece_against_loops(n: int) -> None:
    rng = np.random.default_rng(n)
    sure, right = rng.random(n), rng.random(n) < 0.6
    width = 0.0
    for i in range(15):
        inside = (sure > i / 15) & (sure <= (i + 1) / 15)
        if inside.any():
            width += inside.sum() / n * abs(right[inside].mean() - sure[inside].mean())
    assert ece(sure, right, equal="width") == pytest.approx(width, abs=1e-12)
    order = np.argsort(sure)
    sizes = [len([r for r in range(n) if r * 15 // n == i]) for i in range(15)]
    assert max(sizes) - min(sizes) <= 1
    parts = np.split(order, np.cumsum(sizes)[:-1])
    mass = sum(len(part) / n * abs(right[part].mean() - sure[part].mean()) for part in parts if len(part))
    assert ece(sure, right) == pytest.approx(mass, abs=1e-12)


def test_ece_of_known_cases() -> None:
    half = np.arange(1000) % 2 == 0
    for equal in ("mass", "width"):
        assert ece(np.full(1000, 0.5), half, equal=equal) == pytest.approx(0, abs=1e-12)
        assert ece(np.full(1000, 0.9), half, equal=equal) == pytest.approx(0.4)
        assert ece(np.ones(4), np.zeros(4), equal=equal) == 1
        assert ece(np.zeros(4), np.zeros(4), equal=equal) == 0
        assert np.isnan(ece(np.zeros(0), np.zeros(0), equal=equal))
    logits, y = honest(50_000)
    p = softmax(logits)
    assert ece(p.max(1), p.argmax(1) == y) < 0.01


def test_equal_confidences_share_a_bin_in_any_order() -> None:
    rng = np.random.default_rng(0)
    sure, right = rng.choice([0.3, 0.6, 1.0], 500, p=[0.1, 0.2, 0.7]), rng.random(500) < 0.7
    exact = sum((sure == c).mean() * abs(right[sure == c].mean() - c) for c in (0.3, 0.6, 1.0))
    again = rng.permutation(500)
    assert ece(sure, right) == pytest.approx(exact) and ece(sure[again], right[again]) == pytest.approx(exact)


def test_the_reliability_curve() -> None:
    logits, y = honest(3000)
    p = softmax(logits)
    right = p.argmax(1) == y
    curve = reliability(p.max(1), right)
    assert [b.n for b in curve] == [200] * 15
    assert [b.confidence for b in curve] == sorted(b.confidence for b in curve)
    assert sum(b.n * abs(b.accuracy - b.confidence) for b in curve) / 3000 == pytest.approx(ece(p.max(1), right))
    assert all((b.low, b.high) == wilson(b.accuracy, b.n) for b in curve)
    assert sum(b.low <= b.confidence <= b.high for b in curve) >= 12
    assert reliability(np.ones(7), np.ones(7)) == [Bin(1.0, 1.0, *wilson(1.0, 7), 7)]
    assert reliability(np.zeros(0), np.zeros(0)) == []


def test_wrong_questions_about_bins() -> None:
    with pytest.raises(Asked, match="mas"):
        ece(np.ones(2), np.ones(2), equal="mas")
    for bad in (np.nan, -3.0, 2.0):
        with pytest.raises(BadData, match="confidence"):
            ece(np.full(2, bad), np.ones(2))
