"""Texts that are nearly the same, and lines that many texts share."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

PERMUTATIONS, BANDS = 128, 32  # four a band: pairs at 0.8 are compared with 99.99 %, at 0.5 with 87 %, at 0.2 with 5 %
MOST = 200_000  # texts that are compared
KEPT = 200_000  # different lines that are counted at a time


@dataclass(frozen=True)
class Near:
    """count: texts that are nearly copies of an earlier one. exact: texts that are copies but for case and spaces.

    pairs: some of them, (earlier, later). looked: texts that were compared.
    """

    count: int
    exact: int
    pairs: list[tuple[int, int]]
    looked: int


def shingles(text: str) -> np.ndarray:
    """Hashes of all runs of 3 words, or of 5 characters where there are fewer than 5 words, uint64, each once."""
    words = re.findall(r"\w+", text.lower())
    parts = (
        [" ".join(words[i : i + 3]) for i in range(len(words) - 2)]
        if len(words) >= 5
        else [text.lower()[i : i + 5] for i in range(max(1, len(text) - 4))]
    )
    return np.unique(np.fromiter((zlib.crc32(p.encode("utf-8", "replace")) for p in parts), np.uint64, len(parts)))


def signature(found: np.ndarray) -> np.ndarray:
    """MinHash of shingles: the smallest of PERMUTATIONS hashes, uint32. source: Broder 1997."""
    rng = np.random.default_rng(97)
    a, b = rng.integers(0, 2**64, PERMUTATIONS, np.uint64, endpoint=False) | np.uint64(1), rng.integers(0, 2**64, PERMUTATIONS, np.uint64)
    out = np.full(PERMUTATIONS, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(found), 2048):
        # multiply and shift modulo 2^64: the upper half is well mixed
        mixed = (found[start : start + 2048, None] * a + b) >> np.uint64(32)
        out = np.minimum(out, mixed.min(0).astype(np.uint32))
    return out


def near(texts: Iterable[str], threshold: float = 0.8, most: int = MOST) -> Near:
    """Texts whose share of common shingles with an earlier text (Jaccard) is at least `threshold`, by estimate."""
    signs: list[np.ndarray] = []
    buckets: list[dict[bytes, int]] = [{} for _ in range(BANDS)]
    known: set[bytes] = set()
    pairs: list[tuple[int, int]] = []
    count = exact = 0
    for i, text in enumerate(texts):
        if i == most:
            break
        sign = signature(shingles(text))
        signs.append(sign)
        plain = re.sub(r"\s+", " ", text.strip().lower()).encode("utf-8", "replace")
        key = zlib.crc32(plain).to_bytes(4, "big") + zlib.adler32(plain).to_bytes(4, "big")
        rows = [(k, row.tobytes()) for k, row in enumerate(sign.reshape(BANDS, -1))]
        if key in known:
            exact += 1
            continue
        known.add(key)
        others = {buckets[k][row] for k, row in rows if row in buckets[k]}
        best = max(others, key=lambda j: (float((signs[j] == sign).mean()), -j), default=None)
        if best is not None and (signs[best] == sign).mean() >= threshold:
            count += 1
            pairs += [(best, i)] if len(pairs) < 20 else []
            continue  # the earlier one stands for it
        for k, row in rows:
            buckets[k].setdefault(row, i)
    return Near(count, exact, pairs, len(signs))


def boilerplate(texts: Iterable[str], share: float = 0.01, least: int = 5, most: int = 10) -> list[tuple[str, int]]:
    """Lines that at least this share of the texts have, and at least so many; of texts of one line their first and last 6 words."""
    counts: Counter[str] = Counter()
    total = 0
    for text in texts:
        total += 1
        found = {line.strip()[:200] for line in text.splitlines() if len(line.strip()) >= 8}
        if "\n" not in text.strip() and len(words := text.split()) >= 14:
            found = {" ".join(words[:6]), " ".join(words[-6:])}
        elif "\n" not in text.strip():
            continue
        counts.update(found)
        if len(counts) > KEPT:
            counts = Counter({w: n for w, n in counts.items() if n > 1})
            if len(counts) > KEPT:
                counts = Counter(dict(counts.most_common(KEPT // 2)))
    wanted = max(least, share * total)
    return [(w[:80], n) for w, n in counts.most_common(most) if n >= wanted]
