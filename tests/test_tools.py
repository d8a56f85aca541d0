"""The tools that methods share: clusters, queues, deep augmentation, heads, cuts, chunks, mates, pretext tasks and the GRU."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conftest import KINDS, small
from tacit import clusters, registry
from tacit.assemble import make_encoder, make_method, make_modality
from tacit.clusters import sinkhorn, spherical_kmeans
from tacit.config import RunConfig, TrainConfig
from tacit.data.dataset import Dataset, from_arrays
from tacit.deep import Deep
from tacit.embedding.model import Model, load
from tacit.encoder import Encoder
from tacit.errors import Asked, CannotPair
from tacit.gather import everyone, mean_over_everyone, world
from tacit.grid import PARTS, Grid, permutations
from tacit.method import Method
from tacit.methods.byol import BYOL
from tacit.modalities.image import Image
from tacit.modalities.series import Series
from tacit.patches import patches
from tacit.predictors import Decoder, Prototypes, Reverse
from tacit.queue import Queue
from tacit.training.loader import Loader, mates_of
from tacit.training.loop import Loop, deterministic, make_fabric
from tacit.training.plan import make_plan
from tacit.types import Batch, Cells, Context, Info, Layout, Spec, Views


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=gen(seed))


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with deterministic():
        yield


def loop_of(
    data: Dataset,
    method: str = "simclr",
    backbone: str = "transformer",
    modality: dict[str, object] | None = None,
    options: dict[str, object] | None = None,
    **train: object,
) -> Loop:
    """A loop of 6 steps. modality, options: hyperparameters, of the method in the latter."""
    mod = make_modality(data.spec, modality or {})
    config = RunConfig(
        data={},
        modality={"name": data.modality, **(modality or {})},
        method={"name": method, **(options or {})},
        backbone={"name": backbone, "size": "tiny"},
        train=TrainConfig(**{"steps": 6, "batch": 8, **train}),  # type: ignore[arg-type]
    )
    built = make_method(mod, config.method, config.backbone, Info(len(data.train), 2, dict(mod.tasks)), 0)
    return Loop.build(make_fabric(config), built, Loader(data, data.train, mod, torch.device("cpu")), mod, config)


def batch_of(kind: str, rows: int = 8, seen: bool = False) -> Batch:
    """Decoded items; seen: as the network sees them."""
    data = small(kind)
    x = torch.from_numpy(np.asarray(data.x[:rows]))
    valid = None if data.lengths is None else torch.arange(x.shape[-1]) < torch.from_numpy(data.lengths[:rows])[:, None]
    mod = make_modality(data.spec, {})
    batch = Batch(mod.load(x), torch.arange(rows), valid)
    return mod.heard(batch) if seen and kind == "audio" else batch  # type: ignore[attr-defined]


# ---- one process ----


def test_one_process_is_everyone() -> None:
    x = draw(3, 2).requires_grad_()
    assert world() == 1 and everyone(x) is x and mean_over_everyone(x) is x


# ---- clusters ----


def bundles(k: int = 4, each: int = 25, spread: float = 0.05) -> tuple[Tensor, Tensor, Tensor]:
    """Rows [k * each, 8] of any length about k orthogonal directions, in random order; which direction; the directions."""
    directions = torch.linalg.qr(draw(8, k))[0].T
    which = torch.arange(k).repeat(each)[torch.randperm(k * each, generator=gen(1))]
    rows = directions[which] + spread * draw(k * each, 8, seed=2)
    return rows * (0.1 + 10 * torch.rand(k * each, 1, generator=gen(3))), which, directions


@pytest.mark.parametrize("seed", range(5))
def test_spherical_kmeans_finds_directions(seed: int) -> None:
    z, which, directions = bundles()
    centres, own = spherical_kmeans(z, 4, gen(seed))
    assert centres.shape == (4, 8) and own.shape == (100,) and own.dtype == torch.int64
    assert torch.allclose(centres.norm(dim=1), torch.ones(4), atol=1e-5)
    found = (directions @ centres.T).argmax(1)
    assert sorted(found.tolist()) == [0, 1, 2, 3] and torch.equal(own, found[which])
    for c in range(4):
        members = F.normalize(z, dim=1)[own == c].sum(0)
        assert torch.allclose(centres[c], members / members.norm(), atol=1e-5), "the mean direction of its members"


def test_spherical_kmeans_draws_from_its_generator_alone() -> None:
    z = draw(60, 5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = spherical_kmeans(z, 6, gen(3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = spherical_kmeans(z, 6, gen(3)), spherical_kmeans(z, 6, gen(4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not spherical_kmeans(z.requires_grad_(), 3, gen())[0].requires_grad


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 5), (3, 5), (2, 7), (1, 4)])
def test_more_clusters_than_rows(n: int, k: int) -> None:
    z = draw(n, 6)
    centres, own = spherical_kmeans(z, k, gen())
    assert centres.shape == (k, 6) and torch.allclose(centres.norm(dim=1), torch.ones(k), atol=1e-5), "every centre is a direction"
    assert torch.allclose(centres[own], F.normalize(z, dim=1), atol=1e-5), "every row has a centre of its own"


def test_rows_that_cancel_leave_a_direction() -> None:
    centres, own = spherical_kmeans(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 1, gen())
    assert centres.norm(dim=1).tolist() == pytest.approx([1.0]) and own.tolist() == [0, 0]


def test_an_empty_cluster_restarts_at_the_row_that_fits_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.tensor([[1.0, 0.0, 0.0]] * 6 + [[0.9, 0.1, 0.0], [0.0, 0.0, 2.0]])
    monkeypatch.setattr(clusters, "_far_apart", lambda z, k, generator: torch.tensor([0, 1]))  # two equal centres: one runs empty
    centres, own = spherical_kmeans(z, 2, gen())
    assert own.tolist() == [0] * 7 + [1] and torch.allclose(centres[1], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)


def slow_sinkhorn(scores: Tensor, temperature: float, rounds: int) -> Tensor:
    s = scores.double().tolist()
    q = [[math.exp((v - max(map(max, s))) / temperature) for v in row] for row in s]
    for _ in range(rounds):
        columns = [sum(row[k] for row in q) for k in range(len(q[0]))]
        q = [[v / c / len(columns) for v, c in zip(row, columns, strict=True)] for row in q]
        q = [[v / sum(row) / len(q) for v in row] for row in q]
    return torch.tensor(q, dtype=torch.float64) * len(q)


@pytest.mark.parametrize(("temperature", "rounds"), [(0.05, 3), (0.5, 1), (1.0, 7)])
def test_sinkhorn_is_the_loop(temperature: float, rounds: int) -> None:
    scores = F.normalize(draw(10, 6), dim=1) @ F.normalize(draw(4, 6, seed=1), dim=1).T
    got = sinkhorn(scores.requires_grad_(), temperature, rounds)
    assert got.dtype == torch.float32 and not got.requires_grad
    assert torch.allclose(got.double(), slow_sinkhorn(scores, temperature, rounds), atol=1e-5)
    assert torch.allclose(got.sum(1), torch.ones(10), atol=1e-5)


def test_sinkhorn_uses_every_prototype_equally() -> None:
    scores = draw(12, 5) + torch.tensor([3.0, 0.0, 0.0, 0.0, -3.0])  # the first is liked by all, the last by none
    few, many = sinkhorn(scores, 0.5, 1), sinkhorn(scores, 0.5, 500)
    assert torch.allclose(many.sum(0), torch.full((5,), 12 / 5), atol=1e-3) and torch.allclose(many.sum(1), torch.ones(12), atol=1e-5)
    assert (few.sum(0) - 12 / 5).abs().max() > 0.05
    # rows and columns get a factor each, so that what is left of the logarithm without their means is the scores'
    centred = [v - v.mean(0) - v.mean(1, keepdim=True) + v.mean() for v in (many.log(), scores / 0.5)]
    assert torch.allclose(*centred, atol=1e-3), "likeness still decides"
    half = scores.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sinkhorn(half, 0.5), sinkhorn(half.float(), 0.5))
    assert torch.allclose(sinkhorn(torch.zeros(6, 3)), torch.full((6, 3), 1 / 3))


@pytest.mark.parametrize("scale", [10.0, 1e4])
def test_sinkhorn_of_huge_scores_neither_overflows_nor_vanishes(scale: float) -> None:
    got = sinkhorn(draw(8, 4) * scale)
    assert got.isfinite().all() and torch.allclose(got.sum(1), torch.ones(8), atol=1e-4), "each row sums to 1"
    clear = sinkhorn(torch.eye(4).repeat(2, 1) * scale)
    assert torch.allclose(clear, torch.eye(4).repeat(2, 1), atol=1e-4)


# ---- the queue ----


def test_queue_is_a_ring() -> None:
    queue, history = Queue(5, 2), []
    assert not queue.filled.any() and queue.rows.shape == (5, 2) and set(queue.ids.tolist()) == {-1}
    for step, n in enumerate((2, 2, 3, 1, 7, 5, 1, 12, 4)):
        z = draw(n, 2, seed=step)
        ids = torch.arange(n) + 100 * step
        queue.push(z.requires_grad_(), ids)
        history += [(row, int(i)) for row, i in zip(z.detach(), ids, strict=True)]
        assert int(queue.filled.sum()) == min(5, len(history)) and not queue.rows.requires_grad
        kept = history[-5:]
        held = sorted(zip(queue.ids[queue.filled].tolist(), queue.rows[queue.filled].tolist(), strict=True))
        assert held == sorted((i, row.tolist()) for row, i in kept), "the newest rows, and no others"
    before = queue.rows.clone()
    queue.push(draw(1, 2, seed=50), torch.tensor([7]))
    (place,) = (before != queue.rows).any(1).nonzero()[:, 0].tolist()
    assert torch.equal(before[place], history[-5][0]), "the oldest row made room"


def test_queue_without_ids_and_in_bfloat16() -> None:
    queue = Queue(3, 2)
    queue.push(torch.ones(2, 2, dtype=torch.bfloat16))
    assert queue.rows.dtype == torch.float32 and queue.ids.tolist() == [-1] * 3 and queue.filled.tolist() == [True, True, False]


def test_queue_goes_on_after_a_resume() -> None:
    one = Queue(5, 2)
    one.push(draw(7, 2), torch.arange(7))
    two = Queue(5, 2)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for queue in (one, two):
        queue.push(draw(3, 2, seed=1), torch.arange(3) + 50)
    assert one.state_dict().keys() == {"rows", "ids", "pushed"}
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


# ---- deep augmentation ----


@pytest.mark.parametrize("kind", ["dropout", "pca"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 7, 5), (6, 3, 2, 5)])
def test_deep_changes_one_layer_whatever_the_shape(kind: str, shape: tuple[int, ...]) -> None:
    deep, x = Deep(kind, 1, 0.5), draw(*shape)
    assert deep(0, x, -1) is x and deep(2, x, -1) is x
    torch.manual_seed(0)
    last = deep(1, x, -1)
    assert last.shape == x.shape and not torch.allclose(last, x, atol=0.1)
    if kind == "pca":  # dropout draws in the order of memory, so only the components can be compared
        torch.manual_seed(0)
        assert torch.allclose(deep(1, x.movedim(-1, 1), 1).movedim(1, -1), last, atol=1e-5)
    assert deep(1, x.movedim(-1, 1), 1).shape == x.movedim(-1, 1).shape
    assert torch.allclose(Deep(kind, 1, 1e-7)(1, x, -1), x, atol=1e-4), "nothing dropped, nothing changed"
    assert deep(1, x.bfloat16(), -1).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["dropout", "pca"])
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_deep_keeps_the_expectation(kind: str, rate: float) -> None:
    torch.manual_seed(0)
    x, deep = draw(4, 3, 6) + torch.arange(6), Deep(kind, 0, rate)
    mean = torch.stack([deep(0, x, -1) for _ in range(4000)]).mean(0)
    assert (mean - x).abs().max() < 0.06 * x.abs().max()


@pytest.mark.parametrize("kind", ["dropout", "pca"])
def test_deep_stops_the_gradient_of_what_it_changes(kind: str) -> None:
    x = draw(6, 4).requires_grad_()
    Deep(kind, 0, 0.5)(0, x, -1).sum().backward()
    assert x.grad is not None and bool((x.grad[:3] == 1).all()) and not x.grad[3:].any()


def test_deep_dropout_drops_its_share() -> None:
    torch.manual_seed(0)
    whole = Deep("dropout", 0, 0.3)(0, torch.ones(200, 100), -1)
    assert bool((whole[:100] == 1).all()), "the first half, the other views, stays"
    out = whole[100:]
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.7]) and abs(float((out == 0).float().mean()) - 0.3) < 0.02


def test_deep_pca_drops_components_of_each_item_and_never_the_mean() -> None:
    torch.manual_seed(0)
    x = (draw(50, 8, 5) * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])) @ torch.linalg.qr(draw(5, 5, seed=1))[0] + 3
    flat = x.flatten(0, 1).double()
    mean = flat.mean(0)
    basis = np.linalg.eigh(np.cov(flat.numpy().T))[1]
    changed = Deep("pca", 0, 0.4)(0, torch.cat([x * 0, x]).requires_grad_(), -1)
    assert not changed[:50].any(), "the first half, the other views, stays"
    out = changed[50:]
    before, after = ((v.detach().double() - mean).numpy() @ basis for v in (x, out))
    ratio = np.median(after / before, axis=1, keepdims=True)  # [50, 1, 5], one factor for an item and a component
    assert np.allclose(after, before * ratio, atol=1e-3) and np.allclose(np.minimum(abs(ratio), abs(ratio - 1 / 0.6)), 0, atol=1e-2)
    assert abs((ratio < 0.5).mean() - 0.4) < 0.1 and len(np.unique(ratio[:, 0].round(), axis=0)) > 5, "items lose different ones"
    alike = torch.full((4, 3, 5), 2.0)
    assert torch.allclose(Deep("pca", 0, 0.9)(0, alike, -1), alike, atol=1e-5), "what all have in common stays"


def test_deep_pca_of_a_diverged_network_is_no_crash() -> None:
    """The loop itself says that a loss is not a number."""
    assert not Deep("pca", 0, 0.5)(0, torch.full((4, 3, 5), torch.nan), -1).isfinite().any()


LAYERED = [n for n in registry.names("backbones") if not hasattr(registry.find("backbones", n), "package") and n != "bag"]


@pytest.mark.parametrize("backbone", LAYERED)
def test_every_backbone_offers_every_layer(backbone: str) -> None:
    kind = {"mlp": "vector", "spectral": "audio"}.get(backbone, "series")
    encoder = make_encoder(make_modality(small(kind).spec, {}), {"name": backbone, "size": "tiny"}, frozenset())
    seen: list[tuple[int, int]] = []

    def between(layer: int, x: Tensor, axis: int) -> Tensor:
        seen.append((layer, x.shape[axis]))
        return x.roll(1, axis) if layer == last else x

    body = encoder.backbone
    count = len(next(m for name in ("layers", "blocks") if isinstance(m := getattr(body, name, None), nn.ModuleList)))
    last, body.between = count - 1, between
    batch = batch_of(kind, seen=True)
    body.paired = True
    encoder.eval()(batch)
    assert not seen, "in training only"
    changed = encoder.train()(batch).pooled
    assert [layer for layer, _ in seen] == list(range(count)) and all(width >= 8 for _, width in seen)
    body.between = None
    assert not torch.allclose(encoder(batch).pooled, changed, atol=1e-3), "the next layer sees it"


@pytest.mark.parametrize("kind", ["image", "series", "vector"])
def test_training_with_deep_augmentation(kind: str) -> None:
    backbone = {"vector": "mlp", "image": "convnet"}.get(kind, "transformer")
    plain, *deep = (loop_of(small(kind), backbone=backbone, deep=how) for how in ("none", "dropout", "pca"))
    losses = [float(loop.advance().loss.detach()) for loop in (plain, *deep)]
    assert len(set(losses)) == 3 and all(math.isfinite(v) for v in losses)
    for loop in deep:
        assert loop.method.deploy().state_dict().keys() == plain.method.deploy().state_dict().keys()
        batch = loop.loader.batch(np.arange(4))
        loop.method.deploy().load_state_dict(plain.method.deploy().state_dict())
        assert torch.equal(loop.method.deploy().eval()(batch).pooled, plain.method.deploy().eval()(batch).pooled)
    again = loop_of(small(kind), backbone=backbone, deep="pca")
    assert float(again.advance().loss.detach()) == losses[2]


def test_deep_augmentation_leaves_the_teacher_alone() -> None:
    loop = loop_of(small("series"), "byol", deep="dropout")
    assert isinstance(loop.method, BYOL) and loop.method.encoder.backbone.between is not None
    batch = loop.loader.batch(np.arange(4))
    student, teacher = ([m.each([batch, batch])[1].pooled for _ in range(2)] for m in (loop.method.encoder, loop.method.teacher))
    assert loop.method.training and not torch.equal(*student) and torch.equal(*teacher)
    first = [loop.method.encoder.each([batch, batch])[0].pooled for _ in range(2)]
    assert torch.equal(*first), "the first view is not changed"
    alone = [loop.method.encoder(batch).pooled for _ in range(2)]
    assert torch.equal(*alone) and alone[0].requires_grad, "a pass of a single view has no second half to change"
    for method in ("mae", "ts2vec"):
        with pytest.raises(Asked, match=f"train.deep=pca.*{method} does not"):
            loop_of(small("series"), method, deep="pca")


def test_deep_augmentation_after_a_layer_that_is_not_there_is_refused() -> None:
    """A tiny GRU has two layers, and layer 2 would be the third: nothing at all would be changed."""
    with pytest.raises(Asked, match="deep_layer=2"):
        loop_of(small("series"), backbone="gru", deep="dropout", deep_layer=2).advance()
    loop = loop_of(small("series"), backbone="gru", deep="dropout", deep_layer=0)
    assert math.isfinite(float(loop.advance().loss.detach()))


# ---- predictors ----


def test_reverse_turns_the_gradient_and_nothing_else() -> None:
    x = draw(3, 4).requires_grad_()
    y = Reverse.apply(x)
    assert torch.equal(y, x)
    weight = draw(3, 4, seed=1)
    (y * weight).sum().backward()
    assert torch.equal(x.grad, -weight)
    layer, head = nn.Linear(4, 4), nn.Linear(4, 2)
    F.cross_entropy(head(layer(x)), torch.tensor([0, 1, 0])).backward()
    plain = [p.grad.clone() for p in (*layer.parameters(), *head.parameters())]
    for p in (*layer.parameters(), *head.parameters()):
        p.grad = None
    F.cross_entropy(head(Reverse.apply(layer(x))), torch.tensor([0, 1, 0])).backward()
    for p, was, sign in zip((*layer.parameters(), *head.parameters()), plain, (-1, -1, 1, 1), strict=True):
        assert torch.allclose(p.grad, sign * was)


def test_decoder_makes_every_cell_from_one_vector() -> None:
    torch.manual_seed(0)
    decoder, z = Decoder(6, Layout(1), width=32, depth=2).eval(), draw(3, 6)
    cells = Cells((10,), torch.arange(10) < torch.tensor([[10], [6], [1]]))
    out = decoder(z, cells)
    assert out.shape == (3, 10, 32) and decoder.dim == 32 and out.isfinite().all()
    for row, n in enumerate((10, 6, 1)):  # what does not exist is not seen
        alone = decoder(z[row : row + 1], Cells((n,), torch.ones(1, n, dtype=torch.bool)), full=True)
        assert torch.allclose(out[row : row + 1, :n], alone, atol=1e-5)
    assert len(torch.unique(out[0].round(decimals=4), dim=0)) == 10, "cells are told apart by their place"
    other = decoder(torch.cat([z[:1] + 1, z[1:]]), cells)
    assert not torch.allclose(other[0], out[0], atol=1e-3) and torch.allclose(other[1:], out[1:], atol=1e-6)
    plane = Decoder(6, Layout(2), width=32, depth=1)(z, Cells((2, 5), torch.ones(3, 10, dtype=torch.bool)), full=True)
    assert plane.shape == (3, 10, 32)
    table = Decoder(6, Layout(1, ordered=False, count=4), width=32, depth=1)
    assert table(z, Cells((4,), torch.ones(3, 4, dtype=torch.bool))).shape == (3, 4, 32)
    table(z, Cells((4,), torch.ones(3, 4, dtype=torch.bool))).square().sum().backward()
    assert all(p.grad is not None for p in table.parameters())


def test_prototypes_measure_angles() -> None:
    torch.manual_seed(0)
    prototypes, z = Prototypes(6, 9), draw(5, 6)
    want = F.cosine_similarity(z[:, None], prototypes.weight[None], dim=-1)
    assert torch.allclose(prototypes(z), want, atol=1e-6) and torch.allclose(prototypes(z * 50), want, atol=1e-5)
    assert prototypes(prototypes.weight).diagonal().tolist() == pytest.approx([1.0] * 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert prototypes(z.bfloat16()).dtype == torch.float32
        assert torch.equal(prototypes(z), prototypes(z.clone())) and torch.allclose(prototypes(z), want, atol=1e-6)


# ---- dense answers in cells ----


def cut(values: Tensor, cell: tuple[int, ...], most: int = 4) -> Tensor:
    return Encoder.cut(SimpleNamespace(cell=cell), values, most)  # type: ignore[arg-type]


def slow_cut(values: Tensor, cell: tuple[int, ...], most: int) -> Tensor:
    """Every cell, every part of it, every sample that exists; cells whose side `most` divides, or that are smaller."""
    sizes = values.shape[2:]
    side = [max(1, c // most) for c in cell]
    rows = []
    for at in itertools.product(*[range(0, s, c) for s, c in zip(sizes, cell, strict=True)]):
        parts = []
        for inner in itertools.product(*[range(0, c, p) for c, p in zip(cell, side, strict=True)]):
            begin = [a + i for a, i in zip(at, inner, strict=True)]
            inside = itertools.product(*[range(b, min(b + p, s)) for b, p, s in zip(begin, side, sizes, strict=True)])
            held = [values[(slice(None), slice(None), *where)] for where in inside]
            parts.append(torch.stack(held).mean(0) if held else torch.zeros(values.shape[:2]))
        rows.append(torch.stack(parts, 1))
    return torch.stack(rows, 1)


@pytest.mark.parametrize(("sizes", "cell"), [((8,), (1,)), ((10,), (4,)), ((37,), (8,)), ((29,), (12,)), ((40,), (16,)), ((7,), (3,))])
def test_cut_is_the_loop_on_a_line(sizes: tuple[int], cell: tuple[int]) -> None:
    values = draw(2, 3, *sizes)
    for most in (1, 2, 4):
        if cell[0] % most == 0 or cell[0] < most:
            assert torch.allclose(cut(values, cell, most), slow_cut(values, cell, most), atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "cell"), [((8, 8), (4, 4)), ((9, 13), (4, 8)), ((17, 6), (16, 2)), ((7, 10), (1, 3)), ((12, 30), (8, 12)), ((3, 5), (8, 8))]
)
def test_cut_is_the_loop_on_a_plane(sizes: tuple[int, int], cell: tuple[int, int]) -> None:
    values = draw(2, 2, *sizes)
    got = cut(values, cell)
    assert torch.allclose(got, slow_cut(values, cell, 4), atol=1e-6)
    x, grid = patches(values, cell)  # the same cells in the same order
    if max(cell) <= 4:
        assert torch.allclose(got, x.view(2, math.prod(grid), 2, math.prod(cell)).transpose(2, 3), atol=1e-6)
    if all(s % c == 0 for s, c in zip(sizes, cell, strict=True)):
        assert torch.allclose(got.mean(2), x.view(2, math.prod(grid), 2, -1).mean(-1), atol=1e-5)


@pytest.mark.parametrize("side", range(1, 18))
def test_cut_keeps_to_its_cells_whatever_their_size(side: int) -> None:
    """A patch may be of any size: at most 4 parts a side, and none reaches into the next cell."""
    place = torch.arange(3.0 * side).view(1, 1, -1)
    parts = cut(place, (side,))
    assert parts.shape[:2] == (1, 3) and parts.shape[2] <= 4 and parts.shape[3] == 1
    begin = torch.arange(3) * side
    assert (parts[0, :, :, 0] >= begin[:, None]).all() and (parts[0, :, :, 0] <= begin[:, None] + side - 1).all()
    assert torch.allclose(parts.mean((2, 3))[0], begin + (side - 1) / 2), "together the parts are the cell"


# ---- gradient caching ----


def built(method: str, kind: str, backbone: str = "transformer", options: dict[str, object] | None = None) -> tuple[Method, list[Batch]]:
    """A method in training and what it looks at, 8 items."""
    data = small(kind)
    mod = make_modality(data.spec, {})
    words = {"name": method, **(options or {})}
    made = make_method(mod, words, {"name": backbone, "size": "tiny"}, Info(len(data.train), 2, dict(mod.tasks)), 0).train()
    batch = batch_of(kind)
    if batch.valid is None or method != "mae":
        return made, mod.views(batch, made.views, gen(1), made.encoder.cell)
    batch = batch_of(kind, seen=True)
    assert batch.valid is not None
    order = batch.valid.sum(1).argsort()  # a random view has no padding: the items themselves, the short ones in one chunk
    return made, [Batch(batch.x[order], batch.ids, batch.valid[order])]


def learned(method: Method, views: list[Batch]) -> tuple[float, dict[str, Tensor], list[int]]:
    """Loss, gradients, and how many items the network saw at once each time."""
    sizes: list[int] = []
    watch = method.encoder.backbone.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0].x)))
    method.zero_grad()
    step = method(views, Context(gen(3), 0.5))
    step.loss.backward()
    watch.remove()
    return float(step.loss.detach()), {k: p.grad.clone() for k, p in method.named_parameters() if p.grad is not None}, sizes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["simclr", "mae"])
def test_chunks_learn_what_the_whole_batch_learns(method: str, kind: str) -> None:
    made, views = built(method, kind)
    loss, whole, once = learned(made, views)
    made.encoder.chunk = 3
    again, cached, often = learned(made, views)
    rows = sum(len(v.ids) for v in views)
    assert once == [rows] and max(often) == 3 and sum(often) == 2 * rows, "three at a time, each twice"
    assert again == pytest.approx(loss, rel=1e-5) and cached.keys() == whole.keys()
    scale = max(float(g.norm()) for g in whole.values())
    assert scale > 0
    for name, g in whole.items():
        assert (g - cached[name]).norm() <= 1e-5 * (float(g.norm()) + scale), name
    assert made.encoder.chunk == 3
    with torch.no_grad():
        assert len(made.encoder(views[0]).pooled) == 8
    made.encoder.chunk = 100
    assert learned(made, views)[2] == [rows], "a batch that fits is not cut"


def test_chunks_keep_every_field() -> None:
    made, (view,) = built("mae", "ragged")
    cells = made.encoder.cells(view)
    mask = cells.valid & (torch.rand(cells.valid.shape, generator=gen()) < 0.4)
    for options in ({}, {"layers": 2}, {"mask": mask, "drop": True}):
        made.encoder.chunk = 0
        whole = made.encoder(view, **options)
        made.encoder.chunk = 3
        parts = made.encoder(view, **options)
        assert parts.grid == whole.grid and len(parts.layers) == len(whole.layers)
        assert torch.equal(parts.valid, whole.valid) and torch.equal(parts.position, whole.position) and torch.equal(parts.at, whole.at)
        for a, b in zip((parts.pooled, *parts.layers), (whole.pooled, *whole.layers), strict=True):
            assert torch.allclose(a, b, atol=1e-5)
        assert torch.allclose(parts.tokens[parts.valid], whole.tokens[whole.valid], atol=1e-5)


@pytest.mark.parametrize("backbone", ["conv1d", "transformer"])
def test_chunks_draw_the_same_numbers_when_computed_again(backbone: str) -> None:
    """Dropout and deep augmentation: the gradient belongs to the very activations that the loss saw."""
    made, views = built("simclr", "series", backbone)
    encoder = made.encoder
    if backbone == "transformer":
        encoder.backbone.between, encoder.backbone.paired = Deep("pca", 0, 0.5), True
    found = []
    for chunk in (3, 0):
        encoder.chunk = chunk
        encoder.zero_grad()
        torch.manual_seed(5)
        rows = [slice(i, i + (3 if chunk == 0 else 8)) for i in range(0, 8, 3 if chunk == 0 else 8)]
        parts = [replace(views[0], x=views[0].x[r], ids=views[0].ids[r], frame=views[0].frame[r]) for r in rows]  # type: ignore[index]
        pooled = torch.cat([encoder(p).pooled for p in parts])
        (pooled * draw(*pooled.shape)).sum().backward()
        found.append((pooled.detach(), [p.grad.clone() for p in encoder.parameters()]))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    scale = max(float(g.norm()) for g in found[1][1])
    assert all((a - b).norm() < 1e-4 * scale for a, b in zip(found[0][1], found[1][1], strict=True))
    encoder.chunk = 3
    torch.manual_seed(6)
    assert not torch.allclose(encoder(views[0]).pooled, found[0][0], atol=1e-3), "there is something random in it"


def test_chunks_through_the_loop() -> None:
    whole, parts = loop_of(small("image")), loop_of(small("image"), chunk=3)
    assert parts.method.encoder.chunk == 3 and whole.method.encoder.chunk == 0
    for _ in range(3):
        assert float(parts.advance().loss.detach()) == pytest.approx(float(whole.advance().loss.detach()), rel=1e-3)
    with pytest.raises(CannotPair, match="convnet normalises over the batch") as refused:
        loop_of(small("image"), backbone="convnet", chunk=3)
    able = [b for b in registry.names("backbones") if "chunk" in registry.find("backbones", b).can]
    assert all(b in refused.value.hint for b in able) and "transformer" in able and "convnet" not in able
    config, chosen = make_plan(small("image"), 32, method="simclr", overrides={"train": {"chunk": 4}})
    assert config.backbone["name"] == "transformer" and config.train.chunk == 4
    assert any(c.name == "backbone" and "chunk" in c.reason for c in chosen)


# ---- mates ----

GROUPS = np.array([3, 0, 3, -1, 0, 5, 3, 3, -1, 3])  # five of 3, two of 0, one of 5, two of none


def test_mates_are_others_of_the_same_group() -> None:
    mates = mates_of(GROUPS)
    for i, g in enumerate(GROUPS):
        drawn = mates.draw(np.full(6000, i), gen(i))
        expected = {i} if g < 0 or (GROUPS == g).sum() == 1 else set(np.flatnonzero(GROUPS == g)) - {i}
        counts = dict(zip(*np.unique(drawn, return_counts=True), strict=True))
        assert set(counts) == expected
        assert all(abs(n / 6000 - 1 / len(expected)) < 0.03 for n in counts.values()), "each as often as the others"
    every = np.arange(len(GROUPS))
    assert np.array_equal(mates.draw(every, gen(1)), mates.draw(every, gen(1)))
    assert not np.array_equal(mates.draw(np.tile(every, 5), gen(1)), mates.draw(np.tile(every, 5), gen(2)))


def test_one_item_stands_for_a_group() -> None:
    mates = mates_of(GROUPS)
    assert mates.stands.tolist() == [0, 1, 0, 3, 1, 5, 0, 0, 8, 0], "the first of its group, and those without a group themselves"
    many = np.random.default_rng(0).integers(-1, 50, 2000)
    stands = mates_of(many).stands
    for g in range(50):
        assert set(stands[many == g]) == {np.flatnonzero(many == g)[0]}
    assert np.array_equal(stands[many < 0], np.flatnonzero(many < 0))


@pytest.mark.parametrize("groups", [[0, 1, 2, 3], [-1, -1, -1], [4, -1, -1, 7]])
def test_groups_of_one_have_no_mates(groups: list[int]) -> None:
    with pytest.raises(Asked, match="has a mate") as refused:
        mates_of(np.array(groups))
    assert "train.positives=group" in refused.value.hint


NO_COLOUR = {"colour": 0.0, "grey": 0.0, "blur": 0.0}


def grouped(groups: list[str]) -> Dataset:
    """Images of a single brightness, 5 * their row, which no crop or flip changes."""
    x = np.broadcast_to((np.arange(len(groups)) * 5).astype(np.uint8)[:, None, None, None], (len(groups), 1, 12, 12))
    return from_arrays(np.ascontiguousarray(x), groups=groups).whole()


def shown(view: Batch) -> list[int]:
    assert (view.x - view.x[:, :, :1, :1]).abs().max() < 1e-5
    return (view.x[:, 0, 0, 0] * 255 / 5).round().long().tolist()


def test_positives_are_other_items_of_the_group() -> None:
    groups = [f"g{i // 4}" for i in range(36)] + ["alone", "apart"]
    data = grouped(groups)
    loop = loop_of(data, modality=NO_COLOUR, positives="group")
    number = np.unique(groups, return_inverse=True)[1]
    seen = set()
    for step in range(6):
        rows = np.random.default_rng(step).permutation(38)[:16]
        first, second = loop._views(rows, step)
        assert shown(first) == rows.tolist(), "the first view shows the item itself"
        for own, mate in zip(rows, shown(second), strict=True):
            assert number[own] == number[mate] and ((own == mate) == (groups[own] in ("alone", "apart")))
            seen.add((own, mate))
        assert torch.equal(first.ids, second.ids)
        for i, j in itertools.combinations(range(16), 2):
            assert (first.ids[i] == first.ids[j]) == (number[rows[i]] == number[rows[j]]), "equal ids are one group"
        again = loop._views(rows, step)
        assert shown(again[1]) == shown(second) and torch.equal(again[1].x, second.x)
    assert len(seen) > 60, "other mates at other steps"


def test_every_second_global_view_shows_a_mate() -> None:
    data = grouped([f"g{i // 4}" for i in range(24)])
    loop, rows = loop_of(data, modality=NO_COLOUR, positives="group"), np.arange(0, 24, 3)
    for count in (2, 3, 5):
        loop.method.views = Views(global_=count, local=2, plain=1)
        views = loop._views(rows, 0)
        assert [shown(v) != rows.tolist() for v in views] == [i % 2 == 1 and i < count for i in range(count + 3)]
        mates = [shown(v) for v in views[1:count:2]]
        assert all(m == mates[0] and [r // 4 for r in m] == [r // 4 for r in rows] for m in mates)


def test_training_with_mates_is_a_function_of_the_seed() -> None:
    data = grouped([f"g{i // 4}" for i in range(24)])
    one, two, plain = (loop_of(data, modality=NO_COLOUR, positives=how) for how in ("group", "group", "item"))
    losses = [[float(loop.advance().loss.detach()) for _ in range(3)] for loop in (one, two, plain)]
    assert losses[0] == losses[1] != losses[2] and all(map(math.isfinite, losses[0]))
    assert plain.mates is None and plain._views(np.arange(8), 0)[0].ids.tolist() == list(range(8))


def test_mates_are_refused_where_they_make_no_sense() -> None:
    with pytest.raises(Asked, match="belong together") as refused:
        loop_of(small("image"), positives="group")
    assert "--group" in refused.value.hint
    data = grouped([f"g{i // 4}" for i in range(24)])
    for method in ("mae", "ts2vec"):
        with pytest.raises(Asked, match=f"compare views.*{method} does not"):
            loop_of(data, method, backbone="transformer", positives="group")
    with pytest.raises(Asked, match="has a mate"):
        loop_of(grouped([f"g{i}" for i in range(24)]), positives="group")


# ---- pretext tasks ----


def ramp(rows: int, sizes: tuple[int, ...]) -> Tensor:
    """Items that hold their own coordinates in 0..1, one channel an axis."""
    axes = torch.meshgrid(*[(torch.arange(n) + 0.5) / n for n in sizes], indexing="ij")
    return torch.stack(axes).expand(rows, *[-1] * (len(sizes) + 1)).clone()


def ramps(kind: str, rows: int) -> tuple[Grid, Batch]:
    """A modality and items that are coordinates, so that a part tells where it was."""
    if kind == "image":
        spec = Spec("image", 2, (40, 48), (0.0,) * 2, (1.0,) * 2, extra={"size": [32, 40]})
        return Image(spec, patch=4), Batch(ramp(rows, (40, 48)), torch.arange(rows))
    if kind == "series":
        spec = Spec("series", 1, (96,), extra={"length": 80, "shortened": True})
        return Series(spec, patch=4), Batch(ramp(rows, (96,)), torch.arange(rows))
    spec = Spec("series", 1, (96,), ragged=True, extra={"length": 80, "shortened": True})
    lengths = 40 + torch.arange(rows) % 57
    x = torch.stack([torch.cat([ramp(1, (n,))[0], torch.full((1, 96 - n), torch.nan)], 1) for n in lengths.tolist()])
    return Series(spec, patch=4), Batch(x, torch.arange(rows), torch.arange(96) < lengths[:, None])


TASKS = {"image": {"turn": 1, "permute": 9, "relation": 2}, "series": {"reverse": 1, "permute": 3, "relation": 2}}
TASKS["ragged"] = TASKS["series"]
EACH = [(kind, task) for kind, tasks in TASKS.items() for task in tasks]


@pytest.mark.parametrize(("kind", "task"), EACH)
def test_pretext_tasks_have_answers(kind: str, task: str) -> None:
    mod, batch = ramps(kind, 400)
    mod.check(Views(task=task))
    rank, cell = mod.layout.rank, (4,) * mod.layout.rank
    views = mod.views(batch, Views(global_=1, task=task), gen(), cell)[1:]
    assert len(views) == TASKS[kind][task]
    size = mod.sizes if task in ("turn", "reverse") else tuple(round(s / 2 / 4) * 4 for s in mod.sizes)
    for view in views:
        assert view.x.shape == (400, rank, *size) and view.x.isfinite().all()
        assert view.valid is None and view.frame is None, "where it lies is no secret that the network may read"
        assert torch.equal(view.ids, batch.ids)
    assert all(v.answer is None for v in views[:-1])
    answer = views[-1].answer
    assert answer is not None and answer.dtype == torch.int64 and answer.shape == (400,)
    counts = torch.bincount(answer, minlength=mod.tasks[task])
    assert len(counts) == mod.tasks[task] and (counts > 0).sum() >= min(len(counts), 60), "every answer occurs"
    assert counts.max() <= 400 / len(counts) + 5 * (400 / len(counts)) ** 0.5
    again = mod.views(batch, Views(global_=1, task=task), gen(), cell)[1:]
    assert all(torch.equal(a.x, b.x) for a, b in zip(views, again, strict=True))


def placed(views: list[Batch]) -> Tensor:
    """Mean coordinate of every part: [B, parts, rank]."""
    return torch.stack([v.x.flatten(2).mean(2) for v in views], 1)


@pytest.mark.parametrize("kind", ["image", "series", "ragged"])
def test_permuted_parts_put_back_are_in_order(kind: str) -> None:
    mod, batch = ramps(kind, 100)
    rank = mod.layout.rank
    views = mod.pretext("permute", batch, gen(2), (4,) * rank)
    orders = torch.tensor(permutations(PARTS**rank))
    assert len(orders) == mod.tasks["permute"] == len(orders.unique(dim=0)) and (orders.sort(1).values == torch.arange(PARTS**rank)).all()
    assert views[-1].answer is not None
    order, found = orders[views[-1].answer], placed(views)
    back = torch.zeros_like(found)
    for b, i in itertools.product(range(100), range(PARTS**rank)):
        back[b, order[b, i]] = found[b, i]  # view i shows the part with this number
    back = back.view(100, *[PARTS] * rank, rank)
    for axis in range(rank):
        along = back.select(-1, axis).movedim(1 + axis, -1).diff(dim=-1)  # from one part to the next on this axis
        assert along.min() > 0.7**0.5 / 3 * 0.85 - 0.03 and along.max() < 1.15 / 3 + 0.03
    assert not torch.allclose(found.diff(dim=1), found.diff(dim=1).abs(), atol=0.05), "as they come, they are not in order"


def test_permuted_parts_of_a_whole_image_are_its_ninths() -> None:
    mod, _ = ramps("image", 1)
    mod.weakest = 1.0  # nothing is cut off before
    number = torch.arange(9.0).view(3, 3).repeat_interleave(12, 0).repeat_interleave(12, 1)
    batch = Batch((number + 1).expand(50, 2, 36, 36), torch.arange(50))
    views = mod.pretext("permute", batch, gen(), (4, 4))
    orders = torch.tensor(permutations(9))[views[-1].answer]
    for i, view in enumerate(views):
        assert torch.allclose(view.x.flatten(1).median(1).values, orders[:, i] + 1.0)
        inner = view.x[:, :, 3:-3, 3:-3]
        assert torch.allclose(inner, inner[:, :, :1, :1].expand_as(inner), atol=1e-4), "no part reaches into the next"


@pytest.mark.parametrize("kind", ["image", "series", "ragged"])
def test_the_neighbour_lies_where_the_answer_says(kind: str) -> None:
    mod, batch = ramps(kind, 200)
    rank = mod.layout.rank
    middle, other = mod.pretext("relation", batch, gen(3), (4,) * rank)
    assert middle.answer is None and other.answer is not None
    offsets = [o for o in itertools.product((-1, 0, 1), repeat=rank) if any(o)]  # in reading order, the middle left out
    want = torch.tensor(offsets)[other.answer]
    step = (placed([other]) - placed([middle]))[:, 0] / (0.92 / 3)
    assert torch.equal(step.round().long(), want)


@pytest.mark.parametrize("sizes", [(32, 32), (32, 40), (40, 24)])
def test_turned_images_are_upright_when_turned_back(sizes: tuple[int, int]) -> None:
    mod = Image(Spec("image", 2, sizes, (0.0,) * 2, (1.0,) * 2, extra={"size": list(sizes)}))
    (view,) = mod.pretext("turn", Batch(ramp(40, sizes), torch.arange(40)), gen(), (4, 4))
    assert view.answer is not None and view.x.shape == (40, 2, *sizes)
    for x, quarters in zip(view.x, view.answer.tolist(), strict=True):
        down, right = x.rot90(-quarters, (1, 2))  # the coordinates themselves
        assert (down.mean(1).diff() > 0).all() and (right.mean(0).diff() > 0).all()
        assert (down - down.mean(1, keepdim=True)).abs().max() < 1e-4 and (right - right.mean(0, keepdim=True)).abs().max() < 1e-4


def test_colour_is_to_be_guessed_from_brightness() -> None:
    data = small("image")
    mod, batch = make_modality(data.spec, {}), batch_of("image", 20)
    assert mod.tasks["colour"] == 2
    (view,) = mod.pretext("colour", batch, gen(), (4, 4))
    assert view.x.shape == batch.x.shape and view.frame is None
    assert torch.equal(view.x[:, 0], view.x[:, 1]) and torch.equal(view.x[:, 0], view.x[:, 2])
    assert view.answer is not None and view.answer.shape == (20, 2, 16, 16) and view.answer.dtype == torch.float32
    assert view.answer.abs().max() <= 1 and (view.answer.std((0, 2, 3)) > 0.1).all()
    grey = replace(batch, x=batch.x[:, :1].expand(-1, 3, -1, -1))
    (flat,) = mod.pretext("colour", grey, gen(), (4, 4))
    assert flat.answer is not None and flat.answer.abs().max() < 1e-5, "a grey world has no chroma"
    plain = torch.tensor([[0.5, 0.4, 0.3], [1.0, 0.0, 0.0], [0.2, 0.3, 0.4]])[:, :, None, None].expand(3, 3, 16, 16)
    (even,) = mod.pretext("colour", Batch(plain, torch.arange(3)), gen(), (4, 4))
    assert even.answer is not None
    for colour, y, answer in zip(plain[:, :, 0, 0].tolist(), even.x, even.answer, strict=True):
        r, g, b = colour
        assert torch.allclose(y, torch.tensor(0.299 * r + 0.587 * g + 0.114 * b), atol=1e-4)
        chroma = (0.596 * r - 0.274 * g - 0.322 * b, 0.211 * r - 0.523 * g + 0.312 * b)
        for channel, value in zip(answer, chroma, strict=True):
            assert torch.allclose(channel, torch.tensor(max(-1.0, min(1.0, value / 0.25))), atol=1e-4)


def test_tasks_that_do_not_exist_are_refused_with_a_reason() -> None:
    grey = make_modality(from_arrays(np.random.default_rng(0).integers(0, 256, (12, 1, 16, 16)).astype(np.uint8)).spec, {})
    assert "colour" not in grey.tasks
    with pytest.raises(CannotPair, match="grey"):
        grey.check(Views(task="colour"))
    for kind, task in (("series", "turn"), ("series", "colour"), ("vector", "permute"), ("image", "reverse")):
        mod = make_modality(small(kind).spec, {})
        with pytest.raises(CannotPair, match=task) as refused:
            mod.check(Views(task=task))
        assert refused.value.hint
    mod, batch = ramps("image", 2)
    with pytest.raises(CannotPair, match="nonsense"):
        mod.pretext("nonsense", batch, gen(), (4, 4))


@pytest.mark.parametrize("kind", ["series", "ragged"])
def test_reverse_turns_exactly_the_rows_that_it_says(kind: str) -> None:
    mod, batch = ramps(kind, 60)
    (view,) = mod.pretext("reverse", batch, gen(), (4,))
    assert view.answer is not None and 15 < int(view.answer.sum()) < 45
    step = view.x[:, 0].diff(dim=1)
    falling = view.answer == 1
    assert (step[falling] <= 1e-6).all() and (step[~falling] >= -1e-6).all() and (step.sum(1).abs() > 0.5).all()


def test_pretext_views_fit_a_backbone_that_can_take_them_or_are_refused() -> None:
    """Parts are smaller than the item: whoever asks for them must get an encoder that resizes, or a refusal."""
    data = small("image")
    mod = make_modality(data.spec, {})

    class Puzzle(Method):
        views = Views(task="permute")

    from tacit.assemble import needs_of

    needs = needs_of(Puzzle(make_encoder(mod, {"name": "convnet", "size": "tiny"}, frozenset()), Info(4)))
    with pytest.raises(CannotPair, match="resize"):
        make_encoder(mod, {"name": "mlp", "size": "tiny"}, needs)


# ---- what a method asks of its views ----


def test_local_views_have_the_size_that_was_asked_for() -> None:
    for kind, side in (("image", 16), ("series", 48)):
        spec = small(kind).spec
        for local in (side + 1, 10 * side):
            with pytest.raises(Asked, match=f"modality.local={local}.*larger than the items"):
                make_modality(spec, {"local": local})
        for local, want in ((0, side // 2), (4, 4), (side, side), (side - 1, side), (1, 4)):
            mod = make_modality(spec, {"local": local})
            (view,) = mod.views(batch_of(kind), Views(local=1), gen(), (4,) * mod.layout.rank)
            assert view.x.shape[2:] == (want,) * mod.layout.rank, "in whole cells"


@pytest.mark.parametrize("lowest", [0.6, 0.9])
@pytest.mark.parametrize("kind", ["image", "series", "ragged"])
def test_global_views_show_as_much_as_was_asked_for(kind: str, lowest: float) -> None:
    mod, batch = ramps(kind, 500)
    cell = (4,) * mod.layout.rank

    def shares(want: Views) -> Tensor:
        (view,) = mod.views(batch, want, gen(), cell)
        assert view.frame is not None
        return view.frame[..., 1].abs().prod(1)

    shown = shares(Views(global_=1, lowest=lowest))
    assert shown.min() >= lowest - 1e-5 and shown.max() <= 1 + 1e-5 and shown.max() - shown.min() > 0.8 * (1 - lowest)
    own = shares(Views(global_=1))
    assert own.min() < mod.lowest + 0.1, "otherwise the modality decides"
    assert shares(Views(local=1, lowest=lowest)).max() <= mod.lowest + 1e-5


@pytest.mark.parametrize("kind", ["image", "series"])
def test_local_views_show_no_more_than_global_ones_may(kind: str) -> None:
    mod, batch = ramps(kind, 300)
    for lowest in (0.05, 0.2):
        (view,) = mod.views(batch, Views(local=1, lowest=lowest), gen(), (4,) * mod.layout.rank)
        assert view.frame is not None and view.frame[..., 1].abs().prod(1).max() <= lowest + 1e-5


def same_views(one: Grid, two: Grid, batch: Batch, want: Views, seeds: int = 3) -> bool:
    cell = (4,) * one.layout.rank
    pairs = [zip(one.views(batch, want, gen(s), cell), two.views(batch, want, gen(s), cell), strict=True) for s in range(seeds)]
    return all(torch.allclose(a.x, b.x, atol=1e-4) for pair in pairs for a, b in pair)


@pytest.mark.parametrize("want", [Views(global_=1), Views(local=1)])
def test_strength_nought_leaves_everything_but_cropping_alone(want: Views) -> None:
    nought = replace(want, strength=0.0)
    spec, batch = small("image").spec, batch_of("image")
    bare = make_modality(spec, NO_COLOUR)
    for knobs in ({"colour": 0.8}, {"colour": 0.4, "grey": 1.0}, {"blur": 1.0, "colour": 0.0}):
        loud = make_modality(spec, {**NO_COLOUR, **knobs})
        assert same_views(loud, bare, batch, nought) and not same_views(loud, bare, batch, want)  # type: ignore[arg-type]
    spec, batch = small("series").spec, batch_of("series")
    bare, loud = (make_modality(spec, k) for k in ({"scale": 0.0, "noise": 0.0}, {"scale": 0.5, "noise": 0.5}))
    assert same_views(loud, bare, batch, nought) and not same_views(loud, bare, batch, want)  # type: ignore[arg-type]


@pytest.mark.parametrize("want", [Views(global_=1), Views(local=1)])
def test_strength_nought_does_not_turn_images(want: Views) -> None:
    spec, batch = small("image").spec, batch_of("image")
    bare, loud = (make_modality(spec, {**NO_COLOUR, "turn": degrees}) for degrees in (0.0, 40.0))
    assert not same_views(loud, bare, batch, want)  # type: ignore[arg-type]
    assert same_views(loud, bare, batch, replace(want, strength=0.0))  # type: ignore[arg-type]


def test_strength_scales_what_is_done() -> None:
    spec, batch = small("series").spec, batch_of("series", 40)
    bare, loud = (make_modality(spec, k) for k in ({"scale": 0.0, "noise": 0.0}, {"scale": 0.0, "noise": 0.2}))
    (quiet,) = bare.views(batch, Views(global_=1), gen(), (4,))
    for strength in (0.5, 1.0, 2.0):
        (view,) = loud.views(batch, Views(global_=1, strength=strength), gen(), (4,))
        added = (view.x - quiet.x) / torch.tensor(spec.std)[None, :, None]
        assert float(added.std()) == pytest.approx(0.2 * strength, rel=0.05)
    rows = batch_of("vector", 40)
    mod = make_modality(small("vector").spec, {"swap": 0.4})
    share = {
        s: float((mod.views(rows, Views(global_=1, strength=s), gen(), (1,))[0].x != rows.x).float().mean()) for s in (0.0, 0.5, 1.0, 9.0)
    }
    assert share[0.0] == 0 and 0.1 < share[0.5] < 0.3 < share[1.0] < 0.5 and share[9.0] > 0.9


# ---- the recurrent network ----


def gru(spec: Spec) -> Encoder:
    torch.manual_seed(0)
    return make_encoder(make_modality(spec, {}), {"name": "gru", "size": "tiny", "depth": 2}, frozenset({"causal"})).eval()


def test_gru_does_not_see_padding() -> None:
    encoder = gru(Spec("series", 2, (40,), (0.0, 0.0), (1.0, 1.0), ragged=True))
    valid = torch.arange(40) < torch.tensor([[40], [23], [1]])
    x = draw(3, 2, 40)
    batch = Batch(x.masked_fill(~valid[:, None], torch.nan), torch.arange(3), valid)
    f, other = encoder(batch), encoder(replace(batch, x=x.masked_fill(~valid[:, None], 1e6)))
    assert f.tokens.shape == (3, 40, encoder.dim) and torch.equal(f.valid, valid)
    assert torch.equal(f.tokens[valid], other.tokens[valid]) and torch.equal(f.pooled, other.pooled)
    for row, n in enumerate((40, 23, 1)):
        alone = encoder(Batch(x[row : row + 1, :, :n], torch.arange(1)))
        assert torch.allclose(alone.pooled, f.pooled[row : row + 1], atol=1e-5)
        assert torch.allclose(alone.tokens[0], f.tokens[row, :n], atol=1e-5)


def test_gru_reads_from_the_past_to_the_future() -> None:
    encoder, x = gru(Spec("series", 1, (30,))), draw(4, 1, 30)
    later, earlier = x.clone(), x.clone()
    later[..., 12:] += 1
    earlier[..., 12] += 1
    a, b, c = (encoder(Batch(v, torch.arange(4)), layers=2) for v in (x, later, earlier))
    assert torch.equal(a.tokens[:, :12], b.tokens[:, :12]) and not torch.isclose(a.tokens[:, 12:], b.tokens[:, 12:]).all(-1).any()
    assert torch.equal(a.tokens[:, :12], c.tokens[:, :12]) and not torch.equal(a.tokens[:, 13], c.tokens[:, 13]), "the past is remembered"
    assert len(a.layers) == 2 and torch.equal(a.layers[1], a.tokens) and not torch.equal(a.layers[0], a.tokens)
    half = Batch(x[..., :12], torch.arange(4))
    assert torch.allclose(encoder(half).tokens, a.tokens[:, :12], atol=1e-6), "a shorter series is the beginning of a longer one"
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder(Batch(x, torch.arange(4))).tokens, a.tokens), "the recurrence stays in float32"


@pytest.mark.parametrize("kind", ["series", "ragged"])
def test_gru_is_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    words = {"name": "gru", "size": "tiny", "depth": 2}
    modality = make_modality(data.spec, {})
    model = Model(make_encoder(modality, words, frozenset({"mask"})), modality, {"backbone": words, "modality": {}, "needs": ["mask"]})
    again = load(model.save(tmp_path / "model"))
    vectors = model.vectors(data.x, data.lengths)
    assert np.array_equal(again.vectors(data.x, data.lengths), vectors) and vectors.std() > 0
    with pytest.raises(CannotPair, match="rank-2"):
        make_encoder(make_modality(small("image").spec, {}), words, frozenset())


def test_gru_learns() -> None:
    loop = loop_of(small("ragged"), backbone="gru", chunk=3)
    before = {k: v.clone() for k, v in loop.method.encoder.named_parameters()}
    assert math.isfinite(float(loop.advance().loss.detach()))
    assert all(not torch.equal(before[k], v) for k, v in loop.method.encoder.named_parameters())
