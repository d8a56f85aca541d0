"""Explanations: maps against closed forms and slow versions, the tests that a map has to pass, and what a user sees."""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import tacit
from conftest import call, small
from tacit import pieces, registry
from tacit.errors import Asked, CannotPair
from tacit.explainers import examples, groups, values
from tacit.explainers.checks import areas, check, ranked
from tacit.explainers.problem import Problem
from tacit.explainers.values import Value
from tacit.explanation import explain
from tacit.overviews import clusters, like, trials
from tacit.types import Batch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from games import Row, game
from games import closed as linear

WAYS = registry.names("attributions")


def by(name: str, problem: Problem, seed: int = 0, **knobs: Any) -> Any:
    return registry.find("attributions", name)(**knobs)(problem, seed)


@pytest.mark.parametrize("name", ["integrated", "gradient", "shapley", "occlusion", "expected"])
@pytest.mark.parametrize("n", [6, 14])
def test_a_linear_encoder_has_one_answer(name: str, n: int) -> None:
    """Attribution of <f(x0), f(x)> with f(x) = W x is x_j (W'W x0)_j, whatever the way."""
    problem, want = linear(n)
    knobs = {"noise": 0.0} if name == "expected" else {}
    found = by(name, problem, **knobs)
    torch.testing.assert_close(found.each, want, atol=1e-6, rtol=1e-6)


def test_the_best_order_deletes_fastest_and_inserts_fastest() -> None:
    rng = np.random.default_rng(0)
    problem = game(rng.uniform(0.1, 1, 20), lambda v: v.double().sum(1))
    order = ranked(by("occlusion", problem).each)
    others = [rng.permutation(20).tolist() for _ in range(10)]
    gone, curve = areas(problem, [order, order[::-1], *others], insert=False)
    there, _ = areas(problem, [order, order[::-1], *others], insert=True)
    assert gone[0] <= gone[2:].min() and gone[1] >= gone[2:].max() and there[0] >= there[2:].max()
    assert curve[0, 0] == pytest.approx(problem.all) and curve[0, -1] == pytest.approx(problem.none)


def crooked(v: torch.Tensor) -> torch.Tensor:
    x = v.double()
    return torch.tanh(x[:, 0] * x[:, 1] + x[:, 2]) + x[:, 3:].square().sum(1) * (1 + x[:, 0])


def slow_shapley(problem: Problem) -> np.ndarray:
    n = problem.count
    sets = torch.tensor(list(itertools.product([False, True], repeat=n)))
    v = dict(zip(map(tuple, sets.tolist()), problem.values(sets).tolist(), strict=True))
    out = np.zeros(n)
    for p in range(n):
        for s in itertools.product([False, True], repeat=n):
            if s[p]:
                continue
            k = sum(s)
            more = tuple(True if i == p else b for i, b in enumerate(s))
            out[p] += math.factorial(k) * math.factorial(n - k - 1) / math.factorial(n) * (v[more] - v[s])
    return out


def test_shapley_is_exact_for_few_parts_and_near_for_more() -> None:
    rng = np.random.default_rng(1)
    few = game(rng.normal(size=7), crooked)
    np.testing.assert_allclose(by("shapley", few).each.numpy(), slow_shapley(few), atol=1e-9)
    more = game(rng.normal(size=10), crooked)
    found, want = by("shapley", more, error=0.002, most=8192), slow_shapley(more)
    assert np.abs(found.each.numpy() - want).max() < 0.03 * np.abs(want).max()
    assert float(found.each.sum()) == pytest.approx(more.all - more.none, abs=1e-9)
    assert (np.abs(found.each.numpy() - want) < 4 * found.doubt.numpy() + 1e-3).all()


def test_shapley_of_too_many_parts_is_refused_with_an_estimate() -> None:
    encoder = SimpleNamespace(tokenizer=SimpleNamespace(patch=(1,)), mask_token=None)
    view = Batch(torch.ones(1, 1, 2000), torch.zeros(1, dtype=torch.int64))
    model: Any = SimpleNamespace(modality=Row(), encoder=encoder)
    problem = Problem(model, view, Value(lambda b, t: b.x.sum((1, 2)), "sum"), most=2000)
    with pytest.raises(Asked, match=r"2,000 parts need some 80,000 sets .* minutes"):
        by("shapley", problem)


