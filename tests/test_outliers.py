"""Strangeness and its detection against loops, scikit-learn, closed forms and degenerate features."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr
from sklearn.covariance import LedoitWolf
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from tacit import outliers
from tacit.errors import Asked, BadData
from tacit.outliers import Reference, detection


def features(n: int, d: int = 8, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    """Gaussian features [n, D] of unequal spread around a common direction; shift: of all dimensions, in their deviations."""
    spread = np.linspace(0.5, 2, d)
    return (3 + spread * (np.random.default_rng(seed).standard_normal((n, d)) + shift)).astype(np.float32)


def classes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 6] in three classes that lie apart, and the labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return np.eye(6)[y] * 8 + rng.standard_normal((n, 6)), y


def test_the_knn_score_against_loops() -> None:
    z, new = features(90), features(20, seed=1)
    unit = [row / np.linalg.norm(row) for row in z.astype(np.float64)]
    slow = [sorted(np.linalg.norm(row / np.linalg.norm(row) - other) for other in unit)[8] for row in new.astype(np.float64)]
    reference = Reference.fit(z)
    assert reference.k == 9
    np.testing.assert_allclose(reference.score(new)["knn"], slow, rtol=1e-5)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 1), (100, 10), (2499, 49), (2500, 50), (6000, 50)])
def test_number_of_neighbours(n: int, k: int) -> None:
    assert Reference.fit(features(n, 3)).k == k


def test_mahalanobis_is_that_of_scikit_learn() -> None:
    z, new = features(200), features(30, seed=1)
    expected = LedoitWolf().fit(z.astype(np.float64)).mahalanobis(new)
    np.testing.assert_allclose(Reference.fit(z).score(new)["mahalanobis"], expected, rtol=1e-4)


def test_the_relative_distance_against_loops() -> None:
    (z, y), (new, _) = classes(300), classes(20, seed=1)
    y[:30] = -1
    means = [z[y == c].mean(0) for c in range(3)]
    inner = np.array([z[i] - means[y[i]] for i in range(300) if y[i] >= 0])
    within = np.linalg.inv(LedoitWolf(assume_centered=True).fit(inner).covariance_ * 270 / 267)
    whole = np.linalg.inv(LedoitWolf().fit(z).covariance_)
    slow = [min((row - mean) @ within @ (row - mean) for mean in means) - (row - z.mean(0)) @ whole @ (row - z.mean(0)) for row in new]
    np.testing.assert_allclose(Reference.fit(z, y).score(new)["relative"], slow, rtol=1e-3, atol=1e-3)


def test_what_is_shifted_is_stranger() -> None:
    (z, y), (same, _) = classes(1500), classes(300, seed=1)
    reference = Reference.fit(z, y).calibrated(classes(500, seed=2)[0])
    # The middle of all classes is near to no class: the one Gaussian cannot see it, the others can
    middle = 8 / 3 * np.r_[1, 1, 1, 0, 0, 0] + np.random.default_rng(3).standard_normal((300, 6))
    found = {name: detection(reference.score(same)[name], reference.score(middle)[name])["auroc"] for name in reference.names}
    assert found["mahalanobis"] < 0.5 < 0.9 < min(found["knn"], found["relative"])
    for name in reference.names:
        far = reference.score(-same)[name]
        assert detection(reference.score(same)[name], far)["auroc"] > 0.99
        assert reference.strange(-same, by=name).mean() > 0.9


@pytest.mark.parametrize("by", ["knn", "mahalanobis", "relative"])
def test_false_alarms_are_as_rare_as_asked(by: str) -> None:
    alarms = []
    for i in range(40):
        z, y = classes(700, seed=i)
        reference = Reference.fit(z[:200], y[:200]).calibrated(z[200:300])
        alarms.append(reference.strange(z[300:], 0.1, by=by).mean())
    assert 0.07 < np.mean(alarms) < 0.11
    assert not Reference.fit(z).calibrated(z[:18]).strange(z * 100, 0.05).any()
    assert Reference.fit(z[:50]).calibrated(z[50:69]).strange(-z[:5], 0.05).all()


@pytest.mark.parametrize("n", [30, 1001, 2500, 25_000])
def test_stored_quantiles_give_ranks_and_bounds(n: int) -> None:
    held = np.random.default_rng(n).standard_normal((n, 2)).astype(np.float32)
    reference = Reference.fit(features(50, 2)).calibrated(held)
    scores = reference.score(held)["mahalanobis"]
    asked = np.r_[np.quantile(scores, [0.1, 0.5, 0.9]), -1, scores.max() * 2, scores.min(), scores[3]]
    slow = [(scores < value).mean() for value in asked]
    np.testing.assert_allclose(reference.rank("mahalanobis", asked), slow, atol=1e-12 if n <= 1001 else 0.002)
    assert len(reference.quantiles["mahalanobis"]) == min(n, 1001)
    for alarm in (0.04, 0.1, 0.5, 0.9):
        flagged = reference.strange(held, alarm, by="mahalanobis").sum()
        assert alarm * (n + 1) - 1 - n / 1000 - 1 < flagged <= alarm * (n + 1)


def test_neighbours_are_exact() -> None:
    z, new = features(300), features(25, seed=1)
    rows, cosine = Reference.fit(z).neighbours(new, 7)
    a, b = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (new, z))
    likeness = a @ b.T
    np.testing.assert_array_equal(rows, np.argsort(-likeness, axis=1)[:, :7])
    np.testing.assert_allclose(cosine, np.take_along_axis(likeness, rows, axis=1), atol=1e-6)
    assert rows.dtype == np.int64 and cosine.dtype == np.float64
    own, one = Reference.fit(z).neighbours(z, 1)
    np.testing.assert_array_equal(own[:, 0], np.arange(300))
    np.testing.assert_allclose(one, 1, atol=1e-6)
    assert Reference.fit(z[:3]).neighbours(new, 7)[0].shape == (25, 3)
    assert Reference.fit(z).neighbours(new[:0], 7)[0].shape == (0, 7)


def test_neighbours_of_features_that_all_look_alike() -> None:
    """Cosines above 0.9999999, where float32's 1 - cosine is only rounding."""
    z, new = features(200) + 3000, features(10, seed=1) + 3000
    a, b = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (new, z))
    exact = np.array([sorted(np.linalg.norm(row - b, axis=1))[13] for row in a])
    found = Reference.fit(z).score(new)["knn"]
    assert exact.max() < 5e-4
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (z, y), (new, _) = classes(200), classes(50, seed=1)
    reference = Reference.fit(z, y)
    whole, near = reference.score(new), reference.neighbours(new)
    monkeypatch.setattr(outliers, "CHUNK", 1000)
    for name, values in reference.score(new).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(reference.neighbours(new)[0], near[0])


