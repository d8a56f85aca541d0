"""What an audit writes for people: one page, a model card and a datasheet, all from its result."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from tacit.errors import TacitError
from tacit.report.cards import datasheet, model_card
from tacit.report.duties import duties
from tacit.report.pareto import pareto
from tacit.report.read import words

SIGNS = {"high": ("not", "■"), "medium": ("unclear", "▲"), "low": ("unmeasured", "●"), "fine": ("helped", "✓")}
STATES = {"met": ("helped", "✓ met"), "failed": ("not", "■ failed"), "not checked": ("unclear", "? not checked")}
RATES = (
    ("selection_rate", "positive"), ("tpr", "TPR"), ("fpr", "FPR"), ("fnr", "FNR"), ("precision", "PPV"), ("accuracy", "acc."),
    ("auc", "AUC"), ("ece", "ECE"),
)  # fmt: skip
ERRORS = (("mean_prediction", "mean prediction"), ("bias", "bias"), ("mae", "MAE"), ("rmse", "RMSE"))


def write(place: Path, result: Mapping[str, Any]) -> dict[str, Path]:
    """Write audit/audit.html, audit/MODEL_CARD.md (of a run) and audit/DATASHEET.md, atomically."""
    folder = place / "audit"
    out = {"html": _put(folder / "audit.html", render(result)), "datasheet": _put(folder / "DATASHEET.md", datasheet(result))}
    if result.get("run"):
        out["card"] = _put(folder / "MODEL_CARD.md", model_card(Path(result["run"]), result))
    return out


def render(result: Mapping[str, Any]) -> str:
    """The page as HTML."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"said": words, "number": number, "percent": lambda v: "" if v is None else f"{100 * v:.1f}"}
    findings = [f for f in result["findings"] if f["severity"] != "fine"]
    counts = {s: sum(f["severity"] == s for f in findings) for s in ("high", "medium", "low")}
    policy = result.get("policy")
    failed = policy is not None and not policy["met"]
    state = "not" if failed or counts["high"] else "unclear" if counts["medium"] else "helped"
    return environment.get_template("audit.html").render(
        r=result,
        title=f"Audit of {Path(str(result['data'])).name or result['data']}",
        state=state,
        sign={"not": "■", "unclear": "▲", "helped": "✓"}[state],
        verdict=verdict(result),
        findings=findings,
        fine=[f for f in result["findings"] if f["severity"] == "fine"],
        tables=tables(result),
        signs=SIGNS,
        states=STATES,
        duties=duties(result),
        plots=[pareto(m) for m in result.get("mitigations", [])],
        evaluations=[],  # of style.css
    )


def verdict(result: Mapping[str, Any]) -> str:
    """The audit in one sentence."""
    counts = {s: sum(f["severity"] == s for f in result["findings"]) for s in ("high", "medium", "low")}
    found = ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "nothing wrong"
    said = f"{found} among {len(result['findings'])} findings; {len(result['unchecked'])} checks were not made"
    if policy := result.get("policy"):
        met, total = sum(o["state"] == "met" for o in policy["objectives"]), len(policy["objectives"])
        said += f"; all {total} objectives met" if met == total else f"; {met} of {total} objectives met"
    return said[0].upper() + said[1:] + "."


def tables(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rates by group, one table an attribute, as the findings carry them."""
    out: list[dict[str, Any]] = []
    for f in result["findings"]:
        held = f["more"].get("rates")
        if held and held["attribute"] not in [t["attribute"] for t in out]:
            columns = [c for c in (*RATES, *ERRORS) if any(c[0] in g for g in held["groups"])]
            out.append({"attribute": held["attribute"], "columns": columns, "groups": held["groups"], "small": held["small"]})
    return sorted(out, key=lambda t: " x " in t["attribute"])


def number(value: Any) -> str:
    """A number in few digits, a question mark for none."""
    return "?" if value is None else f"{value:.3g}" if isinstance(value, (int, float)) else str(value)


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _put(path: Path, text: str) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8", errors="replace")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise TacitError(f"{path} cannot be written: {error.strerror or error}", "free some space, or choose another --out") from error
    return path


def printed(result: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> list[str]:
    """Findings for a terminal, a few lines each."""
    out = []
    for f in shown:
        interval = "" if f["low"] is None else f" [{f['low']:.3g}, {f['high']:.3g}]"
        value = "" if f["value"] is None else f"{f['metric']} {f['value']:.3g}{interval}, n = {f['n']:,}"
        out.append(f"{f['severity'].upper():<7} {words(f['said'], 1000)}")
        out.append(f"        {value}" + (f"; {words(', '.join(f['items'][:3]), 300)}" if f["items"] else ""))
        out += [f"        do: {f['do']}"] if f["do"] else []
    return out
