"""Decisions that an audit looks at: of a column, of a file, of a fine-tuned or exported model, or of a linear reading of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.auditors.attributes import MISSING
from tacit.auditors.rates import Decisions
from tacit.calibration import softmax
from tacit.data import beside, itemnames, listed
from tacit.data.dataset import Dataset
from tacit.errors import Asked, BadData, nearest
from tacit.evaluation.readers import standardise
from tacit.subject import Subject

RULE = re.compile(r"^(?P<column>.+?)\s*(?P<mark>>=|<=|>|<|=)\s*(?P<value>.+)$")
COLUMNS = ("prediction", "predicted", "decision", "label", "class")


def positive_of(classes: Sequence[str], asked: str | None, say: Callable[[str], None]) -> int:
    """Which class is the positive decision: as asked; of two the second; of more -1, each is looked at. Raises Asked."""
    if asked is not None:
        if asked not in classes:
            raise Asked(f"there is no class {asked!r}", nearest(asked, list(classes)))
        return list(classes).index(asked)
    if len(classes) != 2:
        return -1
    say(f"{classes[1]!r} counts as the positive decision (--positive changes that)")
    return 1


def grouped(d: Decisions) -> Decisions:
    """Of more than two classes of which one is positive: that one, and all others as one."""
    if d.positive < 0 or len(d.classes) == 2:
        return d
    score = d.score if d.score is None or d.score.ndim == 1 else np.stack([1 - d.score[:, d.positive], d.score[:, d.positive]], 1)
    names = (f"not {d.classes[d.positive]}", d.classes[d.positive])
    return replace(d, truth=(d.truth == d.positive) * 1, made=(d.made == d.positive) * 1, classes=names, score=score, positive=1)


def of_column(data: Dataset, said: str | Path | Sequence[Any] | np.ndarray, positive: str | None, say: Callable[[str], None]) -> Decisions:
    """Decisions that were made elsewhere about all labelled items.

    said: a column ("predicted"), a rule on it ("decile_score>=5", "score_text=Medium|High": whoever fulfils it gets the positive decision),
    a file with ids and a column of predictions (as `tacit predict` writes it), or one decision for each item.
    """
    if data.labels is None:
        raise Asked(f"{data.path} has no labels to hold the decisions against", "name their column with --target")
    words, rule, who = _said(data, said)
    known = (data.labels >= 0) if data.classes else ~np.isnan(data.labels)
    there = np.array([w.strip().lower() not in MISSING for w in words])
    rows = np.flatnonzero(known & there)
    if len(rows) < len(words) - int((~known).sum()):
        say(f"note: {int((known & ~there).sum()):,} labelled items have no decision and are left out")
    if not len(rows):
        raise BadData(f"no labelled item has a decision in {who}", "name another column")
    score = None
    if not data.classes:
        if rule is not None:
            raise Asked(f"the label of {data.path} is a number, and {said} decides yes or no", "give a column of predicted numbers")
        return Decisions(rows, data.labels[rows].astype(np.float64), _numbers(words, rows, who), (), None, -1, who)
    at = positive_of(data.classes, positive, say)
    truth = data.labels[rows]
    if rule is not None:
        if at < 0:
            raise Asked(f"{said} says yes or no, and the label has {len(data.classes)} classes", "name the positive one with --positive")
        truth = (truth == at).astype(np.int64)
        yes, score = _fulfilled(words, rows, *rule)
        names = ("no", str(data.classes[at])) if len(data.classes) != 2 else (data.classes[1 - at], data.classes[at])
        return Decisions(rows, truth, yes.astype(np.int64), names, score, 1, who)
    index = {c: i for i, c in enumerate(data.classes)}
    plain = [_class(words[i], index) for i in rows]
    if strange := sorted({words[i] for i, k in zip(rows, plain, strict=True) if k < 0}):
        shown = ", ".join(map(repr, strange[:4]))
        hint = (
            f"the label has {', '.join(map(repr, data.classes[:5]))}; of a score say from where it is positive: --predictions '{said}>=5'"
        )
        raise Asked(f"{who} says {shown}, which is no class of the label", hint)
    return grouped(Decisions(rows, truth, np.array(plain, np.int64), data.classes, None, at, who))


def _said(data: Dataset, said: Any) -> tuple[list[str], tuple[str, str] | None, str]:
    """(words for every item, rule, whose decisions)."""
    if not isinstance(said, (str, Path)):
        given = ["" if v is None or v != v else str(v) for v in np.asarray(said, dtype=object).tolist()]
        if len(given) != len(data):
            raise Asked(f"{len(given):,} decisions for {len(data):,} items", "give one for each item, in the order of the data")
        return given, None, "the given decisions"
    if Path(said).suffix in (".csv", ".tsv", ".jsonl", ".parquet") and Path(said).is_file():
        found = itemnames.table(Path(said))
        column = next((c for c in found.columns if c.lower() in COLUMNS), None)
        if column is None:
            raise Asked(f"{said} has no column prediction", f"its columns: {', '.join(found.columns[:8])}")
        return beside.column(data, Path(said), column), None, f"{Path(said).name}"
    try:
        return listed.cells(data, str(said)), None, f"the column {said!r}"
    except Asked:
        if (m := RULE.match(str(said))) is None:
            raise
        return listed.cells(data, m["column"]), (m["mark"], m["value"]), f"the rule {said!r}"


def _fulfilled(words: Sequence[str], rows: np.ndarray, mark: str, value: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(who fulfils the rule, the score where the column is one)."""
    if mark == "=":
        wanted = {w.strip() for w in value.split("|")}
        found = {words[i] for i in rows}
        if not wanted & found:
            raise Asked(f"no item says {value!r}", f"the column says {', '.join(map(repr, sorted(found)[:6]))}")
        return np.array([words[i] in wanted for i in rows]), None
    try:
        bound = float(value)
    except ValueError:
        raise Asked(f"{value!r} is no number to compare with", "such as decile_score>=5") from None
    score = _numbers(words, rows, "the column")
    yes = {">=": score >= bound, ">": score > bound, "<=": score <= bound, "<": score < bound}[mark]
    return yes, score if mark in (">=", ">") else -score


