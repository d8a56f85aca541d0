"""`verify` and `enhance`: errors against slow versions, and noise that really goes away; from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import call
from tacit.cleaning import Cleaner, si_snr
from tacit.evaluation.verification import cosines, detection_cost, equal_error, rates, trials, verified

RATE = 4000


def test_errors_are_the_slow_loop_over_thresholds() -> None:
    rng = np.random.default_rng(0)
    same = rng.random(300) < 0.3
    scores = np.round(rng.normal(size=300) + same, 1)  # with equal ones
    miss, alarm = rates(scores, same)
    slow = [(1.0, 0.0)] + [((scores[same] < t).mean(), (scores[~same] >= t).mean()) for t in np.unique(scores)[::-1]]
    assert np.allclose(np.stack([miss, alarm], 1), slow)
    cost = min(0.05 * m + 0.95 * a for m, a in slow) / 0.05
    assert detection_cost(miss, alarm) == pytest.approx(cost)
    k = next(i for i, (m, a) in enumerate(slow) if a >= m)
    assert min(slow[k][0], slow[k - 1][1]) <= equal_error(miss, alarm) <= max(slow[k - 1][0], slow[k][1])


def test_errors_of_known_scores() -> None:
    same = np.array([True] * 4 + [False] * 4)
    perfect, useless = np.r_[np.ones(4), np.zeros(4)], np.zeros(8)
    assert equal_error(*rates(perfect, same)) == 0 and detection_cost(*rates(perfect, same)) == 0
    assert equal_error(*rates(useless, same)) == pytest.approx(0.5) and detection_cost(*rates(useless, same)) == pytest.approx(1.0)
    assert equal_error(*rates(-perfect, same)) == 1
    one = np.array([4, 3, 2, 0.5, 1, 0, -1, -2.0])  # one of four on the wrong side of one of four
    assert equal_error(*rates(one, same)) == pytest.approx(0.25)
    rng = np.random.default_rng(0)  # two normal distributions, 2 apart: both errors are Phi(-1)
    many, labels = np.r_[rng.normal(2, 1, 100_000), rng.normal(0, 1, 100_000)], np.repeat([True, False], 100_000)
    assert equal_error(*rates(many, labels)) == pytest.approx(0.1587, abs=0.003)


def test_trials_are_all_pairs_of_known_groups_and_may_have_to_differ() -> None:
    groups, word = np.array([0, 0, 1, 1, -1]), np.array([0, 1, 0, 1, 1])
    t = trials(groups)
    assert len(t) == 6 and t.same.sum() == 2 and 4 not in np.r_[t.a, t.b]
    assert all(word[a] != word[b] for a, b in zip(*(lambda u: (u.a, u.b))(trials(groups, word)), strict=True))
    many = trials(np.arange(400) % 20, most=1000)
    assert len(many) == 1000 and many.same.sum() == 500
    z = np.array([[1.0, 0], [2, 0], [0, 1], [0, 3], [9, 9]])
    assert np.allclose(cosines(z, t)[t.same], 1) and np.allclose(cosines(z, t)[~t.same], 0)
    found = verified(cosines(z, t), t, draws=20)
    assert found.eer[0] == 0


def test_an_interval_holds_the_error() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 12)
    z = rng.normal(size=(10, 4))[groups] + rng.normal(size=(120, 4))
    t = trials(groups)
    found = verified(cosines(z, t), t)
    assert found.eer[1] < found.eer[0] < found.eer[2] < 0.5 and found.eer[2] - found.eer[1] < 0.2


def test_the_ratio_of_signal_to_noise_does_not_depend_on_scale() -> None:
    rng = np.random.default_rng(0)
    s = rng.normal(size=10_000)
    n = rng.normal(size=10_000)
    n -= (n @ s) / (s @ s) * s
    noisy = s + n * np.sqrt((s @ s) / (n @ n)) * 10 ** (-15 / 20)
    assert si_snr(noisy, s) == pytest.approx(15, abs=0.01) and si_snr(7 * noisy, s) == pytest.approx(15, abs=0.01)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers who say two words each: a pitch of their own, and a melody of the word's."""
    folder, rng = tmp_path_factory.mktemp("voices"), np.random.default_rng(0)
    rows = [["file_name", "word", "speaker"]]
    for speaker in range(6):
        for k in range(10):
            word, t = k % 2, np.arange(RATE // 2) / RATE
            pitch = 200 + 90 * speaker + (60 * t if word else -60 * t)
            x = sum(np.sin(2 * np.pi * h * np.cumsum(pitch) / RATE) / h for h in (1, 2, 3)) * 0.2
            soundfile.write(folder / f"{speaker}_{k}.wav", x + 0.01 * rng.normal(size=len(t)), RATE)
            rows.append([f"{speaker}_{k}.wav", f"w{word}", f"s{speaker}"])
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_verify_from_the_command_line(voices: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = call("pretrain", voices, "--group", "speaker", "--size", "tiny", "--steps", "5", "--batch-size", "8", "--out", run)
    assert made.code == 0, made.err
    done = call("verify", run, voices, "--group", "speaker", "--apart", "word", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {r["representation"] for r in found["results"]} >= {"ssl", "untrained", "mfcc"}
    assert all(0 <= r["eer_low"] <= r["eer"] <= r["eer_high"] <= 1 for r in found["results"])
    assert found["trials"] > found["same"] > 0
    assert "equal error rate" in call("verify", run, voices).out
    (tmp_path / "alone").mkdir()
    for k in range(4):
        soundfile.write(tmp_path / "alone" / f"{k}.wav", np.sin(np.arange(2000) * (0.1 + 0.05 * k)) * 0.3, RATE)
    refused = call("verify", run, tmp_path / "alone")
    assert refused.code == 2 and "--group" in refused.err


def test_enhance_takes_noise_away_and_loses_nothing(voices: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = call("pretrain", voices, "--method", "enhancement", "--steps", "150", "--batch-size", "16", "--out", run, "train.seed=1")
    assert made.code == 0, made.err
    noisy, rng = tmp_path / "noisy", np.random.default_rng(1)
    noisy.mkdir()
    before, clean = {}, {}
    for path in sorted(voices.glob("*_1.wav")):
        s, _ = soundfile.read(path)
        n = rng.normal(size=len(s))
        x = s + n * np.sqrt((s**2).mean() / (n**2).mean()) * 10 ** (-5 / 20)
        soundfile.write(noisy / path.name, x, RATE)
        before[path.name], clean[path.name] = si_snr(x, s), s
    (noisy / "broken.wav").write_bytes(b"RIFF and nothing")
    done = call("enhance", run, noisy, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert len(result["written"]) == 6 and "broken.wav" in result["bad"][0]["name"]
    gain = [si_snr(soundfile.read(tmp_path / "out" / n)[0], s) - before[n] for n, s in clean.items()]
    assert np.mean(gain) > 2, gain
    again = call("enhance", run, noisy, "--out", tmp_path / "out")
    assert again.code == 2 and "is there already" in again.err
    (noisy / "0_1.flac").write_bytes((noisy / "0_1.wav").read_bytes())
    (noisy / "0_1.mp3").write_bytes((noisy / "0_1.wav").read_bytes())
    twice = call("enhance", run, noisy, "--out", tmp_path / "twice")
    assert twice.code == 2 and "would become" in twice.err and not (tmp_path / "twice").exists()
    one = call("enhance", run, noisy / "0_1.wav", "--out", tmp_path / "one.flac")
    assert one.code == 0 and one.out.strip() == str(tmp_path / "one.flac")
    assert call("enhance", run, tmp_path / "nowhere", "--out", tmp_path / "o").code == 2


def test_pieces_of_a_long_file_join_without_a_seam(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tacit import cleaning

    run = tmp_path / "run"
    assert call("pretrain", voices, "--method", "enhancement", "--size", "tiny", "--steps", "2", "--out", run).code == 0
    x = 0.3 * np.sin(2 * np.pi * 300 * np.arange(9 * RATE) / RATE)
    soundfile.write(tmp_path / "long.wav", x, RATE)
    whole = Cleaner(run).clean(soundfile.read(tmp_path / "long.wav", dtype="float32")[0])
    monkeypatch.setattr(cleaning, "PIECE", 2.0)
    cleaning.enhance(run, tmp_path / "long.wav", tmp_path / "joined.wav")
    joined = soundfile.read(tmp_path / "joined.wav", dtype="float32")[0]
    assert len(joined) == len(x) and np.abs(joined - whole)[200:-200].max() < 0.02


def test_a_run_that_learned_something_else_is_refused(voices: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("pretrain", voices, "--size", "tiny", "--steps", "2", "--batch-size", "8", "--out", run).code == 0
    refused = call("enhance", run, voices / "0_1.wav", "--out", tmp_path / "o.wav")
    assert refused.code == 2 and "--method enhancement" in refused.err


def test_the_gain_of_an_untrained_correction_is_one(voices: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("pretrain", voices, "--method", "enhancement", "--size", "tiny", "--steps", "1", "--out", run, "optim.lr=1e-9").code == 0
    cleaner = Cleaner(run)
    x = np.random.default_rng(0).normal(size=4001).astype(np.float32) * 0.1
    assert torch.allclose(cleaner.gain(torch.from_numpy(x)[None, None]), torch.ones(1), atol=1e-3)
    assert np.abs(cleaner.clean(x) - x).max() < 1e-3
