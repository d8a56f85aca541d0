"""A run that was killed, interrupted or damaged and then resumed ends with the same bytes as one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import call, small
from tacit import registry
from tacit.errors import Asked, CannotPair, Stopped, TacitError
from tacit.training import checkpoint
from tacit.training import pretrain as pretraining
from tacit.training.pretrain import Pretrained, Progress
from tacit.training.run import Run
from tacit.training.session import Session

STEPS = 60
WORDS = ["pretrain", "builtin:digits", "--steps", STEPS, "--size", "tiny", "--method", "byol", "--seed", 3]


def weights(path: Path) -> bytes:
    return (path / "model" / "model.safetensors").read_bytes()


def info(path: Path) -> dict[str, Any]:
    return json.loads((path / "run.json").read_text())


def start(*words: Any) -> subprocess.Popen[str]:
    """`tacit words...` as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "tacit", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def steps_done(path: Path) -> int:
    return max((r["step"] for r in Run(path).metrics()), default=0)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, left alone."""
    path = tmp_path_factory.mktemp("alone") / "run"
    said = call(*WORDS, "--out", path, "--quiet")
    assert said.code == 0, said.err
    return path


def each_step_once(path: Path, steps: int) -> None:
    assert [r["step"] for r in Run(path).metrics()] == list(range(1, steps + 1))


def kept(path: Path) -> list[Path]:
    return [p for p in (path / "checkpoints").iterdir() if not p.name.startswith(".")]


# ---- another process, really killed ----


def test_killed_at_random_moments(tmp_path: Path, alone: Path) -> None:
    path, chance = tmp_path / "run", random.Random(0)
    resume: list[str] = []
    reached = 0
    for share in (0.3, 0.6):
        process = start(*WORDS, "--out", path, *resume, "train.checkpoint=0.05")
        goal = max(reached + 1, int(share * STEPS))
        until(process, lambda: steps_done(path) >= goal)  # noqa: B023 called at once
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached, resume = steps_done(path), ["--resume"]
        assert info(path)["status"] == "training" and not (path / "model").exists()
    newest = checkpoint.latest(path / "checkpoints")
    assert newest is not None and 0 < int(newest.name) <= reached
    # a kill between writing a checkpoint and removing the oldest leaves one more, until the next is written
    assert len(kept(path)) <= 3
    said = call(*WORDS, "--out", path, "--resume")
    assert len(kept(path)) <= 2
    assert said.code == 0 and f"resuming at step {int(newest.name)} of {STEPS}" in said.err
    assert weights(path) == weights(alone)
    each_step_once(path, STEPS)
    assert {k: info(path)[k] for k in ("status", "steps", "health")} == {k: info(alone)[k] for k in ("status", "steps", "health")}


def test_ctrl_c_saves_says_how_to_go_on_and_two_processes_do_not_meet(tmp_path: Path, alone: Path) -> None:
    path = tmp_path / "run"
    process = start(*WORDS, "--out", path, "train.checkpoint=1000")
    until(process, lambda: steps_done(path) >= 5)
    process.send_signal(signal.SIGSTOP)
    second = call(*WORDS, "--out", path, "--resume")
    assert second.code == 2 and "another process is training" in second.err and second.out == ""
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    command = err.strip().splitlines()[-1].strip()
    assert command.startswith("tacit pretrain builtin:digits") and command.endswith(f"--out {path} train.checkpoint=1000 --resume")
    assert "everything is saved" in err and info(path)["status"] == "interrupted"
    at = steps_done(path)
    assert checkpoint.latest(path / "checkpoints") == path / "checkpoints" / f"{at:08d}" and 5 <= at < STEPS
    said = call(*command.split()[1:])
    assert said.code == 0 and f"resuming at step {at}" in said.err and weights(path) == weights(alone)
    each_step_once(path, STEPS)


# ---- in this process ----


def run(out: Path, kind: str = "image", **options: Any) -> Pretrained:
    done = pretraining.pretrain(small(kind), out=out, **{"size": "tiny", "batch_size": 8, "steps": 30, **options})
    assert isinstance(done, Pretrained)
    return done


KIND = {"arrow": "series", "enhancement": "audio", **dict.fromkeys(("word2vec", "simcse", "electra", "mlm"), "text")}


class Interrupt:
    """A look at the progress that presses Ctrl-C at a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, how: signal.Signals = signal.SIGINT) -> None:
        self.at, self.how = at, how
        real = Run.metric

        def metric(it: Run, row: dict[str, Any]) -> None:
            real(it, row)
            if row["step"] == self.at:
                os.kill(os.getpid(), self.how)

        monkeypatch.setattr(Run, "metric", metric)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        *((m, KIND.get(m, "image")) for m in registry.names("methods")),
        *(("ts2vec", "ragged"), ("mae", "ragged"), ("autoregressive", "events")),
    ],
)
def test_every_method_resumes_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, kind: str) -> None:
    asked: dict[str, Any] = {"method": method, "steps": 12}
    if method != "simclr":  # one is enough for an optimizer that takes ten times as long on small data
        asked["overrides"] = {"optim": {"kind": "adamw"}}
    alone = run(tmp_path / "alone", kind, **asked)
    press = Interrupt(monkeypatch, 3)
    with pytest.raises(Stopped) as stop:
        run(tmp_path / "run", kind, **asked)
    assert stop.value.exit_code == 130 and stop.value.run == tmp_path / "run"
    press.at, press.how = 8, signal.SIGTERM
    with pytest.raises(Stopped):
        run(tmp_path / "run", kind, **asked, resume=True)
    press.at = 0
    seen: list[Progress] = []
    resumed = run(tmp_path / "run", kind, **asked, resume=True, show=seen.append)
    assert weights(resumed.path) == weights(alone.path) and seen[0].step == 9
    one, two = (Run(p.path).metrics() for p in (alone, resumed))
    assert [r["loss"] for r in one] == [r["loss"] for r in two] and [r["step"] for r in two] == list(range(1, 13))


