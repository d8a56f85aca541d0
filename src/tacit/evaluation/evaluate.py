"""Measure representations on the same labels and say whether self-supervision was worth it. Reads embeddings, trains probes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tacit.errors import BadData
from tacit.evaluation import episodes as few_shot
from tacit.evaluation.labels import FEW, Level, LevelPlan, plan_levels
from tacit.evaluation.readers import (
    Classifier,
    Labels,
    Reading,
    Representation,
    SupervisedFit,
    Trained,
    probes_of,
    read_classifier,
    read_probe,
    read_trained,
)
from tacit.evaluation.scores import Scorer
from tacit.evaluation.verdict import verdict

__all__ = ["LEVELS", "NUMBER_LEVELS", "Classifier", "Evaluation", "Representation", "SupervisedFit", "evaluate"]

LEVELS: tuple[Level, ...] = (1, 5, 10, 50, "all")
NUMBER_LEVELS: tuple[Level, ...] = (10, 50, 200, "all")
LABELS_SEEN = "this run read labels: not self-supervised, no verdict"


@dataclass(frozen=True)
class Evaluation:
    """results: one row for each representation, probe, level and metric. verdict: see `verdict.verdict`.

    notes: what was not checked, and why.
    """

    results: list[dict[str, Any]]
    verdict: dict[str, Any]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: {"results": [...], "verdict": {...}, "notes": [...]}."""
        return {"results": self.results, "verdict": self.verdict, "notes": self.notes}


def evaluate(
    representations: Sequence[Representation],
    y_train: np.ndarray,
    y_test: np.ndarray,
    *,
    classes: Sequence[str] = (),
    levels: Sequence[Level] | None = None,
    seeds: int = 5,
    supervised: SupervisedFit | None = None,
    supervised_seeds: int = 3,
    ways: Sequence[Trained] = (),
    classifiers: Sequence[Classifier] = (),
    episodes: Sequence[few_shot.Kind] = (),
    labels_seen: bool | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 2000,
    patience: float = 120.0,
    supervised_patience: float = 600.0,
    say: Callable[[str], None] | None = None,
) -> Evaluation:
    """Probe every representation on the same labels, and give the verdict.

    representations: frozen embeddings of all training and test rows; the one of kind "ssl" is ours.
    y_train, y_test: class index of each row (-1 = unlabelled), or its number (NaN = unlabelled).
    classes: names of the classes; empty = the target is a number. levels: labels a class (numbers: labels), "all" for all;
    None = 1, 5, 10, 50, all (numbers: 10, 50, 200, all). seeds: label draws a level.
    supervised: trains from scratch on some training rows (row indices, label seed) and returns scores for all training and all
    test rows. supervised_seeds: label seeds that it is trained with where labels are not few; where they are, all.
    ways: of fine-tuning, trained in the same way; they tell which use of the labels is the best and have no part in the verdict.
    classifiers: classics that need no embedding. episodes: kinds of few-shot episodes, drawn from the test items.
    labels_seen: did pretraining read labels? True = no verdict, None = unknown.
    groups: int64 [n_train], training rows that belong together (patient, session), -1 = unknown: choices are made on rows whose
    group has no label among those fitted. seed: of label draws, folds and bootstrap. resamples: bootstrap draws.
    patience: seconds that a classifier may take by its own estimate, otherwise it is not measured.
    supervised_patience: seconds that one such training may take, by the pace of the one before, where labels are not few.
    say: told what is being measured.
    """
    regression = not len(classes)
    if levels is None:
        levels = NUMBER_LEVELS if regression else LEVELS
    labels, truth, kept_test, notes = _labelled(representations, y_train, y_test, classes, groups)
    ordered = sorted({v for v in levels if v != "all"}, key=int) + (["all"] if "all" in levels else [])
    plans = plan_levels(labels.y, labels.classes, ordered, seeds, seed, groups=labels.groups)
    reason = _hopeless(labels, truth)
    if reason:
        plans = [type(p)(p.level, 0, p.count, (), reason) for p in plans]
    say = say or (lambda words: None)
    readings: list[Reading] = []
    held = [replace(r, test=r.test[kept_test]) for r in representations]
    for representation in held:
        for probe in probes_of(representation, regression):
            say(f"{representation.name}: {probe}")
            readings += read_probe(representation, probe, plans, labels)
    for classifier in classifiers:
        if regression and not getattr(classifier.model, "regression", False):
            notes.append(f"{classifier.name}: not measured, it has no form for numbers")
            continue
        took = _estimate(classifier, plans)
        if took > patience:
            notes.append(f"{classifier.name}: not measured, too large (about {took:.0f} s, the limit is {patience:.0f} s)")
            continue
        say(classifier.name)
        tested = Classifier(classifier.name, classifier.model, classifier.train, classifier.test[kept_test])
        readings += read_classifier(tested, plans, labels)
    if supervised is None:
        notes.append("supervised from scratch: not measured")
    else:
        ways = [Trained("supervised", "supervised", "end-to-end", "supervised from scratch", supervised), *ways]
    for way in ways:
        say(way.words)
        found = read_trained(way, plans, labels, kept_test, supervised_seeds, supervised_patience)
        readings += found
        notes += _trained_notes(way, found, regression)
    scorer = Scorer(truth, regression, resamples=resamples, seed=seed)
    results = [row for reading in readings for row in _rows(reading, scorer)]
    for kind in episodes:
        say(f"episodes: {kind}")
        rows, words = few_shot.episodes(held, np.asarray(y_train), truth, kind, classes, seed=seed)
        results += rows
        notes += [w for w in words if w not in notes]
    notes += [f"{p.level} labels{'' if regression else ' a class'}: n/a, {p.reason}" for p in plans if p.reason]
    notes += _limits(scorer, plans)
    if labels_seen is not False:
        notes.append(LABELS_SEEN if labels_seen else "whether pretraining read labels is unknown")
    return Evaluation(results, verdict(readings, scorer, labels_seen), notes)


