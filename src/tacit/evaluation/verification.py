"""Whether two items come from the same speaker (or patient, or camera): errors of a yes or no by the likeness of two embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.statistics import interval

MOST = 200_000  # trials


@dataclass(frozen=True)
class Trials:
    """a, b: rows of the items that are compared, int64 [n]. same: bool [n], whether they belong together."""

    a: np.ndarray
    b: np.ndarray
    same: np.ndarray

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Verified:
    """Errors with 95 % intervals (value, low, high). eer: equal error rate. dcf: minimum detection cost, 1 = as bad as never looking."""

    eer: tuple[float, float, float]
    dcf: tuple[float, float, float]


def trials(groups: np.ndarray, other: np.ndarray | None = None, most: int = MOST, seed: int = 0) -> Trials:
    """All pairs of items with a known group (-1 = unknown), or `most` of them, those of one group as many as those of two.

    other: int64 [N], items that share this too are not compared (the same word, the same session); None = nothing.
    """
    rows = np.flatnonzero(groups >= 0)
    i, j = np.triu_indices(len(rows), 1) if len(rows) < 3000 else _some(len(rows), 20 * most, seed)
    a, b = rows[i], rows[j]
    if other is not None:
        keep = other[a] != other[b]
        a, b = a[keep], b[keep]
    same = groups[a] == groups[b]
    rng = np.random.default_rng([seed, 909])
    kept = [np.flatnonzero(same == want) for want in (True, False)]
    if len(a) > most:
        kept = [np.sort(rng.permutation(k)[: most // 2]) for k in kept]
    chosen = np.sort(np.concatenate(kept))
    return Trials(a[chosen], b[chosen], same[chosen])


def _some(n: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, 910])
    i, j = rng.integers(0, n, count), rng.integers(0, n, count)
    low, high = np.minimum(i, j), np.maximum(i, j)
    pairs = np.unique(np.stack([low, high], 1)[low < high], axis=0)
    return pairs[:, 0], pairs[:, 1]


def rates(scores: np.ndarray, same: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Shares of misses and of false alarms at every threshold, from accepting nothing to accepting all; equal scores fall together."""
    order = np.argsort(-scores, kind="stable")
    w = (np.ones(len(scores)) if weight is None else weight)[order]
    yes, s = same[order], scores[order]
    last = np.append(s[1:] != s[:-1], True)
    hits, alarms = np.cumsum(w * yes)[last], np.cumsum(w * ~yes)[last]
    miss = 1 - np.append(0.0, hits) / max(1e-12, float((w * yes).sum()))
    return miss, np.append(0.0, alarms) / max(1e-12, float((w * ~yes).sum()))


def equal_error(miss: np.ndarray, alarm: np.ndarray) -> float:
    """Where misses are as frequent as false alarms, by a straight line between the thresholds around it."""
    k = int(np.argmax(alarm >= miss))
    if not k:
        return float((miss[0] + alarm[0]) / 2)
    before, after = miss[k - 1] - alarm[k - 1], miss[k] - alarm[k]
    share = before / (before - after) if before != after else 0.0
    return float(miss[k - 1] + share * (miss[k] - miss[k - 1]))


def detection_cost(miss: np.ndarray, alarm: np.ndarray, prior: float = 0.05) -> float:
    """Lowest cost of misses and false alarms, over that of the better of never looking.

    prior: share of pairs that belong together in use; both errors cost 1. source: NIST SRE 2016 and later (0.05 as in VoxSRC).
    """
    return float((prior * miss + (1 - prior) * alarm).min() / min(prior, 1 - prior))


def cosines(z: np.ndarray, t: Trials, middle: np.ndarray | None = None) -> np.ndarray:
    """Cosine of both embeddings of each trial, from `middle` on (the mean of training items; None = as they are)."""
    z = np.asarray(z, np.float64) if middle is None else np.asarray(z, np.float64) - middle
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return np.asarray((z[t.a] * z[t.b]).sum(1))


def verified(scores: np.ndarray, t: Trials, draws: int = 200, seed: int = 0) -> Verified:
    """Errors of these scores; intervals by drawing items, because trials share them."""

    def both(weight: np.ndarray | None) -> tuple[float, float]:
        miss, alarm = rates(scores, t.same, weight)
        return equal_error(miss, alarm), detection_cost(miss, alarm)

    value = both(None)
    rng, n = np.random.default_rng([seed, 911]), int(max(t.a.max(), t.b.max())) + 1
    items = np.unique(np.concatenate([t.a, t.b]))
    drawn = []
    for _ in range(draws):
        count = np.bincount(rng.choice(items, len(items)), minlength=n)
        weight = (count[t.a] * count[t.b]).astype(np.float64)
        if (weight * t.same).sum() and (weight * ~t.same).sum():
            drawn.append(both(weight))
    ends = [interval(np.array(d)) for d in zip(*drawn, strict=True)] if len(drawn) > 0.9 * draws else [(float("nan"),) * 2] * 2
    return Verified(*((v, float(e[0]), float(e[1])) for v, e in zip(value, ends, strict=True)))  # type: ignore[arg-type]
