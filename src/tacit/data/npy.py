"""NumPy files: shape and type without reading the values, never a pickle."""

from __future__ import annotations

import io
import math
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
        except MemoryError:
            raise BadItem(f"{' x '.join(map(str, self.shape))} values of {self.dtype} do not fit into memory") from None


def one(raw: Path | bytes, name: str) -> Array:
    """The array of a .npy file, memory-mapped where possible. Raises BadData."""
    try:
        with raw.open("rb") if isinstance(raw, Path) else io.BytesIO(raw) as file:
            if file.read(6) == b"\x93NUMPY":
                file.seek(0)
                shape, dtype = _header(file)
                _check_size(shape, dtype, (raw.stat().st_size if isinstance(raw, Path) else len(raw)) - file.tell())
        x = np.load(raw, mmap_mode="r", allow_pickle=False) if isinstance(raw, Path) else np.load(io.BytesIO(raw), allow_pickle=False)
    except PermissionError:
        raise BadData(f"no permission to read {name}") from None
    except MemoryError:
        raise BadData(f"{name} does not fit into memory", "split it, or unpack it from its archive") from None
    except (OSError, EOFError, ValueError, OverflowError) as error:
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
                _check_size(shape, dtype, info.file_size - member.tell())
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


def _check_size(shape: tuple[int, ...], dtype: np.dtype[Any], found: int) -> None:
    """Raise ValueError unless there are as many bytes (`found`) as the header promises, before anything is made room for."""
    promised = math.prod(shape) * dtype.itemsize  # Python's own integers: a product of numpy's would wrap around
    if shape and shape[0] and not promised:
        raise ValueError(f"{shape[0]} items without a value")
    if not dtype.hasobject and promised > found:
        raise ValueError(f"its header promises {promised} bytes of values, and there are {found}")


def _refused(name: str, error: Exception) -> BadData:
    text = str(error)
    if "pickle" in text or "Object arrays" in text or "Python objects" in text:
        return BadData(f"{name} {PICKLE}", HINT)
    return BadData(
        f"{name} is truncated, damaged, or not a NumPy file: {text.splitlines()[0][:200] if text else type(error).__name__}", HINT
    )
