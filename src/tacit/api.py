"""The Python API: the same verbs as the command line, on objects."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry, sides
from tacit.assemble import make_encoder
from tacit.augmentation import tune
from tacit.config import OptimConfig, RunConfig
from tacit.data import dataset
from tacit.data import inspect as inspection
from tacit.data.dataset import REMEMBERED, Dataset
from tacit.data.remembered import remembered
from tacit.data.supervision import fingerprint, supervise
from tacit.embedding.model import Model, load
from tacit.errors import Asked, MissingExtra, TacitError
from tacit.evaluation import episodes as few_shot
from tacit.evaluation.earlier import earlier
from tacit.evaluation.evaluate import Classifier, Evaluation, Representation
from tacit.evaluation.evaluate import evaluate as judge
from tacit.evaluation.readers import standardise
from tacit.finetuning import asfit
from tacit.halving import Comparison
from tacit.halving import compare as tournament
from tacit.operate.embed import embed
from tacit.runtime import choose_device, choose_precision, commit, seed_globally
from tacit.training.pretrain import Pretrained, Progress
from tacit.training.pretrain import pretrain as train
from tacit.training.run import Run, fresh_path, write_json
from tacit.types import Chosen, Spec

Say = Callable[[str], None]
Data = Dataset | str | Path | np.ndarray


def opened(data: Any, **options: Any) -> Dataset:
    """Data as a Dataset: one already, a path, or an array. Raises Asked for options that come too late for what is open already."""
    late = [k for k in ("target", "group", "split", "sequence_by", "order_by", "size", "options") if options.get(k)]
    if late and isinstance(data, (Dataset, np.ndarray)):
        raise Asked(f"{', '.join(late)} cannot change data that is open already", "give a path, or open it with tacit.open(PATH, ...)")
    if isinstance(data, Dataset):
        return data
    if isinstance(data, np.ndarray):
        return dataset.from_arrays(data)
    if isinstance(data, (list, tuple)) and data and all(isinstance(v, str) for v in data):
        given = ("size", "seed", "max_bad", "options", "spec")
        return dataset.from_texts(data, **{k: v for k, v in options.items() if k in given})
    if hasattr(data, "__arrow_c_stream__"):
        known = ("target", "group", "split", "sequence_by", "order_by", "size", "seed", "max_bad", "options", "spec")
        return dataset.from_table(data, **{k: v for k, v in options.items() if k in known})
    return dataset.open(data, **{"limit": image_limit(), **options})


def image_limit() -> int:
    """Largest training size of images, in pixels, that suits this machine when none is asked for."""
    import torch

    return 224 if torch.cuda.is_available() else 32


def inspect(data: Data, **options: Any) -> dict[str, Any]:
    """What is in the data and what is wrong with it, as plain JSON."""
    return inspection.inspect(opened(data, **options))


def pretrain(data: Data, **options: Any) -> Pretrained:
    """Learn a representation; see `tacit.training.pretrain.pretrain` for the options."""
    done = train(opened(data), **{k: v for k, v in options.items() if k != "dry_run"})
    assert isinstance(done, Pretrained)
    return done


def plan(data: Data, **options: Any) -> list[Chosen]:
    """What `pretrain` would do, each value with its reason."""
    chosen = train(opened(data), **{**options, "dry_run": True})
    assert isinstance(chosen, list)
    return chosen


@dataclass(frozen=True)
class Evaluated:
    """An evaluation and where it was written (None: nowhere)."""

    evaluation: Evaluation
    path: Path | None

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict of the evaluation."""
        return self.evaluation.verdict

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain JSON."""
        return self.evaluation.to_json()


def evaluate(
    model: Model | Pretrained | str | Path,
    data: Data,
    *,
    target: str | None = None,
    test: Data | None = None,
    levels: Sequence[int | str] | None = None,
    seeds: int = 5,
    supervised: bool = True,
    finetune: Sequence[str] = (),
    episodes: Sequence[str] = (),
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Evaluated:
    """Was it worth it? Our embedding beside the untrained encoder, the classics and supervised training, on the same labels.

    model: a run (path or object), or a Model. data: labelled data. target: column with the label. test: further labelled data to
    test on, None = the held-out part of `data`. levels: labels a class, such as [1, 5, 10, "all"]. seeds: label draws a level.
    supervised: also train from scratch on the same labels. finetune: ways of fine-tuning to compare with, such as ["lp-ft", "full"].
    episodes: few-shot episodes, such as ["5way1shot"]. options: for opening the data.
    Raises Asked when the data has no labels, or when its labels do not allow what is asked for.
    """
    say = say or (lambda words: None)
    kinds, strategies = [few_shot.kind_of(word) for word in episodes], asfit.check(finetune)
    net = _model(model)
    path = model.path if isinstance(model, Pretrained) else Path(model) if isinstance(model, (str, Path)) else None
    path = path if path is not None and (path / "config.toml").is_file() else None
    asked = given = {k: v for k, v in {"target": target, **(options or {})}.items() if v is not None}
    if path is not None:
        asked = remembered(path, data, asked, say)
    target = asked.get("target")
    full = {"modality": net.spec.modality, "spec": net.spec, **asked}
    data = net.prepare(opened(data, **full))
    if data.labels is None and data.forms:
        words = " and ".join(data.forms.values())
        raise Asked(f"evaluate measures one label an item, and {data.path} has {words}", f"tacit finetune {path or 'RUN'} {data.path}")
    if data.labels is None:
        raise Asked(f"{data.path} has no labels to evaluate with", "put the items into class folders, or name a label column with --target")
    other = data if test is None else net.prepare(opened(test, **{**full, "target": None, "group": None, "split": None, **given}))
    if other.labels is None:
        raise Asked(f"{other.path} has no labels to test with", "name the label column with --target")
    rows = data.train
    held, notes = sides.clean_test(data, rows, other, other.test if test is None else np.arange(len(other)), path)
    notes += [*sides.spanning(data, rows, other, held), *_chosen(path)]
    if test is not None and other.classes != data.classes:
        other = sides.same_classes(other, data)
    assert other.labels is not None
    y, yt = data.labels[rows], other.labels[held]
    for kind in kinds:
        few_shot.check(kind, yt, data.classes)
    say(f"{len(rows)} training and {len(held)} test items")
    x, xt = data.x[rows], other.x[held]
    n, nt = (None if d.lengths is None else d.lengths[r] for d, r in ((data, rows), (other, held)))
    modality = net.modality
    ours = Representation("ssl", "ssl", net.vectors(x, n), net.vectors(xt, nt), (), modality.probe_scale, modality.probe_c)
    fresh = untrained(net, seed).settle(x, n)
    representations = [
        ours,
        Representation("untrained", "untrained", fresh.vectors(x, n), fresh.vectors(xt, nt), (), modality.probe_scale, modality.probe_c),
    ]
    ragged = data.spec.ragged or other.spec.ragged or x.shape[1:] != xt.shape[1:]
    more, classifiers, missing = _classics(replace(data.spec, ragged=ragged), *sides.as_long(x, xt), say)
    more = [replace(r, few=modality.probe_c, scale=r.scale or modality.probe_scale) for r in more]
    more += [_beside(ours, r, w) for r in more if (w := getattr(registry.find("classics", r.name), "beside", {}).get(data.modality))]
    fit = None
    if supervised:
        from tacit.training.supervised import FromScratch

        like = _config(net) if path is None else RunConfig.read(path / "config.toml", runs=("backbone", "modality"))
        fit = FromScratch(data, like, rows, other, held)
    result = judge(
        [*representations, *more],
        y,
        yt,
        classes=data.classes,
        seeds=seeds,
        supervised=fit,
        ways=asfit.ways(net, data, rows, other, held, strategies, seed=seed),
        classifiers=classifiers,
        episodes=kinds,
        labels_seen=_labels_seen(net, path),
        groups=None if data.groups is None else data.groups[rows],
        seed=seed,
        say=say,
        levels=None if levels is None else tuple(levels),
    )
    result = replace(result, notes=[*notes, *missing, *result.notes])
    written = None
    if path is not None:
        if test is None:
            of = {"fingerprint": data.fingerprint, "labels": fingerprint(data, supervise(data, target=target)), "model": digest(path)}
            result = replace(result, results=[*result.results, *earlier(path, of, not data.classes, result.results)])
        written = path / "evaluation" / f"{_named(path, data, other, target, asked.get('split'))}.json"
        read = {
            "data": data.path,
            "fingerprint": data.fingerprint,
            "test": other.path,
            "test_fingerprint": other.fingerprint,
            "model": digest(path),
            "options": {k: asked[k] for k in REMEMBERED if asked.get(k)} | ({} if test is None else {"test": other.path}),
        }
        created = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(written, {"created": created, "commit": commit(), **result.to_json(), "read": read})
        _keep_for_report(path, net, other, held, ours.test)
    return Evaluated(result, written)


def compare(data: Data, methods: Sequence[str] | None = None, *, out: str | Path | None = None, **options: Any) -> Comparison:
    """Which pretext task suits the data? See `tacit.halving.compare` for the options."""
    if options.get("resume") and not out:
        raise Asked("--resume needs --out", "name the folder of the comparison to go on with")
    found = opened(data)
    return tournament(found, methods, **_known(options), out=Path(out) if out else fresh_path(Path("runs"), "compare", found.path))


def tune_augmentation(data: Data, *, out: str | Path | None = None, **options: Any) -> Comparison:
    """How strong should augmentation be? See `tacit.augmentation.tune` for the options."""
    if options.get("resume") and not out:
        raise Asked("--resume needs --out", "name the folder of the search to go on with")
    found = opened(data)
    return tune(found, **_known(options), out=Path(out) if out else fresh_path(Path("runs"), "augmentation", found.path))


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    return {**options, "options": {k: v for k, v in (options.get("options") or {}).items() if v is not None}}


def report(run: str | Path) -> Path:
    """One self-contained HTML file about a run; returns its path."""
    from tacit.report.build import build

    return build(Run.open(run).path)


def _model(model: Model | Pretrained | str | Path) -> Model:
    if isinstance(model, Pretrained):
        return model.model
    return model if isinstance(model, Model) else load(model, choose_device().value)


def _config(net: Model) -> RunConfig:
    """How a model without a run folder would be trained here: its architecture, the preset's optimizer."""
    preset = net.modality.preset
    device = next(net.parameters()).device.type
    parts = {"modality": net.config["modality"], "backbone": net.config["backbone"], "method": {"name": preset["method"]}}
    optim = OptimConfig(kind=preset.get("optim", {}).get("kind", "adamw"), lr=preset["lr"], weight_decay=preset["weight_decay"])
    return RunConfig(data={}, **parts, optim=optim, device=device, precision=choose_precision(device).value)


