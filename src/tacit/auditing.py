"""`audit`: what is wrong with data, shortcuts, fairness and privacy, worst first; and a gate that can say no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import tacit
from tacit import asking, judged
from tacit.api import Say, digest, opened
from tacit.auditors import against as older
from tacit.auditors import attributes, engine, policy, repair, trail
from tacit.auditors.attributes import Attribute
from tacit.auditors.case import SECTIONS, Case
from tacit.auditors.finding import SEVERITIES, Finding
from tacit.auditors.rates import Decisions
from tacit.data import beside, keep, listed
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked, BadData
from tacit.evaluation.readers import standardise
from tacit.report import audited as page
from tacit.runtime import commit
from tacit.subject import Subject
from tacit.training.run import Run, finite, fresh_path, write_json

ELSEWHERE = ("fairness",)  # what is looked at when decisions come without a run
MOST = 20_000  # items that mitigations learn from


@dataclass(frozen=True)
class Audit:
    """findings: worst first. result: plain JSON, as it was written to `path`. failed: objectives that were not met, in words."""

    findings: list[Finding]
    result: dict[str, Any] = field(repr=False)
    path: Path | None = None
    failed: tuple[str, ...] = ()
    drop: tuple[int, ...] = field(default=(), repr=False)

    @property
    def worst(self) -> str:
        """The severity of the worst finding: high, medium, low or fine."""
        return min((f.severity for f in self.findings), key=SEVERITIES.index, default="fine")

    def fails(self, severity: str | None) -> bool:
        """Whether an objective failed, or a finding is as bad as `severity` (None = only objectives count)."""
        bad = severity is not None and SEVERITIES.index(self.worst) <= SEVERITIES.index(severity)
        return bool(self.failed) or bad


def audit(
    run: Any,
    data: Any,
    *,
    groups: str | Sequence[str] | Mapping[str, Sequence[Any]] = (),
    target: str | None = None,
    predictions: Any = None,
    positive: str | None = None,
    policy_file: str | Path | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    attributes_file: str | Path | None = None,
    embeddings: str | Path | None = None,
    mitigate: str | None = None,
    against: str | Path | None = None,
    write_keep: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    command: str = "",
    say: Say | None = None,
) -> Audit:
    """Look for what is wrong, and say what it means and what to do.

    run: a run, a fine-tuned or exported model, an open model, or None for data alone. data: a path, an array or open data. groups: columns
    with attributes ("sex,age:25/45"), or name -> a value for each item. target: column with the label. predictions: decisions made
    elsewhere: a column, a rule ("score>=5"), a file with ids, or one for each item. positive: class that is the positive decision.
    policy_file: objectives that are demanded. only, skip: names of checks or of sections (data, shortcuts, fairness, representation,
    privacy). settings: check -> hyperparameters. attributes_file: a table with ids that has the columns of `groups`. embeddings: file
    written by `tacit embed`, in place of a run. mitigate: mitigations to try, "all" or names with commas. against: an earlier audit to
    compare with. write_keep: where to write the cleaned list of items. out: folder, None = that of the run, or runs/<date>_audit_<data>.
    options: for opening the data. command: how to ask again. Raises Asked for what cannot be meant, BadData.
    """
    say = say or (lambda words: None)
    demanded = None if policy_file is None else policy.read(policy_file)
    before = None if against is None else older.load(against)
    if run is not None and embeddings is not None:
        raise Asked("--embeddings stands in the place of a RUN", "leave one of them out")
    options = {k: v for k, v in {"target": target, **(options or {})}.items() if v is not None}
    subject = None if run is None else Subject.open(run)
    items: Dataset = opened(data, say=say, **options) if subject is None else subject.items(data, options, say)
    items = keep.only(items)
    chosen = _chosen(only, skip, subject is None and predictions is not None, demanded, settings)
    case = Case(items, attributes_of(items, groups, attributes_file), seed=seed, say=say)
    if demanded is not None:
        policy.known(demanded, case.attributes)
    if mitigate and mitigate != "all":
        repair.named(tuple(w.strip() for w in mitigate.split(",") if w.strip()))
    notes = [n for a in case.attributes for n in a.notes]
    _look(case, subject, predictions, positive, embeddings, chosen, notes)
    found = engine.audit(case, chosen, settings or {}, command)
    place = _place(subject, items, out)
    epsilon = _epsilon(subject)
    result: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tacit": tacit.__version__,
        "commit": commit(),
        "command": command,
        "run": None if subject is None or subject.path is None else str(subject.path),
        "model": _digest(subject),
        "data": items.path,
        "fingerprint": items.fingerprint,
        "modality": items.modality,
        "items": len(items),
        "split": items.split_rule,
        "seed": seed,
        "about": _about(items),
        "groups": [{"name": a.name, "sizes": dict(zip(a.values, a.sizes().tolist(), strict=True))} for a in case.attributes],
        "decisions": _decisions(case.decisions),
        "epsilon": epsilon,
        "notes": notes,
    }
    failed: list[str] = []
    if demanded is not None:
        objectives, impossible = policy.judge(demanded, case, found, None if epsilon is None else epsilon["epsilon"])
        failed = [f"{j.said} ({j.state})" for j in objectives if j.state != "met"]
        notes += impossible
        result["policy"] = {k: getattr(demanded, k) for k in ("path", "purpose", "decided_by", "decided_on", "reviewer")} | {
            "objectives": [j.plain() for j in objectives],
            "met": not failed,
        }
    if mitigate:
        result["mitigations"] = _mitigated(case, mitigate, notes)
    result["findings"] = [f.plain() for f in found.findings]
    result["unchecked"] = [{"check": name, "why": why} for name, why in (*found.unchecked, *_left(chosen))]
    result["seconds"] = found.seconds
    drop = tuple(sorted({r for f in found.findings for r in f.drop}))
    result["drop"] = len(drop)
    if before is not None:
        result["against"] = {"file": before["file"], "rows": older.compare(before, result)}
    if write_keep is not None:
        rows = np.setdiff1d(np.arange(len(items)), drop)
        result["keep"] = {"file": str(keep.write(items.names, rows, write_keep)), "kept": len(rows), "left_out": len(drop)}
    result = finite(result)
    path = _write(place, result, failed, say)
    return Audit(found.findings, result, path, tuple(failed), drop)


def _chosen(only: Sequence[str], skip: Sequence[str], elsewhere: bool, demanded: policy.Policy | None, settings: Any) -> list[str]:
    """Names of the checks, those that a policy needs among them. Raises Asked for a setting of a check that is not made."""
    chosen = engine.chosen(only, skip, ELSEWHERE if elsewhere else SECTIONS)
    if demanded is not None:
        chosen += [c for c in demanded.checks if c not in chosen]
    for name in settings or {}:
        if name not in chosen:
            raise Asked(f"{name} is given settings, and is not looked at", f"--only {name}")
    return chosen


def attributes_of(items: Dataset, groups: Any, file: str | Path | None) -> tuple[Attribute, ...]:
    """What was named as groups. Raises Asked for a column that is not there, or makes no groups."""
    if isinstance(groups, Mapping):
        out = []
        for name, cells in groups.items():
            if len(cells) != len(items):
                raise Asked(
                    f"{len(cells):,} values of {name!r} for {len(items):,} items", "give one for each item, in the order of the data"
                )
            out.append(attributes.attribute(str(name), list(cells)))
        return tuple(out)
    wanted = attributes.asked(groups if isinstance(groups, str) else ",".join(groups))
    found = []
    for name, cuts in wanted:
        cells = beside.column(items, Path(file), name) if file is not None else listed.cells(items, name)
        found.append(attributes.attribute(name, cells, cuts))
    if file is not None and not wanted:
        raise Asked("--attributes names a table, and no --groups says which of its columns", "--groups sex,race")
    return tuple(found)


def _look(
    case: Case, subject: Subject | None, predictions: Any, positive: str | None, embeddings: Any, chosen: Sequence[str], notes: list[str]
) -> None:
    """Embeddings, decisions and what can be asked, as far as the checks need them; what cannot be had is left out with a note."""
    items, say = case.data, case.say
    if embeddings is not None:
        case.vectors = _embedded(items, Path(embeddings))
    if subject is not None:
        say(f"embedding {len(items):,} items\r")
        case.vectors = np.asarray(subject.net.vectors(items.x, items.lengths), np.float32)
        case.learned, case.unseen = learned(subject, items)
        if isinstance(subject.net, Model):
            case.asks = asks(subject, subject.net, items, case.seed, chosen, notes)
    again = None
    try:
        if predictions is not None:
            case.decisions = judged.of_column(items, predictions, positive, say)
        elif subject is not None and subject.decides:
            case.decisions, again = judged.of_model(subject, items, positive, say)
        elif case.vectors is not None and items.labels is not None:
            embed = subject.net.vectors if subject is not None else _nobody
            case.decisions, again = judged.of_reading(case.vectors, embed, items, positive, say, case.seed)
    except BadData as error:
        if predictions is not None:
            raise
        notes.append(f"no decisions are looked at: {error.message}")
    if again is not None and subject is not None:
        case.asks = {**case.asks, "again": again}


def _nobody(x: Any, lengths: Any) -> np.ndarray:
    raise Asked("only embeddings were given: nothing can be embedded anew", "give the RUN")


def asks(subject: Subject, net: Model, items: Dataset, seed: int, chosen: Sequence[str], notes: list[str]) -> dict[str, Any]:
    """What the network of a run, and the same with random weights, can be asked; the latter only where a check needs it. notes: gets why
    something had no answer."""

    def note(words: str) -> None:
        if words not in notes:
            notes.append(words)

    out: dict[str, Any] = dict(asking.asks(net, items, seed))
    task = subject.path is not None and (subject.path / "config.toml").is_file() and bool((subject.path / "checkpoints").exists())
    if task and subject.path is not None:
        out["losses"] = asking.losses(subject.path, net, items, seed, note)
    fresh = subject.fresh(items) if "membership" in chosen else None
    if fresh is not None:
        made: list[Model] = []

        def control(name: str, *given: Any) -> Any:
            if not made:
                made.append(fresh(seed).eval())
            found = asking.asks(made[0], items, seed).get(name)
            return None if found is None else found(*given)

        out["control views"] = lambda rows, draws: control("views", rows, draws)
        out["control parts"] = lambda rows, draws: control("parts", rows, draws)
        if "losses" in out and subject.path is not None:
            out["control losses"] = asking.losses(subject.path, net, items, seed, note, fresh=True)
    return out


def learned(subject: Subject, items: Dataset) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(rows that the encoder learned from, rows that it never saw), None = nobody knows."""
    path = subject.path
    for place in () if path is None else (path, path.parent.parent):  # a fine-tuned model lies in RUN/finetune
        file = place / "seen.npy"
        if file.is_file():
            seen = np.isin(items.hashes, np.load(file, allow_pickle=False))
            return np.flatnonzero(seen), np.flatnonzero(~seen)
    return None, None


