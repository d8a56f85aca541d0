"""Data that is drawn, so that the truth is known: shapes with their masks and sizes, and digits on noisy backgrounds."""

from __future__ import annotations

import numpy as np

SIDE = 32
NAMES = ("background", "disc", "square", "triangle")


def shapes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images uint8 [n, 3, 32, 32], masks int16 [n, 32, 32], radius of the largest shape float32 [n]).

    One or two shapes of random colour, place and size on a shaded, noisy background.
    """
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    x, mask, size = np.empty((n, 3, SIDE, SIDE), np.uint8), np.zeros((n, SIDE, SIDE), np.int16), np.zeros(n, np.float32)
    for i in range(n):
        slope = rng.normal(size=2) * 2
        ground = rng.uniform(40, 215, (3, 1, 1)) + (slope[0] * (yy - 16) + slope[1] * (xx - 16)) + rng.normal(0, 12, (3, SIDE, SIDE))
        for _ in range(int(rng.integers(1, 3))):
            kind, r = int(rng.integers(1, 4)), float(rng.uniform(3, 9))
            cy, cx, turn = *rng.uniform(r, SIDE - r, 2), rng.uniform(0, 2 * np.pi)
            u = (xx - cx) * np.cos(turn) + (yy - cy) * np.sin(turn)
            v = (yy - cy) * np.cos(turn) - (xx - cx) * np.sin(turn)
            if kind == 1:
                inside = u**2 + v**2 < r**2
            elif kind == 2:
                inside = (abs(u) < 0.8 * r) & (abs(v) < 0.8 * r)
            else:
                inside = (v > -0.5 * r) & (v < r - 1.7 * abs(u))
            colour = rng.uniform(0, 255, (3, 1, 1))
            ground = np.where(inside, colour + rng.normal(0, 8, (3, SIDE, SIDE)), ground)
            mask[i][inside] = kind
            size[i] = max(size[i], r)
        x[i] = np.clip(ground, 0, 255)
    return x, mask, size


def pasted(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [n, 1, 32, 32], masks int16 [n, 32, 32]: 0 = background, 1 to 10 = the digit's number plus one)."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    held = load_digits()
    x, mask = np.empty((n, 1, SIDE, SIDE), np.uint8), np.zeros((n, SIDE, SIDE), np.int16)
    for i in range(n):
        coarse = rng.uniform(0, 140, (4, 4))
        ground = np.kron(coarse, np.ones((8, 8))) + rng.normal(0, 10, (SIDE, SIDE))
        which = int(rng.integers(len(held.target)))
        digit = np.kron(held.images[which] / 16, np.ones((2, 2)))
        top, left = rng.integers(0, SIDE - 16 + 1, 2)
        part = ground[top : top + 16, left : left + 16]
        ground[top : top + 16, left : left + 16] = part * (1 - digit) + 250 * digit
        mask[i, top : top + 16, left : left + 16][digit > 0.4] = held.target[which] + 1
        x[i, 0] = np.clip(ground, 0, 255)
    return x, mask
