"""`tacit report RUN`: one HTML file that opens anywhere without a network, and its machine-readable twin."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2

from tacit.errors import Asked, BadData, TacitError
from tacit.report import audits, charts, costing, deciders, scores, why
from tacit.report import map as maps
from tacit.report.costing import duration
from tacit.report.read import LISTED, Folder, chosen, files_of, parts_of, read_folder, real, sayings, somewhere, words

LIMIT = 2_000_000
MODELS = 12  # fine-tuned models that are shown in full
KINDS = 16  # 8 colours, each round and square
NOT_CHECKED = (
    ("Fairness", "whether groups of people are served equally well"),
    ("Privacy", "whether the model gives away what it was trained on"),
    ("Calibration", "whether a confidence of 90 % is right nine times in ten"),
    ("Robustness", "how the numbers change with noise, another camera or another year"),
    ("Explanations", "which part of an item the embedding looks at"),
)
HEALTH = {"healthy": ("helped", "●"), "warning": ("unclear", "▲"), "collapsed": ("not", "■"), "diverged": ("not", "■")}


@dataclass(frozen=True)
class Fit:
    """How much is embedded: short side of the map's pictures, how many of them, long side of a neighbour's, characters of a name."""

    small: int
    most: int
    large: int
    name: int


FITS = (
    *(Fit(56, 1000, 128, 120), Fit(48, 1000, 112, 120), Fit(40, 1000, 96, 100), Fit(32, 1000, 96, 80), Fit(24, 1000, 80, 60)),
    *(Fit(24, 500, 64, 60), Fit(20, 250, 48, 48), Fit(0, 0, 32, 32), Fit(0, 0, 0, 24)),
)


def build(run: Path) -> Path:
    """Write RUN/report.html (at most 2 MB, no network needed) and RUN/report.json; returns the path of the HTML file.

    run: a run folder; whatever is absent in it is shown as not measured, with the command that measures it.
    Raises Asked when the folder is no run, BadData when its embeddings are not usable.
    """
    run = Path(run)
    if not (run / "run.json").is_file():
        raise Asked(f"{run} is not a run folder: it has no run.json", "give the folder that `tacit pretrain` printed")
    folder = read_folder(run)
    try:
        items = maps.read_items(run / "embeddings" / "report.npz")
    except (ValueError, OSError) as error:
        raise BadData(f"embeddings/report.npz cannot be used: {error}", f"write it again: tacit evaluate {run} DATA") from None
    most = _most_labels(folder.data)
    shown = [scores.show(name, held, most) for name, held in _newest_first(folder.evaluations)]
    flat = maps.flatten(items.z) if items else None
    agreed = maps.agreement(items) if items else None
    near = maps.neighbours(items) if items else []
    files = files_of(run)
    page = _page(folder, shown, items, flat, agreed, files)
    for fit in FITS:
        page |= _pictured(items, flat, near, fit)
        html = _template().render(page).encode("utf-8", "replace")
        if len(html) <= LIMIT:
            break
    else:
        raise BadData(f"the report of {run} does not fit into {LIMIT:,} bytes", "its results, notes or configuration are unusually long")
    twin = {
        "tacit": folder.run.get("tacit"),
        "run": folder.run.get("id"),
        "created": folder.run.get("created"),
        "method": page["method"],
        "backbone": page["backbone"],
        "data": {k: folder.data.get(k) for k in ("path", "modality", "fingerprint")} | parts_of(folder.data),
        "labels_seen": folder.run.get("labels_seen"),
        "verdict": {**asdict(page["verdict"]), "raw": next((h.get("verdict") for _, h in _newest_first(folder.evaluations)), None)},
        "evaluations": {name: held.get("results") for name, held in folder.evaluations.items()},
        "deciders": folder.finetuned,
        "audit": None if page["audit"] is None else page["audit"].file,
        "explanations": [{"item": w.item, "explains": w.said, "how": w.how, "state": w.state[2:]} for w in page["why"]],
        "cost": folder.run.get("cost"),
        "health": folder.run.get("health"),
        "map": None if flat is None else flat.measured(),
        "neighbours": None if agreed is None else asdict(agreed),
        "not_measured": page["missing"],
        "not_checked": [name for name, _ in page["not_checked"]],
        "problems": folder.problems,
        "files": [asdict(f) for f in files],
        "html_bytes": len(html),
    }
    _write(run / "report.json", (json.dumps(_plain(twin), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace"))
    return _write(run / "report.html", html)


def _options(folder: Folder) -> list[str]:
    """How the newest evaluation was asked for, as options of the command line."""
    newest = next((held for _, held in _newest_first(folder.evaluations)), {})
    read = newest.get("read") if isinstance(newest.get("read"), dict) else {}
    asked = read.get("options") if isinstance(read, dict) and isinstance(read.get("options"), dict) else {}
    known = [(k, words(v)) for k, v in (asked or {}).items() if k in ("target", "group", "split", "test") and v]
    return [word for k, v in known for word in (f"--{k}", shlex.quote(v))]


def _page(
    folder: Folder,
    shown: Sequence[scores.Evaluation],
    items: maps.Items | None,
    flat: maps.Flat | None,
    agreed: maps.Agreement | None,
    files: Sequence[Any],
) -> dict[str, Any]:
    run, data = folder.run, folder.data
    path = words(data.get("path")) or "DATA"
    evaluate = " ".join(["tacit evaluate", shlex.quote(str(folder.path)), shlex.quote(path) if path != "DATA" else path, *_options(folder)])
    missing = [] if shown else [{"what": "Whether it was worth it: labels were not used to test it yet", "command": evaluate}]
    if items is None:
        missing.append({"what": "The map and the nearest neighbours: no test items were embedded yet", "command": evaluate})
    cards = list(shown[0].cards) if shown else []
    if agreed and len(cards) < 4:
        interval = scores.between(agreed.low, agreed.high, True)
        note = f"nearest neighbour has the same label, n = {agreed.n:,}; guessing: {100 * agreed.chance:.1f} %"
        cards.append(scores.Card("Neighbours agree", charts.number(agreed.value, True), interval, note))
    method, backbone = _name_of(folder, "method"), _name_of(folder, "backbone")
    made = _newest_first(folder.finetuned)
    models = [deciders.show(name, held, str(folder.path)) for name, held in made[:MODELS]]
    checked = {"Calibration"} if any(m.calibrated for m in models) else set()
    reasons = why.show(folder.path)
    checked |= {"Explanations"} if reasons else set()
    audit = audits.newest(folder.path)
    checked |= set(audit.checked) if audit else set()
    command = run.get("command")
    command = shlex.join(words(part, 500) for part in command) if isinstance(command, list) else words(command, 2000)
    given = run.get("health")
    health: dict[str, Any] = given if isinstance(given, dict) else {}
    state = words(health.get("state")) or "not recorded"
    said = {k: words(health.get(k), 800) for k in ("words", "cause", "cure")}
    return {
        "run": run,
        "title": f"{method} on {Path(path).name or path}",
        "id": words(run.get("id")) or folder.path.name,
        "method": method,
        "backbone": backbone,
        "verdict": shown[0].verdict if shown else scores.show("", {}, None).verdict,
        "cards": cards,
        "evaluations": shown,
        "evaluate": evaluate,
        "missing": missing,
        "facts": _facts(folder, method, backbone),
        "ignores": words(somewhere(folder.model, "ignores"), 800),
        "plan": [tuple(words(p.get(k)) for k in ("name", "value", "reason")) for p in run.get("plan") or [] if isinstance(p, dict)],
        "classes": _classes(data.get("classes")),
        "class_names": sayings(data.get("classes"), 40) if all(isinstance(c, str) for c in data.get("classes") or [0]) else [],
        "warnings": [(label, lines) for label, key in _WARNINGS if (lines := sayings(next((data[k] for k in key if data.get(k)), None)))],
        "config": [(k, words(v)) for k, v in _leaves(folder.config)][:200],
        "health": {"state": state, "look": HEALTH.get(state, ("unmeasured", "○")), **said},
        "curves": _curves(folder.metrics),
        "flat": flat,
        "items": items,
        "agreed": agreed,
        "not_checked": [(name, what) for name, what in NOT_CHECKED if name not in checked],
        "audit": audit,
        "audit_command": f"tacit audit {shlex.quote(str(folder.path))} {shlex.quote(path) if path != 'DATA' else path} --groups COLUMN",
        "why": reasons,
        "explain": f"tacit explain {shlex.quote(str(folder.path))} {shlex.quote(path) if path != 'DATA' else path} --item 0",
        "deciders": models,
        "deciders_left": [words(name, 60) for name, _ in made[MODELS:]],
        "finetune": f"tacit finetune {shlex.quote(str(folder.path))} {shlex.quote(path) if path != 'DATA' else path}",
        "cost": costing.show(run.get("cost"), {"parameters": run.get("parameters"), "seconds": run.get("seconds")}),
        "cost_known": isinstance(run.get("cost"), dict),
        "problems": folder.problems + ([f"{items.dropped} embeddings had values that are not finite"] if items and items.dropped else []),
        "commands": [command, evaluate, f"tacit report {shlex.quote(str(folder.path))}"],
        "files": files[:LISTED],
        "files_left": max(0, len(files) - LISTED),
    }


_WARNINGS = (
    ("Files that could not be read", ("bad_files", "bad", "skipped")),
    ("Duplicates", ("duplicates",)),
    ("Leaks between training and test", ("leaks",)),
    ("Notes", ("notes",)),
)


def _facts(folder: Folder, method: str, backbone: str) -> list[tuple[str, str, str]]:
    """(name, value, reason) of what a reader asks first; what is unknown is left out."""
    run, data = folder.run, folder.data
    parts = parts_of(data)
    sides = (("n_train", "training"), ("n_val", "validation"), ("n_test", "test"))
    items = ", ".join(f"{parts[k]:,.0f} {label}" for k, label in sides if parts[k])
    counts = words(data.get("counts")) or (f"{words(data['items'])} in all" if real(data.get("items")) else "")
    steps = [words(run.get("steps")) and f"{words(run.get('steps'))} steps", duration(real(run.get("seconds")))]
    speed = real(run.get("items_per_s"))
    seen = run.get("labels_seen")
    parameters = real(run.get("parameters"))
    found = [
        ("Data", words(data.get("path")), ""),
        ("Modality", words(data.get("modality")), words(data.get("why"))),
        ("Items", items or counts, counts if items else ""),
        ("Sizes", words(parts["sizes"]), ""),
        ("Split", words(parts["rule"]), ""),
        ("Labels", "" if seen is None else "read during pretraining" if seen else "not read during pretraining", ""),
        ("Method", method, ""),
        ("Backbone", backbone, f"{parameters / 1e6:.2f} million parameters" if parameters else ""),
        ("Training", ", ".join(s for s in steps if s), f"{speed:,.0f} items a second" if speed else ""),
        ("Device", *chosen(run.get("device"))),
        ("Precision", *chosen(run.get("precision"))),
        ("Seed", words(run.get("seed")), ""),
    ]
    return [(name, value, reason) for name, value, reason in found if value]


def _curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """SVG drawings of the training: loss (wide and narrow), spread, rank, learning rate."""

    def series(key: str) -> list[tuple[float, float]]:
        return thin([(real(m.get("step")) or 0.0, y if (y := real(m.get(key))) is not None else float("nan")) for m in metrics if key in m])

    guess = next((c for m in reversed(metrics) if (c := real(m.get("chance"))) is not None), None)
    level = None if guess is None else (guess, f"guessing: {charts.number(guess)}")
    drawn = {
        name: charts.curve(series("loss"), width=width, height=height, title="Loss", level=level)
        for name, width, height in (("loss_wide", 860, 260), ("loss_narrow", 360, 240))
    }
    for key, title in (("spread", "Spread"), ("rank", "Effective rank"), ("lr", "Learning rate")):
        drawn[key] = charts.curve(series(key), width=280, height=190, title=title, zero=True)
    return drawn


def thin(points: Sequence[tuple[float, float]], most: int = 300) -> list[tuple[float, float]]:
    """At most `most` points: the means of equal runs, so that a noisy curve stays true to its level."""
    size = -(-len(points) // most)
    if size <= 1:
        return list(points)
    runs = (points[i : i + size] for i in range(0, len(points), size))
    return [(run[-1][0], sum(y for _, y in run) / len(run)) for run in runs]


def _pictured(items: maps.Items | None, flat: maps.Flat | None, near: Sequence[Any], fit: Fit) -> dict[str, Any]:
    """The parts of the page that hold pictures and names, at one setting of the ladder."""
    if items is None:
        return {"dots": "", "legend": [], "sheet": None, "points": None, "near": []}
    names = [words(name, fit.name) for name in items.names]
    order = [int(c) for c in sorted(set(items.labels.tolist()), key=lambda c: -int((items.labels == c).sum())) if c >= 0]
    told = sorted(order[:KINDS] if len(order) <= KINDS else order[: KINDS - 1])
    kind_of = {c: k for k, c in enumerate(told)}
    kinds = [kind_of.get(int(c), -1) if order else 0 for c in items.labels]
    legend = [(k, words(items.classes[c], 60), int((items.labels == c).sum())) for c, k in kind_of.items()]
    rest = sum(k < 0 for k in kinds)
    legend += [(-1, "unlabelled" if len(order) == len(told) else f"{len(order) - len(told)} other classes", rest)] if rest else []
    stride = max(1, -(-len(names) // fit.most)) if fit.most else 1
    held = items.pictures[::stride] if fit.most else ()
    grid = maps.sheet(held, fit.small) if held and flat is not None else None
    dots = "" if flat is None else charts.dots(flat.xy.tolist(), kinds, width=1000, height=660, label=f"Map of {len(names)} test items")
    points = {
        "names": names,
        "labels": items.labels.tolist() if order else None,
        "classes": [words(c, 60) for c in items.classes] if order else [],
        "stride": stride,
        "cell": [grid.width, grid.height, grid.columns, grid.rows] if grid else None,
    }

    def told_item(row: int) -> dict[str, Any]:
        picture = maps.thumbnail(items.pictures[row], fit.large) if fit.large else None
        label = words(items.classes[items.labels[row]], 60) if items.labels[row] >= 0 else ""
        return {"name": names[row], "label": label, "picture": picture}

    shown = [(told_item(row), [(told_item(n.row), f"{n.cosine:.2f}", n.same) for n in others]) for row, others in near]
    return {"dots": dots, "legend": legend, "sheet": grid, "points": points, "near": shown}


def _name_of(folder: Folder, part: str) -> str:
    held = (
        folder.config.get(part)
        or somewhere(folder.model, part)
        or next((p.get("value") for p in folder.run.get("plan") or [] if isinstance(p, dict) and p.get("name") == part), None)
    )
    return words(held.get("name") if isinstance(held, dict) else held) or f"unknown {part}"


def _newest_first(evaluations: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(sorted(evaluations.items()), key=lambda pair: str(pair[1].get("created", "")), reverse=True)


def _most_labels(data: Mapping[str, Any]) -> float | None:
    """Training items a class, what 'all labels' means on average; None where the data does not say."""
    n, classes = parts_of(data)["n_train"], data.get("classes")
    return n / len(classes) if n and isinstance(classes, (dict, list)) and len(classes) > 1 else None


def _classes(held: Any) -> list[tuple[str, int, float]]:
    """(name, count, share of the largest) of the largest 20 classes."""
    if isinstance(held, list):
        held = {str(c.get("name")): c.get("count") for c in held if isinstance(c, dict)}
    counted = {words(k, 80): int(n) for k, v in (held or {}).items() if (n := real(v)) is not None} if isinstance(held, dict) else {}
    top = max(counted.values(), default=1) or 1
    largest = sorted(counted.items(), key=lambda pair: -pair[1])
    shown = [(name, count, count / top) for name, count in largest[:20]]
    left = largest[20:]
    return [*shown, (f"{len(left)} more classes", sum(c for _, c in left), 0.0)] if left else shown


def _leaves(held: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in held.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


def _size(count: int) -> str:
    return f"{count:,} B" if count < 1000 else f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"


def _plain(held: Any) -> Any:
    """The same with numbers that JSON cannot hold as null."""
    if isinstance(held, float):
        return real(held)
    if isinstance(held, dict):
        return {str(k): _plain(v) for k, v in held.items()}
    return [_plain(v) for v in held] if isinstance(held, (list, tuple)) else held


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"size": _size, "said": words}
    return environment.get_template("template.html")


def _write(path: Path, content: bytes) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        words_for = f"{path} cannot be written: {error.strerror or error}"
        raise TacitError(words_for, "free some space, or make the run folder writable") from error
    return path
