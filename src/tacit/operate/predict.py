"""Decisions from a fine-tuned or an exported model; an exported one needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data import dataset, tables
from tacit.data.listing import few
from tacit.deciding import Knowledge, Predictions
from tacit.errors import Asked
from tacit.operate.loading import load


def predict(
    model: Any,
    data: Any,
    *,
    pairs: str | Path | np.ndarray | None = None,
    options: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> Predictions:
    """Decide about every item of some data, in its order.

    model: a fine-tuned or exported model, or its folder. data: a path, an array, or open data. pairs: a table with two columns of ids (or
    rows int64 [R, 2]), for a model that compares. options: for opening a path. Raises Asked for a model without a head, or of another
    modality.
    """
    found = load(model) if isinstance(model, (str, Path)) else model
    knowledge: Knowledge | None = getattr(found, "knowledge", None)
    if knowledge is None:
        raise Asked(
            f"{model if isinstance(model, (str, Path)) else 'the model'} has no head that decides", "make one: tacit finetune RUN DATA"
        )
    if isinstance(data, (str, Path)):
        asked: dict[str, Any] = {"modality": found.spec.modality, "spec": found.spec, "say": say, **(options or {})}
        data = dataset.open(data, **asked)
    data = found.prepare(data)
    rows = _pairs(pairs, data.names) if isinstance(pairs, (str, Path)) else pairs
    z, raw = found.outputs(data.x, data.lengths)
    out = knowledge.outcome(raw, data.x.shape[2:], rows)
    return knowledge.decide(data.names, z, out, rows)


def _pairs(path: str | Path, names: tuple[str, ...]) -> np.ndarray:
    """int64 [R, 2]: rows of the items that a table pairs, by their ids in its first two columns. Raises Asked for unknown ones."""
    file = Path(path)
    if not file.is_file():
        raise Asked(f"there is no file {str(path)!r}", "give a table with two columns of ids")
    table = tables.read(file.read_bytes(), file.name)
    if len(table.columns) < 2:
        raise Asked(f"{path} has one column", "two are needed: the ids of the items that are compared")
    index = {name: i for i, name in enumerate(names)}
    cells = [(row[0].strip(), row[1].strip()) for row in table.rows]
    unknown = sorted({c for pair in cells for c in pair} - index.keys())
    if unknown:
        raise Asked(f"{path} names items that the data does not have: {few(unknown)}", f"the data's own ids are such as {few(names, 3)}")
    return np.array([[index[a], index[b]] for a, b in cells], dtype=np.int64).reshape(-1, 2)
