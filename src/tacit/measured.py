"""What the learning table says of each method, as benchmarks/part2.py wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "measured.json"


def measured() -> dict[str, dict[str, dict[str, Any]]]:
    """method -> modality -> what the learning table says; empty where nothing was measured."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


def because(method: str, modality: str) -> str:
    """Why this method is a good start on such data, as a phrase."""
    row = measured().get(method, {}).get(modality)
    if row is None or not row["place"] or None in (row["linear10"], row["untrained"]):
        return "the preset, as nothing was measured on such data"
    much = f"{100 * row['linear10']:.0f} % against {100 * row['untrained']:.0f} % untrained with 10 labels a class"
    return f"number {row['place']} of {row['of']} after {row['seconds']:g} s on {row['data']}, {much} (docs/methods.md)"
