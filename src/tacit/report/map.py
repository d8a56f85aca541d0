"""The embedding made visible: a flat map with a measure of its faithfulness, nearest neighbours, and their pictures."""

from __future__ import annotations

import base64
import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit.statistics import wilson

Floats = NDArray[np.float32]
MOST = 1000
KEYS = ("z", "labels", "names", "classes", "png", "png_offsets")
LARGEST = 2**28  # bytes of all arrays: 1,000 items with their pictures take far less


@dataclass(frozen=True)
class Items:
    """What `embeddings/report.npz` holds, rows with a value that is not finite left out.

    z: [n, D]; labels: int64 [n], -1 = unknown; names: n strings; classes: names of the labels; pictures: n PNG files, b"" = none.
    dropped: how many rows were not finite.
    """

    z: Floats
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    pictures: tuple[bytes, ...]
    dropped: int = 0


@dataclass(frozen=True)
class Flat:
    """A 2-D map: xy [n, 2] in 0..1; how: words for the method; trust, kept: trustworthiness and continuity with k neighbours, None = too
    few items."""

    xy: NDArray[np.float64]
    how: str
    trust: float | None
    kept: float | None
    k: int

    def measured(self) -> dict[str, Any]:
        """How it was drawn and how faithful it is, as plain JSON."""
        return {"method": self.how, "trustworthiness": self.trust, "continuity": self.kept, "k": self.k, "n": len(self.xy)}


@dataclass(frozen=True)
class Neighbour:
    """One neighbour of an asked item: its row, the cosine, and whether the labels agree (None = a label is unknown)."""

    row: int
    cosine: float
    same: bool | None


@dataclass(frozen=True)
class Agreement:
    """How often the nearest neighbour has the item's own label: share, its 95 % interval, n items, and the share expected of guessing."""

    value: float
    low: float
    high: float
    n: int
    chance: float


@dataclass(frozen=True)
class Sheet:
    """Many small pictures in one: data URI, the cell's size in pixels, columns and rows of the sheet."""

    uri: str
    width: int
    height: int
    columns: int
    rows: int


