"""Decisions from a fine-tuned or an exported model; an exported one needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data import dataset, entities, labelfile, paired
from tacit.deciding import Knowledge, Predictions, joined
from tacit.errors import Asked
from tacit.operate.embed import read
from tacit.operate.loading import load

PLACES = 20_000_000  # outputs that are held at once


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
        if isinstance(model, (str, Path)):
            data = read(found, model, data, options, say)
        else:
            asked: dict[str, Any] = {"modality": found.spec.modality, "spec": found.spec, "say": say, **(options or {})}
            data = dataset.open(data, **asked)
    data = found.prepare(data)
    rows = labelfile.pairs(Path(pairs), data.names) if isinstance(pairs, (str, Path)) else pairs
    of, left = list[str](), 0
    if rows is None and knowledge.head.level == "pair" and data.raws is not None:
        whole = data
        data, rows, kept = paired.sides(whole)
        of = [whole.names[i] for i in kept.tolist()]
        left = len(whole) - len(kept)
    parts = []
    # places of many items at once would not fit into memory
    step = (
        len(data) if knowledge.head.level != "token" else max(1, PLACES // max(1, int(np.prod(data.x.shape[2:]) * knowledge.head.outputs)))
    )
    for start in range(0, max(1, len(data)), max(1, step)):
        some = slice(start, start + step)
        lengths = None if data.lengths is None else data.lengths[some]
        part = data.x[some]
        z, raw = found.outputs(part, lengths)
        out = knowledge.outcome(raw, part.shape[2:], rows)
        parts.append(knowledge.decide(data.names[some], z, out, rows, lengths))
    done = joined(parts)
    if of:  # a and b are texts, each once: the row says which pair
        done = Predictions({"id": of, **done.columns}, [*done.notes, *([f"{left:,} rows do not hold two texts"] if left else [])])
    if "spans" in done.columns and data.raws is not None:
        done.columns["spans"] = entities.located(done.columns["spans"], data.raws(), data.spec.extra["tokenizer"])
    return done
