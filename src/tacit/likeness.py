"""Texts that are nearly the same, found by MinHash, and what many texts begin, end or are filled with.

Two texts are as alike as the share of their shingles that they have in common (Jaccard): runs of 3 words; of 5 characters where a text
has fewer than 5 words or is written without spaces; of 16 characters where it is spelled with at most 6, as DNA is, since all short runs
occur in every long one. A shingle that comes again counts again (Broder's option with numbered occurrences). 128 smallest hashes of each
text estimate that share with a standard error of sqrt(s (1 - s) / 128), 0.035 at s = 0.8. Texts are compared where one of 32 bands of 4
hashes agrees: with probability 1 - (1 - s^4)^32, which is 0.999 at s = 0.67, 0.87 at 0.5, 0.23 at 0.3 and 0.05 at 0.2. Where a text has
many half alike ones, the luckiest estimate counts, and it may be called a near copy a little below the threshold. Strings of ten characters
or so are near copies when they differ in one.
source: Broder 1997; Leskovec et al. 2014, Mining of Massive Datasets, chapter 3.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

import numpy as np

PERMUTATIONS, BANDS = 128, 32
MOST = 200_000  # texts that are compared, 512 bytes each
LONGEST = 200_000  # characters of a text that are looked at
KEPT = 200_000  # different lines that are counted at a time
EXAMPLES = 20
NEIGHBOURS = 4  # of a text within a bucket that it is compared with
SPARE = 1 << 18  # shingles that are hashed at a time
U = np.uint64


def _mixed(x: np.ndarray) -> np.ndarray:
    """uint64 numbers, each turned into another that looks like chance. source: Steele et al. 2014, splitmix64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> U(shift))) * U(factor)
    return x ^ (x >> U(31))


A = _mixed(np.arange(1, PERMUTATIONS + 1, dtype=U)) | U(1)  # of the hashes a x + b
B = _mixed(np.arange(1001, PERMUTATIONS + 1001, dtype=U))
WEIGHTS = _mixed(np.arange(2001, 2017, dtype=U)) | U(1)  # of the parts of a shingle


@dataclass(frozen=True)
class Near:
    """count: texts that are nearly copies of an earlier one. exact: others, that are copies of one but for case and spaces.

    pairs: examples of near copies, (earlier, later). looked: texts that were looked at. whole: these were all.
    """

    count: int
    exact: int
    pairs: list[tuple[int, int]]
    looked: int
    whole: bool = True


def _plain(text: str) -> str:
    """Text without what does not count: more than one space, and case, save in what is no prose: c1ccccc1 is not C1CCCCC1."""
    text = " ".join(text.split())
    return text.lower() if " " in text else text


def shingles(text: str) -> np.ndarray:
    """uint64 hashes of the shingles of a text, all different, none for an empty text; the same on every machine."""
    text = _plain(text[:LONGEST])
    words = re.findall(r"\w+", text)
    if len(words) >= 5 and len(text) <= 20 * len(words):
        parts, width = np.array([zlib.crc32(w.encode("utf-8", "surrogatepass")) for w in words], U), 3
    else:
        parts = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(U)
        width = 16 if len(parts) > 20 and len(set(text)) <= 6 else 5
    width = min(width, len(parts))
    n = len(parts) - width + 1
    x = np.sort(_mixed(sum((parts[i : i + n] * WEIGHTS[i] for i in range(width)), np.zeros(n if width else 0, U))))
    place = np.arange(len(x), dtype=U)
    first = np.maximum.accumulate(np.where(np.r_[True, x[1:] != x[:-1]][: len(x)], place, U(0)))
    return _mixed(x + (place - first) * WEIGHTS[0])


def signatures(found: list[np.ndarray]) -> np.ndarray:
    """uint32 [N, PERMUTATIONS]: the smallest hashes of each text's shingles, of which there is at least one."""
    out = np.empty((len(found), PERMUTATIONS), np.uint32)
    starts = np.cumsum([0, *map(len, found[:-1])])
    x = np.concatenate(found)
    for k in range(PERMUTATIONS):  # the upper half of a product modulo 2^64 is well mixed
        out[:, k] = np.minimum.reduceat((x * A[k] + B[k]) >> U(32), starts)
    return out


