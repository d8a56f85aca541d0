"""The best way to use the labels: fine-tuning beside the probes, on the same draws, chosen on training folds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tacit
from tacit import registry
from tacit.api import digest
from tacit.data.dataset import Dataset, from_arrays
from tacit.data.supervision import Supervision, fingerprint, supervise
from tacit.errors import Asked
from tacit.evaluation.earlier import earlier
from tacit.evaluation.evaluate import evaluate
from tacit.evaluation.readers import Trained
from tacit.finetuning import asfit
from tacit.finetuning.config import FinetuneConfig
from tacit.finetuning.fit import Task
from tacit.report.scores import show
from test_evaluation_evaluate import NAMES, data, row, trio
from test_evaluation_verdict import curve, judge, levels

Curve = dict[Any, float]


def tuned(accuracy: Curve, choice: Curve | None = None, name: str = "lp-ft") -> list[Any]:
    """Readings of a way of fine-tuning."""
    return [replace(r, representation="ssl", kind="finetune", probe=f"finetune:{name}") for r in curve(name, "x", accuracy, choice)]


OURS, OTHER = levels(0.60, 0.70, 0.80, 0.85, 0.90), levels(0.40, 0.50, 0.60, 0.70, 0.80)


def test_fine_tuning_is_named_and_leaves_the_verdict_alone() -> None:
    base = judge(curve("ssl", "ssl", OURS), curve("pca", "classic", OTHER))
    assert base["best_way"] is None and "best way" not in base["sentence"]
    v = judge(curve("ssl", "ssl", OURS), curve("pca", "classic", OTHER), tuned(levels(0.50, 0.60, 0.70, 0.85, 0.95)))
    assert {k: v[k] for k in v if k not in ("best_way", "sentence")} == {k: base[k] for k in base if k not in ("best_way", "sentence")}
    most, few = v["best_way"]["largest"], v["best_way"]["deciding"]
    assert (most["probe"], most["representation"], most["level"]) == ("finetune:lp-ft", "ssl", "all")
    assert most["value"] == pytest.approx(0.95) and most["low"] < 0.95 < most["high"]
    assert most["difference"] == pytest.approx(0.05) and 0 < most["low_difference"] < 0.05 < most["high_difference"]
    assert (few["probe"], few["level"], few["difference"], few["low_difference"]) == ("linear", 1, 0.0, None)
    said = f"+5.0 points over the linear probe [{100 * most['low_difference']:+.1f}, {100 * most['high_difference']:+.1f}]"
    assert v["sentence"].startswith(base["sentence"])
    assert v["sentence"].endswith(f" With all labels the best way to use them is lp-ft (95.0 %, {said}).")
    json.dumps(v, allow_nan=False)


def test_the_probe_itself_may_be_the_best_way() -> None:
    v = judge(curve("ssl", "ssl", OURS), curve("pca", "classic", OTHER), tuned(levels(0.5, 0.5, 0.5, 0.5, 0.7)))
    assert v["best_way"]["largest"]["kind"] == "ssl" and v["best_way"]["largest"]["compared"] == 3
    assert v["sentence"].endswith("is the linear probe itself; fine-tuning is not better on training folds.")
    equal = judge(curve("ssl", "ssl", OURS), tuned(OURS))
    assert equal["best_way"]["largest"]["kind"] == "ssl", "of equals the cheaper one"


def test_classics_and_supervised_training_may_be_the_best_way() -> None:
    high = levels(0.40, 0.50, 0.60, 0.70, 0.97)
    v = judge(curve("ssl", "ssl", OURS), curve("minirocket", "classic", high), tuned(OURS))
    assert "the best way to use them is minirocket (97.0 %, +7.0 points" in v["sentence"]
    v = judge(curve("ssl", "ssl", OURS), curve("supervised", "supervised", high))
    assert "is supervised training from scratch (97.0 %" in v["sentence"]
    assert v["sentence"].endswith("; fine-tuning was not measured.")


def test_the_best_way_is_chosen_on_training_folds_and_told_where_it_fails() -> None:
    pca = curve("pca", "classic", OTHER)
    worse = judge(curve("ssl", "ssl", OURS), pca, tuned(levels(0.5, 0.5, 0.5, 0.5, 0.6), levels(0.5, 0.5, 0.5, 0.5, 0.99)))
    assert worse["best_way"]["largest"]["probe"] == "finetune:lp-ft" and "yet worse on the test items" in worse["sentence"]
    close = judge(curve("ssl", "ssl", OURS), pca, tuned(levels(0.5, 0.5, 0.5, 0.5, 0.905)))
    assert ", not clearly better)" in close["sentence"]
    neighbours = [replace(r, probe="knn") for r in curve("ssl", "ssl", levels(0.99, 0.99, 0.99, 0.99, 0.99))]
    option = curve("both", "option", levels(0.99, 0.99, 0.99, 0.99, 0.99))
    v = judge(curve("ssl", "ssl", OURS), neighbours, option, tuned(levels(0.5, 0.5, 0.5, 0.5, 0.7)))
    assert v["best_way"]["largest"]["kind"] == "ssl"


def test_ways_are_trained_on_the_same_draws_as_supervised_training() -> None:
    x, y, query, truth = data()
    drawn: dict[str, list[tuple[bytes, int]]] = {"a": [], "b": []}

    def fit(name: str) -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
        def fitted(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
            drawn[name].append((rows.tobytes(), seed))
            centres = np.stack([x[rows[y[rows] == k]].mean(0) for k in range(3)])
            return x @ centres.T, query @ centres.T

        return fitted

    way = Trained("ssl", "finetune", "finetune:full", "fine-tuning by full", fit("b"))
    out = evaluate(trio(x, query), y, truth, classes=NAMES, supervised=fit("a"), ways=[way], resamples=200)
    assert drawn["a"] == drawn["b"] and len(drawn["a"]) == 3 * 5 + 3 + 1
    mine, theirs = row(out.results, "ssl", "finetune:full", "all"), row(out.results, "supervised", "end-to-end", "all")
    assert mine["value"] == theirs["value"] and mine["seeds"] == 1 and row(out.results, "ssl", "finetune:full", 5)["seeds"] == 5
    assert out.verdict["ours"] == "ssl" and out.verdict["best_way"]["largest"]["compared"] == 5
    assert any(note.startswith('fine-tuning by full at "all": trained once') for note in out.notes)
    assert row(out.results, "ssl", "linear", "all") == row(
        evaluate(trio(x, query), y, truth, classes=NAMES, resamples=200).results, "ssl", "linear", "all"
    )


def test_fine_tuning_that_would_take_too_long_is_left_out_with_a_reason() -> None:
    x, y, query, truth = data()

    class Slow:
        wanted: np.ndarray

        def cost(self, labels: int) -> float:
            return 10.0 * labels

        def only(self, rows: np.ndarray) -> None:
            self.wanted = rows

        def __call__(self, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
            assert not np.isin(self.wanted, rows).any()
            return np.eye(3)[y], np.eye(3)[truth]

    way = Trained("ssl", "finetune", "finetune:lora", "fine-tuning by lora", Slow())
    out = evaluate(trio(x, query), y, truth, classes=NAMES, ways=[way], resamples=100)
    assert row(out.results, "ssl", "finetune:lora", 50)["reason"] == "one training would take about 25 minutes"
    assert row(out.results, "ssl", "finetune:lora", 10)["value"] == 1.0
    assert "fine-tuning by lora with all labels a class: not measured, one training would take about 60 minutes" in out.notes


# ---- fine-tuning itself ----


def vectors(n: int = 120, kind: str = "classes", seed: int = 0) -> Dataset:
    """Vectors whose class (or number) lies in the first columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 7)).astype(np.float32)
    if kind == "numbers":
        return from_arrays(x, (2 * x[:, 0] + x[:, 1]).astype(np.float32) + 50)
    y = np.arange(n) % 3
    x[np.arange(n), y] += 2
    return from_arrays(x, np.array(["a", "b", "c"])[y])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps on vectors with three classes; tests change copies of it."""
    return tacit.pretrain(vectors(), out=tmp_path_factory.mktemp("ways") / "run", steps=6, size="tiny", batch_size=16).path


@pytest.fixture
def run(pretrained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained, tmp_path / "run"))


@pytest.mark.parametrize(("batch", "labels"), [(0, 10), (0, 80), (16, 80)])
def test_the_cost_is_told_by_the_steps_that_will_be_taken(run: Path, batch: int, labels: int) -> None:
    d = vectors()
    config = FinetuneConfig(least=1, most=500, passes=0.5, batch=batch)
    (way,) = asfit.ways(tacit.load(run), d, d.train, d, d.test, ["full"], config=config)
    fit = way.fit
    assert isinstance(fit, asfit.AsFit) and fit.cost(labels) == 0.0
    _, about = fit.task.fit(np.arange(labels))
    fit.pace = 2.0
    assert fit.cost(labels) == 2.0 * about["planned"]


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_a_way_equals_the_fine_tuning_it_stands_for(run: Path, kind: str) -> None:
    model, d = tacit.load(run), vectors(kind=kind)
    train, test = d.train, d.test
    config = FinetuneConfig(least=5, most=5)
    (way, other) = asfit.ways(model, d, train, d, test, [" full", "lp-ft", "full"], config=config)
    assert (way.representation, way.kind, way.probe, other.probe) == ("ssl", "finetune", "finetune:full", "finetune:lp-ft")
    chosen = np.arange(0, 30)
    way.fit.only(np.array([40, 41]))  # type: ignore[attr-defined]
    scores, tested = way.fit(chosen, 1)
    head = registry.find("heads", "classification" if d.classes else "regression")
    assert d.labels is not None
    answers = Supervision("any", np.concatenate([train, test]), d.labels[np.concatenate([train, test])], d.classes)
    task = Task(model, d, answers, lambda: head(d.classes), config, "full", 0)
    network, _ = task.fit(chosen, None, small=True, seed=1)
    values = (lambda out: out) if d.classes else network.head.values
    np.testing.assert_allclose(tested, values(task.outputs(network, len(train) + np.arange(len(test)))), rtol=1e-5)
    np.testing.assert_allclose(scores[[40, 41]], values(task.outputs(network, np.array([40, 41]))), rtol=1e-5)
    assert np.isnan(scores[:40]).all() and scores.shape[0] == len(train)
    assert way.fit.cost(1000) == pytest.approx(way.fit.pace * 5)  # type: ignore[attr-defined]


def test_it_goes_the_whole_way(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asfit, "FinetuneConfig", lambda: FinetuneConfig(least=4, most=4))
    d = vectors()
    done = tacit.evaluate(run, d, levels=[1, "all"], seeds=2, supervised=False, finetune=["last-1"])
    rows = [r for r in done.evaluation.results if r["probe"] == "finetune:last-1"]
    assert [r["labels_per_class"] for r in rows] == [1, "all"] and all(r["representation"] == "ssl" and r["value"] > 0.3 for r in rows)
    assert done.verdict["best_way"]["largest"]["finetuned"] and "the best way to use them" in done.verdict["sentence"]
    for words in (["probe"], ["last-0"], ["fast"]):
        with pytest.raises(Asked):
            tacit.evaluate(run, d, finetune=words)


# ---- what was fine-tuned before ----


def result(of: dict[str, Any], **more: Any) -> dict[str, Any]:
    """result.json as `tacit finetune` writes it."""
    common = {"representation": "ssl", "labels_per_class": "all", "n_test": 36, "seeds": 1, "n_train_labels": 60}
    rows = [{**common, "probe": p, "metric": m, "value": v, "low": v - 0.1, "high": v + 0.1}
            for p in ("finetune:lp-ft", "linear") for m, v in (("accuracy", 0.81), ("nll", 0.5))]  # fmt: skip
    held = {"created": "2026-01-01", "head_kind": "classification", "results": rows, "read": dict(of)}
    return held | more


def test_earlier_results_join_where_they_belong(tmp_path: Path) -> None:
    of = {"fingerprint": "f", "labels": "l", "model": "m"}
    measured = [{"representation": "ssl", "probe": "linear", "labels_per_class": "all", "metric": "accuracy", "value": 0.7}]

    def write(name: str, text: Any) -> None:
        (tmp_path / "finetune" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "finetune" / name / "result.json").write_text(text if isinstance(text, str) else json.dumps(text))

    assert earlier(tmp_path, of, False, measured) == []
    write("mine", result(of))
    (found,) = earlier(tmp_path, of, False, measured)
    assert (found["probe"], found["metric"], found["from"], found["value"]) == ("finetune:lp-ft", "accuracy", "finetune/mine", 0.81)
    for name, held in {
        "another data set": result(of | {"fingerprint": "g"}),
        "other labels": result(of | {"labels": "k"}),
        "another encoder": result(of | {"model": "n"}),
        "unknown labels": result({"fingerprint": "f", "model": "m"}),
        "another head": result(of, head_kind="tagging"),
        "cut": '{"created": ',
        "old": {"results": 3},
        "a list": [],
    }.items():
        write(name, held)
    assert earlier(tmp_path, of, False, measured) == [found]
    assert earlier(tmp_path, of, True, measured) == []
    newer = result(of, created="2026-02-02")
    newer["results"][0]["value"] = 0.9
    write("again", newer)
    (found,) = earlier(tmp_path, of, False, measured)
    assert (found["value"], found["from"]) == (0.9, "finetune/again")
    assert earlier(tmp_path, of, False, [*measured, {**measured[0], "probe": "finetune:lp-ft"}]) == [], "the evaluation's own comes first"


def test_an_evaluation_takes_over_what_was_fine_tuned(run: Path) -> None:
    d = vectors()
    of = {"fingerprint": d.fingerprint, "labels": fingerprint(d, supervise(d)), "model": digest(run)}
    (run / "finetune" / "mine").mkdir(parents=True)
    (run / "finetune" / "mine" / "result.json").write_text(json.dumps(result(of)))
    done = tacit.evaluate(run, d, levels=["all"], seeds=2, supervised=False)
    assert done.path is not None
    taken = [r for r in json.loads(done.path.read_text())["results"] if "from" in r]
    assert [(r["probe"], r["from"]) for r in taken] == [("finetune:lp-ft", "finetune/mine")]
    assert done.verdict["best_way"] is None, "a row of another draw is told, not compared"
    assert show("x", done.to_json(), None).panels
    other = tacit.evaluate(run, d, test=vectors(seed=5), levels=["all"], seeds=2, supervised=False)
    assert not any("from" in r for r in other.evaluation.results)
