"""What leaves: the graph computes what the model does at any size, eight bits stay near, and every gate says no when it should."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import call, small
from tacit import registry
from tacit.assemble import make_encoder, make_modality
from tacit.deciding import Knowledge
from tacit.embedding.model import Model
from tacit.errors import GateFailed, TacitError
from tacit.operate import gates
from tacit.operate.artefact import Onnx
from tacit.operate.export import export
from tacit.operate.gates import COARSE, EXACT, agreement, cosines, measure
from tacit.operate.graph import Graph, export_onnx
from tacit.operate.quantise import _layers, quantise
from tacit.types import Batch

pytest.importorskip("onnxruntime")
PAIRS = [("ragged", "gru"), ("vector", "mlp")]
BODIES = ("conv1d", "convnet", "resnet", "transformer")
MORE = [("image", b) for b in (*BODIES[1:], "mlp")] + [("ragged", b) for b in BODIES] + [("series", "mlp"), ("vector", "transformer")]


def fresh(kind: str, backbone: str, needs: frozenset[str] = frozenset(), **knobs: Any) -> Model:
    """An untrained model of small data, with statistics of normalisation that are not those of the beginning."""
    torch.manual_seed(0)
    modality = make_modality(small(kind).spec, knobs)
    body = {"name": backbone, "size": "tiny"}
    model = Model(make_encoder(modality, body, needs), modality, {"backbone": body, "modality": knobs, "needs": sorted(needs)})
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


def written(graph: Graph, path: Path) -> Onnx:
    """A graph as ONNX, ready to run."""
    export_onnx(graph, torch.from_numpy(np.array(small(graph.spec.modality if not graph.spec.ragged else "ragged").x[0])), path)
    shape = [None, graph.spec.channels, *graph.spec.sizes]
    return Onnx(path, {"step": graph.step, "least": 2 * graph.step, "inputs": [{"shape": shape}]})


def same(kind: str, backbone: str, path: Path) -> None:
    model = fresh(kind, backbone)
    data, graph = small(kind), Graph(model)
    engine = written(graph, path)
    for rows in (slice(0, 1), slice(0, 7)):
        lengths = None if data.lengths is None else data.lengths[rows]
        (z,) = engine.run(data.x[rows], lengths)
        assert np.allclose(z, model.vectors(data.x[rows], lengths), atol=1e-5)
    assert engine.any_length == graph.any_length == (backbone != "mlp" and kind in ("series", "ragged"))
    if engine.any_length:
        for t in (1, 3, 29, 90):  # shorter and longer than any that it saw
            x = np.random.default_rng(t).normal(size=(2, 2, t)).astype(np.float32)
            assert np.allclose(engine.run(x, None)[0], model.vectors(x), atol=1e-5), t


@pytest.mark.parametrize(("kind", "backbone"), PAIRS)
def test_a_graph_computes_what_the_model_does(kind: str, backbone: str, tmp_path: Path) -> None:
    same(kind, backbone, tmp_path / "m.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "backbone"), MORE)
def test_so_do_graphs_of_the_other_networks(kind: str, backbone: str, tmp_path: Path) -> None:
    same(kind, backbone, tmp_path / "m.onnx")


@pytest.mark.parametrize("backbone", ["conv1d", "gru", "convnet", "resnet", "transformer"])
def test_an_item_alone_equals_itself_beside_a_longer_one(backbone: str) -> None:
    model = fresh("ragged", backbone)
    x = np.random.default_rng(0).normal(size=(2, 2, 48)).astype(np.float32)
    for longest in (17, 29, 47, 48):  # strides do not divide all of them
        for t in (1, 5, 16, longest - 1):
            both = model.vectors(x[..., :longest], np.array([longest, t]))
            assert np.allclose(both[1], model.vectors(x[1:, :, :t], np.array([t]))[0], atol=1e-5), (longest, t)
            assert np.allclose(both[1], model.vectors(x[1:, :, :t])[0], atol=1e-5), (longest, t)


class Tokens(nn.Module):
    """Stands for a head that decides about every feature."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.layer = model, nn.Linear(model.encoder.dim, 3)

    def forward(self, batch: Batch) -> Tensor:
        return self.layer(self.model.encoder(self.model.plain(batch)).tokens)