def _numbers(words: Sequence[str], rows: np.ndarray, who: str) -> np.ndarray:
    try:
        found = np.array([float(words[i]) for i in rows])
        if not np.isfinite(found).all():
            raise BadData(f"{who} holds numbers that are not finite", "leave these cells empty")
        return found
    except ValueError as error:
        raise Asked(f"{who} holds words, which are no predicted numbers ({error})", "name another column") from None


def _class(word: str, index: dict[str, int]) -> int:
    """The class of a word; 1.0 and 1 are the same."""
    if word in index:
        return index[word]
    try:
        return index.get(str(int(float(word))), -1) if float(word) == int(float(word)) else -1
    except (ValueError, OverflowError):
        return -1


def of_model(subject: Subject, data: Dataset, positive: str | None, say: Callable[[str], None]) -> tuple[Decisions, Callable[..., Any]]:
    """What a fine-tuned or exported model decides about the labelled held-out items; and how it can be asked again.

    Raises Asked for one that decides about parts or pairs, or about other classes than the labels.
    """
    held = subject.decider or subject.held
    knowledge = held.knowledge
    head = knowledge.head
    if head.level != "item" or knowledge.name not in ("classification", "regression"):
        raise Asked(f"{subject.name} is a model of {knowledge.name}: an audit looks at one class or number an item", "audit its run")
    if data.labels is None:
        raise Asked(f"{data.path} has no labels to hold the decisions against", "name their column with --target")
    known = (data.labels >= 0) if data.classes else ~np.isnan(data.labels)
    rows = np.flatnonzero(known & np.isin(np.arange(len(data)), data.test))
    if not len(rows):
        say("note: nothing is held out: decisions about items that were learned from look better than they are")
        rows = np.flatnonzero(known)

    def outputs(x: Any, lengths: np.ndarray | None) -> np.ndarray:
        return np.asarray(held.outputs(x, lengths)[1])

    who = f"the model in {subject.path}"
    lengths = None if data.lengths is None else data.lengths[rows]
    if not head.classes:
        if data.classes:
            raise Asked(f"{subject.name} predicts numbers, and the labels of {data.path} are classes", "name the column with --target")
        made = np.asarray(head.decide(outputs(data.x[rows], lengths), knowledge.calibration).columns["prediction"], np.float64)
        again = lambda x, n: np.asarray(head.decide(outputs(x, n), knowledge.calibration).columns["prediction"])  # noqa: E731
        return Decisions(rows, data.labels[rows].astype(np.float64), made, (), None, -1, who), again
    if lost := [c for c in data.classes if c not in head.classes]:
        raise Asked(f"{subject.name} decides between {', '.join(head.classes[:5])}, and {lost[0]!r} is none of these", "the same --target?")
    place = np.array([head.classes.index(c) for c in data.classes])
    p = softmax(outputs(data.x[rows], lengths), float(knowledge.calibration.get("temperature", 1.0)))
    at = positive_of(head.classes, positive, say)
    found = Decisions(rows, place[data.labels[rows]], p.argmax(1), tuple(head.classes), p, at, who)
    return grouped(found), lambda x, n: _one(outputs(x, n).argmax(1), found)


def of_reading(
    vectors: np.ndarray, embed: Callable[..., np.ndarray], data: Dataset, positive: str | None, say: Callable[[str], None], seed: int = 0
) -> tuple[Decisions, Callable[..., Any]]:
    """What a linear reading of the embedding decides about the held-out items, when it learned from the training items' labels."""
    assert data.labels is not None
    known = (data.labels >= 0) if data.classes else ~np.isnan(data.labels)
    fit, rows = (r[known[r]] for r in (data.train, data.test))
    if len(fit) < 10 or len(rows) < 10:
        raise BadData(f"{len(fit)} labelled training items and {len(rows)} held-out ones are too few for decisions", "label more of them")
    a, b = standardise(vectors[fit], vectors[rows])
    y = data.labels[fit]
    groups = None if data.groups is None else data.groups[fit]
    who = f"a linear reading of the embedding ({len(fit):,} labels)"
    probe: Any
    if not data.classes:
        probe = registry.find("probes", "ridge")().fit(a, y, 0, small=len(fit) < 50, seed=seed, groups=groups)
        again = lambda x, n: probe.scores(standardise(vectors[fit], embed(x, n))[1])  # noqa: E731
        return Decisions(rows, data.labels[rows].astype(np.float64), probe.scores(b), (), None, -1, who), again
    small = len(fit) / max(1, len(np.unique(y))) < 20
    probe = registry.find("probes", "linear")().fit(a, y, len(data.classes), small=small, seed=seed, groups=groups)
    p = softmax(probe.scores(b))
    at = positive_of(data.classes, positive, say)
    found = Decisions(rows, data.labels[rows], p.argmax(1), data.classes, p, at, who)
    return grouped(found), lambda x, n: _one(probe.scores(standardise(vectors[fit], embed(x, n))[1]).argmax(1), found)


def _one(made: np.ndarray, d: Decisions) -> np.ndarray:
    """Classes as `grouped` leaves them."""
    return made if d.positive < 0 or len(d.classes) == 2 else (made == d.positive).astype(np.int64)