def near(texts: Iterable[str], threshold: float = 0.8, most: int = MOST, examples: int = EXAMPLES) -> Near:
    """Texts that are estimated to share `threshold` of their shingles with an earlier one. Only the first `most` texts are looked at.

    examples: pairs that are given, at most.
    """
    known: set[bytes] = set()
    rows: list[int] = []
    signs: list[np.ndarray] = [np.empty((0, PERMUTATIONS), np.uint32)]
    waiting: list[np.ndarray] = []
    looked = exact = held = 0
    stream = iter(texts)
    for i, text in enumerate(islice(stream, most)):
        looked += 1
        key = blake2b(_plain(text).encode("utf-8", "surrogatepass"), digest_size=12).digest()
        if key in known or not len(x := shingles(text)):
            exact += key in known
            continue
        known.add(key)
        rows.append(i)
        waiting.append(x)
        held += len(x)
        if held >= SPARE:
            signs.append(signatures(waiting))
            waiting, held = [], 0
    signs += [signatures(waiting)] if waiting else []
    partner = _partners(np.concatenate(signs), threshold)
    later = np.flatnonzero(partner >= 0)
    pairs = [(rows[partner[j]], rows[j]) for j in later[:examples].tolist()]
    return Near(len(later), exact, pairs, looked, next(stream, None) is None)


def _partners(signs: np.ndarray, threshold: float) -> np.ndarray:
    """int64 [N]: an earlier text that agrees in at least `threshold` of the hashes, -1 where none was found."""
    n = len(signs)
    partner = np.full(n, -1)
    each = PERMUTATIONS // BANDS
    keys = np.stack([(signs[:, b * each : (b + 1) * each].astype(U) * WEIGHTS[:each]).sum(1) for b in range(BANDS)], 1)
    for band in range(BANDS if n else 0):
        # within a bucket, those that agree in the next band as well come together, so that a crowd of half alike texts hides no copy
        order = np.lexsort((keys[:, (band + 2) % BANDS], keys[:, (band + 1) % BANDS], keys[:, band]))
        for step in range(1, min(NEIGHBOURS, n - 1) + 1):
            a, b = order[:-step], order[step:]
            same = keys[a, band] == keys[b, band]
            if not same.any():
                break
            first, last = np.minimum(a, b)[same], np.maximum(a, b)[same]
            open_ = partner[last] < 0
            for i in range(0, int(open_.sum()), 4096):
                f, t = first[open_][i : i + 4096], last[open_][i : i + 4096]
                alike = (signs[f] == signs[t]).sum(1) >= threshold * PERMUTATIONS
                partner[t[alike]] = f[alike]
    return partner


def boilerplate(texts: Iterable[str], share: float = 0.01, least: int = 5, most: int = 10) -> list[tuple[str, int]]:
    """Lines that at least this share of the texts hold, and at least so many; of texts of one line, their first and last 6 words.

    The most frequent first, at most `most` of them, cut at 80 characters. Of a text the first and the last 50 lines are looked at. Where
    there are very many different lines the rare ones are forgotten on the way, so that numbers may come out a little too small.
    """
    counts: Counter[str] = Counter()
    total = 0
    for text in texts:
        total += 1
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        if len(lines) == 1:
            words = lines[0].split(maxsplit=6)[:6], lines[0].rsplit(maxsplit=6)[-6:]
            lines = [" ".join(w) for w in words if len(w) == 6 and " ".join(w) != lines[0]]
        seen = [line[:80] for line in lines[:50] + lines[50:][-50:] if len(line) >= 8]
        counts.update([line for line in dict.fromkeys(seen) if any(map(str.isalpha, line))])
        rare = 0
        while len(counts) > (KEPT // 2 if rare else KEPT):
            rare += 1
            counts = Counter({line: n for line, n in counts.items() if n > rare})
    return [(line, n) for line, n in counts.most_common(most) if n >= max(least, share * total)]
