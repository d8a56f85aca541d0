"""What `evaluate` measured, arranged for reading: the verdict, key numbers, label-efficiency curves and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tacit.report.charts import Line, Point, efficiency, score
from tacit.report.read import real, sayings, words

SHARES = {"accuracy", "balanced_accuracy"}
DOWNWARD = ("rmse", "mae", "mse", "error", "nll", "loss", "eer", "wer", "cer", "brier", "ece")
NUMBERED = {"r2", "rmse", "mae", "mse", "spearman", "pearson"}
Row = Mapping[str, Any]
WAY, EPISODES = "finetune:", "episodes:"  # how such probes begin
NAMES = {"ssl": "self-supervised", "untrained": "untrained encoder", "supervised": "supervised from scratch"}
COLOURS = {"ssl": 0, "supervised": 1, "untrained": 6}
SPELLED = {"knn": "nearest neighbours", "linear": "linear probe", "ridge": "ridge regression", "raw": "raw values"}
SPELLED |= {"pca": "PCA", "hog": "HOG", "dtw": "DTW", "minirocket": "MiniRocket"}
SPELLED |= {"boosting": "gradient boosting", "forest": "random forest"}
SPELLED |= {"nll": "negative log-likelihood", "brier": "Brier score", "ece": "calibration error"}
SPELLED |= {"iou": "intersection over union", "f1": "F1"}
SPELLED |= {"r2": "R²", "auroc": "AUROC", "rmse": "RMSE", "mae": "MAE", "mse": "MSE"}
UNCLEAR = {"No clear answer": "No clear answer", "Nothing could": "No verdict", "This run read labels": "No verdict"}
STATES = {True: ("helped", "Helped", "▲"), False: ("not", "Did not help", "▼"), None: ("unclear", "No clear difference", "≈")}


@dataclass(frozen=True)
class Card:
    """One key number: what it is, the value, its interval and what it stands on."""

    label: str
    value: str
    interval: str
    note: str


@dataclass(frozen=True)
class Verdict:
    """state: helped, not, unclear or unmeasured. word, sign: the state for people. saved: sentences on what labels are worth.

    levels: (labels, difference, best other, word, state) for each number of labels.
    """

    state: str
    word: str
    sign: str
    sentence: str
    saved: tuple[str, ...] = ()
    levels: tuple[tuple[str, str, str, str, str], ...] = ()


@dataclass(frozen=True)
class Cell:
    """One table cell: the value, its interval, n and seeds, or n/a with the number of its footnote."""

    value: str
    interval: str = ""
    basis: str = ""
    footnote: int = 0


@dataclass(frozen=True)
class Panel:
    """One probe's curve (drawn wide and narrow) and its table."""

    name: str
    wide: str
    narrow: str
    levels: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    caption: str


@dataclass(frozen=True)
class Evaluation:
    """One file of evaluation/, ready to be shown. episodes: columns and rows of the table of few-shot episodes."""

    name: str
    verdict: Verdict
    panels: tuple[Panel, ...]
    footnotes: tuple[str, ...]
    notes: tuple[str, ...]
    cards: tuple[Card, ...] = ()
    episodes: tuple[tuple[str, ...], tuple[tuple[str, tuple[Cell, ...]], ...]] = ((), ())
    facts: tuple[str, ...] = field(default=())


def called(name: str) -> str:
    """A representation, probe or metric in words."""
    if name.startswith(WAY):
        return f"fine-tuned ({words(name.removeprefix(WAY), 40)})"
    return NAMES.get(name) or SPELLED.get(name) or words(name.replace("_", " "), 60)


def between(low: float | None, high: float | None, percent: bool) -> str:
    """An interval in words, '' where there is none."""
    if low is None or high is None:
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f} %" if percent else f"{score(low)} to {score(high)}"


def level_words(level: Any, per_class: bool = True) -> str:
    """'10 labels a class', 'all labels', '10 labels'."""
    if level == "all":
        return "all labels"
    return f"{words(level)} label{'' if level == 1 else 's'}{' a class' if per_class else ''}"


def better(metric: str) -> int:
    """1 when more is better, -1 when less is."""
    return -1 if any(part in DOWNWARD for part in metric.lower().split("_")) else 1


