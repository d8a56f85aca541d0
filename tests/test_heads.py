"""Heads: what they learn equals slow versions, what they promise holds, and every kind of answer goes the whole way."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit as package
from tacit import registry
from tacit.data.dataset import from_arrays
from tacit.data.supervision import Supervision, supervise
from tacit.deciding import Knowledge, Predictions
from tacit.errors import Asked, TacitError
from tacit.finetuning.config import FinetuneConfig
from tacit.finetuning.finetune import finetune
from tacit.head import of_pair
from tacit.heads.classification import Classification
from tacit.heads.multilabel import Multilabel
from tacit.heads.regression import Regression
from tacit.heads.similarity import Similarity
from tacit.heads.tagging import Tagging

QUICK = FinetuneConfig(least=6, most=6, batch=16, lr=3e-4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_head_is_listed_with_its_metrics() -> None:
    heads = registry.every("heads")
    assert set(heads) == {"classification", "multilabel", "regression", "tagging", "similarity", "pairs", "transcription"}
    assert all(h.metrics and h.level in ("item", "token", "sequence", "pair") for h in heads.values())


# ---- classification ----


def test_balanced_weights_equal_a_loss_over_class_means() -> None:
    head = Classification(("a", "b", "c"), weights="balanced", smoothing=0.0)
    y = np.array([0] * 8 + [1] * 3 + [2])
    head.prepare(y)
    out = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    each = torch.nn.functional.cross_entropy(out, torch.from_numpy(y), reduction="none")
    slow = torch.stack([each[torch.from_numpy(y == k)].mean() for k in range(3)]).mean()
    torch.testing.assert_close(head.loss(out, torch.from_numpy(y)), slow)


def test_a_balanced_probe_finds_the_rare_class() -> None:
    f = np.concatenate([rng(1).normal(0, 1, (300, 4)), rng(2).normal(0.9, 1, (15, 4))])
    y = np.array([0] * 300 + [1] * 15)
    recall = {}
    for weights in ("none", "balanced"):
        head = Classification(("often", "rare"), weights=weights)  # type: ignore[arg-type]
        weight, bias = head.probe(f, y, small=False, seed=0, groups=None)
        recall[weights] = float(((f @ weight + bias).argmax(1)[y == 1] == 1).mean())
    assert recall["balanced"] > recall["none"] + 0.3


def test_a_class_that_was_never_seen_is_never_said() -> None:
    head = Classification(("a", "b", "never"))
    f, y = rng().normal(size=(30, 3)), np.arange(30) % 2
    weight, bias = head.probe(f, y, small=True, seed=0, groups=None)
    out = f @ weight + bias
    assert np.isfinite(out).all() and not (out.argmax(1) == 2).any()


def test_the_sets_that_are_shown_hold_the_truth_as_often_as_promised() -> None:
    hit, exact = [], []
    for seed in range(60):
        g = rng(seed)
        y = g.integers(0, 4, 800)
        out = g.normal(size=(800, 4)) + 1.2 * np.eye(4)[y]
        head = Classification(tuple("abcd"))
        c = head.calibrate(out[:400], y[:400], 0.1)
        said = head.decide(out[400:], c)
        hit.append(np.mean(["abcd"[t] in s for t, s in zip(y[400:], said.columns["set"], strict=True)]))
        exact.append(head.scores(out[400:], y[400:], c)["coverage"])
        assert np.array_equal(said.unsure, [len(s) != 1 for s in said.columns["set"]])
    assert abs(np.mean(exact) - 0.9) < 0.02 and np.mean(hit) >= np.mean(exact)


def test_without_calibration_nothing_is_promised() -> None:
    said = Classification(("a", "b")).decide(np.array([[2.0, 0.0]]), {})
    assert "set" not in said.columns and "too few" in said.promise and said.columns["prediction"] == ["a"]


# ---- numbers ----


def test_numbers_are_learned_in_their_own_unit_and_said_in_the_data_s() -> None:
    head = Regression()
    y = rng().normal(5e6, 2e5, 200)
    f = np.stack([y, rng(1).normal(size=200)], 1)
    f = (f - f.mean(0)) / f.std(0)
    head.prepare(y)
    weight, bias = head.probe(f, y, small=False, seed=0, groups=None)
    out = f @ weight + bias
    np.testing.assert_allclose(head.values(out), y, rtol=1e-3)
    loss = head.loss(torch.from_numpy(out).float(), torch.tensor([*y[:-1], np.nan]))
    assert float(loss) < 1e-2
    found = head.scores(out, y, {})
    assert found["r2"] > 0.99 and found["rmse"] == pytest.approx(np.sqrt(np.mean((head.values(out) - y) ** 2)))


def test_intervals_cover() -> None:
    covered = []
    for seed in range(60):
        g = rng(seed)
        y = g.normal(size=600)
        out = (y + g.normal(0, 0.5, 600))[:, None]
        head = Regression()
        c = head.calibrate(out[:300], y[:300], 0.2)
        covered.append(head.scores(out[300:], y[300:], c)["coverage"])
    assert abs(np.mean(covered) - 0.8) < 0.02
    assert "low" not in Regression().decide(np.zeros((2, 1)), head.calibrate(out[:2], y[:2], 0.2)).columns


# ---- many labels ----


def test_labels_are_learned_one_by_one_and_unknown_ones_left_out() -> None:
    f = rng().normal(size=(300, 3))
    y = np.stack([f[:, 0] > 0, f[:, 1] + f[:, 2] > 0, np.zeros(300)], 1).astype(np.float32)
    y[::3, 0] = np.nan
    head = Multilabel(("left", "right", "never"))
    head.prepare(y)
    weight, bias = head.probe(f, y, small=False, seed=0, groups=None)
    out = f @ weight + bias
    found = head.scores(out, y, {})
    assert found["average_precision"] > 0.98 and found["f1"] > 0.9
    assert not (out[:, 2] > 0).any()
    known = ~np.isnan(y)
    p = 1 / (1 + np.exp(-out))
    slow = -np.where(y == 1, np.log(p), np.log(1 - p))[known].mean()
    torch.testing.assert_close(
        head.loss(torch.from_numpy(out), torch.from_numpy(y)), torch.tensor(slow), rtol=1e-4, atol=1e-4, check_dtype=False
    )
    c = head.calibrate(out, y, 0.1)
    said = head.decide(out, c)
    have = y[:, 0] == 1
    assert np.mean(["left" in s for s in np.array(said.columns["set"], dtype=object)[have]]) >= 0.89


# ---- places ----


def test_iou_is_that_of_a_loop() -> None:
    head = Tagging(("a", "b", "c"))
    y = rng().integers(-1, 3, (5, 6, 6)).astype(np.int16)
    out = rng(1).normal(size=(5, 6, 6, 3))
    guess, slow = out.argmax(-1), []
    for k in range(3):
        both = ((guess == k) & (y == k)).sum()
        either = (((guess == k) & (y >= 0)) | (y == k)).sum()
        slow.append(both / either)
    assert head.scores(out, y, {})["iou"] == pytest.approx(np.mean(slow))


def test_the_loss_of_shares_is_the_mean_of_the_places_losses() -> None:
    head = Tagging(("a", "b"))
    out = torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(0))
    answer = torch.tensor([[[0.75, 0.25], [0.0, 0.0]]])  # three of four places are a; nothing is known of the second token
    places = torch.nn.functional.cross_entropy(out[0, :1].expand(4, 2), torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(head.loss(out, answer), places)


# ---- pairs ----


def test_a_pair_is_read_in_any_order() -> None:
    a, b = rng().normal(size=(2, 10, 5))
    np.testing.assert_allclose(of_pair(a, b), of_pair(b, a))
    np.testing.assert_allclose(of_pair(a, 3 * a)[:, :5], 0, atol=1e-12)
    head = Similarity()
    y = np.array([0.0, 1.0] * 5)
    head.prepare(y)
    c = head.calibrate((y[:, None] - head.centre) / head.unit + rng(3).normal(0, 0.05, (10, 1)), y, 0.2)
    assert "temperature" in c and head.decide(np.zeros((1, 1)), c).columns.keys() >= {"prediction", "probability", "low", "high"}


# ---- the whole way, for every kind of answer ----


def drawn(n: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [n, 1, 16, 16] with a bright square, its mask and its side."""
    g = rng(5)
    x, mask, side = g.integers(0, 60, (n, 1, 16, 16)).astype(np.uint8), np.zeros((n, 16, 16), np.int16), g.integers(3, 10, n)
    for i, s in enumerate(side):
        top, left = g.integers(0, 16 - s + 1, 2)
        x[i, 0, top : top + s, left : left + s] = 220
        mask[i, top : top + s, left : left + s] = 1
    return x, mask, side.astype(np.float32)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Any:
    x, _, _ = drawn()
    where = tmp_path_factory.mktemp("squares") / "run"
    return package.pretrain(
        from_arrays(x, modality="image", size=16), steps=40, size="tiny", out=where, overrides={"backbone": {"strides": 2}}
    )


