"""What is unusual, and why: scores, false alarms, reasons, streams."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

import tacit
from conftest import call
from tacit import detection
from tacit.data import dataset
from tacit.detecting.detector import Detector
from tacit.detecting.distances import Distances
from tacit.detecting.filler import Filler
from tacit.detecting.tails import Tails
from tacit.errors import Asked, BadData, TacitError
from tacit.reasons import Strange, regions, segments

RNG = np.random.default_rng(11)


def sales(n: int, wrong: tuple[int, ...] = (), seed: int = 0) -> pa.Table:
    """Amounts that follow from item and pieces, but for some rows."""
    rng = np.random.default_rng(seed)
    prices = {"tea": 3.0, "cake": 5.0, "soup": 8.0}
    item, pieces = rng.choice(list(prices), n), rng.integers(1, 5, n)
    amount = np.array([prices[i] for i in item]) * pieces * rng.normal(1, 0.02, n)
    amount[list(wrong)] *= 30
    return pa.table({"item": item, "pieces": pieces, "amount": amount.round(2), "town": rng.choice(["Bern", "Basel"], n)})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sales.csv, a run that learned from it, and new.csv with three wrong rows."""
    folder = tmp_path_factory.mktemp("sales")
    pyarrow.csv.write_csv(sales(900), folder / "sales.csv")
    pyarrow.csv.write_csv(sales(300, (7, 70, 170), seed=1), folder / "new.csv")
    tacit.pretrain(str(folder / "sales.csv"), steps=30, batch_size=64, out=folder / "run", backbone="mlp", size="tiny")
    return folder


# ---- how large is large ----


def test_tails_count_what_is_held_out_and_go_on_beyond_it() -> None:
    held = np.random.default_rng(0).exponential(2.0, (5000, 1))
    tails = Tails.fit(held)
    fresh = np.array([[0.5], [3.0], [9.0], [40.0]])
    truth = fresh[:, 0] / 2 / math.log(10)  # -log10 of exp(-x / 2)
    assert np.allclose(tails.evidence(fresh)[:, 0], truth, rtol=0.15, atol=0.05)
    assert tails.evidence(np.array([[np.nan]]))[0, 0] == 0 and (np.diff(tails.evidence(np.sort(held, 0)[::50])[:, 0]) >= -1e-9).all()
    assert (held[:, 0] > tails.threshold(0.01)[0]).mean() <= 0.011
    again = Tails.of(tails.arrays())
    assert np.array_equal(again.evidence(fresh), tails.evidence(fresh)) and again.n == 5000
    assert np.isfinite(Tails.fit(np.zeros((30, 2))).evidence(np.ones((1, 2)))).all()


def test_distances_are_the_slow_ones() -> None:
    z, new = RNG.normal(size=(300, 4)) * [1, 5, 0.1, 0], RNG.normal(size=(7, 4))
    near, far = Distances.fit(z).score(new)
    scale = np.where(z.std(0) > 0, z.std(0), 1)
    a, b = (z - z.mean(0)) / scale, (new - z.mean(0)) / scale
    slow = [np.sort(np.linalg.norm(a - row, axis=1))[49] for row in b]
    covariance = np.cov(a.T) + 0.01 * np.eye(4)
    assert np.allclose(near, slow, rtol=1e-3) and np.allclose(far, [row @ np.linalg.inv(covariance) @ row for row in b], rtol=1e-6)


# ---- filling in ----


def test_too_many_columns_are_refused_before_memory_runs_out() -> None:
    wide = dataset.from_table(pa.table({f"c {chr(97 + i % 26)}{i}": RNG.normal(size=30) for i in range(1100)}))
    with pytest.raises(Asked, match="1,100 cells are too many"):
        Filler.fresh(fresh(wide, "mlp"))
    assert Filler.fresh(fresh(dataset.from_table(sales(60)), "mlp")).room > 1000


def test_every_cell_is_hidden_once_and_never_seen_when_it_is_scored() -> None:
    data = dataset.from_table(sales(60))
    filler = Filler.fresh(fresh(data, "mlp"))
    for count in (1, 2, 5, 16, 40):
        parts = filler.parts(count)
        assert (parts.sum(0) == 1).all() and len(parts) <= 16
    x = np.asarray(data.x[:5])
    one = filler.surprise(x)
    other = x.copy()
    other[:, 2] = np.roll(other[:, 2], 1)
    without = np.zeros(x.shape, bool)
    without[:, 2] = True
    hidden, still = filler.surprise(x, None, without), filler.surprise(other, None, without)
    keep = [0, 1, 3]
    assert one.shape == (5, 4) and np.allclose(hidden[:, keep], still[:, keep], atol=1e-5)  # what is never shown changes nothing