def test_outputs_of_a_head_follow_the_length_of_the_item(tmp_path: Path) -> None:
    model = fresh("ragged", "convnet")
    graph = Graph(model, Tokens(model))
    engine = written(graph, tmp_path / "m.onnx")
    assert engine.step == 8
    for t in (6, 21, 48):
        x = np.random.default_rng(t).normal(size=(3, 2, t)).astype(np.float32)
        z, out = engine.run(x, None)
        assert out.shape == (3, -(-t // 8), 3)
        for got, want in zip((z, out), graph.run(x, None), strict=True):
            assert np.allclose(got, want, atol=1e-5)


class Odd(nn.Module):
    """A head that does something."""

    def __init__(self, does: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.strange = nn.Module()
        self.strange.forward = does  # type: ignore[method-assign]

    def forward(self, batch: Batch) -> Tensor:
        return self.strange(batch.x)


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (lambda x: torch.special.bessel_j0(x), r"no operator \S*bessel_j0, which decide\.strange \(Module\) uses"),
        (lambda x: x if x.sum() > 0 else -x, r"a branch of it depends on values \(test_export\.py, line \d+\)"),
        (lambda x: x.view(2, -1), "specialized it to be a constant|fixes a size|Constraints violated"),
    ],
)
def test_what_cannot_be_written_is_named(does: Callable[[Tensor], Tensor], words: str, tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(TacitError, match=words) as error:
        export_onnx(Graph(fresh("vector", "mlp"), Odd(does)), torch.from_numpy(small("vector").x[0]), tmp_path / "m.onnx")
    assert "--to torch" in error.value.hint
    assert capfd.readouterr() == ("", ""), "the exporter keeps quiet"


# ---- eight bits ----


def test_eight_bits_stay_near_and_small(tmp_path: Path, capfd: Any) -> None:
    graph = Graph(fresh("image", "convnet", tiles=0))
    engine = written(graph, tmp_path / "m.onnx")
    x = small("image").x
    kept = quantise(tmp_path / "m.onnx", tmp_path / "m8.onnx", (engine.feed(x[i : i + 8], None) for i in range(0, 40, 8)))
    coarse = Onnx(tmp_path / "m8.onnx", {"step": 1, "least": 1, "inputs": [{"shape": [None, *x.shape[1:]]}]})
    c = cosines(engine.run(x, None)[0], coarse.run(x, None)[0])
    assert 0.99 < c.min() < 1 - 1e-7 and len(kept) == 1, "the first of three layers stays"
    assert (tmp_path / "m8.onnx").stat().st_size < 0.6 * (tmp_path / "m.onnx").stat().st_size
    assert capfd.readouterr() == ("", "")


def test_what_reads_raw_values_and_what_decides_stays_as_it_is() -> None:
    from onnx import TensorProto, helper

    weights = [helper.make_tensor(n, TensorProto.FLOAT, [2, 2], [1.0, 0, 0, 1]) for n in ("a", "b", "c", "d", "e")]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["xa"], "first"),
        helper.make_node("MatMul", ["x", "b"], ["xb"], "also first"),
        helper.make_node("Relu", ["xa"], ["r"], "no layer"),
        helper.make_node("MatMul", ["r", "xb"], ["q"], "two activations"),
        helper.make_node("MatMul", ["q", "c"], ["z"], "middle, gives the embedding"),
        helper.make_node("MatMul", ["q", "d"], ["h"], "middle of the head"),
        helper.make_node("MatMul", ["h", "e"], ["out"], "decides"),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 2]) for n in ("x", "z", "out")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    layers, kept = _layers(graph)
    assert layers == ["middle, gives the embedding", "middle of the head"]
    assert kept == ["first", "also first", "decides"]


def test_a_network_without_such_layers_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 0, 0, 1])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 2]) for n in ("x", "z")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["z"], "only")], "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(TacitError, match="no layer of this network can be quantised"):
        quantise(tmp_path / "m.onnx", tmp_path / "m8.onnx", [{"x": np.eye(2, dtype=np.float32)}])


# ---- gates ----


