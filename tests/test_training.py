"""The loop, the planner and the run directory: every step a function of (config, step), every file whole or absent."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from conftest import small
from tacit import optim
from tacit.assemble import make_encoder, make_modality
from tacit.config import OptimConfig, RunConfig, TrainConfig, parse_overrides
from tacit.data.dataset import from_arrays
from tacit.embedding.model import Model
from tacit.errors import Asked, BadData, CannotPair, Collapsed, Diverged, TacitError
from tacit.methods.simclr import SimCLR
from tacit.runtime import rng, seed_globally
from tacit.schedules import cosine, warmup_cosine
from tacit.training import checkpoint
from tacit.training import pretrain as pretraining
from tacit.training.loader import Loader, order
from tacit.training.loop import Loop, calibrate, make_fabric
from tacit.training.plan import make_plan, seconds
from tacit.training.pretrain import Pretrained
from tacit.training.run import Run, fresh_path, write_json
from tacit.training.session import Session, Teacher
from tacit.types import Context, Info


def run(out: Path, kind: str = "image", **options: Any) -> Pretrained:
    """A tiny run, 12 steps unless said otherwise."""
    if not {"steps", "budget", "epochs"} & options.keys():
        options["steps"] = 12
    done = pretraining.pretrain(small(kind), out=out, **{"size": "tiny", "batch_size": 8, "backbone": "transformer", **options})
    assert isinstance(done, Pretrained)
    return done


def plugin(folder: Path, body: str) -> str:
    """A method file; `body` is what forward does with f (features) and t (number of this forward pass, from 1)."""
    file = folder / "plugin.py"
    file.write_text(
        f"""
import torch
from tacit.method import Method
from tacit.teacher import Teacher
from tacit.types import Step, Views


class Plugin(Method):
    '''A method made for a test.'''

    views = Views(plain=1)

    def __init__(self, encoder, info, *, at: int = 0):
        super().__init__(encoder, info)
        self.at = at
        self.register_buffer("t", torch.zeros((), dtype=torch.int64))

    def forward(self, views, ctx):
        f = self.encoder(views[0])
        self.t += 1
        t = int(self.t)
        loss, embedding = f.pooled.float().square().mean(), f.pooled.detach()
        {body}
        return Step(loss, embedding)
