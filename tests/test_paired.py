"""Pairs of texts: two columns are items of their own, each row is a pair with a number or a class."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tacit
from conftest import call
from tacit.data.dataset import from_arrays
from tacit.data.forms import of_pairs
from tacit.data.paired import paired, sides
from tacit.data.supervision import supervise
from tacit.errors import Asked
from tacit.head import of_pair

SMALL = {"backbone": {"dim": 32, "depth": 1, "heads": 2}, "modality": {"width": 32}}


def table(path: Path, n: int = 90) -> Path:
    """What a first text says follows from it, contradicts it, or has nothing to do with it; and a number."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", "label", "score"])
        for i in range(n):
            who, act = ("Ann", "Ben")[rng.integers(2)], ("sleeps", "runs")[rng.integers(2)]
            second, label = [(f"a person {act}", "follows"), (f"{who} never {act}", "contradicts"), ("a hat is red", "neither")][i % 3]
            writer.writerow([f"{who} {act} at {i}", "" if i == 7 else f"{second} in year {i}", label, i % 3])
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("pairs") / "nli.csv")


def test_rows_become_pairs_of_texts_that_stay_on_one_side(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [(f"text {i // 2}", f"other {i}", i % 2, "test" if i < 6 else "train") for i in range(20)]
    path.write_text("a,b,score,split\n" + "\n".join(",".join(map(str, r)) for r in rows) + "\n")
    data = tacit.open(path, text_column="a,b", target="score")
    items, pairs, kept = sides(data)
    assert items.raws is not None
    texts = list(items.raws())
    assert len(items) == 30 and len(set(texts)) == 30 and kept.tolist() == list(range(20))
    for (a, b), row in zip(pairs, rows, strict=True):
        assert (texts[a], texts[b]) == row[:2]
        assert items.split[a] == items.split[b] == data.split[kept[rows.index(row)]]
    # a text that two pairs share is held out where one of them is
    shared = path.read_text().replace("text 9,other 18", "text 0,other 18")
    path.write_text(shared)
    items, pairs, _ = sides(tacit.open(path, text_column="a,b", target="score"))
    assert items.split[pairs[18]].tolist() == [1, 0]


def test_numbers_are_similarities_and_words_are_classes(place: Path) -> None:
    data = tacit.open(place, text_column="first,second", target="label")
    _, answers = paired(data, "pairs")
    assert answers.classes == ("contradicts", "follows", "neither") and answers.items.shape == (89, 2)
    assert any("1 rows do not hold two texts" in note for note in answers.notes)
    _, numbers = paired(tacit.open(place, text_column="first,second", target="score"), "similarity")
    assert numbers.classes == () and numbers.values.dtype.kind == "f" and set(numbers.values) == {0.0, 1.0, 2.0}
    with pytest.raises(Asked, match="words where a number"):
        paired(data, "similarity")
    with pytest.raises(Asked, match="do not hold two texts"):
        paired(tacit.open(place, text_column="first", target="label"), "pairs")
    with pytest.raises(Asked, match="no labels"):
        paired(replace(data, labels=None), "pairs")


def test_an_ordered_pair_is_not_its_reverse() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3))
    assert np.array_equal(of_pair(a, b), of_pair(b, a))
    ordered = of_pair(a, b, True)
    assert ordered.shape == (5, 12) and not np.allclose(ordered, of_pair(b, a, True))
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    assert np.allclose(ordered[:, 6:9], unit)


def test_classes_of_pairs_from_the_command_line(place: Path) -> None:
    folder = place.parent
    data = tacit.open(place, text_column="first,second", target="label")
    run = tacit.pretrain(data, out=folder / "run", method="mlm", backbone="roformer", steps=20, batch_size=16, overrides=SMALL)
    said = call("finetune", run.path, place, "--head", "pairs", "--target", "label", "--out", folder / "model")
    assert said.code == 0, said.err
    result = json.loads((folder / "model" / "result.json").read_text())
    assert result["head_kind"] == "pairs" and result["results"][0]["metric"] == "accuracy" and result["results"][0]["value"] > 0.5
    found = tacit.predict(folder / "model", place)
    assert found["id"][:2] == ["nli.csv:2", "nli.csv:3"] and "nli.csv:9" not in found["id"]  # as the rows are called; one has no second
    assert any("1 rows do not hold two texts" in note for note in found.notes)
    assert len(found) == 89 and set(found["prediction"]) <= {"follows", "contradicts", "neither"} and len(found["a"]) == 89
    said = call("predict", folder / "model", place, "--text-column", "first", "--out", folder / "p.csv")
    assert said.code == 2 and "do not hold two texts" in said.err


