"""Which items are held out: by the given split, or 30 % chosen without reading a label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

TRAIN, TEST, VAL, LEFT_OUT = 0, 1, 2, 3
NAMES = ("train", "test", "val", "left out")
MANY = 200_000  # items from where lists and dictionaries of them take too long and too much room


def assign(
    names: Sequence[str],
    hashes: np.ndarray,
    groups: Sequence[str | None] | None,
    given: Sequence[str] | None,
    seed: int,
    held_out: float = 0.3,
) -> tuple[np.ndarray, str]:
    """Split of every item as int8 [N] (0 train, 1 test, 2 val), and the rule in words. Labels are never read.

    names: N stable ids. hashes: uint64 [N], equal = exact duplicates. groups: items of one group stay together; None or "" = unknown.
    given: "train", "test", "val" or "" for each item. seed: another seed gives another split. held_out: share of items, 0..1.
    """
    split = np.zeros(len(names), np.int8)
    if given is not None and any(given):
        codes = np.array([{"test": TEST, "val": VAL}.get(s, TRAIN) for s in given], np.int8)
        has = {s for s in given if s}
        if "test" in has and (codes == TRAIN).any():
            return codes, "as given" + ("; the validation part stays unused" if "val" in has else "")
        if has == {"train", "val"} or (has == {"val"} and (codes == TRAIN).any()):
            return np.where(codes == VAL, TEST, codes).astype(
                np.int8
            ), "as given; the validation part is the test part, as there is no other"
        if has in ({"test"}, {"val"}) and not (codes == TRAIN).any():
            why = f"only a {has.pop()} part is given, so it is split again: "
        else:
            split = np.where(codes == VAL, VAL, TRAIN).astype(np.int8)
            why = "only a training part is given, so it is split again: " if "train" in has else ""
    else:
        why = ""
    free = np.flatnonzero(split == TRAIN)
    if len(free) > MANY and not (groups is not None and any(groups)):
        split[free[_chosen(names, hashes, free, seed, held_out)]] = TEST
        return (
            split,
            why + f"{held_out:.0%} held out by the hash of the name (seed {seed}), exact duplicates on one side, without reading labels",
        )
    unit = _units([hashes[i] for i in free], None if groups is None else [groups[i] for i in free])
    keys: dict[int, str] = {}
    sizes: dict[int, int] = {}
    for i, u in zip(free, unit, strict=True):
        key = f"group {groups[i]}" if groups is not None and groups[i] else f"item {names[i]}"
        keys[u] = min(keys.get(u, key), key)
        sizes[u] = sizes.get(u, 0) + 1
    order = sorted(
        keys, key=lambda u: (hashlib.blake2b(f"{seed} {keys[u]}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), keys[u])
    )
    target, taken = held_out * len(free), 0
    chosen: set[int] = set()
    for u in order:
        if abs(taken + sizes[u] - target) <= abs(taken - target) and len(chosen) < len(order) - 1:
            chosen.add(u)
            taken += sizes[u]
    if not chosen and len(order) > 1:
        chosen = {min(order, key=lambda u: (sizes[u], keys[u]))}
    split[free[[u in chosen for u in unit]]] = TEST
    grouped = "whole groups together, " if groups is not None and any(groups) else ""
    if not chosen:
        return split, f"{why}nothing is held out: all items belong to one group or are copies of one item"
    rule = f"{held_out:.0%} held out by the hash of the name (seed {seed}), {grouped}exact duplicates on one side, without reading labels"
    return split, why + rule


def _chosen(names: Sequence[str], hashes: np.ndarray, free: np.ndarray, seed: int, held_out: float) -> np.ndarray:
    """Which of very many items are held out, bool [len(free)]: the same rule with arrays, a unit being named by its first item."""
    _, first, unit, sizes = np.unique(hashes[free], return_index=True, return_inverse=True, return_counts=True)
    words = (f"{seed} item {names[int(free[i])]}".encode("utf-8", "surrogatepass") for i in first)
    keys = np.fromiter((int.from_bytes(hashlib.blake2b(w, digest_size=8).digest(), "big") for w in words), np.uint64, len(first))
    order = np.argsort(keys, kind="stable")
    taken = np.zeros(len(first), bool)
    taken[order[np.cumsum(sizes[order]) <= held_out * len(free)]] = True
    return np.asarray(taken[unit.reshape(-1)])


def _units(hashes: Sequence[int], groups: Sequence[str | None] | None) -> list[int]:
    """A number for each item: equal where items share a group or content, directly or through others."""
    parent = list(range(len(hashes)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for keys in (hashes, groups or []):
        first: dict[object, int] = {}
        for i, key in enumerate(keys):
            if keys is groups and not key:
                continue
            j = first.setdefault(key, i)
            if j != i:
                parent[root(i)] = root(j)
    return [root(i) for i in range(len(hashes))]
