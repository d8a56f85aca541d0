"""Pretraining as a run: plan, calibrate, train, watch, save; stop and resume at any moment."""

from __future__ import annotations

import contextlib
import math
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import tacit
from tacit import registry
from tacit.assemble import make_method, make_modality, parameters
from tacit.config import RunConfig
from tacit.data.dataset import Dataset
from tacit.data.inspect import inspect
from tacit.embedding.model import Model
from tacit.errors import Asked, Collapsed, Diverged, Stopped
from tacit.method import Method
from tacit.modality import Modality
from tacit.runtime import commit
from tacit.training import checkpoint
from tacit.training.health import Health, Watch
from tacit.training.loader import Loader
from tacit.training.loop import Loop, calibrate, deterministic, make_fabric
from tacit.training.plan import DEFAULT_BUDGET, make_plan, preset_steps, seconds
from tacit.training.run import Run, fresh_path, write_array, write_json, write_text
from tacit.types import Chosen, Info

Say = Callable[[str], None]
# where an option of the command line stands in a stored configuration
_PLACES = {
    "method": ("method", "name"),
    "backbone": ("backbone", "name"),
    "size": ("backbone", "size"),
    "batch_size": ("train", "batch"),
    "steps": ("train", "steps"),
}


@dataclass(frozen=True)
class Progress:
    """What the progress line shows."""

    step: int
    total: int
    loss: float
    health: Health
    items_per_s: float
    left: float


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
    steps, epochs: instead of a budget. init: a run or model folder whose encoder is the start. devices, nodes: processes for
    distributed training. overrides: {part: {hyperparameter: value}}. command: how to reproduce the run. say: words for a
    person. show: progress, about once a second. dry_run: return the plan and do nothing.
    asked: method, backbone, size, batch_size, device, precision, seed; None = chosen by the planner.
    """
    say = say or (lambda words: None)
    rows = data.train
    if budget is not None and (steps is not None or epochs is not None):
        raise Asked("--budget excludes --steps and --epochs", "give one of them")
    limit = seconds(budget) if budget is not None else None
    path = Path(out) if out else None
    if resume and path is None:
        raise Asked("--resume needs --out", "name the run folder to go on with")
    stored = path / "config.toml" if resume and path else None
    if stored is not None and stored.is_file():
        config = RunConfig.read(stored, named=[asked.get("method"), asked.get("backbone")])
        chosen: list[Chosen] = []
        if config.data["fingerprint"] != data.fingerprint:
            raise Asked(f"the data changed since {path} was started", "resume with the same data, or start a new run")
        _same_request(config, steps, overrides, asked)
    else:
        config, chosen = make_plan(data, len(rows), steps=steps, epochs=epochs, overrides=overrides, **asked)
        stored = None
    preset = registry.find("modalities", data.modality).settings(str(config.method["name"]))
    fixed = stored is not None or steps is not None or epochs is not None or "steps" in (overrides or {}).get("train", {})
    if not fixed and limit is None and "steps" in preset:
        config = _with_steps(config, preset_steps(preset, data.spec, len(rows), config.train.batch))
        chosen.append(Chosen("steps", config.train.steps, f"the preset for {data.modality} data"))
        fixed = True
    if dry_run:
        _method(data, config)
        if not fixed:
            chosen.append(
                Chosen("budget", limit or DEFAULT_BUDGET, "asked for" if limit else "the default; the first steps tell how many fit")
            )
        return chosen
    path = path or fresh_path(Path("runs"), str(config.method["name"]), data.path)
    run = Run.start(path, resume)
    begin = time.perf_counter()
    try:
        with deterministic():
            return _train(
                run, data, rows, config, chosen, fixed, limit, init, devices, nodes, command, say, show, begin, bool(stored), preset
            )
    finally:
        run.close()


def _method(data: Dataset, config: RunConfig) -> tuple[Modality, Method]:
    """Raises CannotPair and Asked for what does not fit together."""
    modality = make_modality(data.spec, config.modality)
    info = Info(len(data.train), len(data.classes), dict(modality.tasks), data.task == "regression")
    return modality, make_method(modality, config.method, config.backbone, info, config.train.seed)


def _same_request(
    config: RunConfig, steps: int | None, overrides: Mapping[str, Mapping[str, Any]] | None, asked: Mapping[str, Any]
) -> None:
    """A resumed run keeps its plan: raise Asked when something else is asked for than what is stored."""
    stored = {part: dict(values) for part, values in asdict(config).items() if isinstance(values, Mapping)}
    wanted = {part: dict(values) for part, values in (overrides or {}).items()}
    for name, (part, key) in _PLACES.items():
        value = steps if name == "steps" else asked.get(name)
        if value is not None:
            wanted.setdefault(part, {}).setdefault(key, value)
    for part, values in wanted.items():
        for key, value in values.items():
            if key not in stored[part] or stored[part][key] != value:
                now = stored[part].get(key, "the default")
                raise Asked(
                    f"the run was started with {part}.{key}={now}, not {value}", "resume without it, or start a new run in another --out"
                )


def _with_steps(config: RunConfig, steps: int) -> RunConfig:
    return replace(config, train=replace(config.train, steps=steps))


def _train(
    run: Run,
    data: Dataset,
    rows: np.ndarray,
    config: RunConfig,
    chosen: list[Chosen],
    fixed: bool,
    limit: float | None,
    init: str | None,
    devices: int,
    nodes: int,
    command: str,
    say: Say,
    show: Callable[[Progress], None] | None,
    begin: float,
    resumed: bool,
    preset: Mapping[str, Any],
) -> Pretrained:
    fabric = make_fabric(config, devices, nodes)
    lead = fabric.global_rank == 0
    modality, method = _method(data, config)
    folder = run.path / "checkpoints"
    newest = checkpoint.latest(folder) if resumed else None
    init = run.info().get("init") if resumed else init
    if init and newest is None:
        _start_from(method, init)
    labels = "labels" in method.needs
    loop = Loop.build(fabric, method, Loader(data, rows, modality, fabric.device, labels), modality, config)
    if not fixed:
        budget = limit or DEFAULT_BUDGET
        say(f"measuring how many steps fit into {budget:.0f} s")
        took = calibrate(loop, min(10.0, 0.05 * budget))
        took = float(fabric.broadcast(took))
        left = budget - (time.perf_counter() - begin)
        count = max(10, int(0.96 * left / took))
        reason = f"{1 / took:.1f} steps/s measured here fill the budget of {budget:.0f} s"
        if limit is None and count > (most := preset_steps(preset, data.spec, len(rows), config.train.batch)):
            count, reason = most, f"{preset['passes']} passes over the data; more rarely help (a --budget overrides this)"
        config = loop.config = _with_steps(config, count)
        chosen.append(Chosen("steps", count, reason))
    for c in chosen:
        say(f"  {c.name:<20} {c.value!s:<14} {c.reason}")
    if lead and not resumed:
        copies = inspect(data)["duplicates"]
        write_json(run.path / "data.json", {**data.describe(), "duplicates": copies["within"], "leaks": copies["across"]})
        write_array(run.path / "seen.npy", np.sort(data.hashes[rows]))
        run.note(
            id=run.path.name,
            tacit=tacit.__version__,
            commit=commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            status="training",
            command=command or shlex.join(sys.argv),
            seed=config.train.seed,
            labels_seen=labels,
            init=init,
            device=_reasoned(chosen, "device"),
            precision=_reasoned(chosen, "precision"),
            plan=[asdict(c) for c in chosen],
            steps=config.train.steps,
            parameters=parameters(method.encoder),
        )
        run.say(f"planned {config.train.steps} steps of {config.train.batch} items")
        write_text(run.path / "config.toml", config.to_toml())  # last: from here on a resume trusts what is there
    watch = Watch(method.encoder.dim)
    meta: dict[str, Any] = {"seconds": 0.0, "smooth": math.nan, "best": math.inf, "best_step": 0}
    if newest is not None:
        meta |= checkpoint.restore(newest, loop.trainee, loop.optimizer, fabric.device)
        loop.step, watch.first_loss = meta["step"], meta["first_loss"]
        say(f"resuming at step {loop.step} of {loop.total}")
    elif resumed:
        say("no checkpoint yet: starting anew")
    if newest is not None and run.info().get("status") == "done":
        health = Health(**run.info()["health"]) if run.info()["health"] else None
        return Pretrained(run.path, _finish(run, loop, data, health, False, say), config, health)
    if lead:
        run.forget_after(loop.step)
        run.note(status="training")
    health = _go(run, loop, watch, lead, meta, show, folder)
    model = _finish(run, loop, data, health, lead, say)
    return Pretrained(run.path, model, config, health)


def _go(
    run: Run, loop: Loop, watch: Watch, lead: bool, meta: Mapping[str, Any], show: Callable[[Progress], None] | None, folder: Path
) -> Health | None:
    """Train to the end; save every so often, on an interrupt, and at the end. meta: what a checkpoint knows beside the weights."""
    start, first, saved, logged = time.perf_counter(), loop.step, time.perf_counter(), 0.0
    every = max(1, loop.total // 200)
    batch, patience = loop.config.train.batch, loop.config.train.patience
    health = Health(**meta["health"]) if meta.get("health") else None
    spent, smooth, best, best_step = (meta[k] for k in ("seconds", "smooth", "best", "best_step"))
    teacher = _Teacher(loop)

    def save() -> None:
        # a loss can be finite while its gradient was not
        if not all(bool(v.isfinite().all()) for v in loop.trainee.state_dict().values()):
            run.note(status="diverged")
            raise Diverged(f"the weights are no longer finite numbers at step {loop.step}", "start a new run with a smaller optim.lr")
        if lead:
            seconds = spent + time.perf_counter() - start
            now = {"seconds": seconds, "first_loss": watch.first_loss, "smooth": smooth, "best": best, "best_step": best_step}
            now["health"] = None if health is None else asdict(health)
            checkpoint.save(folder, loop.step, loop.trainee, loop.optimizer, now)

    with _interruptible() as interrupted:
        while loop.step < loop.total:
            try:
                step = loop.advance()
                done, due = loop.step, time.perf_counter() - saved > loop.config.train.checkpoint
                look = done % every == 0 or done == loop.total
                if look or due or interrupted():  # before it is shown or saved
                    loop.check(step)
            except Diverged:
                run.note(status="diverged")
                raise
            if done % max(1, every // 4) == 0 or look:
                watch.see(step.embedding)
            now, stop = time.perf_counter(), False
            if look and lead:
                loss = float(step.loss.detach())
                smooth = loss if math.isnan(smooth) else 0.8 * smooth + 0.2 * loss
                try:
                    health = watch.judge(done / loop.total, loss, step.chance, teacher.moves())
                except Collapsed:
                    save()
                    run.note(status="collapsed")
                    raise
                speed = (done - first) * batch / max(1e-9, now - start)
                row = {
                    "step": done,
                    "progress": done / loop.total,
                    "loss": loss,
                    "chance": step.chance,
                    "spread": health.spread,
                    "rank": health.rank,
                    "lr": loop.optimizer.param_groups[0]["lr"],
                    "items_per_s": speed,
                    "seconds": spent + now - start,
                    **{k: float(v) for k, v in step.log.items()},
                }
                run.metric({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()})
                if show is not None and (now - logged > 0.5 or done == loop.total):
                    logged = now
                    show(Progress(done, loop.total, loss, health, speed, (loop.total - done) * (now - start) / max(1, done - first)))
                better = smooth < best - 1e-3 * abs(best) if math.isfinite(best) else True
                if better:
                    best, best_step = smooth, done
                stop = bool(patience) and not better and done - best_step > patience * loop.total
            if look and patience and loop.fabric.broadcast(stop):  # all processes of a distributed run stop together
                run.say(f"stopped early at step {done}: the loss did not improve for {patience:.0%} of the steps")
                run.note(stopped_early=done)
                break
            if due:
                save()
                saved = now
            if interrupted():
                save()
                run.note(status="interrupted")
                run.say(f"interrupted at step {done}")
                raise Stopped(f"interrupted at step {done} of {loop.total}; everything is saved", run.path)
    save()
    if lead:
        run.note(
            seconds=round(spent + time.perf_counter() - start, 2),
            items_per_s=round((loop.step - first) * batch / max(1e-9, time.perf_counter() - start), 1),
        )
    return health


class _Teacher:
    """Whether the encoder that would be deployed moves between two looks, for methods where it is not the student."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.before: float | None = None

    def moves(self) -> bool | None:
        deployed = self.loop.method.deploy()
        if deployed is self.loop.method.encoder:
            return None
        now = float(sum(p.detach().double().sum() for p in deployed.parameters()))
        moved, self.before = self.before is None or now != self.before, now
        # at the very end a teacher's momentum is 1 by design
        return True if self.loop.step > 0.9 * self.loop.total else moved


