"""The sets of sound of part 6: unpacked from their archives, described by a table, split by speaker; and small ones that are made here."""

from __future__ import annotations

import csv
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

FOLDS = (("george", "jackson"), ("lucas", "nicolas"), ("theo", "yweweler"))
ACCENTS = {"george": "Greek", "jackson": "US", "lucas": "German", "nicolas": "Belgian French", "theo": "US", "yweweler": "German"}
EMOTIONS = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"}


def fsdd(data: Path, work: Path) -> Path | None:
    """Spoken digits of six men, with a table of digit, speaker and session; None where the archive is not there."""
    archive = data / "fsdd" / "fsdd_wav.zip"
    if not archive.is_file():
        return None
    folder = work / "fsdd"
    if not (folder / "metadata.csv").is_file():
        _unpack(archive, folder)
        names = sorted(p.name for p in folder.glob("*.wav"))
        rows = [(n, *n[:-4].split("_")) for n in names]
        _table(folder, ("file_name", "digit", "speaker", "take"), rows)
    return folder


def emodb(data: Path, work: Path) -> Path | None:
    """Acted emotions of ten speakers."""
    archive = data / "emodb" / "emodb_flac.zip"
    if not archive.is_file():
        return None
    folder = work / "emodb"
    if not (folder / "metadata.csv").is_file():
        _unpack(archive, folder)
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.flac"))
        _table(folder, ("file_name", "emotion", "speaker"), [(n, EMOTIONS[Path(n).name[5]], Path(n).name[:2]) for n in names])
    return folder


def generated(work: Path, speakers: int = 6, takes: int = 4) -> Path:
    """Tones in the place of speech: a word is a melody, a speaker a pitch and a sharpness."""
    import soundfile

    folder, rng, rate = work / "generated", np.random.default_rng(0), 4000
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for s in range(speakers):
        for k in range(5 * takes):
            word, t = k % 5, np.arange(int(rng.integers(1400, 2400))) / rate
            pitch = 150 + 60 * s + 200 * np.sin(2 * np.pi * (word + 1) * t / t[-1]) * (word % 2 + 0.5) / 2
            x = sum(np.sin(2 * np.pi * h * np.cumsum(pitch) / rate) / h ** (1 + s / 4) for h in (1, 2, 3)) * 0.2
            name = f"{word}_s{s}_{k}.wav"
            soundfile.write(folder / name, x + 0.01 * rng.normal(size=len(t)), rate)
            rows.append((name, f"w{word}", f"s{s}", str(k)))
    _table(folder, ("file_name", "digit", "speaker", "take"), rows)
    return folder


def held_out(data: Any, speakers: tuple[str, ...]) -> Any:
    """The data with these speakers held out."""
    where = np.isin(np.array([*data.group_names, ""])[data.groups], speakers)
    return replace(data, split=where.astype(np.int8), split_rule=f"speakers {', '.join(speakers)} are held out")


def rowed(data: Any, work: Path, train: int, test: int, share: float, seed: int = 0) -> Path:
    """Three to five recordings of one speaker in a row, with gaps, and a table of what is said; share: of training rows with a label."""
    import soundfile

    folder = work / f"rows_{share:g}"
    folder.mkdir(parents=True, exist_ok=True)
    rng, rate = np.random.default_rng(seed), int(data.spec.extra["rate"])
    words = dict(zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True))
    rows = []
    for part, side, count in (("train", data.train, train), ("test", data.test, test)):
        for k in range(count):
            speaker = int(rng.choice(np.unique(data.groups[side])))
            mine = side[data.groups[side] == speaker]
            chosen = rng.choice(mine, int(rng.integers(3, 6)))
            gaps = [np.zeros(int(rng.integers(0, rate // 10)), np.int16) for _ in chosen]
            sound = np.concatenate([x for i, gap in zip(chosen, gaps, strict=True) for x in (data.x.item(int(i)), gap)])
            name = f"{part}{k}.wav"
            soundfile.write(folder / name, sound, rate)
            said = " ".join(words.get(data.classes[data.labels[i]], data.classes[data.labels[i]]) for i in chosen)
            known = part == "test" or k < share * train
            rows.append((name, said if known else "", data.group_names[speaker], part))
    _table(folder, ("file_name", "said", "speaker", "split"), rows)
    return folder


def noisy(x: np.ndarray, decibel: float, rng: np.random.Generator) -> np.ndarray:
    """Samples [T] with white noise at this ratio to it."""
    x = x.astype(np.float64)
    n = rng.normal(size=len(x))
    return x + n * np.sqrt((x**2).mean() / max((n**2).mean(), 1e-12)) * 10 ** (-decibel / 20)


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def _table(folder: Path, head: tuple[str, ...], rows: list[Any]) -> None:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