def _trained_notes(way: Trained, found: Sequence[Reading], regression: bool) -> list[str]:
    """What was left out, and how "all" was trained."""
    whole = [r for r in found if r.plan.level == "all" and r.predicted is not None]
    notes = []
    if any(len(r.plan.draws[0].scoring) for r in whole):
        name = way.representation if way.kind == "supervised" else way.words
        notes.append(f'{name} at "all": trained once, on the labelled training rows outside the fold that chooses the best other')
    late = [r for r in found if r.reason != r.plan.reason]
    amount = "labels" if regression else "labels a class"
    return notes + [f"{way.words} with {r.plan.level} {amount}: not measured, {r.reason}" for r in late]


def _labelled(
    representations: Sequence[Representation],
    y_train: np.ndarray,
    y_test: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None,
) -> tuple[Labels, np.ndarray, np.ndarray, list[str]]:
    """(labelled training rows, true test values, rows of the test split that have one, notes)."""
    y_train, y_test = np.asarray(y_train), np.asarray(y_test)
    for r in representations:
        if (len(r.train), len(r.test)) != (len(y_train), len(y_test)):
            raise BadData(
                f"{r.name} has {len(r.train)} training and {len(r.test)} test rows, the labels {len(y_train)} and {len(y_test)}",
                "embed the same rows that the labels belong to, in the same order",
            )
        if not (np.isfinite(r.train).all() and np.isfinite(r.test).all()):
            raise BadData(f"the embedding {r.name} holds values that are not finite", "look at the run's health before evaluating it")
    known_train, known_test = (np.isfinite(y) if not len(classes) else y >= 0 for y in (y_train, y_test))
    rows, kept_test = np.flatnonzero(known_train), np.flatnonzero(known_test)
    kind = np.int64 if len(classes) else np.float64
    notes = []
    for what, known in (("training", known_train), ("test", known_test)):
        if not known.all():
            notes.append(f"{int((~known).sum())} of {len(known)} {what} rows have no label and were left out of the scores")
    y, truth = y_train[rows].astype(kind), y_test[kept_test].astype(kind)
    if len(classes):
        missing = sorted(set(np.unique(truth).tolist()) - set(np.unique(y).tolist()))
        if missing:
            names = ", ".join(str(classes[k]) for k in missing)
            lost = int(np.isin(truth, missing).sum())
            notes.append(f"no labelled training row is of class {names}: its {lost} test items count as wrong")
    return Labels(y, len(classes), rows, None if groups is None else np.asarray(groups)[rows]), truth, kept_test, notes


def _estimate(classifier: Classifier, plans: Sequence[LevelPlan]) -> float:
    """Seconds that a classifier of raw items says it will take; 0 if it says nothing."""
    cost = getattr(classifier.model, "cost", None)
    if cost is None:
        return 0.0
    scored = len(np.unique(np.concatenate([d.scoring for p in plans for d in p.draws] or [np.zeros(0, np.int64)])))
    # the sizes of an item, the last axis first
    return float(cost(len(classifier.train), len(classifier.test) + scored, *classifier.train.shape[:0:-1]))


def _hopeless(labels: Labels, truth: np.ndarray) -> str:
    """Why nothing can be measured at all, or an empty string."""
    if not len(labels.y):
        return "no training row has a label"
    if not len(truth):
        return "no test item has a label"
    if len(np.unique(labels.y)) < 2:
        return "all labelled training rows have the same label"
    if len(np.unique(truth)) < 2:
        return "all test items have the same label" if labels.classes else "all test items have the same value"
    return ""


def _rows(reading: Reading, scorer: Scorer) -> list[dict[str, Any]]:
    """Rows of the results table, one a metric."""
    out = []
    for metric in scorer.metrics:
        row: dict[str, Any] = {"representation": reading.representation, "probe": reading.probe, "labels_per_class": reading.plan.level}
        row |= {"metric": metric, "value": None, "low": None, "high": None, "n_test": scorer.n}
        row |= {"seeds": 0, "n_train_labels": reading.plan.labels}
        if reading.predicted is None:
            row["reason"] = reading.reason
        else:
            row["value"], row["low"], row["high"] = scorer.score(metric, reading.predicted)
            row["seeds"] = len(reading.predicted)
        out.append(row)
    return out


def _limits(scorer: Scorer, plans: Sequence[LevelPlan]) -> list[str]:
    """What the intervals do not cover."""
    notes = ["the intervals cover the choice of labels and of test items, not the luck of pretraining (one pretraining seed)"]
    few = [p for p in plans if not p.reason and p.count <= FEW[scorer.regression]]
    if len(few) > 1:
        notes.append(f"the verdict looks at {len(few)} levels with few labels: by chance alone one of them errs more often than 1 in 20")
    if 0 < scorer.n < 30:
        notes.append(f"only {scorer.n} test items: a bootstrap on so few is rough")
    return notes
