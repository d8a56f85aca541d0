"""`finetune` on objects and paths: opens the data as the run did, and writes the model beside what was measured."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tacit
from tacit import calibration, costs, mitigating, registry
from tacit.api import Data, Say, digest, opened, remembered
from tacit.data.dataset import REMEMBERED, Dataset
from tacit.data.forms import OF_PAIRS
from tacit.data.paired import paired
from tacit.data.supervision import Supervision, fingerprint, labelled, supervise
from tacit.embedding.model import Model, load
from tacit.errors import Asked
from tacit.evaluation.bootstrap import bootstrap
from tacit.evaluation.verdict import DISCORDANT
from tacit.finetuning import prototypes
from tacit.finetuning.config import FinetuneConfig, settings
from tacit.finetuning.decider import Decider, is_decider
from tacit.finetuning.finetune import Finetuned, clear
from tacit.finetuning.finetune import finetune as train
from tacit.head import Head
from tacit.outliers import detection
from tacit.runtime import choose_device, commit
from tacit.training.pretrain import Pretrained
from tacit.training.run import Run, finite, fresh_path, write_json, write_text

CERTAINTY = ("nll", "brier", "ece")


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model, where it was written (None: nowhere), and what was measured, as plain JSON."""

    model: Decider
    path: Path | None
    result: dict[str, Any]

    @property
    def verdict(self) -> dict[str, Any]:
        """Whether fine-tuning was worth it, against the frozen probe on the same labels."""
        found: dict[str, Any] = self.result["verdict"]
        return found


def finetune(
    model: Model | Pretrained | str | Path,
    data: Data,
    *,
    target: str | None = None,
    labels: str | Path | None = None,
    head: str | None = None,
    strategy: str = "lp-ft",
    folds: int | None = None,
    alpha: float = 0.1,
    pseudo: float | None = None,
    outside: Data | None = None,
    mitigate: str | None = None,
    groups: str = "",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
    command: str = "",
    say: Say | None = None,
    show: Callable[[int, int, float, float], None] | None = None,
) -> Tuned:
    """Turn a pretrained encoder and some labels into a model that decides; see `tacit.finetuning.finetune` for what happens.

    model: a run (path or object), a Model, or hf:NAME or timm:NAME. data: labelled data. target: column with the label (several with
    commas: any number of labels an item). labels: a table with ids and labels instead. head: "classification", "multilabel",
    "regression", "tagging", "similarity" or "pairs"; None = as the labels suggest. strategy: "probe", "lp-ft", "full", "last-2", "lora",
    "setfit", "prototypes". folds: of cross-validation, None = where labels are few. alpha: share of sets and intervals that may miss the
    truth. pseudo: take over predictions for unlabelled items that are at least this sure. outside: data of another kind, to measure how
    well strange items are told. mitigate: how the strategy "probe" learns to treat groups alike ("reweighing", "leace", ...). groups: the
    column with the attribute. out: folder, None = RUN/finetune/<target>_<strategy>, or nowhere for a Model. resume: go on where it was
    interrupted. overrides: {"finetune": {...}, "head": {...}}. options: for opening the data. command: how to reproduce it. say, show:
    words and progress.
    """
    say = say or (lambda words: None)
    given = {k: dict(v) for k, v in (overrides or {}).items()}
    config = settings(given.get("finetune", {}))
    if not 0 < alpha < 1:
        raise Asked(f"alpha {alpha} is not a share of misses", "0.1 lets one set in ten miss the truth")
    net, run = _start(model, data, options)
    asked = {k: v for k, v in {"target": None if labels else target, **(options or {})}.items() if v is not None}
    if run is not None:
        asked = remembered(run, data, asked, say)
    late = {} if not isinstance(data, Dataset) else {"target": None}  # open data is asked for one of the columns that it has
    found = net.prepare(opened(data, **{"modality": net.spec.modality, "spec": net.spec, **asked, **late}))
    if head in OF_PAIRS and labels is None and found.raws is not None:
        found, answers = paired(labelled(found, asked.get("target") if isinstance(data, (str, Path)) else target), head)
    else:
        answers = supervise(found, target=target if labels else asked.get("target"), file=labels, head=head)
    if strategy == "prototypes":  # before a folder is made
        prototypes.check(registry.find("heads", answers.head).level, net.encoder.can)
    treated = None if mitigate is None else mitigating.of(found, answers, mitigate, groups, strategy, seed)
    if groups and mitigate is None:
        raise Asked("--groups says whom to treat alike, and --mitigate how", "--mitigate reweighing, or leave --groups out")
    name = (
        f"{_stem(target or (Path(labels).stem if labels else answers.head))}_{strategy}{'' if mitigate is None else f'_{_stem(mitigate)}'}"
    )
    path = Path(out) if out else run / "finetune" / name if run is not None else None
    if path is None and isinstance(model, (str, Path)):
        path = fresh_path(Path("runs"), "finetune", found.path)
    request = _request(found, answers, strategy, config, given, folds, alpha, pseudo, seed, _weights(net))
    request |= {} if mitigate is None else {"mitigate": mitigate, "groups": groups}
    if path is not None and not out and not resume:
        path = _free(path, request)
    lock = Run.start(path, resume or _ours(path)) if path is not None else None
    try:
        if path is not None:
            _same(path, resume, request)
            write_json(path / "asked.json", request)
        power, begin = costs.meters(), time.perf_counter()
        done = train(
            net,
            found,
            answers,
            strategy=strategy,
            config=config,
            head=given.get("head"),
            folds=folds,
            alpha=alpha,
            pseudo=pseudo,
            mitigation=None if treated is None else treated.learn,
            seed=seed,
            seen=_seen(run),
            folder=None if path is None else path / "checkpoints",
            say=say,
            show=show,
        )
        spent = round(time.perf_counter() - begin, 2)
        used = costs.energy(spent, choose_device().value, power)
        result = _measured(done, found, answers, strategy, net, outside, seed, say)
        result |= {"command": command, "target": target or asked.get("target"), "alpha": alpha, "seed": seed, "config": asdict(config)}
        result |= {} if mitigate is None else {"mitigation": {"name": mitigate, "groups": groups}}
        result["cost"] = {**_cost(done.decider, found, spent), "seconds": spent, "energy": used}
        read = {k: asked[k] for k in REMEMBERED if asked.get(k)}
        result["read"] = {
            "data": found.path,
            "fingerprint": found.fingerprint,
            "model": _weights(net) if run is None else digest(run),
            "options": read,
            "labels": fingerprint(found, answers),
        }
        about = {**done.decider.knowledge.about, "target": result["target"], "data": found.path, "place": found.describe()["place"]}
        about |= {"options": read, "run": None if run is None else run.name}
        about |= {} if mitigate is None else {"mitigation": {"name": mitigate, "groups": groups}}
        about |= {"tacit": tacit.__version__, "n_labels": len(answers), "scores": _first_scores(result)}
        done.decider.knowledge = replace(done.decider.knowledge, about=about)
        if path is not None:
            done.decider.save(path)
            write_text(path / "CARD.md", _card(path, result, found))
            write_json(path / "result.json", finite(result))
            clear(path / "checkpoints")
    finally:
        if lock is not None:
            lock.close()
    return Tuned(done.decider, path, result)


