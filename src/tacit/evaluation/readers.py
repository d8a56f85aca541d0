"""What is compared: representations behind a probe, classifiers on the raw items, and networks that are trained on the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from tacit import registry
from tacit.evaluation.labels import FEW, LevelPlan

# (training rows, label seed) -> scores of all training and of all test rows. One that also has `cost(labels)` says how many seconds it
# would take; one that has `only(rows)` is told beforehand which training rows will be looked at, and may leave the others out (NaN)
Fit = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
SupervisedFit = Fit


class Model(Protocol):
    """What decides on raw items: classes, and numbers too where it says `regression = True`.

    Further, where it has them: `prepare(x, spec)` shows it the whole training split beforehand, without labels; `grouped = True` asks
    for `groups=` in fit; `distances(a, b) -> [len(a), len(b)]` is read as 1-NN on them, computed once; `probe` is its name in the
    results; `note` says what the reader should know; `cost(train, other, *sizes)`: seconds that it will take, roughly.
    """

    def fit(self, x: np.ndarray, y: np.ndarray) -> Any:
        """Learn from raw items x and their classes, int64, or numbers, float64."""
        ...

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Class or number of each raw item."""
        ...


@dataclass(frozen=True)
class Representation:
    """A frozen embedding of the training and test rows.

    name: as it appears in the results. kind: "ssl", "untrained", "classic" or "option" (reported, no part in the verdict).
    train, test: float [n, D]. probes: names of the probes; scale: "columns" or "whole", how the linear probe's features are
    standardised; both empty = as the classic of that name says, otherwise knn and linear, columns. few: C of the linear probe where
    labels are few.
    """

    name: str
    kind: str
    train: np.ndarray
    test: np.ndarray
    probes: tuple[str, ...] = ()
    scale: str = ""
    few: float = 1.0


@dataclass(frozen=True)
class Classifier:
    """A classic that needs no embedding, with the raw items it reads: name, model, train [n_train, ...], test [n_test, ...]."""

    name: str
    model: Model
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Trained:
    """What learns from the labels end to end: supervised training from scratch, or a way of fine-tuning.

    representation, kind, probe: as in the results; the kind "finetune" has no part in the verdict. words: in a sentence.
    """

    representation: str
    kind: str
    probe: str
    words: str
    fit: Fit


@dataclass(frozen=True)
class Reading:
    """Predictions of one competitor at one level.

    kind: that of the representation, "classifier", "supervised" or "finetune". predicted: [runs, n_test].
    choice: its score on training folds, None = no way to use the labels that is compared, or no rows to score. reason: why n/a.
    """

    representation: str
    kind: str
    probe: str
    plan: LevelPlan
    predicted: np.ndarray | None
    choice: float | None = None
    reason: str = ""

    @property
    def candidate(self) -> bool:
        """May be the best other of the verdict: everything but ours, options and a second reading by kNN."""
        return self.kind not in ("ssl", "option", "finetune") and self.probe != "knn"

    @property
    def way(self) -> bool:
        """May be the best way to use the labels: a candidate, our linear probe, or fine-tuning."""
        return self.kind != "option" and self.probe != "knn"


@dataclass(frozen=True)
class Labels:
    """Labelled training rows: y, classes int64 [n] or numbers [n]; classes: how many, 0 = numbers; rows: where in the whole split.

    groups: int64 [n], rows that belong together, -1 = unknown; None = no groups.
    """

    y: np.ndarray
    classes: int
    rows: np.ndarray
    groups: np.ndarray | None = None

    def score(self, predicted: np.ndarray, where: np.ndarray) -> float | None:
        """Accuracy, or minus the squared error, on some labelled rows; None without rows."""
        if not len(where):
            return None
        truth = self.y[where]
        return float((predicted == truth).mean()) if self.classes else -float(((predicted - truth) ** 2).mean())


def probes_of(representation: Representation, regression: bool) -> tuple[str, ...]:
    """Names of the probes that read this representation."""
    usual = tuple(name for name, probe in registry.every("probes").items() if probe.regression == regression)
    return usual if regression else representation.probes or tuple(getattr(_classic(representation), "probes", usual))


def _classic(representation: Representation) -> Any:
    """The class of that classic, or None."""
    known = representation.kind == "classic" and representation.name in registry.names("classics")
    return registry.find("classics", representation.name) if known else None


def scale_of(representation: Representation) -> str:
    """How its features are standardised: "columns" or "whole"."""
    return representation.scale or str(getattr(_classic(representation), "scale", "columns"))


def standardise(train: np.ndarray, test: np.ndarray, scale: str = "columns") -> tuple[np.ndarray, np.ndarray]:
    """Both with mean 0 and deviation 1 in the whole training split, labelled or not; constant columns are left at 0.

    scale: "columns" = each by its own deviation; "whole" = all by one, for columns that share a unit, such as pixels.
    """
    train, test = np.asarray(train, dtype=np.float32), np.asarray(test, dtype=np.float32)
    mean, std = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    if scale == "whole":
        std = np.full_like(std, np.sqrt((std**2).mean()))
    # Rounding alone gives a constant column a tiny deviation; dividing by it would blow noise up.
    std[std <= 1e-6 * np.abs(mean)] = 1.0
    std[std == 0] = 1.0
    return ((train - mean) / std).astype(np.float32), ((test - mean) / std).astype(np.float32)


