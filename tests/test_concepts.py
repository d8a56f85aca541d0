"""Concepts: what is planted is found, what is not stable is dropped, and a random set of examples is no concept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tacit
from conftest import call, small
from tacit.concepts import concept, concepts, examples_of
from tacit.errors import Asked
from tacit.explainers import atoms, sparsely
from tacit.explainers.direction import direction


def mixed(n: int, count: int, d: int, seed: int = 0, each: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that are sums of few of `count` directions."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    code = np.zeros((n, count))
    for row in code:
        row[rng.choice(count, each, replace=False)] = rng.uniform(0.5, 2, each)
    return (code @ directions + 0.01 * rng.normal(size=(n, d))).astype(np.float32), directions


@pytest.mark.parametrize("how", ["sae", "nmf"])
def test_planted_directions_are_found_and_noise_is_not_stable(how: str) -> None:
    x, planted = mixed(2000, 10, 32)
    found = atoms.learned(x, 10, how)
    assert np.median(atoms.matched(planted, found.directions)) > 0.9
    assert len(found.kept) >= 7 and found.explained > 0.8
    code = found.encode(x[:50])
    assert code.shape == (50, 10) and (code >= 0).all()
    noise = atoms.learned(np.random.default_rng(0).normal(size=(1000, 32)).astype(np.float32), 10, how)
    assert len(noise.kept) <= 4 and noise.stable.mean() < 0.65 < found.stable.mean()
    with pytest.raises(Asked, match="too few for"):
        atoms.learned(x[:10], 10, how)
    with pytest.raises(Asked, match="all tokens are the same"):
        atoms.learned(np.ones((100, 8), np.float32), 4, how)
    with pytest.raises(Asked, match="no way of finding"):
        atoms.learned(x, 10, "pca")


def test_atoms_are_matched_as_well_as_they_can_be() -> None:
    a = np.eye(3)
    b = np.array([[0.0, 1, 0], [0.8, 0.6, 0], [0, 0.6, 0.8]])
    np.testing.assert_allclose(atoms.matched(a, b), [0.8, 1.0, 0.8])


def test_a_decision_by_concepts_beside_the_whole() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 20))
    y = (z[:, 3] > 0).astype(np.int64)
    fit, held = np.arange(400), np.arange(400, 600)

    def made(codes: np.ndarray) -> sparsely.Sparse:
        return sparsely.decided((codes[fit], codes[held]), (z[fit], z[held]), (y[fit], y[held]), 2, 0)

    right = made(z[:, :8])
    assert right.used <= 3 and right.accuracy > 0.95 and int(np.abs(right.weights).max(0).argmax()) == 3
    assert right.weights[1, 3] > 0 > right.weights[0, 3]
    blind = made(z[:, 8:])
    assert blind.full > 0.95 and blind.gap[1] > 0.3 and blind.gap[0] == pytest.approx(blind.full - blind.accuracy)


def test_a_decision_of_rare_classes_is_none_the_worse() -> None:
    z = np.random.default_rng(0).normal(size=(30, 6))
    for y in (np.repeat(np.arange(10), 2), np.r_[np.zeros(19, int), 1]):
        for seed in range(15):
            made = sparsely.decided((z[:20], z[20:]), (z[:20], z[20:]), (y, y[:10]), 10, seed)
            assert 0 <= made.accuracy <= 1 and made.gap[1] <= made.gap[0] <= made.gap[2]


def test_a_concept_is_told_from_random_items() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 16))
    z[:30, 2] += 4
    found = direction(z, list(range(10)))
    assert found.auroc > 0.9 and found.p <= 0.02 and int(np.abs(found.vector).argmax()) == 2
    ps = [direction(z[30:], rng.choice(270, 8, replace=False), seed=k).p for k in range(12)]
    assert np.mean(np.array(ps) < 0.05) <= 0.2 and max(ps) > 0.4
    for few in ([1, 2, 3], list(range(100))):
        with pytest.raises(Asked, match="too few to test"):
            direction(z, few)


@pytest.mark.parametrize("kind", ["image", "text", "table", "audio", "series", "events"])
def test_concepts_of_every_kind_of_data(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    size = {} if kind == "text" else {"size": "tiny"}
    run = tacit.pretrain(data, steps=2, batch_size=8, out=tmp_path / "run", **size)
    found = concepts(run.path, data, count=4, how="nmf")
    assert found["atoms"] == 4 and found["stable"] == len(found["concepts"]) > 0
    for one in found["concepts"]:
        assert one["stable"] >= 0.7 and one["name"]
        strengths = [e["activity"] for e in one["examples"]]
        assert strengths == sorted(strengths, reverse=True) and all(e["id"] in data.names for e in one["examples"])
    assert (run.path / "explain" / "concepts.png").read_bytes()[:4] == b"\x89PNG"
    assert concepts(run.path, data, count=4, how="nmf") == found


def test_the_command_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("pretrain", "builtin:digits", "--steps", "20", "--out", run, "-q").code == 0
    said = call("explain", run, "builtin:digits", "--concepts", "8", "--how", "nmf")
    assert said.code == 0 and said.out.strip().endswith("concepts.png") and "by the whole embedding" in said.err
    held = call("explain", run, "builtin:digits", "--concept", "0,10,20,30,36,48")
    assert held.code == 0 and "The encoder holds this concept" in held.err and "Along it lie: 0 +" in held.err
    (tmp_path / "own.txt").write_text("0\n10\n\n20\n")
    assert examples_of(f"@{tmp_path / 'own.txt'}") == ["0", "10", "20"]
    assert concept(run, "builtin:digits", [0, 10, 20, 30, 36, 48])["p"] < 0.05
    few = call("explain", run, "builtin:digits", "--concept", f"@{tmp_path / 'own.txt'}")
    assert few.code == 2 and "too few to test" in few.err
    gone = call("explain", run, "builtin:digits", "--concept", "@nowhere.txt")
    assert gone.code == 2 and "cannot be read" in gone.err
    assert "no item" in call("explain", run, "builtin:digits", "--concept", "0,1,2,3,9999999").err
    assert "no way of finding" in call("explain", run, "builtin:digits", "--concepts", "8", "--how", "pca").err
    for words in (["--concepts", "8", "--pair", "1", "2"], ["--concepts", "8", "--engine", "shap"], ["--clusters", "3", "--how", "lime"]):
        said = call("explain", run, "builtin:digits", *words)
        assert said.code == 2 and ("different things" in said.err or "no attribution" in said.err)
