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
    """Of numbers float [N, ...] with NaN for what is missing: length, level, spread, missing values, first and last value."""
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
    """Of sounds, samples [T] in -1..1: duration, level, peak, offset, and the noise of room and device: what most parts of the band seldom
    fall below, whatever is said."""

    def each(x: np.ndarray) -> tuple[float, ...]:
        x = np.asarray(x, np.float64)
        x = x[np.isfinite(x)] if len(x) else np.zeros(1)
        frames = x[: len(x) // 256 * 256].reshape(-1, 256) if len(x) >= 256 else x[None]
        power = np.abs(np.fft.rfft(frames * np.hanning(frames.shape[1]))) ** 2
        bands = np.log10(np.maximum(np.stack([p.mean(1) for p in np.array_split(power, BANDS, axis=1)], 1), 1e-12))
        level = np.log10(np.maximum((frames**2).mean(1), 1e-12))
        floor = np.sort(np.quantile(bands, 0.05, axis=0))[len(bands[0]) // 4]
        upper = float(np.median(np.quantile(bands[:, BANDS // 2 :], 0.05, axis=0)))
        return float(len(x)), float(level.mean()), float(np.abs(x).max()), float(x.mean()), float(floor), upper

    names = ("length", "level", "peak", "offset", "noise floor", "noise floor of the upper half of the band")
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


def apart(x: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """How far the print of the first image of each pair [n, 2] is from that of the part of the second that fits it best, float64 [n].

    The best of the parts that `prints_of_images` looks at is moved and resized in two rounds of smaller steps.
    """
    grey = [np.asarray(x[i]).astype(np.float32).mean(0) for i in range(len(x))]
    sums = np.stack([np.pad(g.cumsum(0).cumsum(1), ((1, 0), (1, 0))) for g in grey])
    height, width = grey[0].shape
    own = _unit(np.stack([_boxes(sums[i : i + 1], np.array([[[0.0, 0.0, 1.0, 1.0]]]), height, width)[0, 0] for i in range(len(x))]))
    coarse = [(0.0, 0.0, 1.0, 1.0)] + [(d * (1 - s), r * (1 - s), s, s) for s in SHARES for d in AT for r in AT]
    out = np.empty(len(pairs))
    block = 2000
    for start in range(0, len(pairs), block):
        a, b = pairs[start : start + block].T
        best, box = np.full(len(a), np.inf), np.zeros((len(a), 4))
        for target in (own[a], _mirrored(own[a])):
            tried = np.broadcast_to(np.array(coarse), (len(a), len(coarse), 4))
            for step in (0.0, 0.06, 0.03):
                if step:
                    moves = np.array([(d, r, s, s) for d in (-step, 0, step) for r in (-step, 0, step) for s in (-step, 0, step)])
                    tried = _inside(box[:, None] + moves)
                prints = _unit(_boxes(sums[b], tried, height, width))
                far = 2 - 2 * np.einsum("npk,nk->np", prints, target)
                at = far.argmin(1)
                better = far[np.arange(len(a)), at]
                box = tried[np.arange(len(a)), at]
                best = np.minimum(best, better)
        out[start : start + block] = np.sqrt(np.maximum(best, 0))
    return out


def _inside(box: np.ndarray) -> np.ndarray:
    """Boxes (top, left, height, width) as shares of the image, moved into it."""
    size = np.clip(box[..., 2:], 0.5, 1.0)
    return np.concatenate([np.clip(box[..., :2], 0.0, 1 - size), size], -1)


def _boxes(sums: np.ndarray, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means over PRINT x PRINT equal parts of boxes [n, p, 4], from images summed up from their corner [n, H + 1, W + 1]: [n, p, P]."""
    edge = np.linspace(0, 1, PRINT + 1)
    down = (boxes[..., 0:1] + edge * boxes[..., 2:3]) * height
    right = (boxes[..., 1:2] + edge * boxes[..., 3:4]) * width
    n = np.arange(len(sums))[:, None, None, None]

    def at(axis: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        low = np.minimum(axis.astype(np.int64), most - 1)
        return low, axis - low

    (y, dy), (x, dx) = at(down, height), at(right, width)
    y, dy, x, dx = y[..., :, None], dy[..., :, None], x[..., None, :], dx[..., None, :]
    whole = (1 - dy) * ((1 - dx) * sums[n, y, x] + dx * sums[n, y, x + 1]) + dy * (
        (1 - dx) * sums[n, y + 1, x] + dx * sums[n, y + 1, x + 1]
    )
    part = np.diff(np.diff(whole, axis=-2), axis=-1)
    return part.reshape(*part.shape[:2], -1)


def _unit(prints: np.ndarray) -> np.ndarray:
    """Prints [..., P] with mean 0 and length 1; flat ones are 0."""
    apart = prints - prints.mean(-1, keepdims=True)
    length = np.linalg.norm(apart, axis=-1, keepdims=True)
    return np.where(length > 1e-9 * np.abs(prints).max(initial=1e-9), apart / np.maximum(length, 1e-12), 0)


def _mirrored(prints: np.ndarray) -> np.ndarray:
    return prints.reshape(-1, PRINT, PRINT)[:, :, ::-1].reshape(prints.shape)


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