def fresh(data: Any, backbone: str) -> Any:
    from tacit.assemble import make_encoder, make_modality
    from tacit.embedding.model import Model

    modality = make_modality(data.spec, {})
    config = {"backbone": {"name": backbone, "size": "tiny"}, "modality": {"name": data.modality}, "needs": []}
    return Model(make_encoder(modality, config["backbone"], frozenset()), modality, config).eval()


# ---- the verb ----


def test_wrong_amounts_are_found_with_their_reason(place: Path) -> None:
    found = detection.detect(place / "run", place / "new.csv", steps=300, compare=False)
    scores = np.asarray(found.found["score"])
    assert set(np.argsort(-scores)[:3].tolist()) == {7, 70, 170} and found.alarms[[7, 70, 170]].all() and found.alarms.mean() < 0.1
    for row in (7, 70, 170):
        words = found.found["reason"][row]
        assert words.startswith("amount: expected ") and "given the other columns, observed" in words
    again = detection.detect(place / "run", place / "new.csv", steps=300, compare=False)  # what was learned is kept
    assert np.array_equal(scores, np.asarray(again.found["score"])) and found.result["alarms"] == int(found.alarms.sum())


def test_few_held_out_items_are_said_to_tell_little(place: Path) -> None:
    words: list[str] = []
    detection.detect(place / "run", place / "new.csv", steps=300, compare=False, false_alarms=0.001, say=words.append)
    assert any("cannot tell a rate of 0.10%" in w for w in words)


def test_false_alarms_are_as_many_as_asked_for(place: Path) -> None:
    pyarrow.csv.write_csv(sales(2000, seed=5), place / "normal.csv")
    for share in (0.02, 0.1):
        found = detection.detect(place / "run", place / "normal.csv", steps=300, false_alarms=share, compare=False)
        assert found.alarms.mean() == pytest.approx(share, abs=max(0.02, share / 2))


def test_the_command_line_writes_rows_and_says_the_strangest(place: Path) -> None:
    said = call("detect", place / "run", place / "new.csv", "--steps", 300, "--out", place / "alarms.csv")
    assert said.code == 0 and said.out.strip().endswith("alarms.csv") and "amount: expected" in said.err
    rows = (place / "alarms.csv").read_text().splitlines()
    assert len(rows) == 301 and rows[0] == "id,score,rate,alarm,reason,surprise,cell,knn,mahalanobis,isolation_forest,pca_residual,lof"
    said = call("detect", place / "run", place / "new.csv", "--steps", 300, "--json", "--quiet", "--no-classics")
    found = json.loads(said.out)
    assert found["items"] == 300 and found["top"][0]["reason"].startswith("amount") and said.err == ""


def test_labels_say_how_well_each_score_tells(place: Path) -> None:
    table = sales(300, (7, 70, 170), seed=1)
    kind = np.array(["fine"] * 300, dtype=object)
    kind[[7, 70, 170]] = "fraud"
    pyarrow.csv.write_csv(table.append_column("kind", pa.array(kind.tolist())), place / "judged.csv")
    pyarrow.csv.write_csv(sales(900).append_column("kind", pa.array(["fine"] * 450 + ["fraud"] * 450)), place / "known.csv")
    options = {"target": "kind"}
    found = detection.detect(place / "run", place / "judged.csv", train=place / "known.csv", normal="fine", steps=100, options=options)
    by = {s["name"]: s for s in found.result["scores"]}
    assert by["score"]["n_in"] == 297 and by["score"]["n_out"] == 3 and by["score"]["auroc"] > 0.9 and "lof" in by
    assert found.result["calibrated"]["rows"] < 400  # of the normal half alone
    with pytest.raises(Asked, match="no label 'good'"):
        detection.detect(place / "run", place / "judged.csv", train=place / "known.csv", normal="good", options=options)


def test_what_is_asked_wrongly_is_said(place: Path, tmp_path: Path) -> None:
    for words, reason in (
        (("detect", place / "run"), "detect needs DATA"),
        (("detect", place / "run", place / "new.csv", "--false-alarms", "2"), "false alarms of 2"),
        (("detect", place / "run", place / "new.csv", "--out", "a.txt"), "written as"),
        (("detect", place / "run", "--stream"), "a stream is a series"),
        (("detect", place / "nothing", place / "new.csv"), "holds no model"),
    ):
        said = call(*words)
        assert said.code == 2 and reason in said.err, words
    pyarrow.csv.write_csv(sales(12), tmp_path / "few.csv")
    with pytest.raises(BadData, match="are too few"):
        detection.detect(place / "run", place / "new.csv", train=tmp_path / "few.csv")


