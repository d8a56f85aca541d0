"""An exported model: the same vectors without torch, and no file that was changed, lost or smuggled in is run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit
from conftest import call, small
from tacit import registry
from tacit.deciding import Knowledge
from tacit.embedding.model import Model, load
from tacit.errors import Asked, MissingExtra, TacitError
from tacit.finetuning.decider import Decider
from tacit.finetuning.network import Network, Scaled
from tacit.operate.artefact import Artefact, digest, padded
from tacit.operate.export import export
from tacit.operate.gates import cosines
from tacit.outliers import Reference
from test_export import fresh

pytest.importorskip("onnxruntime")

# everything that an exported model does, where torch cannot be imported
BARE = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "lightning_fabric", "safetensors", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

sys.meta_path.insert(0, Absent())
from tacit.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["tacit", *words]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            sys.exit(stop.code)
assert "torch" not in sys.modules
"""


def bare(*verbs: tuple[Any, ...]) -> subprocess.CompletedProcess[str]:
    words = json.dumps([[str(w) for w in verb] for verb in verbs])
    return subprocess.run([sys.executable, "-c", BARE, words], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def digits(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' run, exported."""
    path = tmp_path_factory.mktemp("artefacts") / "digits"
    said = call("export", trained, "--to", "onnx", "--out", path)
    assert said.code == 0 and said.out == f"{path}\n", said.err
    assert "passed: cosine with the vectors before" in said.err and "a linear probe loses" in said.err and "latency of 64" in said.err
    return path


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    """Series of unequal lengths, exported from Python, and the model that it was."""
    folder = tmp_path_factory.mktemp("artefacts")
    model = fresh("ragged", "gru")
    done = export(model.save(folder / "model"), "onnx", folder / "series", small("ragged"))
    assert {"length", "cosine short", "probe"} <= {g.name for g in done.gates}
    return done.path, model


@pytest.fixture(scope="module")
def decider(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Decider]:
    """A model that decides about vectors, exported, and what it was."""
    folder = tmp_path_factory.mktemp("artefacts")
    model, data = fresh("vector", "mlp"), small("vector")
    network = Network(model, registry.find("heads", "multilabel")(("a", "b", "c")), True)
    z = model.vectors(data.x)
    network.layer = Scaled(z.mean(0), z.std(0) + 1e-3, 3)
    torch.nn.init.normal_(network.layer.linear.weight)
    reference = Reference.fit(z)
    known = Knowledge(network.head, "multilabel", {}, {}, reference, data.names, data.names, model.encoder.cell, network.seen)
    found = Decider(network, model, known)
    done = export(found.save(folder / "model"), "onnx", folder / "decider", data)
    assert {"decisions", "certainty"} <= {g.name for g in done.gates}
    return done.path, found


def test_without_torch_the_vectors_are_the_same(digits: Path, ragged: tuple[Path, Model], trained: Path, tmp_path: Path) -> None:
    series = np.random.default_rng(0).normal(size=(12, 2, 37)).astype(np.float32)
    np.save(tmp_path / "series.npy", series)
    done = bare(
        ("embed", digits, "builtin:digits", "--out", tmp_path / "z.npy"),
        ("embed", digits, "builtin:digits", "--out", tmp_path / "z.parquet"),
        ("embed", ragged[0], tmp_path / "series.npy", "--out", tmp_path / "s.npy", "--quiet"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / name) for name in ("z.npy", "z.parquet", "s.npy")]
    assert cosines(np.load(tmp_path / "s.npy"), ragged[1].embed(series).vectors).min() > 0.9999
    z, want = np.load(tmp_path / "z.npy"), tacit.load(trained).embed("builtin:digits")
    assert z.dtype == np.float32 and z.shape == want.shape and cosines(z, want.vectors).min() > 0.9999
    refused = bare(("embed", trained, "builtin:digits", "--out", tmp_path / "y.npy"))
    assert refused.returncode == 1 and "needs torch" in refused.stderr and "Traceback" not in refused.stderr
    assert bare(("export", trained, "--to", "onnx", "--out", tmp_path / "a")).stderr.startswith("error: this needs torch")


def test_without_torch_the_decisions_are_the_same(decider: tuple[Path, Decider], tmp_path: Path) -> None:
    path, before = decider
    data = small("vector")
    np.save(tmp_path / "x.npy", data.x)
    done = bare(
        ("predict", path, tmp_path / "x.npy", "--out", tmp_path / "p.jsonl"),
        ("embed", path, tmp_path / "x.npy", "--out", tmp_path / "z.npy"),
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    want = before.predict(data)
    assert [r["prediction"] for r in rows] == want.columns["prediction"] and len({str(r["prediction"]) for r in rows}) > 1
    assert [r["nearest"] for r in rows] == want.columns["nearest"]
    z, out = before.outputs(data.x)
    for got, wanted in zip(tacit.load(path).outputs(data.x), (z, out), strict=True):
        assert got is not None and np.allclose(got, wanted, atol=1e-5)


def test_what_lies_in_the_folder(digits: Path, trained: Path) -> None:
    about = json.loads((digits / "artefact.json").read_text())
    assert sorted(about["files"]) == ["CARD.md", "model.onnx", "model/model.json", "model/model.safetensors", "requirements.txt"]
    assert {p.relative_to(digits).as_posix() for p in digits.rglob("*") if p.is_file()} == {*about["files"], "artefact.json"}
    assert about["source"]["id"] == "run" and about["data"]["items"] == 256 and about["data"]["name"] == "builtin:digits"
    assert [i["shape"][1:] for i in about["graph"]["inputs"]] == [[1, 8, 8]] and not isinstance(
        about["graph"]["inputs"][0]["shape"][0], int
    )
    gates = {g["name"]: g for g in about["gates"]}
    assert gates["cosine"]["value"] >= 0.9999 and gates["neighbours"]["value"] >= 0.99 and all(g["passed"] for g in gates.values())
    assert [t["batch"] for t in about["latency"]["after"]] == [1, 64]
    needed = (digits / "requirements.txt").read_text()
    assert "torch" not in needed and f"onnxruntime=={__import__('onnxruntime').__version__}" in needed and "scikit-learn" in needed
    assert "Intended use" in (digits / "CARD.md").read_text()
    assert np.array_equal(
        load(digits).encoder.state_dict()["backbone.norms.0.weight"], load(trained).encoder.state_dict()["backbone.norms.0.weight"]
    )


def test_in_python(ragged: tuple[Path, Model]) -> None:
    path, model = ragged
    artefact, data = tacit.load(path), small("ragged")
    assert isinstance(artefact, Artefact) and artefact.spec == model.spec and artefact.dim == model.dim and artefact.knowledge is None
    z, want = artefact.embed(data), model.embed(data)
    assert z.ids == want.ids and list(z.labels) == list(want.labels) and np.allclose(z.vectors, want.vectors, atol=1e-5)
    assert np.allclose(tacit.embed(path, data).vectors, want.vectors, atol=1e-5)
    short = [data[0][:, :1], data[1], data[0][:, :30]]
    assert np.allclose(artefact.embed(short).vectors, model.embed(short).vectors, atol=1e-5)
    vectors, out = artefact.outputs(data.x[:0], data.lengths[:0])
    assert vectors.shape == (0, model.dim) and out is None
    assert np.allclose(artefact.vectors(data.x, data.lengths, batch=7), want.vectors, atol=1e-5)
    with pytest.raises(Asked, match="series data, this is vector"):
        artefact.embed(small("vector"))


def test_padding_reaches_a_size_that_the_graph_takes() -> None:
    x, valid = padded(np.ones((2, 1, 5)), np.array([5, 2]), 4, 8)
    assert x.shape == (2, 1, 8) and valid.tolist() == [[True] * 5 + [False] * 3, [True] * 2 + [False] * 6]
    x, valid = padded(np.ones((1, 1, 9)), None, 4, 8)
    assert x.shape == (1, 1, 12) and valid.sum() == 9


def test_weights_alone_run_with_torch(ragged: tuple[Path, Model], tmp_path: Path) -> None:
    path, model = ragged
    done = export(path.parent / "model", "torch", tmp_path / "a", small("ragged"))
    data = small("ragged")
    assert np.allclose(tacit.load(done.path).embed(data).vectors, model.embed(data).vectors, atol=1e-6)
    assert "torch==" in (done.path / "requirements.txt").read_text()
    np.save(tmp_path / "x.npy", np.nan_to_num(data.x))
    refused = bare(("embed", done.path, tmp_path / "x.npy", "--out", tmp_path / "z.npy"))
    assert refused.returncode == 1 and "was exported with --to torch, which is not installed here" in refused.stderr


@pytest.fixture
def copy(ragged: tuple[Path, Model], tmp_path: Path) -> Path:
    return Path(shutil.copytree(ragged[0], tmp_path / "copy"))


def changed(folder: Path, sealed: bool = True, **about: Any) -> None:
    """Another artefact.json, with a hash that fits if sealed."""
    found = {**json.loads((folder / "artefact.json").read_text()), **about}
    found["hash"] = digest(found) if sealed else found["hash"]
    (folder / "artefact.json").write_text(json.dumps(found))


@pytest.mark.parametrize("name", ["model.onnx", "model/model.safetensors", "model/model.json", "CARD.md", "requirements.txt"])
def test_a_changed_or_lost_file_is_named(name: str, copy: Path) -> None:
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(TacitError, match=f"copy/{name} was changed after the export"):
        tacit.load(copy)
    (copy / name).unlink()
    with pytest.raises(TacitError, match=f"lacks its file {name}"):
        tacit.load(copy)


def test_what_it_says_of_itself_cannot_be_changed_unnoticed(copy: Path) -> None:
    changed(copy, sealed=False, dim=7)
    with pytest.raises(TacitError, match=r"artefact\.json was changed after the export"):
        tacit.load(copy)
    for text, words in (("{", "damaged"), ("[]", "damaged"), ('{"format": 1}', "KeyError 'hash'")):
        (copy / "artefact.json").write_text(text)
        with pytest.raises(TacitError, match=words):
            tacit.load(copy)


def test_a_newer_format_asks_for_a_newer_version(copy: Path) -> None:
    changed(copy, format=2)
    with pytest.raises(TacitError, match="format 2, and this version of tacit reads up to 1") as error:
        tacit.load(copy)
    assert error.value.hint == "pip install --upgrade tacit"


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/hostname", "link/outside.onnx", "model/../../outside.onnx"])
@pytest.mark.parametrize("where", ["files", "graph"])
def test_names_that_lead_out_of_the_folder_are_refused(name: str, where: str, copy: Path) -> None:
    shutil.copy(copy / "model.onnx", copy.parent / "outside.onnx")
    (copy / "link").symlink_to(copy.parent)
    about = json.loads((copy / "artefact.json").read_text())
    part = {**about["files"], name: about["files"]["model.onnx"]} if where == "files" else {**about["graph"], "file": name}
    changed(copy, **{where: part})
    with pytest.raises(TacitError, match="lies outside of the artefact"):
        tacit.load(copy).embed(small("ragged"))


def test_what_is_missing_is_said(copy: Path, digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Asked, match=r"takes items of 1 x 8 x 8, these have 1 x 9 x 8"):
        tacit.load(digits).vectors(np.zeros((2, 1, 9, 8), np.uint8))
    with pytest.raises(Asked, match="holds no exported model"):
        Artefact.open(tmp_path)
    with pytest.raises(Asked, match="holds no model"):
        tacit.load(tmp_path / "absent")
    assert "is an exported model already" in call("export", digits, "--to", "onnx", "--out", tmp_path / "a").err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra) as error:
        tacit.load(copy).embed(small("ragged"))
    assert error.value.hint == "pip install 'tacit[export]'"
