"""What the files behind items say of how they were made: format, compression, camera, place, time, name. Only their heads are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tacit import pictures, sound
from tacit.modality import BadItem

EXIF = {271: "camera maker", 272: "camera", 305: "software", 315: "author", 33432: "copyright"}
INNER = {0xA431: "serial number of the camera", 0xA435: "serial number of the lens", 0xA430: "owner of the camera"}
TAKEN, GPS, INSIDE = 36867, 34853, 34665
PEOPLE = ("author", "owner of the camera", "copyright")
LONGEST = 200  # characters of a field
UNPACKED = 3600.0  # seconds: files that were all written within this time say when they were unpacked


@dataclass
class Facts:
    """numbers, words: fact -> one entry a file, NaN or "" = not said. places: positions of files with coordinates of a place."""

    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)


def facts(raws: Iterable[Any], names: Sequence[str]) -> Facts:
    """The facts of each file: a path, its bytes, or a part of a recording. A file that cannot be read says nothing."""
    rows, out = [_one(raw, str(name)) for raw, name in zip(raws, names, strict=True)], Facts()
    for key in dict.fromkeys(k for row in rows for k in row):
        values = [row.get(key) for row in rows]
        if key == "place":
            out.places = [i for i, v in enumerate(values) if v]
        elif any(isinstance(v, str) for v in values):
            out.words[key] = ["" if v is None else str(v) for v in values]
        else:
            out.numbers[key] = np.array([np.nan if v is None else float(v) for v in values])
    time = out.numbers.get("time of the file")
    if time is not None and np.nanmax(time) - np.nanmin(time) < UNPACKED:
        del out.numbers["time of the file"]
    return out


def _one(raw: Any, name: str) -> dict[str, Any]:
    out = _named(name)
    clip = isinstance(raw, sound.Clip)
    try:
        source = raw.file() if clip else raw
        if isinstance(source, Path):
            state = source.stat()
            out |= {"bytes": state.st_size, "time of the file": state.st_mtime}
        elif isinstance(source, bytes):
            out["bytes"] = len(source)
        if clip:
            head = sound.head(source)
            out |= {"kind of file": head.kind, "sampling rate": head.rate, "channels": head.channels}
        elif isinstance(source, (Path, bytes)):
            out |= _picture(source)
    except (OSError, BadItem):
        pass
    return out


def _named(name: str) -> dict[str, Any]:
    """The file's name without its folders, which may be the classes: words before the first digit, first and last number."""
    stem = PurePosixPath(name.split("#")[0]).stem
    digits = re.findall(r"\d{1,15}", stem)
    out: dict[str, Any] = {"beginning of the name": re.split(r"\d", stem)[0][:LONGEST], "length of the name": len(stem)}
    if digits:
        out |= {"first number in the name": int(digits[0]), "last number in the name": int(digits[-1])}
    return out


def _picture(source: Path | bytes) -> dict[str, Any]:
    out: dict[str, Any] = {}
    with pictures.opened(source) as image:
        out |= {"format": f"{image.format} {image.mode}", "width": image.width, "height": image.height}
        tables = getattr(image, "quantization", None)
        if tables:
            out["JPEG quantisation"] = float(np.mean(next(iter(tables.values()))))
            out["JPEG progressive"] = float(bool(image.info.get("progressive")))
        try:
            exif = image.getexif() if image.format != "PNG" or "exif" in image.info else Pillow.Exif()  # of a PNG all would be decoded
            inner = exif.get_ifd(INSIDE)
            said = {what: exif.get(tag) for tag, what in EXIF.items()} | {what: inner.get(tag) for tag, what in INNER.items()}
            out |= {k: str(v).strip("\0 ")[:LONGEST] for k, v in said.items() if v}
            if taken := _moment(str(inner.get(TAKEN) or exif.get(306) or "")):
                out["time in the file"] = taken
            if any(k in exif.get_ifd(GPS) for k in (2, 4)):
                out["place"] = True
        except Exception:  # damaged EXIF: whatever it raises, it says nothing
            pass
    return out


def _moment(said: str) -> float | None:
    """Days since the year 0 of "2024:05:01 12:00:00"."""
    found = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d)", said)
    if not found:
        return None
    y, m, d, hour, minute = map(int, found.groups())
    return y * 372 + m * 31 + d + hour / 24 + minute / 1440
