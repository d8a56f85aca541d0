"""Comparing methods and tuning augmentation: what is measured on which items, what wins, and what an interrupt loses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import call, small
from tacit import api, augmentation, halving, tournament
from tacit.assemble import make_modality
from tacit.data.dataset import from_arrays
from tacit.errors import Asked, Collapsed, Stopped, TacitError
from tacit.evaluation.panel import Panel
from tacit.halving import Comparison
from tacit.tournament import Candidate, Judge, Measured

TINY: dict[str, Any] = {"budget": 1.0, "options": {"size": "tiny", "batch_size": 8}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of a few steps."""
    monkeypatch.setattr(halving, "LEAST", 0.006)
    monkeypatch.setattr(halving, "AROUND", 0.0)


def measured(name: str, right: Any = None, quality: float = 2.0, failed: str = "") -> Measured:
    numbers = Panel(2.0, 2.0, None, None, 0.0, None, -1.0, quality / 10, 3.0, 50, 8)
    return Measured(
        name, run=f"runs/{name}", right=None if right is None else np.array(right, float), panel=None if failed else numbers, failed=failed
    )


def comparison(out: Path, *rounds: list[Measured], classes: int = 2) -> Comparison:
    request = {
        "candidates": [m.name for m in rounds[0]],
        "classes": classes,
        "seed": 0,
        "budget": 1.0,
        "fingerprint": "",
        "data": "",
        "options": {},
    }
    return Comparison(out, request, "accuracy", rounds=[{m.name: m for m in each} for each in rounds], seconds=[1.0] * len(rounds))


# ---- candidates ----


def test_a_candidate_is_a_method_with_hyperparameters() -> None:
    assert Candidate.read(" simclr ") == Candidate("simclr", "simclr", {})
    read = Candidate.read("simclr@method.temperature=0.5@optim.lr=1e-3")
    assert read.method == "simclr" and read.overrides == {"method": {"temperature": 0.5}, "optim": {"lr": 1e-3}}
    assert read.folder != Candidate.read("simclr").folder and "/" not in Candidate.read("a/b.py:C").folder
    for wrong in ("", "@method.a=1", "simclr@temperature=0.5"):
        with pytest.raises(Asked):
            Candidate.read(wrong)


# ---- the judge ----


def test_the_judge_never_reads_a_test_item() -> None:
    data = small("image", 80)
    judge = Judge(data)
    assert set(judge.rows) <= set(data.train)
    assert judge.fit is not None and judge.held is not None and not set(judge.fit) & set(judge.held)
    poisoned = data.x.copy()
    poisoned[data.test] = 255 - poisoned[data.test]
    assert data.labels is not None
    labels = data.labels.copy()
    labels[data.test] = 1 - labels[data.test]
    model = _fresh(data)
    one, two = judge.measure(model), Judge(replace(data, x=poisoned, labels=labels)).measure(model)
    assert np.array_equal(one["right"], two["right"]) and one["panel"] == two["panel"] and one["knn"] == two["knn"]


def _fresh(data: Any) -> Any:
    from tacit.training.memory import learn

    return learn(data, steps=1, size="tiny", batch_size=8, method="simclr")


def test_groups_are_not_split_between_labels_and_scores() -> None:
    data = from_arrays(np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32), y=np.arange(90) % 2, groups=np.arange(90) // 3)
    judge = Judge(data)
    assert judge.fit is not None and judge.held is not None and data.groups is not None
    assert not set(data.groups[judge.fit]) & set(data.groups[judge.held])


def test_the_level_is_what_the_labels_give() -> None:
    x = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
    assert Judge(from_arrays(x, y=np.arange(120) % 2)).level == 10
    assert Judge(from_arrays(x, y=np.arange(120) % 12)).level in (2, 5)
    assert Judge(from_arrays(x, y=np.linspace(0, 1, 120))).level == 50
    for unlabelled in (from_arrays(x), from_arrays(x, y=np.zeros(120, np.int64))):
        assert Judge(unlabelled).level is None and "label-free" in Judge(unlabelled).criterion


