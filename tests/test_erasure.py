"""LEACE keeps its promise, also for rare groups; INLP beside it; a run whose embeddings have lost an attribute."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import tacit
from conftest import call, small
from tacit.auditors import erasure, repair
from tacit.auditors.attributes import Attribute
from tacit.auditors.mitigations.reweighing import weights
from tacit.auditors.probes import leak
from tacit.errors import Asked, BadData


def shifted(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n)
    return rng.normal(size=(n, d)) + rng.normal(size=(k, d))[codes], codes


@pytest.mark.parametrize("k", [2, 3, 5, 10, 20])
def test_no_linear_reading_has_a_coefficient_after_erasure(k: int) -> None:
    """source: the promise of concept-erasure's own tests, below 4e-9 on what was fitted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    x, codes = shifted(2048, 128, k)
    r = erasure.leace(x, codes)(x)
    r -= r.mean(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, after = (np.abs(LogisticRegression(C=np.inf, max_iter=500, tol=1e-10).fit(v, codes).coef_).max() for v in (x, r))
        svm = np.abs(LinearSVC(C=1e6, dual=False, tol=1e-12, max_iter=5000).fit(r, codes).coef_).max()
    assert before > 0.05 and after < 4e-9 and svm < 4e-9


def _rare(p: float, n: int = 20_000, d: int = 64, seed: int = 0, size: float = 0.0099) -> tuple[np.ndarray, np.ndarray]:
    """Two Gaussians whose distance an absolute tolerance of 0.01 on the singular values just overlooks."""
    rng = np.random.default_rng(seed)
    share = min(size / np.sqrt(p * (1 - p)), 0.98)
    shift = np.sqrt(share**2 / (p * (1 - p) * (1 - share**2)))
    s = (rng.random(n) < p).astype(int)
    x = rng.normal(size=(n, d))
    x[:, 0] += shift * s
    return x, s


def _absolute(x: np.ndarray, s: np.ndarray, tolerance: float = 0.01) -> np.ndarray:
    """LEACE with an absolute tolerance, as the reference has it, written down slowly."""
    mu, z = x.mean(0), (s - s.mean())[:, None]
    values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    w, back = (axes / np.sqrt(values)) @ axes.T, (axes * np.sqrt(values)) @ axes.T
    u, size, _ = np.linalg.svd(w @ ((x - mu).T @ z / len(x)), full_matrices=False)
    u = u[:, size > tolerance]
    return x - (x - mu) @ (back @ u @ u.T @ w).T


@pytest.mark.parametrize("p", [0.5, 0.1, 0.01, 0.005])
def test_a_rare_group_is_not_left_decodable(p: float) -> None:
    x, s = _rare(p)
    fit, held = np.arange(10_000), np.arange(10_000, 20_000)
    e = erasure.leace(x[fit], s[fit])
    told = leak(e(x[fit]), s[fit], e(x[held]), s[held], "linear")
    assert told.auc <= told.chance[1] and e.removed == 1 and erasure.left(e(x[fit]), s[fit]) < 1e-12
    if p <= 0.01:  # what an absolute tolerance leaves
        x, s = _rare(p, d=16, size=0.009)  # chance correlations of many dimensions would lift it above the tolerance
        r = _absolute(x, s)
        assert leak(r[fit], s[fit], r[held], s[held], "linear").auc > 0.68


def test_what_is_moved_is_the_least_and_applying_it_twice_changes_nothing() -> None:
    x, codes = shifted(3000, 16, 3)
    e = erasure.leace(x, codes)
    once = e(x)
    np.testing.assert_allclose(e(once), once, atol=1e-10)
    # Cov(r, z) = 0 needs the k - 1 directions only; subtracting the class means moves as many, and no less in the metric of x
    assert (
        e.removed == 2
        and np.square(once - x).sum() <= np.square(x - (x - np.array([x[codes == k].mean(0) for k in range(3)])[codes])).sum()
    )
    np.testing.assert_allclose(once.mean(0), x.mean(0), atol=1e-10)
    np.testing.assert_allclose(e.partly(0.0)(x), x, atol=1e-12)


def test_few_items_missing_groups_and_constant_dimensions() -> None:
    x, codes = shifted(60, 30, 2)
    x[:, 3] = 1.0
    codes[:5] = -1
    e = erasure.leace(x, codes)
    assert erasure.left(e(x), codes) < 1e-8 and np.isfinite(e(x)).all()
    with pytest.raises(BadData, match="one group only"):
        erasure.leace(x, np.zeros(60, int))
    with pytest.raises(BadData, match="30 numbers, these are 7 wide"):
        e(np.zeros((2, 7)))


def test_two_attributes_go_at_once() -> None:
    x, a = shifted(3000, 20, 2)
    b = np.random.default_rng(1).integers(0, 3, 3000)
    x[:, 5] += b
    e = erasure.leace(x, [a, b])
    assert e.removed == 3 and max(erasure.left(e(x), a), erasure.left(e(x), b)) < 1e-12


def test_inlp_takes_more_out_and_promises_less() -> None:
    x, codes = shifted(2000, 16, 2)
    a, b = erasure.leace(x, codes), erasure.inlp(x, codes)
    assert b.removed >= a.removed == 1 and erasure.left(b(x), codes) < 0.3


# ---- mitigations ----


def _unequal(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The label follows z0, and the group is found in z1, which follows the label in one group more than in the other."""
    rng = np.random.default_rng(seed)
    s = (rng.random(n) < 0.4).astype(int)
    y = (rng.random(n) < np.where(s == 1, 0.8, 0.25)).astype(int)
    z = rng.normal(size=(n, 6))
    z[:, 0] += 1.2 * y
    z[:, 1] += 1.5 * s
    return z, y, s


def test_reweighing_makes_group_and_class_independent() -> None:
    _, y, s = _unequal()
    w = weights(y, s)
    rates = [float((w * y)[s == g].sum() / w[s == g].sum()) for g in (0, 1)]
    assert rates[0] == pytest.approx(rates[1], abs=1e-12) and w.mean() == pytest.approx(1.0)


def test_mitigations_close_the_gap_and_say_what_it_costs() -> None:
    pytest.importorskip("fairlearn")
    z, y, s = _unequal()
    fit = np.arange(len(y)) < 2000
    problem = repair.Problem(z[fit], y[fit], s[fit], 2, 2)
    found, left = repair.compare(problem, z[~fit], y[~fit], s[~fit], Attribute("g", s, ("a", "b")), ("no", "yes"), 1)
    by = {(o.name, o.strength): o for o in found}
    before = by["none", 0.0]
    assert not left and before.gap[0] > 0.25
    for name in ("reweighing", "balanced", "dfr", "gradient", "thresholds"):
        o = by[name, 1.0]
        assert o.gap[0] < before.gap[0] - 0.1 and o.gain[2] < 0, name
        assert o.accuracy[0] > 0.6 and o.cost[1] <= o.cost[0] <= o.cost[2]
    # what erases the group levels the means of both, and with them how often they are chosen, not how often wrongly
    chosen = {k: o.rates.gaps["demographic_parity_difference"].value for k, o in by.items()}
    assert chosen["leace", 1.0] < 0.25 * chosen["none", 0.0]
    assert by["leace", 1.0].leaks["linear"]["auc"] < 0.58 < before.leaks["linear"]["auc"]
    assert by["thresholds", 1.0].stays and by["gradient", 1.0].stays and not by["leace", 1.0].stays
    front = [o for o in found if o.best]
    assert all(not (p.accuracy[0] > o.accuracy[0] and p.gap[0] < o.gap[0]) for o in front for p in found)


def test_a_decision_behind_an_eraser_is_one_linear_layer() -> None:
    from tacit.auditors.mitigations.leace import Leace

    z, y, s = _unequal(800)
    found = Leace().fit(repair.Problem(z, y, s, 2, 2))
    e = erasure.leace(z, s)
    own = repair.weighted(e(z), y, 2)
    np.testing.assert_allclose(found.scores(z, s), own.scores(e(z), s), atol=1e-8)


def test_more_than_two_classes_leave_out_what_is_for_two() -> None:
    rng = np.random.default_rng(0)
    z, y, s = rng.normal(size=(900, 5)), rng.integers(0, 3, 900), rng.integers(0, 2, 900)
    z[np.arange(900), y] += 2
    problem = repair.Problem(z[:600], y[:600], s[:600], 3, 2)
    found, left = repair.compare(
        problem, z[600:], y[600:], s[600:], Attribute("g", s, ("a", "b")), ("x", "y", "z"), -1, ("dfr", "thresholds")
    )
    assert [o.name for o in found] == ["none", "dfr"] and left == [("thresholds", "only for two classes")]
    assert found[1].accuracy[0] > 0.7
    with pytest.raises(Asked, match="no mitigation"):
        repair.compare(problem, z[600:], y[600:], s[600:], Attribute("g", s, ("a", "b")), ("x", "y", "z"), -1, ("dfrr",))


# ---- erase ----


def test_a_run_without_an_attribute(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 500
    sex = rng.choice(["f", "m"], n)
    columns = {"a": rng.normal(size=n) + 2 * (sex == "m"), "b": rng.normal(size=n), "c": rng.normal(size=n) - (sex == "m"), "sex": sex}
    with (tmp_path / "t.csv").open("w", newline="") as out:
        csv.writer(out).writerows([list(columns), *zip(*columns.values(), strict=True)])
    tacit.pretrain(str(tmp_path / "t.csv"), steps=30, batch_size=64, out=tmp_path / "run", backbone="mlp", size="tiny")
    said = call("erase", tmp_path / "run", tmp_path / "t.csv", "--groups", "sex", "--out", tmp_path / "clean")
    assert said.code == 0 and said.out.splitlines()[-1] == str(tmp_path / "clean"), said.err
    told = json.loads((tmp_path / "clean" / "erasure.json").read_text())
    (one,) = told["attributes"]
    assert one["before"]["linear"]["auc"] > 0.9 > 0.62 > one["after"]["linear"]["auc"] and one["verified"] and told["left"] < 1e-5
    model = tacit.load(tmp_path / "clean")
    z = np.asarray(model.embed(str(tmp_path / "t.csv")))
    fitted = np.flatnonzero(tacit.open(tmp_path / "t.csv").split == 0)
    assert erasure.left(z[fitted], (sex == "m").astype(int)[fitted]) < 1e-4
    assert call("export", tmp_path / "clean", "--to", "onnx", "--out", tmp_path / "onnx").code == 0
    np.testing.assert_allclose(np.asarray(tacit.load(tmp_path / "onnx").embed(str(tmp_path / "t.csv"))), z, atol=0.2)
    for words, told_ in (
        (("erase", tmp_path / "clean", tmp_path / "t.csv", "--groups", "sex", "--out", tmp_path / "x"), "erased from before"),
        (("erase", tmp_path / "run", tmp_path / "t.csv", "--out", tmp_path / "x"), "what to take out"),
        (
            (
                "pretrain",
                tmp_path / "t.csv",
                "--init",
                tmp_path / "clean",
                "--backbone",
                "mlp",
                "--size",
                "tiny",
                "--steps",
                "2",
                "--out",
                tmp_path / "y",
            ),
            "would bring it back",
        ),
        (("pretrain", tmp_path / "t.csv", "--resume", "--out", tmp_path / "clean"), "no training to go on with"),
        (("erase", tmp_path / "run", tmp_path / "t.csv", "--groups", "sex", "--out", tmp_path / "clean"), "there already"),
        (("erase", tmp_path / "run", tmp_path / "t.csv", "--groups", "sx", "--out", tmp_path / "x"), "sex"),
    ):
        said = call(*words)
        assert said.code == 2 and told_ in said.err, said.err


def test_an_erased_model_is_of_a_format_that_older_versions_refuse(tmp_path: Path) -> None:
    import torch

    data = small("vector")
    model = tacit.pretrain(data, steps=2, batch_size=8, out=tmp_path / "run", backbone="mlp", size="tiny").model
    assert json.loads((tmp_path / "run" / "model" / "model.json").read_text())["format"] == 1
    d = model.dim
    model.erasers[d] = (torch.zeros(d, d), torch.ones(d))
    model.save(tmp_path / "m")
    assert json.loads((tmp_path / "m" / "model.json").read_text())["format"] == 2
    np.testing.assert_array_equal(np.asarray(tacit.load(tmp_path / "m").embed(data)), 1.0)
    with pytest.raises(Asked, match="would learn it back"):
        tacit.finetune(tmp_path / "m", data, strategy="lp-ft", out=tmp_path / "f")
