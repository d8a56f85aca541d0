"""Differential privacy in training, membership attacks, and forgetting."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit
from conftest import KINDS, call, small
from tacit.assemble import info_of, make_encoder, make_method, make_modality
from tacit.auditors import membership
from tacit.errors import CannotPair
from tacit.layers import grouped, over_batch
from tacit.registry import every, find
from tacit.training import private
from tacit.training.loader import Loader
from tacit.training.loop import Loop, make_fabric
from tacit.training.plan import make_plan
from tacit.types import Context

PRIVATE = sorted(n for n, m in every("methods").items() if m.decomposes)


def _loop(tmp_path: Path, clip: float = 1.0, noise: float = 0.0, items: int = 24, batch: int = 24) -> Loop:
    """A loop whose every step sees all items, with no noise unless it is asked for."""
    data = small("image", items)
    rows = np.arange(items)
    data = replace(data, split=np.zeros(items, np.int8))
    config, _ = make_plan(
        data, items, method="autoencoder", backbone="convnet", size="tiny", steps=3, batch_size=batch, precision="32-true",
        overrides={"private": {"epsilon": 8.0}, "optim": {"warmup": 0.0}},
    )  # fmt: skip
    modality = make_modality(data.spec, config.modality)
    method = make_method(modality, config.method, config.backbone, info_of(modality, items), 0)
    fabric = make_fabric(config)
    loop = Loop.build(fabric, method, Loader(data, rows, modality, fabric.device), modality, config)
    loop.private = private.Private(noise, clip, 1.0, b"0" * 32)
    return loop


def _summed(loop: Loop) -> list[torch.Tensor]:
    """Gradients of one private step, caught before the optimizer uses them."""
    caught: list[torch.Tensor] = []
    step = loop.optimizer.step

    def look(*a: Any, **k: Any) -> Any:
        caught.extend(p.grad.detach().clone() for p in loop.trainee.parameters() if p.grad is not None)
        return step(*a, **k)

    loop.optimizer.step = look  # type: ignore[method-assign]
    loop.advance()
    return caught


def test_a_step_is_the_mean_of_clipped_gradients_of_single_items(tmp_path: Path) -> None:
    loop = _loop(tmp_path, clip=0.05)
    before = {k: v.clone() for k, v in loop.trainee.state_dict().items()}
    found = _summed(loop)
    loop = _loop(tmp_path, clip=0.05)
    loop.trainee.load_state_dict(before)
    # the slow way: one item after the other, by hand
    from tacit.runtime import rng
    from tacit.training.loop import _Box

    held = [p for p in loop.trainee.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in held]
    for row in range(24):
        generator, draws = rng(0, f"augment/{row}", 0), rng(0, f"method/{row}", 0)
        views = loop.modality.views(loop.loader.batch(np.array([row])), loop.method.views, generator, loop.method.encoder.cell)
        loss = loop.trainee(_Box(views, Context(draws, 0.0)))
        grads = torch.autograd.grad(loss, held, allow_unused=True)
        size = torch.sqrt(sum((g**2).sum() for g in grads if g is not None))
        for t, g in zip(total, grads, strict=True):
            if g is not None:
                t += g * min(1.0, 0.05 / float(size))
    for mine, theirs in zip(found, total, strict=True):
        torch.testing.assert_close(mine, theirs / 24, rtol=1e-4, atol=1e-7)
    assert float(torch.sqrt(sum((g**2).sum() for g in found))) <= 0.05 + 1e-6


@pytest.mark.parametrize("gone", [0, 12, 23])
def test_leaving_an_item_out_moves_a_step_by_no_more_than_its_clipped_gradient(
    tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _summed(_loop(tmp_path, clip=0.05))
    draw = private.Private.generator

    class Without:
        """Random numbers by which every item but one is drawn."""

        def random(self, n: int) -> np.ndarray:
            return np.where(np.arange(n) == gone, 2.0, 0.0)

    monkeypatch.setattr(private.Private, "generator", lambda self, name, step: Without() if name == "items" else draw(self, name, step))
    less = _summed(_loop(tmp_path, clip=0.05))
    apart = torch.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(whole, less, strict=True)))
    assert 0 < float(apart) <= 0.05 / 24 + 1e-6


def test_noise_has_the_size_that_was_planned_and_needs_the_key(tmp_path: Path) -> None:
    plain, noisy = _summed(_loop(tmp_path, clip=0.05)), _summed(_loop(tmp_path, clip=0.05, noise=3.0))
    apart = torch.cat([(a - b).flatten() for a, b in zip(plain, noisy, strict=True)])
    assert float(apart.std()) == pytest.approx(3.0 * 0.05 / 24, rel=0.02) and abs(float(apart.mean())) < 1e-4
    a, b, c = (private.Private(1.0, 1.0, 0.1, key) for key in (b"a" * 32, b"b" * 32, b"a" * 31 + b"b"))
    one, other, third = (p.generator("noise", 0).standard_normal(5) for p in (a, b, c))
    assert not (one == other).any() and not (one == third).any()
    np.testing.assert_array_equal(one, a.generator("noise", 0).standard_normal(5))


def test_opacus_counts_what_was_spent() -> None:
    pytest.importorskip("opacus")
    noise = private.noise_for(8.0, 1e-4, 0.05, 300)
    assert private.spent(noise, 0.05, 300, 1e-4) == pytest.approx(8.0, abs=0.05)
    assert private.spent(noise, 0.05, 100, 1e-4) < private.spent(noise, 0.05, 300, 1e-4) < private.spent(noise / 2, 0.05, 300, 1e-4)


@pytest.mark.parametrize("name", PRIVATE)
def test_a_method_that_decomposes_gives_each_item_its_own_gradient_and_keeps_nothing_in_mind(name: str) -> None:
    """With items one by one no buffer may change: what it keeps of an item would leave with the weights."""
    for kind in KINDS:
        data = small(kind)
        modality = make_modality(data.spec, {})
        try:
            method = make_method(modality, {"name": name}, {"name": "transformer", "size": "tiny"}, info_of(modality, len(data)), 0)
        except (CannotPair, tacit.errors.TacitError):
            continue
        grouped(method)
        assert not over_batch(method)
        method.train()
        loader = Loader(data, np.arange(len(data)), modality, torch.device("cpu"))
        before = [b.clone() for b in method.buffers()]
        g = torch.Generator().manual_seed(0)
        views = modality.views(loader.batch(np.array([0])), method.views, g, method.encoder.cell)
        step = method(views, Context(g, 0.5))
        step.loss.backward()
        assert torch.isfinite(step.loss) and any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in method.parameters())
        assert all(torch.equal(a, b) for a, b in zip(before, method.buffers(), strict=True))
        return
    pytest.fail(f"{name} runs on no kind of data")


def test_methods_that_compare_items_are_refused(tmp_path: Path) -> None:
    said = call("pretrain", "builtin:digits", "--method", "simclr", "--epsilon", "8", "--steps", "3", "--out", tmp_path / "r")
    assert said.code == 2 and "compares the items of a batch" in said.err and "mae" in said.err and not (tmp_path / "r").exists()
    said = call(
        "pretrain", "builtin:digits", "--method", "mae", "--epsilon", "8", "--steps", "3", "--out", tmp_path / "r", "train.patience=0.1"
    )
    assert said.code == 2 and "train.patience" in said.err
    said = call("pretrain", "builtin:digits", "--epsilon", "-1", "--steps", "3", "--out", tmp_path / "r")
    assert said.code == 2 and "epsilon" in said.err


def test_a_private_run_says_what_it_spent_and_burns_its_key(tmp_path: Path) -> None:
    data = small("image")
    run = tacit.pretrain(data, steps=4, batch_size=8, out=tmp_path / "run", size="tiny", overrides={"private": {"epsilon": 5.0}})
    told = json.loads((run.path / "run.json").read_text())["private"]
    assert 4.5 < told["epsilon"] <= 5.0 and told["steps"] == 4 and "nothing else" in told["covers"]
    assert not (run.path / private.KEY).exists()
    assert "epsilon" in (run.path / "model" / "CARD.md").read_text()
    model = tacit.load(run.path)
    assert np.isfinite(np.asarray(model.embed(data))).all() and model.config["backbone"]["norm"] == "group"
    # one that is finished has no key left and needs none
    tacit.pretrain(data, steps=4, batch_size=8, out=run.path, resume=True, size="tiny", overrides={"private": {"epsilon": 5.0}})
    # what it learned from cannot be unlearned by noise afterwards, and what is learned on top is not covered
    with pytest.raises(tacit.errors.Asked, match="has learned from"):
        tacit.pretrain(data, steps=2, batch_size=8, init=str(run.path), out=tmp_path / "b", method="inpainting", backbone="convnet",
                       size="tiny", overrides={"private": {"epsilon": 5.0}, "backbone": {}})  # fmt: skip
    with pytest.raises(tacit.errors.Asked, match="gives away epsilon"):
        tacit.pretrain(data, steps=4, batch_size=8, out=tmp_path / "c", size="tiny", overrides={"private": {"epsilon": 1.0, "noise": 0.1}})
    from tacit.auditing import _epsilon
    from tacit.subject import Subject

    assert _epsilon(Subject.open(run.path)) is not None
    tacit.finetune(run.path, data, strategy="probe", out=run.path / "finetune" / "p")
    assert _epsilon(Subject.open(run.path / "finetune" / "p")) is None


def test_the_heads_of_a_private_method_have_no_group_of_one_number(tmp_path: Path) -> None:
    run = tacit.pretrain(small("image"), method="jigsaw", steps=2, batch_size=8, out=tmp_path / "r", size="tiny",
                         overrides={"private": {"epsilon": 5.0}, "method": {"hidden": 32}})  # fmt: skip
    from tacit.pretext import restored

    method, _ = restored(run.path, small("image"))
    assert not over_batch(method)


def test_a_private_run_that_was_killed_goes_on_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private.secrets, "token_bytes", lambda n: b"k" * n)
    data, asked = small("vector"), {"batch_size": 8, "size": "tiny", "backbone": "mlp", "method": "denoising"}
    given = {"overrides": {"private": {"epsilon": 5.0}, "train": {"checkpoint": 1e-9}}}
    whole = tacit.pretrain(data, steps=6, out=tmp_path / "whole", **asked, **given)
    from tacit.training import session

    class Killed(Exception):
        pass

    advance = Loop.advance

    def dies(self: Loop) -> Any:
        if self.step == 3:
            raise Killed
        return advance(self)

    monkeypatch.setattr(Loop, "advance", dies)
    with pytest.raises(Killed):
        tacit.pretrain(data, steps=6, out=tmp_path / "cut", **asked, **given)
    monkeypatch.setattr(Loop, "advance", advance)
    assert (tmp_path / "cut" / private.KEY).is_file() and session is not None
    assert (tmp_path / "cut" / private.KEY).stat().st_mode & 0o077 == 0
    again = tacit.pretrain(data, steps=6, out=tmp_path / "cut", resume=True, **asked, **given)
    for a, b in zip(whole.model.encoder.parameters(), again.model.encoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_batch_normalisation_becomes_one_of_groups() -> None:
    data = small("image")
    modality = make_modality(data.spec, {})
    plain, other = (make_encoder(modality, {"name": "resnet", "size": "tiny", **more}, frozenset()) for more in ({}, {"norm": "group"}))
    assert over_batch(plain) and not over_batch(other)
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in other.parameters())


# ---- membership ----


def test_an_attack_finds_what_differs_and_nothing_where_nothing_does() -> None:
    rng = np.random.default_rng(0)
    inside = np.arange(800) < 400
    same = membership.attack({"noise": rng.normal(size=(800, 3))}, inside)["noise"]
    assert same.low < 0.5 < same.high and same.tpr < 0.06
    told = membership.attack({"loss": rng.normal(size=(800, 1)) + 3 * inside[:, None], "noise": rng.normal(size=(800, 2))}, inside)
    assert told["loss"].auc > 0.97 and told["all"].auc > 0.97 and told["noise"].auc < 0.6 and told["loss"].tpr_rare is None
    flat = membership.attack({"constant": np.ones((800, 1))}, inside)["constant"]
    assert flat.auc == 0.5


def test_a_control_that_differs_says_that_nothing_follows() -> None:
    from tacit.auditors.case import Case
    from tacit.data.dataset import from_arrays

    rng = np.random.default_rng(0)
    n = 400
    x = rng.normal(size=(n, 4)).astype(np.float32)
    data = from_arrays(x, split=["train" if i < 200 else "test" for i in range(n)])

    def views(rows: np.ndarray, draws: int) -> np.ndarray:
        r = np.random.default_rng(1)
        wide = np.where(rows < 200, 0.1, 1.0)[:, None, None]
        return np.asarray(1 + wide * r.normal(size=(len(rows), draws, 6)))

    kind = find("checks", "membership")
    case = Case(data, learned=np.arange(200), unseen=np.arange(200, 400), asks={"views": views, "control views": views})
    (f,) = kind().look(case)
    assert f.name == "membership.control" and "proves nothing" in f.said
    rest = lambda rows, draws: np.asarray(np.random.default_rng(2).normal(size=(len(rows), draws, 6)))  # noqa: E731
    found = list(kind().look(replace(case, asks={"views": views, "control views": rest})))
    assert found[0].name == "membership" and found[0].severity == "high" and found[1].name == "membership.memorised"


# ---- forget ----


def test_items_are_forgotten_with_their_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 6)).round(4)
    x[101] = x[100]
    file = tmp_path / "rows.csv"
    file.write_text(
        "a,b,c,d,e,f,split\n" + "\n".join(",".join(map(str, r)) + f",{'train' if i < 110 else 'test'}" for i, r in enumerate(x)) + "\n"
    )
    call("pretrain", file, "--steps", "4", "--batch-size", "16", "--out", tmp_path / "run", "--backbone", "mlp", "--size", "tiny")
    data = tacit.open(file)
    names = [str(data.names[i]) for i in (100, *range(12))]
    said = call("forget", tmp_path / "run", "--ids", ",".join(names), "--dry-run", "--json")
    assert said.code == 0 and json.loads(said.out)["copies"] == 1 and json.loads(said.out)["left"] == 96, said.err
    said = call("forget", tmp_path / "run", "--ids", ",".join(names), "--replace")
    assert said.code == 0 and said.out.splitlines()[-1] == str(tmp_path / "run"), said.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.csv", "run"]
    told = json.loads((tmp_path / "run" / "forgotten.json").read_text())
    assert told["count"] == 14 and told["ids"] is None and told["effect"]["measured"] and 0 <= told["effect"]["after"]["auc"] <= 1
    seen = np.load(tmp_path / "run" / "seen.npy")
    assert not np.isin(data.hashes[:12], seen).any() and not np.isin(data.hashes[100], seen) and np.isin(data.hashes[50], seen)
    assert data.cache_path is not None and not data.cache_path.exists()
    with pytest.raises(tacit.errors.Asked, match="learned from none"):
        tacit.forget(tmp_path / "run", [str(data.names[0])])
    said = call("forget", tmp_path / "run", "--ids", "nobody")
    assert said.code == 2 and "no item 'nobody'" in said.err and len(said.err) < 2000


def test_what_was_forgotten_stays_so_when_more_is_forgotten_and_the_run_moves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 5)).round(4)
    file = tmp_path / "rows.csv"
    file.write_text("a,b,c,d,e\n" + "\n".join(",".join(map(str, r)) for r in x) + "\n")
    call("pretrain", file, "--steps", "2", "--batch-size", "16", "--out", tmp_path / "run", "--backbone", "mlp", "--size", "tiny")
    data = tacit.open(file)
    first, second = (str(data.names[i]) for i in data.train[:2])
    assert call("forget", tmp_path / "run", "--ids", first, "--replace").code == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    said = call("forget", tmp_path / "moved", "--ids", second, "--out", tmp_path / "twice")
    assert said.code == 0, said.err
    seen = np.load(tmp_path / "twice" / "seen.npy")
    assert not np.isin(data.hashes[data.train[:2]], seen).any() and len(seen) == len(data.train) - 2
    log = (tmp_path / "moved" / "audit" / "log.jsonl").read_text()
    assert "forget" in log and first not in log