def test_few_labels_among_many_items_are_all_read() -> None:
    x = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    y: list[str | None] = [None] * 20_000
    y[5::100] = ["a", "b"] * 100
    data = from_arrays(x, y=y)
    judge = Judge(data)
    assert data.labels is not None and judge.fit is not None and judge.held is not None
    assert judge.level == 10 and len(judge.rows) == tournament.ROWS
    assert set(judge.labelled) == {r for r in data.train if data.labels[r] >= 0} == {*judge.fit, *judge.held}
    found = judge.measure(_fresh(data))
    assert found["right"].shape[1] == len(judge.held) and found["panel"].items == tournament.ROWS
    few = Judge(from_arrays(x[:300], y=["a", "b", "a", "b", *[None] * 296]))
    assert few.level is None and "too few" in few.criterion


def test_numbers_are_scored_by_r2() -> None:
    x = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32)
    data = from_arrays(x, y=x[:, 0].astype(np.float64))
    right = Judge(data).measure(_fresh(data))["right"]
    assert right.shape[0] == tournament.DRAWS and right.mean() < 1 and np.isfinite(right).all()


# ---- the ranking ----


def test_the_best_few_label_score_wins_and_failures_come_last(tmp_path: Path) -> None:
    ones, half = np.ones((2, 40)), np.tile([0.0, 1.0], (2, 20))
    found = comparison(tmp_path, [measured("a", half), measured("b", failed="collapsed"), measured("c", ones)])
    assert found.order(0) == ["c", "a", "b"]
    choice = found.choice()
    assert choice["name"] == "c" and choice["run"] == "runs/c" and "ahead of a" in choice["reason"]
    assert [r["candidate"] for r in found.table()] == ["c", "a", "b"] and found.table()[-1]["failed"] == "collapsed"
    tie = comparison(tmp_path, [measured("a", half), measured("c", half[:, ::-1])]).choice()
    assert "cannot be told apart" in tie["reason"]
    assert comparison(tmp_path, [measured("a", failed="x"), measured("b", failed="y")]).choice()["name"] is None


def test_without_labels_the_mean_rank_of_the_measures_decides(tmp_path: Path) -> None:
    found = comparison(tmp_path, [measured("a", quality=2), measured("b", quality=9), measured("c", quality=5)])
    assert found.order(0) == ["b", "c", "a"]
    assert found.choice()["agreement"] is None


def test_agreement_is_spearman_of_both_rankings(tmp_path: Path) -> None:
    def scored(share: float) -> np.ndarray:
        return (np.arange(40) < 40 * share).astype(float)[None].repeat(2, 0)

    same = comparison(tmp_path, [measured(n, scored(s), r) for n, s, r in (("a", 0.2, 2), ("b", 0.5, 4), ("c", 0.9, 8))])
    other = comparison(tmp_path, [measured(n, scored(s), r) for n, s, r in (("a", 0.2, 8), ("b", 0.5, 4), ("c", 0.9, 2))])
    assert same.choice()["agreement"] == pytest.approx(1) and other.choice()["agreement"] == pytest.approx(-1)