def _embedded(items: Dataset, file: Path) -> np.ndarray:
    """Embeddings from a file that `tacit embed` wrote, in the order of the data. Raises Asked where they are of other items."""
    if not file.is_file():
        raise Asked(f"there is no file {str(file)!r}", "write one: tacit embed RUN DATA --out embeddings.parquet")
    if file.suffix == ".npy":
        try:
            z = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise Asked(f"{file} is no array of embeddings: {error}", "tacit embed RUN DATA --out embeddings.npy") from None
        if z.ndim != 2 or len(z) != len(items):
            raise Asked(f"{file} holds an array of shape {z.shape} for {len(items):,} items", "embed the same data again")
        return _finite(z, file)
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        ids, vectors = table["id"].to_pylist(), table["vector"].to_pylist()
    except (OSError, KeyError, ValueError) as error:
        raise Asked(f"{file} is no file of embeddings: {error}", "tacit embed RUN DATA --out embeddings.parquet") from None
    where = {str(name): k for k, name in enumerate(ids)}
    if lost := [str(n) for n in items.names if str(n) not in where]:
        said = f"{file} has no embedding of {len(lost):,} of {len(items):,} items, such as {lost[0]}"
        raise Asked(said, "these are embeddings of other data")
    widths = {len(v) for v in vectors}
    if len(widths) != 1:
        raise Asked(f"{file} holds vectors of different widths: {sorted(widths)[:3]}", "they come from different models")
    return _finite(np.array([vectors[where[str(n)]] for n in items.names]), file)