"""
    )
    return f"{file}:Plugin"


def weights(path: Path) -> bytes:
    return (path / "model" / "model.safetensors").read_bytes()


def info(path: Path) -> dict[str, Any]:
    return json.loads((path / "run.json").read_text())


# ---- the order of the data ----


@pytest.mark.parametrize(("items", "batch"), [(20, 5), (23, 5), (7, 7), (3, 8)])
def test_an_epoch_shows_every_item_once(items: int, batch: int) -> None:
    per_epoch, seen = max(1, items // batch), []
    for epoch in range(3):
        shown = np.concatenate([order(0, items, batch, epoch * per_epoch + i) for i in range(per_epoch)])
        assert len(set(shown.tolist())) == len(shown) == min(items, per_epoch * batch)
        assert shown.min() >= 0 and shown.max() < items
        seen.append(shown.tolist())
    assert seen[0] != seen[1] != seen[2]
    assert order(0, items, batch, 4).tolist() == order(0, items, batch, 4).tolist() != order(1, items, batch, 4).tolist()


def test_over_epochs_every_item_has_its_turn() -> None:
    count = np.bincount(np.concatenate([order(0, 23, 5, t) for t in range(400)]), minlength=23)
    assert count.min() > 60, "the remainder of an epoch is another one every time"


def test_loader_serves_rows_with_their_ids() -> None:
    data = small("ragged")
    rows = data.train
    mod = make_modality(data.spec, {})
    batch = Loader(data, rows, mod, torch.device("cpu")).batch(np.array([3, 0]))
    assert batch.ids.tolist() == [3, 0] and batch.label is None
    assert np.array_equal(batch.x.numpy(), data.x[rows[[3, 0]]], equal_nan=True)
    assert data.lengths is not None and batch.valid is not None
    assert batch.valid.sum(1).tolist() == data.lengths[rows[[3, 0]]].tolist() and batch.valid[:, :20].all()
    labelled = Loader(data, rows, mod, torch.device("cpu"), labels=True).batch(np.array([3, 0]))
    assert data.labels is not None and labelled.label is not None and labelled.label.tolist() == data.labels[rows[[3, 0]]].tolist()
    image = small("image")
    x = Loader(image, image.train, make_modality(image.spec, {}), torch.device("cpu")).batch(np.array([1])).x
    assert x.dtype == torch.float32 and torch.allclose(x[0], torch.from_numpy(image.x[image.train[1]] / 255).float())


# ---- seeds, schedules, optimizer ----


def test_generators_depend_on_seed_name_and_counter_alone() -> None:
    def first(*key: Any) -> float:
        return float(torch.rand((), generator=rng(*key)))

    assert first(0, "a", 1) == first(0, "a", 1)
    assert len({first(s, n, c) for s in (0, 1) for n in ("a", "b") for c in (0, 1, 10)}) == 12
    seed_globally(3, 1, 0)
    a = torch.rand(2)
    seed_globally(3, 1, 0)
    assert torch.equal(a, torch.rand(2))
    seed_globally(3, 10)
    assert not torch.equal(a, torch.rand(2))


def test_schedules_are_their_closed_forms() -> None:
    assert cosine(2.0, 0.0, 0.0) == 2.0 and cosine(2.0, 0.0, 1.0) == pytest.approx(0.0) and cosine(2.0, 0.0, 0.5) == pytest.approx(1.0)
    assert cosine(1.0, 3.0, 0.25) == pytest.approx(3 - 2 * (1 + math.cos(math.pi / 4)) / 2)
    assert cosine(1.0, 3.0, -1) == 1.0 and cosine(1.0, 3.0, 2) == pytest.approx(3.0)
    assert warmup_cosine(0.05, 0.1) == pytest.approx(0.5) and warmup_cosine(0.1, 0.1) == pytest.approx(1.0)
    assert warmup_cosine(1.0, 0.1) == pytest.approx(0.0) and warmup_cosine(1.0, 0.1, 0.2) == pytest.approx(0.2)
    assert warmup_cosine(0.0, 0.0) == 1.0 and warmup_cosine(1.0, 1.0) == pytest.approx(1.0)


def test_weight_decay_spares_norms_biases_and_tokens() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Conv1d(4, 5, 3))
    module.register_parameter("table", nn.Parameter(torch.zeros(6, 4)))
    module[2].bias.requires_grad_(False)  # type: ignore[union-attr]
    decays, wide, stays = optim.parameter_groups(module, 0.3)
    assert wide["params"] == []
    assert [p.shape for p in decays["params"]] == [(4, 3), (5, 4, 3)] and decays["weight_decay"] == 0.3  # type: ignore[attr-defined]
    assert sorted(p.numel() for p in stays["params"]) == [4, 4, 4, 24] and stays["weight_decay"] == 0.0  # type: ignore[attr-defined]
    names = {id(p) for g in (decays, stays) for p in g["params"]}  # type: ignore[attr-defined]
    assert names == {id(p) for p in module.parameters() if p.requires_grad}


def loop_of(steps: int = 10, **train: Any) -> Loop:
    data = small("image")
    config, _ = make_plan(data, len(data.train), backbone="transformer", size="tiny", steps=steps, batch_size=8, overrides={"train": train})
    from tacit.assemble import make_method

    mod = make_modality(data.spec, {})
    method = make_method(mod, config.method, config.backbone, Info(len(data.train), 2, dict(mod.tasks)), 0)
    return Loop.build(make_fabric(config), method, Loader(data, data.train, mod, torch.device("cpu")), mod, config)


def test_learning_rate_warms_up_and_falls() -> None:
    loop = loop_of(20)
    loop.config = replace(loop.config, optim=replace(loop.config.optim, lr=1.0, warmup=0.25))
    rates = []
    for _ in range(20):
        loop.advance()
        assert len({g["lr"] for g in loop.optimizer.param_groups}) == 1
        rates.append(loop.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([warmup_cosine((t + 1) / 20, 0.25) for t in range(20)])
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_gradients_are_clipped() -> None:
    loop, norms = loop_of(), []
    loop.config = replace(loop.config, optim=replace(loop.config.optim, clip=1e-3))
    stepped = loop.optimizer.step

    def watch(*args: Any, **kwargs: Any) -> Any:
        gradients = [p.grad for p in loop.method.parameters() if p.grad is not None]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        return stepped(*args, **kwargs)

    loop.optimizer.step = watch  # type: ignore[method-assign]
    loop.advance()
    assert norms == pytest.approx([1e-3], rel=1e-2)


# ---- calibration and budget ----


def test_calibration_measures_and_leaves_no_trace() -> None:
    loop, control = loop_of(), loop_of()
    before = {k: v.clone() for k, v in loop.trainee.state_dict().items()}
    ticks = iter(range(10**6))

    def clock() -> float:
        """Advances by one at every look; a step begins and ends with a look."""
        return float(next(ticks))

    assert calibrate(loop, 60.0, clock) == (1.0, 0.0)
    assert loop.step == 0 and not loop.optimizer.state
    assert all(torch.equal(before[k], v) for k, v in loop.trainee.state_dict().items())
    for _ in range(3):
        assert float(loop.advance().loss.detach()) == float(control.advance().loss.detach())
    a, b = loop.trainee.state_dict(), control.trainee.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_calibration_takes_the_mean_of_the_inner_half() -> None:
    loop, now, lengths = loop_of(), [0.0], iter([100.0, 50.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 900.0])
    loop.advance = lambda: now.__setitem__(0, now[0] + next(lengths))  # type: ignore[method-assign,assignment,return-value]
    # two steps of warming up are left out; of the sorted rest 1 2 3 4 5 6 7 900 the first and the last quarter
    assert calibrate(loop, 1078.0, lambda: now[0])[0] == pytest.approx((3 + 4 + 5 + 6 + 7) / 5)


def test_a_budget_becomes_a_stored_number_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps = what is left of the budget / the measured time of a step; from then on only steps count."""
    monkeypatch.setattr(pretraining, "calibrate", lambda loop, seconds: (7.0, 0.0))
    said: list[str] = []
    done = run(tmp_path / "a", budget="2min", say=said.append)
    stored = tomllib.loads((tmp_path / "a" / "config.toml").read_text())["train"]["steps"]
    assert stored == done.config.train.steps == info(tmp_path / "a")["steps"] == Run.open(tmp_path / "a").metrics()[-1]["step"]
    assert 10 <= stored <= int(0.96 * 120 / 7)
    assert any("fill the budget of 120 s" in s for s in said)
    again = run(tmp_path / "b", steps=stored)
    assert weights(again.path) == weights(done.path)


