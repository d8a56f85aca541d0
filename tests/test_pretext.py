"""What a pretraining taught: invariances, layers, hard items, the pretext task's own map, and the items that moved it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit
from conftest import call, small
from tacit.errors import Asked, CannotPair
from tacit.explainers import values
from tacit.explanation import explain
from tacit.pretext import hardest, influence, last_of, moves, restored, taught
from tacit.types import Batch

KINDS = ["image", "text", "table", "series", "audio", "events"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("taught") / "run"
    assert call("pretrain", "builtin:digits", "--steps", "60", "--out", run, "-q").code == 0
    return run


def test_changes_that_were_augmented_are_ignored(digits: Path) -> None:
    found = taught(digits, "builtin:digits")
    by = {(m["name"], m["strength"]): m for m in found["ignores"]}
    assert by["crop", 0.3]["moves"] < by["crop", 0.3]["untrained"] and by["colour", 0.4]["moves"] < by["colour", 0.4]["untrained"]
    for name in ("crop", "colour"):
        mine = [m["moves"] for m in found["ignores"] if m["name"] == name]
        assert mine == sorted(mine)
    reads = found["layers"][-1]["reads"]
    assert reads["label"] > 0.8 and set(reads) == {"label", "level", "variation"} == set(found["layers"][-1]["untrained"])
    hard = found["hardest"]
    assert hard["items"][0]["nearer"] >= hard["items"][-1]["nearer"] > hard["median"] and 0 < hard["found"] < 1
    assert json.loads((digits / "explain" / "pretraining.json").read_text())["ignores"] == found["ignores"]
    assert taught(digits, "builtin:digits") == found


def test_moves_are_in_units_of_the_distance_between_items() -> None:
    net = tacit.pretrain(small("image"), steps=1, batch_size=8, size="tiny").model
    items = net.prepare(small("image"))
    z = torch.nn.functional.normalize(torch.from_numpy(net.vectors(items.x[items.train], tiles=False)), dim=1)
    n = len(z)
    apart = float((1 - z @ z.T).sum() / (n * (n - 1)))
    found = moves(net, items, items.train, 0)
    assert all(0 <= m["moves"] * apart <= 2 for m in found) and found[0]["n"] == n
    assert hardest(net, items, items.train, 0)["n"] == n


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_says_what_was_taught(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    size = {} if kind == "text" else {"size": "tiny"}
    run = tacit.pretrain(data, steps=2, batch_size=8, out=tmp_path / "run", **size)
    found = taught(run.path, data)
    assert found["layers"] and found["hardest"]["n"] >= 8 and found["ignores"]
    if kind == "audio":
        with pytest.raises(CannotPair, match="cut where the network sees it"):
            explain(run.path, data, item=0, pretext=True)
        return
    (one,) = explain(run.path, data, item=0, pretext=True, parts=8)
    assert one.said.startswith("how well the pretext task is solved") and np.isfinite(one.each).all()
    assert explain(run.path, data, item=0, pretext=True, parts=8)[0].each.tolist() == one.each.tolist()


@pytest.mark.parametrize("method", ["simclr", "mae", "moco", "byol"])
def test_the_pretext_task_is_that_of_the_run(method: str, tmp_path: Path) -> None:
    data = small("image")
    run = tacit.pretrain(data, method=method, backbone="transformer", size="tiny", steps=3, batch_size=8, out=tmp_path / "run")
    made, modality = restored(run.path, data)
    fresh, _ = restored(run.path, data, seed=0)
    x = torch.from_numpy(np.asarray(data.x[:8])).float() / 255
    batch = Batch(modality.load(torch.from_numpy(np.asarray(data.x[:8]))), torch.arange(8))
    assert x.shape == batch.x.shape
    before = {k: v.clone() for k, v in made.state_dict().items()}
    value = values.pretext(made, modality, Batch(batch.x[4:], torch.arange(4)), 0)
    with torch.no_grad():
        first, again = (value.of(Batch(batch.x[:2], torch.arange(2)), None) for _ in range(2))
    assert first.shape == (2,) and torch.equal(first, again)
    assert all(torch.equal(v, before[k]) for k, v in made.state_dict().items())  # queues and means stay as they were
    assert any(not torch.equal(a, b) for a, b in zip(made.parameters(), fresh.parameters(), strict=True))
    assert sum(p.numel() for p in last_of(made)) <= 200_000


def test_influence_is_a_dot_product_of_slopes(digits: Path) -> None:
    found = influence(digits, "builtin:digits", item=17, most=30)
    assert found["tried"] == 30 and found["helped"][0]["helps"] > found["helped"][-1]["helps"] > found["hurt"][0]["helps"]
    assert influence(digits, "builtin:digits", item=17, most=30) == found


def test_the_command_line(digits: Path, tmp_path: Path) -> None:
    said = call("explain", digits, "builtin:digits", "--pretraining")
    assert said.code == 0 and "moves the embedding" in said.out and "hardest items" in said.out and "nearest to their own" in said.err
    said = call("explain", digits, "builtin:digits", "--influence", "--item", "3")
    assert said.code == 0 and "solving its pretext task" in said.err
    said = call("explain", digits, "builtin:digits", "--pretext", "--item", "3", "--parts", "16")
    assert said.code == 0 and "how well the pretext task is solved" in said.err
    both = call("explain", digits, "builtin:digits", "--pretext", "--anomaly")
    assert both.code == 2 and "different things" in both.err


def test_what_cannot_be_restored(digits: Path, tmp_path: Path) -> None:
    data: Any = small("image")
    run = tacit.pretrain(data, method="supervised", steps=2, batch_size=8, size="tiny", out=tmp_path / "labels")
    with pytest.raises(CannotPair, match="learned from labels"):
        explain(run.path, data, item=0, pretext=True)
    with pytest.raises(Asked, match="no run folder"):
        restored(run.path / "model", data)
    other = tacit.pretrain(data, steps=2, batch_size=8, size="tiny", out=tmp_path / "run")
    newest = next((other.path / "checkpoints").glob("[0-9]*"))
    (newest / "model.safetensors").write_bytes(b"no")
    with pytest.raises(Asked, match="cannot be read"):
        restored(other.path, data)
    (newest / "meta.json").unlink()
    with pytest.raises(Asked, match="no checkpoint left"):
        restored(other.path, data)
