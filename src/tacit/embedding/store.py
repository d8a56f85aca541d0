"""Embeddings on disk: Parquet with ids and labels, or a bare .npy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tacit.errors import Asked, TacitError
from tacit.types import Embeddings


def write(embeddings: Embeddings, path: str | Path) -> Path:
    """Write FILE.parquet (id, label, group, vector) or FILE.npy (float32 [N, D]), atomically, in the order of the data.

    Raises Asked for another ending, TacitError when the place cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".npy"):
        raise Asked(f"{path}: embeddings are written as .parquet or .npy", "name the file like embeddings.parquet")
    if path.suffix == ".npy":
        return _put(path, lambda beside: np.save(beside, embeddings.vectors.astype(np.float32)))
    import pyarrow as pa

    width = embeddings.vectors.shape[1]
    flat = pa.array(np.ascontiguousarray(embeddings.vectors, dtype=np.float32).reshape(-1))
    return write_columns({**described(embeddings), "vector": pa.FixedSizeListArray.from_arrays(flat, width)}, path)


def described(embeddings: Embeddings) -> dict[str, Any]:
    """Arrow columns with what belongs to vectors: id, and label and group where there are any."""
    import pyarrow as pa

    columns = {"id": pa.array(embeddings.ids)}
    if embeddings.labels is not None:
        columns["label"] = pa.array(embeddings.labels.tolist(), from_pandas=True)  # NaN is null, too
    if embeddings.groups is not None:
        columns["group"] = pa.array(embeddings.groups.tolist(), from_pandas=True)
    return columns


def write_columns(columns: dict[str, Any], path: Path) -> Path:
    """Arrow columns as Parquet, atomically. Raises TacitError when the place cannot be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return _put(path, lambda beside: pq.write_table(pa.table(columns), beside))


def _put(path: Path, write_to: Callable[[Path], Any]) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_to(beside)
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where a file stands in the place of a folder
            beside.unlink()
        raise TacitError(f"{path} cannot be written: {error.strerror or error}", "free some space or choose another --out") from error
    return path