def test_real_calibration_does_not_change_the_result(tmp_path: Path) -> None:
    done = run(tmp_path / "a", budget="1s")
    again = run(tmp_path / "b", steps=done.config.train.steps)
    assert weights(again.path) == weights(done.path)


def test_without_a_budget_the_passes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "calibrate", lambda loop, seconds: (1e-9, 0.0))
    monkeypatch.setattr(Session, "train", lambda session: None)
    done = pretraining.pretrain(small("image"), out=tmp_path / "a", size="tiny", batch_size=8)
    assert isinstance(done, Pretrained) and done.config.train.steps == 200 * (len(small("image").train) // 8)
    fast = pretraining.pretrain(small("image"), out=tmp_path / "b", size="tiny", batch_size=8, budget="10s")
    assert isinstance(fast, Pretrained) and fast.config.train.steps > 10**6, "a budget that was asked for is used"


# ---- the plan ----


@pytest.mark.parametrize(
    ("text", "want"), [("90s", 90), ("10min", 600), ("1h30min", 5400), ("1.5h", 5400), ("2 m", 120), ("45", 45), (7, 7), (" 1H ", 3600)]
)
def test_budgets_are_read(text: str | int, want: float) -> None:
    assert seconds(text) == want


@pytest.mark.parametrize(
    "text", ["", "soon", "10 parsecs", "-5min", "0s", "min", "1e3", "nan", math.nan, math.inf, -1, "10min later", "1h30", "5 5"]
)
def test_nonsense_budgets_are_refused(text: Any) -> None:
    with pytest.raises(Asked, match="budget") as error:
        seconds(text)
    assert "10min" in error.value.hint


def planned(kind: str = "image", **asked: Any) -> tuple[RunConfig, dict[str, str]]:
    config, chosen = make_plan(small(kind), len(small(kind).train), **asked)
    return config, {c.name: c.reason for c in chosen}


def test_every_choice_has_its_reason() -> None:
    for kind, method, backbone in (("image", "simclr", "convnet"), ("series", "ts2vec", "conv1d"), ("vector", "vicreg", "mlp")):
        config, why = planned(kind, device="cpu")
        assert (config.method["name"], config.backbone["name"]) == (method, backbone)
        assert all(why.values()) and {"device", "precision", "method", "backbone", "size", "batch", "optim.lr"} <= why.keys()
    config, why = planned(method="mae", device="cpu")
    assert config.backbone["name"] == "transformer" and why["backbone"] == "mae needs drop" and why["method"] == "asked for"
    config, why = planned(epochs=3, batch_size=8)
    assert config.train.steps == 3 * (len(small("image").train) // 8) and "3 passes" in why["steps"]
    config, why = planned(overrides={"optim": {"lr": 0.5}, "method": {"temperature": 0.4}, "train": {"checkpoint": 5}})
    assert config.optim.lr == 0.5 and why["optim.lr"] == "asked for"
    assert config.method["temperature"] == 0.4 and config.train.checkpoint == 5


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"method": "simcrl"}, "did you mean 'simclr'"),
        ({"backbone": "resnt"}, "did you mean 'resnet'"),
        ({"size": "huge"}, "tiny, small and base"),
        ({"steps": 0}, "at least one step"),
        ({"steps": -3}, "at least one step"),
        ({"epochs": 0}, "positive number of passes"),
        ({"epochs": -2.0}, "positive number of passes"),
        ({"epochs": math.nan}, "positive number of passes"),
        ({"steps": 3, "epochs": 2}, "exclude each other"),
        ({"batch_size": 1}, "at least 2 items"),
        ({"batch_size": 1000}, "more than the"),
        ({"overrides": {"train": {"batch": 1}}}, "at least 2 items"),
        ({"overrides": {"train": {"batch": 1000}}}, "more than the"),
        ({"overrides": {"method": {"temperatur": 1}}}, "did you mean 'temperature'"),
        ({"overrides": {"method": {"temperature": 0}}}, "method.temperature=0"),
        ({"overrides": {"backbone": {"depth": 0}}}, "backbone.depth=0"),
        ({"overrides": {"modality": {"crop": 2}}}, "modality.crop=2"),
        ({"device": "tpu"}, "not available"),
        ({"precision": "int4"}, "not offered"),
        ({"overrides": {"optim": {"lr": -1}}}, "optim.lr=-1"),
        ({"overrides": {"optim": {"lrr": 1}}}, "did you mean 'lr'"),
        ({"overrides": {"train": {"patience": 2}}}, "train.patience=2"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(Asked) as error:
        planned(**asked)
    assert words in str(error.value)


def test_too_little_data_is_refused() -> None:
    with pytest.raises(BadData, match="nothing can be learned from so few"):
        make_plan(small("image"), 1)
    for rows in (2, 3, 5, 9):
        config, _ = make_plan(small("image"), rows)
        assert 2 <= config.train.batch <= rows


def test_a_plan_touches_nothing(tmp_path: Path) -> None:
    chosen = pretraining.pretrain(small("image"), out=tmp_path / "run", dry_run=True, budget="3min")
    assert isinstance(chosen, list) and chosen[-1].name == "budget" and chosen[-1].value == 180 and not (tmp_path / "run").exists()
    with pytest.raises(CannotPair):
        pretraining.pretrain(small("vector"), method="ts2vec", dry_run=True)
    with pytest.raises(Asked, match="heads=7"):
        pretraining.pretrain(small("image"), backbone="transformer", overrides={"backbone": {"heads": 7}}, dry_run=True)


def test_configurations_survive_toml(tmp_path: Path) -> None:
    config = RunConfig(
        data={"path": "x", "fingerprint": "f", "target": None},
        modality={"name": "image"},
        method={"name": "simclr", "temperature": 0.25},
        backbone={"name": "resnet"},
        optim=OptimConfig(lr=0.125),
        train=TrainConfig(steps=7, seed=3),
        precision="bf16-mixed",
    )
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert RunConfig.read(tmp_path / "config.toml") == replace(config, data={"path": "x", "fingerprint": "f"})
    for text in ("not toml [", "[optim]\nspeed = 3\n", ""):
        (tmp_path / "config.toml").write_text(text)
        with pytest.raises(Asked, match="not a readable run configuration"):
            RunConfig.read(tmp_path / "config.toml")


def test_overrides_are_parsed() -> None:
    got = parse_overrides(["method.temperature=0.2", "backbone.stem=small", "optim.lr=1e-3", "train.seed=4", "modality.flip=false"])
    assert got["method"] == {"temperature": 0.2} and got["backbone"] == {"stem": "small"} and got["optim"] == {"lr": 1e-3}
    assert got["train"] == {"seed": 4} and got["modality"] == {"flip": False}
    for word, complaint in (("temperature=2", "part.name=value"), ("methd.t=2", "did you mean 'method'"), ("method.t", "part.name=value")):
        with pytest.raises(Asked) as error:
            parse_overrides([word])
        assert complaint in str(error.value)


# ---- the run directory ----


def test_a_run_is_plain_files(tmp_path: Path) -> None:
    done = run(tmp_path / "run", method="byol", command="tacit pretrain x")
    names = {p.name for p in done.path.iterdir()} - {".lock"}
    assert names == {"run.json", "config.toml", "data.json", "metrics.jsonl", "log.txt", "checkpoints", "model", "seen.npy"}
    assert {p.name for p in (done.path / "model").iterdir()} == {"model.safetensors", "model.json", "CARD.md"}
    about = info(done.path)
    assert about["status"] == "done" and about["labels_seen"] is False and about["command"] == "tacit pretrain x" and about["id"] == "run"
    assert about["device"]["reason"] and about["precision"]["reason"] and about["health"]["state"] == done.health.state  # type: ignore[union-attr]
    assert [c["name"] for c in about["plan"]] and about["parameters"] == sum(p.numel() for p in done.model.encoder.parameters())
    rows = Run.open(done.path).metrics()
    assert [r["step"] for r in rows] == list(range(1, 13)) and all(math.isfinite(r["loss"]) for r in rows)
    assert not list(done.path.rglob(".*.tmp")) and not [p for p in done.path.rglob(".*") if p.name != ".lock"]
    card = (done.path / "model" / "CARD.md").read_text()
    assert "Labels were not read" in card and "byol" in card
    assert run(tmp_path / "labelled", method="supervised").health is not None and info(tmp_path / "labelled")["labels_seen"] is True
    seen = np.load(done.path / "seen.npy", allow_pickle=False)
    assert sorted(small("image").hashes[small("image").train].tolist()) == seen.tolist()


def test_run_folders_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo.jpg").write_text("x")
    with pytest.raises(Asked, match="is not empty"):
        run(tmp_path / "a")
    with pytest.raises(Asked, match="not a run"):
        run(tmp_path / "a", resume=True)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["photo.jpg"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(Asked, match="is a file"):
        run(tmp_path / "file")
    with pytest.raises(Asked, match="--resume needs --out"):
        pretraining.pretrain(small("image"), resume=True)
    with pytest.raises(Asked, match="excludes"):
        run(tmp_path / "b", budget="1min", steps=3)
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", steps=2).path.is_dir(), "an empty folder is a place like any other"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    held = Run.start(tmp_path / "run", resume=False)
    (held.path / "config.toml").write_text("x")
    with pytest.raises(Asked, match="another process is training") as error:
        Run.start(tmp_path / "run", resume=True)
    assert error.value.exit_code == 2
    held.close()
    Run.start(tmp_path / "run", resume=True).close()


def test_fresh_folders_are_unique(tmp_path: Path) -> None:
    first = fresh_path(tmp_path, "path/to/my method.py:Class", "builtin:digits")
    assert first.parent == tmp_path and first.name.endswith("digits") and ":" not in first.name
    first.mkdir()
    second = fresh_path(tmp_path, "path/to/my method.py:Class", "builtin:digits")
    assert second != first


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file" / "run", Path("/proc/tacit-run")):
        with pytest.raises(TacitError, match="cannot be written") as error:
            run(place)
        assert "--out" in error.value.hint


def full(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "what",
    ["tacit.training.checkpoint.save_file", "tacit.embedding.model.save_file", "tacit.training.run.os.fsync", "tacit.training.run.np.save"],
)
def test_no_space_left_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(what, full)
        with pytest.raises(TacitError, match="No space left") as error:
            run(tmp_path / "run")
        assert "free some space" in error.value.hint and str(tmp_path) in error.value.message
    left = [p for p in (tmp_path / "run").rglob(".*") if p.name not in (".lock",) and "safetensors" not in p.name]
    assert not left, "nothing half-written stays"
    after = run(tmp_path / "run", resume=True)
    assert weights(after.path) == weights(run(tmp_path / "plain").path)


def test_no_space_for_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = open

    def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return full() if "metrics.jsonl" in str(path) and "a" in mode else real(path, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", opened)
    with pytest.raises(TacitError, match=r"metrics\.jsonl cannot be written"):
        run(tmp_path / "run")


def test_half_a_line_of_metrics_is_skipped(tmp_path: Path) -> None:
    it = Run(tmp_path)
    for step in (1, 2, 3):
        it.metric({"step": step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    assert [r["step"] for r in it.metrics()] == [1, 2, 3]
    it.forget_after(2)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


def test_json_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    monkeypatch.setattr("tacit.training.run.os.replace", full)
    with pytest.raises(TacitError, match="cannot be written"):
        write_json(tmp_path / "x.json", {"a": 2})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_no_run_here(tmp_path: Path) -> None:
    with pytest.raises(Asked, match="not a run folder"):
        Run.open(tmp_path)
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "run.json").write_text("{}")
    with pytest.raises(Asked) as error:
        Run.open(tmp_path / "runs" / "two")
    assert "one" in error.value.hint
    (tmp_path / "runs" / "one" / "run.json").write_text("{")
    with pytest.raises(TacitError, match="is damaged"):
        Run.open(tmp_path / "runs" / "one").info()


# ---- checkpoints ----


def trainee() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)
    optimizer = optim.adamw(module, 0.1, 0.1)
    module(torch.randn(4, 2, 5, 5)).square().sum().backward()
    optimizer.step()
    return module, optimizer


def test_checkpoints_come_back_as_they_were(tmp_path: Path) -> None:
    module, optimizer = trainee()
    path = checkpoint.save(tmp_path, 7, module, optimizer, {"seconds": 1.5})
    other, fresh = trainee()
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    meta = checkpoint.restore(path, other, fresh, torch.device("cpu"))
    assert meta["step"] == 7 and meta["seconds"] == 1.5
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True))
    a, b = optimizer.state_dict(), fresh.state_dict()
    assert a["param_groups"] == [{**g, "betas": tuple(g["betas"])} for g in b["param_groups"]]
    assert all(torch.equal(a["state"][i][k], b["state"][i][k]) for i in a["state"] for k in a["state"][i])


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    module, optimizer = trainee()
    assert checkpoint.latest(tmp_path) is None and checkpoint.latest(tmp_path / "absent") is None
    for step in (1, 5, 20, 100):
        assert checkpoint.latest(tmp_path) == (None if step == 1 else tmp_path / f"{ {5: 1, 20: 5, 100: 20}[step]:08d}")
        checkpoint.save(tmp_path, step, module, optimizer, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000020", "00000100"]


def test_half_a_checkpoint_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, optimizer = trainee()
    checkpoint.save(tmp_path, 1, module, optimizer, {})
    (tmp_path / ".00000002.999").mkdir()  # a process was killed while it wrote
    (tmp_path / ".00000002.999" / "meta.json").write_text("{}")
    (tmp_path / "00000003").mkdir()
    assert checkpoint.latest(tmp_path) == tmp_path / "00000001"
    for what in ("save_file", "os.replace", "_flush"):
        with monkeypatch.context() as patch:
            patch.setattr(f"tacit.training.checkpoint.{what}", full)
            with pytest.raises(TacitError, match="No space left"):
                checkpoint.save(tmp_path, 4, module, optimizer, {})
        assert checkpoint.latest(tmp_path) == tmp_path / "00000001"
    checkpoint.save(tmp_path, 5, module, optimizer, {})
    assert checkpoint.latest(tmp_path) == tmp_path / "00000005" and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("what", ["model.safetensors", "optimizer.safetensors", "meta.json"])
@pytest.mark.parametrize("how", ["truncated", "garbage", "empty", "absent", "foreign"])
def test_a_damaged_checkpoint_says_so(tmp_path: Path, what: str, how: str) -> None:
    module, optimizer = trainee()
    path = checkpoint.save(tmp_path, 3, module, optimizer, {})
    file = path / what
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-20])
    elif how == "garbage":
        file.write_bytes(b"\x93NUMPY garbage" * 30)
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "absent":
        file.unlink()
    else:
        file.write_text("[]") if what == "meta.json" else checkpoint.save_file({"x": torch.ones(2)}, file)
    with pytest.raises(TacitError, match="cannot be resumed") as error:
        checkpoint.restore(path, *trainee(), torch.device("cpu"))
    assert str(path) in error.value.hint