def _start(model: Any, data: Any, options: Mapping[str, Any] | None) -> tuple[Model, Path | None]:
    """(the encoder, its run folder where there is one)."""
    if isinstance(model, Pretrained):
        return model.model, model.path
    if isinstance(model, Model):
        return model, None
    if str(model).startswith(("hf:", "timm:")):
        from tacit.foreign import fetch

        asked = dict(options or {})
        return fetch(str(model), opened(data, **asked).spec, asked.get("size")).to(choose_device().value), None
    if is_decider(model):
        raise Asked(f"{model} is fine-tuned already", "give the run that it was made from")
    path = Path(model)
    return load(path, choose_device().value), path if (path / "config.toml").is_file() else None


def _seen(run: Path | None) -> np.ndarray | None:
    """Hashes of what pretraining saw, None where that is not known."""
    file = None if run is None else run / "seen.npy"
    return np.load(file, allow_pickle=False) if file is not None and file.is_file() else None


def _request(data: Dataset, answers: Supervision, *rest: Any) -> dict[str, Any]:
    """What has to be the same when a fine-tuning goes on."""
    names = ("strategy", "config", "overrides", "folds", "alpha", "pseudo", "seed", "weights")
    plain = {k: asdict(v) if isinstance(v, FinetuneConfig) else v for k, v in zip(names, rest, strict=True)}
    return {"data": data.fingerprint, "labels": fingerprint(data, answers), **plain}


def _same(path: Path, resume: bool, request: Mapping[str, Any]) -> None:
    """Start with an empty place, or go on with the same request. Raises Asked where they differ."""
    differ = _differ(path, request)
    if differ:
        raise Asked(f"{path} was begun with another {', '.join(differ)}", "choose another --out, or ask for the same")
    if not resume:
        clear(path / "checkpoints")


