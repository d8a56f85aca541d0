"""The Python API: the same verbs on objects, models that save and load exactly, embeddings in the order of the data."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import tacit
from conftest import KINDS, small
from tacit import api
from tacit.api import plan
from tacit.assemble import make_encoder, make_modality
from tacit.data.dataset import from_arrays
from tacit.embedding import store
from tacit.embedding.model import Model
from tacit.errors import Asked, TacitError
from tacit.training.memory import learn
from tacit.training.pretrain import Pretrained
from tacit.training.run import write_json
from tacit.types import Embeddings

BACKBONE = {
    "image": "convnet",
    "audio": "spectral",
    "series": "conv1d",
    "ragged": "conv1d",
    "vector": "mlp",
    "table": "mlp",
    "events": "gru",
    "text": "roformer",
}


def fresh(kind: str) -> Model:
    """An untrained model of small data."""
    torch.manual_seed(0)
    data = small(kind)
    backbone = {"name": BACKBONE[kind], "size": "tiny"}
    modality = make_modality(data.spec, {})
    return Model(make_encoder(modality, backbone, frozenset()), modality, {"backbone": backbone, "modality": {}, "needs": []}).eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return tacit.pretrain(small("image"), out=tmp_path_factory.mktemp("api") / "run", steps=6, size="tiny", batch_size=8)


def test_the_quick_start(tmp_path: Path, run: Pretrained) -> None:
    data = small("image")
    model = run.model
    z = model.embed(data)
    assert z.vectors.shape == (40, model.dim) and z.vectors.dtype == np.float32 and z.ids == data.names
    assert z.labels is not None and z.labels.tolist() == [data.classes[i] for i in data.labels]
    score = tacit.evaluate(run, data, levels=[1, "all"], seeds=2, supervised=False)
    assert score.verdict["sentence"] and score.path is not None and json.loads(score.path.read_text())["verdict"] == score.verdict
    loose = tacit.evaluate(model, data, levels=[1], seeds=2)
    assert loose.path is None and any(r["representation"] == "supervised" for r in loose.to_json()["results"])
    assert api.report(run.path).is_file()
    model.save(tmp_path / "model")
    again = tacit.load(tmp_path / "model")
    assert np.array_equal(again.embed(data).vectors, z.vectors)
    assert np.array_equal(tacit.load(run.path).embed(data).vectors, z.vectors)
    assert np.array_equal(tacit.embed(run.path, data, tmp_path / "z.npy").vectors, np.load(tmp_path / "z.npy", allow_pickle=False))
    assert [c.name for c in plan(data, steps=3)][-1] == "steps"
    assert tacit.inspect(data)["items"] == 40


def test_any_data_a_model_was_made_for(tmp_path: Path, run: Pretrained) -> None:
    """A Dataset, a path, a list of files or an array: the same pictures give the same vectors."""
    data = small("image")
    want = run.model.embed(data).vectors
    files = []
    for i, x in enumerate(data.x[:6]):
        files.append(tmp_path / "photos" / f"{i}.png")
        files[-1].parent.mkdir(exist_ok=True)
        Pillow.fromarray(x.transpose(1, 2, 0)).save(files[-1])
    folder, array = tmp_path / "photos", np.array(data.x[:6])
    for given in (folder, str(folder), files, [str(f) for f in files], array, array.transpose(0, 2, 3, 1)):
        assert np.allclose(run.model.embed(given).vectors, want[:6], atol=1e-5)
    back = run.model.embed(files[::-1])
    assert np.allclose(back.vectors, want[5::-1], atol=1e-5) and back.ids[0].endswith("5.png"), "in the order that was given"
    bigger = Pillow.fromarray(data.x[0].transpose(1, 2, 0)).resize((64, 48))
    bigger.save(tmp_path / "big.png")
    assert run.model.embed([tmp_path / "big.png"]).vectors.shape == (1, run.model.dim)
    with pytest.raises(Asked, match="trained on image data"):
        run.model.embed(small("series"))


def test_reading_decoded_data_warns_of_nothing(tmp_path: Path, run: Pretrained) -> None:
    """Decoded items are a read-only memory map."""
    for i, x in enumerate(small("image").x[:6]):
        Pillow.fromarray(x.transpose(1, 2, 0)).save(tmp_path / f"{i}.png")
    data = tacit.open(tmp_path)
    assert isinstance(data.x, np.memmap)
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import tacit\n"
        "m = tacit.load(sys.argv[1]); d = tacit.open(sys.argv[2]); m.vectors(d.x); m.embed(d)\n"
        "tacit.pretrain(d, out=sys.argv[3], steps=2, size='tiny', batch_size=2)"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, str(run.path), str(tmp_path), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_models_survive_the_disk(kind: str, tmp_path: Path) -> None:
    model, data = fresh(kind), small(kind)
    z = model.embed(data).vectors
    model.save(tmp_path / "m")
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"model.safetensors", "model.json"}
    again = tacit.load(tmp_path / "m")
    assert np.array_equal(again.embed(data).vectors, z) and again.spec == model.spec and not again.training
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    assert about["dim"] == model.dim and about["spec"]["modality"] == data.modality and about["ignores"]


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_do_not_depend_on_the_batch(kind: str) -> None:
    model, data = fresh(kind), small(kind)
    whole = model.vectors(data.x, data.lengths)
    for size in (1, 7):
        assert np.allclose(model.vectors(data.x, data.lengths, batch=size), whole, atol=1e-5)
    model.train()
    assert np.allclose(model.vectors(data.x, data.lengths), whole, atol=1e-6), "embedding is inference, whatever the mode"
    assert model.training
    model.eval()
    assert model.vectors(data.x[:0], None if data.lengths is None else data.lengths[:0]).shape == (0, model.dim)
    if data.lengths is None:
        with torch.no_grad():
            assert np.allclose(model(torch.from_numpy(np.array(data.x))).numpy(), whole, atol=1e-5)


def test_series_of_other_lengths_are_embedded() -> None:
    model, rng = fresh("series"), np.random.default_rng(0)
    x = rng.normal(size=(5, 2, 48)).astype(np.float32)
    longer = model.embed(from_arrays([x[0], x[1, :, :30], np.tile(x[2], 2)]))
    alone = model.embed(from_arrays(x[1:2, :, :30]))
    assert np.allclose(longer.vectors[1], alone.vectors[0], atol=1e-4)
    assert longer.vectors.shape == (3, model.dim) and np.isfinite(longer.vectors).all()
    assert np.allclose(longer.vectors[0], model.vectors(x[:1])[0], atol=1e-4), "an item's vector does not depend on the others' lengths"


@pytest.mark.parametrize("how", ["truncated", "garbage", "absent", "spec", "json", "shape"])
def test_a_damaged_model_says_so(how: str, tmp_path: Path) -> None:
    path = fresh("vector").save(tmp_path / "m")
    weights, about = path / "model.safetensors", path / "model.json"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-50])
    elif how == "garbage":
        weights.write_bytes(b"garbage" * 100)
    elif how == "absent":
        weights.unlink()
    elif how == "json":
        about.write_text("{")
    else:
        content = json.loads(about.read_text())
        if how == "spec":
            del content["spec"]
        else:
            content["backbone"]["dim"] = 11
        about.write_text(json.dumps(content))
    with pytest.raises(TacitError, match="is damaged") as error:
        tacit.load(path)
    assert error.value.hint
    with pytest.raises(Asked, match="holds no model"):
        tacit.load(tmp_path)


def test_embeddings_are_written_in_order(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    z = np.random.default_rng(0).normal(size=(5, 3))
    names = ("e", "d", "c", "b", "a")
    full = Embeddings(z.astype(np.float32), names, np.array(["x", "y", "", "x", "y"], dtype=object), np.array([1, 1, 2, 2, -1]))
    table = pq.read_table(store.write(full, tmp_path / "z.parquet"))
    assert table["id"].to_pylist() == list(names) and table["label"].to_pylist() == ["x", "y", "", "x", "y"]
    assert table["group"].to_pylist() == [1, 1, 2, 2, -1] and np.allclose(table["vector"].to_pylist(), z)
    bare = pq.read_table(store.write(Embeddings(full.vectors, names), tmp_path / "bare.parquet"))
    assert bare.column_names == ["id", "vector"]
    with pytest.raises(Asked, match=r"written as \.parquet or \.npy"):
        store.write(full, tmp_path / "z.csv")
    (tmp_path / "file").write_text("x")
    with pytest.raises(TacitError, match="cannot be written"):
        store.write(full, tmp_path / "file" / "z.npy")
    with pytest.raises(TacitError, match="cannot be written"):
        write_json(tmp_path / "file" / "x.json", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare.parquet", "file", "z.parquet"], "nothing half-written stays"


def test_learning_in_memory_is_deterministic_and_the_last_step_counts() -> None:
    data: Any = small("vector")
    one, two, other = (learn(data, steps=4, size="tiny", seed=s).vectors(data.x) for s in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_nothing_public_warns_on_import() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in tacit.__all__:
            assert getattr(tacit, name)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = tacit.absent
