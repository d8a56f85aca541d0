"""The verdict's three answers on constructed predictions, and its words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tacit.evaluation.labels import Draw, LevelPlan
from tacit.evaluation.readers import Reading
from tacit.evaluation.scores import Scorer
from tacit.evaluation.sentence import sentence
from tacit.evaluation.verdict import verdict
from tacit.report.scores import show

N = 1000
TRUTH = np.zeros(N, dtype=np.int64)
COUNTS: dict[Any, float] = {1: 1, 5: 5, 10: 10, 50: 50, "all": 400.0}


def plan(level: Any) -> LevelPlan:
    draw = Draw(np.arange(3), np.arange(3, 6))
    return LevelPlan(level, int(COUNTS[level] * 2), COUNTS[level], (draw,) * (1 if level == "all" else 5))


def predictions(accuracy: float, runs: int, seed: int) -> np.ndarray:
    """Predictions [runs, N] of which exactly this share is right (class 0), at random places."""
    rng = np.random.default_rng(seed)
    out = np.ones((runs, N), dtype=np.int64)
    for row in out:
        row[rng.permutation(N)[: round(accuracy * N)]] = 0
    return out


def curve(name: str, kind: str, accuracy: dict[Any, float], choice: dict[Any, float] | None = None, runs: int = 5) -> list[Reading]:
    out = []
    for seed, (level, value) in enumerate(accuracy.items()):
        some = 1 if level == "all" else runs
        predicted = predictions(value, some, 1000 * seed + sum(name.encode()))
        probe = "end-to-end" if kind == "supervised" else "linear"
        out.append(Reading(name, kind, probe, plan(level), predicted, (choice or accuracy)[level]))
    return out


def judge(*curves: list[Reading]) -> dict[str, Any]:
    return verdict([r for c in curves for r in c], Scorer(TRUTH, False))


LEVELS = (1, 5, 10, 50, "all")


def levels(*values: float) -> dict[Any, float]:
    return dict(zip(LEVELS, values, strict=True))


def test_it_helps() -> None:
    v = judge(curve("ssl", "ssl", levels(0.60, 0.70, 0.80, 0.85, 0.90)), curve("pca", "classic", levels(0.40, 0.50, 0.60, 0.70, 0.80)))
    assert v["helps"] is True and v["level"] == 1 and v["best_other"] == "pca"
    assert v["difference"] == pytest.approx(0.2) and 0 < v["low"] < 0.2 < v["high"]
    assert v["turns_at"] is None
    assert v["labels_saved"]["best_other"] == {"name": "pca", "all": pytest.approx(0.8), "labels_per_class": 10}
    assert v["labels_saved"]["worth"] == {"ours_with": 10, "others_with": pytest.approx(400), "more_than": None}
    assert v["sentence"].startswith("Self-supervision helped: with 1 label a class it reaches 60.0 % against 40.0 % of pca")
    assert "+20.0 points (95 % interval +" in v["sentence"] and "1000 test items" in v["sentence"]
    assert "ahead at every number of labels" in v["sentence"]
    assert "10 labels a class do the work of about 400 labels a class" in v["sentence"]


def test_it_does_not_help() -> None:
    v = judge(curve("ssl", "ssl", levels(0.40, 0.50, 0.60, 0.70, 0.80)), curve("hog", "classic", levels(0.60, 0.70, 0.80, 0.85, 0.90)))
    assert v["helps"] is False and v["difference"] == pytest.approx(-0.2) and v["high"] < 0
    assert v["sentence"].startswith("Self-supervision did not help: with 1 label a class")
    assert "not ahead at any number of labels" in v["sentence"] and "do the work of" not in v["sentence"]


def test_a_run_that_read_labels_gets_no_verdict() -> None:
    curves = curve("ssl", "ssl", levels(0.60, 0.70, 0.80, 0.85, 0.90)) + curve("pca", "classic", levels(0.40, 0.50, 0.60, 0.70, 0.80))
    v = verdict(curves, Scorer(TRUTH, False), labels_seen=True)
    assert v["helps"] is None and v["difference"] == pytest.approx(0.2) and v["low"] > 0, "the numbers stay"
    assert v["sentence"].startswith("This run read labels: it is not self-supervised, so there is no verdict; with 1 label")
    assert verdict(curves, Scorer(TRUTH, False), labels_seen=None)["helps"] is True
    assert show("x", {"results": [], "verdict": v}, None).verdict.state == "unmeasured"
    row = {"representation": "ssl", "probe": "linear", "labels_per_class": 1, "metric": "accuracy", "value": 0.6}
    shown = show("x", {"results": [row], "verdict": v}, None).verdict
    assert (shown.state, shown.word) == ("unclear", "No verdict") and "helped" not in str(shown.levels)


def test_no_clear_difference() -> None:
    v = judge(curve("ssl", "ssl", levels(0.40, 0.50, 0.60, 0.70, 0.80)), curve("hog", "classic", levels(0.40, 0.50, 0.60, 0.85, 0.90)))
    assert v["helps"] is None and v["level"] == 10
    assert v["low"] < 0 < v["high"]
    assert v["sentence"].startswith("No clear difference: with 10 labels a class")


def test_ahead_at_one_small_level_and_behind_at_another_is_no_answer() -> None:
    v = judge(curve("ssl", "ssl", levels(0.60, 0.50, 0.50, 0.70, 0.80)), curve("hog", "classic", levels(0.40, 0.60, 0.70, 0.85, 0.90)))
    assert v["helps"] is None and v["level"] == 1 and v["difference"] > 0
    assert v["sentence"].startswith("No clear answer: ahead at some")


def test_levels_above_ten_labels_do_not_decide() -> None:
    v = judge(curve("ssl", "ssl", levels(0.50, 0.60, 0.70, 0.70, 0.70)), curve("hog", "classic", levels(0.40, 0.50, 0.60, 0.90, 0.95)))
    assert v["helps"] is True
    assert 10 < v["turns_at"] < 50 and v["turn_is_clear"]
    assert "The order turns at about" in v["sentence"] and "hog is ahead" in v["sentence"]
    difference = [0.10, 0.10, 0.10, -0.20, -0.25]
    assert v["turns_at"] == pytest.approx(np.exp(np.log(10) + difference[2] / 0.3 * np.log(5)))
    late = judge(curve("ssl", "ssl", levels(0.4, 0.5, 0.6, 0.9, 0.95)), curve("hog", "classic", levels(0.5, 0.6, 0.7, 0.7, 0.7)))
    assert late["helps"] is False and "self-supervision is ahead" in late["sentence"]


def test_the_best_other_is_chosen_on_training_folds_and_never_on_the_test() -> None:
    flattered = levels(0.9, 0.9, 0.9, 0.9, 0.9)
    v = judge(
        curve("ssl", "ssl", levels(0.6, 0.7, 0.8, 0.85, 0.9)),
        curve("lucky on the test", "classic", flattered, choice=levels(0.1, 0.1, 0.1, 0.1, 0.1)),
        curve("chosen", "untrained", levels(0.4, 0.5, 0.6, 0.7, 0.8), choice=levels(0.5, 0.5, 0.5, 0.5, 0.5)),
    )
    assert [row["best_other"] for row in v["levels"]] == ["chosen"] * 5


def test_options_and_neighbours_take_no_part() -> None:
    option = curve("ssl+minirocket", "option", levels(0.9, 0.9, 0.9, 0.9, 0.9))
    near = [Reading("pca", "classic", "knn", r.plan, r.predicted, 1.0) for r in curve("pca", "classic", levels(0.9, 0.9, 0.9, 0.9, 0.9))]
    v = judge(curve("ssl", "ssl", levels(0.6, 0.7, 0.8, 0.85, 0.9)), option, near, curve("raw", "classic", levels(0.4, 0.5, 0.6, 0.7, 0.8)))
    assert v["best_other"] == "raw"


def test_seeds_are_paired() -> None:
    supervised = curve("supervised", "supervised", levels(0.4, 0.5, 0.6, 0.7, 0.95), runs=3)
    v = judge(curve("ssl", "ssl", levels(0.6, 0.7, 0.8, 0.85, 0.9)), supervised)
    assert v["difference"] == pytest.approx(0.2)
    assert v["labels_saved"]["supervised"] == {"name": "supervised", "all": pytest.approx(0.95), "labels_per_class": None}
    truth = np.zeros(300, dtype=np.int64)
    hard = (np.random.default_rng(0).random((5, 300)) < 0.5).astype(np.int64)
    better = hard.copy()
    better[:, :9] = 0
    low, high = Scorer(truth, False).difference(better, hard)[1:]
    single = Scorer(truth, False).score("accuracy", hard)
    assert high - low < 0.5 * (single[2] - single[1])


def test_the_numbers_of_a_level_subtract() -> None:
    ours = [Reading("ssl", "ssl", "linear", plan(5), np.stack([predictions(a, 1, 7)[0] for a in (0.5, 0.6, 0.7, 0.9, 0.9)]), 0.7)]
    v = judge(ours, curve("supervised", "supervised", {5: 0.55}, runs=3))
    row = v["levels"][0]
    assert row["ours"] == pytest.approx(0.6) and row["other"] == pytest.approx(0.55)
    assert row["difference"] == pytest.approx(row["ours"] - row["other"])


def test_a_level_that_could_not_be_measured_says_why() -> None:
    missing = LevelPlan(1, 0, 1, (), "the smallest class has 0 labelled training rows")
    ours = [Reading("ssl", "ssl", "linear", missing, None, None, missing.reason), *curve("ssl", "ssl", {5: 0.7})]
    other = [Reading("raw", "classic", "linear", missing, None, None, missing.reason), *curve("raw", "classic", {5: 0.5})]
    v = judge(ours, other)
    assert v["helps"] is True and v["level"] == 5
    assert v["levels"][0]["difference"] is None and "smallest class" in v["levels"][0]["reason"]
    nothing = judge(ours[:1], other[:1])
    assert nothing["helps"] is None
    assert nothing["sentence"].startswith("Whether self-supervision helped was not measured: the smallest class")
    assert judge(other)["helps"] is None


def test_without_a_small_level_there_is_no_answer() -> None:
    v = judge(curve("ssl", "ssl", {50: 0.9, "all": 0.95}), curve("raw", "classic", {50: 0.5, "all": 0.6}))
    assert v["helps"] is None and v["sentence"].startswith("Nothing could be measured with few labels")


def worth(ours: dict[Any, float], other: dict[Any, float]) -> tuple[dict[str, Any], str, list[str]]:
    v = judge(curve("ssl", "ssl", ours), curve("pca", "classic", other))
    row = {"representation": "ssl", "probe": "linear", "labels_per_class": v["level"], "metric": "accuracy", "value": 0.6}
    return v["labels_saved"]["worth"], v["sentence"], [c.label for c in show("x", {"results": [row], "verdict": v}, None).cards]


def test_all_there_are_is_said_only_where_all_were_measured() -> None:
    ours, other = {1: 0.6, 5: 0.7, 10: 0.8}, {1: 0.4, 5: 0.5, 10: 0.6}
    held, said, cards = worth(ours | {"all": 0.9}, other | {"all": 0.7})
    assert held == {"ours_with": 10, "others_with": None, "more_than": 400}
    assert "do the work of more than 400 labels a class, all there are, without it" in said and "Labels replaced" in cards
    for last in ({}, {50: 0.85}):
        held, said, cards = worth(ours | last, other | dict.fromkeys(last, 0.7))
        assert held == {"ours_with": 10, "others_with": None, "more_than": None}
        assert "do the work" not in said and "all there are" not in said and "Labels replaced" not in cards


def test_as_many_labels_as_there_are_replace_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COUNTS, "all", 10.0)
    held, said, cards = worth({1: 0.6, "all": 0.8}, {1: 0.4, "all": 0.6})
    assert held == {"ours_with": 10, "others_with": None, "more_than": None}
    assert "do the work" not in said and "Labels replaced" not in cards


def test_the_sentence_for_numbers_speaks_of_r2() -> None:
    row = {"labels_per_class": 10, "count": 10, "ours": 0.41, "best_other": "pca", "other": 0.2, "reason": ""}
    row |= {"difference": 0.21, "low": 0.1, "high": 0.3}
    v = {"helps": True, "difference": 0.21, "level": 10, "metric": "r2", "n_test": 77, "levels": [row], "labels_saved": None}
    said = sentence(v | {"turns_at": None, "turn_is_clear": None}, contradictory=False, few=True)
    assert "with 10 labels it reaches R2 0.410 against R2 0.200 of pca" in said and "+0.210 (95 % interval +0.100 to +0.300" in said


def test_intervals_stay_where_the_metric_lives() -> None:
    hits = np.stack([predictions(a, 1, 3)[0] for a in (1.0, 0.6, 0.9)])
    value, low, high = Scorer(TRUTH, False).score("accuracy", hits)
    assert 0 <= low < value < high == 1
