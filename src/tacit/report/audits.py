"""The newest audit of a run as its report shows it: what it says in one sentence, and the worst findings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tacit.report.audited import verdict
from tacit.report.read import words

SHOWN = 5


@dataclass(frozen=True)
class Audited:
    """look, state: colour and word. worst: (severity, sentence). page: the whole of it. checked: what the report need not miss."""

    look: str
    state: str
    said: str
    created: str
    worst: tuple[tuple[str, str], ...]
    page: str
    file: str
    checked: tuple[str, ...]


def newest(run: Path) -> Audited | None:
    """The newest audit of a run that can be read, None = there is none."""
    for file in sorted((f for f in run.glob("audit/*.json") if f.name[:1].isdigit()), key=lambda f: f.stat().st_mtime_ns, reverse=True):
        try:
            held = json.loads(file.read_text(encoding="utf-8", errors="replace"))
            found = [f for f in held["findings"] if f["severity"] != "fine"]
            made = {f["section"] for f in held["findings"]}
            policy = held.get("policy")
            bad = any(f["severity"] == "high" for f in found) or (policy is not None and not policy["met"])
            state = (
                "■ policy failed"
                if policy and not policy["met"]
                else "■ findings of high severity"
                if bad
                else "● nothing of high severity"
            )
            worst = tuple((words(f["severity"], 10), words(f["said"], 300)) for f in found[:SHOWN])
            checked = (
                *(("Fairness",) if "fairness" in made else ()),
                *(("Privacy",) if "membership" in {f["check"] for f in held["findings"]} else ()),
            )
            own = words(verdict(held), 400)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        return Audited(
            "not" if bad else "helped", state, own, words(held.get("created"), 40), worst, "audit/audit.html", f"audit/{file.name}", checked
        )
    return None