def _finish(run: Run, loop: Loop, data: Dataset, health: Health | None, lead: bool, say: Say) -> Model:
    encoder = loop.method.deploy()
    needs = sorted((loop.method.needs | ({"resize"} if loop.method.views.local or loop.method.views.crop else set())) - {"labels"})
    model = Model(encoder, loop.modality, {"backbone": dict(loop.config.backbone), "modality": dict(loop.config.modality), "needs": needs})
    model.precision = loop.config.precision
    model.eval()
    if lead:
        model.save(run.path / "model")
        write_text(run.path / "model" / "CARD.md", _card(run, loop, data, model))
        summary = (
            None if health is None else {k: v for k, v in asdict(health).items() if not (isinstance(v, float) and not math.isfinite(v))}
        )
        run.note(status="done", health=summary)
        run.say("done" if health is None else f"done: {health.words}")
    return model


def _card(run: Run, loop: Loop, data: Dataset, model: Model) -> str:
    c, rows = loop.config, len(loop.loader.rows)
    read = "read" if "labels" in loop.method.needs else "not read"
    return f"""# {run.path.name}

An encoder of {data.modality} data, one vector of {model.dim} numbers an item, learned with `{c.method["name"]}` and a
`{c.backbone["name"]}` backbone from {rows} items of `{data.path}` in {c.train.steps} steps.

- Taught to ignore: {loop.modality.ignores}
- Labels were {read}.
- Held out and never seen: {len(data) - rows} items ({data.split_rule}).
- Not known: fairness, privacy, and behaviour on other data than this.
- Whether it helps stands in ../evaluation once `tacit evaluate` has run.

Read it with `tacit.load("{run.path.name}")`; the weights are safetensors.
"""


