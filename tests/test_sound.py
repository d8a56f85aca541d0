"""Sound files of every make, whole and broken, alone and in folders, tables and archives."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import call
from tacit import sound
from tacit.data import dataset
from tacit.errors import Asked, BadData
from tacit.modality import BadItem

RATE = 8000


def tone(seconds: float = 0.5, hz: float = 440.0, rate: int = RATE, loud: float = 0.3) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def clip(path: Path, start: float = 0.0, stop: float | None = None) -> sound.Clip:
    return sound.Clip(lambda: path, start, stop)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_any_depth_reads_as_the_same_sound(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), RATE, subtype)
    x = sound.read(clip(tmp_path / "a.wav"), RATE, 30)
    assert x.dtype == np.float32 and np.abs(x - tone()).max() < (0.02 if subtype in ("PCM_U8", "ULAW") else 1e-3)


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3", "aiff", "au"])
def test_any_format_reads_as_the_same_sound(tmp_path: Path, ending: str) -> None:
    soundfile.write(tmp_path / f"a.{ending}", tone(1.0, rate=16_000), 16_000)
    x = sound.read(clip(tmp_path / f"a.{ending}"), 16_000, 30)
    assert np.corrcoef(x[2000:14_000], tone(1.0, rate=16_000)[2000:14_000])[0, 1] > 0.99


@pytest.mark.parametrize(("rate", "channels"), [(192_000, 1), (44_100, 2), (11_025, 1), (8000, 32)])
def test_any_rate_and_number_of_channels_becomes_one_channel_at_the_asked_rate(tmp_path: Path, rate: int, channels: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(rate=rate)] * channels, 1), rate)
    x = sound.read(clip(tmp_path / "a.wav"), RATE, 30)
    assert abs(len(x) - len(tone())) <= 1
    n = min(len(x), len(tone()))
    assert np.abs(x[:n] - tone()[:n])[200:-200].max() < 0.01


def test_a_part_of_a_resampled_file_is_that_part_of_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.normal(size=2 * 44_100), 44_100)
    whole = sound.read(clip(tmp_path / "a.wav"), 16_000, 30)
    part = sound.read(clip(tmp_path / "a.wav", 0.5, 1.5), 16_000, 30)
    assert len(part) == 16_000 and np.abs(part - whole[8000:24_000])[50:-50].max() < 1e-2


def broken(folder: Path) -> dict[str, str]:
    """Files that cannot be used, and a word of the reason."""
    folder.mkdir(exist_ok=True)
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "head.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(folder / "nan.wav", np.where(np.arange(4000) == 7, np.nan, tone()).astype(np.float32), RATE, "FLOAT")
    soundfile.write(folder / "inf.wav", np.where(np.arange(4000) == 7, np.inf, tone()).astype(np.float32), RATE, "FLOAT")
    soundfile.write(folder / "huge.wav", (tone() * 1e9).astype(np.float32), RATE, "FLOAT")
    (folder / "text.wav").write_text("no sound at all, but some words")
    rng = np.random.default_rng(0)
    soundfile.write(folder / "long.flac", 0.1 * rng.normal(size=80_000), RATE)
    (folder / "cut.flac").write_bytes((folder / "long.flac").read_bytes()[:60_000])
    (folder / "long.flac").unlink()
    (folder / "video.wav").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + b"\0" * 100)
    return {
        "empty.wav": "empty", "head.wav": "without any sample", "nan.wav": "1 samples are not finite", "inf.wav": "not finite",
        "huge.wav": "no sound", "text.wav": "no sound that is read", "cut.flac": "runcated", "video.wav": "ffmpeg",
    }  # fmt: skip


def test_every_broken_file_is_named_with_its_reason_and_the_rest_is_used(tmp_path: Path) -> None:
    reasons = broken(tmp_path / "d")
    for k in range(12):
        soundfile.write(tmp_path / "d" / f"good{k}.wav", tone(hz=200 + 50 * k), RATE)
    soundfile.write(tmp_path / "d" / "tiny.wav", tone(0.001), RATE)  # shorter than a frame
    soundfile.write(tmp_path / "d" / "silence.wav", np.zeros(4000), RATE)
    (tmp_path / "d" / "other.m4a").write_bytes(b"x")
    data = dataset.open(tmp_path / "d", max_bad=0.9, cache=False)
    assert data.modality == "audio" and len(data) == 14
    said = {p.name: p.reason for p in data.bad}
    assert set(said) == {*reasons, "other.m4a"}
    for name, word in reasons.items():
        assert word in said[name], (name, said[name])
    assert "ffmpeg -i other.m4a other.flac" in said["other.m4a"]
    with pytest.raises(BadData, match="cannot be used"):
        dataset.open(tmp_path / "d", cache=False)
    out = call("inspect", tmp_path / "d", "--max-bad", "0.9", "--json", "--no-cache")
    assert out.code == 0 and json.loads(out.out)["bad"]["count"] == 9


def test_a_wrong_ending_does_not_matter_and_values_beyond_one_are_kept_as_recorded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(), RATE)
    (tmp_path / "a.flac").rename(tmp_path / "a.wav")
    assert np.abs(sound.read(clip(tmp_path / "a.wav"), RATE, 30) - tone()).max() < 1e-3
    soundfile.write(tmp_path / "whole.wav", tone() * 32_767, RATE, "FLOAT")
    assert np.abs(sound.read(clip(tmp_path / "whole.wav"), RATE, 30) - tone()).max() < 1e-3
    soundfile.write(tmp_path / "loud.wav", tone(loud=1.5), RATE, "FLOAT")
    assert np.abs(sound.read(clip(tmp_path / "loud.wav"), RATE, 30)).max() == 1.0


def test_a_head_that_claims_more_than_its_bytes_hold_is_not_believed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(1000), RATE)
    raw = bytearray((tmp_path / "a.flac").read_bytes())
    raw[21] = (raw[21] & 0xF0) | 0x0F  # the number of samples, 36 bits from here on
    raw[22:26] = b"\xff\xff\xff\xff"
    with pytest.raises(BadItem, match="hours in"):
        sound.head(bytes(raw))


def test_long_recordings_become_windows_that_stay_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(4):
        soundfile.write(tmp_path / f"r{k}.wav", 0.1 * rng.normal(size=RATE * (23 + k)), RATE)
    data = dataset.open(tmp_path, cache=False)
    assert len(data) == 4 * 2 + 2 and data.names[0] == "r0.wav@0-10" and data.names[1] == "r0.wav@10-23"
    assert data.lengths is not None and int(data.lengths[:2].sum()) == 23 * RATE
    held = {data.names[i].split("@")[0] for i in data.test}
    assert held and not held & {data.names[i].split("@")[0] for i in data.train}
    short = dataset.open(tmp_path, cache=False, options={"window": 2})
    assert len(short) > 40
    with pytest.raises(Asked, match=r"data\.window=0"):
        dataset.open(tmp_path, cache=False, options={"window": 0})
    (tmp_path / "p").mkdir()
    np.save(tmp_path / "p" / "X.npy", np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(
        BadData, match="4 of 4 audio items cannot be used"
    ):  # images have nothing to cut, and nothing that is asked is ignored
        dataset.open(tmp_path / "p", cache=False, options={"window": 2})


def table(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_a_table_names_segments_speakers_and_labels(tmp_path: Path) -> None:
    for k in range(6):
        soundfile.write(tmp_path / f"{k}.wav", tone(2.0, 200 + 100 * k), RATE)
    rows: list[list[object]] = [["file_name", "start", "end", "label", "speaker"]]
    rows += [[f"{k}.wav", a, a + 0.5, f"w{int(2 * a)}", f"s{k % 3}" if k else ""] for k in range(6) for a in (0.0, 0.5, 1.0)]
    rows += [["3.wav", "nan", 1, "w0", "s0"], ["3.wav", -1, 1, "w0", "s0"], ["3.wav", 0.5, 0.50001, "w0", "s0"]]
    rows += [["gone.wav", 0, 1, "w0", "s0"], ["../out.wav", 0, 1, "w0", "s0"], ["1.wav", 1, 0.5, "w0", "s0"], ["2.wav", "x", 1, "w0", "s0"]]
    table(tmp_path / "metadata.csv", rows)
    data = dataset.open(tmp_path, cache=False, max_bad=0.5)
    assert len(data) == 18 and data.classes == ("w0", "w1", "w2") and data.group_names == ("recording 0.wav", "s0", "s1", "s2")
    assert data.names[1] == "0.wav@0.5-1" and (data.lengths == RATE // 2).all()
    assert len(data.bad) == 7 and any("3 items have no speaker" in n for n in data.notes)
    assert np.isin(data.groups[data.train], data.groups[data.test][data.groups[data.test] >= 0]).sum() == 0
    again = dataset.open(tmp_path / "metadata.csv", cache=False, max_bad=0.5)
    assert again.names == data.names
    with pytest.raises(Asked, match="mood"):
        dataset.open(tmp_path, cache=False, target="mood")


def test_folders_are_classes_and_archives_read_alike(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "d" / part / name).mkdir(parents=True)
            for k in range(3):
                soundfile.write(tmp_path / "d" / part / name / f"{k}.wav", tone(hz=100 * (k + 1) + 7 * len(part) + ord(name[0])), RATE)
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for path in sorted((tmp_path / "d").rglob("*.wav")):
            archive.write(path, path.relative_to(tmp_path / "d"))
    folder, packed = dataset.open(tmp_path / "d", cache=False), dataset.open(tmp_path / "d.zip", cache=False)
    assert folder.classes == ("cat", "dog") and len(folder.train) == 6 and len(folder.test) == 6
    assert (folder.hashes == packed.hashes).all() and packed.classes == folder.classes


def test_the_cache_holds_what_decoding_gave_and_a_single_file_is_understood(tmp_path: Path) -> None:
    for k in range(5):
        soundfile.write(tmp_path / f"{k}.wav", tone(0.3 + 0.1 * k, 300), RATE)
    first, second = dataset.open(tmp_path), dataset.open(tmp_path)
    assert second.cache_path is not None and all((first[i] == second[i]).all() for i in range(5))
    assert first.fingerprint == second.fingerprint
    assert len(dataset.open(tmp_path / "3.wav", cache=False)) == 1


def test_what_is_no_sound_is_asked_for_in_vain(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("nothing")
    with pytest.raises(BadData, match="no recording that can be read"):
        dataset.open(tmp_path, cache=False)
    soundfile.write(tmp_path / "b.wav", tone(), RATE)
    with pytest.raises(BadData, match="no file of a kind"):
        dataset.open(tmp_path / "b.wav", modality="image", cache=False)


def test_inspect_names_clipping_silence_offsets_and_copies_that_were_encoded_anew(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(12):
        x = 0.1 * rng.normal(size=RATE) * (1 + np.sin(np.arange(RATE) / (500 + 100 * k)))
        soundfile.write(tmp_path / f"{k:02d}.wav", np.convolve(x, np.ones(1 + k % 5) / (1 + k % 5), "same"), RATE)
    speech, _ = soundfile.read(tmp_path / "03.wav")
    soundfile.write(tmp_path / "copy.mp3", speech, RATE)
    soundfile.write(tmp_path / "clipped.wav", (3 * tone(1.0, 300)).clip(-1, 1) * 3, RATE)
    soundfile.write(tmp_path / "hum.wav", tone(1.0, 60, loud=0.99), RATE)  # loud, low and whole
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "offset.wav", tone(1.0) + 0.1, RATE)
    out = call("inspect", tmp_path, "--json", "--no-cache")
    assert out.code == 0, out.err
    found = json.loads(out.out)["sound"]
    assert found["clipped"]["names"] == ["clipped.wav"] and found["silent"]["names"] == ["silent.wav"]
    assert found["offset"]["names"] == ["offset.wav"]
    assert found["near"]["pairs"] == [["03.wav", "copy.mp3"]], found["near"]
    parts = [["file_name", "split"], *[[p.name, "test" if p.name == "copy.mp3" else "train"] for p in sorted(tmp_path.glob("*.*"))]]
    table(tmp_path / "metadata.csv", parts)
    across = json.loads(call("inspect", tmp_path, "--json", "--no-cache").out)
    assert any("1 recordings are held out and in training, encoded anew: 03.wav = copy.mp3" in w for w in across["warnings"])
    words = call("inspect", tmp_path, "--no-cache").out
    assert "clipped.wav" in words and "encoded anew" in words and "level" in words


def test_an_open_end_is_the_end_and_parts_of_unknown_speakers_stay_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(8):
        soundfile.write(tmp_path / f"{k}.wav", 0.1 * rng.normal(size=30 * RATE), RATE)
    table(tmp_path / "metadata.csv", [["file_name", "speaker"], *[[f"{k}.wav", f"s{k}" if k < 4 else ""] for k in range(8)]])
    data = dataset.open(tmp_path, cache=False)
    sides = {side: {data.names[i].split("@")[0] for i in rows} for side, rows in (("train", data.train), ("test", data.test))}
    assert len(data) == 24 and sides["test"] and not sides["train"] & sides["test"]
    table(tmp_path / "metadata.csv", [["file_name", "start", "label"], *[[f"{k}.wav", 28, f"w{k % 2}"] for k in range(8)]])
    ends = dataset.open(tmp_path, cache=False)
    assert ends.names[0] == "0.wav@28-end" and (ends.lengths == 2 * RATE).all()


def test_a_large_member_of_an_archive_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tacit.data.sources import recordings

    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.normal(size=40 * RATE), RATE)
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.write(tmp_path / "a.wav", "a.wav")
    small = dataset.open(tmp_path / "d.zip", cache=False)
    monkeypatch.setattr(recordings, "SMALL", 1)
    large = dataset.open(tmp_path / "d.zip", cache=False)
    assert len(large) == 4 and (large.hashes == small.hashes).all()


def test_a_rate_that_no_recorder_has_is_not_believed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    raw = bytearray((tmp_path / "a.wav").read_bytes())
    raw[24:28] = (1).to_bytes(4, "little")
    with pytest.raises(BadItem, match="1 samples a second"):
        sound.head(bytes(raw))


def test_a_model_hears_other_rates_at_its_own(tmp_path: Path) -> None:
    import tacit

    for rate, folder in ((RATE, "a"), (16_000, "b")):
        (tmp_path / folder).mkdir()
        for k in range(8):
            soundfile.write(tmp_path / folder / f"{k}.wav", tone(0.5, 300 + 50 * k, rate), rate)
    run = tacit.pretrain(dataset.open(tmp_path / "a", cache=False), steps=2, size="tiny", out=tmp_path / "run")
    own, other = (dataset.open(tmp_path / f, cache=False) for f in "ab")
    assert other.spec.extra["rate"] == 16_000
    a, b = (run.model.embed(d).vectors for d in (own, other))
    assert np.allclose(a, b, atol=0.05 * np.abs(a).max()) and run.model.prepare(other).spec.extra["rate"] == RATE