def test_random_masks_are_the_means_of_their_sets() -> None:
    problem = game(np.random.default_rng(2).normal(size=8), crooked)
    stay = torch.rand(300, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    v = problem.values(stay)
    for name in ("masks", "relax"):
        found = by(name, problem, draws=300)
        for p in range(8):
            in_, out = v[stay[:, p]], v[~stay[:, p]]
            want = in_.mean() - (out.mean() if name == "masks" else v.mean())
            assert float(found.each[p]) == pytest.approx(float(want), abs=1e-9)
            if name == "relax":
                assert float(found.doubt[p]) == pytest.approx(float((in_ - in_.mean()).square().mean()), abs=1e-9)


def test_integrated_gradients_sum_to_the_difference() -> None:
    problem = game(np.random.default_rng(3).normal(size=12), crooked)
    found = by("integrated", problem, steps=256)
    assert float(found.each.sum()) == pytest.approx(problem.all - problem.none, rel=1e-3)
    assert found.total == pytest.approx(problem.all - problem.none)


def test_blocks_cover_everything_once() -> None:
    valid = torch.ones(30, 50, dtype=torch.bool)
    valid[:, 41:] = False
    cut = pieces.blocks(valid, (2, 4), 40, "patch", str)
    assert len(cut) <= 40 and ((cut.of >= 0) == valid).all() and cut.of.max() == len(cut) - 1
    for k, ((top, bottom), (left, right)) in enumerate(cut.boxes):
        rows, columns = (cut.of == k).nonzero(as_tuple=True)
        assert (rows.min(), rows.max() + 1) == (round(top * 30), round(bottom * 30))
        assert (columns.min(), columns.max() + 1) == (round(left * 50), round(right * 50))
    assert pieces.runs(torch.tensor([3, 3, 4, -1, 9, 9]), 2).tolist() == [0, 0, 0, -1, 1, 1]


def test_what_is_gone_is_blurred_moved_up_or_exchanged() -> None:
    x = np.array([1.0, 5, np.nan, 8, 4, 9, np.nan, 2])
    weight = np.exp(-0.5 * (np.subtract.outer(np.arange(8.0), np.arange(8)) / 2) ** 2)
    slow = [np.average(x[~np.isnan(x)], weights=w[~np.isnan(x)]) for w in weight]
    np.testing.assert_allclose(pieces.blurred(torch.tensor(x).view(1, 1, 8), 1 / 4)[0, 0], slow)
    flat = torch.full((1, 2, 6, 9), 3.0)
    np.testing.assert_allclose(pieces.blurred(flat), flat, atol=1e-6)
    assert bool(pieces.blurred(torch.full((1, 1, 4), torch.nan)).isnan().all())
    view = Batch(torch.tensor([[[10.0, 11, 12, 13, torch.nan]]]), torch.zeros(1, dtype=torch.int64), torch.tensor([[True] * 4 + [False]]))
    parts = pieces.Pieces(torch.tensor([0, 0, 1, 2, -1]), ("a", "b", "c"), "word")
    left = pieces.removed(view, parts, torch.tensor([[True, False, True], [False, False, False], [True, True, True]]))
    assert [row[v].tolist() for row, v in zip(left.x[:, 0], left.valid, strict=True)] == [[10, 11, 13], [], [10, 11, 12, 13]]
    row = Batch(torch.tensor([[1.0, 2, 3]]), torch.zeros(1, dtype=torch.int64))
    columns = pieces.Pieces(torch.tensor([0, 1, 2]), ("a", "b", "c"), "column")
    found = pieces.exchanged(row, columns, torch.tensor([[True, False, True]]), -torch.ones(2, 3))
    assert found.x.tolist() == [[1, -1, 3], [1, -1, 3]]


KINDS = ["image", "series", "ragged", "audio", "text", "table", "vector", "events"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("explained")
    made = {}
    for kind in KINDS:
        size = {} if kind == "text" else {"size": "tiny"}
        made[kind] = tacit.pretrain(small(kind), steps=3, batch_size=8, out=root / kind, **size).path
    made["attention"] = tacit.pretrain(
        small("image"), steps=2, batch_size=8, method="mae", backbone="transformer", size="tiny", out=root / "attention"
    ).path
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_is_explained(runs: dict[str, Any], kind: str) -> None:
    data = small(kind)
    for how in (None, "integrated", "masks"):
        (found,) = explain(runs[kind], data, item=2, how=how)
        assert found.verdict in ("passed", "failed", "not testable") and len(found.names) == len(found.each) >= 3
        assert np.isfinite(found.each).all() and found.path is not None and found.picture[:4] == b"\x89PNG"
        stored = json.loads(found.path.read_text())
        assert stored["verdict"] == found.verdict and stored["cost"]["evaluations"] > 0
        assert found.path.with_suffix(".png").read_bytes() == found.picture
    again = explain(runs[kind], data, item=2, how="masks")[0]
    np.testing.assert_array_equal(again.each, found.each)


def test_a_map_of_random_weights_fails(runs: dict[str, Any]) -> None:
    (found,) = explain(runs["image"], small("image"), item=2, untrained_copy=True)
    checks = {c.name: c for c in found.tested.checks}
    assert found.verdict == "failed" and checks["the network itself"].passed is False
    (own,) = explain(runs["image"], small("image"), item=2)
    assert checks["the network itself"].against == pytest.approx({c.name: c for c in own.tested.checks}["random weights"].value)


def test_pairs_classes_and_strangeness(runs: dict[str, Any]) -> None:
    data = small("image")
    a, b = explain(runs["image"], data, pair=(0, 1))
    assert a.whole == pytest.approx(b.whole, abs=1e-5) and a.item != b.item
    (c,) = explain(runs["image"], data, item=0, these=data.classes[0])
    (d,) = explain(runs["image"], data, item=0, these=data.classes[0], those=data.classes[1])
    assert c.said != d.said
    (e,) = explain(runs["image"], data, item=0, anomaly=True)
    assert e.whole > 0 and "nearest training items" in e.said


def test_a_similarity_is_that_of_the_embeddings(runs: dict[str, Any]) -> None:
    from tacit.embedding.model import load

    data, net = small("series"), load(runs["series"])
    z = net.vectors(data.x[:2], None if data.lengths is None else data.lengths[:2], tiles=False)
    want = float(z[0] @ z[1] / np.linalg.norm(z[0]) / np.linalg.norm(z[1]))
    assert explain(runs["series"], data, pair=(0, 1))[0].whole == pytest.approx(want, abs=1e-4)


def test_attention_is_looked_at_where_there_is_some(runs: dict[str, Any]) -> None:
    (found,) = explain(runs["attention"], small("image"), item=1, how="rollout")
    assert found.each.sum() == pytest.approx(1, abs=1e-5) and (found.each >= 0).all()
    explain(runs["attention"], small("image"), item=1, how="relevance")
    with pytest.raises(CannotPair, match="no attention"):
        explain(runs["image"], small("image"), item=1, how="rollout")


def test_silence_says_why(runs: dict[str, Any]) -> None:
    from tacit.embedding.model import load

    net = load(runs["image"])
    view = Batch(torch.full((1, net.spec.channels, *net.modality.sizes), 0.5), torch.zeros(1, dtype=torch.int64))
    problem = Problem(net, view, values.itself(net, view))
    way = registry.find("attributions", "occlusion")()
    found = check(problem, way(problem, 0), way, 0, {}, lambda s: way(problem, s))
    assert found.verdict == "not testable" and "the same everywhere" in found.checks[0].said
    (flat,) = explain(runs["image"], small("image"), item=0, how="gradient")
    assert flat.verdict == "not testable" and "gradient is zero" in flat.tested.checks[0].said


def test_what_is_known_leaves_the_item_itself_out(runs: dict[str, Any]) -> None:
    from tacit.embedding.model import load

    data, net = small("table"), load(runs["table"])
    (found,) = explain(runs["table"], data, item=int(data.train[0]), anomaly=True)
    z = net.vectors(data.x, tiles=False)
    own, others = z[data.train[0]], z[data.train[1:]]
    std = others.std(0)
    std[std <= 1e-6] = 1.0
    want = np.sort(np.linalg.norm((others - own) / std, axis=1))[:5].mean()
    assert found.whole == pytest.approx(want, rel=0.02)  # stored embeddings are made in half precision where the machine has it
    assert want > 1.05 * np.sort(np.linalg.norm((z[data.train] - own) / std, axis=1))[:5].mean()
    with pytest.raises(Asked, match=r"no other item|no training item"):
        explain(runs["vector"], np.asarray(small("vector").x[:1]), anomaly=True)


def test_names_come_before_numbers() -> None:
    from tacit.subject import row_named

    class Items(SimpleNamespace):
        def __len__(self) -> int:
            return 3

    items: Any = Items(names=("7", "2", "x"), path="here")
    assert row_named(items, "2") == 1 and row_named(items, "0") == 0 and row_named(items, 2) == 2
    for wrong in ("9", "--5", "\u00b2"):
        with pytest.raises(Asked, match="there is no item"):
            row_named(items, wrong)


def test_a_decision_is_explained_as_it_is_made(tmp_path: Path) -> None:
    """Images that are stored larger than they are looked at, whole and in parts."""
    from tacit.data.dataset import from_arrays
    from tacit.operate.loading import load

    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (40, 1, 40, 40)).astype(np.uint8)
    x[::2, :, 10:20, 10:20] = 255
    data = from_arrays(x, ["a", "b"] * 20, size=32)
    run = tacit.pretrain(data, steps=2, batch_size=8, size="tiny", out=tmp_path / "run")
    tuned = tacit.finetune(run.path, data, strategy="probe", out=tmp_path / "tuned")
    model = load(tmp_path / "tuned")
    out = model.outputs(data.x, data.lengths)[1]
    for row in range(4):
        (found,) = explain(tuned.path, data, item=row)
        k = int(out[row].argmax())
        assert f"log-odds of {data.classes[k]}" in found.said
        assert found.whole == pytest.approx(float(out[row, k] - out[row, 1 - k]), abs=1e-3)


def test_what_does_not_exist_is_refused(runs: dict[str, Any]) -> None:
    data = small("image")
    for wrong, words in (
        ({"item": 10_000}, "there is no item 10000"),
        ({"item": "nobody"}, "there is no item 'nobody'"),
        ({"these": "zebra"}, "there is no class 'zebra'"),
        ({"these": data.classes[0], "those": data.classes[0]}, "are the same"),
        ({"how": "oclusion"}, "there is no attribution"),
        ({"parts": 1}, "nothing to compare"),
        ({"pair": (0, 1), "anomaly": True}, "ask for different things"),
        ({"those": data.classes[0]}, "needs a class"),
        ({"settings": {"draws": 3}}, "no hyperparameter"),
    ):
        with pytest.raises(Asked, match=words):
            explain(runs["image"], data, **wrong)  # type: ignore[arg-type]


def test_mixtures_of_what_is_known() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(40, 6))
    inside = 0.5 * known[3] + 0.3 * known[7] + 0.2 * known[11]
    _, weights, residual = examples.mixture(inside, known)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all() and residual < 1e-3
    assert not examples.likeness(known.mean(0) + 50, known).explained
    assert examples.likeness(inside, known).explained


