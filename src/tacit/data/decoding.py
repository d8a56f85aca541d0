"""Every item of a listing decoded once, in parallel, in the listing's order, into memory or a cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit import registry
from tacit.data import cache
from tacit.data.flat import Flat
from tacit.data.listing import Listing, Problem
from tacit.errors import BadData
from tacit.modality import BadItem, Modality, Raw
from tacit.runtime import cache_root
from tacit.types import Spec

if TYPE_CHECKING:
    from tacit.data.sequences import Sequences

BLOCK = 512  # items that are in flight at most
BLOCK_BYTES = 64 * 2**20


class Raws(Sequence[Raw]):
    """The raw items of a listing, read when asked for."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    def __len__(self) -> int:
        return len(self.listing.names)

    def __getitem__(self, i: Any) -> Any:
        return self.listing.read(i)

    @property
    def blocks(self) -> Callable[[], Iterator[Any]]:
        """Gives all items, many at once; only where they are read so."""
        if self.listing.blocks is None:
            raise AttributeError("items are read one by one")
        return self.listing.blocks

    @property
    def sequences(self) -> Sequences | None:
        """Which rows are one item; None = each row is one."""
        return self.listing.sequences

    @property
    def row_labels(self) -> list[Any] | None:
        """What the listing knows of the labels of rows (of a sequence: of its last one); only to find columns that repeat them."""
        found = self.listing.labels
        if found is None or self.sequences is None:
            return found
        out: list[Any] = [None] * len(self.sequences.gaps)
        for label, row in zip(found, self.sequences.last, strict=True):
            out[row] = label
        return out


def key(content: str, listing: Listing, settings: Any) -> str:
    """What a cache depends on: the files' content, which items, and how they are decoded."""
    whole = hashlib.blake2b(digest_size=16)
    for part in (cache.VERSION, content, listing.modality, listing.variant, settings, getattr(listing.names, "parts", listing.names)):
        whole.update(json.dumps(part, sort_keys=True).encode())
    return whole.hexdigest()


def decode(
    kind: type[Modality],
    listing: Listing,
    settings: dict[str, Any],
    content: str | None,
    max_bad: float,
    say: Callable[[str], None],
    like: Spec | None = None,
) -> tuple[Spec, cache.Stored, Path | None]:
    """The plan, the decoded items, and the folder of their cache, which is used if it is there.

    settings: keyword arguments of the modality's plan. content: hash of the files, None = decode into memory.
    max_bad: share of items that may be bad, 0..1. like: decode for a trained model with this spec.
    """
    planned = None if like is None else kind.known(Raws(listing))
    planned = planned or _planned(kind, listing, settings, content)
    planned = replace(planned, extra={**planned.extra, **listing.about})
    try:
        spec = planned if like is None else kind.like(planned, like)
    except BadItem as error:
        raise BadData(str(error), "give the model data of the kind that it was trained on") from None
    place = None
    if content is not None:
        extra = {k: spec.extra.get(k) for k in planned.extra if k != "size"}  # not what was measured on the training items
        how = [spec.channels, spec.sizes, spec.ragged, extra]
        place = cache_root() / "decoded" / f"{content[:12]}-{key(content, listing, how)}"  # all of the same files begin alike
        if (found := cache.load(place)) is not None:
            _enough(listing, found.bad, max_bad)
            return spec, found, place
    expected = 0 if kind.flat else _bytes(listing, spec) * len(listing.names)
    writer = cache.Writer(place, expected) if place is not None else None
    try:
        run = _all if listing.blocks is None else _blocks if listing.sequences is None else _sequences
        run = _flat if kind.flat else run
        return spec, run(kind, listing, spec, writer, max_bad, say), place
    except BaseException:
        if writer is not None:
            writer.drop()
        raise


def _planned(kind: type[Modality], listing: Listing, settings: dict[str, Any], content: str | None) -> Spec:
    """The modality's plan for these items, remembered beside the cache: a large archive is not read again for it."""
    memo = None if content is None else cache_root() / "plans" / key(content, listing, settings)
    if memo is not None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            stored: dict[str, Any] = json.loads(memo.read_text(encoding="utf-8"))
            known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
            return Spec(**known)
    try:
        spec = kind.plan(Raws(listing), **settings)
    except BadItem as error:
        raise BadData(f"nothing can be read: {error}", "look at one of the files with another program") from None
    if memo is not None:
        with contextlib.suppress(OSError):
            memo.parent.mkdir(parents=True, exist_ok=True)
            cache.write(memo, json.dumps({**asdict(spec), "extra": dict(spec.extra)}).encode())
    return spec


