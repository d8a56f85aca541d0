"""`tacit predict`: what is written, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from conftest import Said, call


@pytest.fixture(scope="module")
def decider(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was fine-tuned by the probe alone."""
    place = tmp_path_factory.mktemp("predict") / "model"
    said = call("finetune", trained, "builtin:digits", "--strategy", "probe", "--out", place, "-q")
    assert said.code == 0, said.err
    return place


def test_every_item_is_decided_in_the_order_of_the_data(decider: Path, tmp_path: Path) -> None:
    said: Said = call("predict", decider, "builtin:digits", "--out", tmp_path / "p.csv")
    assert said.code == 0 and said.out.strip() == str(tmp_path / "p.csv"), said.err
    with open(tmp_path / "p.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["id"] for r in rows] == [f"digits:{i}" for i in range(1797)]
    from sklearn.datasets import load_digits

    right = np.mean([r["prediction"] == str(t) for r, t in zip(rows, load_digits().target, strict=True)])
    assert right > 0.9
    wanted = {"probability", "set", "abstain", "why", "ood", "ood_knn", "ood_mahalanobis", "nearest", "nearest_labels"}
    assert wanted <= rows[0].keys()
    assert all((r["abstain"] == "True") == bool(r["why"]) for r in rows)
    told = sum(r["abstain"] == "True" for r in rows)
    assert f"1797 decisions, of which {told} abstain" in said.err


def test_a_single_array_is_decided(decider: Path, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    image = (load_digits().images[:1] / 16 * 255).astype(np.uint8)
    np.save(tmp_path / "one.npy", image[..., None])
    said = call("predict", decider, tmp_path / "one.npy", "--out", tmp_path / "one.jsonl")
    assert said.code == 0, said.err
    assert len((tmp_path / "one.jsonl").read_text().splitlines()) == 1


def test_what_cannot_decide_says_so(trained: Path, decider: Path, tmp_path: Path) -> None:
    series = tmp_path / "series.npy"
    np.save(series, np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32))
    for words, complaint in (
        ((trained, "builtin:digits", "--out", tmp_path / "p.csv"), "no head that decides"),
        ((decider, series, "--out", tmp_path / "p.csv"), "cannot be image data"),
        ((decider, "builtin:digits", "--out", tmp_path / "p.xlsx"), "written as .parquet"),
        ((tmp_path / "nothing", "builtin:digits", "--out", tmp_path / "p.csv"), "does not exist"),
        ((decider, tmp_path / "nowhere", "--out", tmp_path / "p.csv"), "there is no file or folder"),
    ):
        said = call("predict", *words)
        assert said.code == 2 and complaint in said.err and "hint:" in said.err, said.err
    assert not (tmp_path / "p.csv").exists()
