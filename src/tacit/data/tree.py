"""The files of a folder, of a zip file or a single one, seen the same way; hostile names and sizes stop here."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tacit.data.listing import Problem, size_in_words
from tacit.errors import BadData
from tacit.modality import BadItem

LARGEST = 16 * 2**30  # bytes that one compressed file may become
SUSPECT = 64 * 2**20  # from here on, the ratio counts
RATIO = 250
SKIPPED = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass
class Tree:
    """path: what the user named. root: the folder that names are relative to. names: files, sorted, with "/" between folders."""

    path: Path
    root: Path
    names: list[str] = field(default_factory=list)
    bad: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stats: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    archive: zipfile.ZipFile | None = None
    copies: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)  # of large members, until nobody needs the tree
    lock: Any = field(default_factory=threading.Lock)

    @property
    def single(self) -> bool:
        """The user named one file, and not a zip of several."""
        return self.archive is None and self.path.is_file()

    def raw(self, name: str) -> Path | bytes:
        """The file's path, or its bytes where it lies in a zip. Raises BadItem."""
        return self.root / name if self.archive is None else self.data(name)

    def copy(self, name: str) -> Path:
        """A member of a zip as a file on disk, written once and removed with the tree. Raises BadItem."""
        assert self.archive is not None
        with self.lock:
            if not self.copies:
                self.copies.append(tempfile.TemporaryDirectory(prefix="tacit-zip-"))
            place = Path(self.copies[0].name) / (hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest())
            if not place.exists():
                try:
                    with self.archive.open(name) as member, place.with_suffix(".part").open("wb") as file:
                        shutil.copyfileobj(member, file, 2**20)
                except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
                    raise BadItem(f"truncated or damaged: {str(error)[:200]}") from None
                place.with_suffix(".part").replace(place)
        return place

    def data(self, name: str, most: int = LARGEST) -> bytes:
        """The file's bytes, gzip undone. most: bytes to read at most. Raises BadItem."""
        try:
            if self.archive is None:
                with (self.root / name).open("rb") as file:
                    return _inflated(file, name, (self.root / name).stat().st_size, most)
            with self.archive.open(name) as member:
                return _inflated(member, name, self.archive.getinfo(name).file_size, most)
        except BadItem:
            raise
        except PermissionError:
            raise BadItem("no permission to read it") from None
        except FileNotFoundError:
            raise BadItem("the file is gone") from None
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise BadItem(f"truncated or damaged: {str(error)[:200]}") from None

    def size(self, name: str, most: int = LARGEST) -> int:
        """Bytes of the file, gzip undone; counting stops at `most`. Nothing is kept. Raises BadItem."""
        if self.archive is None and not name.lower().endswith(".gz"):
            return (self.root / name).stat().st_size
        if self.archive is not None and not name.lower().endswith(".gz"):
            return self.archive.getinfo(name).file_size
        count = 0
        try:
            source = (self.root / name).open("rb") if self.archive is None else self.archive.open(name)
            with source as file, gzip.GzipFile(fileobj=file) as packed:
                while count < most and (piece := packed.read(min(most - count, 2**20))):
                    count += len(piece)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise BadItem(f"truncated or damaged: {str(error)[:200]}") from None
        return count

    def content(self) -> str:
        """Hash of all names and bytes: what a cache of the decoded items depends on."""
        whole = hashlib.blake2b(digest_size=16)
        for name in self.names if self.archive is None else [self.path.name]:
            whole.update(f"{name}\0".encode("utf-8", "surrogatepass"))
            try:
                with (self.root / name if self.archive is None else self.path).open("rb") as file:
                    whole.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
            except OSError:
                whole.update(b"unreadable")
        return whole.hexdigest()

    def signature(self) -> str:
        """Hash of paths, sizes and times: equal as long as nobody touched the files."""
        if self.archive is not None:
            state = self.path.stat()
            rows = [(str(self.path.resolve()), state.st_size, state.st_mtime_ns, state.st_ino)]
        else:
            rows = [(f"{self.root.resolve()}/{name}", *self.stats[name]) for name in self.names]
        return hashlib.blake2b(repr(rows).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def only(self, names: list[str]) -> Tree:
        """The same tree with these files only."""
        return replace(self, names=sorted(names), stats={n: self.stats[n] for n in names} if self.archive is None else {})

    def newest(self) -> float:
        """When the youngest file was last written, in seconds since 1970."""
        times = [self.path.stat().st_mtime_ns] if self.archive is not None else [s[1] for s in self.stats.values()]
        return max(times, default=0) / 1e9


def grow(path: Path) -> Tree:
    """The tree of a folder, of a zip file, or of one file (and then `names` holds that one)."""
    if path.is_dir():
        tree = Tree(path, path)
        _walk(tree)
    elif path.suffix.lower() == ".zip":
        tree = Tree(path, path.parent)
        _unpack(tree)
    else:
        tree = Tree(path, path.parent, [path.name])
        tree.stats[path.name] = _stat(path)
    tree.names.sort()
    tree.bad.sort(key=lambda p: p.name)
    return tree


def beside(tree: Tree, names: list[str]) -> Tree:
    """A tree of these files in the same folder as the single file of `tree`."""
    found = Tree(tree.path, tree.root, sorted(names))
    found.stats = {name: _stat(tree.root / name) for name in names}
    return found


def _stat(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


def _walk(tree: Tree) -> None:
    """List regular files. Links to folders are followed after all real folders, each folder once: a loop ends."""
    visited: set[tuple[int, int]] = set()
    links: list[Path] = []
    for folder in _folders(tree, [tree.root], visited, links):
        _list(tree, folder)
    while links:
        link = links.pop(0)
        name = link.relative_to(tree.root).as_posix()
        try:
            state = link.stat()
            if (state.st_dev, state.st_ino) in visited:
                tree.notes.append(f"{name} is a link to a folder that is already listed: not followed")
                continue
        except OSError:
            tree.bad.append(Problem(name, "a link in a loop, or to nothing"))
            continue
        for folder in _folders(tree, [link], visited, links):
            _list(tree, folder)


def _folders(tree: Tree, todo: list[Path], visited: set[tuple[int, int]], links: list[Path]) -> Iterator[Path]:
    while todo:
        folder = todo.pop()
        try:
            state = folder.stat()
            if (state.st_dev, state.st_ino) in visited:
                continue
            visited.add((state.st_dev, state.st_ino))
            with os.scandir(folder) as entries:
                inner = sorted((e for e in entries if not e.name.startswith(".") and e.name not in SKIPPED), key=lambda e: e.name)
        except OSError as error:
            tree.bad.append(Problem(folder.relative_to(tree.root).as_posix(), f"folder cannot be read: {error.strerror}"))
            continue
        for entry in inner:
            if entry.is_symlink() and os.path.isdir(entry.path):
                links.append(Path(entry.path))
            elif entry.is_dir(follow_symlinks=False):
                todo.append(Path(entry.path))
        yield folder


def _list(tree: Tree, folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in SKIPPED:
                continue
            name = Path(entry.path).relative_to(tree.root).as_posix()
            try:
                state = entry.stat()
            except OSError:
                tree.bad.append(Problem(name, "a link in a loop, or to nothing"))
                continue
            if stat.S_ISREG(state.st_mode):
                tree.names.append(name)
                tree.stats[name] = (state.st_size, state.st_mtime_ns, state.st_ino)


def _unpack(tree: Tree) -> None:
    """List the members of a zip that are safe to read."""
    try:
        archive = zipfile.ZipFile(tree.path)
    except PermissionError:
        raise BadData(f"no permission to read {tree.path}") from None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise BadData(f"{tree.path} is not a whole zip file: {error}", "copy or download it again") from None
    tree.archive = archive
    seen: set[str] = set()
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        if not parts or info.is_dir() or any(p.startswith(".") and p != ".." for p in parts) or any(p in SKIPPED for p in parts):
            continue
        reason = ""
        if info.filename.startswith("/") or ".." in parts or "\\" in info.filename or ":" in parts[0]:
            reason = "its name points outside the archive: refused"
        elif stat.S_ISLNK(info.external_attr >> 16):
            reason = "a link inside an archive: refused"
        elif info.flag_bits & 1:
            reason = "encrypted"
        elif info.filename in seen:
            reason = "the archive holds this name twice: only the last one is read"
        elif too_large(info.file_size, info.compress_size):
            reason = f"would grow from {size_in_words(info.compress_size)} to {size_in_words(info.file_size)}: a possible zip bomb"
        if reason:
            tree.bad.append(Problem(info.filename, reason))
        else:
            seen.add(info.filename)
            tree.names.append(info.filename)


def too_large(size: int, packed: int) -> bool:
    """Whether a compressed file grows more than real data does. size, packed: bytes."""
    return size > LARGEST or (size > SUSPECT and size > RATIO * max(1, packed))


def _inflated(file: object, name: str, size: int, most: int) -> bytes:
    """The bytes of an open file, gzip undone piece by piece, so that a bomb stops early."""
    read = file.read  # type: ignore[attr-defined]
    if not name.lower().endswith(".gz"):
        return bytes(read(most) if most < LARGEST else read())
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=file) as packed:  # type: ignore[call-overload]
        while out.tell() < most and (piece := packed.read(min(most - out.tell(), 2**20))):
            out.write(piece)
            if too_large(out.tell(), size):
                raise BadItem(f"grows from {size_in_words(size)} to more than {size_in_words(out.tell())}: a possible gzip bomb")
    return out.getvalue()
