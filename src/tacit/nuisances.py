"""Numbers about an item that say how it was taken, not what it shows: where they tell the label, a network may learn them in its place.

And prints, by which copies are found. NumPy alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

PRINT = 12  # side of the print of an image
SHARES, AT = (0.9, 0.8, 0.7), (0.0, 0.5, 1.0)  # of an image's sides that a crop may have kept, and where it may lie
BANDS = 8


def of_images(x: np.ndarray) -> dict[str, np.ndarray]:
    """Of images uint8 [N, C, H, W]: brightness, contrast, cast, border, sharpness, clipping."""
    out: dict[str, list[np.ndarray]] = {}
    for part in _blocks(x):
        p = part.astype(np.float32) / 255
        grey = p.mean(1)
        ring = max(1, round(0.06 * min(grey.shape[1:])))
        border = np.ones(grey.shape[1:], bool)
        border[ring:-ring, ring:-ring] = False
        edge = grey[:, border]
        found = {
            "brightness": grey.mean((1, 2)),
            "contrast": grey.std((1, 2)),
            "border brightness": edge.mean(1),
            "border contrast": edge.std(1),
            "sharpness": np.abs(np.diff(grey, axis=2)).mean((1, 2)) / np.maximum(grey.std((1, 2)), 1e-6),
            "share of black": (grey < 0.02).mean((1, 2)),
            "share of white": (grey > 0.98).mean((1, 2)),
        }
        if part.shape[1] == 3:
            cast = p.mean((2, 3)) - grey.mean((1, 2))[:, None]
            ring_cast = p[:, :, border].mean(2) - edge.mean(1)[:, None]
            found |= {f"{c} cast": cast[:, i] for i, c in enumerate(("red", "green"))}
            found |= {f"border {c} cast": ring_cast[:, i] for i, c in enumerate(("red", "green"))}
        for k, v in found.items():
            out.setdefault(k, []).append(v)
    return {k: np.concatenate(v).astype(np.float64) for k, v in out.items()}


def of_arrays(x: np.ndarray, lengths: np.ndarray | None) -> dict[str, np.ndarray]:
    """Of numbers float [N, ...] with NaN for what is missing: length, level, spread, missing values, first and last value, roughness."""
    x = np.asarray(x, np.float64).reshape(len(x), x.shape[1] if x.ndim > 2 else 1, -1)
    real = ~np.isnan(x)
    n = np.maximum(real.sum((1, 2)), 1)
    mean = np.where(real, x, 0).sum((1, 2)) / n
    apart = np.where(real, x - mean[:, None, None], 0)
    out = {"level": mean, "spread": np.sqrt((apart**2).sum((1, 2)) / n)}
    size = np.full(len(x), x.shape[1] * x.shape[2]) if lengths is None else lengths * x.shape[1]
    gone = size - real.sum((1, 2))
    if lengths is not None:
        out["length"] = lengths.astype(np.float64)
    if gone.any():
        out["missing values"] = gone.astype(np.float64)
    if x.shape[2] > 3:
        last = np.maximum(np.where(real.any(1), np.arange(x.shape[2]), 0).max(1), 0)
        out["first value"] = np.nan_to_num(x[:, 0, 0])
        out["last value"] = np.nan_to_num(x[np.arange(len(x)), 0, last])
        step = np.nan_to_num(np.abs(np.diff(x, axis=2))).sum((1, 2)) / n
        out["roughness"] = step / np.maximum(out["spread"], 1e-9)
    return out


def of_texts(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Of texts: characters, words, capitals, digits, punctuation, lines, characters of other scripts."""

    def each(text: str) -> tuple[float, ...]:
        n = max(1, len(text))
        words = text.split()
        return (
            float(len(text)),
            float(len(words)),
            sum(map(len, words)) / max(1, len(words)),
            sum(map(str.isupper, text)) / n,
            sum(map(str.isdigit, text)) / n,
            len(re.findall(r"[^\w\s]", text)) / n,
            float(text.count("\n")),
            sum(ord(c) > 127 for c in text) / n,
            float(text[:1].isupper()),
            float(text[-1:] in ".!?"),
        )

    names = (
        *("characters", "words", "length of words", "capitals", "digits", "punctuation", "lines", "other scripts"),
        *("begins with a capital", "ends with a full stop"),
    )
    return dict(zip(names, np.array([each(t) for t in texts], np.float64).T, strict=True))


