"""Near copies: the same picture cropped, mirrored or saved again, the same text with a word changed, the same row with a little noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from tacit import likeness
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.data import sounds
from tacit.data.splits import TEST, TRAIN
from tacit.statistics import wilson
from tacit.types import Share

TEXTS = 50_000  # that are compared
WORTH = 0.75  # of the fifth distance: a nearest item that is further away is not looked at more closely


class Near(Check):
    """Items that lie closer to another one than chance allows in a space of as many dimensions as the data has.

    Of images a small print is compared with those of the whole other image, its mirror image and 27 crops of it; texts by MinHash,
    recordings by their spectra, everything else by what the classic of such data sees. The distance d1 to the nearest item is held
    against d5 to the fifth: among points that lie as they like in m dimensions (d1 / d5) ** m follows Beta(1, 4).
    """

    section = "data"
    source = "Levina and Bickel 2004 for m; Lowe 2004 for the ratio; ours joins them into a test"

    def __init__(self, *, ratio: Share = 0.4, chance: Share = 0.01) -> None:
        """ratio: d1 / d5 of near copies, at most. chance: near copies that chance may bring into the whole data."""
        self.ratio, self.chance = ratio, chance

    def look(self, case: Case) -> Iterator[Finding]:
        pairs, looked = self._pairs(case)
        n, part, kind = len(looked), case.data.split, case.kind.unit
        some = "" if n == len(case.data) else f" among {n:,} of {len(case.data):,} that were compared"
        across = [(a, b) for a, b in pairs if {int(part[a]), int(part[b])} == {TRAIN, TEST}]
        held = sorted({a if part[a] == TEST else b for a, b in across})
        if held:
            total = max(1, int((part[looked] == TEST).sum()))
            share = len(held) / total
            chance = case.data.modality in ("table", "vector", "events")  # rows of different people may be as good as alike
            bounds = (0.05, 0.005) if chance else (max(3 / total, 0.002), 2 / total)
            yield Finding(
                "near.across", grade(share, *bounds, 0.0),
                f"{len(held):,} held-out {kind} ({percent(share)}) are near copies of training {kind}{some}: what is measured on them is "
                "too good",
                "share of held-out items with a near copy in training", share, total,
                "look at the pairs; name what they come from with --group, so that it is split as a whole", *wilson(share, total),
                items=case.names(np.array(held)), weight=share, more={"pairs": self._named(case, across)},
                drop=tuple(held),
            )  # fmt: skip
        within = {max(a, b) for a, b in pairs} - set(held)
        if within:
            share = len(within) / n
            yield Finding(
                "near.within", "medium" if share > 0.02 else "low",
                f"{len(within):,} {kind} ({percent(share)}) are near copies of another one of the same part{some}",
                "share of near copies", share, n, "keep one of each: --write-keep keep.csv", *wilson(share, n), weight=share,
                items=case.names(np.array(sorted(within))), more={"pairs": self._named(case, pairs)},
                drop=tuple(sorted(within)),
            )  # fmt: skip
        if not pairs:
            yield Finding("near", "fine", f"no near copies among {n:,} {kind}{some}", "near copies", 0.0, n)

    def _pairs(self, case: Case) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Near copies, (earlier, later) rows, exact copies left out; and the rows that were compared."""
        data = case.data
        if data.raws is not None:
            looked = np.arange(min(len(data), TEXTS))
            return likeness.near(islice(data.raws(), TEXTS), most=TEXTS, examples=10**6).pairs, looked
        if data.modality == "audio":
            return self._sounds(case), np.arange(min(len(data), sounds.LOOKED))
        _, first = np.unique(data.hashes, return_index=True)
        rows = case.some(np.sort(first))
        x = data.x[rows] if case.kind.flat else np.asarray(data.x[rows])
        prints = case.kind.prints(x, data.spec)
        if prints is None:
            prints = case.plain[rows][:, None]
        found = near(prints, self.ratio, self.chance, lambda pairs: case.kind.apart(x, pairs))
        every = np.arange(len(data)) if len(rows) == len(first) else rows
        return [(int(min(rows[i], rows[j])), int(max(rows[i], rows[j]))) for i, j in found], every

    def _sounds(self, case: Case) -> list[tuple[int, int]]:
        prints, lengths = sounds.prints(case.data)
        found = near(prints[:, None], self.ratio, self.chance)
        return [(a, b) for a, b in found if abs(int(lengths[a]) - int(lengths[b])) <= sounds.AS_LONG * lengths[b]]

    @staticmethod
    def _named(case: Case, pairs: list[tuple[int, int]]) -> list[list[str]]:
        return [[str(case.data.names[a]), str(case.data.names[b])] for a, b in pairs[:200]]


