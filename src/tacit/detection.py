"""`detect`: what is unusual in some data, and why, by what a run learned of normal data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tacit import sides
from tacit.api import Say, digest
from tacit.data.dataset import Dataset
from tacit.deciding import Predictions
from tacit.detecting.classics import classics
from tacit.detecting.detector import CHUNK, FORMAT, SCORES, Detector
from tacit.embedding.model import Model, load
from tacit.errors import Asked
from tacit.origin import as_read, training_data
from tacit.outliers import detection
from tacit.runtime import choose_device, commit
from tacit.training.run import finite, write_json

REASONED = 1_000  # flagged items that get their reasons, the strangest first


@dataclass(frozen=True)
class Detected:
    """What was found. found: one row an item: id, score, rate, alarm, the single scores, reason. threshold: of the score.

    result: plain JSON, as it was written to `path`.
    """

    found: Predictions
    threshold: float
    result: dict[str, Any] = field(repr=False)
    path: Path | None = None

    @property
    def alarms(self) -> np.ndarray:
        """bool [n]."""
        return np.asarray(self.found["alarm"])


def detect(
    run: str | Path,
    data: Any,
    *,
    false_alarms: float = 0.01,
    normal: str | None = None,
    train: Any = None,
    reasons: int = 3,
    compare: bool = True,
    steps: int = 0,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Detected:
    """Score every item, flag the strange ones, and say why.

    run: folder of a run. data: a path, an array or open data. false_alarms: share of normal items that may be flagged, between 0 and 1.
    normal: the label of normal items, where the training data has labels: only these are learned from. train: the data to learn from,
    None = that of the run. reasons: at most so many an item. compare: also score with the classics. steps: of the network that fills
    in, 0 = by the number of items. options: for opening paths. Raises Asked for a wrong rate, label or run, BadData with too few items.
    """
    say = say or (lambda words: None)
    (path, net), given = _asked(run, false_alarms), dict(options or {})
    known = training_data(net, path, train, given, say)
    detector = _detector(net, path, known, normal, steps, seed, say)
    items = as_read(net, path, data, given, say)
    threshold = _threshold(detector, false_alarms, say)
    scores = detector.score(items.x, items.lengths)
    alarm = scores["score"] > threshold
    rows = np.argsort(-scores["score"], kind="stable")
    rows = rows[alarm[rows]][:REASONED]
    why = [""] * len(items)
    x = np.asarray(items.x[rows])
    for i, words in zip(rows.tolist(), detector.reasons(x, None if items.lengths is None else items.lengths[rows], reasons), strict=True):
        why[i] = "; ".join(words)
    columns: dict[str, Any] = {"id": list(items.names), "score": scores["score"], "rate": scores["rate"], "alarm": alarm, "reason": why}
    columns |= {name: scores[name] for name in SCORES}
    if compare:
        fitted, here = sides.as_long(known.x[_parts(known, normal)[0]], items.x)  # series may be longer than those before
        spec = replace(known.spec, ragged=known.spec.ragged or items.spec.ragged or known.x.shape[1:] != items.x.shape[1:])
        for name, score in classics(fitted, spec, seed).items():
            say(f"beside it: {name.replace('_', ' ')}")
            columns[name] = np.concatenate([score(np.asarray(here[i : i + CHUNK])) for i in range(0, len(here), CHUNK)])
    result: dict[str, Any] = {
        "run": str(path),
        "data": items.path,
        "fingerprint": items.fingerprint,
        "model": digest(path),
        "commit": commit(),
        "items": len(items),
        "false_alarms": false_alarms,
        "threshold": threshold,
        "alarms": int(alarm.sum()),
        "calibrated": detector.about,
    }
    result["scores"] = _judged(items, columns, normal)
    written = path / "detect" / f"{items.fingerprint[:12]}.json"
    write_json(written, finite(result))
    return Detected(Predictions(columns), threshold, result, written)


def stream(
    run: str | Path,
    lines: Iterable[str],
    *,
    false_alarms: float = 0.01,
    train: Any = None,
    normal: str | None = None,
    steps: int = 0,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Iterator[dict[str, Any]]:
    """One answer a line for a series that goes on: numbers with commas between them, one for each channel.

    The window of the run's length that ends with the line is scored; until it is full the answer says how many lines are lacking. A line
    that is no row of numbers gets an answer with an "error" and changes nothing. Memory holds one window, however long the stream is.
    """
    say = say or (lambda words: None)
    path, net = _asked(run, false_alarms)
    if net.spec.modality != "series":
        raise Asked(f"a stream is a series, and the run in {path} learned from {net.spec.modality} data", "leave --stream out")
    known = training_data(net, path, train, dict(options or {}), say)
    detector = _detector(net, path, known, normal, steps, seed, say)
    return _answers(detector, lines, _threshold(detector, false_alarms, say), net.spec.channels, net.modality.sizes[0])


def _answers(detector: Detector, lines: Iterable[str], threshold: float, channels: int, length: int) -> Iterator[dict[str, Any]]:
    window = np.full((channels, length), np.nan, np.float32)
    seen = 0
    for number, line in enumerate(lines, 1):
        try:
            row = [float(c) if c.strip() and c.strip().lower() not in ("nan", "na", "?") else np.nan for c in line.strip().split(",")]
        except ValueError:
            yield {"line": number, "error": f"no row of numbers: {line.strip()[:60]!r}"}
            continue
        if len(row) != channels:
            yield {"line": number, "error": f"{len(row)} numbers where the series has {channels} channels"}
            continue
        window[:, :-1] = window[:, 1:].copy()
        window[:, -1] = [v if np.isfinite(v) else np.nan for v in row]
        seen += 1
        if seen < length:
            yield {"line": number, "waiting": length - seen}
            continue
        if np.isnan(window).all():
            yield {"line": number, "error": "every value of the window is missing"}
            continue
        scores = detector.score(window[None])
        score = float(scores["score"][0])
        answer: dict[str, Any] = {"line": number, "score": round(score, 4), "rate": float(scores["rate"][0]), "alarm": score > threshold}
        if answer["alarm"]:
            answer["reason"] = "; ".join(detector.reasons(window[None])[0])
        yield answer


def _asked(run: str | Path, false_alarms: float) -> tuple[Path, Model]:
    """The run's folder and model. Raises Asked for a share of false alarms that is none, before anything is learned."""
    if not 0 < false_alarms < 1:
        raise Asked(f"a share of false alarms of {false_alarms} is not possible", "between 0 and 1, such as 0.01")
    return Path(run), load(run, choose_device().value)