def test_squares_are_found_measured_and_compared(squares: Any, tmp_path: Path) -> None:
    x, mask, side = drawn()
    d = from_arrays(x, y=mask, modality="image", size=16)
    tags = finetune(squares.model, squares.model.prepare(d), supervise(d), config=QUICK)
    assert tags.out is not None
    found = tags.decider.knowledge.head.scores(tags.out, supervise(d).values[tags.test], {})
    assert found["iou"] > 0.6
    p = tags.decider.predict(d)
    assert p["tags"][0].shape == (16, 16) and np.mean(np.array(p["tags"]) == mask) > 0.8
    p.write(tmp_path / "masks.npz")
    with np.load(tmp_path / "masks.npz", allow_pickle=False) as held:
        assert held["tags"].shape == (160, 16, 16)
    d = from_arrays(x, y=side + 0.5, modality="image", size=16)
    numbers = finetune(squares.model, squares.model.prepare(d), supervise(d, head="regression"), config=QUICK)
    assert numbers.out is not None
    assert numbers.decider.knowledge.head.scores(numbers.out, supervise(d).values[numbers.test], {})["r2"] > 0.7
    data = squares.model.prepare(from_arrays(x, modality="image", size=16))
    pairs = rng(7).integers(0, 160, (400, 2))
    alike = -np.abs(side[pairs[:, 0]] - side[pairs[:, 1]])
    answers = Supervision("similarity", pairs, alike.astype(np.float32))
    compared = finetune(squares.model, data, answers, config=QUICK)
    assert compared.out is not None
    score = compared.decider.knowledge.head.scores(compared.out, answers.values[compared.test], {})
    assert score["spearman"] > 0.5
    compared.decider.save(tmp_path / "pairs")
    again = package.load(tmp_path / "pairs")
    a, b = (m.predict(data, pairs[:20]) for m in (compared.decider, again))
    np.testing.assert_allclose(a["prediction"], b["prediction"])
    with pytest.raises(Asked, match="compares two items"):
        again.predict(data)