def test_what_a_neighbour_is_worth() -> None:
    """Against the mean over all orders in which training items could be added."""
    rng = np.random.default_rng(0)
    known, labels, z = rng.normal(size=(5, 2)), np.array([0, 1, 0, 1, 0]), np.zeros(2)
    k = 2

    def score(members: tuple[int, ...]) -> float:
        near = sorted(members, key=lambda i: ((known[i] - z) ** 2).sum())[:k]
        return sum(labels[i] == 0 for i in near) / k

    want = np.zeros(5)
    for order in itertools.permutations(range(5)):
        for at, i in enumerate(order):
            want[i] += (score(order[: at + 1]) - score(order[:at])) / math.factorial(5)
    np.testing.assert_allclose(examples.worth(z, known, labels, 0, k), want, atol=1e-9)


def test_groups_are_found_and_described() -> None:
    rng = np.random.default_rng(0)
    away = np.array([3, 0, 0, 0])
    z = np.concatenate([rng.normal(0, 0.1, (30, 4)) + away, rng.normal(0, 0.1, (20, 4)) - away])
    group, clear = groups.grouped(z)
    assert clear > 0.9 and group.tolist() == [0] * 30 + [1] * 20
    with pytest.raises(Asked, match="do not make"):
        groups.grouped(z, 50)
    assert groups.grouped(z, 49)[1] <= 1
    told = groups.described(z, group, texts=["the red fox runs"] * 30 + ["a blue whale swims"] * 20)
    assert any("fox" in w for w in told[0].apart) and any("whale" in w for w in told[1].apart)
    x = np.stack([np.r_[np.full(30, 5.0), np.full(20, 1.0)] + rng.normal(0, 0.1, 50), np.r_[np.zeros(30), np.ones(20)]], 1)
    columns = [{"name": "age", "kind": "number"}, {"name": "town", "kind": "category", "values": ["Bonn", "Ulm"]}]
    told = groups.described(z, group, table=(x, columns), labels=np.array([0] * 30 + [1] * 20), classes=("a", "b"))
    assert any("age higher" in w for w in told[0].apart) and any("town = Ulm" in w for w in told[1].apart)
    assert dict(told[0].classes) == {"a": 30}


