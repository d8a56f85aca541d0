"""Two audits side by side: what is new, what is gone, what changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tacit.auditors.finding import SEVERITIES
from tacit.errors import Asked


def load(path: str | Path) -> dict[str, Any]:
    """The result of an earlier audit: its .json file, or the folder of the run or audit, whose newest is taken. Raises Asked."""
    path = Path(path)
    if path.is_dir():
        found = [p for p in (*path.glob("audit/*.json"), *path.glob("*.json")) if p.name[:1].isdigit()]
        if not found:
            raise Asked(f"{path} holds no audit", "make one: tacit audit RUN DATA")
        path = max(found, key=lambda p: p.stat().st_mtime_ns)
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(held["findings"], list):
            raise TypeError
        return {**held, "file": str(path)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Asked(f"{path} is no result of an audit", "give a .json file of RUN/audit") from error


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a finding that is in either and wrong in one: its state (new, gone, worse, better, same) and both numbers.

    Numbers whose intervals do not overlap have changed; without intervals the severity tells.
    """
    a, b = (_keyed(held["findings"]) for held in (old, new))
    out: list[dict[str, Any]] = []
    for key in dict.fromkeys([*b, *a]):
        before, now = a.get(key), b.get(key)
        if all(f is None or f.get("severity") == "fine" for f in (before, now)):
            continue
        row: dict[str, Any] = {"name": key[0], "group": key[1], "state": _state(before, now)}
        for when, f in (("before", before), ("now", now)):
            row |= {f"{k}_{when}": None if f is None else f.get(k) for k in ("severity", "value", "low", "high")}
        out.append(row)
    order = ("new", "worse", "same", "better", "gone")
    return sorted(out, key=lambda r: (order.index(r["state"]), r["name"]))


def _keyed(findings: Sequence[Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    out: dict[tuple[str, str, str], dict[str, Any]] = {}
    for f in findings:
        if isinstance(f, dict):
            out.setdefault((str(f.get("name")), str(f.get("group") or ""), str(f.get("metric") or "")), f)
    return out


def _state(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    if before is None or (before.get("severity") == "fine" and now is not None and now.get("severity") != "fine"):
        return "new"
    if now is None or (now.get("severity") == "fine" and before.get("severity") != "fine"):
        return "gone"
    ends = [before.get("low"), before.get("high"), now.get("low"), now.get("high")]
    worse_up = "worst_group" not in str(now.get("metric")) and "ratio" not in str(now.get("metric"))
    if all(isinstance(e, (int, float)) for e in ends):
        a_low, a_high, b_low, b_high = (float(e) for e in ends)  # type: ignore[arg-type]
        if b_low > a_high or b_high < a_low:
            return "worse" if (b_low > a_high) == worse_up else "better"
        return "same"
    ranks = [SEVERITIES.index(str(f["severity"])) if f.get("severity") in SEVERITIES else len(SEVERITIES) for f in (before, now)]
    return "worse" if ranks[1] < ranks[0] else "better" if ranks[1] > ranks[0] else "same"