# ---- health while training ----


def test_collapse_stops_the_run(tmp_path: Path) -> None:
    name = plugin(tmp_path, "embedding = torch.ones_like(embedding)")
    with pytest.raises(Collapsed, match="every item has the same vector"):
        run(tmp_path / "run", method=name)
    about = info(tmp_path / "run")
    assert about["status"] == "collapsed" and len(Run.open(tmp_path / "run").metrics()) < 12
    assert checkpoint.latest(tmp_path / "run" / "checkpoints") is not None


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("at", [1, 11, 12, 18, 24])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, at: int, what: str) -> None:
    """Whenever it happens, the last steps included: no model of NaNs is handed out as done, and no checkpoint of them is kept."""
    sick = {"loss": "loss * float('nan')", "gradient": "loss + 0 * (0 * f.pooled).sum().sqrt()"}[what]  # finite, with a gradient of 0 / 0
    name = plugin(tmp_path, f"loss = {sick} if t >= self.at else loss")
    with pytest.raises(Diverged, match=r"the loss is nan|no longer finite") as error:
        run(tmp_path / "run", method=name, steps=24, overrides={"method": {"at": at}, "train": {"checkpoint": 1e-9}})
    assert "optim.lr" in error.value.hint and info(tmp_path / "run")["status"] == "diverged"
    assert not (tmp_path / "run" / "model").exists()
    newest = checkpoint.latest(tmp_path / "run" / "checkpoints")
    if newest is not None:
        assert all(v.isfinite().all() for v in checkpoint.load_file(newest / "model.safetensors").values())


