"""The map of all items: what is written, how faithful it is said to be, and what opens it."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import tacit
from conftest import call, small
from tacit.atlas import atlas, neighbours, open_in_viewer, projected
from tacit.errors import Asked, MissingExtra
from tacit.report.map import faithful


def unit(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_neighbours_are_those_of_a_full_search() -> None:
    z = unit(50)
    ids, far = neighbours(z, 5, block=7)
    cosine = z @ z.T
    np.fill_diagonal(cosine, -2)
    assert (ids == np.argsort(-cosine, axis=1, kind="stable")[:, :5]).all()
    np.testing.assert_allclose(far, 1 - np.sort(cosine, 1)[:, ::-1][:, :5])
    assert neighbours(z[:3], 15)[0].shape == (3, 2)


def test_a_map_that_lies_is_said_to_lie() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(200, 2))
    assert faithful(flat, flat) == (1.0, 1.0, 15)
    trust, kept, _ = faithful(flat, rng.permutation(flat))
    assert trust is not None and kept is not None and trust < 0.6 and kept < 0.6
    folded = flat.copy()
    folded[:, 0] = np.abs(folded[:, 0])  # a fold brings strangers together, and pulls few apart
    trust, kept, _ = faithful(flat, folded)
    assert trust is not None and kept is not None and trust < kept - 0.03
    assert faithful(flat[:2], flat[:2])[:2] == (None, None)


@pytest.mark.parametrize("kind", ["image", "audio", "text", "table", "series", "vector", "events"])
def test_every_kind_of_item_is_on_the_map_as_itself(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    size = {} if kind == "text" else {"size": "tiny"}
    run = tacit.pretrain(data, steps=2, batch_size=8, out=tmp_path / "run", **size)
    made = atlas(run.path, data, how="pca")
    held = pq.read_table(made.path)
    assert held.num_rows == len(data) and held["id"].to_pylist() == list(data.names)
    assert {"x", "y", "split", "__neighbors"} <= set(held.column_names)
    first = held["__neighbors"][0].as_py()
    assert len(first["ids"]) == len(first["distances"]) and 0 not in first["ids"] and first["distances"] == sorted(first["distances"])
    magic = {"image": ("picture", b"\x89PNG"), "series": ("picture", b"\x89PNG"), "audio": ("sound", b"RIFF")}.get(kind)
    if magic:
        assert magic[0] in made.shown
        file = held[magic[0]][0].as_py()
        assert file["bytes"][:4] == magic[1] and file["path"].endswith((".png", ".wav"))
    if kind == "text":
        assert data.raws is not None and held["text"].to_pylist() == list(data.raws())
    if kind == "table":
        assert {c["name"] for c in data.spec.extra["columns"]} <= set(held.column_names)
    words = pq.read_table(made.labels)["text"].to_pylist()
    assert words[0].startswith("PCA: trustworthiness 0.")
    assert json.loads(made.state.read_text())["charts"]["1"]["title"] == words[0]
    assert atlas(run.path, data, how="pca").path.read_bytes() == made.path.read_bytes()


def test_few_items_and_a_subset(tmp_path: Path) -> None:
    data = small("image")
    run = tacit.pretrain(data, steps=2, batch_size=8, size="tiny", out=tmp_path / "run")
    made = atlas(run.path, data, most=10, how="pca")
    assert 3 <= made.result["items"] <= 10 and made.result["of"] == len(data)
    with pytest.raises(Asked, match="no way of drawing"):
        atlas(run.path, data, how="tsne")
    with pytest.raises(Asked, match="that is no map"):
        atlas(run.path, data, most=2)
    flat, said = projected(unit(5, 1), "pca")
    assert flat.shape == (5, 2) and said == "PCA"


def test_what_the_viewer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    rows = np.random.default_rng(0).integers(0, 255, (12, 1, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "x.npy", rows)
    assert call("pretrain", tmp_path / "x.npy", "--modality", "image", "--steps", "1", "--out", tmp_path / "run", "-q").code == 0
    said = call("map", tmp_path / "run", "--how", "pca", "--no-open")
    assert said.code == 0 and said.out.strip() == str(tmp_path / "run" / "map" / "items.parquet")
    assert "12 of 12 items, drawn by PCA: trust" in said.err
    made = atlas(tmp_path / "run", how="pca")
    for knows in (True, False):  # as newer and older versions
        viewer = tmp_path / f"viewer{knows}" / "embedding_atlas"
        viewer.mkdir(parents=True)
        (viewer / "__init__.py").write_text("")
        option = "['--state']" if knows else "['--x']"
        (viewer / "cli.py").write_text(
            "import types\nclass Main:\n"
            f"    params = [types.SimpleNamespace(opts={option})]\n"
            "    def __call__(self, words):\n        print(' '.join(words))\nmain = Main()\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(viewer.parent))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: types.SimpleNamespace(name=name))
        assert open_in_viewer(made, port=5060) == 0
        told = capfd.readouterr().err.split()
        assert told[0] == str(made.path) and told[-2:] == ["--port", "5060"] and ("--state" in told) == knows
        assert told[told.index("--image") + 1] == "picture" and told[told.index("--neighbors") + 1] == "__neighbors"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="embedding-atlas"):
        open_in_viewer(made)


@pytest.mark.slow
def test_the_real_viewer_takes_the_map(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("pretrain", "builtin:digits", "--steps", "5", "--out", run, "-q").code == 0
    said = call("map", run, "--most", "300", "--export", tmp_path / "page")
    assert said.code == 0 and "drawn by UMAP" in said.err
    held = pq.read_table(tmp_path / "page" / "data" / "dataset.parquet")
    assert held.num_rows > 200 and {"x", "y", "picture", "label"} <= set(held.column_names)
    assert json.loads((tmp_path / "page" / "data" / "metadata.json").read_text())["props"]["data"]["neighbors"] == "__neighbors"