def near(
    prints: np.ndarray, ratio: float, chance: float, apart: Callable[[np.ndarray], np.ndarray | None] = lambda pairs: None
) -> list[tuple[int, int]]:
    """Pairs (item, its near copy) among prints [N, V, P]: the first of each is compared with all of another. apart: measures the distance
    of pairs [n, 2] anew, more closely; None = it is as the prints say."""
    n = len(prints)
    if n < 12:
        return []
    nearest, d = neighbours(prints, 6)
    found = _close(nearest, d, ratio, chance)
    doubt = np.flatnonzero(d[:, 0] < WORTH * d[:, 4])
    again = apart(np.stack([np.repeat(doubt, 6), nearest[doubt].ravel()], 1)) if len(doubt) else None
    if again is not None:
        d[doubt] = np.minimum(d[doubt], again.reshape(-1, 6))
        order = np.argsort(d, axis=1, kind="stable")
        found |= _close(np.take_along_axis(nearest, order, 1), np.take_along_axis(d, order, 1), ratio, chance)
    return sorted(found)


def _close(nearest: np.ndarray, d: np.ndarray, ratio: float, chance: float) -> set[tuple[int, int]]:
    """Pairs of items that are nearer than chance allows, by the distances [N, 6] to the nearest ones, ascending."""
    useful = d[:, 4] > 0
    if useful.sum() < 10:
        return set()
    d = np.maximum(d, 1e-12)
    local = 1 / np.maximum(np.log(d[useful, 5:6] / d[useful, 1:5]).mean(1), 1e-6)
    m = float(np.clip(np.median(local), 1, 200))
    bound = min(ratio, (chance / (4 * len(d))) ** (1 / m))
    hit = np.flatnonzero(useful & (d[:, 0] <= bound * d[:, 4]))
    return {(int(min(i, nearest[i, 0])), int(max(i, nearest[i, 0]))) for i in hit}


def neighbours(prints: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other items of each: int64 [N, k] and distances [N, k]; a print of zeros is near nothing."""
    n, parts, width = prints.shape
    k = min(k, n - 1)
    whole = np.ascontiguousarray(prints[:, 0])
    flat = np.ascontiguousarray(prints.reshape(n * parts, width))
    length = (flat.astype(np.float64) ** 2).sum(1).astype(np.float32).reshape(n, parts)
    nearest, distance = np.empty((n, k), np.int64), np.empty((n, k))
    step = max(1, 40_000_000 // (n * parts))
    for i in range(0, n, step):
        block = whole[i : i + step]
        squared = (length - 2 * (block @ flat.T).reshape(len(block), n, parts)).min(2) + (block**2).sum(1)[:, None]
        rows = np.arange(len(block))
        squared[rows, i + rows] = np.inf
        if parts > 1:
            squared[length[i : i + step, 0] == 0] = 1.0
            squared[:, length[:, 0] == 0] = 1.0
            squared[rows, i + rows] = np.inf
        best = np.argpartition(squared, k - 1, axis=1)[:, :k]
        value = np.take_along_axis(squared, best, 1)
        order = np.argsort(value, axis=1, kind="stable")
        nearest[i : i + step] = np.take_along_axis(best, order, 1)
        distance[i : i + step] = np.sqrt(np.maximum(np.take_along_axis(value, order, 1), 0))
    return nearest, distance