def _differ(path: Path, request: Mapping[str, Any]) -> list[str]:
    """In what a fine-tuning in this place differs from the request; [] where there is none."""
    stored = path / "asked.json"
    if not stored.is_file():
        return []
    before = json.loads(stored.read_text(encoding="utf-8"))
    return sorted(k for k in request if before.get(k) != json.loads(json.dumps(request[k])))


def _free(path: Path, request: Mapping[str, Any]) -> Path:
    """The place itself, or the first with a number behind it that holds nothing else."""
    place, n = path, 1
    while _differ(place, request):
        n += 1
        place = path.with_name(f"{path.name}_{n}")
    return place


def _ours(path: Path | None) -> bool:
    """Whether a folder was made by an earlier fine-tuning, which this one may replace."""
    return path is not None and (path / "asked.json").is_file()


def _cost(model: Decider, data: Dataset, spent: float) -> dict[str, Any]:
    """What a decision costs, the embedding for its evidence included."""
    some = data.train[: max(costs.BATCHES)]
    lengths = None if data.lengths is None else data.lengths[some]
    whole = torch.nn.ModuleList([model.network, *([] if model.network.model is model.pretrained else [model.pretrained])])
    return costs.measure(whole, model.outputs, data.x[some], lengths, seconds=float(np.clip(0.02 * spent, 0.05, 0.5)))


def _stem(words: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in words)[:60] or "labels"


def _measured(
    done: Finetuned, data: Dataset, answers: Supervision, strategy: str, net: Model, outside: Any, seed: int, say: Say
) -> dict[str, Any]:
    """Scores on held-out items with intervals, the comparison with the frozen probe, reliability, and how strange items are told."""
    knowledge, head = done.decider.knowledge, done.decider.knowledge.head
    result: dict[str, Any] = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), **done.found}
    result |= {
        "classes": list(answers.classes),
        "n_test": len(done.test),
        "notes": done.notes,
        "results": [],
        "reliability": None,
        "ood": {},
    }
    y = answers.values[done.test]
    first = head.metrics[0]
    scored: dict[str, tuple[float, ...]] = {}
    difference: dict[str, tuple[float, ...]] = {}
    if done.out is not None and len(y):
        out, probe = done.out, done.probe_out
        scored = bootstrap(lambda r: head.scores(out[r], y[r], knowledge.calibration), len(y), seed=seed, draws=_draws(out))
        result["results"] += _rows("ssl", f"finetune:{strategy}", scored, len(y), result["learned_from"])
        if probe is not None:
            frozen = bootstrap(lambda r: head.scores(probe[r], y[r], {}), len(y), seed=seed, draws=_draws(out))
            frozen = {k: v for k, v in frozen.items() if k in head.metrics and k not in CERTAINTY}  # the probe was not calibrated
            reader = "ridge" if head.level != "token" and not head.classes else "linear"
            result["results"] += _rows("ssl", reader, frozen, len(y), result["learned_from"] + result["stopped_by"])
            difference = bootstrap(
                lambda r: head.scores(out[r], y[r], {}),
                len(y),
                other=lambda r: head.scores(probe[r], y[r], {}),
                seed=seed,
                draws=_draws(out),
            )
        if answers.head == "classification":
            t = float(knowledge.calibration.get("temperature", 1.0))
            result["reliability"] = {k: _curve(out, y, v) for k, v in (("before", 1.0), ("after", t))}
    result["verdict"] = _verdict(
        strategy, first, first in head.errors, scored, difference, len(y), result["learned_from"], _discordant(done, head)
    )
    if knowledge.reference is not None and len(data.test):
        rows = data.test
        scores = knowledge.reference.score(net.vectors(data.x[rows], None if data.lengths is None else data.lengths[rows]))
        result["ood"]["false_alarms"] = {k: float((knowledge.reference.rank(k, v) > 0.95).mean()) for k, v in scores.items()}
        if outside is not None:
            say("measuring how strange the items of --outside are")
            other = net.prepare(opened(outside, modality=net.spec.modality, spec=net.spec))
            theirs = knowledge.reference.score(net.vectors(other.x, other.lengths))
            result["ood"] |= {k: detection(scores[k], theirs[k]) for k in scores}
            result["ood"]["outside"] = {"data": other.path, "fingerprint": other.fingerprint, "items": len(other)}
    return result


def _discordant(done: Finetuned, head: Head) -> int:
    """Held-out items that the model and the frozen probe decide otherwise."""
    if done.out is None or done.probe_out is None:
        return 0
    if not head.classes:
        return len(done.out)
    a, b = (
        (o > 0) if head.level == "item" and done.decider.knowledge.name == "multilabel" else o.argmax(-1)
        for o in (done.out, done.probe_out)
    )
    return int((a != b).reshape(len(a), -1).any(1).sum())


