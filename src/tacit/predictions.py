"""Decisions about all items of a data set, by anything that gives outputs and knows what they mean; needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tacit.data import entities, happenings, paired
from tacit.data.dataset import Dataset
from tacit.deciding import Knowledge, Predictions, joined

PLACES = 20_000_000  # outputs that are held at once


def decided(model: Any, data: Dataset, pairs: np.ndarray | None = None) -> Predictions:
    """Decisions in the order of the data, which is decoded as the model reads it.

    model: with `outputs` and `knowledge`, a fine-tuned or an exported one. pairs: rows int64 [R, 2], for a model that compares; of texts
    None = the two columns that are joined in each. Spans of texts are given in characters.
    """
    knowledge: Knowledge = model.knowledge
    if pairs is None and knowledge.head.level == "pair" and data.raws is not None:
        items, both, kept = paired.sides(data)
        found = decided(model, items, both)
        left = len(data) - len(kept)
        # a and b are texts, each once: the row says which pair
        rows = {"id": [data.names[i] for i in kept.tolist()]}
        return Predictions(rows | found.columns, [*found.notes, *([f"{left:,} rows do not hold two texts"] if left else [])])
    parts = []
    # places of many items at once would not fit into memory
    step = (
        len(data) if knowledge.head.level != "token" else max(1, PLACES // max(1, int(np.prod(data.x.shape[2:]) * knowledge.head.outputs)))
    )
    for start in range(0, max(1, len(data)), max(1, step)):
        some = slice(start, start + step)
        lengths = None if data.lengths is None else data.lengths[some]
        part = data.x[some]
        z, raw = model.outputs(part, lengths)
        out = knowledge.outcome(raw, part.shape[2:], pairs)
        parts.append(knowledge.decide(data.names[some], z, out, pairs, lengths))
    done = joined(parts)
    if "spans" in done.columns and data.raws is not None:
        done.columns["spans"] = entities.located(done.columns["spans"], data.raws(), data.spec.extra["tokenizer"])
    if "tags" in done.columns and data.modality == "audio":
        second = int(data.spec.extra["rate"]) / knowledge.step
        done.columns["spans"] = [happenings.heard(t, knowledge.head.classes, second) for t in done.columns["tags"]]
    return done