def test_the_network_reads_a_pair_as_the_decision_does(place: Path) -> None:
    data = tacit.open(place, text_column="first,second", target="label")
    run = tacit.pretrain(data, out=place.parent / "again", method="mlm", backbone="roformer", steps=2, batch_size=16, overrides=SMALL)
    from tacit.finetuning.finetune import finetune

    items, answers = paired(data, "pairs")
    network = finetune(run.model, items, answers, strategy="probe").decider.network
    f = network.features(items.x[:8], items.lengths[:8] if items.lengths is not None else None)
    both = network.pairs(torch.from_numpy(np.concatenate([f[:4], f[4:]]))).detach().numpy()
    assert np.allclose(both, network.outcome(f, np.array([[k, k + 4] for k in range(4)])), atol=1e-4)


def test_a_table_may_pair_items_of_other_data_with_classes(tmp_path: Path) -> None:
    data = from_arrays(np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
    path = tmp_path / "pairs.csv"
    path.write_text("a,b,label\narray:0,array:1,before\narray:1,array:0,after\narray:2,array:3,before\n")
    answers = supervise(data, file=path, head="pairs")
    assert answers.items.tolist() == [[0, 1], [1, 0], [2, 3]] and answers.values.tolist() == [1, 0, 1]
    path.write_text("a,b,label\narray:0,array:1,before\narray:0,array:1,after\n")
    with pytest.raises(Asked, match="keep one row"):
        supervise(data, file=path, head="pairs")


def test_labels_of_pairs_that_are_missing_are_left_out() -> None:
    items = np.array([[0, 1], [2, 3], [4, 5]])
    assert of_pairs(items, np.array([0, -1, 1]), ("a", "b"), "pairs", "x").items.tolist() == [[0, 1], [4, 5]]
    assert of_pairs(items, np.array([0, -1, 2]), ("0", "1", "5"), "similarity", "x").values.tolist() == [0.0, 5.0]
    assert of_pairs(items, np.array([1.0, np.nan, 2.0], np.float32), (), "similarity", "x").values.tolist() == [1.0, 2.0]


def test_texts_shared_across_the_split_are_named_and_groups_are_kept(tmp_path: Path, place: Path) -> None:
    path = tmp_path / "shared.csv"
    path.write_text("a,b,label,who\n" + "\n".join(f"text {i},one of {i % 2},{'xy'[i % 3 > 0]},p{i // 4}" for i in range(60)) + "\n")
    data = tacit.open(path, text_column="a,b", target="label")
    with pytest.raises(Asked, match="shares a text with a held-out pair"):
        paired(data, "pairs")
    path.write_text("a,b,label,who\n" + "\n".join(f"text {i // 3},other {i},{'xy'[i % 3 > 0]},p{i // 3}" for i in range(60)) + "\n")
    _, answers = paired(tacit.open(path, text_column="a,b", target="label"), "pairs")
    assert any("count for neither side" in note for note in answers.notes)
    items, answers = paired(tacit.open(path, text_column="a,b", target="label", group="who"), "pairs")
    assert items.groups is not None and not any("neither side" in note for note in answers.notes)
    for a, b in answers.items.tolist():
        assert items.groups[a] == items.groups[b] and items.split[a] == items.split[b]
    assert len(items.group_names) == 20


def test_another_target_of_open_data_is_the_one_that_is_learned(place: Path, tmp_path: Path) -> None:
    data = tacit.open(place, text_column="first,second", target="label")
    run = tacit.pretrain(data, out=tmp_path / "run", method="mlm", backbone="roformer", steps=2, batch_size=16, overrides=SMALL)
    tuned = tacit.finetune(run, data, target="score", head="similarity", strategy="probe", out=tmp_path / "m")
    assert {r["metric"] for r in tuned.result["results"]} >= {"spearman", "rmse"}
    assert set(tacit.predict(tuned.path, place)["prediction"].round()) > {0.0}