def _threshold(detector: Detector, false_alarms: float, say: Say) -> float:
    """The score from which items are flagged."""
    held = int(detector.about["held"])
    if held < 1 / false_alarms:
        say(f"note: {held} held-out normal items cannot tell a rate of {false_alarms:.2%}: there may be {1 / held:.1%} of false alarms")
    return detector.threshold(false_alarms)


def _parts(known: Dataset, normal: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Normal rows to learn from, and to calibrate on: the run's training and held-out parts."""
    rows, held = known.train, known.test
    if not len(held):
        rows, held = rows[np.arange(len(rows)) % 5 > 0], rows[np.arange(len(rows)) % 5 == 0]
    if normal is None:
        return rows, held
    if known.labels is None or normal not in known.classes:
        words = f"its classes: {', '.join(known.classes[:8])}" if known.classes else "it has no classes: name their column with --target"
        raise Asked(f"{known.path} has no label {normal!r}", words)
    good = known.labels == known.classes.index(normal)
    return rows[good[rows]], held[good[held]]


def _detector(net: Model, path: Path, known: Dataset, normal: str | None, steps: int, seed: int, say: Callable[[str], None]) -> Detector:
    """The detector of this run and data: as it was learned before, or learned now and kept."""
    key = hashlib.blake2b(f"{FORMAT} {digest(path)} {known.fingerprint} {normal} {steps} {seed}".encode(), digest_size=6).hexdigest()
    folder = path / "detect" / key
    if (folder / "detector.json").is_file():
        return Detector.load(folder, net)
    rows, held = _parts(known, normal)
    found = Detector.fit(net, known, rows, held, steps=steps, seed=seed, say=say)
    found.save(folder)
    return found


def _judged(items: Dataset, columns: Mapping[str, Any], normal: str | None) -> list[dict[str, Any]]:
    """How well each score tells normal items from others, where the labels say which are normal."""
    if items.labels is None or normal is None:
        return []
    inside = items.labels == (items.classes.index(normal) if normal in items.classes else -2)
    outside = (items.labels >= 0) & ~inside
    if not inside.any() or not outside.any():
        return []
    out = []
    for name in ("score", *(c for c in columns if c not in ("id", "score", "rate", "alarm", "reason"))):
        values = np.asarray(columns[name])
        found = detection(values[inside], values[outside])
        limit = np.quantile(values[inside], 0.99, method="higher")
        row = {"name": name, **{k: found[k] for k in ("auroc", "low", "high", "aupr_out", "n_in", "n_out")}}
        out.append({**row, "recall_at_1": float((values[outside] > limit).mean())})
    return out