def show(name: str, held: Mapping[str, Any], most_labels: float | None) -> Evaluation:
    """One evaluation for the report. most_labels: labelled training items a class that 'all' stands for, None = unknown."""
    rows = [r for r in held.get("results", []) if isinstance(r, Mapping) and r.get("representation") and r.get("metric")]
    few_shot = [r for r in rows if str(r.get("probe", "")).startswith(EPISODES)]
    rows = [_way(r) for r in rows if not str(r.get("probe", "")).startswith(EPISODES)]
    measured = any(r["representation"] == "ssl" and real(r.get("value")) is not None for r in rows)
    told = held.get("verdict") if isinstance(held.get("verdict"), Mapping) else {}
    metric = str((told or {}).get("metric") or next((r["metric"] for r in rows), "accuracy"))
    verdict = _verdict(held.get("verdict"), metric, measured)
    levels = [v for v in (told or {}).get("levels") or [] if isinstance(v, Mapping) and v.get("labels_per_class") == "all"]
    fallback = None if metric in NUMBERED else most_labels
    most_labels = next((n for v in levels if (n := real(v.get("count"))) is not None), fallback)
    footnotes: list[str] = []
    panels = []
    metrics = list(dict.fromkeys(str(r["metric"]) for r in rows))
    for wanted in metrics:
        same = [r for r in rows if r["metric"] == wanted]
        for probe in _probes(same):
            panels.append(_panel(same, wanted, len(metrics) > 1, probe, most_labels, footnotes))
    read = held["read"] if isinstance(held.get("read"), Mapping) else {}
    told_of = {**{k: read.get(k) for k in ("data", "fingerprint", "test", "test_fingerprint", "model")}, "created": held.get("created")}
    facts = tuple(f"{k.replace('_', ' ')}: {words(v)}" for k, v in told_of.items() if v)
    cards = tuple(_cards(rows, held.get("verdict"), metric)) if measured else ()
    notes = tuple(sayings(held.get("notes")))
    return Evaluation(words(name), verdict, tuple(panels), tuple(footnotes), notes, cards, _episodes(few_shot), facts)


def _way(row: Row) -> Row:
    """Fine-tuning stands in the curves as a line of its own, beside every probe."""
    return {**row, "representation": row["probe"]} if str(row.get("probe", "")).startswith(WAY) else row


def _episodes(rows: Sequence[Row]) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[Cell, ...]], ...]]:
    """Few-shot episodes as columns and rows, the paired difference to the best other at the end."""
    kinds = list(dict.fromkeys(str(r["probe"]) for r in rows))
    at = {(str(r["representation"]), str(r["probe"])): r for r in rows}

    def cell(row: Row | None) -> Cell:
        value, low, high = (real(row.get(k)) if row else None for k in ("value", "low", "high"))
        return Cell("n/a") if value is None else Cell(score(value, True), between(low, high, True))

    def apart(row: Row | None) -> Cell:
        gap, low, high = (real(row.get(k)) if row else None for k in ("difference", "low_difference", "high_difference"))
        if row is None or gap is None or low is None or high is None:
            return Cell("n/a")
        return Cell(
            f"{signed(gap, True)} points", f"{signed(low, True)} to {signed(high, True)}", f"to {called(str(row.get('best_other')))}"
        )

    table = [(called(name), tuple(cell(at.get((name, k))) for k in kinds)) for name in dict.fromkeys(n for n, _ in at)]
    if any("difference" in r for r in rows):
        told = [next((r for r in rows if r["probe"] == k and "difference" in r), None) for k in kinds]
        table.append(("ours minus the best other", tuple(apart(r) for r in told)))
    return tuple(k.removeprefix(EPISODES).replace(":", ", ") for k in kinds), tuple(table)


def _verdict(held: Any, metric: str, measured: bool) -> Verdict:
    if not isinstance(held, Mapping) or not measured or (held.get("helps") is None and "difference" in held and held["difference"] is None):
        why = words(held.get("sentence"), 800) if isinstance(held, Mapping) else "There are results, but no verdict." if measured else ""
        return Verdict("unmeasured", "Not measured", "?", why or "Whether pretraining was worth it has not been measured.")
    helps = held.get("helps")
    state, word, sign = STATES[helps if isinstance(helps, bool) else None]
    sentence = words(held.get("sentence"), 800) or f"{word}."
    if state == "unclear":  # the sentence tells apart why it is not clear; the word follows it
        word = next((w for start, w in UNCLEAR.items() if sentence.startswith(start)), word)
    per_class, percent = metric not in NUMBERED, metric in SHARES
    levels = []
    for row in held.get("levels") or []:
        if isinstance(row, Mapping):
            look, said, mark = ("unclear", "No verdict", "≈") if held.get("labels_seen") else _state_of(row)
            other = called(str(row["best_other"])) if row.get("best_other") else words(row.get("reason"))
            at = level_words(row.get("labels_per_class"), per_class)
            levels.append((at, _difference(row, percent), other, f"{mark} {said.lower()}", look))
    return Verdict(state, word, sign, sentence, _saved(held.get("labels_saved"), per_class, percent), tuple(levels))


