"""Exact copies: in training and held out at once, with different labels, or simply repeated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, percent
from tacit.data.inspect import copies, duplicates
from tacit.data.splits import TEST, TRAIN
from tacit.statistics import wilson


class Duplicates(Check):
    """Items that are the same to the last bit: copies across the split, copies with different labels, repeated items, whole groups on
    both sides of the split."""

    section = "data"

    def look(self, case: Case) -> Iterator[Finding]:
        data = case.data
        found, n = duplicates(data), len(data)
        across_rows, conflict_rows, within_rows = _copies(case)
        across, held = found["across"], len(data.test)
        if across:
            low, high = wilson(across / held, held)
            yield Finding(
                "duplicates.across", "high" if across >= max(1, 0.001 * held) else "medium",
                f"{across:,} held-out items ({percent(across / held)}) are exact copies of training items: whatever is measured on "
                "them was "
                "learned by heart",
                "share of held-out items that are also in training", across / held, held,
                "leave them out (tacit evaluate does), split by what they come from (--group), and say so beside older numbers",
                low, high, items=tuple(a for a, _ in found["across_names"]), weight=across / held, drop=across_rows,
                more={"pairs": found["across_names"]},
            )  # fmt: skip
        if found["conflicts"]:
            yield Finding(
                "duplicates.conflicts", "high" if found["conflicts"] >= max(2, 0.005 * n) else "medium",
                f"{found['conflicts']:,} sets of identical items carry different labels: "
                + ("what the columns say cannot tell them apart" if data.modality == "table" else "at least one label of each is wrong"),
                "sets of copies with different labels", float(found["conflicts"]), n, "look at them and keep the right label",
                items=tuple(name for pair in found["conflict_names"] for name in pair), weight=found["conflicts"] / n, drop=conflict_rows,
            )  # fmt: skip
        if found["within"]:
            share = found["within"] / n
            yield Finding(
                "duplicates.within", "medium" if share > 0.05 else "low",
                f"{found['within']:,} items ({percent(share)}) are copies of another one of the same part: they count twice, and what is "
                "repeated is what a network remembers best",
                "share of repeated items", share, n, "keep one of each: --write-keep keep.csv", *wilson(share, n), weight=share,
                drop=within_rows,
            )  # fmt: skip
        yield from self._groups(case)
        if not (across or found["within"] or found["conflicts"]):
            yield Finding("duplicates", "fine", f"none of {n:,} items is an exact copy of another", "copies", 0.0, n)

    @staticmethod
    def _groups(case: Case) -> Iterator[Finding]:
        data = case.data
        if data.groups is None or not len(data.test):
            return
        shared = np.intersect1d(data.groups[data.train], data.groups[data.test])
        shared = shared[shared >= 0]
        if len(shared):
            inside = np.isin(data.groups[data.test], shared)
            yield Finding(
                "groups.across", "high",
                f"{len(shared):,} groups have items in training and held out ({percent(inside.mean())} of the held-out items): a model is "
                "tested on those that it knows", "groups on both sides of the split", float(len(shared)), int(inside.sum()),
                "split by group: leave --split out, and --group keeps each together", weight=float(inside.mean()),
                items=tuple(data.group_names[g] for g in shared[:5]),
            )  # fmt: skip


def _copies(case: Case) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Rows of copies: held out and in training, with different labels (all of them), and others than the first of their part."""
    data, across, conflicts, within = case.data, list[int](), list[int](), list[int]()
    for rows in copies(data):
        parts = data.split[rows]
        if (parts == TRAIN).any():
            across += [i for i, p in zip(rows, parts, strict=True) if p == TEST]
        y = None if data.labels is None else data.labels[rows]
        known = None if y is None else y[y >= 0] if data.classes else y[~np.isnan(y)]
        if known is not None and len(np.unique(known)) > 1:
            conflicts += rows
        for p in np.unique(parts):
            within += [i for i, q in zip(rows, parts, strict=True) if q == p][1:]
    return tuple(across), tuple(conflicts), tuple(within)
