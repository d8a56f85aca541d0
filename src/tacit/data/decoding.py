"""Every item of a listing decoded once, in parallel, in the listing's order, into memory or a cache."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data import cache
from tacit.data.listing import Listing, Problem
from tacit.errors import BadData
from tacit.modality import BadItem, Modality, Raw
from tacit.types import Spec

BLOCK = 512


class Raws(Sequence[Raw]):
    """The raw items of a listing, read when asked for."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    def __len__(self) -> int:
        return len(self.listing.names)

    def __getitem__(self, i: Any) -> Any:
        return self.listing.read(i)


def key(content: str, listing: Listing, settings: dict[str, Any]) -> str:
    """What the decoded items depend on: the files' content, which items, and how they are decoded."""
    whole = hashlib.blake2b(digest_size=16)
    for part in (cache.VERSION, content, listing.modality, listing.variant, sorted(settings.items()), listing.names):
        whole.update(json.dumps(part).encode())
    return whole.hexdigest()


def decode(
    kind: type[Modality],
    listing: Listing,
    settings: dict[str, Any],
    place: Path | None,
    max_bad: float,
    say: Callable[[str], None],
    like: Spec | None = None,
) -> tuple[Spec, cache.Stored]:
    """The plan and the decoded items, from the cache at `place` if it is there.

    settings: keyword arguments of the modality's plan. max_bad: share of items that may be bad, 0..1. like: decode for a
    trained model with this spec.
    """
    if place is not None and (found := cache.load(place)) is not None:
        _enough(listing, found.bad, max_bad)
        return _spec(found.facts["spec"]), found
    try:
        spec = kind.plan(Raws(listing), **settings)
        spec = spec if like is None else kind.like(spec, like)
    except BadItem as error:
        raise BadData(f"nothing can be read: {error}", "look at one of the files with another program") from None
    size = int(np.prod((spec.channels, *spec.sizes))) * (1 if listing.modality == "image" else 4)
    writer = cache.Writer(place, size * len(listing.names)) if place is not None else None
    try:
        return spec, _all(kind, listing, spec, writer, max_bad, say)
    except BaseException:
        if writer is not None:
            writer.drop()
        raise


def _all(
    kind: type[Modality], listing: Listing, spec: Spec, writer: cache.Writer | None, max_bad: float, say: Callable[[str], None]
) -> cache.Stored:
    n, bad, keep, lengths, hashes = len(listing.names), [], [], [], []  # type: int, list[Problem], list[int], list[int], list[int]
    pieces: list[np.ndarray] = []
    infinite, told = 0, time.monotonic()
    shape: tuple[int, ...] = ()
    dtype = np.dtype(np.float32)

    threads = not isinstance(listing.read(0), np.ndarray) if n else False  # arrays need little work: threads would only cost

    def decoded(i: int) -> tuple[np.ndarray | str, int]:
        try:
            raw = listing.read(i)
            count = int(np.isinf(raw).sum()) if isinstance(raw, np.ndarray) and raw.dtype.kind == "f" else 0
            return kind.decode(raw, spec), count
        except BadItem as error:
            return str(error), 0

    with ThreadPoolExecutor(max(1, min(16, os.cpu_count() or 1))) as pool:
        for start in range(0, n, BLOCK):
            block = range(start, min(n, start + BLOCK))
            rows = []
            for i, (x, count) in zip(block, pool.map(decoded, block) if threads else map(decoded, block), strict=True):
                if isinstance(x, str):
                    bad.append(Problem(listing.names[i], x))
                    continue
                infinite += count
                keep.append(i)
                hashes.append(cache.item_hash(x))
                lengths.append(x.shape[-1] if spec.ragged else -1)
                if spec.ragged and x.shape[-1] < spec.sizes[-1]:
                    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, spec.sizes[-1] - x.shape[-1])], constant_values=np.nan)
                rows.append(x)
            if rows:
                piece = np.stack(rows)
                shape, dtype = piece.shape[1:], piece.dtype
                writer.add(piece) if writer is not None else pieces.append(piece)
            if time.monotonic() - told > 1:
                told = time.monotonic()
                say(f"decoding {block.stop:,} of {n:,} {kind.unit} ({block.stop / n:.0%})")
    _enough(listing, bad, max_bad)
    facts = {"spec": {**asdict(spec), "extra": dict(spec.extra)}, "infinite": infinite}
    counts = np.array(lengths, np.int64), np.array(hashes, np.uint64), np.array(keep, np.int64)
    if writer is None:
        return cache.Stored(np.concatenate(pieces), *counts, bad, facts)
    stored = cache.Stored(np.empty(0), *counts, bad, facts)
    return writer.close(stored, dtype, (len(keep), *shape))


def _enough(listing: Listing, bad: list[Problem], max_bad: float) -> None:
    """Raise BadData if too large a share of the items cannot be used."""
    every = [*listing.bad, *bad]
    total = len(listing.names) + len(listing.bad)
    if len(bad) == len(listing.names) or len(every) > max_bad * total:
        shown = "".join(f"\n  {p.name}: {p.reason}" for p in every[:5])
        more = f"\n  and {len(every) - 5} more" if len(every) > 5 else ""
        raise BadData(
            f"{len(every)} of {total} {listing.modality} items cannot be used{shown}{more}", "repair or remove them, or raise max_bad"
        )


def _spec(stored: dict[str, Any]) -> Spec:
    tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    return Spec(**tuples)
