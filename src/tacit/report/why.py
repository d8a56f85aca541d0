"""Explanations of single items as the report shows them: those that passed their tests, and those that failed, marked as such."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tacit.report.read import real, words

SHOWN = 6
LARGEST = 80_000  # bytes of a picture
STATES = {
    "passed": ("helped", "● passed its tests"),
    "failed": ("not", "■ failed a test"),
    "not testable": ("unclear", "▲ could not be tested"),
}


@dataclass(frozen=True)
class Why:
    """One explanation. look: its colour. state: what came of its tests. top: the strongest parts with what they add. picture: a data URI,
    empty where there is none."""

    item: str
    said: str
    how: str
    look: str
    state: str
    checks: tuple[tuple[str, str, str], ...]
    top: tuple[tuple[str, str], ...]
    picture: str


def show(path: Path) -> list[Why]:
    """The newest explanations of a run; what cannot be read is left out."""
    out: list[Why] = []
    for file in _newest(path):
        try:
            held = json.loads(file.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(held, dict) and (one := _one(held, file)) is not None:
            out.append(one)
        if len(out) == SHOWN:
            break
    return out


def _newest(path: Path) -> list[Path]:
    found = [(f.stat().st_mtime_ns, f) for f in path.glob("explain/*-*.json") if f.is_file()]
    return [f for _, f in sorted(found, key=lambda pair: (-pair[0], pair[1].name))]


def _one(held: dict[str, Any], file: Path) -> Why | None:
    verdict = held.get("verdict")
    parts, checks = held.get("parts_of_item"), held.get("checks")
    if not isinstance(verdict, str) or verdict not in STATES or not isinstance(parts, list) or not isinstance(checks, list):
        return None
    look, state = STATES[verdict]
    strong = sorted((p for p in parts if isinstance(p, dict)), key=lambda p: -abs(real(p.get("adds")) or 0.0))[:5]
    told = tuple((_mark(c.get("passed")), words(c.get("name"), 40), words(c.get("said"), 300)) for c in checks if isinstance(c, dict))
    top = tuple((words(p.get("name"), 120), f"{real(p.get('adds')) or 0.0:+.3f}") for p in strong)
    drawn = file.with_suffix(".png")
    picture = ""
    if drawn.is_file() and drawn.stat().st_size <= LARGEST:
        raw = drawn.read_bytes()
        picture = f"data:image/png;base64,{base64.b64encode(raw).decode()}" if raw[:8] == b"\x89PNG\r\n\x1a\n" else ""
    return Why(words(held.get("item"), 80), words(held.get("explains"), 200), words(held.get("how"), 40), look, state, told, top, picture)


def _mark(passed: Any) -> str:
    return "✓" if passed is True else "✕" if passed is False else "?"
