"""A run folder as plain values: every file may be absent, cut short or older than this code, and the report still stands."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HASHED_UP_TO = 512 * 2**20
LISTED = 60
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class Folder:
    """What a run folder says: one field a file, empty where the file is absent or not readable.

    evaluations: name -> content of evaluation/<name>.json. problems: files that exist and could not be read, in words.
    finetuned: name -> content of finetune/<name>/result.json.
    """

    path: Path
    run: dict[str, Any]
    config: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, Any]
    metrics: list[dict[str, Any]]
    evaluations: dict[str, dict[str, Any]]
    problems: list[str]
    finetuned: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """One file of the run: path inside it, size in bytes, SHA-256 ('' = too large to be hashed here)."""

    path: str
    bytes: int
    sha256: str


def read_folder(path: Path) -> Folder:
    """Everything of the run but its embeddings."""
    problems: list[str] = []

    def plain(name: str) -> dict[str, Any]:
        file = path / name
        if not file.is_file():
            return {}
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
            held = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
        except ValueError as error:
            problems.append(f"{name} could not be read: {error}")
            return {}
        return held if isinstance(held, dict) else {"value": held}

    found = {f.stem: plain(f"evaluation/{f.name}") for f in sorted(path.glob("evaluation/*.json"))}
    evaluations = {name: held for name, held in found.items() if isinstance(held.get("results"), list)}
    tuned = {f.parent.name: plain(f"finetune/{f.parent.name}/result.json") for f in sorted(path.glob("finetune/*/result.json"))}
    finetuned = {name: held for name, held in tuned.items() if isinstance(held.get("results"), list)}
    metrics, cut = _lines(path / "metrics.jsonl")
    if cut:
        problems.append(f"metrics.jsonl has {cut} lines that could not be read; they are left out")
    files = (plain(name) for name in ("run.json", "config.toml", "data.json", "model/model.json"))
    run, config, data, model = files
    return Folder(path, run, config, data, model, metrics, evaluations, problems, finetuned)


def parts_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """n_train, n_test, n_val, rule and sizes, from data.json as `Dataset.describe` writes it, or with these names at its top."""
    given = data.get("split")
    split: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    found: dict[str, Any] = {"rule": data.get("split_rule") or split.get("rule"), "sizes": data.get("sizes") or somewhere(data, "sizes")}
    for part in ("train", "test", "val"):
        held = data.get(f"n_{part}", split.get(part))
        found[f"n_{part}"] = len(held) if isinstance(held, list) else real(held)
    return found


def _lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    rows: list[dict[str, Any]] = []
    cut = 0
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError:
                row, cut = None, cut + 1
            if isinstance(row, dict):
                rows.append(row)
    return rows, cut


def files_of(path: Path) -> list[File]:
    """The run's files with their hashes, without the report itself."""
    listed = []
    for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink()):
        name = file.relative_to(path).as_posix()
        if name in ("report.html", "report.json") or file.name.startswith(".") or file.suffix == ".tmp":
            continue
        size = file.stat().st_size
        digest = ""
        if size <= HASHED_UP_TO:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        listed.append(File(name, size, digest))
    return listed


def words(value: Any, longest: int = 300) -> str:
    """Any value as text for people: control and direction characters replaced, long text cut in the middle."""
    if value is None:
        return ""
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, float):
        text = f"{value:.4g}" if math.isfinite(value) else "not a finite number"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, Mapping):
        text = ", ".join(f"{k} {words(v)}" for k, v in value.items())
    elif isinstance(value, (list, tuple)):
        text = (" x " if value and all(isinstance(v, int) for v in value) and len(value) <= 4 else ", ").join(words(v) for v in value)
    else:
        text = str(value)
    text = _HIDDEN.sub("\ufffd", text)
    return text if len(text) <= longest else f"{text[: longest // 2]} … {text[-longest // 3 :]}"


def sayings(value: Any, most: int = 20) -> list[str]:
    """A list, mapping, number or sentence as at most `most` lines of text; nothing and zero give none."""
    if not value:
        return []
    if isinstance(value, Mapping):
        lines = [f"{k}: {words(v)}" for k, v in value.items() if v or v is False]
    elif isinstance(value, (list, tuple)):
        lines = [" — ".join(words(v) for v in x.values()) if isinstance(x, Mapping) else words(x) for x in value]
    else:
        lines = [words(value)]
    return lines[:most] + ([f"and {len(lines) - most:,} more"] if len(lines) > most else [])


def real(value: Any) -> float | None:
    """The value as a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def chosen(value: Any) -> tuple[str, str]:
    """(value, reason) of an automatic choice, which may be written as plain value."""
    return (words(value.get("value")), words(value.get("reason"))) if isinstance(value, Mapping) else (words(value), "")


def somewhere(held: Any, key: str, depth: int = 3) -> Any:
    """The first value under `key` in nested mappings, None when there is none."""
    if not isinstance(held, Mapping):
        return None
    if key in held:
        return held[key]
    found = [somewhere(v, key, depth - 1) for v in held.values()] if depth else []
    return next((v for v in found if v is not None), None)