def test_those_of_a_later_round_come_first(tmp_path: Path) -> None:
    def scored(share: float) -> np.ndarray:
        return (np.arange(40) < 40 * share).astype(float)[None].repeat(2, 0)

    found = comparison(
        tmp_path,
        [measured("a", scored(0.9)), measured("b", scored(0.8)), measured("c", scored(0.7))],
        [measured("a", scored(0.5)), measured("b", scored(0.6))],
    )
    assert [r["candidate"] for r in found.table()] == ["b", "a", "c"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    found = comparison(tmp_path, [measured("a", np.ones((2, 4))), measured("b", failed="no")])
    found.finish()
    again = Comparison.read(tmp_path)
    assert again.order(0) == found.order(0) and again.to_json() == found.to_json()
    (tmp_path / "compare.json").write_text("{")
    with pytest.raises(TacitError, match=r"compare\.json cannot be read"):
        Comparison.read(tmp_path)


def test_a_value_that_is_not_finite_survives_the_disk(tmp_path: Path) -> None:
    last = replace(measured("a"), panel=replace(measured("a").panel, lidar=float("nan")))  # type: ignore[type-var]
    found = comparison(tmp_path, [last, measured("b", quality=5)])
    found.save()
    again = Comparison.read(tmp_path).rounds[0]["a"].panel
    assert again is not None and again.lidar is not None and np.isnan(again.lidar) and again.alpha is None


def test_too_short_a_round_is_played_by_fewer(tmp_path: Path) -> None:
    found = comparison(tmp_path, [measured(n, quality=q) for n, q in zip("abcdefgh", range(8), strict=True)])
    found.entered, found.seconds, found.spent, said = [list("abcdefgh")], [10.0], 100.0, []
    found.overhead = 5.0
    names, share = halving._next(found, 300.0, said.append)
    assert names == list("hgfe") and share == 100.0, "four of them for 20 s each, of two rounds"
    names, share = halving._next(found, 190.0, said.append)
    assert names == list("hg") and share == 90.0, "45 s would leave four of them less than they had"
    assert halving._next(found, 120.0, said.append)[0] == [] and "no time is left" in said[0]
    found.entered.append(["h", "g"])
    assert halving._next(found, 1e6, said.append)[0] == [] and len(said) == 1, "the last round was that of two"


def test_what_has_no_say_is_named(tmp_path: Path) -> None:
    said = " ".join(halving.summary(comparison(tmp_path, [measured("simclr"), measured("vicreg", quality=5)])))
    assert "RankMe (methods differ in it" in said and "LiDAR (not every candidate has it)" in said


# ---- the whole way ----


def test_halving_trains_the_better_half_again(tmp_path: Path) -> None:
    said: list[str] = []
    found = api.compare(small("image"), ["simclr", "vicreg", "rotation"], out=tmp_path / "cmp", say=said.append, **TINY)
    assert found.status == "done" and set(found.rounds[0]) == {"simclr", "vicreg", "rotation"}
    assert all(len(each) == 2 for each in found.rounds[1:])
    raw = json.loads((tmp_path / "cmp" / "compare.json").read_text())
    assert raw["choice"]["name"] in found.rounds[0] and len(raw["ranking"]) == 3
    run = Path(raw["choice"]["run"])
    assert (run / "model" / "model.safetensors").is_file() and api.load(run).embed(small("image")).shape[0] == 40
    assert "left out" not in " ".join(said)
    with pytest.raises(Asked, match="is not empty"):
        api.compare(small("image"), ["simclr", "vicreg"], out=tmp_path / "cmp", **TINY)
    with pytest.raises(Asked, match="seed changed"):
        api.compare(small("image"), ["simclr", "vicreg", "rotation"], out=tmp_path / "cmp", resume=True, seed=1, **TINY)
    with pytest.raises(Asked, match="is of simclr, vicreg, rotation"):
        api.compare(small("image"), ["simclr", "byol"], out=tmp_path / "cmp", resume=True, **TINY)
    with pytest.raises(Asked, match="the data, its labels or its split changed"):
        api.compare(small("image", 60), ["simclr", "vicreg"], out=tmp_path / "cmp", resume=True, **TINY)


def test_an_interrupt_loses_nothing_that_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    real = halving.train

    def train(candidate: Candidate, *args: Any, **options: Any) -> Measured:
        trained.append(candidate.name)
        if candidate.name == "vicreg" and trained.count("vicreg") == 1:
            raise Stopped("interrupted", tmp_path)
        return real(candidate, *args, **options)

    monkeypatch.setattr(halving, "train", train)
    names = ["simclr", "vicreg"]
    with pytest.raises(Stopped, match="at vicreg") as stop:
        api.compare(small("image"), names, out=tmp_path / "cmp", **TINY)
    assert stop.value.run == tmp_path / "cmp"
    before = Comparison.read(tmp_path / "cmp")
    assert list(before.rounds[0]) == ["simclr"] and before.status == "running" and before.spent > 0
    after = api.compare(small("image"), names, out=tmp_path / "cmp", resume=True, **TINY)
    assert trained == ["simclr", "vicreg", "vicreg"] and after.status == "done"
    assert np.array_equal(after.rounds[0]["simclr"].right, before.rounds[0]["simclr"].right)  # type: ignore[arg-type]
    done = api.compare(small("image"), names, out=tmp_path / "cmp", resume=True, **TINY)
    assert len(trained) == 3 and done.order(0) == after.order(0)


def test_a_kill_loses_at_most_the_candidate_that_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Nothing of ours handles it, as nothing handles kill -9."""

    trained: list[str] = []
    real = tournament.pretrain

    def pretrain(*args: Any, **options: Any) -> Any:
        if options.get("dry_run"):
            return real(*args, **options)
        trained.append(options["method"])
        if trained == ["simclr", "vicreg"]:
            real(*args, **options)  # it is trained whole, and never measured
            raise Killed
        return real(*args, **options)

    monkeypatch.setattr(tournament, "pretrain", pretrain)
    with pytest.raises(Killed):
        api.compare(small("image"), ["simclr", "vicreg"], out=tmp_path / "cmp", **TINY)
    before = Comparison.read(tmp_path / "cmp")
    assert list(before.rounds[0]) == ["simclr"] and before.entered == [["simclr", "vicreg"]]
    after = api.compare(small("image"), ["simclr", "vicreg"], out=tmp_path / "cmp", resume=True, **TINY)
    assert after.status == "done" and trained == ["simclr", "vicreg", "vicreg"] and not after.rounds[0]["vicreg"].failed
    assert after.seconds == before.seconds and after.rounds[0]["simclr"].steps == before.rounds[0]["simclr"].steps


def test_a_candidate_that_collapses_does_not_end_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tournament.pretrain

    def pretrain(*args: Any, **options: Any) -> Any:
        if options["method"] == "simclr" and not options.get("dry_run"):
            raise Collapsed("the embedding has collapsed")
        return real(*args, **options)

    monkeypatch.setattr(tournament, "pretrain", pretrain)
    found = api.compare(small("image"), ["simclr", "vicreg"], out=tmp_path / "cmp", **TINY)
    assert found.rounds[0]["simclr"].failed and found.choice()["name"] == "vicreg"


def test_a_plugin_that_breaks_is_a_failed_candidate_and_a_full_disk_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fault = tournament.pretrain, [ZeroDivisionError("in forward"), TacitError("no space left on device")]

    def pretrain(*args: Any, **options: Any) -> Any:
        if options["method"] == "simclr" and not options.get("dry_run") and fault:
            raise fault[-1]
        return real(*args, **options)

    monkeypatch.setattr(tournament, "pretrain", pretrain)
    names = ["simclr", "vicreg"]
    with pytest.raises(TacitError, match="no space left"):
        api.compare(small("image"), names, out=tmp_path / "cmp", **TINY)
    assert Comparison.read(tmp_path / "cmp").status == "running"
    fault.pop()
    found = api.compare(small("image"), names, out=tmp_path / "cmp", resume=True, **TINY)
    assert found.rounds[0]["simclr"].failed == "ZeroDivisionError: in forward" and found.choice()["name"] == "vicreg"


def test_a_run_says_that_labels_chose_it(tmp_path: Path) -> None:
    data = small("image", 80)
    found = api.compare(data, ["simclr", "vicreg"], out=tmp_path / "cmp", **TINY)
    run = Path(found.choice()["run"])
    assert "chosen by the accuracy" in (run / "model" / "CARD.md").read_text()
    score = api.evaluate(run, data, supervised=False, levels=[5])
    assert any("chosen among others by the accuracy" in note for note in score.evaluation.notes)
    found.finish()  # killed before the end was written: the same again
    assert (run / "model" / "CARD.md").read_text().count("chosen by") == 1


def test_a_leftover_of_a_kill_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "cmp").mkdir()
    (tmp_path / "cmp" / ".compare.json.123").write_text("{")
    assert api.compare(small("image"), ["simclr", "vicreg"], out=tmp_path / "cmp", **TINY).status == "done"


def test_all_takes_what_can_run_and_reads_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    def stop(found: Comparison, *args: Any) -> None:
        raise Enough

    monkeypatch.setattr(halving, "_rounds", stop)
    with pytest.raises(Enough):
        api.compare(small("vector"), every=True, out=tmp_path / "cmp", **TINY)
    found = Comparison.read(tmp_path / "cmp")
    assert {"simclr", "mae", "vicreg"} <= set(found.request["candidates"])
    assert found.left_out["supervised"] == "reads labels" and "turn" in found.left_out["rotation"] and "supcon" in found.left_out


@pytest.mark.parametrize(
    ("methods", "every", "said"),
    [
        (None, False, "say which methods"),
        (["simclr"], False, "at least two"),
        (["simclr", "simclr"], False, "twice"),
        (["simclr", "arrow"], False, "arrow cannot run on this data"),
        (["simclr", "simcrl"], False, "no method 'simcrl'"),
        (["simclr", "mae@method.ratio=7"], False, "ratio"),
        (["simclr", "mae"], True, "say which methods"),
        (["simclr", "supcon"], False, "reads labels"),
        (["simclr", "vicreg@train.steps=5"], False, "same time"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, methods: list[str] | None, every: bool, said: str) -> None:
    with pytest.raises(Asked, match=said):
        api.compare(small("image"), methods, every=every, out=tmp_path / "cmp", **TINY)
    assert not (tmp_path / "cmp").exists()


def test_a_round_that_failed_whole_does_not_hide_the_one_before(tmp_path: Path) -> None:
    half = np.tile([0.0, 1.0], (2, 20))
    first = [measured("a", np.ones((2, 40))), measured("b", half), measured("c", half)]
    found = comparison(tmp_path, first, [measured("a", failed="x"), measured("b", failed="y")])
    assert found.choice()["name"] == "a" and found.choice()["run"] == "runs/a"
    assert [(r["candidate"], r["round"], r["failed"]) for r in found.table()] == [("a", 1, ""), ("b", 1, ""), ("c", 1, "")]


def test_a_budget_that_is_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halving, "LEAST", 3.0)
    monkeypatch.setattr(halving, "AROUND", 1.0)
    with pytest.raises(Asked, match=r"leaves 2\.0 s of training for each of 2 candidates") as error:
        api.compare(small("image"), ["simclr", "vicreg"], out=tmp_path / "cmp", **{**TINY, "budget": 6})
    assert "--budget 8s" in error.value.hint and not (tmp_path / "cmp").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(Asked, match="is a file"):
        api.compare(small("image"), ["simclr", "vicreg"], out=tmp_path / "file", budget=60)
    with pytest.raises(Asked, match="--resume needs --out"):
        api.compare(small("image"), ["simclr", "vicreg"], resume=True)


def test_rankme_is_not_compared_between_methods(tmp_path: Path) -> None:
    same = comparison(tmp_path, [measured("simclr"), measured("simclr@optim.lr=0.1")])
    other = comparison(tmp_path, [measured("simclr"), measured("vicreg")])
    assert "rankme" in same.ranking(0).ranks["simclr"] and "rankme" not in other.ranking(0).ranks["simclr"]


def test_long_names_get_folders_of_their_own() -> None:
    long = "simclr@" + "@".join(f"method.hidden={i}" for i in range(12))
    assert Candidate.read(long).folder != Candidate.read(long + "0").folder and len(Candidate.read(long).folder) < 80
    assert Candidate.read("simclr@optim.lr=1e+3").folder != Candidate.read("simclr@optim.lr=1e-3").folder


def test_the_command_line(tmp_path: Path) -> None:
    done = call("compare", "builtin:digits", "--methods", "simclr,vicreg", "--budget", "1s", "--size", "tiny", "--out", tmp_path / "cmp")
    assert done.code == 0, done.err
    run = Path(done.out.splitlines()[-1])
    assert (run / "model").is_dir() and "choice: " in done.out and "clusters" in done.out
    again = ("--budget", "1s", "--size", "tiny", "--out", tmp_path / "cmp", "--resume")
    told = call("compare", "builtin:digits", "--methods", "simclr,vicreg", *again, "--json", "--quiet")
    plain = json.loads(told.out)
    assert plain["choice"]["run"] == str(run) and told.err == "" and plain["rounds"][0]["simclr"]["right"] is None
    wrong = call("compare", "builtin:digits", "--methods", "simclr,arrow")
    assert wrong.code == 2 and "arrow" in wrong.err and "hint:" in wrong.err
    assert call("compare", "builtin:digits", "--methods", "simclr,mae", "--budget", "soon").code == 2


# ---- augmentation ----


def test_every_strength_but_the_present_one_is_tried() -> None:
    grey = augmentation.changes(from_arrays((np.random.default_rng(0).random((40, 16, 16)) * 255).astype(np.uint8)))
    tried = augmentation.changes(small("image"))
    now = augmentation.current(make_modality(small("image").spec, {}))
    assert all(now[k] != v for k, v in tried) and {"crop", "colour", "grey", "blur", "turn", "flip"} == {k for k, _ in tried}
    assert "grey" not in {k for k, _ in grey}
    assert {k for k, _ in augmentation.changes(small("series"))} == {"crop", "scale", "noise"}


def test_changes_that_helped_meet_in_the_last_round(tmp_path: Path) -> None:
    def scored(share: float) -> np.ndarray:
        return (np.arange(40) < 40 * share).astype(float)[None].repeat(2, 0)

    names = {"s": 0.5, "s@modality.crop=0.7": 0.6, "s@modality.crop=0.1": 0.7, "s@modality.colour=0": 0.8, "s@modality.turn=15": 0.3}
    found = comparison(tmp_path, [measured(n, scored(v)) for n, v in names.items()])
    assert augmentation.finalists(found) == ["s", "s@modality.colour=0", "s@modality.colour=0@modality.crop=0.1"]
    worse = comparison(tmp_path, [measured("s", scored(0.9)), measured("s@modality.crop=0.1", scored(0.2))])
    assert augmentation.finalists(worse) == ["s", "s@modality.crop=0.1"]


def test_an_invariance_that_costs_the_labels_is_named(tmp_path: Path) -> None:
    def scored(share: float) -> np.ndarray:
        return (np.arange(60) < 60 * share).astype(float)[None].repeat(3, 0)

    names = {"s": 0.5, "s@modality.colour=0": 0.95, "s@modality.crop=0.7": 0.1, "s@modality.blur=0": 0.5}
    found = comparison(tmp_path, [measured(n, scored(v)) for n, v in names.items()])
    means = {r["strength"]: r["means"] for r in augmentation.invariances(found, small("image"))}
    assert means == {"colour": "erases what the labels say", "crop": "helps", "blur": "no clear effect"}
    assert augmentation.invariances(comparison(tmp_path, [measured(n) for n in names]), small("image")) == []


def test_tuning_the_whole_way(tmp_path: Path) -> None:
    done = call(
        "tune-augmentation", "builtin:digits", "--budget", "1s", "--size", "tiny", "--batch-size", 64, "--out", tmp_path / "aug"
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "without colour" in done.out and Path(done.out.splitlines()[-1]).is_dir()
    refused = call("tune-augmentation", "builtin:digits", "--method", "mae")
    assert refused.code == 2 and "no augmented views" in refused.err