def _bytes(listing: Listing, spec: Spec) -> int:
    """What one decoded item takes."""
    return int(np.prod((spec.channels, *spec.sizes))) * registry.find("modalities", listing.modality).item_bytes


def _stream(decoded: Callable[[int], Any], n: int, block: int, threads: bool) -> Iterator[Any]:
    """decoded(0), decoded(1), ... in order; threads pay for files, not for the little work that arrays need."""
    if not threads:
        yield from map(decoded, range(n))
        return
    pool = ThreadPoolExecutor(max(1, min(16, os.cpu_count() or 1)))
    try:
        for start in range(0, n, block):
            yield from pool.map(decoded, range(start, min(n, start + block)))
    finally:
        pool.shutdown(cancel_futures=True)


def _arrays(listing: Listing) -> bool:
    try:
        return isinstance(listing.read(0), np.ndarray)
    except BadItem:
        return False


def _all(
    kind: type[Modality],
    listing: Listing,
    spec: Spec,
    writer: cache.Writer | None,
    max_bad: float,
    say: Callable[[str], None],
    infinite: int = 0,
) -> cache.Stored:
    n, bad, keep, lengths, hashes = len(listing.names), [], [], [], []  # type: int, list[Problem], list[int], list[int], list[int]
    pieces: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    shape: tuple[int, ...] = ()
    dtype = np.dtype(np.float32)
    told = time.monotonic()
    block = max(16, min(BLOCK, BLOCK_BYTES // _bytes(listing, spec)))

    def decoded(i: int) -> tuple[np.ndarray | str, int]:
        try:
            raw = listing.read(i)
            count = int(np.isinf(raw).sum()) if isinstance(raw, np.ndarray) and raw.dtype.kind == "f" else 0
            return kind.decode(raw, spec), count
        except BadItem as error:
            return str(error), 0

    for i, (x, count) in enumerate(_stream(decoded, n, block, kind.reads_files and not _arrays(listing))):
        if isinstance(x, str):
            bad.append(Problem(listing.names[i], x))
        else:
            infinite += count
            keep.append(i)
            hashes.append(cache.item_hash(x))
            lengths.append(x.shape[-1] if spec.ragged else -1)
            if spec.ragged and x.shape[-1] < spec.sizes[-1]:
                x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, spec.sizes[-1] - x.shape[-1])], constant_values=np.nan)
            rows.append(x)
        if rows and (len(rows) == block or i == n - 1):
            piece = np.stack(rows)
            shape, dtype, rows = piece.shape[1:], piece.dtype, []
            writer.add(piece) if writer is not None else pieces.append(piece)
        if time.monotonic() - told > 1:
            told = time.monotonic()
            say(f"decoding {i + 1:,} of {n:,} {kind.unit} ({(i + 1) / n:.0%})\r")
    _enough(listing, bad, max_bad)
    counts = np.array(lengths, np.int64), np.array(hashes, np.uint64), np.array(keep, np.int64)
    return _closed(writer, pieces, counts, bad, infinite, dtype, shape)


def _blocks(
    kind: type[Modality], listing: Listing, spec: Spec, writer: cache.Writer | None, max_bad: float, say: Callable[[str], None]
) -> cache.Stored:
    """The same for items that are read many at once."""
    assert listing.blocks is not None
    n, done, infinite, told = len(listing.names), 0, 0, time.monotonic()
    bad: list[Problem] = []
    pieces: list[np.ndarray] = []
    keep: list[np.ndarray] = []
    hashes: list[np.ndarray] = []
    shape: tuple[int, ...] = (0,)
    for block in listing.blocks():
        x, endless = kind.decode_block(block, spec)
        infinite += endless
        empty = np.isnan(x).reshape(len(x), -1).all(1)
        bad += [Problem(listing.names[done + i], "every value is missing") for i in np.flatnonzero(empty).tolist()]
        keep.append(done + np.flatnonzero(~empty))
        done, x = done + len(x), np.ascontiguousarray(x[~empty])
        shape = x.shape[1:]
        hashes.append(np.fromiter((cache.item_hash(row) for row in x), np.uint64, len(x)))
        writer.add(x) if writer is not None else pieces.append(x)
        if time.monotonic() - told > 1:
            told = time.monotonic()
            say(f"decoding {done:,} of {n:,} {kind.unit} ({done / n:.0%})\r")
    _enough(listing, bad, max_bad)
    rows = np.concatenate(keep)
    counts = np.full(len(rows), -1, np.int64), np.concatenate(hashes), rows
    return _closed(writer, pieces, counts, bad, infinite, np.dtype(np.float32), shape)


