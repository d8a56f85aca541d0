"""Decisions from a fine-tuned or an exported model; an exported one needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data import dataset, labelfile
from tacit.deciding import Predictions
from tacit.errors import Asked
from tacit.operate.embed import read
from tacit.operate.loading import load
from tacit.predictions import decided


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
    if getattr(found, "knowledge", None) is None:
        raise Asked(
            f"{model if isinstance(model, (str, Path)) else 'the model'} has no head that decides", "make one: tacit finetune RUN DATA"
        )
    if isinstance(data, (str, Path)):
        if isinstance(model, (str, Path)):
            data = read(found, model, data, options, say)
        else:
            asked: dict[str, Any] = {"modality": found.spec.modality, "spec": found.spec, "say": say, **(options or {})}
            data = dataset.open(data, **asked)
    data = found.prepare(data)
    rows = labelfile.pairs(Path(pairs), data.names) if isinstance(pairs, (str, Path)) else pairs
    return decided(found, data, rows)
