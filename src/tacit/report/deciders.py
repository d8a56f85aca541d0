"""What `finetune` measured, arranged for reading: verdict, scores beside the frozen probe, calibration, strange items, what was lost."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tacit.finetuning.config import FinetuneConfig
from tacit.finetuning.divide import FOLDS
from tacit.report.charts import Bin, number, reliability, score
from tacit.report.costing import Cost
from tacit.report.costing import show as show_cost
from tacit.report.read import real, sayings, somewhere, words
from tacit.report.scores import SHARES, STATES, between, called

PERCENT = SHARES | {"iou", "f1", "average_precision", "ece", "ece_before"}
APART = ("ece", "ece_before", "coverage", "coverage_shown", "set_size")  # told elsewhere than in the table of scores
WORDS = {"helped": "Fine-tuning helped", "not": "Fine-tuning hurt", "unclear": "No clear difference", "unmeasured": "Not compared"}
STRANGE = {
    "knn": "distance to the nearest known items",
    "mahalanobis": "Mahalanobis distance",
    "relative": "relative Mahalanobis distance",
}
Table = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Decider:
    """One fine-tuned model, ready to be shown.

    rows: of scores: (metric, this model, its interval, the frozen probe, its interval). charts: (title, drawing) of the reliability.
    bins: every point of them. promises: (what, measured, interval, note) of calibration and sets. strange: of detection, with the names of
    its columns and a caption.
    """

    name: str
    about: str
    state: str
    word: str
    sign: str
    sentence: str
    rows: Table
    promises: Table
    charts: tuple[tuple[str, str], ...]
    bins: Table
    strange: Table
    strange_caption: str
    alarms: Table
    forgotten: str
    folds: Table
    cost: Cost
    notes: tuple[str, ...]
    command: str
    calibrated: bool


def show(name: str, held: Mapping[str, Any], run: str) -> Decider:
    """One result.json for the report; what it lacks is left out. name: of its folder. run: path of the run, for the command."""
    rows = [r for r in held.get("results") or [] if isinstance(r, Mapping) and r.get("metric")]
    mine = {str(r["metric"]): r for r in rows if str(r.get("probe", "")).startswith("finetune:")}
    frozen = {str(r["metric"]): r for r in rows if not str(r.get("probe", "")).startswith("finetune:")}
    verdict = _mapping(held.get("verdict"))
    helps = verdict.get("helps")
    state, _, sign = STATES[helps if isinstance(helps, bool) else None]
    if real(verdict.get("difference")) is None:
        state, sign = "unmeasured", "?"
    charts, bins = _reliability(held.get("reliability"), mine)
    promises = _promises(held, mine)
    strange, caption = _strange(_mapping(held.get("ood")))
    return Decider(
        name=words(name, 80),
        about=_about(held),
        state=state,
        word=WORDS[state],
        sign=sign,
        sentence=words(verdict.get("sentence"), 800) or "What it reaches was not measured.",
        rows=tuple((called(k), *_cells(k, r), *_cells(k, frozen.get(k))) for k, r in mine.items() if k not in APART),
        promises=promises,
        charts=charts,
        bins=bins,
        strange=strange,
        strange_caption=caption,
        alarms=_alarms(_mapping(held.get("ood"))),
        forgotten=_forgotten(held.get("forgotten")),
        folds=_folds(held.get("folds")),
        cost=show_cost(held.get("cost"), {"seconds": _mapping(held.get("training")).get("seconds")}),
        notes=tuple(sayings(held.get("notes"))),
        command=command(held, run),
        calibrated=bool(promises or charts) and bool(real(held.get("calibrated_on"))),
    )


def _mapping(held: Any) -> Mapping[str, Any]:
    return held if isinstance(held, Mapping) else {}


def _about(held: Mapping[str, Any]) -> str:
    """In a line: what it decides, from how many labels, and what the others were for."""
    steps = real(_mapping(held.get("training")).get("steps"))
    counts = [
        (held.get("learned_from"), "labels to learn from"),
        (held.get("stopped_by"), "that stopped the training"),
        (held.get("calibrated_on"), "that calibrated it" + (", by cross-fitting" if held.get("cross_fitted") else "")),
    ]
    said = [words(held.get("head_kind")), words(held.get("strategy"))]
    said += [f"{n:,.0f} {what}" for value, what in counts if (n := real(value))]
    return " · ".join([s for s in said if s] + ([f"{steps:,.0f} steps"] if steps else []))


def _cells(metric: str, row: Mapping[str, Any] | None) -> tuple[str, str]:
    """(value, interval) of a row."""
    if row is None or (value := real(row.get("value"))) is None:
        return "n/a", ""
    percent = metric in PERCENT
    return score(value, percent), between(real(row.get("low")), real(row.get("high")), percent)


def _promises(held: Mapping[str, Any], mine: Mapping[str, Mapping[str, Any]]) -> Table:
    """Does a probability, and a set or interval, hold what it says?"""
    alpha = real(held.get("alpha"))
    nominal = "" if alpha is None else f"promised: {100 * (1 - alpha):.0f} %"
    kind = "intervals" if held.get("head_kind") in ("regression", "similarity") else "sets"
    told = {
        "ece_before": ("Calibration error before scaling", True, "mean distance of confidence from accuracy, in bins of equal mass"),
        "ece": ("Calibration error after scaling", True, "0 % is perfect"),
        "coverage": (f"Coverage of the {kind}", True, nominal),
        "coverage_shown": ("Coverage of the sets shown", True, "these always hold the most likely class, so they are never empty"),
        "set_size": ("Classes in a set shown", False, "on average"),
    }
    out = []
    for metric, (name, percent, note) in told.items():
        row = mine.get(metric)
        if row is not None and (value := real(row.get("value"))) is not None:
            interval = between(real(row.get("low")), real(row.get("high")), percent)
            basis = f"n\u00a0=\u00a0{words(row.get('n_test'))}"
            out.append((name, score(value, percent), interval, ", ".join(w for w in (note, basis) if w)))
    return tuple(out)


def _reliability(held: Any, mine: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[tuple[str, str], ...], Table]:
    """Drawings before and after scaling, and every point in words."""
    drawn, rows = [], []
    every = {when: _bins(_mapping(held).get(when)) for when in ("before", "after")}
    lowest = min((v for bins in every.values() for b in bins for v in (b.confidence, b.low)), default=0.0)
    for when, bins in every.items():
        if not bins:
            continue
        error = real(mine.get("ece_before" if when == "before" else "ece", {}).get("value"))
        title = f"how often it is right, {when} scaling"
        drawn.append((title, reliability(bins, title=title, note="" if error is None else f"error {number(error, True)}", lowest=lowest)))
        for b in bins:
            said = between(b.low, b.high, True)
            rows.append((when, number(b.confidence, True), number(b.accuracy, True), said, f"{b.n:,}"))
    return tuple(drawn), tuple(rows)


def _bins(held: Any) -> list[Bin]:
    out = []
    for row in held if isinstance(held, (list, tuple)) else ():
        shares = [v for k in ("confidence", "accuracy", "low", "high") if (v := real(_mapping(row).get(k))) is not None and 0 <= v <= 1]
        if len(shares) == 4:
            confidence, accuracy, low, high = shares
            out.append(Bin(confidence, accuracy, low, high, int(real(_mapping(row).get("n")) or 0)))
    return out


def _strange(ood: Mapping[str, Any]) -> tuple[Table, str]:
    """How well items of other data are told, by each score, and how to read that."""
    rows, convention = [], ""
    for name, what in STRANGE.items():
        found = _mapping(ood.get(name))
        if (auroc := real(found.get("auroc"))) is None:
            continue
        convention = words(found.get("convention"), 600) or convention
        shares = [number(v, True) if (v := real(found.get(k))) is not None else "n/a" for k in ("fpr95", "fpr95_in")]
        areas = [f"{v:.3f}" if (v := real(found.get(k))) is not None else "n/a" for k in ("aupr_out", "aupr_in")]
        rows.append((what, f"{auroc:.3f}", between(real(found.get("low")), real(found.get("high")), False), *areas, *shares))
    outside = _mapping(ood.get("outside"))
    named = f"{words(outside.get('items'))} items of {words(outside.get('data'))} against the held-out items. " if outside else ""
    return tuple(rows), f"{named}{convention[:1].upper()}{convention[1:]}." if rows else ""


def _alarms(ood: Mapping[str, Any]) -> Table:
    """Of the held-out items, which are of the known kind, the share that is called strange."""
    held = _mapping(ood.get("false_alarms"))
    return tuple((STRANGE.get(str(k), words(k, 60)), number(v, True)) for k, share in held.items() if (v := real(share)) is not None)


def _forgotten(held: Any) -> str:
    found = {k: real(_mapping(held).get(k)) for k in ("kept", "neighbours", "n", "cka")}
    kept, near = found["kept"], found["neighbours"]
    if kept is None or near is None:
        return ""
    cka = "" if found["cka"] is None else f"; linear CKA {found['cka']:.3f} (1 = alike)"
    cka += f"; n\u00a0=\u00a0{found['n'] or 0:,.0f}"
    return (
        f"{100 * (1 - kept):.0f} % of what the pretrained embedding told apart cannot be read from the new one any more; "
        f"{100 * near:.0f} % of the 10 nearest items are the same{cka}. The pretrained encoder is kept."
    )


def _folds(held: Any) -> Table:
    """A header and one line a fold; empty without folds."""
    rows = [r for r in (held if isinstance(held, (list, tuple)) else ()) if isinstance(r, Mapping)]
    names = list(dict.fromkeys(k for r in rows for k in r if k != "n" and real(r[k]) is not None))
    if not rows or not names:
        return ()

    def said(name: str, value: Any) -> str:
        return "n/a" if (v := real(value)) is None else score(v, name in PERCENT)

    lines = [(str(i + 1), words(r.get("n")), *(said(k, r.get(k)) for k in names)) for i, r in enumerate(rows)]
    means = [known for k in names if (known := [v for r in rows if (v := real(r.get(k))) is not None])]
    mean = ("mean", "", *(score(sum(v) / len(v), k in PERCENT) for k, v in zip(names, means, strict=True)))
    return (("fold", "items", *(called(k) for k in names)), *lines, mean)


def command(held: Mapping[str, Any], run: str) -> str:
    """The command that makes this model again."""
    if isinstance(held.get("command"), str) and held["command"]:
        return words(held["command"], 2000)
    read, options = _mapping(held.get("read")), _mapping(_mapping(held.get("read")).get("options"))
    parts = ["tacit", "finetune", run, words(read.get("data")) or "DATA", "--strategy", words(held.get("strategy"))]
    parts += [w for k in ("target", "group", "split") if (v := words(held.get(k) or options.get(k))) for w in (f"--{k}", v)]
    parts += ["--head", words(held["head_kind"])] if held.get("head_kind") else []
    for key, plain in (("alpha", 0.1), ("seed", 0)):
        if (given := real(held.get(key))) is not None and given != plain:
            parts += [f"--{key}", f"{given:g}"]
    folds, outside, sure = held.get("folds"), _mapping(_mapping(held.get("ood")).get("outside")), somewhere(held.get("training"), "sure")
    parts += ["--folds", str(len(folds))] if isinstance(folds, list) and len(folds) not in (0, FOLDS) else []
    parts += ["--outside", words(outside.get("data"))] if outside else []
    parts += ["--pseudo", words(sure)] if sure else []
    config, usual = _mapping(held.get("config")), asdict(FinetuneConfig())
    parts += [f"finetune.{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in config.items() if usual.get(k) != v]
    return shlex.join(parts)
