"""Is it still the same model? What an exported one gives beside what it gave before, on real items, with limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.deciding import Knowledge
from tacit.operate.artefact import Engine, outputs

NEAREST = 10
BATCHES = (1, 64)
SECONDS = 1.0  # of timing, for each size of batch


@dataclass(frozen=True)
class Limits:
    """Where the gates stand.

    cosine: of every embedding with the one before, at least. neighbours: share of the ten nearest that stay, at least. probe: loss of
    a linear probe's score, at most. decisions: share of items decided alike, at least. certainty: difference of a probability, at most.
    alone: difference between an item alone and in a batch, in units of the largest number of its embedding, at most.
    """

    cosine: float
    neighbours: float
    probe: float
    decisions: float
    certainty: float
    alone: float


# float32 sums in another order: nothing may change but where two things are equal to six digits, which one item in a hundred may be.
EXACT = Limits(cosine=0.9999, neighbours=0.99, probe=0.01, decisions=0.99, certainty=0.01, alone=1e-3)
# Eight bits: an index that was built before must go on to work (eight of ten neighbours), a probe may lose two of the 128 items that it
# is scored on, and one decision in twenty may turn where two classes were nearly tied.
COARSE = Limits(cosine=0.99, neighbours=0.8, probe=0.02, decisions=0.95, certainty=0.25, alone=0.1)


@dataclass(frozen=True)
class Gate:
    """One check: passed when the value is on the right side of the limit; words: the same in a sentence."""

    name: str
    value: float
    limit: float
    passed: bool
    words: str


def measure(
    before: Engine,
    after: Engine,
    x: np.ndarray,
    lengths: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    *,
    limits: Limits = EXACT,
    knowledge: Knowledge | None = None,
) -> list[Gate]:
    """Every gate that these items allow.

    before, after: what computed, and what will. x: decoded items [n, C, *S]; lengths: of ragged items. labels: int64 [n] classes, -1 =
    unknown, or float [n], NaN = unknown. knowledge: what decides, where there is a head.
    """
    z, out = outputs(before, x, lengths)
    w, raw = outputs(after, x, lengths)
    gates = [*_same(z, w, limits), _neighbours(z, w, limits)]
    if labels is not None and (probe := _probe(z, w, labels, limits)) is not None:
        gates.append(probe)
    if knowledge is not None and out is not None and raw is not None:
        gates += _decisions(knowledge, out, raw, x.shape[2:], limits, lengths)
    return [*gates, *_shapes(before, after, x, lengths, limits)]


def latency(engine: Engine, x: np.ndarray, lengths: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Milliseconds a batch, median and 95th percentile, for batches of 1 and 64 decoded items (repeated where there are fewer)."""
    found = []
    for size in BATCHES:
        rows = np.resize(np.arange(len(x)), size)
        items, own = np.ascontiguousarray(x[rows]), None if lengths is None else lengths[rows]
        engine.run(items, own)  # the first one plans memory
        taken: list[float] = []
        while len(taken) < 3 or (sum(taken) < SECONDS and len(taken) < 200):
            begin = time.perf_counter()
            engine.run(items, own)
            taken.append(time.perf_counter() - begin)
        p50, p95 = (round(1000 * float(np.quantile(taken, q, method="inverted_cdf")), 4) for q in (0.5, 0.95))
        found.append({"batch": size, "p50_ms": p50, "p95_ms": p95, "n": len(taken)})
    return found


def _gate(name: str, value: float, limit: float, most: bool, words: str) -> Gate:
    value = float(value)
    passed = value <= limit if most else value >= limit  # NaN passes neither
    return Gate(name, value, limit, bool(passed), f"{words} (limit {limit:g})")


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of every row with its counterpart, float64 [n]; two rows of zeros are alike."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    long = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(long > 0, (a * b).sum(1) / np.where(long > 0, long, 1), (a == b).all(1))


def _same(z: np.ndarray, w: np.ndarray, limits: Limits) -> list[Gate]:
    c = cosines(z, w)
    return [
        _gate("cosine", c.min(), limits.cosine, False, f"cosine with the vectors before: at least {c.min():.6f}, of {len(c)} items"),
        _gate("cosine mean", c.mean(), limits.cosine, False, f"cosine on average: {c.mean():.6f}"),
    ]


def agreement(z: np.ndarray, w: np.ndarray, k: int = NEAREST) -> float:
    """Share of the k nearest items by w that are among the k nearest by z; as near as the k-th (to six digits) counts as among them."""
    k = min(k, len(z) - 1)
    if k < 1:
        return 1.0
    old, new = (_similar(v) for v in (z, w))
    least = np.sort(old, 1)[:, -k] - 1e-6
    rows = np.argsort(-new, 1, kind="stable")[:, :k]
    return float((np.take_along_axis(old, rows, 1) >= least[:, None]).mean())


def _similar(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64)
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    out = z @ z.T
    np.fill_diagonal(out, -np.inf)
    return out