def test_killed_before_the_first_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is stored, nothing else: the run starts anew, from the same start."""
    first = run(tmp_path / "first", steps=5)
    for init in (None, str(first.path)):
        name = "plain" if init is None else "init"
        alone = run(tmp_path / f"{name}-alone", init=init)
        with monkeypatch.context() as patch:
            patch.setattr(Session, "train", killed)
            with pytest.raises(Killed):
                run(tmp_path / name, init=init)
        said: list[str] = []
        resumed = run(tmp_path / name, resume=True, say=said.append)  # the run knows what it started from
        assert "no checkpoint yet: starting anew" in said
        assert weights(resumed.path) == weights(alone.path), name
    assert weights(tmp_path / "plain") != weights(tmp_path / "init")


class Killed(BaseException):
    """Stands for kill -9 at this place."""


def killed(*args: Any, **kwargs: Any) -> Any:
    raise Killed


@pytest.mark.parametrize("place", ["write_json", "write_array", "write_text", "Run.note", "Run.say", "Run.forget_after"])
def test_killed_while_the_run_is_laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Whatever was written before the kill, a resumed run is complete."""
    with monkeypatch.context() as patch:
        patch.setattr(f"tacit.training.pretrain.{place}", killed)
        with pytest.raises(Killed):
            run(tmp_path / "run")
    resumed, alone = run(tmp_path / "run", resume=True), run(tmp_path / "alone")
    assert weights(resumed.path) == weights(alone.path)
    assert {p.name for p in resumed.path.iterdir()} == {p.name for p in alone.path.iterdir()}
    a, b = info(resumed.path), info(alone.path)
    assert a.keys() == b.keys() and a["plan"] == b["plan"] and a["status"] == "done"


def test_killed_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    often = {"train": {"checkpoint": 1e-9}}
    alone = run(tmp_path / "alone")
    for step, place in ((3, "save_file"), (8, "_flush"), (15, "os.replace")):
        with monkeypatch.context() as patch:
            real = checkpoint.save

            def save(folder: Path, at: int, *rest: Any, real: Any = real, step: int = step, place: str = place, patch: Any = patch) -> Path:
                if at == step:
                    patch.setattr(f"tacit.training.checkpoint.{place}", killed)
                return real(folder, at, *rest)

            patch.setattr(checkpoint, "save", save)
            with pytest.raises(Killed):
                run(tmp_path / "run", overrides=often, resume=step > 3)
        assert list((tmp_path / "run" / "checkpoints").glob(".*")), "a half-written one lies there"
        newest = checkpoint.latest(tmp_path / "run" / "checkpoints")
        assert newest is not None and newest.name == f"{step - 1:08d}"
    done = run(tmp_path / "run", resume=True)
    assert weights(done.path) == weights(alone.path)
    assert sorted(p.name for p in (done.path / "checkpoints").iterdir()) == ["00000029", "00000030"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = run(tmp_path / "alone")
    press = Interrupt(monkeypatch, 12)
    with pytest.raises(Stopped):
        run(tmp_path / "run", overrides={"train": {"checkpoint": 1e-9}})
    newest = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert newest is not None and newest.name == "00000012"
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TacitError, match="00000012 cannot be resumed") as error:
        run(tmp_path / "run", resume=True)
    assert f"remove {newest}" in error.value.hint
    for part in newest.iterdir():
        part.unlink()
    newest.rmdir()
    press.at = 0
    said: list[str] = []
    assert weights(run(tmp_path / "run", resume=True, say=said.append).path) == weights(alone.path)
    assert any("resuming at step 11" in s for s in said)


