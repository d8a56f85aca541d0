"""Large images made small for classics that read every pixel."""

from __future__ import annotations

import numpy as np

SIDE = 32  # pixels
SMALLER = f"read at {SIDE} pixels a side, because larger images take too much memory"
BYTES = 2**30  # of all training images as float32, above which they are shrunk


def side_for(x: np.ndarray, most: int = BYTES) -> int:
    """Longest side in pixels at which the images x [N, C, H, W] are read: their own, or 32 if they take more than `most` bytes."""
    longest = max(x.shape[-2:])
    return min(longest, SIDE) if 4 * x.size > most else longest


def flat(x: np.ndarray, side: int) -> np.ndarray:
    """Images uint8 [N, C, H, W] as float32 [N, D] in 0..1, averaged over areas so that no side is longer than `side`."""
    height, width = x.shape[-2:]
    scale = min(1.0, side / max(height, width))
    if scale == 1:
        return np.asarray(x).reshape(len(x), -1).astype(np.float32) / np.float32(255)
    down, across = (_areas(n, max(1, round(n * scale))) for n in (height, width))
    out = np.empty((len(x), x.shape[1], len(down), len(across)), dtype=np.float32)
    step = max(1, 2**24 // max(1, int(np.prod(x.shape[1:]))))
    for i in range(0, len(x), step):
        some = np.asarray(x[i : i + step]).astype(np.float32) / np.float32(255)
        out[i : i + step] = down @ some @ across.T
    return out.reshape(len(x), -1)


def _areas(n: int, parts: int) -> np.ndarray:
    """Shares [parts, n] of n pixels in each of so many equal parts; every row sums to 1."""
    edges = np.linspace(0, n, parts + 1)
    start, end = edges[:-1, None], edges[1:, None]
    pixel = np.arange(n)
    shares = np.clip(np.minimum(end, pixel + 1) - np.maximum(start, pixel), 0, None)
    return (shares / shares.sum(1, keepdims=True)).astype(np.float32)
