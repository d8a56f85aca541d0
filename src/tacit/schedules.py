"""Functions of progress, the share of training done, in 0..1. Nothing here knows of epochs."""

from __future__ import annotations

import math


def cosine(start: float, end: float, progress: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def warmup_cosine(progress: float, warmup: float, floor: float = 0.0) -> float:
    """Factor of the learning rate: linear from 0 to 1 over the first `warmup` share, then cosine down to `floor`."""
    if progress < warmup:
        return progress / warmup
    return cosine(1.0, floor, (progress - warmup) / max(1e-9, 1 - warmup))