def _finite(z: np.ndarray, file: Path) -> np.ndarray:
    if not np.isfinite(z).all():
        raise BadData(f"{file} holds values that are not finite", "the model that wrote it has diverged")
    return z.astype(np.float32)


def _mitigated(case: Case, asked: str, notes: list[str]) -> list[dict[str, Any]]:
    """Mitigations for each attribute: learned from the training items' labels on the embedding, tested on the held-out ones."""
    data = case.data
    if case.vectors is None or data.labels is None:
        raise Asked("--mitigate learns a decision on embeddings: it needs a RUN and labels", "tacit audit RUN DATA --target y --groups sex")
    if not data.classes:
        raise Asked("--mitigate is for classes, and the label is a number", "of numbers only erasure helps: tacit erase")
    if not case.attributes:
        raise Asked("--mitigate needs groups to treat alike", "--groups sex")
    names = () if asked == "all" else tuple(w.strip() for w in asked.split(",") if w.strip())
    at = case.decisions.positive if case.decisions is not None and len(case.decisions.classes) == len(data.classes) else -1
    out = []
    for a in case.attributes:
        known = (data.labels >= 0) & (a.codes >= 0)
        fit, held = (r[known[r]] for r in (data.train, data.test))
        fit = case.some(fit, MOST)
        if len(fit) < 2 * attributes.FEWEST or len(np.unique(data.labels[fit])) < 2 or not len(held):
            notes.append(f"mitigations for {a.name}: {len(fit)} labelled training items and {len(held)} held-out ones are too few")
            continue
        z, zt = standardise(case.vectors[fit], case.vectors[held])
        y, classes = data.labels[fit], len(data.classes)
        c = repair.strength_of(z, y, classes, case.seed)
        problem = repair.Problem(z.astype(np.float64), y, a.codes[fit], classes, len(a.values), case.seed, c)
        try:
            found, left = repair.compare(
                problem, zt.astype(np.float64), data.labels[held], a.codes[held], a, data.classes, at, names, case.say
            )
        except BadData as error:
            notes.append(f"mitigations for {a.name}: {error.message}")
            continue
        out.append({"attribute": a.name, "outcomes": [o.plain() for o in found], "left": [{"name": n, "why": w} for n, w in left]})
    return out


