"""evaluate() from embeddings to results, verdict and notes."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pytest

from tacit.errors import BadData
from tacit.evaluation.classics.dtw import DTW
from tacit.evaluation.evaluate import Classifier, Representation, evaluate
from tacit.evaluation.labels import fold, plan_levels

NAMES = ["a", "b", "c"]


def data(n: int = 400, n_test: int = 200, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(x_train, y_train, x_test, y_test): the class is in the first columns, the rest is noise."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n + n_test) % classes)
    x = rng.standard_normal((n + n_test, 20)).astype(np.float32)
    x[np.arange(len(y)), y] += 3
    return x[:n], y[:n], x[n:], y[n:]


def trio(x: np.ndarray, query: np.ndarray, good: float = 1.0) -> list[Representation]:
    """Ours sees the informative columns, the untrained encoder noise, raw everything."""
    noise = np.random.default_rng(9)
    return [
        Representation("ssl", "ssl", good * x[:, :4], good * query[:, :4]),
        Representation("untrained", "untrained", noise.standard_normal((len(x), 8)), noise.standard_normal((len(query), 8))),
        Representation("everything", "classic", x, query),
    ]


def row(rows: list[dict[str, Any]], representation: str, probe: str, level: Any, metric: str = "accuracy") -> dict[str, Any]:
    found = [
        r for r in rows if (r["representation"], r["probe"], r["labels_per_class"], r["metric"]) == (representation, probe, level, metric)
    ]
    assert len(found) == 1
    return found[0]


def test_the_whole_way() -> None:
    x, y, query, truth = data()
    seen: list[tuple[int, int]] = []

    def supervised(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        seen.append((len(rows), seed))
        centres = np.stack([x[rows[y[rows] == k]].mean(0) for k in range(3)])
        return x @ centres.T, query @ centres.T

    said: list[str] = []
    out = evaluate(trio(x, query), y, truth, classes=NAMES, supervised=supervised, supervised_seeds=5, resamples=300, say=said.append)
    assert seen == [(labels, run) for labels in (3, 15, 30, 150) for run in range(5)] + [(361, 0)]
    plain = json.loads(json.dumps(out.to_json(), allow_nan=False))
    assert set(plain) == {"results", "verdict", "notes"}
    wanted = {"representation", "probe", "labels_per_class", "metric", "value", "low", "high", "n_test", "seeds", "n_train_labels"}
    assert all(wanted <= set(r) for r in plain["results"])
    assert {"helps", "best_other", "difference", "low", "high", "sentence"} <= set(plain["verdict"])
    ssl = row(out.results, "ssl", "linear", "all")
    assert ssl["value"] > 0.9 and ssl["low"] <= ssl["value"] <= ssl["high"] and ssl["n_test"] == 200
    assert ssl["seeds"] == 1 and ssl["n_train_labels"] == 400
    assert row(out.results, "ssl", "knn", 5)["seeds"] == 5 and row(out.results, "supervised", "end-to-end", 5)["seeds"] == 5
    chance = row(out.results, "untrained", "linear", "all")
    assert abs(chance["value"] - 1 / 3) < 0.15
    assert out.verdict["helps"] is True and out.verdict["best_other"] in ("everything", "supervised")
    assert any("trained once" in note for note in out.notes)
    assert "supervised from scratch" in said
    again = evaluate(trio(x, query), y, truth, classes=NAMES, supervised=supervised, supervised_seeds=5, resamples=300)
    assert again.to_json() == out.to_json()


def test_it_can_say_that_it_did_not_help() -> None:
    x, y, query, truth = data()
    ours, untrained, everything = trio(x, query)
    swapped = [Representation(*v) for v in (("ssl", "ssl", untrained.train, untrained.test), ("other", "untrained", ours.train, ours.test))]
    out = evaluate([*swapped, everything], y, truth, classes=NAMES, resamples=300)
    assert out.verdict["helps"] is False and "did not help" in out.verdict["sentence"]
    same = evaluate([ours, Representation("twin", "untrained", ours.train, ours.test)], y, truth, classes=NAMES, resamples=300)
    assert same.verdict["helps"] is None and same.verdict["difference"] == 0


def test_labels_that_pretraining_read_are_named() -> None:
    x, y, query, truth = data()
    seen, unknown, unseen = (evaluate(trio(x, query), y, truth, classes=NAMES, resamples=50, labels_seen=s) for s in (True, None, False))
    assert seen.results == unseen.results and seen.verdict["helps"] is None and unseen.verdict["helps"] is True
    assert "this run read labels: not self-supervised, no verdict" in seen.notes
    assert "whether pretraining read labels is unknown" in unknown.notes
    assert not any("read labels" in note for note in unseen.notes)
    assert any(note.startswith("the verdict looks at 3 levels with few labels") for note in unseen.notes)


def patients(rng: np.random.Generator, people: int, each: int = 25) -> tuple[np.ndarray, np.ndarray, list[Representation]]:
    """(classes, patients, representations): one embedding sees the patient, one the disease, dimly; 3 classes."""
    who = np.repeat(np.arange(people), each)
    y = (np.arange(people) % 3)[who]
    identity = np.eye(people)[who] * 5 + rng.normal(0, 0.1, (len(who), people))
    disease = np.eye(3)[y] + rng.normal(0, 0.8, (len(who), 3))
    return y, who, [Representation("identity", "classic", identity, identity), Representation("disease", "untrained", disease, disease)]


def test_the_best_other_is_chosen_on_other_patients() -> None:
    y, who, reps = patients(np.random.default_rng(0), 24)
    test = who >= 18
    parts = [Representation(r.name, r.kind, r.train[~test], r.test[test]) for r in reps]
    ours = Representation("ssl", "ssl", parts[1].train, parts[1].test)
    options: dict[str, Any] = {"classes": NAMES, "resamples": 50, "levels": (10, 50, "all"), "labels_seen": False}
    blind = evaluate([ours, *parts], y[~test], y[test], **options)
    assert [level["best_other"] for level in blind.verdict["levels"]] == ["identity"] * 3
    aware = evaluate([ours, *parts], y[~test], y[test], groups=who[~test], **options)
    assert [level["best_other"] for level in aware.verdict["levels"]] == ["disease"] * 3
    assert evaluate([ours, *parts], y[~test], y[test], groups=np.full((~test).sum(), -1), **options).results == blind.results


def test_folds_and_draws_keep_groups_apart() -> None:
    y, who, _ = patients(np.random.default_rng(0), 24)
    who = who.copy()
    who[:5] = -1
    kept, held = fold(y, 3, 0, groups=who)
    assert len(held) and set(who[held]).isdisjoint(set(who[kept]) - {-1}) and set(y[held]) == {0, 1, 2}
    assert all(2 * (y[held] == k).sum() <= (y == k).sum() for k in range(3))
    plans = plan_levels(y, 3, [1, 10, 50, "all"], 5, groups=who)
    for plan in plans:
        for draw in plan.draws:
            assert len(draw.scoring) and set(who[draw.scoring]).isdisjoint(set(who[draw.rows]) - {-1})
    for run in range(5):
        one, ten, fifty = (set(plan.draws[run].rows) for plan in plans[:3])
        assert one < ten < fifty and np.bincount(y[list(fifty)]).tolist() == [50] * 3
    alone = np.arange(len(y))
    for groups in (alone, np.full(len(y), -1)):
        for a, b in zip(fold(y, 3, 0, groups=groups), fold(y, 3, 0), strict=True):
            assert a.tolist() == b.tolist()
    assert not len(fold(np.repeat([0, 1], 50), 2, 0, groups=np.repeat([0, 1], 50))[1]), "a class of one patient cannot be held out"
    numbers = fold(np.random.default_rng(0).normal(size=len(y)), 0, 0, groups=who)
    assert len(numbers[1]) and set(who[numbers[1]]).isdisjoint(set(who[numbers[0]]) - {-1})


def test_permuted_labels_give_chance_and_no_verdict() -> None:
    x, y, query, truth = data()
    rng = np.random.default_rng(0)
    out = evaluate(trio(x, query), rng.permutation(y), rng.permutation(truth), classes=NAMES, resamples=300)
    assert all(abs(r["value"] - 1 / 3) < 0.13 for r in out.results)


def test_the_scale_of_the_embedding_does_not_matter() -> None:
    x, y, query, truth = data()
    plain = evaluate(trio(x, query), y, truth, classes=NAMES, resamples=50, levels=(5, "all"))
    scaled = evaluate(trio(x, query, good=1000.0), y, truth, classes=NAMES, resamples=50, levels=(5, "all"))
    for a, b in zip(plain.results, scaled.results, strict=True):
        assert a["value"] == pytest.approx(b["value"], abs=0.011)


def test_levels_that_the_data_cannot_give_are_not_available() -> None:
    x, y, query, truth = data(n=40)
    least = np.bincount(y).min()
    out = evaluate(trio(x, query), y, truth, classes=NAMES, resamples=50)
    missing = row(out.results, "ssl", "linear", 50)
    assert missing["value"] is None and f"smallest class has {least}" in missing["reason"]
    assert row(out.results, "ssl", "linear", 10)["value"] is not None
    assert any(note.startswith("50 labels a class: n/a") for note in out.notes)


def test_unlabelled_rows_are_left_out_but_count_for_the_scale() -> None:
    x, y, query, truth = data()
    y, truth = y.copy(), truth.copy()
    y[:100], truth[:50] = -1, -1
    rows_seen: list[np.ndarray] = []

    def supervised(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rows_seen.append(rows)
        return np.eye(3)[np.maximum(y, 0)], np.eye(3)[np.maximum(truth, 0)]

    out = evaluate(trio(x, query), y, truth, classes=NAMES, supervised=supervised, resamples=50)
    assert all((y[rows] >= 0).all() for rows in rows_seen)
    perfect = row(out.results, "supervised", "end-to-end", "all")
    assert perfect["value"] == 1 and perfect["n_test"] == 150 and 0.95 < perfect["low"] < 1
    assert row(out.results, "ssl", "linear", "all")["n_train_labels"] == 300
    assert any("100 of 400 training rows have no label" in note for note in out.notes)


@pytest.mark.parametrize("case", ["one class", "no train label", "no test label"])
def test_hopeless_labels_are_a_reason_and_not_a_crash(case: str) -> None:
    x, y, query, truth = data(n=60, n_test=30)
    y = np.zeros_like(y) if case == "one class" else np.full_like(y, -1) if case == "no train label" else y
    truth = np.full_like(truth, -1) if case == "no test label" else truth
    out = evaluate(trio(x, query), y, truth, classes=NAMES, resamples=50)
    assert all(r["value"] is None and r["reason"] for r in out.results)
    assert out.verdict["helps"] is None and "was not measured" in out.verdict["sentence"]
    json.dumps(out.to_json(), allow_nan=False)


def test_a_class_without_training_rows_counts_as_wrong_and_is_named() -> None:
    x, y, query, truth = data()
    y = np.where(y == 2, -1, y)
    out = evaluate(trio(x, query), y, truth, classes=NAMES, resamples=50)
    assert any("of class c: its" in note for note in out.notes)
    assert row(out.results, "ssl", "linear", "all")["value"] < 0.75
    assert row(out.results, "ssl", "linear", 5)["n_train_labels"] == 10


def test_numbers_get_ridge_r2_and_rmse() -> None:
    rng = np.random.default_rng(0)
    x, query = rng.standard_normal((500, 12)).astype(np.float32), rng.standard_normal((200, 12)).astype(np.float32)
    target = [v[:, :3].sum(1) + rng.normal(0, 0.3, len(v)) for v in (x, query)]
    target[0][:20] = np.nan
    out = evaluate(trio(x, query), target[0], target[1], resamples=300)
    assert {r["labels_per_class"] for r in out.results} == {10, 50, 200, "all"} and {r["probe"] for r in out.results} == {"ridge"}
    whole = row(out.results, "ssl", "ridge", "all", "r2")
    assert whole["value"] == pytest.approx(3 / 3.09, abs=0.02) and whole["low"] < whole["value"] < whole["high"]
    rmse = row(out.results, "ssl", "ridge", "all", "rmse")
    assert rmse["value"] == pytest.approx(0.3, abs=0.05) and whole["n_train_labels"] == 480
    assert out.verdict["metric"] == "r2" and out.verdict["helps"] is True and "R2" in out.verdict["sentence"]

    def supervised(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return np.nan_to_num(target[0]), target[1]

    oracle = evaluate(trio(x, query), target[0], target[1], supervised=supervised, resamples=100)
    assert oracle.verdict["best_other"] == "supervised" and oracle.verdict["helps"] is False


def test_series_classifiers_and_their_limit() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = np.sin(np.arange(20) * (0.2 + 0.3 * y[:, None]) + rng.normal(0, 0.1, (90, 1)))[:, None].astype(np.float32)
    train, test = x[:60], x[60:]
    reps = [Representation("ssl", "ssl", rng.standard_normal((60, 4)), rng.standard_normal((30, 4)))]
    dtw = Classifier("dtw", DTW(), train, test)
    out = evaluate(reps, y[:60], y[60:], classes=NAMES, classifiers=[dtw], resamples=100)
    assert row(out.results, "dtw", "1nn", "all")["value"] == 1 and out.verdict["best_other"] == "dtw" and out.verdict["helps"] is False

    class Plain:
        """Without distances: fitted and asked as it is."""

        def fit(self, x: np.ndarray, y: np.ndarray) -> Plain:
            self.inner = DTW().fit(x, y)
            return self

        def predict(self, x: np.ndarray) -> np.ndarray:
            return self.inner.predict(x)

    same = evaluate(reps, y[:60], y[60:], classes=NAMES, classifiers=[Classifier("dtw", Plain(), train, test)], resamples=100)
    assert [r["value"] for r in same.results] == [r["value"] for r in out.results]
    assert same.verdict["levels"] == out.verdict["levels"]
    skipped = evaluate(reps, y[:60], y[60:], classes=NAMES, classifiers=[dtw], resamples=100, patience=1e-9)
    assert any(note.startswith("dtw: not measured, too large") for note in skipped.notes)
    assert all(r["representation"] != "dtw" for r in skipped.results)


def test_supervised_training_that_would_take_too_long_is_left_out_with_a_reason() -> None:
    x, y, query, truth = data(n=60, n_test=30)

    class Slow:
        asked: ClassVar[list[int]] = []

        def cost(self, labels: int) -> float:
            return 60.0 * labels

        def __call__(self, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
            self.asked.append(len(rows))
            return np.eye(3)[y], np.eye(3)[truth]

    out = evaluate(trio(x, query), y, truth, classes=NAMES, supervised=Slow(), levels=(1, 15, "all"), resamples=100, supervised_patience=60)
    assert set(Slow.asked) == {3} and len(Slow.asked) == 5 and row(out.results, "supervised", "end-to-end", 1)["value"] == 1
    left_out = row(out.results, "supervised", "end-to-end", 15)
    assert left_out["value"] is None and left_out["reason"] == "one training would take about 45 minutes"
    assert any(note.startswith("supervised from scratch with all labels a class: not measured, one training") for note in out.notes)


def test_wrong_shapes_and_broken_embeddings_are_refused() -> None:
    x, y, query, truth = data(n=60, n_test=30)
    with pytest.raises(BadData, match="ssl has 60 training and 30 test rows, the labels 59 and 30"):
        evaluate(trio(x, query), y[:-1], truth, classes=NAMES)
    x[0, 0] = np.nan
    with pytest.raises(BadData, match="not finite"):
        evaluate(trio(x, query), y, truth, classes=NAMES)


def test_a_classic_names_its_own_probe_and_scale() -> None:
    x, y, query, truth = data(n=90, n_test=30)
    out = evaluate([Representation("minirocket", "classic", x, query)], y, truth, classes=NAMES, resamples=50)
    assert {r["probe"] for r in out.results} == {"ridge"}
    own = evaluate([Representation("x", "option", x, query, probes=("linear",), scale="whole")], y, truth, classes=NAMES, resamples=50)
    assert {r["probe"] for r in own.results} == {"linear"}
