"""NumPy files: shape and type without reading the values, never a pickle."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.listing import size_in_words
from tacit.data.tree import too_large
from tacit.errors import BadData
from tacit.modality import BadItem

HINT = "save plain arrays: np.save(path, np.stack(items)), or np.savez(path, x=..., y=...)"
PICKLE = "holds Python objects (a pickle), which could run code when it is read: refused"


@dataclass(frozen=True)
class Array:
    """An array that is read when it is asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], np.ndarray]

    @cached_property
    def values(self) -> np.ndarray:
        """The array. Raises BadItem."""
        try:
            return self.load()
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise BadItem(f"truncated or damaged: {str(error)[:200]}") from None


def one(raw: Path | bytes, name: str) -> Array:
    """The array of a .npy file, memory-mapped where possible. Raises BadData."""
    try:
        x = np.load(raw, mmap_mode="r", allow_pickle=False) if isinstance(raw, Path) else np.load(io.BytesIO(raw), allow_pickle=False)
    except PermissionError:
        raise BadData(f"no permission to read {name}") from None
    except (OSError, EOFError, ValueError) as error:
        raise _refused(name, error) from None
    if not isinstance(x, np.ndarray):
        raise BadData(f"{name} is an .npz file with the ending .npy", "rename it to .npz")
    return Array(x.shape, x.dtype, lambda: x)


def several(raw: Path | bytes, name: str) -> dict[str, Array]:
    """The arrays of an .npz file by key. Raises BadData."""
    try:
        archive = zipfile.ZipFile(raw if isinstance(raw, Path) else io.BytesIO(raw))
    except PermissionError:
        raise BadData(f"no permission to read {name}") from None
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise _refused(name, error) from None
    found: dict[str, Array] = {}
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        key = info.filename[:-4]
        if too_large(info.file_size, info.compress_size):
            grown = f"from {size_in_words(info.compress_size)} to {size_in_words(info.file_size)}"
            raise BadData(f"{name}: {key} would grow {grown}: a possible zip bomb", "save it with np.savez, not compressed")
        try:
            with archive.open(info) as member:
                shape, dtype = _header(member)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise _refused(f"{name}: {key}", error) from None
        if dtype.hasobject:
            raise BadData(f"{name}: {key} {PICKLE}", HINT)
        found[key] = Array(shape, dtype, lambda info=info: _member(archive, info))  # type: ignore[misc]
    return found


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _refused(name: str, error: Exception) -> BadData:
    text = str(error)
    if "pickle" in text or "Object arrays" in text or "Python objects" in text:
        return BadData(f"{name} {PICKLE}", HINT)
    return BadData(
        f"{name} is truncated, damaged, or not a NumPy file: {text.splitlines()[0][:200] if text else type(error).__name__}", HINT
    )
