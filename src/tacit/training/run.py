"""The run directory: plain files, written atomically, one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from tacit.errors import Asked, TacitError
from tacit.runtime import leads


def write_json(path: Path, value: Any) -> None:
    """Atomically: beside, then renamed. Raises TacitError when the place cannot be written."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def finite(held: Any) -> Any:
    """The same with numbers that JSON cannot hold as null."""
    if isinstance(held, (float, np.floating)):
        return float(held) if np.isfinite(held) else None
    if isinstance(held, Mapping):
        return {str(k): finite(v) for k, v in held.items()}
    return [finite(v) for v in held] if isinstance(held, (list, tuple)) else held


def write_text(path: Path, text: str) -> None:
    """Atomically: beside, then renamed. Raises TacitError when the place cannot be written."""
    _write(path, lambda file: file.write(text.encode("utf-8")))


def write_array(path: Path, values: np.ndarray) -> None:
    """A .npy file, atomically: beside, then renamed. Raises TacitError when the place cannot be written."""
    _write(path, lambda file: np.save(file, values, allow_pickle=False))


def _write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where a file stands in the place of a folder
            beside.unlink()
        raise TacitError(f"{path} cannot be written: {error.strerror or error}", "free some space or choose another --out") from error


class Run:
    """One run directory, locked while a process works in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None

    @classmethod
    def start(cls, path: Path, resume: bool) -> Run:
        """Create or reopen and lock.

        Only the process that leads a distributed run locks. Raises Asked when the folder holds something already and `resume`
        is off, or when another process works in it.
        """
        if not leads():
            return cls(path)
        if path.exists() and not path.is_dir():
            raise Asked(f"{path} is a file", "choose another --out")
        holds = path.is_dir() and any(p.name != ".lock" for p in path.iterdir())  # a run that was refused leaves its lock
        if not resume and holds:
            raise Asked(f"{path} is not empty", "add --resume to go on with it, or choose another --out")
        if resume and holds and not (path / "config.toml").exists() and not (path / ".lock").exists():
            raise Asked(f"{path} holds something that is not a run", "choose another --out")
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            run._lock = open(path / ".lock", "w")
        except OSError as error:
            raise TacitError(f"{path} cannot be written: {error.strerror}", "choose another --out") from error
        try:
            fcntl.flock(run._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Asked(f"another process is training in {path}", "wait for it, or choose another --out") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run to read from. Raises Asked when it is none."""
        path = Path(path)
        if not (path / "run.json").is_file():
            near = sorted(str(p.parent) for p in path.parent.glob("*/run.json")) if path.parent.is_dir() else []
            raise Asked(f"{path} is not a run folder", f"runs here: {', '.join(near[:5])}" if near else "make one with `tacit pretrain`")
        return cls(path)

    def info(self) -> dict[str, Any]:
        """run.json, {} before it exists."""
        try:
            return json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise TacitError(f"{self.path / 'run.json'} is damaged: {error}", "restore it, or train anew") from error

    def note(self, **changes: Any) -> None:
        """Merge into run.json."""
        if leads():
            write_json(self.path / "run.json", {**self.info(), **changes})

    def say(self, words: str) -> None:
        """Append a line to log.txt."""
        self._append("log.txt", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {words}\n")

    def metric(self, row: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        self._append("metrics.jsonl", json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl (a killed process may leave half a line)."""
        out = []
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                out.append(json.loads(line))
            except ValueError:
                continue
        return out

    def forget_after(self, step: int) -> None:
        """Drop metrics of steps that a resume is about to repeat."""
        rows = [r for r in self.metrics() if r["step"] <= step]
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in rows))

    def _append(self, name: str, text: str) -> None:
        if not leads():
            return
        try:
            with open(self.path / name, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise TacitError(f"{self.path / name} cannot be written: {error.strerror}", "free some space, then add --resume") from error

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def fresh_path(root: Path, method: str, data: str) -> Path:
    """runs/<date>_<time>_<method>_<data>, made unique."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(data.split(":")[-1]).stem)[:40] or "data"
    base = root / f"{time.strftime('%Y-%m-%d_%H%M%S')}_{Path(method.split(':')[0]).stem}_{stem}"
    path, n = base, 1
    while path.exists():
        n += 1
        path = base.with_name(f"{base.name}_{n}")
    return path