def test_a_frozen_teacher_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "frozen.py"
    file.write_text("from tacit.methods.byol import BYOL\n\nclass Frozen(BYOL):\n    '''x'''\n    def after_step(self, ctx): pass\n")
    assert info(run(tmp_path / "byol", method="byol", steps=20).path)["status"] == "done"
    seen = []
    run(tmp_path / "frozen", method=f"{file}:Frozen", steps=20, show=lambda p: seen.append(p.health.words))
    assert "teacher" not in seen[0]
    watch = Teacher(loop_of())
    assert watch.moves() is None, "no teacher, nothing to say"

    loop = loop_of()
    loop.method.deploy = lambda: other  # type: ignore[method-assign]
    import copy

    other = copy.deepcopy(loop.method.encoder)
    watch = Teacher(loop)
    assert watch.moves() is True and watch.moves() is False
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    assert watch.moves() is True


def test_patience_stops_early(tmp_path: Path) -> None:
    name = plugin(tmp_path, "loss = loss * 0 + 1")
    done = run(tmp_path / "run", method=name, steps=60, overrides={"train": {"patience": 0.2}})
    about = info(done.path)
    assert about["status"] == "done" and 12 < about["stopped_early"] < 20
    assert "stopped early" in (done.path / "log.txt").read_text()
    name = plugin(tmp_path, "loss = loss * 0 + 1 - 0.01 * t")
    assert "stopped_early" not in info(run(tmp_path / "falling", method=name, steps=60, overrides={"train": {"patience": 0.2}}).path)


