"""The classics of tables: one-hot columns against tables made by hand, boosting and forest, for classes and for numbers."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from tacit import api, registry
from tacit.evaluation import tables
from tacit.evaluation.classics.boosting import Boosting
from tacit.evaluation.classics.columns import Columns
from tacit.evaluation.classics.forest import Forest
from tacit.evaluation.evaluate import Classifier, Evaluation, Representation, evaluate
from tacit.evaluation.labels import plan_levels
from tacit.evaluation.readers import Labels, read_classifier
from tacit.types import Spec

NAN = np.nan
MODELS = ["boosting", "scikit-learn", "forest"]


def spec(*kinds: str, values: int = 3) -> Spec:
    """A table with columns of these kinds; categories of the values "0", "1", ..."""
    known = [str(k) for k in range(values)]
    columns = [{"name": f"{k} {i}", "kind": k} | ({"values": known} if k in ("category", "boolean") else {}) for i, k in enumerate(kinds)]
    return Spec("table", len(kinds), (), extra={"columns": columns})


MIXED = spec("number", "category", "number", "boolean")


def mixed(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, classes, numbers): both follow from the category and the first number, the rest is noise; a tenth is missing."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.standard_normal(n), rng.integers(0, 3, n), rng.standard_normal(n), rng.integers(0, 2, n)], 1).astype(np.float32)
    numbers = 5.0 * (x[:, 1] == 1) + np.where(x[:, 1] == 2, 2.0, 0.5) * x[:, 0] + 100
    classes = (x[:, 1] == 1).astype(np.int64) + (x[:, 0] > 0)
    x[rng.random(x.shape) < 0.1] = NAN
    return x, classes, numbers


def made(name: str, x: np.ndarray, of: Spec, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """That model, prepared for the rows x."""
    if name == "scikit-learn":
        monkeypatch.setitem(sys.modules, "lightgbm", None)
    elif name == "boosting":
        pytest.importorskip("lightgbm")
    return (Forest if name == "forest" else Boosting)(**options).prepare(x, of)


def test_columns_of_a_table_against_one_made_by_hand() -> None:
    x = np.array([[1, 0, 7, 1], [3, 2, NAN, 0], [5, 2, 9, NAN], [7, NAN, 8, 1]], np.float32)
    fitted = Columns().fit(x, MIXED)
    z = fitted.transform(np.concatenate([x, np.array([[NAN, -1, 8, 0], [4, 1, NAN, NAN]], np.float32)]))
    s, t = 5**0.5, 1.5**0.5
    expected = [  # number; values 2, 0 and missing; number and missing; values 1, 0 and missing
        [-3 / s, 0, 1, 0, -t, 0, 1, 0, 0],
        [-1 / s, 1, 0, 0, 0, 1, 0, 1, 0],
        [1 / s, 1, 0, 0, t, 0, 0, 0, 1],
        [3 / s, 0, 0, 1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 0],  # missing, though never in training; a value from elsewhere
        [0, 0, 0, 0, 0, 1, 0, 0, 1],  # a value of the list that no training row has
    ]
    assert z.dtype == np.float32 and not fitted.note
    np.testing.assert_allclose(z, expected, atol=1e-6)


def test_long_tails_constants_and_columns_without_a_value_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.standard_normal(500), np.full(500, 3), np.full(500, NAN), np.exp(3 * rng.standard_normal(500))], 1).astype(np.float32)
    x[:450, 3], x[7, 0], x[8, 0] = 0, 1e30, np.inf
    z = Columns().fit(x, spec(*["number"] * 4)).transform(x)
    assert np.isfinite(z).all() and np.abs(z).max() <= 4 and z.shape == (500, 6)
    assert z[np.arange(500) > 8, 0].std() > 0.5, "one value from elsewhere leaves the others apart"
    assert len(np.unique(z[450:, 5])) > 30, "what is mostly 0 keeps its other values apart"
    assert not z[:, 2:4].any() and z[:, 4].all() and z[:, 1].sum() == 1
    wild = Columns().fit(x, spec(*["number"] * 4)).transform(np.full((1, 4), -3e38, np.float32))
    assert np.isfinite(wild).all() and np.abs(wild).max() <= 4


def test_only_the_most_frequent_values_have_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.repeat(np.arange(300), np.arange(300) + 1)[:, None].astype(np.float32)
    fitted = Columns().fit(x, spec("category", values=300))
    z = fitted.transform(np.array([[299], [200], [199], [0]], np.float32))
    assert z.shape == (4, 100) and z.sum(1).tolist() == [1, 1, 0, 0] and z[0, 0] == 1 and z[1, 99] == 1
    assert fitted.note == "of 1 column only the 100 most frequent values have a column each"
    monkeypatch.setattr(tables, "MOST", 20)
    wide = np.concatenate([x, x, x % 3], 1)
    assert Columns().fit(wide, spec(*["category"] * 3, values=300)).transform(wide[:1]).shape == (1, 8 + 8 + 3)


def test_codes_are_ranks_of_frequency() -> None:
    x = np.array([[5, 2, NAN], [6, 2, 1], [np.inf, 0, 1]], np.float32)
    table = tables.Table().fit(x, spec("number", "category", "category"))
    found = table.codes(np.array([[5, 0, 1], [-np.inf, 2, NAN], [NAN, 1, -1], [0, -1, 0], [0, NAN, 1]], np.float32))
    np.testing.assert_array_equal(found, [[5, 1, 0], [NAN, 0, 1], [NAN, NAN, NAN], [0, NAN, NAN], [0, NAN, 0]])
    many = np.arange(1000, dtype=np.float32)[:, None]
    assert np.nanmax(tables.Table().fit(many, spec("category", values=1000)).codes(many)) == tables.CODES - 1


@pytest.mark.parametrize("name", MODELS)
def test_trees_beat_chance_and_are_the_same_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (x, y, numbers), (query, truth, values) = mixed(), mixed(seed=1)
    model = made(name, x, MIXED, monkeypatch)
    found = model.fit(x, y).predict(query)
    assert found.dtype == np.int64 and (found == truth).mean() > 0.75
    np.testing.assert_array_equal(made(name, x, MIXED, monkeypatch).fit(x, y).predict(query), found)
    value = model.fit(x, numbers).predict(query)
    assert value.dtype == np.float64 and 1 - ((value - values) ** 2).mean() / values.var() > 0.6
    np.testing.assert_array_equal(made(name, x, MIXED, monkeypatch).fit(x, numbers).predict(query), value)


@pytest.mark.parametrize("name", MODELS)
def test_trees_learn_from_a_handful_of_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, numbers = mixed()
    x[:, 2], x[:, 3] = 4, NAN
    model = made(name, x, MIXED, monkeypatch)
    one = [int(np.flatnonzero(y == k)[0]) for k in range(3)]
    found = model.fit(x[one], y[one]).predict(x)
    assert set(np.unique(found)) <= {0, 1, 2} and np.isfinite(model.fit(x[one], numbers[one]).predict(x)).all()
    few = np.arange(30)
    assert (model.fit(x[few], y[few]).predict(x) == y).mean() > 0.55
    # classes 4 and 7 only, one class, one value
    assert set(np.unique(model.fit(x[few], np.where(y[few] == 0, 4, 7)).predict(x))) == {4, 7}
    assert (model.fit(x[few], np.full(30, 2)).predict(x) == 2).all() and (model.fit(x[few], np.full(30, 2.5)).predict(x) == 2.5).all()
    nothing = np.full_like(x, NAN)
    assert len(np.unique(made(name, nothing, MIXED, monkeypatch).fit(nothing, y).predict(x))) >= 1
    unseen = np.where([False, True, False, False], np.float32(-1), x)
    assert np.isfinite(model.fit(x, numbers).predict(unseen)).all()


@pytest.mark.parametrize("name", MODELS[:2])
def test_many_labels_say_when_boosting_stops(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, _, _ = mixed(1200)
    noise = rng.integers(0, 2, 1200)
    model = made(name, x, MIXED, monkeypatch, rate=0.3)
    trees = lambda: model._model.num_trees() if name == "boosting" else model._model.n_iter_  # noqa: E731
    assert model.fit(x, noise) is model and trees() < 50, "nothing to learn"
    held: list[np.ndarray] = []
    monkeypatch.setattr(
        "tacit.evaluation.classics.boosting.fold", lambda y, *_, groups: held.append(groups) or (np.arange(1000), np.arange(1000, 1200))
    )
    model.fit(x, noise, groups=np.arange(1200))
    assert held[0].tolist() == list(range(1200)), "whole groups are held out"


def judged(x: np.ndarray, y: np.ndarray, query: np.ndarray, truth: np.ndarray, classes: tuple[str, ...], **options: Any) -> Evaluation:
    """Ours is noise; the classics of a table as `tacit evaluate` makes them."""
    noise = np.random.default_rng(0)
    ours = Representation("ssl", "ssl", noise.standard_normal((len(x), 4)), noise.standard_normal((len(query), 4)))
    more, classifiers, notes = api._classics(MIXED, x, query, lambda words: None)
    assert {r.name for r in more} == {"columns"} and [c.name for c in classifiers] == ["boosting", "forest"]
    assert any(note.startswith("boosting: by ") for note in notes)
    return evaluate([ours, *more], y, truth, classes=classes, classifiers=classifiers, labels_seen=False, resamples=100, **options)


def test_the_classics_of_a_table_are_measured_and_may_be_the_best_other() -> None:
    pytest.importorskip("lightgbm")
    (x, y, numbers), (query, truth, values) = mixed(300), mixed(150, seed=1)
    out = judged(x, y, query, truth, ("a", "b", "c"), levels=(5, "all"), seeds=2)
    probes = {(r["representation"], r["probe"]) for r in out.results}
    assert probes >= {("columns", "knn"), ("columns", "linear"), ("boosting", "itself"), ("forest", "itself")}
    assert out.verdict["helps"] is False and not any("no form for numbers" in note for note in out.notes)
    assert {level["best_other"] for level in out.verdict["levels"]} <= {"columns", "boosting", "forest"}
    out = judged(x, numbers, query, values, (), levels=(10, "all"), seeds=2)
    found = {(r["representation"], r["probe"], r["metric"]): r["value"] for r in out.results if r["labels_per_class"] == "all"}
    assert found["boosting", "itself", "r2"] > 0.6 and found["forest", "itself", "r2"] > 0.6 and ("columns", "ridge", "rmse") in found
    assert out.verdict["levels"][-1]["best_other"] in ("boosting", "forest"), "interactions are beyond a straight line"


def test_what_has_no_form_for_numbers_is_left_out_with_a_note() -> None:
    x, _, numbers = mixed(60)

    class Classes:
        def fit(self, x: np.ndarray, y: np.ndarray) -> Classes:
            return self

        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.zeros(len(x), dtype=np.int64)

    ours = Representation("ssl", "ssl", np.zeros((len(x), 1)), np.zeros((len(x), 1)))
    out = evaluate([ours], numbers, numbers, classifiers=[Classifier("only classes", Classes(), x, x)], levels=(10,), resamples=50)
    assert "only classes: not measured, it has no form for numbers" in out.notes


def test_a_classifier_gets_its_groups_and_is_refused_when_it_would_take_too_long() -> None:
    x, y, _ = mixed(90)

    class Asked:
        grouped = regression = True
        seen: list[tuple[int, Any]] = []

        @staticmethod
        def cost(train: int, other: int, columns: int) -> float:
            return float(train * columns)

        def fit(self, x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Asked:
            self.seen.append((len(x), None if groups is None else len(groups)))
            return self

        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.zeros(len(x), dtype=np.int64)

    classifier = Classifier("asked", Asked(), x, x)
    plans = plan_levels(y, 3, [2, "all"], 2)
    for groups in (None, np.arange(90) // 2):
        labels = Labels(y, 3, np.arange(90), groups)
        first, whole = read_classifier(classifier, plans, labels)
        assert first.candidate and first.probe == "itself" and first.predicted is not None and first.predicted.shape == (2, 90)
        assert whole.choice is not None
    kept = len(plans[1].draws[0].rows)
    sizes = [6, 6, 90, kept]
    assert Asked.seen == [(n, None) for n in sizes] + [(n, n) for n in sizes]
    ours = Representation("ssl", "ssl", np.zeros((len(x), 1)), np.zeros((len(x), 1)))
    out = evaluate([ours], y, y, classes=("a", "b", "c"), classifiers=[classifier], levels=(2,), resamples=50, patience=359)
    assert "asked: not measured, too large (about 360 s, the limit is 359 s)" in out.notes
    assert Boosting.cost(30_000, 10_000, 14) < 120 and Forest.cost(30_000, 10_000, 14) < 120


def test_the_library_that_ran_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, _ = mixed(20)
    assert "scikit-learn" in made("scikit-learn", x, MIXED, monkeypatch).note
    monkeypatch.undo()
    assert made("boosting", x, MIXED, monkeypatch).note.startswith("by LightGBM 4")
    assert {"boosting", "columns", "forest"} <= set(registry.names("classics"))
