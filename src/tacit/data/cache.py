"""Decoded items on disk: written once, memory-mapped ever after; safe for several processes and for an interruption."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.flat import Flat
from tacit.data.listing import Problem, size_in_words
from tacit.data.tree import Tree
from tacit.errors import TacitError
from tacit.runtime import cache_root

VERSION = 2
CHECKED = 128 * 2**20  # bytes up to which every item is checked against its hash when a cache is opened
SETTLED = 2.0  # seconds after which a file's time can be trusted to change with its content
HINT = "free some space, set TACIT_CACHE to a folder on a larger disk, or use --no-cache"


@dataclass(frozen=True)
class Stored:
    """Decoded items. x: [n, *item], or a Flat; lengths: int64 [n]; hashes: uint64 [n]; keep: int64 [n], their rows in the listing.

    bad: items that could not be decoded. facts: what else was measured while decoding (plain JSON).
    """

    x: Any
    lengths: np.ndarray
    hashes: np.ndarray
    keep: np.ndarray
    bad: list[Problem]
    facts: dict[str, Any]


def content(tree: Tree) -> str:
    """Content hash of the files, remembered for as long as nobody touches them."""
    memo = cache_root() / "content" / tree.signature()
    with contextlib.suppress(OSError, ValueError):
        if len(known := memo.read_text(encoding="ascii")) == 32:
            return known
    found = tree.content()
    if time.time() - tree.newest() > SETTLED:
        with contextlib.suppress(OSError):
            memo.parent.mkdir(parents=True, exist_ok=True)
            write(memo, found.encode("ascii"))
    return found


def write(path: Path, data: bytes) -> None:
    """Write beside, then rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def item_hash(x: np.ndarray) -> int:
    """Hash of a decoded item's shape and values, 64 bits."""
    whole = hashlib.blake2b(f"{x.dtype.str}{x.shape}".encode(), digest_size=8)
    whole.update(np.ascontiguousarray(x).data)
    return int.from_bytes(whole.digest(), "little")


def load(place: Path) -> Stored | None:
    """The cache in this folder, or None if there is none or it is damaged (and then it is moved out of the way)."""
    if not place.is_dir():
        return None
    try:
        meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
        shape, dtype = tuple(meta["shape"]), np.dtype(meta["dtype"])
        rows = np.load(place / "rows.npy", allow_pickle=False)
        lengths, hashes, keep = rows[0].astype(np.int64), rows[1], rows[2].astype(np.int64)
        flat = bool(meta.get("flat"))
        values = int(lengths.sum()) if flat else int(np.prod(shape))
        if meta["version"] != VERSION or (place / "x.bin").stat().st_size != values * dtype.itemsize or rows.shape != (3, shape[0]):
            raise ValueError("sizes differ")
        x: Any = np.memmap(place / "x.bin", dtype, "r", shape=(values,) if flat else shape)
        x = Flat.of(x, lengths) if flat else x
        step = max(1, x.nbytes // CHECKED)
        for i in range(0, len(x), step):
            if item_hash(x.item(i) if flat else _cut(x[i], int(lengths[i]))) != int(hashes[i]):
                raise ValueError(f"item {i} differs")
        return Stored(x, lengths, hashes, keep, [Problem(*p) for p in meta["bad"]], meta["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        _remove(place)
        return None


class Writer:
    """Collects decoded items in a temporary folder and then puts it in its place in one step."""

    def __init__(self, place: Path, expected: int) -> None:
        """place: final folder. expected: bytes that x will take. Raises TacitError if they do not fit."""
        self.place = place
        with _disk(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            _sweep(place.parent)
            free = shutil.disk_usage(place.parent).free
            if expected + 2**20 > free:
                said = f"the decoded data needs {size_in_words(expected)}, and {place.parent} has {size_in_words(free)} free"
                raise TacitError(f"not enough disk space: {said}", HINT)
            self.folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=".new-"))
            self.file = (self.folder / "x.bin").open("wb")

    def add(self, x: np.ndarray) -> None:
        """Append decoded items [n, *item]."""
        with _disk(self.place):
            self.file.write(np.ascontiguousarray(x).data)

    def close(self, stored: Stored, dtype: np.dtype[Any], shape: tuple[int, ...], flat: bool = False) -> Stored:
        """Put the finished cache in its place, or take the one that another process put there meanwhile.

        flat: the items lie one behind the other, each as long as it is.
        """
        bad = [[p.name, p.reason] for p in stored.bad]
        meta = {"version": VERSION, "shape": list(shape), "dtype": dtype.str, "bad": bad, "facts": stored.facts, "flat": flat}
        with _disk(self.place):
            self.file.close()
            np.save(self.folder / "rows.npy", np.stack([stored.lengths.astype(np.uint64), stored.hashes, stored.keep.astype(np.uint64)]))
            (self.folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
            try:
                os.replace(self.folder, self.place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                    raise
                shutil.rmtree(self.folder, ignore_errors=True)
        if (found := load(self.place)) is None:
            raise TacitError(f"the cache {self.place} cannot be read back", HINT)
        return found

    def drop(self) -> None:
        """Remove what was written so far."""
        with contextlib.suppress(OSError):
            self.file.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _disk(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise TacitError(
            f"{'the disk is full' if full else 'the cache cannot be written'}: {place.parent} ({error.strerror})", HINT
        ) from None


def _cut(x: np.ndarray, length: int) -> np.ndarray:
    return x if length < 0 or x.ndim < 2 else x[..., :length]


def _remove(place: Path) -> None:
    """Take a damaged cache away in one step, so that no process sees half of it."""
    with contextlib.suppress(OSError):
        trash = Path(tempfile.mkdtemp(dir=place.parent, prefix=".old-"))
        os.replace(place, trash / "cache")
        shutil.rmtree(trash, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what processes that were killed left behind a week ago."""
    for left in parent.glob(".*-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 7 * 86400:
                shutil.rmtree(left, ignore_errors=True)
