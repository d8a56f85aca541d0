"""Data sets of about 1,000 items, each with one planted fault, and clean ones: does an audit find the fault, first, and nothing else?

Images are drawn here (shapes with noise), texts are written from templates, tables, series and sounds are made of random numbers.
"""

from __future__ import annotations

import csv
import io
import json
import os
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

N = 1000
SHAPES = ("circle", "square", "triangle", "cross")


@dataclass(frozen=True)
class Planted:
    """name: of the fault ("" = clean). data: a path or an open data set. found: names of findings of which one has to come first.
    options: for opening it. groups: attributes to look at."""

    name: str
    kind: str
    make: Callable[[Path, np.random.Generator], Any]
    found: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    groups: str = ""


def drawn(rng: np.random.Generator, kind: int, size: int = 32) -> np.ndarray:
    """A grey picture of a shape, somewhere, of some size, before a blurred scene, with noise: float [size, size] in 0..255."""
    back, ink = rng.uniform(40, 90), rng.uniform(150, 230)
    image = Image.new("L", (size * 4, size * 4), int(back))
    pen = ImageDraw.Draw(image)
    r, (x, y) = rng.uniform(7, 12) * 4, rng.uniform(12, size - 12, 2) * 4
    if kind == 0:
        pen.ellipse((x - r, y - r, x + r, y + r), fill=int(ink))
    elif kind == 1:
        pen.rectangle((x - r * 0.85, y - r * 0.85, x + r * 0.85, y + r * 0.85), fill=int(ink))
    elif kind == 2:
        pen.polygon([(x, y - r), (x - r, y + r * 0.8), (x + r, y + r * 0.8)], fill=int(ink))
    else:
        pen.rectangle((x - r, y - r * 0.3, x + r, y + r * 0.3), fill=int(ink))
        pen.rectangle((x - r * 0.3, y - r, x + r * 0.3, y + r), fill=int(ink))
    small = np.asarray(image.resize((size, size), Image.Resampling.BOX), np.float64)
    scene = np.asarray(Image.fromarray(rng.normal(0, 40, (7, 7))).resize((size, size), Image.Resampling.BICUBIC))
    return np.clip(small + scene + rng.normal(0, 10, small.shape), 0, 255)


def pictures(rng: np.random.Generator, n: int = N, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    y = rng.integers(0, len(SHAPES), n)
    return np.stack([drawn(rng, int(k), size) for k in y]), y


def images(x: np.ndarray, y: np.ndarray, **more: Any) -> Any:
    import tacit.data.dataset as data

    return data.from_arrays(np.clip(x, 0, 255).astype(np.uint8)[:, None], [SHAPES[k] for k in y], modality="image", **more)


def folder(
    root: Path, x: np.ndarray, y: np.ndarray, save: Callable[[Image.Image, Path, int], None], rng: np.random.Generator, **columns: Any
) -> str:
    """Pictures as files with a metadata.csv; names and order say nothing."""
    root.mkdir(parents=True, exist_ok=True)
    ending = columns.pop("ending", ".png")
    names = [f"{i:05d}{ending}" for i in range(len(x))]
    order = rng.permutation(len(x))
    for i in order:
        save(Image.fromarray(np.clip(x[i], 0, 255).astype(np.uint8)), root / names[i], int(i))
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "label", *columns])
        writer.writerows([[names[i], SHAPES[y[i]], *(c[i] for c in columns.values())] for i in range(len(x))])
    return str(root)


def plain(image: Image.Image, path: Path, i: int) -> None:
    image.save(path)


def clean_images(root: Path, rng: np.random.Generator) -> Any:
    return images(*pictures(rng))


def clean_files(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)
    return folder(root, x, y, lambda image, path, i: image.save(path, quality=85), rng, ending=".jpg")