class Fake:
    """Computes something with items [B, C, T]."""

    any_length = False

    def __init__(self, does: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.does = does

    def run(self, x: np.ndarray, lengths: np.ndarray | None) -> list[np.ndarray]:
        own = np.full(len(x), x.shape[-1]) if lengths is None else lengths
        return [self.does(x, own)]


def plain(x: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The sum of what exists, for each channel."""
    return np.stack([v[:, :n].sum(1) for v, n in zip(x, own, strict=True)])


X = np.random.default_rng(0).normal(size=(64, 6, 9)).astype(np.float32)
Y = (X[:, 0].sum(1) > 0).astype(np.int64)


def verdicts(does: Callable[..., np.ndarray], labels: np.ndarray | None = Y, limits: gates.Limits = EXACT) -> dict[str, bool]:
    after = Fake(does)
    after.any_length = True
    return {g.name: g.passed for g in measure(Fake(plain), after, X, None, labels, limits=limits)}


def test_the_same_model_passes_every_gate() -> None:
    names = ["cosine", "cosine mean", "neighbours", "probe", "batch", "length", "cosine short"]
    assert verdicts(plain) == dict.fromkeys(names, True)
    assert "probe" not in verdicts(plain, None) and "probe" not in verdicts(plain, np.full(64, -1))
    assert "probe" in verdicts(plain, X[:, 0].sum(1).astype(np.float32)), "numbers are probed as well"


@pytest.mark.parametrize(
    ("does", "fails"),
    [
        (lambda x, own: plain(x, own) + 0.3 * np.sin(97 * plain(x, own)), {"cosine", "neighbours"}),
        (lambda x, own: plain(x, own) * [0, 1, 1, 1, 1, 1], {"cosine", "probe"}),
        (lambda x, own: plain(x, own) + 0.01 * (len(x) - 1), {"batch"}),
        (lambda x, own: plain(x, np.full(len(x), x.shape[-1])), {"length"}),  # padding counts
        (lambda x, own: plain(x, own) * np.where(own[:, None] < 9, [[-1, 1, 1, 1, 1, 1]], 1), {"cosine short"}),
        (lambda x, own: plain(x, own) * np.nan, {"cosine", "cosine mean", "batch"}),
    ],
)
def test_another_model_does_not(does: Callable[..., np.ndarray], fails: set[str]) -> None:
    labels = None if np.isnan(does(X, np.full(64, 9))).any() else Y
    found = verdicts(does, labels)
    assert fails <= {name for name, passed in found.items() if not passed}, found


def test_agreement_is_that_of_a_slow_loop_and_knows_ties() -> None:
    draw = np.random.default_rng(1)
    z = draw.normal(size=(30, 5))
    w = z + 0.3 * draw.normal(size=z.shape)

    def nearest(v: np.ndarray, i: int) -> set[int]:
        c = {j: v[i] @ v[j] / np.linalg.norm(v[i]) / np.linalg.norm(v[j]) for j in range(30) if j != i}
        return set(sorted(c, key=lambda j: -c[j])[:10])

    slow = np.mean([len(nearest(z, i) & nearest(w, i)) / 10 for i in range(30)])
    assert agreement(z, w) == pytest.approx(slow) and 0.3 < slow < 0.95
    twins = np.repeat(draw.normal(size=(3, 5)), 20, 0)  # nineteen are equally near to each
    assert agreement(twins, twins + 1e-9 * draw.normal(size=twins.shape)) == 1
    assert agreement(z[:1], z[:1]) == 1


def test_cosines_of_nothing() -> None:
    a = np.array([[3.0, 4.0], [0, 0], [0, 0], [1, 0]])
    b = np.array([[6.0, 8.0], [0, 0], [1, 0], [-1, 0]])
    assert cosines(a, b) == pytest.approx([1, 1, 0, -1])


HEADS = {
    "classification": ("a", "b", "c"),
    "multilabel": ("a", "b", "c"),
    "regression": (),
    "tagging": ("a", "b", "c"),
    "similarity": (),
}


@pytest.mark.parametrize("name", HEADS)
def test_decisions_are_compared_whatever_the_head(name: str) -> None:
    head = registry.find("heads", name)(HEADS[name])
    draw = np.random.default_rng(0)
    out = draw.normal(size={"tagging": (64, 9, 3), "similarity": (64, 4), "regression": (64, 1)}.get(name, (64, 3))).astype(np.float32)
    pair = {"mean": np.zeros(8), "scale": np.ones(8), "weight": draw.normal(size=(1, 8)), "bias": np.zeros(1)}
    knowledge = Knowledge(head, name, {}, {}, None, (), (), (1,), None, pair)

    def gate(change: np.ndarray | float) -> dict[str, bool]:
        places = (9,)
        return {g.name: g.passed for g in gates._decisions(knowledge, out, out + change, places, EXACT)}

    assert set(gate(0.0)) == {"decisions"} | ({"certainty"} if name in ("classification", "multilabel", "tagging") else set())
    assert all(gate(0.0).values()) and all(gate(1e-6 * draw.normal(size=out.shape)).values())
    assert not gate(draw.normal(size=out.shape))["decisions"]


def test_limits_for_eight_bits_are_wider_and_none_is_below_the_issue() -> None:
    assert (EXACT.cosine, COARSE.cosine) == (0.9999, 0.99)
    nudged = lambda x, own: plain(x, own) * (1 + 0.02 * np.sin(31 * plain(x, own)))  # noqa: E731
    assert not verdicts(nudged)["cosine"] and all(verdicts(nudged, limits=COARSE).values())


# ---- the whole ----


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh("vector", "mlp").save(tmp_path_factory.mktemp("models") / "m")


def test_a_failed_gate_is_exit_3_and_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "EXACT", gates.Limits(1.1, 0.0, 1.0, 0.0, 1.0, 1.0))
    np.save(tmp_path / "x.npy", small("vector").x)
    said = call("export", model, "--to", "onnx", "--out", tmp_path / "a", "--data", tmp_path / "x.npy")
    assert said.code == 3 and "it is not the same model any more\n  cosine: " in said.err and said.out == ""
    assert "FAILED: cosine" in said.err and "passed: an item alone" in said.err
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]
    with pytest.raises(GateFailed):
        export(model, "torch", tmp_path / "b", small("vector"))
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_the_verb_says_what_it_checked(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", small("vector").x)
    said = call("export", model, "--to", "int8", "--out", tmp_path / "a", "--data", tmp_path / "x.npy", "--json", "--quiet")
    assert said.code == 0 and said.err == "", said.err
    found = json.loads(said.out)
    assert {g["name"] for g in found["gates"]} == {"cosine", "cosine mean", "neighbours", "batch"}
    assert all(g["passed"] for g in found["gates"]) and found["artefact"] == str(tmp_path / "a")
    assert [t["batch"] for t in found["latency"]["before"]] == [t["batch"] for t in found["latency"]["after"]] == [1, 64]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "CARD.md",
        "artefact.json",
        "model",
        "model_int8.onnx",
        "requirements.txt",
    ]


def test_asked_wrongly(model: Path, tmp_path: Path) -> None:
    for words, message in (
        (("--to", "onix"), "no form 'onix' to export to"),
        (("--to", "onnx"), "was trained on is not known"),
        (("--to", "onnx", "--data", tmp_path / "absent"), "there is no file or folder"),
        (("--to", "onnx", "--data", "builtin:digits"), "image data, the model reads vector data"),
    ):
        said = call("export", model, *words, "--out", tmp_path / "a")
        assert said.code == 2 and message in said.err, said.err
    (tmp_path / "gone").mkdir()
    shutil.copytree(model, tmp_path / "gone" / "model")
    (tmp_path / "gone" / "data.json").write_text(json.dumps({"place": str(tmp_path / "x.npy"), "path": "x.npy", "options": {}}))
    said = call("export", tmp_path / "gone", "--to", "onnx", "--out", tmp_path / "a")
    assert said.code == 2 and "what it was trained on is gone: there is no file" in said.err and "--data" in said.err
    shutil.rmtree(tmp_path / "gone")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    assert "exists already" in call("export", model, "--to", "onnx", "--out", tmp_path / "full").err
    assert "holds no model" in call("export", tmp_path, "--to", "onnx", "--out", tmp_path / "a").err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]
