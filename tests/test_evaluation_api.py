"""evaluate() of the Python API: what it makes of runs, models and test data, and where it writes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tacit
from conftest import small
from tacit import api
from tacit.api import Evaluated
from tacit.data.dataset import Dataset, from_arrays
from tacit.embedding.model import Model
from tacit.errors import Asked, TacitError
from tacit.training.run import Run


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps on small vectors; tests change copies of it."""
    return tacit.pretrain(small("vector"), out=tmp_path_factory.mktemp("evaluate") / "run", steps=6, size="tiny", batch_size=8).path


@pytest.fixture
def run(trained_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_once, tmp_path / "run"))


def evaluated(model: Path | Model, **options: object) -> Evaluated:
    """An evaluation that trains nothing from scratch."""
    given = {"data": small("vector"), "levels": [1, "all"], "seeds": 3, "supervised": False} | options
    return tacit.evaluate(model, **given)  # type: ignore[arg-type]


def test_vectors_go_the_whole_way(run: Path) -> None:
    done = evaluated(run)
    assert done.path is not None and done.path.is_file() and api.report(run).is_file()
    with np.load(run / "embeddings" / "report.npz", allow_pickle=False) as kept:
        assert len(kept["z"]) and not len(kept["png"])


def test_a_run_that_read_labels_is_told(run: Path) -> None:
    assert not any("read labels" in note for note in evaluated(run).evaluation.notes)
    Run(run).note(labels_seen=True)
    done = evaluated(run)
    assert done.verdict["helps"] is None and any(note.startswith("this run read labels") for note in done.evaluation.notes)
    model = tacit.load(run)
    model.config.pop("labels_seen", None)
    assert any("whether pretraining read labels is unknown" in note for note in evaluated(model).evaluation.notes)
    model.config["labels_seen"] = True
    assert any(note.startswith("this run read labels") for note in evaluated(model).evaluation.notes)


def test_what_pretraining_saw_is_said_to_be_unknown(run: Path) -> None:
    words = "what pretraining saw is unknown: leaks into it were not checked"
    assert words not in evaluated(run).evaluation.notes
    assert words in evaluated(tacit.load(run)).evaluation.notes
    (run / "seen.npy").unlink()
    assert words in evaluated(run).evaluation.notes


def test_groups_on_both_sides_are_named(run: Path) -> None:
    x, y = np.asarray(small("vector").x) + 0.5, np.arange(40) % 2  # pretraining saw none of these
    split = ["train"] * 30 + ["test"] * 10
    apart, across = ([f"p{i // 5}" for i in range(40)], [f"p{i % 8}" for i in range(40)])
    notes = [evaluated(run, data=from_arrays(x, y, groups=g, split=split)).evaluation.notes for g in (apart, across)]
    words = "8 of the 8 groups in the test also have training items: the scores do not hold for new groups"
    assert words in notes[1] and not any("groups in the test" in note for note in notes[0])
    other = from_arrays(x + 1, y, groups=across, name="later")
    done = evaluated(run, data=from_arrays(x, y, groups=apart, split=split), test=other)
    assert any(note.startswith("6 of the 8 groups in the test") for note in done.evaluation.notes)


def rows_of_numbers(y: np.ndarray, seed: int) -> Dataset:
    return from_arrays(np.random.default_rng(seed).normal(size=(len(y), 7)).astype(np.float32), y, name=f"rows {seed}")


def test_test_labels_are_read_as_the_training_labels(run: Path) -> None:
    many, few = rows_of_numbers(np.arange(100) % 25, 1), rows_of_numbers(np.arange(30) % 25, 2)
    assert len(many.classes) == 25 and few.classes == (), "few rows look like numbers"
    done = evaluated(run, data=many, test=few)
    assert {r["metric"] for r in done.evaluation.results} == {"accuracy"} and done.evaluation.results[0]["n_test"] == 30
    with pytest.raises(Asked, match="classes that the training data lacks: 25, 26, 27, 28, 29"):
        evaluated(run, data=many, test=rows_of_numbers(np.arange(30) + 0.0, 3))
    numbers, two = rows_of_numbers(np.arange(100) * 3 + 7, 4), rows_of_numbers(np.arange(30) % 2, 5)
    assert numbers.classes == () and two.classes == ("0", "1")
    done = evaluated(run, data=numbers, test=two, levels=[10, "all"])
    assert {r["metric"] for r in done.evaluation.results} == {"r2", "rmse"}
    with pytest.raises(Asked, match="the training labels are numbers, those of rows 6 are classes such as 'cat'"):
        evaluated(run, data=numbers, test=rows_of_numbers(np.array(["cat", "dog"] * 10), 6))


def test_evaluations_do_not_overwrite_each_other(run: Path) -> None:
    own = evaluated(run).path
    assert own is not None and own.name == "array.json" and evaluated(run).path == own
    y = np.arange(40) % 2
    arrays = [from_arrays(np.asarray(small("vector").x) + shift, y) for shift in (1, 2)]
    given = [{"test": arrays[0]}, {"test": arrays[1]}, {"data": arrays[0]}]
    files = [evaluated(run, **g).path for g in given]
    assert len({own, *files}) == 4 and all(f is not None and f.stem.startswith("array-") for f in files)
    assert files == [evaluated(run, **g).path for g in given]
    first = [replace(arrays[0], path=p) for p in ("a/x", "b/x")]
    names = {api._named(run, data, arrays[1], t, s) for data in first for t in (None, "x") for s in (None, "y")}
    assert len(names) == 8


def test_options_come_too_late_for_open_data(run: Path) -> None:
    with pytest.raises(Asked, match="target, split cannot change data that is open already"):
        evaluated(run, target="label", options={"split": "part"})
    with pytest.raises(Asked, match="group cannot change data that is open already"):
        tacit.inspect(np.zeros((20, 3)), group="patient")
    evaluated(run, target=None, options={"split": None, "cache": False})


@pytest.mark.parametrize("way", ["file", "folder"])
def test_a_place_that_cannot_be_written_is_named(run: Path, way: str) -> None:
    shutil.rmtree(run / "embeddings", ignore_errors=True)
    if way == "file":
        (run / "embeddings").write_text("in the way")
    else:
        (run / "embeddings" / "report.npz" / "in the way").mkdir(parents=True)
    with pytest.raises(TacitError, match=r"report\.npz cannot be written"):
        evaluated(run)
    assert not list(run.glob("embeddings/.report*"))


def test_groups_of_the_training_rows_reach_the_choices(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, judge = [], api.judge
    monkeypatch.setattr(api, "judge", lambda *parts, **options: given.append(options["groups"]) or judge(*parts, **options))
    data = from_arrays(np.asarray(small("vector").x) + 0.5, np.arange(40) % 2, groups=[f"p{i // 5}" for i in range(40)])
    evaluated(run, data=data)
    assert data.groups is not None and given[0].tolist() == data.groups[data.train].tolist()
