"""Events in recordings: seconds become frames and seconds again, on whole recordings and on parts; learned from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import call
from tacit.data import dataset, happenings

RATE = 4000


def recording(events: list[tuple[float, float, str]], seconds: float, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    x = 0.01 * rng.normal(size=len(t))
    for first, last, name in events:
        on = (t >= first) & (t < last)
        x[on] += 0.4 * np.sin(2 * np.pi * {"bell": 1200, "horn": 300}[name] * t[on])
    return x


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("yard"), np.random.default_rng(0)
    rows: list[list[object]] = [["file_name", "label"]]
    for k in range(40):
        first = float(rng.uniform(0.1, 0.8))
        events = [(round(first, 2), round(first + 0.4, 2), ("bell", "horn")[k % 2])] if k % 5 else []
        seconds = float(rng.uniform(1.4, 1.8))
        soundfile.write(folder / f"{k}.wav", recording(events, seconds, rng), RATE)
        rows.append([f"{k}.wav", json.dumps(events)])
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_events_become_frames_and_events_again(yard: Path) -> None:
    data = dataset.open(yard, cache=False)
    assert data.labels is None and data.tag_names == ("none", "bell", "horn") and data.tags is not None
    step, rate = data.spec.extra["hop"], data.spec.extra["rate"]
    assert data.lengths is not None and data.tags.shape == (40, -(-int(data.lengths.max()) // step))
    with (yard / "metadata.csv").open() as file:
        true = {r["file_name"]: json.loads(r["label"]) for r in csv.DictReader(file)}
    for i, name in enumerate(data.names):
        row = data.tags[i]
        frames = -(-int(data.lengths[i]) // step)
        assert (row[frames:] == -1).all() and (row[:frames] >= 0).all()
        found = happenings.heard(row[:frames], data.tag_names, rate / step)
        assert [e["label"] for e in found] == [e[2] for e in true[name]]
        for e, (first, last, _) in zip(found, true[name], strict=True):
            assert abs(e["start"] - first) <= 0.011 and abs(e["end"] - last) <= 0.011


def test_events_of_a_long_recording_fall_into_its_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    events = [(3.0, 5.0, "bell"), (9.5, 11.0, "horn"), (25.0, 26.0, "bell")]
    for k in range(3):
        soundfile.write(tmp_path / f"{k}.wav", recording(events, 30, rng), RATE)
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "label"], *[[f"{k}.wav", json.dumps(events)] for k in range(3)]])
    data = dataset.open(tmp_path, cache=False)
    assert list(data.names[:3]) == ["0.wav@0-10", "0.wav@10-20", "0.wav@20-30"] and data.tags is not None
    second = data.spec.extra["rate"] / data.spec.extra["hop"]
    found = [happenings.heard(data.tags[i], data.tag_names, second) for i in range(3)]
    assert found[0] == [{"start": 3.0, "end": 5.0, "label": "bell"}, {"start": 9.5, "end": 10.0, "label": "horn"}]
    assert found[1] == [{"start": 0.0, "end": 1.0, "label": "horn"}] and found[2] == [{"start": 5.0, "end": 6.0, "label": "bell"}]


def test_what_is_no_event_is_named(tmp_path: Path) -> None:
    for k in range(12):
        soundfile.write(tmp_path / f"{k}.wav", 0.1 * np.sin(np.arange(4000) * (0.1 + 0.01 * k)), RATE)
    labels = [f'[[0.1, 0.5{k}, "a"]]' for k in range(10)] + ['[[0.5, 0.1, "a"]]', "words"]
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "label"], *[[f"{k}.wav", w] for k, w in enumerate(labels)]])
    data = dataset.open(tmp_path, cache=False)
    assert data.tagged is not None
    assert {p.name: p.reason for p in data.tagged.bad} == {
        "10.wav": "an event from 0.5 to 0.1 s", "11.wav": "the label 'words' is no list of events",
    }  # fmt: skip


def test_events_are_learned_predicted_in_seconds_and_exported(yard: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("pretrain", yard, "--steps", "30", "--batch-size", "16", "--size", "tiny", "--out", run).code == 0
    done = call("finetune", run, yard, "--strategy", "probe", "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    scores = {r["metric"]: r["value"] for r in json.loads(done.out)["results"]}
    assert scores["iou"] > 0.7 and scores["accuracy"] > 0.85, scores
    said = call("predict", tmp_path / "m", yard, "--out", tmp_path / "p.jsonl")
    assert said.code == 0, said.err
    with (yard / "metadata.csv").open() as file:
        true = {r["file_name"]: json.loads(r["label"]) for r in csv.DictReader(file)}
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    good = 0
    for row in rows:
        long = [e for e in row["spans"] if e["end"] - e["start"] > 0.2]
        good += [e["label"] for e in long] == [e[2] for e in true[row["id"]]] and all(
            abs(e["start"] - t[0]) < 0.15 and abs(e["end"] - t[1]) < 0.15 for e, t in zip(long, true[row["id"]], strict=False)
        )
    assert good > 0.7 * len(rows)
    sent = call("export", tmp_path / "m", "--to", "onnx", "--out", tmp_path / "onnx")
    assert sent.code == 0, sent.err
    again = call("predict", tmp_path / "onnx", yard, "--out", tmp_path / "q.jsonl")
    assert again.code == 0, again.err
    same = [json.loads(line)["spans"] for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert same == [row["spans"] for row in rows]
    tuned = call("finetune", run, yard, "--strategy", "full", "finetune.most=4", "finetune.least=4", "--out", tmp_path / "f", "--json")
    assert tuned.code == 0, tuned.err
    other = call(
        "pretrain", yard, "--steps", "3", "--batch-size", "8", "--backbone", "transformer", "--size", "tiny", "--out", tmp_path / "t"
    )
    assert other.code == 0, other.err
    grid = call("finetune", tmp_path / "t", yard, "--strategy", "probe", "--out", tmp_path / "g", "--json")
    assert grid.code == 0, grid.err