def untrained(net: Model, seed: int = 0) -> Model:
    """The same architecture with fresh weights."""
    seed_globally(seed + 1, 0)
    encoder = make_encoder(net.modality, net.config["backbone"], frozenset(net.config["needs"]))
    fresh = Model(encoder, net.modality, net.config).to(next(net.parameters()).device)
    fresh.precision = net.precision
    return fresh


def _named(path: Path, data: Dataset, other: Dataset, target: str | None, split: str | None) -> str:
    """Stem of the evaluation's file: of the test data; with a short hash unless it is the run's own data, read as the pretraining did."""

    def place(given: Any, fingerprint: Any) -> str:
        there = Path(str(given))
        return str(there.resolve()) if there.exists() else f"{given} {fingerprint}"

    stem = Path(str(other.path).split(":")[-1]).stem or "data"
    try:
        own = json.loads((path / "data.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        own = {}
    told = [place(d.path, d.fingerprint) for d in (data, other)]
    first = own.get("options") or {}
    if (target, split) == (first.get("target"), first.get("split")) and told == [place(own.get("path"), own.get("fingerprint"))] * 2:
        return stem
    return f"{stem}-{hashlib.blake2b(json.dumps([*told, target, split]).encode(), digest_size=4).hexdigest()}"


def _chosen(path: Path | None) -> list[str]:
    """A note where labels chose this run among others."""
    by = Run(path).info().get("chosen_by") if path is not None else None
    if not isinstance(by, dict) or not by.get("labels"):
        return []
    return [f"this run was chosen among others by the {by.get('criterion')}: it needed those labels as well"]


def _labels_seen(net: Model, path: Path | None) -> bool | None:
    """Did pretraining read labels, by the run or by the model itself? None = neither says."""
    said = [net.config.get("labels_seen"), Run(path).info().get("labels_seen") if path is not None else None]
    known = [bool(s) for s in said if s is not None]
    return any(known) if known else None


def _classics(spec: Spec, x: np.ndarray, xt: np.ndarray, say: Say) -> tuple[list[Representation], list[Classifier], list[str]]:
    """The field's classics for this kind of data, and notes about those that could not be measured, or not at full size."""
    representations, classifiers, notes = [], [], []
    for name in registry.names("classics"):
        cls = registry.find("classics", name)
        if spec.modality not in cls.modalities:
            continue
        try:
            if not hasattr(cls, "transform"):
                fitted = cls()
                getattr(fitted, "prepare", lambda x, spec: None)(x, spec)
                classifiers.append(Classifier(name, fitted, x, xt))
            else:
                say(f"{name}: computing")
                fitted = cls().fit(x, spec)
                representations.append(Representation(name, "classic", fitted.transform(x), fitted.transform(xt)))
            if words := getattr(fitted, "note", ""):
                notes.append(f"{name}: {words}")
        except MissingExtra as error:
            notes.append(f"{name}: not measured, {error.message} ({error.hint})")
    return representations, classifiers, notes


def _beside(ours: Representation, classic: Representation, weight: float) -> Representation:
    """Ours and a classic in one embedding, each standardised as by itself, ours with `weight` times the classic's total variance."""
    weighted = [(w, standardise(r.train, r.test, r.scale)) for w, r in ((weight**0.5, ours), (1.0, classic))]
    train, test = (
        np.concatenate([np.float32(w) * b[k] / np.sqrt(b[k].shape[1], dtype=np.float32) for w, b in weighted], 1) for k in (0, 1)
    )
    # one common scale, because a scale for each column would undo the blocks'
    probes = tuple(getattr(registry.find("classics", classic.name), "probes", ()))
    return Representation(f"ssl+{classic.name}", "option", train, test, probes, "whole", ours.few)


def _keep_for_report(path: Path, net: Model, data: Dataset, rows: np.ndarray, z: np.ndarray, most: int = 1000) -> None:
    """Vectors, names, labels and thumbnails of some test items, for the map in the report."""
    import os

    take = np.sort(np.random.default_rng(0).permutation(len(rows))[:most])
    kind = registry.find("modalities", data.modality)
    pictures = [kind.picture(np.asarray(data.x[r]), net.spec, 28) or b"" for r in rows[take]]
    labels = data.labels[rows[take]] if data.labels is not None and data.classes else np.full(len(take), -1)
    kept: dict[str, Any] = {
        "z": z[take].astype(np.float32),
        "labels": labels.astype(np.int64),
        "names": np.array([data.names[r] for r in rows[take]], dtype=str),
        "classes": np.array(data.classes, dtype=str),
        "png": np.frombuffer(b"".join(pictures), dtype=np.uint8),
        "png_offsets": np.cumsum([0, *map(len, pictures)]).astype(np.int64),
    }
    folder = path / "embeddings"
    beside = folder / f".report.{os.getpid()}.npz"
    try:
        folder.mkdir(exist_ok=True)
        np.savez(beside, **kept)
        os.replace(beside, folder / "report.npz")
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        words = f"{folder / 'report.npz'} cannot be written: {error.strerror or error}"
        raise TacitError(words, "free some space, or make the run folder writable") from error


def digest(path: Path) -> str:
    """Hash of the model that was read."""
    return hashlib.blake2b((path / "model" / "model.safetensors").read_bytes(), digest_size=16).hexdigest()


__all__ = ["Evaluated", "Pretrained", "Progress", "embed", "evaluate", "inspect", "load", "opened", "plan", "pretrain", "report"]
