"""Training to the end: look, log, judge, save; stop in all processes together."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tacit.errors import Collapsed, Diverged, Stopped, TacitError
from tacit.training import checkpoint
from tacit.training.health import Health, Watch
from tacit.training.loop import Loop
from tacit.training.run import Run
from tacit.types import Step


@dataclass(frozen=True)
class Progress:
    """What the progress line shows."""

    step: int
    total: int
    loss: float
    health: Health
    items_per_s: float
    left: float


class Session:
    """One process's part in training a run, from the step where it stands to the end.

    meta: what a checkpoint knows beside the weights, {} at the start. show: told the progress, about twice a second.
    """

    def __init__(self, run: Run, loop: Loop, meta: Mapping[str, Any], show: Callable[[Progress], None] | None = None) -> None:
        self.run, self.loop, self.show = run, loop, show
        self.lead = loop.fabric.global_rank == 0
        self.watch = Watch(loop.method.encoder.dim)
        self.watch.first_loss, self.watch.strikes = meta.get("first_loss", math.nan), meta.get("strikes", 0)
        self.teacher = Teacher(loop)
        self.health = Health(**meta["health"]) if meta.get("health") else None
        self.spent, self.smooth = meta.get("seconds", 0.0), meta.get("smooth", math.nan)
        self.best, self.best_step, self.stopped = meta.get("best", math.inf), meta.get("best_step", 0), meta.get("stopped", False)
        self.first, self.begin, self.shown = loop.step, time.perf_counter(), 0.0
        self.every = max(1, loop.total // 200)

    @property
    def folder(self) -> Path:
        return self.run.path / "checkpoints"

    def seconds(self) -> float:
        """Training time so far, that of earlier processes included."""
        return self.spent + time.perf_counter() - self.begin

    def speed(self) -> float:
        """Items a second in this process's life."""
        return (self.loop.step - self.first) * self.loop.config.train.batch / max(1e-9, time.perf_counter() - self.begin)

    def train(self) -> Health | None:
        """Train to the end; save every so often, on an interrupt, and at the end.

        Raises Stopped on an interrupt, Diverged and Collapsed; in a distributed run all processes raise together.
        """
        loop, saved = self.loop, time.perf_counter()
        with interruptible() as interrupted:
            while loop.step < loop.total and not self.stopped:
                step = self._guarded(loop.advance)
                done, due = loop.step, time.perf_counter() - saved > loop.config.train.checkpoint
                look = done % self.every == 0 or done == loop.total
                if done % max(1, self.every // 4) == 0 or look:
                    self.watch.see(step.embedding)
                error: TacitError | None = None
                # several processes meet at looks only; a single one reacts to Ctrl-C after every step
                meet = look or loop.fabric.world_size == 1
                if look or due or interrupted():
                    error = self._look(step, look)
                if meet and self._together(error is not None or interrupted()):
                    raise self._stop(error)
                if due:
                    self.save()
                    saved = time.perf_counter()
        self.save()
        if self.lead:
            self.run.note(seconds=round(self.seconds(), 2), items_per_s=round(self.speed(), 1))
        return self.health

    def _guarded(self, advance: Callable[[], Step]) -> Step:
        try:
            return advance()
        except Diverged:
            self.run.note(status="diverged")
            raise

    def _look(self, step: Step, judge: bool) -> TacitError | None:
        """Check the loss before it is shown or saved; log and judge if it is time. The error that ends the run, if any."""
        try:
            self.loop.check(step)
            if judge and self.lead:
                self._judge(step)
            if judge and self.loop.config.train.patience:
                self.stopped = bool(self.loop.fabric.broadcast(self.stopped))
        except (Diverged, Collapsed) as error:
            return error
        return None

    def _judge(self, step: Step) -> None:
        loop, loss = self.loop, float(step.loss.detach())
        done, total = loop.step, loop.total
        self.smooth = loss if math.isnan(self.smooth) else 0.8 * self.smooth + 0.2 * loss
        health = self.health = self.watch.judge(done / total, loss, step.chance, self.teacher.moves())
        row: dict[str, Any] = {"step": done, "progress": done / total, "loss": loss, "chance": step.chance}
        row |= {"spread": health.spread, "rank": health.rank, "lr": loop.optimizer.param_groups[0]["lr"]}
        row |= {"items_per_s": self.speed(), "seconds": self.seconds(), **{k: float(v) for k, v in step.log.items()}}
        self.run.metric({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()})
        now = time.perf_counter()
        if self.show is not None and (now - self.shown > 0.5 or done == total):
            self.shown = now
            left = (total - done) * (now - self.begin) / max(1, done - self.first)
            self.show(Progress(done, total, loss, health, self.speed(), left))
        if not math.isfinite(self.best) or self.smooth < self.best - 1e-3 * abs(self.best):
            self.best, self.best_step = self.smooth, done
        patience = loop.config.train.patience
        if patience and done - self.best_step > patience * total:
            self.stopped = True
            self.run.say(f"stopped early at step {done}: the loss did not improve for {patience:.0%} of the steps")
            self.run.note(stopped_early=done)

    def _together(self, wish: bool) -> bool:
        """Whether any process wants to stop."""
        fabric = self.loop.fabric
        if fabric.world_size == 1:
            return wish
        wishes = fabric.all_reduce(torch.tensor(float(wish), device=fabric.device), reduce_op="sum")
        assert isinstance(wishes, torch.Tensor)
        return bool(wishes > 0)

    def _stop(self, error: TacitError | None) -> TacitError:
        """Leave the run so that it can go on, or say why it cannot; the error to raise."""
        if isinstance(error, Diverged):
            self.run.note(status="diverged")
            return error
        self.save()
        if isinstance(error, Collapsed):
            self.run.note(status="collapsed")
            return error
        done, total = self.loop.step, self.loop.total
        self.run.note(status="interrupted")
        self.run.say(f"interrupted at step {done}")
        return Stopped(f"interrupted at step {done} of {total}; everything is saved", self.run.path)

    def save(self) -> None:
        """Write a checkpoint. Raises Diverged when the weights are not finite: a loss can be finite while its gradient was not."""
        if not all(bool(v.isfinite().all()) for v in self.loop.trainee.state_dict().values()):
            self.run.note(status="diverged")
            raise Diverged(f"the weights are no longer finite numbers at step {self.loop.step}", "start a new run with a smaller optim.lr")
        if self.lead:
            now: dict[str, Any] = {"seconds": self.seconds(), "first_loss": self.watch.first_loss, "strikes": self.watch.strikes}
            now |= {"smooth": self.smooth, "best": self.best, "best_step": self.best_step, "stopped": self.stopped}
            now["health"] = None if self.health is None else asdict(self.health)
            checkpoint.save(self.folder, self.loop.step, self.loop.trainee, self.loop.optimizer, now)


class Teacher:
    """Whether the encoder that would be deployed moves between two looks, for methods where it is not the student."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.before: float | None = None

    def moves(self) -> bool | None:
        """None where there is no teacher."""
        deployed = self.loop.method.deploy()
        if deployed is self.loop.method.encoder:
            return None
        now = float(sum(p.detach().double().sum() for p in deployed.parameters()))
        moved, self.before = self.before is None or now != self.before, now
        # at the very end a teacher's momentum is 1 by design
        return True if self.loop.step > 0.9 * self.loop.total else moved


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
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
