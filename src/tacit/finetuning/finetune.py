"""`tacit finetune`: from a pretrained encoder and some labels to a model that decides, calibrated on labels that it did not learn from."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit import registry
from tacit.data.dataset import Dataset
from tacit.data.supervision import Supervision, check
from tacit.deciding import Knowledge
from tacit.embedding.model import Model
from tacit.errors import Asked, BadData
from tacit.finetuning import forgetting, prototypes
from tacit.finetuning.config import FROZEN, FinetuneConfig
from tacit.finetuning.decider import Decider
from tacit.finetuning.divide import Parts, divide
from tacit.finetuning.fit import Task
from tacit.finetuning.network import Network, check_head
from tacit.head import Head, together
from tacit.outliers import Reference

Say = Callable[[str], None]
BANK = 10_000  # training items that are kept as evidence
PSEUDO = 0.95


@dataclass
class Finetuned:
    """A fine-tuned model, and what was measured on labels that it never saw.

    test: positions of the labelled test items in the answers. out, probe_out: outputs for them, of the model and of a linear probe that
    learned from the same labels.
    """

    decider: Decider
    found: dict[str, Any]
    test: np.ndarray
    out: np.ndarray | None
    probe_out: np.ndarray | None
    notes: list[str] = field(default_factory=list)


def finetune(
    model: Model,
    data: Dataset,
    answers: Supervision,
    *,
    strategy: str = "lp-ft",
    config: FinetuneConfig | None = None,
    head: dict[str, Any] | None = None,
    folds: int | None = None,
    alpha: float = 0.1,
    pseudo: float | None = None,
    mitigation: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
    seed: int = 0,
    seen: np.ndarray | None = None,
    folder: Path | None = None,
    say: Say | None = None,
    show: Callable[[int, int, float, float], None] | None = None,
) -> Finetuned:
    """Fine-tune, calibrate, and score on the data's held-out items.

    model: pretrained. data: with the split that pretraining had. answers: labels of some of its items. strategy: "probe", "lp-ft", "full",
    "last-2", "lora", "setfit", "prototypes". head: hyperparameters of the head. folds: of cross-validation, None = where labels are few.
    alpha: share of sets and intervals that may miss the truth. pseudo: take over predictions for unlabelled training items that are at
    least this sure, None = off. mitigation: how the strategy "probe" learns its reading, as of `Task`.
    seen: hashes of what pretraining saw, None = the training items. folder: of checkpoints; an interrupted training goes on from there.
    Raises Asked and BadData for labels that nothing can be learned from, Stopped on an interrupt.
    """
    say = say or (lambda words: None)
    config, knobs = config or FinetuneConfig(), dict(head or {})
    kind = registry.find("heads", answers.head)
    checked = registry.check_knobs(kind, knobs, "head")

    def fresh() -> Head:
        made: Head = kind(answers.classes, **checked)
        return made

    check_head(fresh(), model)
    if model.erasers and strategy != "probe":
        gone = ", ".join(model.config.get("erased", ["an attribute"]))
        raise Asked(f"{gone} was erased from this model, and --strategy {strategy} would learn it back", "--strategy probe")
    if strategy == "prototypes":
        prototypes.check(kind.level, model.encoder.can)
    known = fresh().known(answers.values)
    where = answers.items if answers.items.ndim == 1 else answers.items.max(1)
    sides = data.split[answers.items] if answers.items.ndim == 1 else data.split[answers.items].max(1)
    if answers.items.ndim == 2:  # a pair belongs to the side of both its items, or to none
        known &= (data.split[answers.items] == sides[:, None]).all(1)
    train, test = np.flatnonzero(known & (sides == 0)), np.flatnonzero(known & (sides == 1) & ~_repeated(data, answers, seen))
    if not len(train):
        raise BadData("no training item has a label, so there is nothing to learn from", "label some of the items that are not held out")
    notes = [*answers.notes, *check(answers, train)]
    if lost := int((known & (sides == 1)).sum()) - len(test):
        notes.append(f"{lost} held-out items are exact copies of items that were learned from, and are left out of the scores")
    groups = None if data.groups is None else data.groups[where[train]]
    if answers.items.ndim == 2:
        groups, said = _linked(data, answers.items[train])
        notes += said
    strata = fresh().strata(answers.values[train])
    parts = divide(strata, len(train), groups, data.group_names, seed, folds, fresh().calibrates)
    notes += parts.notes
    if strategy in FROZEN:  # which are never stopped early
        parts = replace(parts, learn=np.sort(np.concatenate([parts.learn, parts.stop])), stop=parts.stop[:0])
    task = Task(model, data, answers, fresh, config, strategy, seed, mitigation)
    if fresh().level == "token":
        notes += _coarse(task, train)
    begin = time.perf_counter()
    network, about = _fit(task, train, parts, folder, say, show)
    if about["steps"] and not about.get("best_step", about["steps"]):
        say("no step of fine-tuning read the held-out labels better than the probe: the probe is kept")
        rest = train[np.concatenate([parts.learn, parts.stop])]
        network = _again(task, strategy="probe").probed(rest, parts.small, seed)
    network.model.precision = "32-true"  # decisions are those that an exported model makes
    out, truth = _calibration(task, train, parts, network, folder, say, show, about)
    calibration = network.head.calibrate(out, truth, alpha) | {"crossed": bool(parts.folds)} if len(truth) else {}
    if pseudo is not None:
        network, adopted = _pseudo(task, train, parts, network, calibration, pseudo, folder, say, show)
        about |= adopted
        network.model.precision = "32-true"
        if parts.calibrate.size:
            held = train[parts.calibrate]
            calibration = network.head.calibrate(task.outputs(network, held), answers.values[held], alpha) | {"crossed": False}
        elif "steps" in adopted:
            calibration, truth = {}, truth[:0]
            notes.append("not calibrated: the labels are too few to set some aside, and pseudo-labels were learned from since")
    about["seconds"] = round(time.perf_counter() - begin, 2)
    changed = any(not torch.equal(a, b) for a, b in zip(network.encoder.parameters(), model.encoder.parameters(), strict=True))
    pretrained = network.model
    if changed:
        pretrained = copy.copy(model)
        pretrained.precision = "32-true"
    reference, bank = _reference(task, pretrained, answers)
    found: dict[str, Any] = {
        "strategy": strategy,
        "head_kind": answers.head,
        "labels": len(train),
        "learned_from": len(parts.learn),
        "stopped_by": len(parts.stop),
        "calibrated_on": len(truth),
        "cross_fitted": bool(parts.folds),
        "training": about,
    }
    if parts.folds and len(truth):
        found["folds"] = about.pop("folds")
    if changed:
        rows = data.test[:2000] if len(data.test) >= 20 else data.train[:2000]
        cut = None if data.lengths is None else data.lengths[rows]
        found["forgotten"] = forgetting.forgetting(model.vectors(data.x[rows], cut), network.model.vectors(data.x[rows], cut))
        say(forgetting.words(found["forgotten"]))
    knowledge = Knowledge(
        network.head,
        answers.head,
        knobs,
        calibration,
        reference,
        tuple(data.names[r] for r in bank),
        tuple(_label_of(data, answers, r) for r in bank),
        network.cell,
        network.seen if network.head.level == "token" else None,
        _pair(network),
        {**found, "target": None, **({"prototypes": network.prototypes} if network.prototypes else {})},
        network.step,
    )
    decider = Decider(network, pretrained, knowledge)
    probe_out = out_test = None
    if len(test):
        out_test = task.outputs(network, test)
        rest = train[np.concatenate([parts.learn, parts.stop])]
        probe_out = None
        if strategy != "probe" or mitigation is not None:
            frozen = _again(task, strategy="probe", mitigation=None)
            probe_out = frozen.outputs(frozen.probed(rest, parts.small, seed), test)
    else:
        notes.append("no held-out item has a label: nothing was scored")
    return Finetuned(decider, found, test, out_test, probe_out, notes)


def _fit(
    task: Task, train: np.ndarray, parts: Parts, folder: Path | None, say: Say, show: Any, extra: str = "model"
) -> tuple[Network, dict[str, Any]]:
    """The model itself, on all labels that are not set aside."""
    say(f"{task.strategy}: learning from {len(parts.learn)} labels")
    held = train[parts.stop] if len(parts.stop) else None
    place = None if folder is None else folder / extra
    return task.fit(train[parts.learn], held, small=parts.small, seed=task.seed, folder=place, say=say, show=show)


def _calibration(
    task: Task, train: np.ndarray, parts: Parts, network: Network, folder: Path | None, say: Say, show: Any, about: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """(outputs, answers) of labelled items that were not learned from: those set aside, or each fold's by a model of the other folds."""
    values = task.answers.values
    if len(parts.calibrate):
        held = train[parts.calibrate]
        return task.outputs(network, held), values[held]
    if not parts.folds:
        return np.zeros((0, network.head.outputs)), values[:0]
    outs, truths, rows = [], [], []
    # as far as the model itself went, or its certainty would be another
    steps = about.get("best_step", about["steps"])
    alike = task if steps or task.strategy in FROZEN else _again(task, strategy="probe")
    for k, (learn, held) in enumerate(parts.folds):
        say(f"fold {k + 1} of {len(parts.folds)}: learning from {len(learn)} labels")
        place = None if folder is None else folder / f"fold{k}"
        fitted, _ = alike.fit(train[learn], None, small=parts.small, seed=task.seed + k + 1, folder=place, steps=steps or None, show=show)
        out, y = task.outputs(fitted, train[held]), values[train[held]]
        found = fitted.head.scores(out, y, {})
        rows.append({"n": len(held), **{k: v for k, v in found.items() if v == v and k in fitted.head.metrics}})
        outs.append(_as_one(out, fitted.head, network.head, values[train[learn]]))
        truths.append(y)
    about["folds"] = rows
    return together(outs), np.concatenate(truths)


