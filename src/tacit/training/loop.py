"""The training loop: one step after another on Lightning Fabric, a function of (config, step) alone."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tacit import optim, registry
from tacit.config import RunConfig
from tacit.deep import Deep
from tacit.errors import Asked, CannotPair, Diverged
from tacit.method import Method
from tacit.modality import Modality
from tacit.runtime import choose_device, hold_memory, rng, seed_globally
from tacit.schedules import warmup_cosine
from tacit.training.loader import Loader, Mates, mates_of, order
from tacit.training.private import Private, advance
from tacit.types import Batch, Context, Step, Views


class _Box:
    """Carries views and context in and the Step out of Fabric, which copies and converts anything it can look into."""

    def __init__(self, views: list[Batch], ctx: Context) -> None:
        self.views, self.ctx = views, ctx
        self.step: Step | None = None


class Trainee(nn.Module):
    """The one module that Fabric wraps."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, box: _Box) -> Tensor:
        box.step = self.method(box.views, box.ctx)
        return box.step.loss


@dataclass
class Loop:
    """Everything that a step needs; `step` is the number of steps done.

    rank, world: of this process; a step's batch is shared out among `world` processes. private: how items are hidden, None = they are not.
    """

    fabric: Fabric
    trainee: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer
    loader: Loader
    modality: Modality
    config: RunConfig
    mates: Mates | None = None
    step: int = 0
    private: Private | None = None
    told: float = 0.0  # the loss of the last private step that had items

    @classmethod
    def build(cls, fabric: Fabric, method: Method, loader: Loader, modality: Modality, config: RunConfig) -> Loop:
        """Set up optimizer, memory layout and Fabric around a method. Raises Asked for options that the method has no use for."""
        check_options(method, config, loader.groups is not None)
        encoder, train = method.encoder, config.train
        encoder.chunk = train.chunk
        encoder.backbone.between = None if train.deep == "none" else Deep(train.deep, train.deep_layer, train.deep_rate)
        mates = mates_of(loader.groups.numpy()) if train.positives == "group" and loader.groups is not None else None
        if modality.layout.rank == 2 and modality.layout.ordered:
            method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        trainee = Trainee(method).to(fabric.device)
        o = config.optim
        optimizer: torch.optim.Optimizer
        if o.kind == "muon":
            half = torch.bfloat16 if config.precision.startswith("bf16") else torch.float32
            optimizer = optim.muon(trainee, o.lr, o.weight_decay, (0.9, o.beta2), half)
        else:
            optimizer = optim.adamw(trainee, o.lr, o.weight_decay, (0.9, o.beta2), lambda name: method.pace(name.removeprefix("method.")))
        wrapped, optimizer = fabric.setup(trainee, optimizer)
        return cls(fabric, wrapped, method, optimizer, loader, modality, config, mates)

    @property
    def total(self) -> int:
        return self.config.train.steps

    def advance(self) -> Step:
        """Do one step. Raises Diverged when the loss is not a finite number."""
        if self.private is not None:
            return advance(self, self.private)
        seed, t, c = self.config.train.seed, self.step, self.config
        rank, world, device = self.fabric.global_rank, self.fabric.world_size, self.fabric.device
        seed_globally(seed, t, rank)
        rows = order(seed, len(self.loader.rows), c.train.batch, t)
        rows = rows[: len(rows) // world * world][rank::world]  # all processes have as many, or they could not compare items
        ctx = Context(rng(seed, f"method/{rank}", t, device), t / self.total)
        often = min(self.method.surveys, self.total)
        if often and (t == 0 or t * often // self.total != (t - 1) * often // self.total):
            self.survey(t)
        with torch.no_grad():
            views = self._views(rows, t)
        rate = c.optim.lr * warmup_cosine((t + 1) / self.total, c.optim.warmup, c.optim.floor)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("pace", 1.0)
        box = _Box(views, ctx)
        loss = self.trainee(box)
        deep = self.method.encoder.backbone.between
        if isinstance(deep, Deep) and deep.layers <= deep.layer:
            said = f"backbone {c.backbone['name']} has {deep.layers} layer(s), counted from 0"
            raise Asked(f"train.deep_layer={deep.layer}: {said}", "give a smaller number")
        self.fabric.backward(loss)
        if c.optim.clip:
            self.fabric.clip_gradients(self.trainee, self.optimizer, max_norm=c.optim.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.after_step(ctx)
        self.step += 1
        assert box.step is not None
        if world == 1 and (t % 10 == 0 or self.step == self.total):  # several processes must stop together, at a look
            self.check(box.step)
        return box.step

    def _views(self, rows: np.ndarray, t: int) -> list[Batch]:
        """What the method looks at in this step; with mates, every second global view shows another item of the group."""
        seed, want, rank, device = self.config.train.seed, self.method.views, self.fabric.global_rank, self.fabric.device
        generator, cell, batch = rng(seed, f"augment/{rank}", t, device), self.method.encoder.cell, self.loader.batch(rows)
        if self.mates is None:
            return self.modality.views(batch, want, generator, cell)
        stands = torch.from_numpy(self.mates.stands[rows]).to(device)  # equal ids are views of the same thing, here of a group
        other = self.loader.batch(self.mates.draw(rows, rng(seed, f"mates/{rank}", t)))
        half = want.global_ // 2
        views = self.modality.views(replace(batch, ids=stands), replace(want, global_=want.global_ - half), generator, cell)
        second = replace(want, global_=half, local=0, weak=0, plain=0, crop=0, task="")
        mates = self.modality.views(replace(other, ids=stands), second, generator, cell)
        for i, view in enumerate(mates):
            views.insert(2 * i + 1, view)
        return views

    @torch.no_grad()
    def survey(self, t: int, z: Tensor | None = None) -> None:
        """Show the method the embeddings of all training items, in the order of their ids; z: these instead."""
        z = self.embedded(len(self.loader.rows)) if z is None else z
        self.method.eval()
        self.method.survey(z, Context(rng(self.config.train.seed, "survey", t, self.fabric.device), t / self.total))
        self.method.train()

    @torch.no_grad()
    def embedded(self, count: int) -> Tensor:
        """Embeddings [count, D] of the first training items, as they are."""
        device, parts = self.fabric.device, []
        # a fixed number of values a batch keeps long series and large images within memory
        most = 2**24 if isinstance(self.loader.data.x, np.ndarray) else self.modality.at_once
        size = max(1, min(256, most // max(1, int(np.prod(self.loader.data.x.shape[1:])))))
        self.method.eval()
        for start in range(0, count, size):
            batch = self.loader.batch(np.arange(start, min(start + size, count)))
            plain = self.modality.views(batch, Views(plain=1), rng(0, "plain", 0, device), self.method.encoder.cell)
            with self.fabric.autocast():
                parts.append(self.method.encoder(plain[0]).pooled.float())
        self.method.train()
        return torch.cat(parts)

    def check(self, step: Step) -> None:
        """Raise Diverged unless this step's loss is a finite number; looking at it makes a GPU wait."""
        loss = float(step.loss.detach())
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {self.step}", "start a new run with a smaller optim.lr")


@contextmanager
def deterministic() -> Iterator[None]:
    """Deterministic kernels: without them two identical runs on two threads differ."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def check_options(method: Method, config: RunConfig, grouped: bool) -> None:
    """Raise Asked for options of the training that this method or this data has no use for. grouped: the data has groups."""
    encoder, train = method.encoder, config.train
    if method.views.global_ < 2 and (train.positives == "group" or train.deep != "none"):
        name = "train.positives=group" if train.positives == "group" else f"train.deep={train.deep}"
        raise Asked(f"{name} is for methods that compare views of an item, which {config.method['name']} does not", "try simclr")
    if train.chunk and train.deep != "none":
        said = "train.deep changes one of two views, and train.chunk passes them through the network in other pieces"
        raise Asked(f"{said}: they exclude each other", "leave one of them out")
    if train.positives == "group" and method.surveys:
        said = f"{config.method['name']} gives every item a cluster of its own"
        raise Asked(f"train.positives=group: {said}", "leave it out, or try simclr")
    if train.positives == "group" and not grouped:
        raise Asked("train.positives=group needs to know which items belong together", "name the column with --group")
    if train.chunk and "chunk" not in encoder.can:
        able = [n for n, b in registry.every("backbones").items() if "chunk" in b.can]
        raise CannotPair(
            f"train.chunk={train.chunk}: backbone {config.backbone['name']} normalises over the batch and cannot work in chunks",
            f"backbones that can: {', '.join(able)}",
        )


def calibrate(loop: Loop, seconds: float, clock: Callable[[], float] = time.perf_counter) -> tuple[float, float]:
    """Seconds a step, and of all surveys together, measured on throw-away ones; all state is as before afterwards."""
    saved = {k: v.detach().clone() for k, v in loop.trainee.state_dict().items()}
    was, config, surveys = loop.step, loop.config, loop.method.surveys
    # the length is not known yet: a long run, so that progress and learning rate are those of its beginning
    loop.config, loop.method.surveys = replace(config, train=replace(config.train, steps=10**6)), 0
    times: list[float] = []
    pause = 0.0
    if surveys:
        rows = len(loop.loader.rows)
        few = min(rows, 2048)
        begin = clock()
        z = loop.embedded(few)
        pause = surveys * (clock() - begin) * rows / few
        begin = clock()
        loop.survey(0, z.repeat(-(-rows // few), 1)[:rows])
        pause += surveys * (clock() - begin)
    end = clock() + seconds
    # all processes of a distributed run take the same number of steps, or they would wait for each other for ever
    while loop.fabric.broadcast(len(times) < 4 or (clock() < end and len(times) < 200)):
        begin = clock()
        loop.advance()
        times.append(clock() - begin)
    loop.trainee.load_state_dict(saved)
    loop.optimizer.state.clear()
    loop.step, loop.config, loop.method.surveys = was, config, surveys
    settled = sorted(times[2:])
    # the mean of the inner half: the median would ignore the slow steps that a long run meets too
    inner = settled[len(settled) // 4 : max(len(settled) // 4 + 1, 3 * len(settled) // 4 + 1)]
    return sum(inner) / len(inner), pause


def make_fabric(config: RunConfig, devices: int = 1, nodes: int = 1) -> Fabric:
    """Fabric for this device and precision; DDP when there are several processes."""
    # Fabric tells everybody which precision it uses; our plan says so with the reason
    logging.getLogger("lightning.fabric.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    kind, _, index = choose_device(config.device).value.partition(":")
    if kind == "cpu":
        hold_memory()
    options: dict[str, Any] = {"accelerator": {"cuda": "gpu"}.get(kind, kind), "precision": config.precision}
    chosen: int | list[int] = [int(index)] if index and devices == 1 else devices
    fabric = Fabric(devices=chosen, num_nodes=nodes, strategy="ddp" if devices * nodes > 1 else "auto", **options)
    fabric.launch()
    return fabric