def _neighbours(z: np.ndarray, w: np.ndarray, limits: Limits) -> Gate:
    share = agreement(z, w)
    return _gate("neighbours", share, limits.neighbours, False, f"{share:.1%} of the {NEAREST} nearest items are the same")


def _probe(z: np.ndarray, w: np.ndarray, labels: np.ndarray, limits: Limits) -> Gate | None:
    """A linear probe learns from half of the vectors before, and reads the other half before and after; None = too few labels."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = labels.dtype.kind in "iu"
    known = np.random.default_rng(0).permutation(np.flatnonzero(labels >= 0 if classes else np.isfinite(labels)))
    fit, read = known[::2], known[1::2]
    different = len(np.unique(labels[fit]))
    if len(read) < 2 or different < 2 or (classes and different > len(fit) / 2):  # words of which hardly two items share one are no classes
        return None
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000) if classes else Ridge())
    probe.fit(z[fit], labels[fit])
    old, new = (float(probe.score(v[read], labels[read])) for v in (z, w))
    what = "accuracy" if classes else "R2"
    words = f"a linear probe loses {max(0.0, old - new):.3f} of its {what} {old:.3f}, on {len(read)} items"
    return _gate("probe", old - new, limits.probe, True, words)


def _decisions(
    knowledge: Knowledge, out: np.ndarray, raw: np.ndarray, places: Sequence[int], limits: Limits, lengths: np.ndarray | None = None
) -> list[Gate]:
    """Whether a head decides alike, and how far its probabilities move."""
    n = len(out)
    pairs = np.stack([np.arange(n), np.roll(np.arange(n), -1)], 1) if knowledge.head.level == "pair" else None
    old, new = (knowledge.told(knowledge.outcome(v, places, pairs), lengths).columns for v in (out, raw))
    what = "tags" if "tags" in old else "prediction"
    said, now = old[what], new[what]
    numbers = isinstance(said, np.ndarray) and said.dtype.kind == "f"
    if numbers:
        near = limits.certainty * max(float(np.std(said)), 1e-12)
        alike = np.abs(np.asarray(now) - np.asarray(said)) <= near
    else:
        alike = np.array([np.mean(a == b) if isinstance(a, np.ndarray) else a == b for a, b in zip(said, now, strict=True)], float)
    share = float(alike.mean())
    within = f" (numbers within {limits.certainty:.0%} of their spread)" if numbers else ""
    gates = [_gate("decisions", share, limits.decisions, False, f"{share:.1%} of {n} decisions are the same{within}")]
    moved = [float(np.abs(np.asarray(new[k]) - np.asarray(old[k])).max()) for k in old if k.split(":")[0] == "probability"]
    if moved:
        gates.append(_gate("certainty", max(moved), limits.certainty, True, f"probabilities differ by at most {max(moved):.4f}"))
    return gates


def _shapes(before: Engine, after: Engine, x: np.ndarray, lengths: np.ndarray | None, limits: Limits) -> list[Gate]:
    """An item alone equals itself in a batch of seven, and where lengths are free a shorter one equals itself beside a longer one."""
    rows = np.resize(np.arange(len(x)), 7)
    own = None if lengths is None else lengths[rows]
    many = after.run(np.ascontiguousarray(x[rows]), own)
    alone = [after.run(np.ascontiguousarray(x[r : r + 1]), None if lengths is None else lengths[r : r + 1]) for r in rows]
    apart = max(_apart(a, [m[i : i + 1] for m in many]) for i, a in enumerate(alone))
    gates = [_gate("batch", apart, limits.alone, True, f"an item alone and in a batch of 7 differ by {apart:.1e}")]
    if getattr(after, "any_length", False) and x.shape[-1] > 1:
        half = np.maximum(1, (np.full(7, x.shape[-1]) if own is None else own) // 2)
        mixed = half.copy()
        mixed[0] = x.shape[-1]  # the longest decides how far the others are padded
        filled = after.run(np.ascontiguousarray(x[rows]), mixed)[0]
        single = [np.ascontiguousarray(x[r : r + 1, ..., : half[i]]) for i, r in enumerate(rows)]
        short = [after.run(s, None) for s in single]
        apart = max(_apart(short[i][:1], [filled[i : i + 1]]) for i in range(1, 7))
        words = f"a shorter item alone and beside a longer one differ by {apart:.1e}"
        gates.append(_gate("length", apart, limits.alone, True, words))
        c = float(cosines(np.concatenate([before.run(s, None)[0] for s in single]), np.concatenate([s[0] for s in short])).min())
        gates.append(_gate("cosine short", c, limits.cosine, False, f"cosine of shorter items with the vectors before: at least {c:.6f}"))
    return gates


def _apart(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """Largest difference between outputs, in units of the largest number of each."""
    # of tokens, those that both have: what is padded to the longest of a batch depends on the batch
    both = [(p[:, : q.shape[1]], q[:, : p.shape[1]]) if p.ndim == 3 else (p, q) for p, q in zip(a, b, strict=True)]
    return max(float(np.abs(p - q).max() / max(float(np.abs(q).max()), 1e-12)) for p, q in both)