def test_a_damaged_detector_is_not_believed(place: Path) -> None:
    detection.detect(place / "run", place / "new.csv", steps=20, compare=False)
    files = sorted((place / "run" / "detect").glob("*/detector.json"), key=lambda p: p.stat().st_mtime)
    files[-1].with_name("filler.safetensors").write_bytes(b"broken")
    with pytest.raises(TacitError, match="is damaged"):
        detection.detect(place / "run", place / "new.csv", steps=20, compare=False)


# ---- series and images ----


def test_series_may_be_longer_than_those_before(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", waves()[:, 0])
    np.save(tmp_path / "long.npy", waves(40, 90)[:, 0])
    tacit.pretrain(str(tmp_path / "short.npy"), steps=2, batch_size=16, out=tmp_path / "run", size="tiny")
    found = detection.detect(tmp_path / "run", tmp_path / "long.npy", steps=20)
    assert len(found.found) == 40 and np.isfinite(np.asarray(found.found["discord"])).all()


@cache
def waves(n: int = 120, length: int = 64) -> np.ndarray:
    t = np.arange(length)
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, n)
    return (np.sin(t / 5 + phase[:, None]) + np.random.default_rng(1).normal(0, 0.05, (n, length)))[:, None].astype(np.float32)


def test_a_segment_of_a_series_is_named(tmp_path: Path) -> None:
    data = dataset.from_arrays(waves(), name="waves")
    model = fresh(data, "conv1d")
    detector = Detector.fit(model, data, data.train, data.test, steps=300)
    x = waves()[data.test][:10].copy()
    x[:, :, 24:36] = 2.5
    scores = detector.score(x)
    assert (scores["score"] > detector.threshold(0.05)).mean() > 0.8
    hits = 0
    for reasons in detector.parts(x):
        start, end = (int(w) for w in reasons[0][1].split(":")[0].removeprefix("samples ").split(" to "))
        hits += start < 36 and end >= 24
    assert hits >= 8
    detector.save(tmp_path / "d")
    again = Detector.load(tmp_path / "d", model)
    assert all(np.allclose(a, b) for a, b in zip(again.score(x).values(), scores.values(), strict=True))


class Plain:
    mean, std = np.zeros(1), np.ones(1)


def test_reasons_of_places_are_in_the_items_own_samples_and_pixels() -> None:
    x = np.zeros((1, 32), np.float32)
    x[0, 8:16] = 3.0
    evidence = np.zeros(8)
    evidence[[2, 3, 7]] = 4, 3, 2
    found = segments(Strange(x, np.zeros((8, 4), np.float32), evidence, (8,), (4,), Plain()), 3)
    assert found[0] == ((2, 3), "samples 8 to 15: expected 0, observed 3") and found[1][0] == (7,)
    image = np.full((1, 16, 16), 20, np.uint8)
    image[0, :4, 8:] = 200
    evidence = np.zeros(16)
    evidence[[2, 3]] = 5, 4
    ((where, words),) = regions(Strange(image, np.full((16, 16), 0.1, np.float32), evidence, (4, 4), (4, 4), Plain()), 3)
    assert where == (2, 3) and words == "pixels 8 to 15 across, 0 to 3 down (upper right): expected brightness 26, observed 200"


def test_a_stream_answers_every_line_and_survives_nonsense(tmp_path: Path) -> None:
    np.save(tmp_path / "waves.npy", waves()[:, 0])
    tacit.pretrain(str(tmp_path / "waves.npy"), steps=5, batch_size=16, out=tmp_path / "run", size="tiny")
    signal = np.sin(np.arange(200) / 5)
    signal[150:162] = 6.0
    lines = [f"{v:.4f}\n" for v in signal]
    lines[100:100] = ["hello\n", "1,2\n", "\n"]
    answers = list(detection.stream(tmp_path / "run", lines, steps=200, false_alarms=0.02))
    assert len(answers) == 203 and answers[0]["waiting"] == 63
    assert "no row of numbers" in answers[100]["error"] and "2 numbers where the series has 1" in answers[101]["error"]
    assert "score" in answers[102]  # an empty line is a missing value
    alarms = {a["line"]: a["reason"] for a in answers if a.get("alarm")}
    assert min(alarms) > 99 and {158, 160, 162} <= set(alarms) and all("samples" in alarms[line] for line in (158, 160, 162))


def test_classics_read_texts_as_words_and_not_as_numbers_of_tokens() -> None:
    from tacit.data.dataset import from_texts
    from tacit.detecting.classics import classics

    usual = [
        f"the {a} sat on the {b} and looked at the {c}"
        for a in ("cat", "dog", "cow")
        for b in ("mat", "hat")
        for c in ("sun", "moon", "sea")
    ]
    data = from_texts(usual * 2)
    other = from_texts(["the cat sat on the hat and looked at the sea", "mix two eggs with flour , then bake"], spec=data.spec)
    for name, score in classics(data.x, data.spec).items():
        same, strange = score(np.asarray(other.x))
        assert strange > same, name
