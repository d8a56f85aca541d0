"""A trail of audits: each line carries the hash of the one before it, so that a change or a gap is seen.

Whoever can write the file can write all of it anew: the chain shows accidents and single edits; a hash that was kept elsewhere, the rest.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tacit.errors import TacitError

FIRST = "0" * 64


def append(path: Path, entry: Mapping[str, Any]) -> str:
    """Add a line, with the time and the hash of the line before; the new line's hash. Raises TacitError where it cannot be written."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    before = FIRST
    if lines:
        try:
            before = str(json.loads(lines[-1])["hash"])
        except (ValueError, KeyError, TypeError):
            before = hashlib.sha256(lines[-1].encode()).hexdigest()  # whoever verifies sees that the line is damaged
    plain = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry, "before": before}
    plain["hash"] = _hash(plain)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cut = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")  # by a kill
        with path.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(("\n" if cut else "") + json.dumps(plain, ensure_ascii=False, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TacitError(f"{path} cannot be written: {error.strerror or error}", "free some space, or make the folder writable") from error
    return str(plain["hash"])


def broken(path: Path) -> int | None:
    """Number of the first line (from 1) that does not fit to the one before it or to its own hash, or whose result was changed; None = the
    trail is whole.

    Lines that were cut off at the end leave no trace in the file: keep the last hash elsewhere.
    """
    before = FIRST
    if not path.is_file():
        return None
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            held = json.loads(line)
            if held.pop("hash") != _hash(held) or held["before"] != before:
                return number
            result = path.parent / str(held.get("result", ""))
            if held.get("sha256") and result.is_file() and hashlib.sha256(result.read_bytes()).hexdigest() != held["sha256"]:
                return number
            before = str(json.loads(line)["hash"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return number
    return None


def _hash(entry: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in entry.items() if k != "hash"}
    return hashlib.sha256(json.dumps(plain, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
