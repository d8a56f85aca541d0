"""Groups of people (or of cameras, speakers, sites): what an attribute says of every item, read leniently and told openly."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tacit.errors import Asked

FEWEST = 30  # items of a group below which nothing is said about it
MOST = 50  # values that are groups; more are names, or numbers to be cut
RANGES = 4
MISSING = ("", "?", "na", "n/a", "nan", "none", "null", "unknown", "missing")


@dataclass(frozen=True)
class Attribute:
    """name: of the column (of an intersection the names joined by x). codes: int64 [N], index into `values`, -1 = not known.

    whole: not an intersection. notes: what the user should know of how it was read.
    """

    name: str
    codes: np.ndarray = field(repr=False)
    values: tuple[str, ...]
    whole: bool = True
    notes: tuple[str, ...] = ()

    def sizes(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Items of each group, int64 [G]."""
        codes = self.codes if rows is None else self.codes[rows]
        return np.bincount(codes[codes >= 0], minlength=len(self.values))

    def large(self, rows: np.ndarray | None = None, fewest: int = FEWEST) -> np.ndarray:
        """Groups with at least so many items."""
        return np.flatnonzero(self.sizes(rows) >= fewest)


def attribute(name: str, cells: Sequence[Any], cuts: Sequence[float] = ()) -> Attribute:
    """An attribute from what a column says of every item; numbers become ranges where there are more than ten of them.

    cuts: where ranges of numbers end, ascending; () = at their quartiles. Raises Asked for a column that makes no groups.
    """
    words = ["" if c is None else str(c).strip() for c in cells]
    known = [w for w in words if w.lower() not in MISSING]
    notes = []
    if lost := len(words) - len(known):
        notes.append(f"{name} is missing for {lost:,} of {len(words):,} items, which belong to no group")
    if not known:
        raise Asked(f"{name!r} says nothing of any item", "name another column with --groups")
    numbers = [_number(w) for w in dict.fromkeys(known)]
    if cuts or (all(v is not None for v in numbers) and len(numbers) > 10):
        if any(v is None for v in numbers):
            raise Asked(f"{name!r} holds words, which have no ranges", f"--groups {name}")
        values = np.array([np.nan if w.lower() in MISSING else float(w.replace(",", ".")) for w in words])
        return _ranges(name, values, cuts, notes)
    kinds = sorted(dict.fromkeys(known), key=_natural)
    if len(kinds) == 1:
        raise Asked(f"{name!r} has one value only, {kinds[0]!r}: there is nothing to compare", "name another column with --groups")
    if len(kinds) > MOST:
        said = f"{name!r} has {len(kinds):,} different values, such as {', '.join(map(repr, kinds[:3]))}: these are no groups"
        raise Asked(said, f"make a column with at most {MOST} values; numbers can be cut: --groups age:25/45")
    index = {kind: i for i, kind in enumerate(kinds)}
    codes = np.array([index.get(w, -1) for w in words], np.int64)
    return Attribute(name, codes, tuple(kinds), notes=tuple(notes))


def asked(words: str) -> list[tuple[str, tuple[float, ...]]]:
    """What --groups says: "sex,age:25/45" -> [("sex", ()), ("age", (25.0, 45.0))]. Raises Asked."""
    out: list[tuple[str, tuple[float, ...]]] = []
    for word in filter(None, map(str.strip, words.split(","))):
        name, mark, said = word.rpartition(":")
        if not mark or not re.fullmatch(r"-?\d+(\.\d+)?(/-?\d+(\.\d+)?)*", said):
            out.append((word, ()))
            continue
        cuts = tuple(float(c) for c in said.split("/"))
        if list(cuts) != sorted(set(cuts)):
            raise Asked(f"--groups {word}: ranges end at ascending numbers", f"such as {name}:25/45")
        out.append((name, cuts))
    if twice := {n for n, _ in out if [m for m, _ in out].count(n) > 1}:
        raise Asked(f"--groups names {', '.join(sorted(twice))} twice")
    return out


def crossed(attributes: Sequence[Attribute], most: int = 2) -> list[Attribute]:
    """The intersections of each `most` attributes: "sex x race" with "Female, Black"."""
    out = []
    for several in itertools.combinations(attributes, most):
        sizes = [len(a.values) for a in several]
        known = np.all([a.codes >= 0 for a in several], axis=0)
        flat = np.where(known, np.ravel_multi_index([np.maximum(a.codes, 0) for a in several], sizes), -1)
        there, codes = np.unique(flat[known], return_inverse=True)
        names = [", ".join(a.values[i] for a, i in zip(several, np.unravel_index(c, sizes), strict=True)) for c in there]
        whole = np.full(len(flat), -1)
        whole[known] = codes
        out.append(Attribute(" x ".join(a.name for a in several), whole, tuple(names), whole=False))
    return out


def _ranges(name: str, values: np.ndarray, cuts: Sequence[float], notes: list[str]) -> Attribute:
    known = values[np.isfinite(values)]
    if not cuts:
        cuts = tuple(np.unique(np.quantile(known, np.arange(1, RANGES) / RANGES)))
        cuts = tuple(c for c in cuts if c > known.min())
        notes.append(f"{name} holds numbers: its groups are ranges that end at quartiles; --groups {name}:A/B cuts it elsewhere")
    edges = [-np.inf, *cuts, np.inf]
    named = [_range(a, b) for a, b in itertools.pairwise(edges)]
    codes = np.where(np.isfinite(values), np.searchsorted(cuts, values, side="right"), -1)
    there = [i for i in range(len(named)) if (codes == i).any()]
    if len(there) < 2:
        raise Asked(f"all values of {name!r} lie in one range", f"they run from {known.min():g} to {known.max():g}")
    moved = np.full(len(named) + 1, -1)
    moved[there] = np.arange(len(there))
    return Attribute(name, moved[codes], tuple(named[i] for i in there), notes=tuple(notes))


def _range(low: float, high: float) -> str:
    return f"below {high:g}" if low == -np.inf else f"{low:g} or more" if high == np.inf else f"{low:g} to below {high:g}"


def _number(word: str) -> float | None:
    try:
        value = float(word.replace(",", "."))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _natural(word: str) -> tuple[int, float, str]:
    value = _number(word)
    return (1, 0.0, word) if value is None else (0, value, word)
