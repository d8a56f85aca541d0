"""A model and the data it is given: nothing in a file is run, the decoding is the model's, what was asked of the data stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit
from conftest import call, small
from tacit.assemble import make_encoder, make_modality
from tacit.config import RunConfig
from tacit.data.dataset import from_arrays
from tacit.embedding.model import Model, load
from tacit.errors import Asked, TacitError
from tacit.types import Batch

CODE = """
from pathlib import Path
from tacit.backbones.mlp import MLP
from tacit.methods.vicreg import VICReg

Path(__file__).with_suffix(".ran").write_text("ran")


class Network(MLP):
    presets = MLP.presets


class Method(VICReg):
    pass
"""


def fresh(data: Any, backbone: str = "mlp") -> Model:
    """An untrained model of this data."""
    torch.manual_seed(0)
    body = {"name": backbone, "size": "tiny"}
    modality = make_modality(data.spec, {})
    return Model(make_encoder(modality, body, frozenset()), modality, {"backbone": body, "modality": {}, "needs": []}).eval()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text(CODE)
    return tmp_path / "code.py"


@pytest.mark.parametrize("part", ["backbone", "modality"])
@pytest.mark.parametrize("form", ["{}:Network", "{}"])
def test_a_model_runs_no_code_that_it_names(part: str, form: str, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fresh(small("vector")).save(tmp_path / "m")
    about = json.loads((path / "model.json").read_text())
    (about["backbone"] if part == "backbone" else about["spec"])["name" if part == "backbone" else "modality"] = form.format(code)
    (path / "model.json").write_text(json.dumps(about))
    with pytest.raises(Asked, match=f"names the {part} .*not run") as error:
        tacit.load(path)
    assert "trust=True" in error.value.hint and not code.with_suffix(".ran").exists()
    if (part, form) == ("backbone", "{}:Network"):
        assert load(path, trust=True).dim and code.with_suffix(".ran").exists()
        monkeypatch.setenv("TACIT_TRUST", "1")
        assert load(path).dim
    about["backbone"] = {"name": "absent"}
    about["spec"]["modality"] = "vector"
    monkeypatch.delenv("TACIT_TRUST", raising=False)
    (path / "model.json").write_text(json.dumps(about))
    with pytest.raises(Asked, match="not installed here"):
        load(path)


def test_a_run_runs_no_code_that_only_its_configuration_names(code: Path, tmp_path: Path) -> None:
    parts = {"modality": {"name": "vector"}, "method": {"name": "vicreg"}, "backbone": {"name": "mlp"}}
    config = RunConfig(data={"path": "x", "fingerprint": "f"}, **parts)
    file = tmp_path / "config.toml"
    for part in ("method", "backbone", "modality"):
        named = f"{code}:{part.title()}"
        file.write_text(replace(config, **{part: {"name": named}}).to_toml())
        with pytest.raises(Asked, match=f"names the {part} "):
            RunConfig.read(file)
        assert getattr(RunConfig.read(file, named=[named]), part)["name"] == named
        assert getattr(RunConfig.read(file, runs=()), part)["name"] == named


def test_a_method_from_a_file_is_resumed_when_it_is_named_again(code: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32))
    (tmp_path / "y.npy").unlink(missing_ok=True)
    run, data = tmp_path / "run", tmp_path / "x.npy"
    asked = ("pretrain", data, "--modality", "vector", "--steps", 3, "--size", "tiny", "--out", run)
    said = call(*asked, "--method", f"{code}:Method")
    assert said.code == 0, said.err
    code.with_suffix(".ran").unlink()
    refused = call(*asked, "--resume")
    assert refused.code == 2 and "not run" in refused.err and "--method" in refused.err and not code.with_suffix(".ran").exists()
    again = call(*asked, "--resume", "--method", f"{code}:Method")
    assert again.code == 0, again.err
    code.with_suffix(".ran").unlink()
    assert call("embed", run, data, "--out", tmp_path / "z.npy").code == 0 and not code.with_suffix(".ran").exists()


def deep(folder: Path, top: int, size: int = 16) -> Path:
    """Sixteen-bit pictures with values up to `top`, and a table that says class, patient and part."""
    from PIL import Image as Pillow

    draw = np.random.default_rng(top)
    folder.mkdir()
    lines = ["file_name,kind,patient,part"]
    for i in range(20):
        x = draw.integers(0, top + 1, (size, size)).astype(np.uint16)
        x[0, 0] = top
        Pillow.fromarray(x).save(folder / f"{i:02}.png")
        lines.append(f"{i:02}.png,{'ab'[i % 2]},p{i // 4},{'test' if i < 8 else 'train'}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_other_pictures_are_decoded_with_the_models_scale_size_and_fit(tmp_path: Path) -> None:
    model = fresh(tacit.open(deep(tmp_path / "bright", 4095)), "convnet")
    for size in (16, 20):
        folder = deep(tmp_path / f"dark{size}", 300, size)
        data = tacit.open(folder, target="kind", group="patient", split="part", seed=5)
        assert data.spec.extra["scale"] == [0.0, 511.0] and data.task == "classification"
        ready = model.prepare(data)
        assert ready.spec == model.spec and abs(int(ready.x.max()) - 300 / 4095 * 255) < 3 and ready.names == data.names
        assert ready.labels is not None and ready.groups is not None and data.labels is not None and data.groups is not None
        assert (ready.labels == data.labels).all() and ready.classes == data.classes and (ready.groups == data.groups).all()
        assert (ready.split == data.split).all() and len(ready.test) == 8 and ready.split_rule == data.split_rule
        assert np.array_equal(model.prepare(tacit.open(folder, target="kind", spec=model.spec)).x, ready.x)
    wide = tacit.open(deep(tmp_path / "wide", 4095, 16), options={"fit": "pad"})
    assert model.prepare(wide).spec.extra["fit"] == "crop"
    smaller = tacit.open(tmp_path / "bright", size=14)
    assert smaller.spec.extra["size"] == [14, 14] and model.prepare(smaller).spec == model.spec


def test_arrays_are_decoded_again_from_memory() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 4096, (20, 16, 16, 1)).astype(np.uint16), np.arange(20) % 2
    model = fresh(from_arrays(x), "convnet")
    data = from_arrays(x // 8, y=y, groups=[f"g{i // 2}" for i in range(20)], split=["train", "test"] * 10)
    ready = model.prepare(data)
    assert ready.x.max() < 40 and ready.labels is not None and ready.labels.tolist() == y.tolist()
    assert (ready.split == data.split).all() and ready.group_names == data.group_names
    with pytest.raises(Asked, match="where it came from"):
        model.prepare(replace(data, opened={}))
    series = fresh(small("ragged"), "conv1d")
    assert series.embed([np.zeros((2, n), np.float32) + np.arange(n) for n in (30, 20)]).vectors.shape == (2, series.dim)


WRONG = [{"precision": None}, {"precision": "float8"}, {"format": None}, {"backbone": 3}, {"spec": []}, {"needs": 5}]


@pytest.mark.parametrize("change", WRONG)
def test_a_model_with_a_wrong_or_missing_key_is_damaged(change: dict[str, Any], tmp_path: Path) -> None:
    path = fresh(small("vector")).save(tmp_path / "m")
    about = {**json.loads((path / "model.json").read_text()), **change}
    (path / "model.json").write_text(json.dumps({k: v for k, v in about.items() if v is not None}))
    with pytest.raises(TacitError, match="is damaged") as error:
        tacit.load(path)
    assert error.value.hint


def test_a_model_of_a_newer_format_says_so_and_labels_are_remembered(tmp_path: Path) -> None:
    model = fresh(small("vector"))
    model.config["labels_seen"] = True
    path = model.save(tmp_path / "m")
    assert tacit.load(path).config["labels_seen"] is True
    about = json.loads((path / "model.json").read_text())
    (path / "model.json").write_text(json.dumps({**about, "format": 3, "precision": {"of": "the future"}}))
    with pytest.raises(TacitError, match="has format 3, and this version of tacit reads up to 2") as error:
        tacit.load(path)
    assert "upgrade" in error.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"method": None}, {"method": "simclr"}, {"method": {"size": 3}}, {"backbone": {"name": 3}}, {"data": {"path": "x"}}, {"optim": 3},
        {"optim": {"lr": "much"}}, {"train": {"steps": -1}}, {"device": 3}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_configuration_with_a_wrong_or_missing_key_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    import tomli_w

    good: dict[str, Any] = {"data": {"path": "x", "fingerprint": "f"}, "method": {"name": "vicreg"}, "backbone": {"name": "mlp"}}
    good["modality"] = {"name": "vector"}
    file = tmp_path / "config.toml"
    file.write_text(tomli_w.dumps(good))
    assert RunConfig.read(file).train.steps > 0
    file.write_text(tomli_w.dumps({k: v for k, v in {**good, **change}.items() if v is not None}))
    with pytest.raises(Asked, match="not a readable run configuration"):
        RunConfig.read(file)


def test_embeddings_name_groups_and_leave_what_is_unlabelled_empty(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    x = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    model = fresh(small("vector"))
    for y, want in ((["a", None, "b", "a", "b", "b"], ["a", None, "b", "a", "b", "b"]), ([0.5, float("nan"), 2.25, 3, 4, 5.5],) * 2):
        data = from_arrays(x, y=np.array(y, dtype=object), groups=["p9", "p10", None, "p9", "", "p10"])
        tacit.embed(model, data, tmp_path / "z.parquet")
        table = pq.read_table(tmp_path / "z.parquet")
        assert table["label"].to_pylist() == [None if v is None or v != v else v for v in want]
        assert table["group"].to_pylist() == ["p9", "p10", None, "p9", None, "p10"]


def test_an_image_is_read_whole_and_in_tiles() -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 12, 12)).astype(np.uint8)
    data = from_arrays(x, modality="image")
    model = fresh(data, "convnet")
    z, whole = model.vectors(x), model.vectors(x, tiles=False)
    d = model.encoder.dim
    assert model.dim == z.shape[1] == 3 * d and np.array_equal(z[:, :d], whole)
    # two tiles a side, each 8 of the 12 pixels, scaled to the training size: the four corners
    parts = []
    for top, left in ((0, 0), (0, 4), (4, 0), (4, 4)):
        corner = torch.from_numpy(x[:, :, top : top + 8, left : left + 8]).float()
        large = torch.nn.functional.interpolate(corner, size=(12, 12), mode="bilinear")
        # away from the border, where the tile sees what lies beyond its corner
        tile = model.modality.tiles_of(Batch(torch.from_numpy(x).float(), torch.arange(5)))[len(parts)].x
        assert torch.allclose(tile[:, :, 1:-1, 1:-1], large[:, :, 1:-1, 1:-1], atol=1e-2)
        with torch.no_grad():
            parts.append(model.encoder(Batch(tile / 255, torch.arange(5))).pooled.numpy())
    assert np.allclose(z[:, d : 2 * d], np.mean(parts, 0), atol=1e-5)
    assert np.allclose(z[:, 2 * d :], np.std(parts, 0), atol=1e-5)
    same = model.vectors(np.full((1, 3, 12, 12), 100, np.uint8))[0]
    assert np.allclose(same[d : 2 * d], same[:d], atol=1e-4) and np.abs(same[2 * d :]).max() < 1e-4
    again = torch.from_numpy(np.full((1, 3, 12, 12), 100, np.uint8)).float().requires_grad_()
    model(again).sum().backward()
    assert again.grad is not None and bool(again.grad.isfinite().all())


@pytest.mark.parametrize("tiles", [0, 1, 3])
def test_tiles_are_a_setting(tiles: int) -> None:
    data = small("image")
    modality = make_modality(data.spec, {"tiles": tiles})
    model = Model(make_encoder(modality, {"name": "convnet", "size": "tiny"}, frozenset()), modality, {}).eval()
    batch = Batch(modality.load(torch.from_numpy(data.x[:4])), torch.arange(4))
    assert len(modality.tiles_of(batch)) == tiles**2 and all(t.x.shape == batch.x.shape for t in modality.tiles_of(batch))
    assert model.vectors(data.x[:4]).shape == (4, model.dim) and model.dim == model.encoder.dim * (3 if tiles else 1)
