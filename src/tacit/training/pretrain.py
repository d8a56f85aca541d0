"""Pretraining as a run: plan, calibrate, train, save; stop and resume at any moment."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

import tacit
from tacit import costs, registry
from tacit.assemble import info_of, make_method, make_modality, needs_before, needs_of, parameters
from tacit.config import RunConfig
from tacit.data.dataset import Dataset
from tacit.data.inspect import duplicates
from tacit.data.remembered import KEPT
from tacit.embedding.model import Model
from tacit.errors import Asked, Collapsed, Diverged, TacitError
from tacit.foreign import is_foreign, look_up
from tacit.layers import grouped
from tacit.method import Method
from tacit.modality import Modality
from tacit.runtime import commit
from tacit.training import checkpoint, origin
from tacit.training import private as hide
from tacit.training.health import Health
from tacit.training.loader import Loader, rows_of
from tacit.training.loop import Loop, calibrate, check_options, deterministic, make_fabric
from tacit.training.plan import DEFAULT_BUDGET, make_plan, preset_steps, seconds
from tacit.training.run import Run, fresh_path, write_array, write_json, write_text
from tacit.training.session import Progress, Session
from tacit.types import LABELS, Chosen

Say = Callable[[str], None]
HEADS = "heads.safetensors"  # in the model folder: what a method keeps beside the encoder


@dataclass(frozen=True)
class Pretrained:
    """A finished (or resumed) run: its folder and its model."""

    path: Path
    model: Model
    config: RunConfig
    health: Health | None


def pretrain(
    data: Dataset,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    budget: str | float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    init: str | None = None,
    devices: int = 1,
    nodes: int = 1,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    command: str = "",
    say: Say | None = None,
    show: Callable[[Progress], None] | None = None,
    dry_run: bool = False,
    **asked: Any,
) -> Pretrained | list[Chosen]:
    """Learn a representation of the training items of a data set; labels are read only if the method needs them.

    out: run folder, None = runs/<date>_<method>_<data>. resume: go on with the run in `out`. budget: time such as "10min";
    steps, epochs: instead of a budget. init: a run or model folder whose encoder is the start, or a checkpoint (hf:NAME, timm:NAME).
    devices, nodes: processes for distributed training. overrides: {part: {hyperparameter: value}}. command: how to reproduce the run.
    say: words for a person. show: progress, about once a second. dry_run: return the plan and do nothing.
    asked: method, backbone, size, batch_size, device, precision, seed; None = chosen by the planner.
    """
    say = say or (lambda words: None)
    given = dict(overrides or {})
    if budget is not None and (steps is not None or epochs is not None):
        raise Asked("--budget excludes --steps and --epochs", "give one of them")
    limit = seconds(budget) if budget is not None else None
    path = Path(out) if out else None
    if resume and path is None:
        raise Asked("--resume needs --out", "name the run folder to go on with")
    request = {**asked, "budget": limit, "steps": steps, "epochs": epochs, "init": init}
    resumed = resume and path is not None and (path / "config.toml").is_file()
    time_ = None if steps is not None or epochs is not None else limit or DEFAULT_BUDGET
    brought = look_up(init, data.modality) if not resumed and init is not None and is_foreign(init) else None
    carried = registry.find("modalities", data.modality).carried if brought is not None and brought.modality else {}
    ours = {"backbone", *(f"optim.{k}" for k in set(carried.get("optim", {})) - set(given.get("optim", {})))}
    if resumed and path is not None:
        if Run(path).info().get("erased"):
            raise Asked(f"{path} was made by `tacit erase`: there is no training to go on with", "train the run that it was made from")
        data = origin.as_before(path, data)
    elif brought is not None:
        data = origin.read_for(brought, data)
        if not asked.get("method"):
            asked["method"] = carried.get("method")
            ours.add("method")
    asked_for = str(asked.get("method") or registry.find("modalities", data.modality).suggest(data.spec, len(data.train), time_)[0])
    if resumed and path is not None:
        config = RunConfig.read(path / "config.toml", named=[asked.get("method"), asked.get("backbone")])
        chosen: list[Chosen] = []
        origin.same_request(config, Run(path).info().get("asked", {}), request, given)
    else:
        many = len(rows_of(data, needs_before({**given.get("method", {}), "name": asked_for})))
        if brought is not None:
            asked["backbone"], given = origin.built_as(str(init), brought, asked.get("backbone"), given, carried)
        config, chosen = make_plan(data, many, budget=time_, steps=steps, epochs=epochs, overrides=given, **asked)
        if brought is not None:
            chosen = [replace(c, reason=f"suits {init}") if c.name in ours and c.reason == "asked for" else c for c in chosen]
            chosen = [Chosen("weights", init, "asked for"), *(c for c in chosen if c.name != "size")]
    rows = rows_of(data, needs_before(config.method))
    digest = origin.training_digest(data, bool(needs_before(config.method) & LABELS))
    if resumed and (config.data.get("fingerprint"), config.data.get("training")) != (data.fingerprint, digest):
        raise Asked(f"the data, its split or its form changed since {path} was started", "resume with the same data and options")
    config = replace(config, data={**config.data, "training": digest})
    preset = registry.find("modalities", data.modality).settings(str(config.method["name"]), data.spec)
    fixed = resumed or steps is not None or epochs is not None or "steps" in given.get("train", {})
    if not fixed and limit is None and "steps" in preset:
        config = _with_steps(config, preset_steps(preset, data.spec, len(rows), config.train.batch))
        chosen.append(Chosen("steps", config.train.steps, f"the preset for {data.modality} data"))
        fixed = True
    if dry_run:
        check_options(_method(data, config)[1], config, data.groups is not None)
        if not fixed:
            reason = "asked for" if limit else "the default; the first steps tell how many fit"
            chosen.append(Chosen("budget", limit or DEFAULT_BUDGET, reason))
        return chosen
    path = path or fresh_path(Path("runs"), str(config.method["name"]), data.path)
    run = Run.start(path, resume)
    begin = time.perf_counter()
    try:
        with deterministic():
            fabric = make_fabric(config, devices, nodes)
            modality, method = _method(data, config)
            newest = checkpoint.latest(run.path / "checkpoints") if resumed else None
            init = run.info().get("init") if resumed else init
            if config.private.epsilon:
                hide.alone(config, devices, nodes, method.surveys)
                grouped(method)
            inherited = origin.start_from(method, init, data.spec) if init and newest is None else None
            if config.private.epsilon and inherited is not None:
                hide.beyond(inherited.seen, data.hashes[rows], str(init))
            labels = bool(method.needs & LABELS)
            loop = Loop.build(fabric, method, Loader(data, rows, modality, fabric.device, labels), modality, config)
            lead = fabric.global_rank == 0
            if config.private.epsilon:
                loop.private = hide.Private(
                    config.private.noise or 1.0, config.private.clip, min(1.0, config.train.batch / len(rows)), b"0"
                )
            if not fixed:
                most = preset_steps(preset, data.spec, len(rows), config.train.batch) if limit is None else None
                chosen.append(_fill(loop, limit or DEFAULT_BUDGET, begin, most, say))
            if loop.private is not None:
                chosen.append(_hidden(loop, run, len(rows), resumed))
            for c in chosen:
                say(f"  {c.name:<20} {c.value!s:<14} {c.reason}")
            if lead and not resumed:
                _lay_out(run, data, loop, chosen, inherited or origin.Inherited(), init, request, command, say)
            return _carry_on(run, loop, data, newest, resumed, say, show)
    except (Diverged, Collapsed):
        hide.burn(run.path)  # nothing goes on from there
        raise
    finally:
        run.close()
        with contextlib.suppress(OSError):  # refused before it began: no empty folder stays
            if out is None and [p.name for p in path.iterdir()] == [".lock"]:
                (path / ".lock").unlink()
                path.rmdir()


def _fill(loop: Loop, budget: float, begin: float, most: int | None, say: Say) -> Chosen:
    """Set the number of steps so that the run ends within the budget, measured on throw-away steps. most: steps that still help."""
    say(f"measuring how many steps fit into {budget:.0f} s")
    took, pause = calibrate(loop, min(10.0, 0.05 * budget))
    pause = float(loop.fabric.broadcast(pause))  # what is decided by it is decided by all
    if pause > budget / 3:
        pause = _fewer_surveys(loop, budget, pause, say)
    count = max(10, int((0.96 * (budget - (time.perf_counter() - begin)) - pause) / took))
    reason = f"{1 / took:.1f} steps/s measured here fill the budget of {budget:.0f} s"
    if most is not None and count > most:
        count, reason = most, "more passes over the data rarely help (a --budget overrides this)"
    count = int(loop.fabric.broadcast(count))  # all processes take the leading one's number
    loop.config = _with_steps(loop.config, count)
    return Chosen("steps", count, reason)


def _hidden(loop: Loop, run: Run, items: int, resumed: bool) -> Chosen:
    """Set the noise by the steps that are planned, and draw the key."""
    assert loop.private is not None
    if not resumed:
        loop.config = hide.settled(loop.config, items)
    own = loop.config.private
    done = resumed and run.info().get("status") == "done"  # its key is burnt, and no step follows
    loop.private = replace(loop.private, noise=own.noise, key=b"" if done else hide.key_of(run.path, resumed))
    said = f"keeps to epsilon {own.epsilon:g} at delta {own.delta:.1e} over {loop.config.train.steps} steps"
    return Chosen("private.noise", round(own.noise, 3), said)


def _fewer_surveys(loop: Loop, budget: float, pause: float, say: Say) -> float:
    """Look at all items as often as a third of the budget allows; the seconds of that. Raises Asked where that is not once, or not free."""
    surveys, method = loop.method.surveys, loop.config.method
    fewer = int(surveys * budget / 3 / pause)
    free = "rounds" in registry.knobs(type(loop.method)) and "rounds" not in method
    said = f"embedding all items {surveys} times would take {pause:.0f} s of {budget:.0f} s"
    if not fewer or not free:
        raise Asked(said, f"give a larger --budget{f', or method.rounds={fewer}' if fewer and 'rounds' in method else ''}")
    say(f"{said}: {fewer} times instead (method.rounds overrides this)")
    loop.method.surveys = fewer
    loop.config = replace(loop.config, method={**method, "rounds": fewer})
    return pause * fewer / surveys


def _lay_out(
    run: Run, data: Dataset, loop: Loop, chosen: list[Chosen], inherited: origin.Inherited, init: str | None, request: Mapping[str, Any],
    command: str, say: Say,
) -> None:  # fmt: skip
    """Write what a run knows before its first step; config.toml last, because from then on a resume trusts what is there."""
    config, copies, hashes = loop.config, duplicates(data), data.hashes[data.train]
    if copies["across"]:
        say(f"{copies['across']:,} held-out items are exact copies of training items; `tacit evaluate` will leave them out")
    write_json(run.path / "data.json", {**data.describe(), "duplicates": copies["within"], "leaks": copies["across"]})
    if data.opened.get("keep"):  # the list may move or change
        write_text(run.path / KEPT, Path(data.opened["keep"]).read_text(encoding="utf-8"))
    if inherited.seen is not None:  # without the file nothing claims that leaks were checked
        write_array(run.path / "seen.npy", np.unique(np.concatenate([hashes, inherited.seen])))
    own = bool(loop.method.needs & LABELS)
    run.note(
        id=run.path.name,
        tacit=tacit.__version__,
        commit=commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="training",
        command=command or shlex.join(sys.argv),
        seed=config.train.seed,
        # a run that starts from one that read labels has read them too; None = the start does not say
        labels_seen=True if own else inherited.labels_seen,
        init=init,
        asked={k: v for k, v in request.items() if v is not None},
        device=_reasoned(chosen, "device"),
        precision=_reasoned(chosen, "precision"),
        plan=[asdict(c) for c in chosen],
        steps=config.train.steps,
        parameters=parameters(loop.method.encoder),
    )
    run.say(f"planned {config.train.steps} steps of {config.train.batch} items")
    write_text(run.path / "config.toml", config.to_toml())


def _carry_on(
    run: Run, loop: Loop, data: Dataset, newest: Path | None, resumed: bool, say: Say, show: Callable[[Progress], None] | None
) -> Pretrained:
    """Train from the newest checkpoint (None: from the start) to the end."""
    lead = loop.fabric.global_rank == 0
    meta: dict[str, Any] = {}
    if newest is not None:
        meta = checkpoint.restore(newest, loop.trainee, loop.optimizer, loop.fabric.device)
        loop.step = meta["step"]
        say(f"resuming at step {loop.step} of {loop.total}")
    elif resumed:
        say("no checkpoint yet: starting anew")
    info = run.info()
    if newest is not None and info.get("status") == "done":
        health = Health(**info["health"]) if info["health"] else None
        return Pretrained(run.path, _finish(run, loop, data, health, False), loop.config, health)
    if lead:
        run.forget_after(loop.step)
        run.note(status="training")
    power = costs.meters()
    health = Session(run, loop, meta, show).train()
    spent = float(run.info().get("seconds") or 0.0)
    used = costs.energy(spent, loop.fabric.device, power, loop.fabric.world_size) if lead else None
    model = _finish(run, loop, data, health, lead)
    if used is not None:
        run.note(cost={**_cost(model, data, loop.loader.rows, spent), "seconds": spent, "energy": used})
    return Pretrained(run.path, model, loop.config, health)


def _cost(model: Model, data: Dataset, rows: np.ndarray, spent: float) -> dict[str, Any]:
    """What an embedding costs; measuring it takes little of the time that the training took."""
    some = rows[: max(costs.BATCHES)]
    lengths = None if data.lengths is None else data.lengths[some]
    return costs.measure(model, model.vectors, data.x[some], lengths, seconds=float(np.clip(0.02 * spent, 0.05, 0.5)))


def _method(data: Dataset, config: RunConfig) -> tuple[Modality, Method]:
    """Raises CannotPair and Asked for what does not fit together."""
    modality = make_modality(data.spec, config.modality)
    needs = needs_before(config.method)
    classes, numbers = (len(data.classes), data.task == "regression") if needs & LABELS else (0, False)
    info = info_of(modality, len(rows_of(data, needs)), classes, numbers)
    return modality, make_method(modality, config.method, config.backbone, info, config.train.seed)


def _with_steps(config: RunConfig, steps: int) -> RunConfig:
    return replace(config, train=replace(config.train, steps=steps))


def _finish(run: Run, loop: Loop, data: Dataset, health: Health | None, lead: bool) -> Model:
    config = loop.config
    needs = sorted(needs_of(loop.method) - LABELS)
    about = {
        "backbone": dict(config.backbone),
        "modality": dict(config.modality),
        "needs": needs,
        "labels_seen": run.info().get("labels_seen"),
        "ignores": loop.modality.ignored(loop.method.views),
    }
    model = Model(loop.method.deploy(), loop.modality, about)
    model.precision = config.precision
    model.eval()
    rows = loop.loader.rows
    if not config.private.epsilon:  # a mean of the training items would leave with the weights
        model.settle(data.x[rows], None if data.lengths is None else data.lengths[rows])
    if lead:
        if config.private.epsilon:
            run.note(private=hide.told(config, len(rows), loop.step))
        model.save(run.path / "model")
        _keep(run.path / "model" / HEADS, loop.method)
        write_text(run.path / "model" / "CARD.md", _card(run, loop, data, model))
        summary = None if health is None else {k: v for k, v in asdict(health).items() if v == v}  # without NaN
        run.note(status="done", health=summary)
        hide.burn(run.path)
        run.say("done" if health is None else f"done: {health.words}")
    return model


def _keep(path: Path, method: Method) -> None:
    """Write the modules that a method keeps beside its encoder, if any, as NAME.parameter; atomically."""
    heads = nn.ModuleDict({name: getattr(method, name) for name in method.keeps})
    if not heads:
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in heads.state_dict().items()}, beside)
        beside.replace(path)
    except (OSError, SafetensorError) as error:
        raise TacitError(f"the model cannot be written to {path}: {error}", "free some space, then add --resume") from error


def _card(run: Run, loop: Loop, data: Dataset, model: Model) -> str:
    c, rows = loop.config, len(loop.loader.rows)
    read = {True: "read", False: "not read"}.get(model.config["labels_seen"], "perhaps read: the run it started from does not say")
    init = run.info().get("init")
    begun = f"; what the start of this run, {init}, saw is another matter" if init else ", never seen"
    return f"""# {run.path.name}

An encoder of {data.modality} data, one vector of {model.dim} numbers an item, learned with `{c.method["name"]}` and a
`{c.backbone["name"]}` backbone from {rows} items of `{data.path}` in {c.train.steps} steps.

- Taught to ignore: {model.config["ignores"]}
- Labels were {read}.
- Held out: {len(data.test)} items ({data.split_rule}){begun}.
- Privacy: {_promised(run.info().get("private"))}
- Not known: fairness, and behaviour on other data than this; `tacit audit` looks.
- Whether it helps stands in ../evaluation once `tacit evaluate` has run.

Read it with `tacit.load("{run.path.name}")`; the weights are safetensors.
"""


def _promised(private: Any) -> str:
    if not isinstance(private, dict):
        return "trained without differential privacy: nothing bounds what the weights give away of an item."
    return f"epsilon {private['epsilon']:.2f} at delta {private['delta']:.1e} ({private['accountant']}), for {private['covers']}."


def _reasoned(chosen: list[Chosen], name: str) -> dict[str, Any]:
    return next(({"value": c.value, "reason": c.reason} for c in chosen if c.name == name), {"value": None, "reason": ""})