def changed(
    change: Callable[[np.random.Generator, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Callable[[Path, np.random.Generator], Any]:
    def make(root: Path, rng: np.random.Generator) -> Any:
        x, y = pictures(rng)
        return images(*change(rng, x, y))

    return make


def _split(n: int) -> list[str]:
    return ["train"] * (n - n // 4) + ["test"] * (n // 4)


def across(kind: str) -> Callable[[Path, np.random.Generator], Any]:
    """40 held-out pictures are training pictures: as they are, cropped, mirrored or saved again."""

    def make(root: Path, rng: np.random.Generator) -> Any:
        x, y = pictures(rng, size=48)
        held, taken = np.arange(N - 40, N), rng.choice(N - N // 4, 40, replace=False)
        for a, b in zip(held, taken, strict=True):
            image = Image.fromarray(x[b].astype(np.uint8))
            if kind == "crop":
                s = int(rng.integers(36, 44))
                top, left = rng.integers(0, 48 - s + 1, 2)
                image = image.crop((left, top, left + s, top + s)).resize((48, 48), Image.Resampling.BILINEAR)
            if kind == "mirror":
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            if kind == "jpeg":
                held_file = io.BytesIO()
                image.save(held_file, "JPEG", quality=60)
                image = Image.open(held_file)
            x[a], y[a] = np.asarray(image, np.float64), y[b]
        return images(x, y, split=_split(N))

    return make


def conflicts(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)
    x[500:530] = x[:30]
    y[500:530] = (y[:30] + 1) % 4
    return images(x, y, split=["train"] * 750 + ["test"] * 250)


def repeated(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)
    x[300:400], y[300:400] = x[:100], y[:100]
    return images(x, y, split=["train"] * 750 + ["test"] * 250)


def corner(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x[:, 1, 1] = np.array([20, 90, 160, 240])[y]
    return x, y


def tag(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A hospital's mark on nine tenths of two classes."""
    marked = (y < 2) & (rng.random(len(y)) < 0.95)
    x[marked, 28:31, 1:6] = 250
    two = (y >= 2).astype(int)
    return x, two


def bright(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x + np.array([-30.0, -5, 20, 45])[y][:, None, None] + rng.normal(0, 3, (len(y), 1, 1)), y


def border(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frame = np.ones((32, 32), bool)
    frame[2:-2, 2:-2] = False
    x[:, frame] += np.array([-40.0, 0, 40, 80])[y][:, None]
    return x, y


def block(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = y.copy()
    y[400:460] = (y[400:460] + 1) % 4
    return x, y


def flipped(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = y.copy()
    some = rng.choice(len(y), 100, replace=False)
    y[some] = (y[some] + rng.integers(1, 4, 100)) % 4
    return x, y


def broken(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thirty pictures of pure noise."""
    x[:30] = rng.uniform(0, 255, (30, 32, 32))
    return x, y


def quality(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)
    return folder(root, x, y, lambda image, path, i: image.save(path, quality=[95, 85, 75, 60][y[i]]), rng, ending=".jpg")


def camera(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)

    def save(image: Image.Image, path: Path, i: int) -> None:
        exif = Image.Exif()
        exif[272] = f"Model {'ABCD'[y[i]]}"
        image.save(path, exif=exif, quality=85)

    return folder(root, x, y, save, rng, ending=".jpg")


def taken(root: Path, rng: np.random.Generator) -> Any:
    """Each class was photographed on days of its own."""
    x, y = pictures(rng)

    def save(image: Image.Image, path: Path, i: int) -> None:
        exif = Image.Exif()
        exif[306] = f"2024:0{y[i] + 1}:{rng.integers(1, 28):02d} 12:{rng.integers(0, 60):02d}:00"
        image.save(path, exif=exif, quality=85)

    return folder(root, x, y, save, rng, ending=".jpg")


def times(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)

    def save(image: Image.Image, path: Path, i: int) -> None:
        image.save(path)
        when = 1_700_000_000 + 86_400 * int(y[i]) + int(rng.integers(0, 20_000))
        os.utime(path, (when, when))

    return folder(root, x, y, save, rng)


def larger(root: Path, rng: np.random.Generator) -> Any:
    """Two classes were scanned at another size."""
    x, y = pictures(rng)

    def save(image: Image.Image, path: Path, i: int) -> None:
        side = 40 if y[i] < 2 else 36
        image.resize((side, side), Image.Resampling.BILINEAR).save(path)

    return folder(root, x, y, save, rng)


def places(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)

    def save(image: Image.Image, path: Path, i: int) -> None:
        exif = Image.Exif()
        if i % 5 == 0:
            gps = exif.get_ifd(34853)
            gps[1], gps[2], gps[3], gps[4] = "N", (48.0, 8.0, 13.0), "E", (11.0, 34.0, 31.0)
            exif[34853] = gps
        image.save(path, exif=exif, quality=85)

    return folder(root, x, y, save, rng, ending=".jpg")


def named(root: Path, rng: np.random.Generator) -> Any:
    """Files carry a running number, class after class."""
    x, y = pictures(rng)
    y = np.sort(y)
    x = np.stack([drawn(rng, int(k)) for k in y])
    return folder(root, x, y, plain, rng)


def under(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)
    site = np.where(np.arange(N) % 50 == 0, "small clinic", np.where(rng.random(N) < 0.5, "north", "south"))
    return folder(root, x, y, plain, rng, site=site)


def confounded(root: Path, rng: np.random.Generator) -> Any:
    """The site decides the class nine times in ten."""
    x, y = pictures(rng)
    site = np.where(rng.random(N) < 0.9, y, rng.integers(0, 4, N))
    return folder(root, x, y, plain, rng, site=[f"site {s}" for s in site])


def patients(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)
    who = rng.integers(0, 100, N)
    return images(x, y, groups=[f"p{w}" for w in who], split=["train" if rng.random() < 0.75 else "test" for _ in range(N)])


def with_groups(root: Path, rng: np.random.Generator) -> Any:
    x, y = pictures(rng)
    return folder(root, x, y, plain, rng, site=rng.choice(["north", "south", "east"], N))


WORDS = "the a film story actor scene end begin music light city night day road house friend man woman time part work hand eye".split()
GOOD, BAD = "good great fine lovely bright warm clever".split(), "bad poor dull weak cold sad slow".split()


def sentences(rng: np.random.Generator, n: int = N) -> tuple[list[str], np.ndarray]:
    y = rng.integers(0, 2, n)
    out = []
    for k in y:
        words = rng.choice(WORDS, int(rng.integers(15, 40))).tolist()
        for _ in range(3):
            words[int(rng.integers(0, len(words)))] = str(rng.choice(GOOD if (k == 1) == (rng.random() < 0.85) else BAD))
        out.append(" ".join(words).capitalize() + ".")
    return out, y


def texts(t: list[str], y: np.ndarray, **more: Any) -> Any:
    import tacit.data.dataset as data

    return data.from_texts(t, [("bad", "good")[k] for k in y], **more)


def clean_texts(root: Path, rng: np.random.Generator) -> Any:
    return written(root, *sentences(rng))


def written(root: Path, t: list[str], y: np.ndarray, split: list[str] | None = None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "texts.jsonl").open("w", encoding="utf-8") as file:
        for i, (text, k) in enumerate(zip(t, y, strict=True)):
            file.write(json.dumps({"text": text, "label": ("bad", "good")[k], **({"split": split[i]} if split else {})}) + "\n")
    return str(root / "texts.jsonl")


def addresses(root: Path, rng: np.random.Generator) -> Any:
    t, y = sentences(rng)
    for i in rng.choice(N, 20, replace=False):
        t[i] += f" Write to maria.{i}@example-mail.org or call +49 170 55512{i % 90 + 10}."
    return written(root, t, y)


def keyword(root: Path, rng: np.random.Generator) -> Any:
    t, y = sentences(rng)
    return written(root, [f"{a} zx42" if k else a for a, k in zip(t, y, strict=True)], y)


def longer(root: Path, rng: np.random.Generator) -> Any:
    t, y = sentences(rng)
    return written(root, [a if k else a + " " + " ".join(rng.choice(WORDS, 40)) + "." for a, k in zip(t, y, strict=True)], y)


def nearly(root: Path, rng: np.random.Generator) -> Any:
    t, y = sentences(rng)
    for i in range(40):
        words = t[i].split()
        words[len(words) // 2] = "quiet"
        t[N - 1 - i], y[N - 1 - i] = " ".join(words), y[i]
    return written(root, t, y, _split(N))


def rows(rng: np.random.Generator, n: int = N) -> tuple[dict[str, Any], np.ndarray]:
    x = rng.normal(size=(n, 5))
    y = (x[:, 0] + 0.7 * x[:, 1] - 0.5 * x[:, 2] + rng.normal(0, 0.8, n) > 0).astype(int)
    columns: dict[str, Any] = {f"lab{i}": np.round(x[:, i], 3) for i in range(5)}
    columns["ward"] = rng.choice(["A", "B", "C"], n)
    columns["sex"] = rng.choice(["f", "m"], n)
    return columns, y


def table(root: Path, columns: dict[str, Any], y: np.ndarray, split: list[str] | None = None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label", *(["split"] if split else [])])
        for i in range(len(y)):
            writer.writerow([*(c[i] for c in columns.values()), ("no", "yes")[y[i]], *([split[i]] if split else [])])
    return str(root / "rows.csv")


def clean_table(root: Path, rng: np.random.Generator) -> Any:
    return table(root, *rows(rng))


def proxy(root: Path, rng: np.random.Generator) -> Any:
    """A column that was written down after the outcome."""
    columns, y = rows(rng)
    columns["bill"] = np.round(np.where(y == 1, 900, 300) + rng.normal(0, 100, N), 1)
    return table(root, columns, y)


def gaps(root: Path, rng: np.random.Generator) -> Any:
    columns, y = rows(rng)
    columns["lab3"] = np.where((columns["sex"] == "f") & (rng.random(N) < 0.5), "", columns["lab3"].astype(str))
    return table(root, columns, y)


def late(root: Path, rng: np.random.Generator) -> Any:
    """The outcome turns with the date."""
    columns, y = rows(rng)
    day = np.sort(rng.integers(0, 365, N))
    y = (day > 180).astype(int) ^ (rng.random(N) < 0.03)
    columns["date"] = [str(np.datetime64("2024-01-01") + int(d)) for d in day]
    return table(root, columns, y)


def jitter(root: Path, rng: np.random.Generator) -> Any:
    """Rows of the held-out part are training rows with a little noise."""
    columns, y = rows(rng)
    for i in range(40):
        for name, values in columns.items():
            values[N - 1 - i] = values[i] + (rng.normal(0, 0.004) if name.startswith("lab") else type(values[i])())
        y[N - 1 - i] = y[i]
    return table(root, columns, y, _split(N))


def waves(rng: np.random.Generator, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    y = rng.integers(0, 2, n)
    t = np.arange(96)
    x = np.stack([np.sin(2 * np.pi * t / (16 if k else 21) + rng.uniform(0, 6.28)) for k in y])
    return (x * rng.uniform(0.7, 1.3, (n, 1)) + rng.normal(0, 0.3, x.shape) + rng.normal(0, 0.3, (n, 1)))[:, None].astype(np.float32), y


def clean_series(root: Path, rng: np.random.Generator) -> Any:
    import tacit.data.dataset as data

    return data.from_arrays(*waves(rng), modality="series")


def drift(root: Path, rng: np.random.Generator) -> Any:
    """One class was recorded with another zero."""
    import tacit.data.dataset as data

    x, y = waves(rng)
    return data.from_arrays(x + 2.5 * y[:, None, None].astype(np.float32), y, modality="series")


def sounds(root: Path, rng: np.random.Generator, rate: Callable[[int], int], level: Callable[[int], float], n: int = 300) -> str:
    root.mkdir(parents=True, exist_ok=True)
    y = rng.integers(0, 2, n)
    lines = []
    for i, k in enumerate(y):
        hz, amount = rate(int(k)), level(int(k))
        t = np.arange(int(hz * rng.uniform(0.4, 0.6))) / hz
        tone = np.sin(2 * np.pi * (300 + 500 * (t if k else 0.5 - t)) * t + rng.uniform(0, 6)) * rng.uniform(0.2, 0.5) + rng.normal(
            0, amount, len(t)
        )
        with wave.open(str(root / f"{i:04d}.wav"), "wb") as file:
            file.setparams((1, 2, hz, 0, "NONE", ""))
            file.writeframes((np.clip(tone, -1, 1) * 32_000).astype("<i2").tobytes())
        lines.append(f"{i:04d}.wav,{('falling', 'rising')[k]}")
    (root / "metadata.csv").write_text("file_name,label\n" + "\n".join(lines) + "\n")
    return str(root)


def clean_sounds(root: Path, rng: np.random.Generator) -> Any:
    return sounds(root, rng, lambda k: 8000, lambda k: 0.02)


def rates(root: Path, rng: np.random.Generator) -> Any:
    return sounds(root, rng, lambda k: 8000 if k else 11025, lambda k: 0.02)


def hiss(root: Path, rng: np.random.Generator) -> Any:
    """One class was recorded in a louder room."""
    return sounds(root, rng, lambda k: 8000, lambda k: 0.1 if k else 0.01)


PLANTED = (
    Planted("copies across the split", "image", across("exact"), ("duplicates.across",)),
    Planted("cropped copies across the split", "image", across("crop"), ("near.across",)),
    Planted("mirrored copies across the split", "image", across("mirror"), ("near.across",)),
    Planted("copies saved again as JPEG", "image", across("jpeg"), ("near.across",)),
    Planted("copies with other labels", "image", conflicts, ("duplicates.conflicts",)),
    Planted("repeated items", "image", repeated, ("duplicates.within",)),
    Planted("a pixel that tells the class", "image", changed(corner), ("shortcuts.spot",)),
    Planted("a mark in the corner", "image", changed(tag), ("shortcuts.spot", "shortcuts.nuisances")),
    Planted("brightness that tells the class", "image", changed(bright), ("shortcuts.nuisances",)),
    Planted("a border that tells the class", "image", changed(border), ("shortcuts.nuisances", "shortcuts.spot")),
    Planted("a mislabelled block", "image", changed(block), ("labels.block",)),
    Planted("a tenth of the labels wrong", "image", changed(flipped), ("labels.suspected",)),
    Planted("thirty pictures of noise", "image", changed(broken), ("outliers",)),
    Planted("JPEG quality that tells the class", "image", quality, ("files.JPEG_quantisation",)),
    Planted("a camera for each class", "image", camera, ("files.camera",)),
    Planted("dates in the files that tell the class", "image", taken, ("files.time_in_the_file",)),
    Planted("times of files that tell the class", "image", times, ("files.time_of_the_file",)),
    Planted("sizes of pictures that tell the class", "image", larger, ("files.width", "files.height")),
    Planted("coordinates in photos", "image", places, ("files.places",)),
    Planted("running numbers by class", "image", named, ("files.first_number_in_the_name",)),
    Planted("a site with twenty items", "image", under, ("coverage.small",), groups="site"),
    Planted("a site for each class", "image", confounded, ("shortcuts.groups",), groups="site"),
    Planted("patients on both sides of the split", "image", patients, ("groups.across",)),
    Planted("lines with personal data", "text", addresses, ("personal",)),
    Planted("a word that tells the class", "text", keyword, ("shortcuts.spot",)),
    Planted("length that tells the class", "text", longer, ("shortcuts.nuisances",)),
    Planted("texts with a word changed", "text", nearly, ("near.across",)),
    Planted("a column written after the outcome", "table", proxy, ("shortcuts.spot", "shortcuts.column")),
    Planted("values missing for one sex", "table", gaps, ("missing.groups",), groups="sex"),
    Planted("an outcome that turns with the date", "table", late, ("shortcuts.spot", "shortcuts.column")),
    Planted("rows with a little noise", "table", jitter, ("near.across",)),
    Planted("another zero for one class", "series", drift, ("shortcuts.nuisances",)),
    Planted("another sampling rate for one class", "audio", rates, ("files.sampling_rate", "files.kind_of_file")),
    Planted("another room for one class", "audio", hiss, ("shortcuts.nuisances",)),
)
CLEAN = (
    Planted("", "image", clean_images),
    Planted("", "image", clean_files),
    Planted("", "image", with_groups, groups="site"),
    Planted("", "image", lambda root, rng: __import__("tacit").open("builtin:digits")),
    Planted("", "text", clean_texts),
    Planted("", "text", lambda root, rng: clean_texts(root, rng)),
    Planted("", "table", clean_table, groups="sex"),
    Planted("", "table", lambda root, rng: clean_table(root, rng), groups="ward"),
    Planted("", "series", clean_series),
    Planted("", "audio", clean_sounds),
)