def test_early_stopping_does_not_forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "flat.py"
    file.write_text(
        "from tacit.methods.simclr import SimCLR\nfrom dataclasses import replace\n\n\nclass Flat(SimCLR):\n    '''x'''\n"
        "    def forward(self, views, ctx):\n        s = super().forward(views, ctx)\n"
        "        fall = max(0.0, 0.3 - ctx.progress)\n        return replace(s, loss=s.loss * 0 + 1 + fall)\n"
    )
    options: dict[str, Any] = {"method": f"{file}:Flat", "overrides": {"train": {"patience": 0.15}}, "steps": 60}
    alone = run(tmp_path / "alone", **options)
    stopped = info(alone.path)["stopped_early"]
    assert 38 < stopped < 60
    Interrupt(monkeypatch, 38)  # the loss has stopped falling, the patience is not yet over
    with pytest.raises(Stopped):
        run(tmp_path / "run", **options)
    done = run(tmp_path / "run", resume=True, **options)
    assert info(done.path)["stopped_early"] == stopped and weights(done.path) == weights(alone.path)
    again = run(tmp_path / "run", resume=True, **options)
    assert weights(again.path) == weights(alone.path), "a run that stopped early is done"


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "run")
    before, about = weights(done.path), info(done.path)
    metrics = (done.path / "metrics.jsonl").read_text()
    again = run(tmp_path / "run", resume=True)
    assert weights(again.path) == before and (done.path / "metrics.jsonl").read_text() == metrics
    assert info(again.path) == about and again.health == done.health and again.model.dim == done.model.dim


def test_resume_uses_the_stored_plan_and_checks_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Interrupt(monkeypatch, 5)
    with pytest.raises(Stopped):
        run(tmp_path / "run", method="mae", seed=4)
    with pytest.raises(Asked, match="the data, its split or its form changed"):
        run(tmp_path / "run", kind="series", resume=True)
    done = pretraining.pretrain(small("image"), out=tmp_path / "run", resume=True)
    assert isinstance(done, Pretrained) and done.config.method["name"] == "mae"
    assert done.config.train.steps == 30 and done.config.train.seed == 4
    (tmp_path / "run" / "config.toml").write_text("steps = [")
    with pytest.raises(Asked, match="not a readable run configuration"):
        run(tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "other", [{"steps": 9}, {"method": "vicreg"}, {"overrides": {"optim": {"lr": 0.1}}}, {"overrides": {"method": {"hidden": 8}}}]
)
def test_resume_refuses_another_plan(tmp_path: Path, other: dict[str, Any]) -> None:
    pretraining.pretrain(small("image"), out=tmp_path / "run", steps=2, size="tiny")
    with pytest.raises(Asked, match="the run was started with") as error:
        pretraining.pretrain(small("image"), out=tmp_path / "run", resume=True, **other)
    assert "another --out" in error.value.hint
    assert isinstance(pretraining.pretrain(small("image"), out=tmp_path / "run", resume=True, steps=2, size="tiny"), Pretrained)


def test_a_refused_pair_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(CannotPair):
        run(tmp_path / "run", method="mae", backbone="convnet")
    assert run(tmp_path / "run", method="mae", steps=3).path == tmp_path / "run"


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path: Path) -> None:
    """DDP on the CPU: one folder, one line on stdout, patience and resume included."""
    words = [*WORDS, "--devices", 2, "--device", "cpu", "--out", tmp_path / "run", "train.patience=0.9"]
    for more in ([], ["--resume"]):
        process = start(*words, *more)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert out == f"{tmp_path / 'run'}\n" and err.count("next: tacit evaluate") == 1
    assert info(tmp_path / "run")["status"] == "done"
    each_step_once(tmp_path / "run", STEPS)