def read_probe(representation: Representation, name: str, plans: list[LevelPlan], labels: Labels) -> list[Reading]:
    """One probe on one representation at every level."""
    make = registry.find("probes", name)
    train, test = representation.train, representation.test
    if make.standardised:
        train, test = standardise(train, test, scale_of(representation))
    train = train[labels.rows]

    def fitted(rows: np.ndarray, plan: LevelPlan, run: int) -> Any:
        groups = None if labels.groups is None else labels.groups[rows]
        probe = make(few=representation.few) if name == "linear" else make()
        return probe.fit(train[rows], labels.y[rows], labels.classes, small=plan.small, seed=run, groups=groups)

    out = []
    for plan in plans:
        reading = Reading(representation.name, representation.kind, name, plan, None, None, plan.reason)
        if plan.reason:
            out.append(reading)
            continue
        whole = plan.level == "all"
        predicted, scored = [], []
        for run, draw in enumerate(plan.draws):
            rows = np.arange(len(labels.y)) if whole else draw.rows
            probe = fitted(rows, plan, run)
            predicted.append(probe.predict(test))
            if reading.way and len(draw.scoring):
                if whole:
                    probe = fitted(draw.rows, plan, run)
                scored.append(labels.score(probe.predict(train[draw.scoring]), draw.scoring))
        out.append(Reading(*_key(reading), np.stack(predicted), _mean(scored)))
    return out


def read_classifier(classifier: Classifier, plans: list[LevelPlan], labels: Labels) -> list[Reading]:
    """A classifier of raw items at every level."""
    train, test = classifier.train[labels.rows], classifier.test
    distances = getattr(classifier.model, "distances", None)
    if distances is not None:
        wanted = np.unique(np.concatenate([d.scoring for p in plans for d in p.draws] or [np.zeros(0, dtype=np.int64)]))
        to_test = distances(train, test)
        place = np.zeros(len(train), dtype=np.int64)  # column of each scoring row
        place[wanted] = np.arange(len(wanted))
        to_train = distances(train, train[wanted]) if len(wanted) else np.zeros((len(train), 0), dtype=np.float32)
    out = []
    for plan in plans:
        reading = Reading(classifier.name, "classifier", getattr(classifier.model, "probe", "itself"), plan, None, None, plan.reason)
        if plan.reason:
            out.append(reading)
            continue
        whole = plan.level == "all"
        predicted, scored = [], []
        for draw in plan.draws:
            rows = np.arange(len(labels.y)) if whole else draw.rows
            if distances is not None:
                predicted.append(labels.y[rows][to_test[rows].argmin(0)])
                guess = (
                    labels.y[draw.rows][to_train[np.ix_(draw.rows, place[draw.scoring])].argmin(0)] if len(draw.scoring) else draw.scoring
                )
            else:
                predicted.append(_fitted(classifier.model, train, labels, rows).predict(test))
                guess = draw.scoring
                if len(draw.scoring):
                    model = _fitted(classifier.model, train, labels, draw.rows) if whole else classifier.model
                    guess = model.predict(train[draw.scoring])
            scored.append(labels.score(guess, draw.scoring))
        out.append(Reading(*_key(reading), np.stack(predicted), _mean(scored)))
    return out


def _fitted(model: Model, train: np.ndarray, labels: Labels, rows: np.ndarray) -> Model:
    """The model itself, fitted on some labelled rows."""
    groups = {}
    if getattr(model, "grouped", False) and labels.groups is not None:
        groups = {"groups": labels.groups[rows]}
    model.fit(train[rows], labels.y[rows], **groups)
    return model


def read_trained(
    way: Trained, plans: list[LevelPlan], labels: Labels, kept_test: np.ndarray, seeds: int, patience: float = np.inf
) -> list[Reading]:
    """End-to-end training on the same labels; at "all" it is fitted once, on the rows that are not held out.

    kept_test: rows of the whole test split that have a label. seeds: label seeds where labels are not few;
    where they are, and the verdict is given, all. patience: seconds that one training may take by `fit.cost(labels)` where they are not.
    """
    out = []
    for plan in plans:
        reading = Reading(way.representation, way.kind, way.probe, plan, None, None, plan.reason)
        few = plan.count <= FEW[not labels.classes]
        took = getattr(way.fit, "cost", lambda labels: 0.0)(len(plan.draws[0].rows)) if plan.draws and not few else 0.0
        if plan.reason or took > patience:
            slow = f"one training would take about {took / 60:.0f} minutes"
            out.append(replace(reading, reason=plan.reason or slow))
            continue
        predicted, scored = [], []
        for run, draw in enumerate(plan.draws if few else plan.draws[:seeds]):
            getattr(way.fit, "only", lambda rows: None)(labels.rows[draw.scoring])
            train, test = way.fit(labels.rows[draw.rows], run)
            if labels.classes:
                train, test = train.argmax(1), test.argmax(1)
            predicted.append(np.asarray(test).reshape(len(test))[kept_test])
            scored.append(labels.score(np.asarray(train).reshape(len(train))[labels.rows[draw.scoring]], draw.scoring))
        out.append(Reading(*_key(reading), np.stack(predicted), _mean(scored)))
    return out


def _key(reading: Reading) -> tuple[str, str, str, LevelPlan]:
    return reading.representation, reading.kind, reading.probe, reading.plan


def _mean(scores: list[float | None]) -> float | None:
    known = [s for s in scores if s is not None]
    return float(np.mean(known)) if known else None
