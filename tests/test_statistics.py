"""RankMe, spread and intervals against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.statistics import Resampler, interval, rankme, spread, student, wilson


def spectrum(values: np.ndarray, rows: int, seed: int = 0) -> np.ndarray:
    """A matrix [rows, D] with exactly these singular values and random axes."""
    rng = np.random.default_rng(seed)
    d = len(values)
    left = np.linalg.qr(rng.standard_normal((rows, d)))[0]
    right = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return left * values @ right


def test_rankme_of_equal_singular_values_is_their_number() -> None:
    assert rankme(spectrum(np.ones(64), 200)) == pytest.approx(64, rel=1e-9)
    assert rankme(spectrum(np.r_[np.ones(7), np.zeros(57)], 200)) == pytest.approx(7, rel=1e-6)
    assert rankme(spectrum(np.ones(12), 12)) == pytest.approx(12, rel=1e-9)


def test_rankme_of_one_direction_is_one() -> None:
    rng = np.random.default_rng(0)
    assert rankme(np.outer(rng.standard_normal(600), rng.standard_normal(512))) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, 4.0), (0.9, 25.8117)])
def test_rankme_of_a_geometric_spectrum(ratio: float, expected: float) -> None:
    closed = np.exp(-np.log(1 - ratio) - ratio * np.log(ratio) / (1 - ratio))
    assert closed == pytest.approx(expected, abs=1e-4)
    # Singular values below sqrt(float64's precision) are rounding in the Gram matrix, so the tail is cut there.
    assert rankme(np.diag(ratio ** np.arange(300.0))) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("d", "power", "expected"),
    [(64, 0.5, 54.9904), (64, 1, 29.1179), (64, 2, 4.6678), (512, 0.5, 409.5545), (512, 1, 117.2312), (512, 2, 5.0561)],
)
def test_rankme_of_a_power_law(d: int, power: float, expected: float) -> None:
    assert rankme(np.diag(np.arange(1.0, d + 1) ** -power)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("d", "eps", "expected"), [(512, 1e-7, 1.0008), (2048, 1e-7, 1.0033), (512, 1e-5, 1.0606), (1024, 1e-5, 1.1250)])
def test_the_papers_eps_inflates_a_single_direction(d: int, eps: float, expected: float) -> None:
    z = np.zeros((d, d))
    z[0, 0] = 3.0
    assert rankme(z, eps=eps) == pytest.approx(expected, abs=1e-4)


def test_a_large_eps_exceeds_the_width() -> None:
    assert rankme(np.eye(512), eps=1e-5) == pytest.approx(525.9, abs=0.05)
    assert rankme(np.eye(512)) == pytest.approx(512)


def test_rankme_is_invariant() -> None:
    rng = np.random.default_rng(1)
    z = rng.standard_normal((100, 20)) * np.linspace(0.1, 3, 20)
    turn = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    scaled, moved = [1e-20 * z, 1e20 * z, z.astype(np.float32)], [z @ turn, z[rng.permutation(100)], np.r_[z, z], np.c_[z, np.zeros(100)]]
    for other in scaled + moved:
        assert rankme(other) == pytest.approx(rankme(z), rel=1e-5)
    assert rankme(z[:10]) <= 10 and rankme(z[:10], centre=True) <= 9
    assert rankme(z / z.std(0)) > rankme(z)


def test_rankme_approaches_the_width_from_below_for_noise() -> None:
    rng = np.random.default_rng(2)
    few, many = rankme(rng.standard_normal((100, 50))), rankme(rng.standard_normal((10_000, 50)))
    assert few < many < 50 and many > 49.9


def test_rankme_at_the_edges() -> None:
    assert rankme(np.zeros((5, 3))) == 0
    assert rankme(np.ones((5, 3)), centre=True) == 0
    assert np.isnan(rankme(np.array([[np.nan, 1.0]])))
    assert rankme(np.ones((1, 4))) == pytest.approx(1)
    z = 100 + np.random.default_rng(0).standard_normal((500, 16))
    assert rankme(z) < 2 and rankme(z, centre=True) > 15.5  # one common direction hides the others


def test_spread_is_one_on_the_sphere_and_zero_in_collapse() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((5000, 64))
    assert spread(z) == pytest.approx(1, abs=0.01)
    assert spread(z * rng.uniform(0.1, 10, (5000, 1))) == pytest.approx(spread(z), rel=1e-9)
    assert spread(np.tile(z[:1], (100, 1))) == pytest.approx(0, abs=1e-12)
    assert spread(np.zeros((10, 4))) == 0
    assert spread(np.tile(z[:1], (100, 1)) + 1e-3 * z[:100]) < 0.01


def bootstrap(correct: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Interval of the mean of [runs, items], both resampled."""
    correct = np.atleast_2d(correct)
    sampler = Resampler(correct.shape[1], seed=seed)
    return interval(sampler.over_runs(sampler.means(correct)))


