"""A decision by prototypes: near real parts, exact in its evidence, the same after saving and export."""

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
from tacit.evidence import evidence, influence, part_of
from tacit.finetuning.decider import Decider
from tacit.finetuning.prototypes import Bank, choose


def test_a_bank_tells_how_near_the_nearest_part_comes() -> None:
    bank = Bank(np.eye(3)[:2], np.ones(3))
    tokens = torch.tensor([[[2.0, 1, 1], [1, 3, 1], [9, 9, 9]], [[1, 1, 5], [0, 1, 1], [1, 2, 1]]])
    valid = torch.tensor([[True, True, False], [True, True, False]])
    np.testing.assert_allclose(bank(tokens, valid), [[1, 1], [0, 0]], atol=1e-6)
    assert bank.near(tokens, valid).shape == (2, 3, 2) and float(bank.near(tokens, valid)[0, 2].max()) == -1


def test_prototypes_are_real_tokens_of_their_class() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 8)) * 5
    of = np.arange(400) % 2
    tokens = centres[2 * of + (np.arange(400) // 2) % 2] + rng.normal(size=(400, 8)) * 0.1
    bank, at = choose(tokens, of, 2, 0)
    assert sorted(of[at].tolist()) == [0, 0, 1, 1]
    unit = tokens[at] - tokens.mean(0)
    np.testing.assert_allclose(bank.rows, unit / np.linalg.norm(unit, axis=1, keepdims=True), atol=1e-6)
    assert {int(((centres - tokens[i]) ** 2).sum(1).argmin()) for i in at} == {0, 1, 2, 3}
    assert (choose(tokens, of, 2, 0)[1] == at).all() and len(choose(tokens[:3], of[:3], 9, 0)[1]) == 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("prototypes")
    assert call("pretrain", "builtin:digits", "--steps", "30", "--out", root / "run", "-q").code == 0
    said = call("finetune", root / "run", "builtin:digits", "--strategy", "prototypes", "--out", root / "model")
    assert said.code == 0, said.err
    return {"root": root, "said": said.err}


def test_the_evidence_is_the_decision(made: dict[str, Any]) -> None:
    path = made["root"] / "model"
    found = evidence(path, "builtin:digits", item=17)
    decider = Decider.load(path)
    data = decider.prepare(tacit.open("builtin:digits"))
    batch = next(iter(decider.network.model.batches(data.x[17:18])))
    out = decider.network.decide(batch)[0].detach().double()
    bias = decider.network.reading()[3].detach().double()
    k = int(out.argmax())
    assert found["decides"] == decider.network.head.classes[k] and found["row"] == 17
    own = out - bias
    total = sum(p["adds"] for p in found["prototypes"]) + found["rest"]
    assert total == pytest.approx(float(own[k] - own[torch.arange(len(own)) != k].mean()), abs=1e-4)
    assert found["ahead"] == pytest.approx(total + found["bias"], abs=1e-4)
    strengths = [abs(p["adds"]) for p in found["prototypes"]]
    assert strengths == sorted(strengths, reverse=True)
    known = json.loads((path / "decider.json").read_text())["prototypes"]
    assert len(known) == 100 and all(data.names[p["row"]] == p["id"] for p in known)
    assert all(p["label"] == data.classes[data.labels[p["row"]]] and p["row"] in data.train for p in known)
    assert all(p["part_of_it"].startswith("pixels") for p in found["prototypes"])
    assert (path / "explain" / "evidence-17.png").read_bytes()[:4] == b"\x89PNG"


def test_it_reads_well_and_is_compared_with_its_opaque_twin(made: dict[str, Any]) -> None:
    result = json.loads(next((made["root"] / "model").glob("result.json")).read_text())
    rows = {r["probe"]: r["value"] for r in result["results"] if r["metric"] == "accuracy"}
    assert rows["finetune:prototypes"] > 0.9 and "linear" in rows


def test_prototypes_are_saved_predicted_and_exported(made: dict[str, Any]) -> None:
    root = made["root"]
    said = call("explain", root / "model", "builtin:digits", "--examples", "--item", "3")
    assert said.code == 0 and "that of" in said.out and "is decided to be" in said.err
    why = call("explain", root / "model", "builtin:digits", "--item", "3", "--json")
    assert why.code == 0 and json.loads(why.out)[0]["verdict"] in ("passed", "failed")
    assert call("predict", root / "model", "builtin:digits", "--out", root / "p.csv", "-q").code == 0
    assert call("export", root / "model", "--to", "onnx", "--out", root / "onnx", "-q").code == 0
    assert call("predict", root / "onnx", "builtin:digits", "--out", root / "q.csv", "-q").code == 0
    a, b = ([line.split(",")[1] for line in (root / f).read_text().splitlines()[1:]] for f in ("p.csv", "q.csv"))
    assert a == b


def test_influence_on_a_decision(made: dict[str, Any]) -> None:
    found = influence(made["root"] / "model", "builtin:digits", item=17, most=150)
    assert found["tried"] == 150 and found["decides"] in {e["label"] for e in found["helped"]}
    assert found["helped"][0]["helps"] > 0 > found["hurt"][0]["helps"]
    said = call("explain", made["root"] / "model", "builtin:digits", "--influence", "--item", "17")
    assert said.code == 0 and "helped" in said.out and f"a decision for {found['decides']}" in said.err


def test_what_cannot_be(made: dict[str, Any], tmp_path: Path) -> None:
    data = small("table")
    run = tacit.pretrain(data, steps=2, batch_size=8, size="tiny", out=tmp_path / "run")
    with pytest.raises(CannotPair, match="no feature for each part"):
        tacit.finetune(run, data, strategy="prototypes", out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(Asked, match="there is no strategy"):
        tacit.finetune(made["root"] / "run", "builtin:digits", strategy="prototype")
    probe = made["root"] / "probe"
    assert call("finetune", made["root"] / "run", "builtin:digits", "--strategy", "probe", "--out", probe, "-q").code == 0
    said = call("explain", probe, "builtin:digits", "--examples")
    assert said.code == 2 and "not by parts" in said.err and "--strategy prototypes" in said.err


def test_a_prototype_of_a_short_text_is_named_by_its_own_word(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice([f"w{chr(97 + i)}" for i in range(20)], int(n))) for n in draw.integers(2, 30, 80)]
    table = "text,label\n" + "\n".join(f"{t},{'ab'[i % 2]}" for i, t in enumerate(texts)) + "\n"
    (tmp_path / "texts.csv").write_text(table)
    reading = ("--text-column", "text", "--target", "label")
    assert call("pretrain", tmp_path / "texts.csv", *reading, "--steps", "5", "--out", tmp_path / "run", "-q").code == 0
    made = ("finetune", tmp_path / "run", tmp_path / "texts.csv", "--strategy", "prototypes", "--out", tmp_path / "model", "-q")
    assert call(*made).code == 0
    decider = Decider.load(tmp_path / "model")
    net, bank = decider.network.model, decider.network.bank
    data = net.prepare(tacit.open(tmp_path / "texts.csv", target="label", text_column="text"))
    assert bank is not None
    for k, one in enumerate(decider.network.prototypes[:10]):
        f = net.encoder(net.plain(next(iter(net.batches(data.x[[one["row"]]], data.lengths[[one["row"]]])))))
        nearest = int(bank.near(f.tokens, f.valid)[0, :, k].argmax())
        assert float(bank.near(f.tokens, f.valid)[0, nearest, k]) == pytest.approx(1, abs=1e-3)
        assert int(one["at"][0]) == nearest


@pytest.mark.parametrize("kind", ["text", "audio", "series"])
def test_every_kind_of_data_has_prototypes(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    size = {} if kind == "text" else {"size": "tiny"}
    run = tacit.pretrain(data, steps=2, batch_size=8, out=tmp_path / "run", **size)
    tacit.finetune(run, data, strategy="prototypes", overrides={"finetune": {"prototypes": 2}}, out=tmp_path / "model")
    found = evidence(tmp_path / "model", data, item=1, train=data)
    assert found["prototypes"] and all(p["part"] for p in found["prototypes"])
    net = Decider.load(tmp_path / "model").network.model
    _, each, name = part_of(net, net.prepare(data), 1, (0.0,) * (2 if kind == "audio" else 1))
    assert each.sum() >= 1 and name