def _left(chosen: Sequence[str]) -> list[tuple[str, str]]:
    """Checks that were not asked for: what an audit did not look at belongs to what it says."""
    from tacit import registry

    every = registry.names("checks")
    slow = {n for n in every if registry.find("checks", n).slow}
    return [(n, "slow: ask for it with --only " + n if n in slow else "not asked for") for n in every if n not in chosen]


def _about(items: Dataset) -> dict[str, Any]:
    """What a datasheet says of the data itself."""
    y = items.labels
    classes = {} if y is None or not items.classes else {c: int((y == i).sum()) for i, c in enumerate(items.classes)}
    return {"classes": classes, "unreadable": len(items.bad), "notes": list(items.notes)}


def _decisions(d: Decisions | None) -> dict[str, Any] | None:
    if d is None:
        return None
    wrong = d.wrong
    own: dict[str, Any] = {
        "who": d.who,
        "n": len(d.rows),
        "classes": list(d.classes),
        "positive": d.classes[d.positive] if d.positive >= 0 else None,
    }
    if not d.classes:
        return own | {"mae": float(wrong.mean())}
    out = own | {"accuracy": float(1 - wrong.mean())}
    if d.positive >= 0:
        yes, said = d.truth == d.positive, d.made == d.positive
        out |= {"fpr": _mean(said[~yes]), "fnr": _mean(~said[yes]), "precision": _mean(yes[said]), "selection_rate": float(said.mean())}
        out |= {"counts": {"tn": int((~yes & ~said).sum()), "fp": int((~yes & said).sum()), "fn": int((yes & ~said).sum())}}
        out["counts"]["tp"] = int((yes & said).sum())
    return out


def _mean(v: np.ndarray) -> float | None:
    return float(v.mean()) if len(v) else None


def _epsilon(subject: Subject | None) -> dict[str, Any] | None:
    """What the run says of its privacy: of the run itself alone, because what is learned on top of it is not covered."""
    place = None if subject is None or subject.decides else subject.path
    if place is None or not (place / "run.json").is_file():
        return None
    found = Run(place).info().get("private")
    return found if isinstance(found, dict) and isinstance(found.get("epsilon"), (int, float)) else None


def _digest(subject: Subject | None) -> str | None:
    if subject is None or subject.path is None:
        return None
    if subject.held is not None:
        return str(subject.held.about["hash"])
    return digest(subject.path) if (subject.path / "model" / "model.safetensors").is_file() else None


def _place(subject: Subject | None, items: Dataset, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    if subject is not None and subject.path is not None:
        return subject.path
    return fresh_path(Path("runs"), "audit", items.path)


def _write(place: Path, result: dict[str, Any], failed: Sequence[str], say: Say) -> Path:
    """The result, its page, the cards, and a line in the trail."""
    folder = place / "audit"
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path, n = folder / f"{stamp}.json", 1
    while path.exists():
        n += 1
        path = folder / f"{stamp}-{n}.json"
    if (line := trail.broken(folder / "log.jsonl")) is not None:
        say(f"note: the audit trail in {folder / 'log.jsonl'} was changed: line {line} does not fit to the one before it")
        result["trail_broken"] = line
    write_json(path, result)
    files = page.write(place, result)
    worst = [f"{f['severity']}: {f['said']}" for f in result["findings"] if f["severity"] == "high"]
    entry = {
        "command": result["command"], "data": result["fingerprint"], "model": result["model"], "commit": result["commit"],
        "result": path.name, "sha256": page.sha256(path), "high": len(worst), "failed": list(failed),
    }  # fmt: skip
    trail.append(folder / "log.jsonl", entry)
    result["files"] = {k: str(v) for k, v in files.items()} | {"json": str(path), "log": str(folder / "log.jsonl")}
    return path