def _draws(out: np.ndarray) -> int:
    """Bootstrap draws: fewer where one look at all items is slow."""
    return int(np.clip(2e9 / max(1, out.size) / 10, 50, 500))


def _rows(who: str, probe: str, scored: Mapping[str, tuple[float, ...]], n: int, labels: int) -> list[dict[str, Any]]:
    same = {"representation": who, "probe": probe, "labels_per_class": "all", "n_test": n, "seeds": 1, "n_train_labels": labels}
    return [{**same, "metric": k, "value": v, "low": low, "high": high} for k, (v, low, high) in scored.items()]


def _curve(out: np.ndarray, y: np.ndarray, t: float) -> list[dict[str, Any]]:
    p = calibration.softmax(out, t)
    return [asdict(b) for b in calibration.reliability(p.max(1), p.argmax(1) == y)]


def _verdict(
    strategy: str, metric: str, error: bool, scored: Mapping[str, Any], difference: Mapping[str, Any], n: int, labels: int, discordant: int
) -> dict[str, Any]:
    """Is this better than the frozen probe on the same labels?"""
    out: dict[str, Any] = {"metric": metric, "value": None, "difference": None, "low": None, "high": None, "helps": None, "n_test": n}
    if metric not in scored:
        return {**out, "sentence": "Nothing was scored: no held-out item has a label."}
    if not np.isfinite(scored[metric]).all():
        return {**out, "sentence": f"Nothing was measured: {metric.replace('_', ' ')} is not defined on these {n} held-out items."}
    value, low, high = scored[metric]
    out |= {"value": value}
    share = metric in ("accuracy", "balanced_accuracy", "iou", "average_precision", "f1")

    def said(v: float, signed: bool = False) -> str:
        return f"{100 * v:{'+' if signed else ''}.1f}{'' if signed else ' %'}" if share else f"{v:{'+' if signed else ''}.3f}"

    reached = f"{said(value)} {metric.replace('_', ' ')} [{said(low)} to {said(high)}] on {n} held-out items, from {labels} labels"
    if metric not in difference:
        return {**out, "sentence": f"The frozen encoder with a linear probe reaches {reached}."}
    d, below, above = difference[metric]
    out |= {"difference": d, "low": below, "high": above}
    better = (above < 0, below > 0) if error else (below > 0, above < 0)
    out["helps"] = True if better[0] else False if better[1] else None
    if discordant < DISCORDANT:
        out["helps"] = None  # no sign test reaches 5 % on fewer
    points = " points" if share else ""
    against = f"{said(d, True)}{points} against the frozen probe on the same labels [{said(below, True)} to {said(above, True)}]"
    what = {True: "Fine-tuning helped", False: "Fine-tuning hurt", None: "Fine-tuning made no clear difference"}[out["helps"]]
    best = {True: strategy, False: "the frozen probe", None: "either; the frozen probe is cheaper and forgets nothing"}[out["helps"]]
    return {**out, "sentence": f"{what}: {strategy} reaches {reached}: {against}. The best way to use these labels: {best}."}


def _first_scores(result: Mapping[str, Any]) -> dict[str, Any]:
    mine = [r for r in result["results"] if r["probe"].startswith("finetune:")]
    return {r["metric"]: [r["value"], r["low"], r["high"]] for r in finite({"rows": mine})["rows"]}


def _card(path: Path, result: Mapping[str, Any], data: Dataset) -> str:
    scores = "\n".join(
        f"- {r['metric'].replace('_', ' ')}: {r['value']:.4g} [{r['low']:.4g} to {r['high']:.4g}], n = {r['n_test']}"
        for r in result["results"]
        if r["probe"].startswith("finetune:")
    )
    return f"""# {path.name}

A model that decides ({result["head_kind"]}) about {data.modality} data, made from {result["learned_from"]} labels of `{data.path}` by
`{result["strategy"]}`.

{result["verdict"]["sentence"]}

{scores or "Nothing was scored."}

- Calibrated on {result["calibrated_on"]} labels that it did not learn from{" (by cross-fitting)" if result["cross_fitted"] else ""}.
- It abstains where more than one class is possible, and where an item is unlike the training data.
- Classes: {", ".join(result["classes"][:50]) or "a number is predicted"}
- Not known: fairness, privacy, and behaviour on other data than this.
- Intended use: to be written by whoever releases it.
"""


def _weights(net: Model) -> str:
    whole = hashlib.blake2b(digest_size=16)
    for value in net.encoder.state_dict().values():
        whole.update(value.detach().cpu().contiguous().view(-1).float().numpy().tobytes())
    return whole.hexdigest()


__all__ = ["Tuned", "finetune"]