def test_attributions_are_tried_on_a_run(runs: dict[str, Any]) -> None:
    found = trials(runs["vector"], small("vector"), ways=["occlusion", "rollout"], items=8)
    assert found["methods"]["occlusion"]["n"] == 8 and found["methods"]["rollout"]["passed"] is None
    mean, low, high = found["methods"]["occlusion"]["gains"]["deletion"]
    assert low <= mean <= high and (runs["vector"] / "explain" / "methods.json").is_file()
    assert len(clusters(runs["table"], small("table"), count=3)["groups"]) == 3
    said = like(runs["image"], small("image"), item=1)
    assert said["worth"] and said["label"] == small("image").classes[small("image").labels[1]]
    assert said["nearest"] and sum(m["weight"] for m in said["mixture"]) <= 1 + 1e-6


def test_the_command_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("pretrain", "builtin:digits", "--steps", 20, "--size", "tiny", "--out", run).code == 0
    said = call("explain", run, "builtin:digits", "--item", 3)
    assert said.code == 0 and "deletion" in said.err and said.out.strip().endswith(".png")
    plain = call("explain", run, "builtin:digits", "--item", "digits:3", "--class", 3, "--how", "masks", "explain.draws=50", "--json")
    (one,) = json.loads(plain.out)
    assert one["how"] == "masks" and len(one["parts_of_item"]) == 64
    failed = call("explain", run, "builtin:digits", "--untrained")
    assert failed.code == 0 and "FAILED" in failed.err
    alike = call("explain", run, "builtin:digits", "--examples")
    assert "mixture" in alike.out and "most is due to" in alike.err
    assert "silhouette" in call("explain", run, "builtin:digits", "--clusters", 4).err
    tried = call("explain", run, "builtin:digits", "--global", "--how", "occlusion")
    assert "occlusion" in tried.out and "30 held-out items" in tried.err
    assert call("finetune", run, "builtin:digits", "--strategy", "probe", "--out", tmp_path / "tuned").code == 0
    decided = call("explain", tmp_path / "tuned", "builtin:digits", "--item", 3)
    assert decided.code == 0 and "log-odds" in decided.err
    wrong = call("explain", run, "builtin:digits", "--item", "digits:9999")
    assert wrong.code == 2 and "there is no item" in wrong.err and len(wrong.err) < 400