def test_most_items_are_drawn_and_keep_their_rows() -> None:
    z = features(500)
    reference = Reference.fit(z, most=100)
    assert reference.bank.shape == (100, 8) and len(set(reference.rows)) == 100 and reference.rows.max() > 400
    rows = reference.neighbours(z[reference.rows], 1)[0]
    np.testing.assert_array_equal(rows[:, 0], reference.rows)
    np.testing.assert_array_equal(reference.rows, Reference.fit(z, most=100).rows)
    assert (reference.rows != Reference.fit(z, most=100, seed=1).rows).any()


@pytest.mark.parametrize("labelled", [False, True])
def test_it_is_saved_and_scores_the_same(tmp_path: Path, labelled: bool) -> None:
    z, y = classes(150)
    reference = Reference.fit(z, y if labelled else None).calibrated(classes(40, seed=2)[0])
    np.savez(tmp_path / "known.npz", **reference.arrays())
    with np.load(tmp_path / "known.npz", allow_pickle=False) as stored:
        again = Reference.from_arrays(stored)
    new = classes(20, seed=1)[0]
    assert again.names == reference.names == ("knn", "mahalanobis", "relative")[: 2 + labelled]
    for name, values in reference.score(new).items():
        np.testing.assert_array_equal(again.score(new)[name], values)
        np.testing.assert_array_equal(again.rank(name, values), reference.rank(name, values))
    np.testing.assert_array_equal(again.strange(new, 0.3), reference.strange(new, 0.3))
    assert (again.k, again.held) == (12, 40)
    arrays = reference.arrays()
    del arrays["mean"]
    with pytest.raises(BadData, match="lacks mean"):
        Reference.from_arrays(arrays)


