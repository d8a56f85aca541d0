"""`embed` on objects and paths, with whatever can embed; an exported model needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tacit.data import dataset
from tacit.data.dataset import Dataset
from tacit.data.remembered import remembered
from tacit.embedding import store
from tacit.operate.loading import load
from tacit.types import Embeddings


def embed(model: Any, data: Any, out: str | Path | None = None) -> Embeddings:
    """Vectors of all items, in the order of the data; written to `out` (.parquet or .npy) if it is given.

    model: a run (path or object), a model, or an exported model (path or object). data: a path, an array, or open data.
    """
    found = load(model, None) if isinstance(model, (str, Path)) else getattr(model, "model", model)
    if isinstance(model, (str, Path)) and isinstance(data, (str, Path)):
        data = read(found, model, data)
    vectors: Embeddings = found.embed(data)
    if out is not None:
        store.write(vectors, out)
    return vectors


def read(
    model: Any, path: str | Path, data: str | Path, options: Mapping[str, Any] | None = None, say: Callable[[str], None] | None = None
) -> Dataset:
    """Data decoded for a model, and opened as its run did if it is the run's own.

    model: loaded from `path`. options: for opening the data; None as a value was not given. say: called with words for a person.
    """
    kept = {k: v for k, v in (options or {}).items() if v is not None}
    known = remembered(Path(path), data, {k: v for k, v in kept.items() if k != "cache"}, say or (lambda words: None))
    return dataset.open(data, modality=model.spec.modality, spec=model.spec, say=say, **{**kept, **known})
