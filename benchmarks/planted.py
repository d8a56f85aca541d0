"""Data in which one known part alone decides the class, for every kind of data: (items as tacit opens them, labels, where the part is)."""

from __future__ import annotations

from typing import Any

import numpy as np

Place = Any  # image, series, audio: a box in shares; text: the word; table: numbers of the columns


def images(n: int, rng: np.random.Generator) -> tuple[Any, list[int], list[Place]]:
    """Grey clutter of 32 pixels with a patch of 6: a checkerboard or stripes."""
    x, y, places = np.zeros((n, 1, 32, 32), np.float32), [], []
    board = np.indices((6, 6)).sum(0) % 2
    stripes = np.indices((6, 6))[0] % 2
    for i in range(n):
        low = rng.normal(size=(8, 8)).repeat(4, 0).repeat(4, 1)
        x[i, 0] = np.clip(0.4 + 0.12 * low + 0.04 * rng.normal(size=(32, 32)), 0, 1)
        k, (top, left) = i % 2, rng.integers(0, 27, 2)
        x[i, 0, top : top + 6, left : left + 6] = (board, stripes)[k]
        y.append(k)
        places.append(((top / 32, (top + 6) / 32), (left / 32, (left + 6) / 32)))
    return (x * 255).astype(np.uint8), y, places


def series(n: int, rng: np.random.Generator) -> tuple[Any, list[int], list[Place]]:
    """Rough walks of 128 samples with a burst of 16: slow or fast."""
    x, y, places = np.zeros((n, 1, 128), np.float32), [], []
    t = np.arange(16)
    for i in range(n):
        k, start = i % 2, int(rng.integers(0, 112))
        x[i, 0] = 0.3 * np.cumsum(rng.normal(size=128)) * 0.3 + 0.3 * rng.normal(size=128)
        x[i, 0, start : start + 16] += 2 * np.sin(2 * np.pi * t / (8, 4)[k]) * np.hanning(16)
        y.append(k)
        places.append(((start / 128, (start + 16) / 128),))
    return x, y, places


def tables(n: int, rng: np.random.Generator) -> tuple[Any, list[int], list[Place]]:
    """Twelve columns of noise, of which the third and the eighth decide together."""
    x = rng.normal(size=(n, 12)).astype(np.float32)
    y = (x[:, 2] + x[:, 7] > 0).astype(int)
    return x, y.tolist(), [(2, 7)] * n


WORDS = [f"{a}{b}{c}" for a in "bdfgklm" for b in ("a", "e", "i", "o") for c in ("nd", "rt", "st", "lk", "mp", "sh", "ng")]


def texts(n: int, rng: np.random.Generator) -> tuple[Any, list[int], list[Place]]:
    """Ten to twenty made-up words, of which one decides."""
    out, y, places = [], [], []
    for i in range(n):
        words = rng.choice(WORDS, int(rng.integers(10, 21))).tolist()
        key = ("zebra", "walrus")[i % 2]
        words[int(rng.integers(0, len(words)))] = key
        out.append(" ".join(words))
        y.append(i % 2)
        places.append(key)
    return out, y, places


def sounds(n: int, rng: np.random.Generator, rate: int = 8000) -> tuple[Any, list[int], list[Place]]:
    """A second of noise with a tone of a fifth of a second: 600 or 1,500 Hz."""
    out, y, places = [], [], []
    t = np.arange(rate // 5) / rate
    for i in range(n):
        x = 0.03 * rng.normal(size=rate)
        start, hz = int(rng.integers(0, rate - len(t))), (600, 1500)[i % 2]
        x[start : start + len(t)] += 0.2 * np.sin(2 * np.pi * hz * t) * np.hanning(len(t))
        out.append(x.astype(np.float32))
        y.append(i % 2)
        places.append((hz, (start / rate, (start + len(t)) / rate)))
    return out, y, places


KINDS = {"image": images, "table": tables, "text": texts, "audio": sounds, "series": series}