def of_sounds(waves: Iterator[np.ndarray]) -> dict[str, np.ndarray]:
    """Of sounds, samples [T] in -1..1: duration in samples, level, peak, offset, noise floor, share of power in eighths of the band."""

    def each(x: np.ndarray) -> tuple[float, ...]:
        x = np.asarray(x, np.float64)
        x = x[np.isfinite(x)] if len(x) else np.zeros(1)
        frames = x[: len(x) // 256 * 256].reshape(-1, 256) if len(x) >= 256 else x[None]
        level = np.log10(np.maximum((frames**2).mean(1), 1e-12))
        power = (np.abs(np.fft.rfft(frames * np.hanning(frames.shape[1]))) ** 2).mean(0)
        parts = [p.sum() for p in np.array_split(power, BANDS)]
        shares = np.log10(np.maximum(np.array(parts) / max(power.sum(), 1e-20), 1e-9))
        return (
            float(len(x)),
            float(level.mean()),
            float(np.quantile(level, 0.05)),
            float(np.abs(x).max()),
            float(x.mean()),
            *shares.tolist(),
        )

    names = ("length", "level", "noise floor", "peak", "offset", *(f"power in band {i + 1} of {BANDS}" for i in range(BANDS)))
    return dict(zip(names, np.array([each(w) for w in waves], np.float64).T, strict=True))


def prints_of_images(x: np.ndarray) -> np.ndarray:
    """Prints of images uint8 [N, C, H, W] and of parts that a crop may have kept, float32 [N, V, P], of unit length and mean 0; the
    whole image comes first, and its mirror image second. A flat image has a print of zeros."""
    out = []
    for part in _blocks(x, 20_000_000):
        grey = part.astype(np.float32).mean(1)
        height, width = grey.shape[1:]
        whole = _small(grey)
        seen = [whole, whole[:, :, ::-1]]
        for share in SHARES:
            h, w = max(2, round(share * height)), max(2, round(share * width))
            for down, right in ((a, b) for a in AT for b in AT):
                top, left = round(down * (height - h)), round(right * (width - w))
                seen.append(_small(grey[:, top : top + h, left : left + w]))
        prints = np.stack([s.reshape(len(s), -1) for s in seen], 1)
        prints -= prints.mean(2, keepdims=True)
        length = np.linalg.norm(prints, axis=2, keepdims=True)
        out.append(np.where(length > 1e-3 * PRINT * 255, prints / np.maximum(length, 1e-9), 0))
    return np.concatenate(out).astype(np.float32)


def _small(grey: np.ndarray) -> np.ndarray:
    """Grey images [n, H, W] as [n, PRINT, PRINT]: means over equal parts, of which borders are shared out."""
    return np.einsum("ih,nhw,jw->nij", _shares(grey.shape[1]), grey, _shares(grey.shape[2]), optimize=True)


def _shares(size: int) -> np.ndarray:
    """[PRINT, size]: how much each of `size` pixels counts in each of PRINT equal parts, rows sum to 1."""
    edges = np.linspace(0, size, PRINT + 1)
    at = np.arange(size)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    part = np.maximum(overlap, 0)
    return (part / part.sum(1, keepdims=True)).astype(np.float32)


def _blocks(x: np.ndarray, most: int = 30_000_000) -> Iterator[np.ndarray]:
    step = max(1, most // max(1, int(np.prod(x.shape[1:]))))
    for i in range(0, len(x), step):
        yield np.asarray(x[i : i + step])
