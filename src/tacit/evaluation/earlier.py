"""What earlier fine-tuning of the same run on the same data reached, as rows of an evaluation's table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEADS = {True: "regression", False: "classification"}


def earlier(run: Path, read: Mapping[str, Any], regression: bool, measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of RUN/finetune/*/result.json that belong beside those that were measured, the newest of each; "from" says where they stand.

    read: {"fingerprint", "labels", "model"} of what is evaluated; results of other data, labels, splits or weights are left out.
    regression: numbers are predicted. measured: rows of the evaluation, which come first where both measured the same.
    """
    metrics = {r["metric"] for r in measured}
    taken = {_key(r) for r in measured}
    found: list[tuple[str, dict[str, Any]]] = []
    for file in sorted(run.glob("finetune/*/result.json")):
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            if held["head_kind"] != HEADS[regression] or not _same(held, read):
                continue
            rows = [{**r, "from": f"finetune/{file.parent.name}"} for r in held["results"] if r["value"] is not None]
            found += [(str(held["created"]), r) for r in rows if r["metric"] in metrics and _key(r) not in taken]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # cut short, or written by another version: the report names it
    newest: dict[Any, dict[str, Any]] = {}
    for _, row in sorted(found, key=lambda pair: pair[0]):
        newest[_key(row)] = row
    return list(newest.values())


def _same(held: Mapping[str, Any], read: Mapping[str, Any]) -> bool:
    """Whether it was fine-tuned and scored on this data, with these labels, this split and this encoder."""
    return all(held["read"][k] == read[k] for k in ("fingerprint", "labels", "model"))


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[k] for k in ("representation", "probe", "labels_per_class", "metric"))