def read_items(path: Path) -> Items | None:
    """The items of a report.npz, at most the first 1,000; None where the file is absent.

    Raises ValueError when the arrays do not belong together.
    """
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(m.file_size for m in archive.infolist())
        if size > LARGEST:
            raise ValueError(f"{path.name} holds {size} bytes, more than a report needs")
        with np.load(path, allow_pickle=False) as held:
            arrays = {key: held[key] for key in KEYS if key in held.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None
    if "z" not in arrays or arrays["z"].ndim != 2:
        raise ValueError(f"{path.name} holds no array z of shape [n, D]")
    z = arrays["z"][:MOST].astype(np.float32)
    n = len(z)
    labels = np.asarray(arrays.get("labels", np.full(n, -1)))[:MOST].astype(np.int64)
    names = [str(name) for name in arrays.get("names", np.arange(n))[:MOST]]
    if len(labels) != n or len(names) != n:
        raise ValueError(f"{path.name}: z has {n} rows, labels {len(labels)}, names {len(names)}")
    classes = tuple(str(c) for c in arrays.get("classes", ()))
    labels[labels >= len(classes)] = -1
    pictures = [b""] * n
    if "png" in arrays and "png_offsets" in arrays:
        joined, offsets = arrays["png"].tobytes(), arrays["png_offsets"]
        pictures = [joined[int(offsets[i]) : int(offsets[i + 1])] if i + 1 < len(offsets) else b"" for i in range(n)]
    good = np.isfinite(z).all(1)
    keep = np.flatnonzero(good)
    return Items(z[good], labels[good], tuple(names[i] for i in keep), classes, tuple(pictures[i] for i in keep), int(n - len(keep)))


def flatten(z: Floats, seed: int = 0) -> Flat | None:
    """A map of the directions of z [n, D]: t-SNE from 30 items, PCA below; None for fewer than 3 or when all are the same."""
    n = len(z)
    unit = _unit(z)
    if n < 3 or float(unit.std(0).max(initial=0)) < 1e-6:
        return None
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    parts = min(50, n, unit.shape[1])
    short = PCA(parts, svd_solver="full").fit_transform(unit) if unit.shape[1] > 50 else unit
    if n < 30 or short.shape[1] < 2:
        flat = PCA(min(2, short.shape[1]), svd_solver="full").fit_transform(short)
        flat = np.column_stack([flat, np.zeros(n)])[:, :2] if flat.shape[1] < 2 else flat
        how = "principal component analysis (too few items or dimensions for t\u2011SNE)"
    else:
        perplexity = min(30.0, (n - 1) / 3)
        flat = TSNE(2, init="pca", perplexity=perplexity, random_state=seed, method="barnes_hut").fit_transform(short)
        how = f"t\u2011SNE on directions (perplexity {perplexity:.0f}, started from PCA, seed {seed})"
    low, high = flat.min(0), flat.max(0)
    return Flat(((flat - low) / np.where(high > low, high - low, 1)).astype(np.float64), how, *faithful(unit, flat))


def faithful(unit: NDArray[Any], flat: NDArray[Any], k: int = 15) -> tuple[float | None, float | None, int]:
    """Trustworthiness and continuity of a map [n, 2] of directions [n, D], and the neighbours that they look at; None = too few items.

    source: Venna & Kaski 2001, 10.1007/3-540-44668-0_68: neighbours on the map that are none (trustworthiness), and neighbours that the
    map pulls apart (continuity), each by how far; 1 = none.
    """
    from sklearn.manifold import trustworthiness

    n = len(unit)
    k = min(k, (n - 1) // 2)
    if k < 1 or k >= n / 2:
        return None, None, k
    return float(trustworthiness(unit, flat, n_neighbors=k)), float(trustworthiness(flat, unit, n_neighbors=k)), k


def neighbours(items: Items, asked: int = 8, each: int = 5, seed: int = 0) -> list[tuple[int, list[Neighbour]]]:
    """For `asked` items drawn by `seed`, their `each` nearest others by cosine in the full space."""
    n = len(items.z)
    if n < 2:
        return []
    unit = _unit(items.z)
    rows = sorted(int(i) for i in np.random.default_rng(seed).choice(n, min(asked, n), replace=False))
    found = []
    for row in rows:
        cosine = unit @ unit[row]
        cosine[row] = -np.inf
        nearest = np.argsort(-cosine, kind="stable")[: min(each, n - 1)]
        found.append((row, [Neighbour(int(j), float(cosine[j]), _same(items.labels, row, int(j))) for j in nearest]))
    return found


def agreement(items: Items) -> Agreement | None:
    """How often the nearest labelled neighbour shares the label; None with fewer than 2 labelled items or one class."""
    known = items.labels >= 0
    labels = items.labels[known]
    shares = np.bincount(labels) / max(len(labels), 1) if len(labels) else np.zeros(1)
    if len(labels) < 2 or (shares > 0).sum() < 2:
        return None
    unit = _unit(items.z[known])
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    right = float((labels[cosine.argmax(1)] == labels).mean())
    low, high = wilson(right, len(labels))
    return Agreement(right, low, high, len(labels), float((shares**2).sum()))


def sheet(pictures: Sequence[bytes], short_side: int) -> Sheet | None:
    """All pictures in one grid, in order; short_side: pixels of a cell's short side. None when no picture is readable."""
    from PIL import Image

    opened = [_open(data) for data in pictures]
    sizes = [image.size for image in opened if image is not None]
    if not sizes:
        return None
    wide, tall = float(np.median([s[0] for s in sizes])), float(np.median([s[1] for s in sizes]))
    scale = min(1.0, short_side / min(wide, tall), 4 * short_side / max(wide, tall))
    width, height = max(4, round(wide * scale)), max(4, round(tall * scale))
    columns = max(1, min(len(opened), round(math.sqrt(len(opened) * height / width))))
    rows = -(-len(opened) // columns)
    canvas = Image.new("RGB", (columns * width, rows * height), "white")
    for i, image in enumerate(opened):
        if image is not None:
            small = _fit(image, width, height)
            left = (width - small.width) // 2 + i % columns * width
            canvas.paste(small, (left, (height - small.height) // 2 + i // columns * height))
    return Sheet(_smaller(canvas, quality=80), width, height, columns, rows)


def thumbnail(picture: bytes, largest: int) -> tuple[str, int, int] | None:
    """One picture as (data URI, width, height to show it at); stored with a long side of at most `largest` pixels.

    Shown near 72 pixels high and at most 130 wide, small ones enlarged by whole factors. None when it is not readable.
    """
    image = _open(picture)
    if image is None:
        return None
    if max(image.size) > largest:
        image = _fit(image, largest, largest)
    zoom = min(72 / image.height, 130 / image.width)
    zoom = round(zoom) if zoom > 1 else zoom
    return _smaller(image, quality=85), max(1, round(zoom * image.width)), max(1, round(zoom * image.height))


def _same(labels: NDArray[np.int64], a: int, b: int) -> bool | None:
    return bool(labels[a] == labels[b]) if labels[a] >= 0 and labels[b] >= 0 else None


def _unit(z: Floats) -> Floats:
    wide = z.astype(np.float64)
    return (wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _open(data: bytes):  # type: ignore[no-untyped-def]
    from PIL import Image

    if not data:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > 4_000_000:
                return None
            if image.mode in ("RGBA", "LA", "PA", "P"):
                rgba = image.convert("RGBA")
                backed = Image.new("RGB", image.size, "white")
                backed.paste(rgba, mask=rgba.getchannel("A"))
                return backed
            return image.convert("RGB")
    except Exception:
        return None


def _fit(image, width: int, height: int):  # type: ignore[no-untyped-def]
    from PIL import Image

    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _smaller(image, quality: int) -> str:  # type: ignore[no-untyped-def]
    """A data URI of the smaller of JPEG and PNG."""
    grey = image.convert("L")
    if np.ptp(np.asarray(image), axis=2).max(initial=0) == 0:
        image = grey
    jpeg, png = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=quality, optimize=True)
    image.save(png, "PNG", optimize=image.width * image.height < 65536)
    kind, held = ("jpeg", jpeg) if jpeg.tell() < png.tell() else ("png", png)
    return f"data:image/{kind};base64,{base64.b64encode(held.getvalue()).decode('ascii')}"