def test_scoring_needs_numpy_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "known.npz", **Reference.fit(*classes(60)).calibrated(classes(40, seed=2)[0]).arrays())
    code = f"""
import sys, numpy as np
from tacit import calibration, conformal
from tacit.outliers import Reference, detection
r = Reference.from_arrays(np.load({str(tmp_path / "known.npz")!r}, allow_pickle=False))
z = np.ones((3, 6))
r.score(z), r.neighbours(z), r.strange(z, 0.1), detection(np.arange(5), np.arange(9))
p = calibration.softmax(z)
conformal.sets(p, conformal.threshold(p, np.zeros(3, int), 0.5, "aps"), "aps")
calibration.ece(p.max(1), p.argmax(1) == 0)
print({{"torch", "scipy", "sklearn", "pandas"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize(
    "z",
    [
        np.c_[features(50), np.zeros((50, 2)), np.ones((50, 1))],
        features(20, 64),
        features(1),
        features(2),
        np.repeat(features(1), 30, axis=0),
        np.repeat(features(5), 10, axis=0),
        np.zeros((10, 4)),
        features(40) * 1e-20,
        features(40) * 1e15,
        features(40, 1),
    ],
    ids=["constant columns", "n < D", "one item", "two items", "identical", "duplicates", "zeros", "tiny", "huge", "one column"],
)
def test_degenerate_features_give_finite_scores(z: np.ndarray) -> None:
    y = np.arange(len(z)) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference = Reference.fit(z, y).calibrated(z)
        scores = reference.score(z)
        rows, cosine = reference.neighbours(z)
        strange = reference.strange(z)
    assert all(np.isfinite(values).all() for values in scores.values())
    assert strange.sum() <= 0.05 * (len(z) + 1)
    assert (scores["knn"] >= 0).all() and (scores["mahalanobis"] >= 0).all()
    assert np.isfinite(cosine).all() and (np.abs(cosine) < 1 + 1e-6).all() and rows.max() < len(z)


def test_what_leaves_a_constant_column_is_very_strange() -> None:
    z = np.c_[features(400), np.ones(400)]
    reference = Reference.fit(z)
    moved = z + np.r_[np.zeros(8), 3]
    assert reference.score(moved)["mahalanobis"].min() > 5 * reference.score(z)["mahalanobis"].max()


def test_labels_that_say_little() -> None:
    z = classes(60)[0]
    for useless in (np.full(60, -1), np.zeros(60, dtype=np.int64)):
        assert Reference.fit(z, useless).names == ("knn", "mahalanobis")
    one_each = Reference.fit(z, np.r_[0, 1, 2, np.full(57, -1)])
    distance = one_each.score(z[:3])
    np.testing.assert_allclose(distance["relative"], -distance["mahalanobis"], rtol=1e-3, atol=1e-3)


def test_cosine_of_zeros_is_zero() -> None:
    z = np.r_[np.zeros((1, 3)), np.eye(3)]
    cosine = Reference.fit(z).neighbours(np.r_[np.zeros((1, 3)), np.eye(3)], 4)[1]
    np.testing.assert_allclose(cosine[0], 0)
    np.testing.assert_allclose(np.sort(cosine[1:], axis=1), [[0, 0, 0, 1]] * 3)


def test_bad_features_are_refused() -> None:
    z = features(30)
    broken = z.copy()
    broken[3, 2] = np.nan
    reference = Reference.fit(z)
    for call in (Reference.fit, reference.score, reference.neighbours, reference.calibrated):
        with pytest.raises(BadData, match="finite"):
            call(broken)
    for call in (Reference.fit, reference.calibrated):
        with pytest.raises(BadData, match="no "):
            call(z[:0])
    for wrong in (z[:, :5], z[0]):
        with pytest.raises(BadData, match="shape"):
            reference.score(wrong)
    with pytest.raises(Asked, match="not calibrated"):
        reference.strange(z)
    with pytest.raises(Asked, match="mahalanobis"):
        reference.calibrated(z).rank("mahalonobis", np.zeros(2))
    with pytest.raises(Asked, match="mahalanobis"):
        reference.calibrated(z).strange(z, by="relative")
    assert reference.score(z[:0])["knn"].shape == (0,)


@pytest.mark.parametrize("d", [0.0, 0.5, 1.0, 2.0])
def test_auroc_of_two_gaussians(d: float) -> None:
    rng = np.random.default_rng(0)
    found = detection(rng.standard_normal(20_000), rng.standard_normal(20_000) + d, resamples=200)
    assert found["auroc"] == pytest.approx(ndtr(d / np.sqrt(2)), abs=0.006)
    assert found["low"] < ndtr(d / np.sqrt(2)) < found["high"] and found["high"] - found["low"] < 0.015
    # The 95 % quantile of one, seen from the other
    assert found["fpr95"] == pytest.approx(1 - ndtr(d - 1.645), abs=0.015)
    assert found["fpr95_in"] == pytest.approx(ndtr(1.645 - d), abs=0.015)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (20, 100), (333, 40)])
def test_detection_is_that_of_scikit_learn(n: int, m: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    inside, outside = rng.standard_normal(n), rng.standard_normal(m) * 1.5 + 0.7
    if ties:
        inside, outside = inside.round(), outside.round()
    found = detection(inside, outside, resamples=50)
    score, out = np.r_[inside, outside], np.r_[np.zeros(n), np.ones(m)]
    slow = np.mean([(b > a) + (b == a) / 2 for a, b in itertools.product(inside, outside)])
    assert found["auroc"] == pytest.approx(slow) == pytest.approx(roc_auc_score(out, score))
    assert found["aupr_out"] == pytest.approx(average_precision_score(out, score))
    assert found["aupr_in"] == pytest.approx(average_precision_score(1 - out, -score))
    for key, truth, sign in (("fpr95", out, 1), ("fpr95_in", 1 - out, -1)):
        false, true, _ = roc_curve(truth, sign * score, drop_intermediate=False)
        assert found[key] == pytest.approx(false[np.argmax(true >= 0.95)])
    assert (found["n_in"], found["n_out"]) == (n, m) and found["low"] <= found["auroc"] <= found["high"]


def test_the_two_conventions_differ_and_are_named() -> None:
    inside, outside = np.arange(100), np.r_[np.full(10, -1), np.full(90, 200)]
    found = detection(inside, outside)
    assert found["fpr95"] == 1 and found["fpr95_in"] == pytest.approx(0.1)
    for word in ("fpr95:", "fpr95_in:", "OpenOOD", "ODIN"):
        assert word in found["convention"]


def test_detection_at_the_edges() -> None:
    perfect = detection(np.zeros(30), np.full(20, np.inf))
    assert perfect["auroc"] == perfect["aupr_out"] == perfect["aupr_in"] == perfect["low"] == perfect["high"] == 1
    assert perfect["fpr95"] == perfect["fpr95_in"] == 0
    assert detection(np.ones(5), np.ones(8))["auroc"] == 0.5
    assert detection(np.arange(9), np.arange(9) + 0.5) == detection(np.arange(9), np.arange(9) + 0.5)
    for inside, outside in ((np.zeros(0), np.ones(2)), (np.ones(2), np.zeros(0)), (np.array([np.nan]), np.ones(1))):
        with pytest.raises(BadData, match="detection"):
            detection(inside, outside)


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(0)
    truth, hits = ndtr(1 / np.sqrt(2)), 0
    for _ in range(100):
        found = detection(rng.standard_normal(80), rng.standard_normal(80) + 1, resamples=300)
        hits += found["low"] <= truth <= found["high"]
    assert 88 <= hits <= 99


def test_a_bank_in_half_precision_would_change_narrow_features() -> None:
    """Why the bank stays float32: where all features point almost the same way, float16 moves distances by more than a hundredth."""
    z, new = features(500) + 100, features(50, seed=1) + 100
    reference = Reference.fit(z)
    half = replace(reference, bank=reference.bank.astype(np.float16).astype(np.float32))
    assert np.abs(half.score(new)["knn"] / reference.score(new)["knn"] - 1).max() > 0.01