def _state_of(row: Row) -> tuple[str, str, str]:
    """How one level came out: its own word where it has one, otherwise by whether the interval excludes 0."""
    if "helps" in row:
        return STATES[row["helps"] if isinstance(row["helps"], bool) else None]
    low, high = real(row.get("low")), real(row.get("high"))
    if low is None or high is None:
        return "unmeasured", "Not measured", "?"
    return STATES[True if low > 0 else False if high < 0 else None]


def _saved(held: Any, per_class: bool, percent: bool) -> tuple[str, ...]:
    """With how few labels ours reaches what others reach with all of them."""
    said = []
    for key in ("best_other", "supervised"):
        rival = held.get(key) if isinstance(held, Mapping) else None
        if isinstance(rival, Mapping) and (reached := real(rival.get("all"))) is not None:
            name, count = called(str(rival.get("name"))), real(rival.get("labels_per_class"))
            goal = f"what {name} reaches with all labels ({score(reached, percent)})"
            words_for = "" if count is None else level_words(round(count), per_class)
            said.append(f"With {words_for} it reaches {goal}." if words_for else f"At no measured number of labels does it reach {goal}.")
    return tuple(dict.fromkeys(said))


def _difference(row: Mapping[str, Any], percent: bool) -> str:
    value, low, high = (real(row.get(k)) for k in ("difference", "low", "high"))
    if value is None:
        return "n/a"
    inside = f" ({signed(low, percent)} to {signed(high, percent)})" if low is not None and high is not None else ""
    return f"{signed(value, percent)}{' points' if percent else ''}{inside}"


def signed(value: float, percent: bool) -> str:
    """A difference with its sign; shares in percentage points."""
    return (f"{100 * value:+.1f}" if percent else f"{value:+.3f}").replace("-", "−")


def _probes(rows: Sequence[Row]) -> list[str]:
    """The probes that read our representation; linear first, kNN last."""
    found = dict.fromkeys(str(r.get("probe", "")) for r in rows if r["representation"] == "ssl")
    found = found or dict.fromkeys(str(r.get("probe", "")) for r in rows)
    return sorted(found, key=lambda p: (p == "knn", p != "linear", p))


def _panel(rows: Sequence[Row], metric: str, several: bool, probe: str, most: float | None, footnotes: list[str]) -> Panel:
    percent, per_class = metric in SHARES, metric not in NUMBERED
    by_name = _read_by(rows, probe)
    ticks = _places([r.get("labels_per_class") for own in by_name.values() for r in own], most)
    lines, table = [], []
    bases = {(words(r.get("n_test")), words(r.get("seeds"))) for own in by_name.values() for r in own if real(r.get("value")) is not None}
    free = iter((2, 3, 4, 5, 7) * 9)
    for name, own in by_name.items():
        colour = COLOURS[name] if name in COLOURS else next(free)
        read_by = str(own[0].get("probe", ""))
        label = called(name) + ("" if read_by in (probe, name) or name == "supervised" else f" ({called(read_by)})")
        cells, points = [], []
        for level, (x, _) in ticks.items():
            row = next((r for r in own if r.get("labels_per_class") == level), None)
            value, low, high = (real(row.get(k)) if row else None for k in ("value", "low", "high"))
            if row is None:
                cells.append(Cell("–"))
            elif value is None:
                reason = f"{label}, {level_words(level, per_class)}: {words(row.get('reason')) or 'not measured'}"
                if reason not in footnotes:
                    footnotes.append(reason)
                cells.append(Cell("n/a", footnote=footnotes.index(reason) + 1))
            else:
                points.append(Point(x, value, low, high))
                basis = _basis(words(row.get("n_test")), words(row.get("seeds"))) if len(bases) > 1 else ""
                told = f"{label}, {level_words(level, per_class)}: measured by {words(row['from'])}, below" if row.get("from") else ""
                if told and told not in footnotes:
                    footnotes.append(told)
                footnote = footnotes.index(told) + 1 if told else 0
                cells.append(Cell(score(value, percent), between(low, high, percent), basis, footnote))
        lines.append(Line(label, colour, tuple(points)))
        table.append((label, colour, tuple(cells)))
    title = called(metric) + (", less is better" if better(metric) < 0 else "")
    x_title = "labels a class" if per_class else "labelled items"
    wide, narrow = (efficiency(lines, list(ticks.values()), width=w, metric=title, percent=percent, x_title=x_title) for w in (860, 360))
    shared = f" {_basis(*next(iter(bases)))}." if len(bases) == 1 else ""
    caption = f"{called(metric).capitalize()} of each representation, read by {called(probe)}; its interval below each value.{shared}"
    name = called(probe) + (f" · {called(metric)}" if several else "")
    return Panel(name, wide, narrow, tuple(level_words(v, per_class) for v in ticks), tuple(table), caption)