def _as_one(out: np.ndarray, own: Head, final: Head, learned: np.ndarray) -> np.ndarray:
    """A fold's outputs in the units of the final head; a class that the fold never saw cannot be, rather than being unlikely."""
    if final.classes and final.level != "token" and learned.ndim == 1:
        out = out.copy()
        out[:, np.setdiff1d(np.arange(len(final.classes)), learned)] = -np.inf
        return out
    return out if final.classes else (out * own.unit + own.centre - final.centre) / final.unit


def _linked(data: Dataset, pairs: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """int64 [R]: pairs with the same number share an item or a group, directly or through others; and notes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    own = np.arange(len(data))
    if data.groups is not None:
        own = np.where(data.groups >= 0, data.groups + len(data), own)
    ends = own[pairs]
    graph = coo_array((np.ones(len(pairs)), (ends[:, 0], ends[:, 1])), shape=(ends.max() + 1,) * 2)
    found = connected_components(graph, directed=False)[1][ends[:, 0]]
    if np.bincount(found).max() > 0.5 * len(found):
        return None, ["the pairs share items: held-out pairs are not independent of those learned from, and intervals are too narrow"]
    return found.astype(np.int64), []


def _repeated(data: Dataset, answers: Supervision, seen: np.ndarray | None) -> np.ndarray:
    """bool [R]: held-out answers about an item that is an exact copy of a training item, or of one that pretraining saw."""
    known = data.hashes[data.train] if seen is None else np.concatenate([data.hashes[data.train], seen])
    copies = np.isin(data.hashes, known)[answers.items]
    found: np.ndarray = copies if copies.ndim == 1 else copies.any(1)
    return found


def _pseudo(
    task: Task,
    train: np.ndarray,
    parts: Parts,
    network: Network,
    calibration: dict[str, Any],
    sure: float,
    folder: Path | None,
    say: Say,
    show: Any,
) -> tuple[Network, dict[str, Any]]:
    """Learn again, also from the unlabelled training items of which the model is sure. source: Lee 2013, and Xie et al. 2020,
    arXiv:1911.04252, without noise in a larger student."""
    data, answers = task.data, task.answers
    if answers.head != "classification":
        raise Asked(f"--pseudo is for classes, not for {answers.head}", "leave it out")
    free = np.setdiff1d(data.train, answers.items[train])
    if not len(free):
        raise Asked("--pseudo needs unlabelled training items, and every training item has a label", "leave it out")
    from tacit.calibration import softmax

    p = softmax(network.outcome(task.read(network, free)), calibration.get("temperature", 1.0))
    best = p.max(1) >= sure
    say(f"{int(best.sum())} of {len(free)} unlabelled items are taken over at {sure:.0%}")
    adopted = {"pseudo": {"sure": sure, "adopted": int(best.sum()), "unlabelled": len(free)}}
    if not best.any():
        return network, adopted
    more = replace(
        answers,
        items=np.concatenate([answers.items, free[best]]),
        values=np.concatenate([answers.values, p[best].argmax(1).astype(answers.values.dtype)]),
    )
    new = np.arange(len(answers.items), len(more.items))
    again = _again(task, answers=more)
    held = train[parts.stop] if len(parts.stop) else None
    place = None if folder is None else folder / "pseudo"
    chosen = np.concatenate([train[parts.learn], new])
    fitted, about = again.fit(chosen, held, small=False, seed=task.seed, folder=place, show=show)
    return fitted, {**adopted, **{k: about[k] for k in ("steps", "best_step") if k in about}}


def _again(task: Task, **changes: Any) -> Task:
    """The same task with something changed, and the features that were computed already."""
    again = replace(task, **changes)
    again._features, again._standard = task._features, task._standard
    return again


def _reference(task: Task, model: Model, answers: Supervision) -> tuple[Reference | None, np.ndarray]:
    """What the pretrained features of the training items look like: four fifths are kept, one fifth tells how strange they may be."""
    data = task.data
    rows = data.train
    if len(rows) < 20:
        return None, np.zeros(0, np.int64)
    # copies, and items of one group, would look less strange than new ones do
    _, unit = np.unique(data.hashes[rows], return_inverse=True)
    if data.groups is not None:
        unit = np.where(data.groups[rows] >= 0, data.groups[rows] + len(rows), unit)
    units = np.random.default_rng([task.seed, 505]).permutation(np.unique(unit))
    aside = np.isin(unit, units[: len(units) // 5])
    draw = np.random.default_rng([task.seed, 506])
    held, kept = (np.sort(draw.permutation(part)[:BANK]) for part in (rows[aside], rows[~aside]))
    if not len(held):
        return None, np.zeros(0, np.int64)
    z, z_held = (model.vectors(data.x[r], None if data.lengths is None else data.lengths[r]) for r in (kept, held))
    labels = None
    if answers.head == "classification":
        own = np.full(len(data), -1)
        own[answers.items] = answers.values
        labels = own[kept]
    return Reference.fit(z, labels).calibrated(z_held), kept


def _label_of(data: Dataset, answers: Supervision, row: int) -> str:
    if answers.head == "classification" and answers.items.ndim == 1:
        at = np.searchsorted(answers.items, row)
        found = at < len(answers.items) and answers.items[at] == row and answers.values[at] >= 0
        return answers.classes[int(answers.values[at])] if found else ""
    if answers.head == "regression":
        at = np.searchsorted(answers.items, row)
        return f"{answers.values[at]:g}" if at < len(answers.items) and answers.items[at] == row else ""
    return ""


def _coarse(task: Task, train: np.ndarray) -> list[str]:
    """A note where the features are too coarse for what is to be tagged."""
    best, cell = task.ceiling(train[:500]), task.model.encoder.cell
    if best > 0.9:
        return []
    size = " x ".join(map(str, cell))
    finer = "a backbone that keeps more places does better: pretrain with --backbone resnet, or backbone.strides=2 of a convnet"
    return [f"a feature covers {size} places: no head on them can have more than {best:.2f} {task.fresh().head.metrics[0]}; {finer}"]


def _pair(network: Network) -> dict[str, np.ndarray]:
    """What reads a pair, in NumPy."""
    if network.head.level != "pair":
        return {}
    return dict(zip(("mean", "scale", "weight", "bias"), (t.detach().cpu().double().numpy() for t in network.reading()), strict=True))


def clear(folder: Path) -> None:
    """Remove the checkpoints of a fine-tuning that is done."""
    shutil.rmtree(folder, ignore_errors=True)