def test_several_labels_go_the_whole_way(squares: Any) -> None:
    x, _, side = drawn()
    y = np.stack([side > 5, x[:, 0, :, :8].mean((1, 2)) > x[:, 0, :, 8:].mean((1, 2))], 1).astype(np.float32)
    d = from_arrays(x, y=y, modality="image", size=16)
    done = finetune(squares.model, squares.model.prepare(d), supervise(d), config=QUICK)
    assert done.out is not None
    assert done.decider.knowledge.head.scores(done.out, supervise(d).values[done.test], {})["average_precision"] > 0.8


# ---- what is written ----


def test_predictions_are_written_in_every_form(tmp_path: Path) -> None:
    p = Predictions({"id": ["a", "b"], "prediction": ["x", "y"], "probability": np.array([0.5, 1.0]), "set": [["x", "y"], ["y"]]})
    for ending in ("csv", "jsonl", "parquet"):
        p.write(tmp_path / f"p.{ending}")
    with open(tmp_path / "p.csv", encoding="utf-8") as file:
        assert next(csv.DictReader(file)) == {"id": "a", "prediction": "x", "probability": "0.5", "set": "x|y"}
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[1])["set"] == ["y"]
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "p.parquet").column("set").to_pylist() == [["x", "y"], ["y"]]
    with pytest.raises(Asked, match="written as"):
        p.write(tmp_path / "p.xls")
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_a_damaged_or_newer_model_says_so(squares: Any, tmp_path: Path) -> None:
    x, _, side = drawn(40)
    d = from_arrays(x, y=(side > 5).astype(int), modality="image", size=16)
    finetune(squares.model, squares.model.prepare(d), supervise(d), strategy="probe", config=QUICK).decider.save(tmp_path / "m")
    whole = (tmp_path / "m" / "decider.json").read_text()
    for change, complaint in (
        ({"format": 99}, "pip install --upgrade"),
        ({"head": {"name": "/tmp/evil.py:Head", "knobs": {}, "state": {}}}, "code from outside"),
        ({"cell": None}, "damaged"),
    ):
        (tmp_path / "m" / "decider.json").write_text(json.dumps({**json.loads(whole), **change}))
        with pytest.raises(TacitError, match=complaint):
            Knowledge.read(tmp_path / "m")