# ---- starting from another run ----


def test_init_starts_from_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path / "first")
    begun: list[dict[str, torch.Tensor]] = []
    real = Session.train

    def go(session: Session) -> Any:
        method = session.loop.method
        begun.append({k: v.clone() for k, v in method.encoder.state_dict().items()})
        assert all(torch.equal(a, b) for a, b in zip(method.deploy().state_dict().values(), begun[-1].values(), strict=True))
        return real(session)

    monkeypatch.setattr(Session, "train", go)
    run(tmp_path / "second", method="byol", init=str(first.path))
    want = first.model.encoder.state_dict()
    assert all(torch.equal(begun[0][k], want[k]) for k in want)
    assert info(tmp_path / "second")["init"] == str(first.path)
    with pytest.raises(Asked, match="another architecture"):
        run(tmp_path / "third", init=str(first.path), overrides={"backbone": {"depth": 4}})
    with pytest.raises(Asked, match="holds no model"):
        run(tmp_path / "fourth", init=str(tmp_path))
    with pytest.raises(Asked, match="nowhere"):
        run(tmp_path / "fifth", init=f"hf:{tmp_path / 'nowhere'}")


def test_pairs_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CannotPair):
        run(tmp_path / "run", kind="vector", method="ts2vec")
    assert not (tmp_path / "run" / "config.toml").exists()
    assert run(tmp_path / "run", kind="vector", method="vicreg", steps=2).path.is_dir(), "a refused run does not occupy its folder"