def test_bootstrap_of_one_run_agrees_with_the_normal_interval() -> None:
    right = np.random.default_rng(0).random(2000) < 0.8
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 2000)
    assert bootstrap(right) == (pytest.approx(right.mean() - half, abs=0.002), pytest.approx(right.mean() + half, abs=0.002))
    assert bootstrap(right) == bootstrap(right) != bootstrap(right, seed=1)


def test_bootstrap_covers_runs_and_items_jointly() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(0.7, 0.1, 5)
    correct = (rng.random((5, 1000)) < level[:, None]).astype(float)
    low, high = bootstrap(correct)
    assert high - low > 2 * 1.96 * level.std() / np.sqrt(5) * 0.8  # the runs' luck, not only the items'
    same = np.tile(correct[:1], (5, 1))
    assert bootstrap(same) == (pytest.approx(bootstrap(same[0])[0], abs=0.004), pytest.approx(bootstrap(same[0])[1], abs=0.004))


def test_students_quantile_gives_way_to_the_normal_one() -> None:
    from scipy.stats import norm, t

    for runs, factor in ((3, 2.6887), (5, 1.5838)):
        assert np.sqrt(runs / (runs - 1)) * student(1.0, runs - 1, 0.0) == pytest.approx(factor, abs=1e-4)
    assert student(1.0, 2, 1.0) == pytest.approx(t.ppf(0.975, 8) / norm.ppf(0.975))  # Satterthwaite: (1 + 1)^2 / (1^2 / 2) = 8
    assert student(1e-9, 2, 1.0) == pytest.approx(1) and student(0.0, 2, 1.0) == 1


@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize("luck", [0.5, 0.15, 0.05])
def test_the_interval_covers_the_truth_with_few_runs(runs: int, luck: float) -> None:
    """Simulation: runs differ by `luck`, items by chance; about 95 % of 400 intervals hold the truth, of plain percentiles fewer."""
    rng = np.random.default_rng(0)
    sampler = Resampler(200, resamples=400)
    inside, plain = 0, 0
    for _ in range(400):
        # every run meets the same items
        draws = sampler.means(rng.normal(0, luck, (runs, 1)) + rng.normal(size=200) + rng.normal(size=(runs, 200)))
        low, high = interval(sampler.over_runs(draws))
        inside += low <= 0 <= high
        low, high = interval(np.take_along_axis(draws, rng.integers(0, runs, (runs, 400)), 0).mean(0))
        plain += low <= 0 <= high
    assert 0.91 <= inside / 400 <= 0.99
    if luck == 0.5:
        assert plain / 400 < 0.9


def test_resampling_in_chunks_equals_a_slow_loop() -> None:
    values = np.random.default_rng(3).random((2, 7))
    sampler = Resampler(7, resamples=50, seed=5)
    rng = np.random.default_rng([5, 1, 0])
    drawn = rng.integers(0, 7, (50, 7))
    expected = np.array([[row[d].mean() for d in drawn] for row in values])
    np.testing.assert_allclose(sampler.means(values), expected, rtol=1e-6)
    np.testing.assert_allclose(sampler.means(values), expected, rtol=1e-6)  # the kept counts are the same
    assert interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_wilson_has_a_width_at_the_ends() -> None:
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0.0, 10)[0] == 0.0
    assert wilson(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)  # published example
