"""What was measured, beside what laws and standards usually ask for. It claims no compliance: people decide that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# requirement -> (where it is asked for, checks that say something about it, what else)
ASKED: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("Technical documentation", "EU AI Act art. 11; NIST AI RMF Map", (), "card"),
    ("Data governance: quality, errors, gaps", "EU AI Act art. 10(2-3); ISO/IEC 5259",
     ("duplicates", "near", "mislabelled", "strange", "missing", "coverage"), ""),
    ("Bias in data and decisions", "EU AI Act art. 10(2f-g); NIST AI RMF Measure 2.11",
     ("coverage", "shortcuts", "fairness", "counterfactual", "leakage", "groups"), ""),
    ("Accuracy, with its limits", "EU AI Act art. 15(1-3)", ("fairness", "clusters"), "decisions"),
    ("Robustness", "EU AI Act art. 15(4); NIST AI RMF Measure 2.7", ("files", "spots", "shortcuts"), ""),
    ("Personal data and privacy", "GDPR art. 5, 25, 32, 35", ("personal", "anonymity", "membership"), "epsilon"),
    ("Right to erasure", "GDPR art. 17", (), "forget"),
    ("Human oversight", "EU AI Act art. 14", (), "reviewer"),
    ("Record keeping", "EU AI Act art. 12", (), "log"),
)  # fmt: skip


def duties(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row a requirement: where it is asked for, what this audit measured of it, and what it did not."""
    made = {f["check"] for f in result["findings"]}
    lost = {u["check"] for u in result["unchecked"]}
    worst: dict[str, str] = {}
    for f in result["findings"]:
        worst.setdefault(f["check"], f["severity"])
    out = []
    for name, where, checks, more in ASKED:
        parts = [f"{c}: {worst[c]}" for c in checks if c in made]
        absent = [c for c in checks if c not in made and c in lost]
        policy = result.get("policy")
        extra = {
            "card": "model card and datasheet are written" if result.get("run") else "a datasheet is written",
            "decisions": f"{result['decisions']['n']:,} decisions measured" if result.get("decisions") else "",
            "epsilon": f"trained with epsilon {result['epsilon']['epsilon']:.2f}" if result.get("epsilon") else "",
            "forget": "tacit forget removes items and trains again",
            "reviewer": f"{policy['reviewer']} is named as reviewer, and has not signed here" if policy else "",
            "log": "audit/log.jsonl, each line with the hash of the one before",
        }.get(more, "")
        parts += [extra] if extra else []
        unmade = ("not checked: " + ", ".join(absent)) if absent else ""
        out.append({"name": name, "where": where, "measured": "; ".join(parts) or "nothing", "lacking": unmade})
    return out