def test_one_class_and_equal_items_still_train(tmp_path: Path) -> None:
    x = np.full((24, 3, 16, 16), 128, dtype=np.uint8)
    data = from_arrays(x, y=["only"] * 24)
    done = pretraining.pretrain(data, out=tmp_path / "run", size="tiny", batch_size=8, steps=4)
    assert isinstance(done, Pretrained) and done.model.vectors(data.x).shape[0] == 24


def test_signals_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    run(tmp_path / "run", steps=2)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_was_seen_is_inherited(tmp_path: Path) -> None:
    """A run that starts from one that read labels has read them; what either saw is not a clean test item."""
    first = run(tmp_path / "first", method="supervised")
    assert info(first.path)["labels_seen"] is True and first.model.config["labels_seen"] is True
    second = run(tmp_path / "second", init=str(first.path))
    assert info(second.path)["labels_seen"] is True and "Labels were read" in (second.path / "model" / "CARD.md").read_text()
    assert info(run(tmp_path / "third").path)["labels_seen"] is False
    (first.path / "seen.npy").unlink()
    np.save(first.path / "seen.npy", np.array([7], dtype=np.uint64))
    fourth = run(tmp_path / "fourth", init=str(first.path))
    assert (
        7 in np.load(fourth.path / "seen.npy")
        and len(np.load(fourth.path / "seen.npy")) == len(np.unique(small("image").hashes[small("image").train])) + 1
    )