def _sequences(
    kind: type[Modality], listing: Listing, spec: Spec, writer: cache.Writer | None, max_bad: float, say: Callable[[str], None]
) -> cache.Stored:
    """The same for items of several rows: all rows are held, then cut into items."""
    assert listing.blocks is not None and listing.sequences is not None
    found = listing.sequences
    rows = np.empty((len(found.gaps), spec.channels), np.float32)
    done = infinite = 0
    for block in listing.blocks():
        x, endless = kind.decode_block(block, spec)
        rows[done : done + len(x)] = x
        done, infinite = done + len(x), infinite + endless
    cut = replace(listing, blocks=None, read=lambda i: rows[found.rows(i)].T)
    return _all(kind, cut, spec, writer, max_bad, say, infinite)


def _flat(
    kind: type[Modality], listing: Listing, spec: Spec, writer: cache.Writer | None, max_bad: float, say: Callable[[str], None]
) -> cache.Stored:
    """The same for documents, which are read many at once, or one by one, and stored one behind the other."""
    n, done, told = len(listing.names), 0, time.monotonic()
    bad: list[Problem] = []
    pieces: list[np.ndarray] = []
    keep: list[int] = []
    lengths: list[int] = []
    hashes: list[int] = []
    dtype = np.dtype(np.uint16)
    for block in listing.blocks() if listing.blocks is not None else _bundles(listing):
        for x in kind.decode_many(block, spec):
            if isinstance(x, BadItem):
                bad.append(Problem(listing.names[done], str(x)))
            else:
                keep.append(done)
                lengths.append(len(x))
                hashes.append(cache.item_hash(x))
                dtype = x.dtype
                writer.add(x) if writer is not None else pieces.append(x)
            done += 1
        if time.monotonic() - told > 1:
            told = time.monotonic()
            say(f"decoding {done:,} of {n:,} {kind.unit} ({done / n:.0%})\r")
    _enough(listing, bad, max_bad)
    counts = np.array(lengths, np.int64), np.array(hashes, np.uint64), np.array(keep, np.int64)
    if writer is None:
        return cache.Stored(Flat.of(np.concatenate(pieces), counts[0]), *counts, bad, {"infinite": 0})
    return writer.close(cache.Stored(np.empty(0), *counts, bad, {"infinite": 0}), dtype, (len(keep), 1, max(lengths)), flat=True)


def raws(listing: Listing, keep: np.ndarray) -> Iterator[str]:
    """The documents that were kept, as they are."""
    wanted, place, row = keep.tolist(), 0, 0
    for block in listing.blocks() if listing.blocks is not None else _bundles(listing):
        for text in block:
            if place < len(wanted) and wanted[place] == row:
                place += 1
                yield text
            row += 1


def _bundles(listing: Listing) -> Iterator[list[Any]]:
    """Raw items, some at a time."""

    def read(i: int) -> Any:
        try:
            return listing.read(i)
        except BadItem as error:
            return error

    for start in range(0, len(listing.names), BLOCK):
        yield [read(i) for i in range(start, min(len(listing.names), start + BLOCK))]


def _closed(
    writer: cache.Writer | None,
    pieces: list[np.ndarray],
    counts: tuple[np.ndarray, np.ndarray, np.ndarray],
    bad: list[Problem],
    infinite: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
) -> cache.Stored:
    facts = {"infinite": infinite}
    if writer is None:
        return cache.Stored(np.concatenate(pieces), *counts, bad, facts)
    stored = cache.Stored(np.empty(0), *counts, bad, facts)
    return writer.close(stored, dtype, (len(counts[0]), *shape))


def _enough(listing: Listing, bad: list[Problem], max_bad: float) -> None:
    """Raise BadData if too large a share of the items cannot be used."""
    every = [*listing.bad, *bad]
    total = len(listing.names) + len(listing.bad)
    found = listing.sequences
    if found is not None and len(listing.bad) <= max_bad * (len(found.gaps) + len(listing.bad)):  # of sequences single rows are missing
        every, total = bad, len(listing.names)
    if len(bad) == len(listing.names) or len(every) > max_bad * total:
        shown = "".join(f"\n  {p.name}: {p.reason}" for p in every[:5])
        more = f"\n  and {len(every) - 5} more" if len(every) > 5 else ""
        raise BadData(
            f"{len(every)} of {total} {listing.modality} items cannot be used{shown}{more}",
            "repair or remove them, or raise --max-bad (in Python: max_bad)",
        )