def _reasoned(chosen: list[Chosen], name: str) -> dict[str, Any]:
    return next(({"value": c.value, "reason": c.reason} for c in chosen if c.name == name), {"value": None, "reason": ""})


def _start_from(method: Any, init: str) -> None:
    """Copy the encoder of a run into a method, teacher included. Raises Asked when it does not fit."""
    from tacit.embedding.model import load
    from tacit.teacher import Teacher

    if init.startswith(("hf:", "timm:")):
        raise Asked(f"--init {init}: weights from a hub are not supported yet", "give a run folder")
    source = load(init).encoder.state_dict()
    targets = [method.encoder, *(t.module for t in method.children() if isinstance(t, Teacher) and hasattr(t.module, "tokenizer"))]
    for encoder in targets:
        mine = encoder.state_dict()
        fits = {k: v for k, v in source.items() if k in mine and mine[k].shape == v.shape}
        if len(fits) < len(mine) - 1:  # a mask token may be missing on either side
            raise Asked(f"{init} has another architecture than this run", "use its backbone and size, see its config.toml")
        encoder.load_state_dict({**mine, **fits})


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C (or TERM) asks the loop to stop after this step; the second one stops at once."""
    asked = False

    def on(signum: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not in the main thread: no signals there
        before = {s: signal.signal(s, on) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