def test_resume_refuses_other_training_items(tmp_path: Path) -> None:
    data = small("image")
    run(tmp_path / "run", steps=2)
    moved = data.split.copy()
    moved[data.test[0]], moved[data.train[0]] = 0, 1
    bigger = replace(data, spec=replace(data.spec, extra={**data.spec.extra, "size": [12, 12]}))
    for other in (replace(data, split=moved), bigger):
        assert other.fingerprint == data.fingerprint
        with pytest.raises(Asked, match="its split or its form changed"):
            pretraining.pretrain(other, out=tmp_path / "run", resume=True)


def test_a_short_budget_has_fewer_surveys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "calibrate", lambda loop, seconds: (0.05, 20.0))
    said: list[str] = []
    options: dict[str, Any] = {"size": "tiny", "batch_size": 8, "budget": 10, "say": said.append}
    done = pretraining.pretrain(small("image"), out=tmp_path / "run", method="deepcluster", **options)
    assert isinstance(done, Pretrained) and done.config.method["rounds"] == 3, "a third of the budget, of 20 rounds in 20 s"
    assert any("3 times instead" in line for line in said)
    with pytest.raises(Asked, match="would take 20 s of 10 s") as refused:
        pretraining.pretrain(small("image"), out=tmp_path / "asked", method="deepcluster", overrides={"method": {"rounds": 20}}, **options)
    assert "method.rounds=3" in refused.value.hint
    monkeypatch.setattr(pretraining, "calibrate", lambda loop, seconds: (0.05, 200.0))
    with pytest.raises(Asked, match="would take 200 s") as refused:
        pretraining.pretrain(small("image"), out=tmp_path / "none", method="deepcluster", **options)
    assert "rounds" not in refused.value.hint


def test_surveys_show_every_item_in_order(tmp_path: Path) -> None:
    """A method that asks for passes over the data gets them, evenly spread, and a resume repeats none differently."""

    class Curious(SimCLR):
        """x"""

        surveys = 3
        seen: ClassVar[list[torch.Tensor]] = []

        def survey(self, z: torch.Tensor, ctx: Context) -> None:
            assert not self.training
            self.seen.append(z)

    data = small("image")
    config, _ = make_plan(data, len(data.train), steps=9, size="tiny", batch_size=8)
    modality = make_modality(data.spec, {})
    seed_globally(0, 0)
    method = Curious(make_encoder(modality, config.backbone, frozenset()), Info(len(data.train)))
    fabric = make_fabric(config)
    loop = Loop.build(fabric, method, Loader(data, data.train, modality, fabric.device), modality, config)
    first = Model(method.encoder, modality, {})
    first.precision = config.precision
    want = first.vectors(data.x[data.train], tiles=False)
    for _ in range(9):
        loop.advance()
    assert len(Curious.seen) == 3 and Curious.seen[0].shape == (len(data.train), method.encoder.dim)
    assert np.allclose(Curious.seen[0].numpy(), want, atol=1e-5) and method.training


def test_a_device_that_is_absent_is_asked_wrongly() -> None:
    with pytest.raises(Asked, match="not available"):
        make_fabric(replace(loop_of().config, device="cuda"))