def _read_by(rows: Sequence[Row], probe: str) -> dict[str, list[Row]]:
    """Representation -> its rows under this probe; one that has a single probe of its own stands beside every probe."""
    known = list(NAMES)
    found: dict[str, list[Row]] = {}
    for name in sorted({str(r["representation"]) for r in rows}, key=lambda n: (known.index(n) if n in known else 1.5, n)):
        own = [r for r in rows if r["representation"] == name]
        probes = {str(r.get("probe", "")) for r in own}
        if probe in probes or len(probes) == 1:
            found[name] = [r for r in own if str(r.get("probe", "")) == probe] or own
    return found


def _places(levels: Sequence[Any], most: float | None) -> dict[Any, tuple[float, str]]:
    """Level -> (x, words under the axis); 'all' stands at the number it means, or a little beyond the others where that is unknown."""
    counts = sorted({v for v in levels if (real(v) or 0) > 0})
    places = {c: (float(c), f"{c:,}") for c in counts}
    if "all" in levels:
        beyond = 1.6 * counts[-1] if counts else 1.0
        known = most is not None and most >= beyond
        places["all"] = (float(most), f"all ≈ {most:,.0f}") if known and most is not None else (beyond, "all")
    return places


def _basis(n_test: str, seeds: str) -> str:
    return f"n = {n_test or '?'} test items" + (f", {seeds} seed{'' if seeds == '1' else 's'}" if seeds else "")


def _cards(rows: Sequence[Row], verdict: Any, metric: str) -> list[Card]:
    verdict = verdict if isinstance(verdict, Mapping) else {}
    rows = [r for r in rows if r["metric"] == metric and real(r.get("value")) is not None]
    percent, per_class = metric in SHARES, metric not in NUMBERED
    ours = [r for r in rows if r["representation"] == "ssl"]
    known = [r.get("labels_per_class") for r in ours]
    level = verdict.get("level", verdict.get("labels_per_class"))
    if level not in known:
        gap = real(verdict.get("difference"))
        same = (v for v in verdict.get("levels") or [] if isinstance(v, Mapping) and gap is not None and real(v.get("difference")) == gap)
        level = next((v.get("labels_per_class") for v in same if v.get("labels_per_class") in known), known[-1])
    here = [r for r in rows if r.get("labels_per_class") == level]

    def best(candidates: list[Row]) -> Row | None:
        return max(candidates, key=lambda r: better(metric) * (real(r.get("value")) or 0.0), default=None)

    # the verdict compares linear probes and names the best other; the better of two would be chosen on the test
    here = [r for r in here if r.get("probe") != "knn"] or here
    others = [r for r in here if r["representation"] != "ssl"]
    named = [r for r in others if r["representation"] == verdict.get("best_other")]
    cards = []
    for row in (best([r for r in here if r["representation"] == "ssl"]), best(named)):
        if row is not None:
            value, low, high = (real(row.get(k)) for k in ("value", "low", "high"))
            note = f"{called(metric)}, {called(str(row.get('probe')))}, {level_words(level, per_class)}, n = {words(row.get('n_test'))}"
            named_so = called(str(row["representation"]))
            label = named_so[0].upper() + named_so[1:] + (", the best other" if row["representation"] != "ssl" else "")
            cards.append(Card(label, score(value or 0.0, percent), between(low, high, percent), note))
    if real(verdict.get("difference")) is not None:
        said = _difference(verdict, percent)
        value_words, _, interval = said.partition(" (")
        cards.append(Card("Difference", value_words, interval.rstrip(")"), f"ours minus the best other, {level_words(level, per_class)}"))
    saved = verdict.get("labels_saved")
    worth = saved.get("worth") if isinstance(saved, Mapping) else None
    if verdict.get("helps") is True and isinstance(worth, Mapping):
        ours_with, needed, beyond = (real(worth.get(k)) for k in ("ours_with", "others_with", "more_than"))
        if ours_with and max(beyond or 0, needed or 0) > ours_with:
            amount = f"> {beyond:,.0f}" if beyond else f"≈ {needed:,.0f}"
            unit = "labels a class" if per_class else "labels"
            note = f"what the others need to equal its {level_words(round(ours_with), per_class)}"
            cards.append(Card("Labels replaced", amount, unit, note))
    return cards
