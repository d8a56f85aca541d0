"""What is said: likelihood, decoding and errors against slow versions, and words of tones learned from the command line."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import call
from tacit.head import ABSENT
from tacit.heads.transcription import Transcription, beam, distance, greedy

RATE = 4000


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(k for k, _ in itertools.groupby(path) if k)


def every(p: np.ndarray) -> dict[tuple[int, ...], float]:
    """Text -> its probability, over all alignments."""
    out: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        text = collapsed(path)
        out[text] = out.get(text, 0.0) + math.exp(sum(p[t, k] for t, k in enumerate(path)))
    return out


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_likeliest_text_of_all(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(5, 3)) * 1.5
    p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    table = every(p)
    best = max(table, key=lambda t: table[t])
    assert tuple(beam(p, 100)) == best
    assert sum(table.values()) == pytest.approx(1)


def test_greedy_takes_repeats_once_and_a_gap_between_them_twice() -> None:
    p = np.log(np.full((6, 3), 0.1))
    for t, k in enumerate([1, 1, 0, 1, 2, 2]):
        p[t, k] = 0
    assert greedy(p) == [1, 1, 2]


def test_the_loss_is_minus_the_log_probability_of_the_text_over_its_characters() -> None:
    head = Transcription(("", "a", "b"))
    out = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    out[1, 3:] = torch.tensor([ABSENT, 0.0, 0.0])  # the second item ends after three moments
    answer = torch.tensor([[1, 2, -1], [2, 2, -1]])
    total = 0.0
    for row, n, text in ((out[0], 5, (1, 2)), (out[1], 3, (2, 2))):
        total += -math.log(every(row[:n].log_softmax(-1).numpy())[text]) / 2
    assert head.loss(out, answer).item() == pytest.approx(total / 2, rel=1e-4)
    impossible = torch.tensor([[1, 2, 1], [2, 2, 2]])  # five moments are needed, three are there
    assert head.loss(out, impossible).isfinite()


def test_errors_are_edits_and_what_does_not_exist_says_nothing() -> None:
    assert distance("kitten", "sitting") == 3 and distance("", "abc") == 3 and distance(list("abc"), list("abc")) == 0
    head = Transcription(("", " ", "a", "b"))
    y = np.array([[2, 3, 1, 2], [2, 2, -1, -1]], np.int16)  # "ab a", "aa"
    out = np.zeros((2, 6, 4))
    for t, k in enumerate([2, 3, 1, 1, 3]):
        out[0, t, k] = 9  # "ab b"
    out[0, 5, 0] = ABSENT
    for t, k in enumerate([2, 0, 2]):
        out[1, t, k] = 9
    out[1, 3:, 0] = ABSENT
    assert head.decide(out, {}).columns["prediction"] == ["ab b", "aa"]
    assert head.scores(out, y, {}) == {"cer": pytest.approx(1 / 6), "wer": pytest.approx(1 / 3)}
    assert head.known(np.array([[-1, -1], [0, -1]], np.int16)).tolist() == [False, True]


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Letters are tones of a fifth of a second; words of two to four of them."""
    folder, rng = tmp_path_factory.mktemp("spelled"), np.random.default_rng(0)
    rows = [["file_name", "said"]]
    pitch = {"a": 300, "b": 600, "c": 1200}
    t = np.arange(RATE // 5) / RATE
    for k in range(60):
        word = "".join(rng.choice(list("abc"), rng.integers(2, 5)))
        parts = [np.sin(2 * np.pi * pitch[c] * t) * np.hanning(len(t)) * 0.4 for c in word]
        soundfile.write(folder / f"{k}.wav", np.concatenate(parts) + 0.01 * rng.normal(size=len(t) * len(word)), RATE)
        rows.append([f"{k}.wav", word])
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_spelling_is_learned_from_the_command_line_and_exported(spelled: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("pretrain", spelled, "--steps", "30", "--batch-size", "16", "--size", "tiny", "--out", run).code == 0
    words = ("finetune", run, spelled, "--target", "said", "--head", "transcription", "--strategy", "probe")
    done = call(*words, "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    scores = {r["metric"]: r["value"] for r in json.loads(done.out)["results"]}
    assert scores["cer"] < 0.15 and scores["wer"] < 0.6, scores
    said = call("predict", tmp_path / "m", spelled, "--out", tmp_path / "p.csv")
    assert said.code == 0, said.err
    with (tmp_path / "p.csv").open() as file:
        found = {r["id"]: r["prediction"] for r in csv.DictReader(file)}
    with (spelled / "metadata.csv").open() as file:
        true = {r["file_name"]: r["said"] for r in csv.DictReader(file)}
    assert np.mean([found[k] == true[k] for k in true]) > 0.6
    wide = call(*words, "--out", tmp_path / "b", "--json", "head.beam=8")
    assert wide.code == 0, wide.err
    tuned = call("finetune", run, spelled, "--target", "said", "--head", "transcription", "--strategy", "full", "finetune.most=5",
                 "finetune.least=5", "--out", tmp_path / "f", "--json")  # fmt: skip
    assert tuned.code == 0, tuned.err
    for engine in ("torch", "onnx"):
        sent = call("export", tmp_path / "m", "--to", engine, "--out", tmp_path / engine)
        assert sent.code == 0, sent.err
        again = call("predict", tmp_path / engine, spelled, "--out", tmp_path / f"{engine}.csv")
        assert again.code == 0, again.err
        with (tmp_path / f"{engine}.csv").open() as file:
            assert {r["id"]: r["prediction"] for r in csv.DictReader(file)} == found


def test_tables_have_no_beginning_and_no_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [["a", "b", "label"], *([f"{x:.3f}", f"{x * x:.3f}", rng.choice(["yes it is", "no"])] for x in rng.normal(size=40))]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    run = tmp_path / "run"
    assert call("pretrain", tmp_path / "t.csv", "--steps", "2", "--size", "tiny", "--out", run).code == 0
    refused = call("finetune", run, tmp_path / "t.csv", "--head", "transcription", "--target", "label", "--out", tmp_path / "m")
    assert refused.code == 2 and "from its beginning to its end" in refused.err


def test_fine_tuning_hears_all_that_is_said_and_numbers_are_no_words(spelled: Path, tmp_path: Path) -> None:
    import tacit
    from tacit.data.supervision import supervise
    from tacit.errors import Asked
    from tacit.finetuning.config import FinetuneConfig
    from tacit.finetuning.fit import FineTuning, Task
    from tacit.types import Views

    data = tacit.open(spelled, target="said")
    run = tacit.pretrain(data, steps=1, size="tiny", out=tmp_path / "run")
    answers = supervise(data, head="transcription")
    task = Task(run.model, data, answers, lambda: Transcription(answers.classes), FinetuneConfig())
    network = task.probed(np.arange(8), True, 0)
    few, more = np.argsort(data.lengths)[:3], np.argsort(data.lengths)[-3:]
    assert task.pretrained(np.concatenate([few, more]), False).shape == (6, *task.pretrained(few, False).shape[1:])
    assert FineTuning(network, FinetuneConfig(), set(), "full").views == Views(plain=1)
    rows = [["file_name", "said"], *[[f"{k}.wav", f"00{k}"] for k in range(60)]]
    with (tmp_path / "numbers.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(Asked, match="numbers where words"):
        supervise(data, file=tmp_path / "numbers.csv", target="said", head="transcription")
