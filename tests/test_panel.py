"""The label-free measures against closed forms, and against slow versions that spell out the definition."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import gammaln, iv
from sklearn.cluster import KMeans

from tacit.evaluation import panel as module
from tacit.evaluation.panel import (
    DISAGREE,
    FIT,
    ORDER,
    Panel,
    agreement,
    alignment,
    alpha_req,
    cluster_learnability,
    lidar,
    mst_dimension,
    panel,
    rank,
    uniformity,
)
from tacit.statistics import rankme

pytestmark = pytest.mark.filterwarnings("error")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def rotation(d: int) -> np.ndarray:
    return np.linalg.qr(random(d, d, seed=99))[0]


def spectrum(values: np.ndarray, rows: int, seed: int = 0) -> np.ndarray:
    """[rows, D] with mean zero, exactly these singular values and random axes."""
    d = len(values)
    ones = np.ones((rows, 1))
    left = np.linalg.qr(np.hstack([ones, random(rows, d, seed=seed)]))[0][:, 1:]
    return left * values @ rotation(d)


def cube(d: int, n: int = 2000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d))


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Items in 20 groups with decaying axes [600, 32], and 8 views of 40 of them [40, 8, 32]."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, 33) ** -0.5
    z = (2 * rng.standard_normal((20, 32))[rng.integers(0, 20, 600)] + rng.standard_normal((600, 32))) * scale
    return z, z[:40, None] + 0.3 * rng.standard_normal((40, 8, 32)) * scale[::-1]


# ---- slow versions


def slow_entropy(values: list[float]) -> float:
    total = sum(values)
    return math.exp(-sum(v / total * math.log(v / total) for v in values if v > 0))


def slow_lidar(views: np.ndarray, delta: float = 1e-4, eps: float = 1e-8) -> float:
    n, q, d = views.shape
    grand = sum(views[i, j] for i in range(n) for j in range(q)) / (n * q)
    between, within = np.zeros((d, d)), np.zeros((d, d))
    for i in range(n):
        own = sum(views[i, j] for j in range(q)) / q
        between += np.outer(own - grand, own - grand) / (n - 1)
        for j in range(q):
            within += np.outer(views[i, j] - own, views[i, j] - own) / (n * (q - 1))
    values, axes = np.linalg.eigh(within + delta * np.eye(d))
    root = axes @ np.diag(values**-0.5) @ axes.T
    return slow_entropy([max(float(v), 0) + eps for v in np.linalg.eigvalsh(root @ between @ root)])


def slow_alpha(z: np.ndarray) -> tuple[float, float]:
    d = z.shape[1]
    values = sorted(np.linalg.eigvalsh(np.cov(z.T)), reverse=True)
    ranks = range(5, min(100, d // 2) + 1)
    points = [(math.log(k), math.log(values[k - 1]), 1 / k) for k in ranks]
    weight = sum(w for _, _, w in points)
    x0, y0 = sum(w * x for x, _, w in points) / weight, sum(w * y for _, y, w in points) / weight
    slope = sum(w * (x - x0) * (y - y0) for x, y, w in points) / sum(w * (x - x0) ** 2 for x, _, w in points)
    left = sum(w * (y - y0 - slope * (x - x0)) ** 2 for x, y, w in points)
    return -slope, 1 - left / sum(w * (y - y0) ** 2 for _, y, w in points)


def slow_square(a: np.ndarray, b: np.ndarray) -> float:
    """Squared distance of the directions."""
    a, b = a / math.sqrt(sum(v * v for v in a)), b / math.sqrt(sum(v * v for v in b))
    return sum((v - w) ** 2 for v, w in zip(a, b, strict=True))


def slow_alignment(views: np.ndarray) -> float:
    far = [slow_square(item[i], item[j]) for item in views for i, j in itertools.combinations(range(len(item)), 2)]
    return sum(far) / len(far)


def slow_uniformity(z: np.ndarray) -> float:
    near = [math.exp(-2 * slow_square(a, b)) for a, b in itertools.combinations(z, 2)]
    return math.log(sum(near) / len(near))


def slow_learnability(z: np.ndarray, clusters: int, seed: int) -> float:
    own = KMeans(clusters, n_init=3, random_state=seed).fit_predict(z / np.linalg.norm(z, axis=1, keepdims=True))
    order = np.random.default_rng([seed, 3]).permutation(len(z))
    known, asked = order[: len(z) // 2], order[len(z) // 2 :]
    right = 0
    for i in asked:
        nearest = min(known, key=lambda k: slow_square(z[i], z[k]))
        right += own[nearest] == own[i]
    return right / len(asked)


def slow_tree(z: np.ndarray) -> float:
    """Kruskal: shortest edges first, unless their ends are joined already."""
    edges = sorted((math.dist(z[i], z[j]), i, j) for i, j in itertools.combinations(range(len(z)), 2))
    group, length = list(range(len(z))), 0.0
    for far, i, j in edges:
        a, b = group[i], group[j]
        if a != b:
            group = [a if g == b else g for g in group]
            length += far
    return length


def slow_dimension(z: np.ndarray, sizes: list[int], resamples: int, seed: int) -> float:
    points = []
    for size in sizes:
        rng = np.random.default_rng([seed, size])
        length = [slow_tree(z[rng.permutation(len(z))[:size]]) for _ in range(resamples)]
        points.append((math.log(size), math.log(sum(length) / resamples)))
    x0, y0 = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
    slope = sum((x - x0) * (y - y0) for x, y in points) / sum((x - x0) ** 2 for x, _ in points)
    return 1 / (1 - slope)


@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_their_definition(seed: int) -> None:
    z, views = random(90, 20, seed=seed) * np.arange(1, 21) ** -0.7 + 0.4, random(12, 4, 7, seed=seed) + random(12, 1, 7, seed=seed + 50)
    assert lidar(views) == pytest.approx(slow_lidar(views), rel=1e-9)
    assert lidar(views, delta=0.5, eps=0.1) == pytest.approx(slow_lidar(views, 0.5, 0.1), rel=1e-9)
    assert alpha_req(z) == pytest.approx(slow_alpha(z), rel=1e-9)
    assert alignment(views) == pytest.approx(slow_alignment(views), rel=1e-9)
    assert uniformity(z) == pytest.approx(slow_uniformity(z), rel=1e-9)
    assert cluster_learnability(z, clusters=6, seed=seed) == slow_learnability(z, 6, seed)
    assert mst_dimension(z, (10, 20, 40), 2, seed) == pytest.approx(slow_dimension(z, [10, 20, 40], 2, seed), rel=1e-9)


def test_lidar_with_more_dimensions_than_items_equals_its_definition() -> None:
    views = random(6, 3, 15) + random(6, 1, 15, seed=1)
    assert lidar(views) == pytest.approx(slow_lidar(views), rel=1e-6)  # the definition counts eps for dimensions that no mean reaches


# ---- closed forms


@pytest.mark.parametrize("rank_", [1, 5, 24])
def test_lidar_of_equal_views_is_the_rank_of_the_means(rank_: int) -> None:
    means = spectrum(np.r_[np.ones(rank_), np.zeros(24 - rank_)], 60) * 10
    assert lidar(np.repeat(means[:, None], 4, axis=1)) == pytest.approx(rank_, rel=1e-6)


def test_lidar_of_equal_views_is_the_entropy_of_their_variances() -> None:
    values = np.arange(1, 17) ** -0.5
    means = spectrum(values, 60) * 100
    for delta in (1e-4, 1e-2, 0.0):
        assert lidar(np.repeat(means[:, None], 3, axis=1), delta=delta) == pytest.approx(
            slow_entropy([*values**2]), rel=1e-5 if delta else 1e-4
        )


def test_lidar_is_bounded_by_items_and_width() -> None:
    simplex = np.repeat(np.eye(5, 64)[:, None], 3, axis=1)  # five items equally far from each other
    assert lidar(simplex) == pytest.approx(4, abs=1e-9)
    for n, d in ((5, 64), (64, 5), (2, 512), (30, 1)):
        assert 1 <= lidar(random(n, 3, d)) <= min(d, n - 1) + 1e-9
        assert 1 - 1e-9 <= lidar(1e-9 * random(n, 3, d)) <= min(d, n - 1) + 1e-9


def test_lidar_sees_what_views_disturb_and_rankme_does_not() -> None:
    signal = np.zeros((100, 1, 32))
    signal[:, 0, :4] = random(100, 4)
    views = signal + np.r_[np.full(4, 0.02), np.ones(28)] * random(100, 10, 32, seed=1)
    assert lidar(views) == pytest.approx(4, rel=0.1)
    assert rankme(views.reshape(1000, 32)) > 28


def test_lidar_of_noise_without_items_is_that_of_a_sample() -> None:
    # Pure noise is white in units of itself: nothing but the number of items keeps the rank below D.
    for n in (40, 400):
        white = np.linalg.svd(random(n, 16, seed=5) - random(n, 16, seed=5).mean(0), compute_uv=False) ** 2
        assert lidar(random(n, 10, 16)) == pytest.approx(slow_entropy([*white]), rel=0.05)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("n", "d"), [(400, 64), (600, 256), (150, 19)])
def test_alpha_of_a_power_law_is_its_exponent(power: float, n: int, d: int) -> None:
    alpha, fit = alpha_req(spectrum(np.arange(1.0, d + 1) ** (-power / 2), n) + 3.0)
    assert alpha == pytest.approx(power, abs=1e-6)
    assert fit == pytest.approx(1, abs=1e-6)


def test_alpha_reads_ranks_5_to_100_only() -> None:
    law = np.arange(1.0, 257) ** -0.5
    for where in (slice(0, 4), slice(100, None)):
        bent = law.copy()
        bent[where] = law[where] * (7 if where.start == 0 else 0.1)
        assert alpha_req(spectrum(bent, 600)) == pytest.approx((1, 1), abs=1e-6)
    for first in (4, 99):
        bent = law.copy()
        bent[first] = (law[first - 1] * law[first]) ** 0.5 * 0.99
        assert abs(alpha_req(spectrum(bent, 600))[0] - 1) > 1e-5


def test_alpha_is_refused_where_the_spectrum_is_no_power_law() -> None:
    step = np.where(np.arange(64) < 30, 1.0, 0.01)
    alpha, fit = alpha_req(spectrum(step, 400))
    assert math.isfinite(alpha) and fit < FIT
    refused = panel(spectrum(step, 400))
    assert refused.alpha is None and refused.alpha_r2 == fit
    deficient = spectrum(np.r_[np.ones(20), np.zeros(44)], 400)
    assert np.isnan(alpha_req(deficient)).all() and panel(deficient).alpha is None
    assert panel(spectrum(np.arange(1.0, 65) ** -0.5, 400)).alpha == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("n", [10, 18, 19, 60])
def test_alpha_never_reads_more_ranks_than_there_are(n: int) -> None:
    assert np.isnan(alpha_req(random(n, 256))).any() == (n < 19)
    assert np.isnan(alpha_req(random(256, n - 1))).any() == (n < 19)


def test_alignment_of_known_views() -> None:
    z = random(30, 1, 6)
    assert alignment(np.repeat(z, 4, axis=1)) == pytest.approx(0, abs=1e-20)
    assert alignment(z * np.array([1.0, 5.0, 0.2])[:, None]) == pytest.approx(0, abs=1e-20)
    assert alignment(np.concatenate([z, -z], axis=1)) == pytest.approx(4)
    assert alignment(np.eye(6)[None]) == pytest.approx(2)
    assert alignment(np.concatenate([z, z, -z], axis=1)) == pytest.approx(8 / 3)  # pairs: 0, 4, 4
    assert alignment(random(4000, 2, 16)) == pytest.approx(2, abs=0.03)


def test_uniformity_of_known_directions() -> None:
    assert uniformity(np.eye(12)) == pytest.approx(-4)
    assert uniformity(np.array([[3.0, 0], [-1, 0]])) == pytest.approx(-8)
    assert uniformity(np.full((50, 7), 0.1)) == pytest.approx(0, abs=1e-12)
    assert max(uniformity(np.ones((50, d)) * np.arange(1, d + 1)) for d in range(1, 40)) <= 0  # whatever the rounding
    assert uniformity(random(50, 1) ** 2) == pytest.approx(0, abs=1e-12)
    assert uniformity(np.array([[1.0], [1], [-1], [-1]])) == pytest.approx(math.log((2 + 4 * math.exp(-8)) / 6))


@pytest.mark.parametrize("d", [2, 3, 8, 64])
def test_uniformity_of_the_whole_sphere(d: int) -> None:
    order = d / 2 - 1  # mean of exp(4 cos) over the sphere, by a Bessel function
    closed = -4 + gammaln(d / 2) + order * math.log(2 / 4) + math.log(iv(order, 4.0))
    assert d != 3 or closed == pytest.approx(math.log(math.sinh(4) / 4) - 4)
    assert uniformity(random(2000, d)) == pytest.approx(closed, abs=0.02)


def test_uniformity_takes_rows_from_everywhere() -> None:
    rows = np.repeat(np.eye(2), 5000, axis=0)  # sorted: half along each axis
    n = 2000
    same = 2 * (n // 2) * (n // 2 - 1) / (n * (n - 1))
    assert uniformity(rows) == pytest.approx(math.log(same + (1 - same) * math.exp(-4)), rel=1e-9)


def test_learnability_of_known_clusters() -> None:
    apart = np.repeat(np.eye(6) * 10, 50, axis=0) + 0.01 * random(300, 6)
    assert cluster_learnability(apart, clusters=6) == 1.0
    assert cluster_learnability(np.full((100, 6), 0.1)) == 0.0
    in_plane, in_space = cluster_learnability(random(2000, 2)), cluster_learnability(random(2000, 256))
    assert in_plane > 0.9 and in_space < 0.3


def test_learnability_reads_4000_rows_in_50_clusters() -> None:
    z = random(4800, 4)
    some = z[np.linspace(0, 4799, 4000).astype(int)]
    assert cluster_learnability(z) == cluster_learnability(some, clusters=50) != cluster_learnability(some, clusters=49)


def test_learnability_knows_nothing_of_length() -> None:
    z = blobs()[0]
    lengths = np.exp(random(600, 1, seed=8))
    assert cluster_learnability(z * lengths) == pytest.approx(cluster_learnability(z), abs=0.02)
    assert cluster_learnability(np.ones((100, 5)) * lengths[:100]) == 0.0


@pytest.mark.parametrize(("d", "within"), [(1, 0.02), (2, 0.05), (4, 0.1), (8, 0.15)])
def test_dimension_of_a_cube(d: int, within: float) -> None:
    for seed in range(2):
        assert mst_dimension(cube(d, seed=seed)) == pytest.approx(d, rel=within)


def test_dimension_does_not_see_the_space_around() -> None:
    z = cube(2, 1000)
    flat = mst_dimension(z)
    assert mst_dimension(np.hstack([z, np.zeros((1000, 30))]) @ rotation(32) + 100.0) == pytest.approx(flat, rel=1e-6)


def test_a_tree_that_grows_faster_than_its_points_has_no_dimension() -> None:
    assert mst_dimension(np.exp(10 * random(600, 1))) == math.inf


def test_dimension_falls_with_structure() -> None:
    assert mst_dimension(cube(2, 1000)) < mst_dimension(cube(4, 1000)) < mst_dimension(cube(16, 1000)) < mst_dimension(random(1000, 64))


def test_trees_of_known_length() -> None:
    tree = module._tree
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(7.0)), -1).reshape(-1, 2)
    assert tree(grid) == pytest.approx(62, rel=1e-12)
    assert tree(np.random.default_rng(0).permutation(np.arange(50.0))[:, None]) == pytest.approx(49, rel=1e-12)
    assert tree(np.eye(10)) == pytest.approx(9 * math.sqrt(2), rel=1e-12)
    assert tree(np.full((40, 3), 0.1)) == 0.0
    z = random(60, 5)
    assert tree(np.tile(z, (3, 1))) == pytest.approx(slow_tree(z), rel=1e-12)  # equal points are joined at no cost, not left out
    assert tree(z[:1]) == 0.0


def test_dimension_of_equal_points_is_none() -> None:
    assert mst_dimension(np.full((500, 8), 0.1)) == 0.0
    two_places = np.repeat(np.eye(2), 300, axis=0)
    assert mst_dimension(two_places) == pytest.approx(1)  # one edge at any n
    one_apart = np.zeros((400, 3))
    one_apart[7] = 1.0
    assert 0 < mst_dimension(one_apart) < math.inf
    assert mst_dimension(one_apart, (32, 64), resamples=1) == 0.0  # not drawn
    doubled = np.repeat(cube(2, 1000), 2, axis=0)
    assert mst_dimension(doubled) == pytest.approx(2, rel=0.25)


def test_dimension_of_few_items_uses_smaller_trees() -> None:
    z = cube(2, 300)
    assert mst_dimension(z) == mst_dimension(z, (37, 75, 150, 300)) == pytest.approx(2, rel=0.2)
    assert math.isnan(mst_dimension(z[:31])) and math.isfinite(mst_dimension(z[:32]))
    assert mst_dimension(z, (50, 100, 5000)) == mst_dimension(z)
    assert mst_dimension(z, (50, 250)) != mst_dimension(z)


# ---- invariances


MEASURES: dict[str, Callable[[np.ndarray], Any]] = {
    "alpha": alpha_req,
    "uniformity": uniformity,
    "learnability": cluster_learnability,
    "dimension": mst_dimension,
}


@pytest.mark.parametrize("name", MEASURES)
def test_rotation_and_scale_change_nothing(name: str) -> None:
    z, measure = blobs()[0], MEASURES[name]
    loose = 0.02 if name == "learnability" else 1e-8
    for other in (z @ rotation(32), z * 1000, z * 1e-5, z * 1e-200, z * 1e200, -z):
        assert measure(other) == pytest.approx(measure(z), rel=loose)


@pytest.mark.parametrize("name", ["alpha", "dimension"])
def test_the_mean_changes_nothing(name: str) -> None:
    z = blobs()[0]
    assert MEASURES[name](z + 7.0) == pytest.approx(MEASURES[name](z), rel=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_the_order_of_the_rows_changes_little(name: str) -> None:
    z, measure = blobs()[0], MEASURES[name]
    loose = {"learnability": 0.15, "dimension": 0.1}.get(name, 1e-9)  # these draw rows
    assert measure(np.random.default_rng(0).permutation(z)) == pytest.approx(measure(z), rel=loose)


@pytest.mark.parametrize("measure", [lidar, alignment])
def test_views_may_be_turned_and_shuffled(measure: Callable[[np.ndarray], float]) -> None:
    views = blobs()[1]
    for other in (views @ rotation(32), views[::-1], views[:, ::-1], -views):
        assert measure(other) == pytest.approx(measure(views), rel=1e-9)
    assert alignment(views * 1000) == pytest.approx(alignment(views), rel=1e-9)
    assert lidar(views * 1000, delta=1e-4 * 1e6) == pytest.approx(lidar(views), rel=1e-9)
    assert lidar(views + 7.0) == pytest.approx(lidar(views), rel=1e-9)


def test_a_panel_is_the_same_twice_and_at_any_scale() -> None:
    z, views = blobs()
    first = panel(z, views)
    assert first == panel(z.copy(), views.copy())
    for scale in (2.0**-20, 2.0**10):  # a power of two, so that not even rounding differs
        for field, value in dataclasses.asdict(panel(z * scale, views * scale)).items():
            assert value == pytest.approx(getattr(first, field), rel=1e-9), field


# ---- the panel and its edges


def test_a_panel_holds_every_measure() -> None:
    z, views = blobs()
    got = panel(z, views, seed=3)
    alpha, fit = alpha_req(z)
    unit = views / np.sqrt(views.reshape(-1, 32).var(0).mean())
    expected = Panel(
        rankme=rankme(z),
        rankme_centred=rankme(z, centre=True),
        lidar=lidar(unit),
        alpha=alpha if fit >= FIT else None,
        alpha_r2=fit,
        alignment=alignment(views),
        uniformity=uniformity(z),
        learnability=cluster_learnability(z, seed=3),
        dimension=mst_dimension(z, seed=3),
        items=600,
        width=32,
        rankme_paper=rankme(z, eps=1e-7),
        rankme_share=rankme(z) / 32,
    )
    assert dataclasses.asdict(got) == pytest.approx(dataclasses.asdict(expected), rel=1e-9)
    assert set(ORDER) <= set(dataclasses.asdict(got)) and not got.collapsed
    assert panel(z).lidar is None and panel(z).alignment is None
    assert panel(z, views[:, :1]).lidar is None and panel(z, views[:, :1]).alignment is None
    alone = panel(z, views[:1])
    assert alone.lidar is None and alone.alignment == pytest.approx(alignment(views[:1]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_nan(bad: float) -> None:
    z, views = blobs()
    z[17, 3] = views[2, 1, 5] = bad
    got = dataclasses.asdict(panel(z, views))
    assert (got.pop("alpha"), got.pop("items"), got.pop("width")) == (None, 600, 32)
    assert all(math.isnan(value) for value in got.values())
    assert panel(z, views).collapsed
    for measure in MEASURES.values():
        assert np.isnan(measure(z)).all()
    assert math.isnan(lidar(views)) and math.isnan(alignment(views))


@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-300, 1e300])
@pytest.mark.parametrize("n", [1, 2, 3, 40, 600])
@pytest.mark.parametrize("d", [1, 24])
def test_equal_items_are_a_collapse(value: float, n: int, d: int) -> None:
    got = panel(np.full((n, d), value), np.full((n, 3, d), value))
    assert got.collapsed and got.rankme_centred == 0 and got.rankme in (0, pytest.approx(1))
    assert got.lidar == (0 if n > 1 else None) and got.alignment == pytest.approx(0, abs=1e-20) and got.alpha is None
    assert math.isnan(got.uniformity) if n < 2 else got.uniformity == pytest.approx(0, abs=1e-12)
    assert math.isnan(got.learnability) if n < 8 else got.learnability == 0
    assert math.isnan(got.dimension) if n < 32 else got.dimension == 0


def test_rounding_is_no_direction() -> None:
    noise = (1 + 1e-8 * random(600, 32)) * np.linspace(1, 2, 32)
    got = panel(noise, noise[:300].reshape(100, 3, 32))
    assert got.collapsed and got.lidar == 0 and got.learnability == 0 and got.dimension == 0
    assert not panel((1 + 1e-4 * random(600, 32)) * np.linspace(1, 2, 32)).collapsed


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 31, 32, 60])
@pytest.mark.parametrize("d", [1, 2, 40])
def test_a_panel_of_any_size(n: int, d: int) -> None:
    got = panel(random(n, d).astype(np.float32), random(max(n // 3, 1), 2, d))
    assert (got.items, got.width) == (n, d)
    assert got.collapsed == (n == 1)
    assert math.isnan(got.uniformity) == (n < 2)
    assert math.isnan(got.learnability) == (n < 8)
    assert math.isnan(got.dimension) == (n < 32)
    assert (got.lidar is None) == (n < 6)
    assert got.alignment is not None and 0 <= got.alignment <= 4


def test_a_panel_of_nothing() -> None:
    got = panel(np.empty((0, 8)))
    assert got.collapsed and math.isnan(got.rankme) and math.isnan(got.uniformity) and got.items == 0


def test_fewer_rows_than_clusters_and_fewer_places() -> None:
    assert 0 <= cluster_learnability(random(20, 3)) <= 1
    assert cluster_learnability(np.repeat(np.eye(3), 40, axis=0), clusters=50) == 1.0
    assert len(np.unique(module._some(np.arange(9001), 4000))) == 4000
    assert 0 <= uniformity(np.zeros((5, 3))) < 1e-12


def test_extreme_sizes_do_not_overflow() -> None:
    views = random(20, 4, 6) + random(20, 1, 6, seed=1)
    for scale in (1e-300, 1e-30, 1e30, 1e300):
        assert 1 <= lidar(views * scale) <= 6
        assert alignment(views * scale) == pytest.approx(alignment(views))
    mixed = random(40, 6)
    mixed[0] *= 1e-320 / np.abs(mixed[0]).max()
    mixed[1:] *= 1e200
    assert -8 <= uniformity(mixed) <= 0
    apart = 10.0 ** np.linspace(-140, 140, 40)[:, None]
    assert uniformity(random(40, 6) * apart) == pytest.approx(uniformity(random(40, 6)))


# ---- several candidates


def made(**changes: Any) -> Panel:
    plain = Panel(20.0, 18.0, 10.0, 1.0, 0.99, 0.5, -3.0, 0.6, 8.0, 1000, 64)
    return dataclasses.replace(plain, **changes)


def graded(i: int) -> Panel:
    """Better in every measure with i."""
    return made(
        rankme=20.0 + i,
        lidar=10.0 + i,
        alpha=1.5 - i / 10,
        alignment=1 - i / 10,
        uniformity=-2.0 - i,
        learnability=i / 10,
        dimension=9.0 - i,
    )


def test_candidates_on_which_all_measures_agree() -> None:
    ranking = rank({"b": graded(2), "a": graded(1), "c": graded(3)})
    assert list(ranking.mean.items()) == [("c", 1.0), ("b", 2.0), ("a", 3.0)]
    assert ranking.ranks["b"] == dict.fromkeys(ORDER, 2.0)
    assert ranking.rho == pytest.approx(1) and not ranking.disagree


def test_each_measure_knows_its_better_side() -> None:
    better = {"rankme": 21.0, "lidar": 11.0, "alignment": 0.4, "uniformity": -3.1, "learnability": 0.7, "dimension": 7.0}
    for measure, value in better.items():
        ranks = rank({"plain": made(), "better": made(**{measure: value})}).ranks
        assert (ranks["better"][measure], ranks["plain"][measure]) == (1.0, 2.0), measure
        assert all(ranks["better"][m] == 1.5 for m in ORDER if m != measure)
    for nearer, farther in ((1.1, 1.2), (0.9, 1.2), (1.1, 0.8), (0.8, 1.3)):
        assert rank({"far": made(alpha=farther), "near": made(alpha=nearer)}).ranks["near"]["alpha"] == 1.0


def slow_spearman(a: list[float], b: list[float]) -> float:
    ranks = [[1 + sum(w < v for w in side) + (sum(w == v for w in side) - 1) / 2 for v in side] for side in (a, b)]
    middle = (len(a) + 1) / 2
    x, y = ([r - middle for r in side] for side in ranks)
    return sum(p * q for p, q in zip(x, y, strict=True)) / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y))


def test_ranks_and_disagreement_equal_their_definition() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        fields = {m: np.round(rng.random(5), 1) for m in ORDER}
        panels = {str(i): made(**{m: float(v[i]) for m, v in fields.items()}) for i in range(5)}
        signs = {m: (-v if ORDER[m] == "higher" else v if ORDER[m] == "lower" else abs(v - 1)) for m, v in fields.items()}
        got = rank(panels)
        for m, worse in signs.items():
            for i in range(5):
                ties = sum(w == worse[i] for w in worse)
                assert got.ranks[str(i)][m] == 1 + sum(w < worse[i] for w in worse) + (ties - 1) / 2
        for i in range(5):
            assert got.mean[str(i)] == pytest.approx(sum(got.ranks[str(i)].values()) / len(ORDER))
        assert list(got.mean.values()) == sorted(got.mean.values())
        rho = np.mean([slow_spearman([*a], [*b]) for a, b in itertools.combinations(signs.values(), 2)])
        assert got.rho == pytest.approx(rho)
        assert got.disagree == (rho < DISAGREE)


def test_contradictions_are_told() -> None:
    best, middle, worst = graded(3), graded(2), graded(1)
    half = {m: getattr(worst, m) for m in ("rankme", "lidar", "alpha")}
    swapped = {m: getattr(best, m) for m in ("rankme", "lidar", "alpha")}
    ranking = rank({"a": dataclasses.replace(best, **half), "b": middle, "c": dataclasses.replace(worst, **swapped)})
    assert ranking.disagree and ranking.rho == pytest.approx((9 - 12) / 21)  # of 21 pairs, 3 + 6 agree and 12 are opposite
    one = rank({"a": dataclasses.replace(best, dimension=9.0), "b": middle, "c": dataclasses.replace(worst, dimension=6.0)})
    assert not one.disagree and one.rho == pytest.approx((15 - 6) / 21)


def test_only_measures_that_all_have_are_compared() -> None:
    ranking = rank({"a": made(alpha=None), "b": made(lidar=None, rankme=30.0)})
    assert set(ranking.ranks["a"]) == set(ranking.ranks["b"]) == set(ORDER) - {"alpha", "lidar"}
    wide = rank({"a": made(), "b": made(width=128, rankme=90.0, lidar=80.0)})
    assert set(wide.ranks["a"]) == set(ORDER) - {"rankme", "lidar"}


def test_a_collapsed_candidate_is_last_everywhere() -> None:
    z, views = blobs()
    alive = panel(z, views)
    for dead in (panel(np.full_like(z, 0.3), np.full_like(views, 0.3)), panel(z * np.nan, views * np.nan)):
        ranking = rank({"dead": dead, "alive": alive})
        assert "alignment" in ranking.ranks["dead"] and "dimension" in ranking.ranks["dead"]
        assert set(ranking.ranks["dead"].values()) == {2.0} and list(ranking.mean) == ["alive", "dead"]


def test_what_could_not_be_measured_is_last_in_that_measure_only() -> None:
    ranking = rank({"a": made(dimension=math.nan, rankme=30.0), "b": made()})
    assert ranking.ranks["a"]["dimension"] == 2.0 and ranking.ranks["a"]["rankme"] == 1.0
    assert rank({"a": made(dimension=math.inf), "b": made()}).ranks["b"]["dimension"] == 1.0


def test_rankings_of_almost_nothing() -> None:
    nobody = rank({})
    assert (nobody.ranks, nobody.mean, nobody.disagree) == ({}, {}, False) and math.isnan(nobody.rho)
    alone = rank({"a": made()})
    assert alone.mean == {"a": 1.0} and math.isnan(alone.rho) and not alone.disagree
    same = rank({"a": made(), "b": made()})
    assert same.mean == {"a": 1.5, "b": 1.5} and math.isnan(same.rho) and not same.disagree
    blind = rank({"a": made(width=1, alpha=None, alignment=None), "b": made(width=2)})
    assert set(blind.ranks["a"]) == {"uniformity", "learnability", "dimension"}


def test_agreement_with_labels() -> None:
    assert agreement([1, 2, 3, 4], [0.1, 0.2, 0.3, 50]) == pytest.approx(1)
    assert agreement([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    rng = np.random.default_rng(0)
    for n in (3, 5, 12):
        a, b = rng.integers(0, 2 * n, n).astype(float), rng.integers(0, 2 * n, n).astype(float)
        assert agreement([*a], [*b]) == pytest.approx(slow_spearman([*a], [*b]))
    assert agreement([1, 2, 3, math.nan], [1, 2, 3, 0]) == pytest.approx(1)
    for a, b in (([], []), ([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([1, 2, math.nan], [1, 2, 3])):
        assert math.isnan(agreement(a, b))
    assert agreement([1, 2, math.inf], [1, 2, 3]) == pytest.approx(1)
