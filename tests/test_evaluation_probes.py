"""Probes against closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.evaluation.labels import fold, own_groups, plan_levels
from tacit.evaluation.probes.knn import KNN
from tacit.evaluation.probes.linear import GRID, Linear
from tacit.evaluation.probes.ridge import ALPHAS, Ridge, _leave_out
from tacit.evaluation.readers import standardise
from tacit.evaluation.rowspace import row_space


def blobs(n: int, d: int, classes: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds, their centres `apart` standard deviations from the origin."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, d))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    y = rng.permutation(np.arange(n) % classes)
    return (centres[y] + rng.standard_normal((n, d))).astype(np.float32), y


def test_knn_of_two_points_is_the_softmax_of_their_similarities() -> None:
    z = np.array([[1.0, 0.0], [0.0, 2.0]])
    query = np.array([[3.0, 1.0]])
    similar = np.array([3.0, 1.0]) / np.sqrt(10)
    weight = np.exp(similar / 0.07)
    np.testing.assert_allclose(KNN(k=2).fit(z, np.array([0, 1]), 2, small=True).scores(query)[0], weight / weight.sum(), rtol=1e-5)


def test_knn_at_zero_temperature_and_at_k_1_is_the_nearest_neighbour() -> None:
    z, y = blobs(200, 8, 5, 1.0)
    query = blobs(100, 8, 5, 1.0, seed=1)[0]
    cosine = (query / np.linalg.norm(query, axis=1, keepdims=True)) @ (z / np.linalg.norm(z, axis=1, keepdims=True)).T
    nearest = y[cosine.argmax(1)]
    np.testing.assert_array_equal(KNN(k=1).fit(z, y, 5, small=False).predict(query), nearest)
    np.testing.assert_array_equal(KNN(k=50, temperature=1e-6).fit(z, y, 5, small=False).predict(query), nearest)


def test_knn_equals_a_slow_loop() -> None:
    z, y = blobs(120, 6, 4, 1.0)
    query = blobs(15, 6, 4, 1.0, seed=2)[0]
    scores = KNN(k=20).fit(z, y, 4, small=False).scores(query)
    for q, row in zip(query.astype(np.float64), scores, strict=True):
        similar = sorted(((float(q @ v / np.linalg.norm(q) / np.linalg.norm(v)), int(c)) for v, c in zip(z, y, strict=True)), reverse=True)
        votes = np.zeros(4)
        for value, c in similar[:20]:
            votes[c] += np.exp(value / 0.07)
        np.testing.assert_allclose(row, votes / votes.sum(), rtol=1e-4)


def test_knn_takes_as_many_neighbours_as_labels_a_class_when_they_are_few() -> None:
    z, y = blobs(500, 4, 5, 2.0)
    for labels, k in ((1, 1), (5, 5), (10, 10)):
        rows = plan_levels(y, 5, [labels], 1)[0].draws[0].rows
        assert KNN().fit(z[rows], y[rows], 5, small=True).chosen == k
    assert KNN().fit(z, y, 5, small=False).chosen in (10, 20, 100, 200)


@pytest.mark.parametrize(("n", "d", "classes"), [(120, 10, 3), (60, 90, 4), (100, 12, 2)])
@pytest.mark.parametrize("c", [1e-3, 1.0, 100.0])
def test_linear_is_scikit_learns_logistic_regression(n: int, d: int, classes: int, c: float) -> None:
    from sklearn.linear_model import LogisticRegression

    z, y = blobs(n, d, classes, 1.5)
    z = z.astype(np.float64) + 3
    query = blobs(50, d, classes, 1.5, seed=1)[0] + 3
    ours = Linear(c=c).fit(z, y, classes, small=False).scores(query)
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=50_000).fit(z, y).decision_function(query)
    if classes == 2:
        np.testing.assert_allclose(ours[:, 1] - ours[:, 0], theirs, atol=2e-4)
    else:
        np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=2e-3)


def test_linear_chooses_among_nine_and_refits_on_everything() -> None:
    from sklearn.linear_model import LogisticRegression

    z, y = blobs(400, 10, 4, 2.0)
    probe = Linear().fit(z, y, 4, small=False, seed=3)
    assert len(GRID) == 9 and GRID[0] == pytest.approx(1e-6) and GRID[-1] == pytest.approx(1e5) and probe.chosen in GRID
    reference = LogisticRegression(C=probe.chosen, tol=1e-10, max_iter=50_000).fit(z.astype(np.float64), y)
    np.testing.assert_array_equal(probe.predict(z), reference.predict(z))
    assert Linear().fit(z[:20], y[:20], 4, small=True).chosen == 1.0


def test_a_common_class_does_not_decide_the_strength_where_likelihood_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(600) < 0.06).astype(np.int64)
    z = rng.normal(size=(600, 8))
    z[:, 0] += 1.2 * y
    assert Linear().fit(z, y, 2, small=False).chosen == GRID[0]  # every strength says the common class alone
    fitted = Linear(by="likelihood").fit(z, y, 2, small=False)
    assert fitted.chosen > GRID[1] and np.ptp(fitted.scores(z)[:, 1] - fitted.scores(z)[:, 0]) > 1


def test_separable_classes_are_separated_and_permuted_labels_give_chance() -> None:
    z, y = blobs(1500, 20, 5, 25.0)
    noise = np.random.default_rng(0).permutation(y)
    for make in (Linear, KNN, Ridge):
        assert (make().fit(z[:1000], y[:1000], 5, small=False).predict(z[1000:]) == y[1000:]).all()
        chance = (make().fit(z[:1000], noise[:1000], 5, small=False).predict(z[1000:]) == noise[1000:]).mean()
        assert abs(chance - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 500)


def test_probes_do_not_depend_on_the_units_of_the_embedding() -> None:
    z, y = blobs(300, 12, 3, 2.0)
    query = blobs(100, 12, 3, 2.0, seed=1)[0]
    units = 10.0 ** np.random.default_rng(0).uniform(-4, 4, 12)
    shift = np.random.default_rng(1).normal(0, 5, 12) * units
    plain = standardise(z, query)
    other = standardise(z * units + shift, query * units + shift)
    np.testing.assert_allclose(plain[1], other[1], atol=2e-3)
    for make in (Linear, Ridge):
        expected = make().fit(plain[0], y, 3, small=False).predict(plain[1])
        assert (make().fit(other[0], y, 3, small=False).predict(other[1]) == expected).mean() > 0.98
    nearest = KNN().fit(z, y, 3, small=False).predict(query)
    np.testing.assert_array_equal(KNN().fit(z * 1000, y, 3, small=False).predict(query * 0.001), nearest)
    whole = standardise(z, query, "whole")
    np.testing.assert_allclose(standardise(z * 7, query * 7, "whole")[1], whole[1], rtol=1e-4, atol=1e-5)


def test_constant_columns_do_not_blow_up() -> None:
    z, y = blobs(100, 5, 2, 3.0)
    z = np.c_[z, np.full(100, 0.1, np.float32), np.zeros(100, np.float32)]
    train, test = standardise(z[:50], z[50:])
    assert np.abs(train[:, 5:]).max() < 1e-3 and np.isfinite(test).all()
    constant = standardise(np.ones((10, 3)), np.ones((4, 3)), "whole")
    assert np.abs(constant[0]).max() == 0
    for make in (Linear, Ridge, KNN):
        assert make().fit(train, y[:50], 2, small=False).scores(test).shape == (50, 2)
        assert make().fit(constant[0], np.arange(10) % 2, 2, small=True).predict(constant[1]).shape == (4,)


@pytest.mark.parametrize(("n", "d"), [(80, 10), (30, 100)])
def test_ridge_is_scikit_learns_with_leave_one_out(n: int, d: int) -> None:
    from sklearn.linear_model import RidgeClassifierCV, RidgeCV

    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, d))
    y = z[:, :3].sum(1) + rng.normal(0, 0.5, n)
    ours, theirs = Ridge().fit(z, y, 0, small=False), RidgeCV(ALPHAS).fit(z, y)
    assert ours.chosen == theirs.alpha_
    np.testing.assert_allclose(ours.scores(z), theirs.predict(z), rtol=1e-6, atol=1e-8)
    k = np.digitize(y, [-1, 1])
    ours, classifier = Ridge().fit(z, k, 3, small=False), RidgeClassifierCV(ALPHAS).fit(z, k)
    assert ours.chosen == classifier.alpha_
    np.testing.assert_allclose(ours.scores(z), classifier.decision_function(z), rtol=1e-6, atol=1e-8)


def test_a_class_without_a_training_row_is_never_predicted() -> None:
    z, y = blobs(200, 6, 4, 4.0)
    seen = y != 2
    for make in (Linear, Ridge, KNN):
        predicted = make().fit(z[seen], y[seen], 4, small=False).predict(z)
        assert 2 not in predicted and (predicted[seen] == y[seen]).mean() > 0.9
        alone = make().fit(z[y == 1], y[y == 1], 4, small=True)
        assert (alone.predict(z) == 1).all()


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20)])
def test_the_rotation_keeps_distances(shape: tuple[int, int]) -> None:
    z = np.random.default_rng(0).standard_normal(shape) + 5
    space = row_space(z)
    x = space(z)
    np.testing.assert_allclose(x @ x.T, (z - z.mean(0)) @ (z - z.mean(0)).T, atol=1e-9)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(space.basis.shape[1]), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(x, axis=0), space.norms, atol=1e-7)


def test_label_subsets_are_stratified_nested_and_never_scored_on_themselves() -> None:
    y = np.random.default_rng(0).choice(3, 600, p=[0.6, 0.3, 0.1])
    plans = {p.level: p for p in plan_levels(y, 3, [1, 5, 50, 500, "all"], 5, seed=1, scoring=100)}
    for level in (1, 5):
        for draw, larger in zip(plans[level].draws, plans[50].draws, strict=True):
            assert (np.bincount(y[draw.rows]) == level).all()
            assert set(draw.rows) <= set(larger.rows)
            assert len(draw.scoring) == 100 and not set(draw.rows) & set(draw.scoring)
    assert len({tuple(d.rows) for d in plans[5].draws}) == 5
    assert plans[500].draws == () and "labelled training rows" in plans[500].reason
    whole = plans["all"].draws[0]
    assert len(plans["all"].draws) == 1 and plans["all"].labels == 600 and sorted([*whole.rows, *whole.scoring]) == list(range(600))
    assert np.abs(np.bincount(y[whole.scoring]) - 0.1 * np.bincount(y)).max() <= 0.5
    again = plan_levels(y, 3, [5], 5, seed=1)[0]
    assert all((a.rows == b.rows).all() for a, b in zip(again.draws, plans[5].draws, strict=True))


def test_a_fold_takes_nothing_from_tiny_classes() -> None:
    y = np.array([0] * 50 + [1] * 4)
    kept, held = fold(y, 2, 0)
    assert np.bincount(y[held], minlength=2).tolist() == [5, 0] and len(kept) == 49
    assert len(fold(np.linspace(0, 1, 40), 0, 0)[1]) == 4


def test_the_probes_choose_on_groups_that_they_were_not_fitted_on() -> None:
    rng = np.random.default_rng(0)
    people, each = 30, 20
    who = np.repeat(np.arange(people), each)
    y = rng.integers(0, 2, people)[who]
    z = np.concatenate([np.eye(people)[who] * 3, y[:, None] + rng.normal(0, 1.5, (len(y), 1))], axis=1) + rng.normal(0, 0.05, (len(y), 31))
    blind, aware = (Linear().fit(z, y, 2, small=False, groups=g).chosen for g in (None, who))
    assert aware < blind, "recognising the patient no longer pays"
    near = [KNN(temperature=1.0).fit(z, y, 2, small=False, groups=g).chosen for g in (None, who)]
    assert near[0] == 20 and near[1] > 20
    target = y + rng.normal(0, 0.1, len(y))
    assert Ridge().fit(z, target, 0, small=False, groups=who).chosen > Ridge().fit(z, target, 0, small=False).chosen


def test_leaving_groups_out_of_ridge_equals_fitting_without_them() -> None:
    rng = np.random.default_rng(1)
    z, target = rng.normal(size=(40, 5)), rng.normal(size=40)
    who = np.r_[np.repeat([0, 1, 2], 10), np.full(10, -1)]
    parts = [np.flatnonzero(who == g) for g in range(3)] + [np.array([i]) for i in range(30, 40)]
    errors = {}
    for alpha in (0.1, 10.0, 1000.0):
        left = []
        for p in parts:
            others = Ridge(alphas=(alpha,)).fit(np.delete(z, p, 0), np.delete(target, p), 0, small=False)
            left.append(others.predict(z[p]) - target[p])
        errors[alpha] = float((np.concatenate(left) ** 2).mean())
    assert Ridge(alphas=tuple(errors)).fit(z, target, 0, small=False, groups=who).chosen == min(errors, key=lambda a: errors[a])
    x = z - z.mean(0)
    hat = x @ np.linalg.inv(x.T @ x + 10 * np.eye(5)) @ x.T
    values, vectors = np.linalg.eigh(hat)
    residual = (target - target.mean() - hat @ (target - target.mean()))[:, None]
    codes = own_groups(who)
    assert codes is not None
    _leave_out(residual, vectors * np.sqrt(np.maximum(values, 0)), codes)
    assert (residual**2).mean() == pytest.approx(errors[10.0], rel=1e-6)
