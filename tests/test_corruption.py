"""Swapped cells hold what the same cell of another item holds, nothing else has changed, and tasks made of them cannot be cheated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import KINDS
from slow_methods import built, gen, items, looked_at
from tacit.clusters import kmeans
from tacit.corruption import cell_of, swapped
from tacit.encoder import pool_valid
from tacit.errors import Asked, CannotPair
from tacit.masking import random_mask
from tacit.methods.stunt import examples, nearness
from tacit.methods.vime import told
from tacit.training.loop import deterministic
from tacit.types import Batch, Cells, Context

SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((7,), (1,)),  # columns, without channels
    ((2, 48), (8,)),
    ((2, 45), (8,)),
    ((3, 5), (8,)),
    ((3, 16, 16), (4, 4)),
    ((1, 10, 7), (4, 3)),
    ((2, 6, 5, 4), (2, 2, 3)),
]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with deterministic():
        yield


def data(shape: tuple[int, ...], cell: tuple[int, ...], rows: int = 9, lengths: list[int] | None = None) -> tuple[Batch, Cells]:
    """Values that are all different, so that each says where it comes from."""
    x, sizes = torch.arange(rows * math.prod(shape), dtype=torch.float32).view(rows, *shape), shape[-len(cell) :]
    valid = None if lengths is None else (torch.arange(sizes[-1]) < torch.tensor(lengths)[:, None]).view(rows, *sizes)
    grid = tuple(-(-s // c) for s, c in zip(sizes, cell, strict=True))
    return Batch(x, torch.arange(rows), valid), Cells(grid, pool_valid(valid, rows, sizes, cell, grid, x.device))


def samples(number: int, sizes: tuple[int, ...], cell: tuple[int, ...], grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Where the samples of a cell are."""
    corner = list(itertools.product(*map(range, grid)))[number]
    spans = [range(k * c, min(k * c + c, s)) for k, c, s in zip(corner, cell, sizes, strict=True)]
    return list(itertools.product(*spans))


# ---- swapped cells ----


@pytest.mark.parametrize(("shape", "cell"), SHAPES)
def test_a_swapped_cell_is_that_of_one_other_item(shape: tuple[int, ...], cell: tuple[int, ...]) -> None:
    batch, cells = data(shape, cell)
    mask = torch.rand(cells.valid.shape, generator=gen()) < 0.6
    other, changed = swapped(batch, cells, cell, mask, gen(1))
    assert other.x.shape == batch.x.shape and other.x.dtype == batch.x.dtype and torch.equal(changed, mask)
    assert other.ids is batch.ids and torch.equal(batch.x, data(shape, cell)[0].x), "the items themselves stay"
    before, now = (v.view(len(v), -1, *shape[-len(cell) :]) for v in (batch.x, other.x))
    for b, n in itertools.product(range(len(now)), range(mask.shape[1])):
        places = samples(n, shape[-len(cell) :], cell, cells.grid)
        held = [[row[(slice(None), *at)].tolist() for at in places] for row in before]
        mine = [now[b][(slice(None), *at)].tolist() for at in places]
        assert held.index(mine) == b if not mask[b, n] else held.index(mine) != b


@pytest.mark.parametrize(("shape", "cell"), SHAPES)
def test_cells_are_numbered_as_the_encoder_does(shape: tuple[int, ...], cell: tuple[int, ...]) -> None:
    sizes = shape[-len(cell) :]
    grid = tuple(-(-s // c) for s, c in zip(sizes, cell, strict=True))
    number = cell_of(sizes, cell, grid, torch.device("cpu")).view(sizes)
    for n in range(math.prod(grid)):
        assert sorted(samples(n, sizes, cell, grid)) == sorted(map(tuple, (number == n).nonzero().tolist()))


def test_every_other_item_is_as_likely_and_cells_are_drawn_apart() -> None:
    batch, cells = data((40,), (1,), rows=5)
    givers = torch.stack([swapped(batch, cells, (1,), cells.valid, gen(s))[0].x // 40 for s in range(400)])  # [400, 5, 40]
    for b in range(5):
        share = (givers[:, b].flatten()[:, None] == torch.arange(5)).float().mean(0)
        assert share[b] == 0 and torch.allclose(share[torch.arange(5) != b], torch.tensor(0.25), atol=0.02)
    same = (givers[:, 0, :1] == givers[:, 0, 1:]).float().mean()
    assert float(same) == pytest.approx(0.25, abs=0.02), "neighbouring cells come from the same item by chance alone"
    assert torch.equal(givers.sort(1).values, torch.arange(5.0)[:, None].expand_as(givers)), "each gives once, so columns keep their values"


def test_what_is_missing_is_a_value_like_any_other() -> None:
    batch, cells = data((6,), (1,), rows=4)
    x = batch.x.clone()
    x[0, 0], x[:, 1], x[2:, 2], x[:, 3] = torch.nan, torch.nan, torch.nan, 5.0
    other, changed = swapped(replace(batch, x=x), cells, (1,), cells.valid, gen())
    assert torch.equal(x.isnan().sum(0), other.x.isnan().sum(0)), "holes are taken along"
    assert not other.x[0, 0].isnan() and changed[:, 0].all() and changed[:, 4:].all()
    assert not changed[:, 1].any() and not changed[:, 3].any(), "what is as before has not changed"
    assert torch.equal(changed[:, 2], ((x != other.x) & ~(x.isnan() & other.x.isnan()))[:, 2])


def test_padding_stays_and_is_not_taken() -> None:
    lengths = [45, 45, 20, 17, 3, 41]
    batch, cells = data((2, 45), (8,), rows=6, lengths=lengths)
    assert batch.valid is not None
    x = batch.x.masked_fill(~batch.valid[:, None], torch.inf)
    for seed in range(20):
        other, changed = swapped(replace(batch, x=x), cells, (8,), torch.ones_like(cells.valid), gen(seed))
        assert torch.equal(other.x.isinf(), x.isinf()) and not (changed & ~cells.valid).any()
        assert changed[:, :3].equal(cells.valid[:, :3]), "a cell that others have is replaced"
    lone = replace(batch, x=x[:3], valid=batch.valid[:3] & (torch.arange(45) < torch.tensor([45, 20, 20])[:, None]))
    few = Cells(cells.grid, pool_valid(lone.valid, 3, (45,), (8,), cells.grid, x.device))
    other, changed = swapped(lone, few, (8,), few.valid, gen())
    assert changed[:, :3].all() and not changed[:, 3:].any() and torch.equal(other.x[0, :, 24:], x[0, :, 24:]), "nobody else has these"


def test_an_item_alone_stays() -> None:
    batch, cells = data((7,), (1,), rows=1)
    other, changed = swapped(batch, cells, (1,), cells.valid, gen())
    assert torch.equal(other.x, batch.x) and not changed.any()


def test_the_share_is_that_of_the_mask() -> None:
    batch, cells = data((3, 16, 16), (4, 4), rows=30)
    for share in (0.1, 0.6):
        _, changed = swapped(batch, cells, (4, 4), random_mask(cells, share, gen()), gen(1))
        assert changed.sum(1).tolist() == [round(16 * share)] * 30


def test_swaps_come_from_the_generator_alone() -> None:
    batch, cells = data((7,), (1,))
    before = torch.get_rng_state()
    first, again, another = (swapped(batch, cells, (1,), cells.valid, gen(s))[0].x for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, another) and torch.equal(torch.get_rng_state(), before)


# ---- k-means ----


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_finds_bundles_and_their_means(seed: int) -> None:
    which = torch.arange(60) % 4
    x = 10 * torch.eye(4, 6)[which] + 100 + 0.1 * torch.randn(60, 6, generator=gen(9))
    centres, own = kmeans(x, 4, gen(seed))
    assert torch.equal(own[:, None] == own[None], which[:, None] == which[None])
    for c in range(4):
        assert torch.allclose(centres[c], x[own == c].mean(0), atol=1e-3)


def test_kmeans_ends_where_every_row_is_nearest_to_its_own_mean() -> None:
    x = torch.randn(200, 3, generator=gen())
    centres, own = kmeans(x, 7, gen(1), rounds=100)
    assert torch.equal(torch.cdist(x, centres).argmin(1), own) and len(own.unique()) == 7
    assert all(torch.allclose(centres[c], x[own == c].mean(0), atol=1e-5) for c in range(7))
    first, same = kmeans(x, 7, gen(1)), kmeans(x, 7, gen(1))
    assert torch.equal(first[1], same[1]) and not torch.equal(first[1], kmeans(x, 7, gen(2))[1])


def test_equal_rows_are_one_cluster_however_many_are_asked_for() -> None:
    """As columns with a few categories have it."""
    values = torch.tensor([[0.1, 0.7, 3.3], [5.1, 0.3, -2.7], [0.1, -9.3, 1.9]])
    which = torch.randint(0, 3, (50,), generator=gen())
    centres, own = kmeans(values[which], 10, gen(1))
    assert torch.equal(own[:, None] == own[None], which[:, None] == which[None]) and torch.allclose(centres[own], values[which])
    assert kmeans(torch.ones(8, 2), 5, gen())[1].tolist() == [0] * 8


# ---- vime ----


def test_the_mask_at_chance_costs_log_two() -> None:
    changed = torch.rand(1000, generator=gen()) < 0.3
    assert float(told(torch.zeros(1000), changed)) == pytest.approx(math.log(2))
    share = changed.float().mean()
    best = -(share * share.log() + (1 - share) * (1 - share).log())
    assert float(told((share / (1 - share)).log().expand(1000), changed)) == pytest.approx(float(best)), (
        "all that can be had without looking"
    )
    assert float(told(torch.where(changed, 30.0, -30.0), changed)) < 1e-6
    assert told(torch.zeros(3, dtype=torch.bfloat16), changed[:3]).dtype == torch.float32


def test_vime_asks_for_the_mask_of_values_that_changed_and_for_all_values_as_they_were() -> None:
    m, mod = built("vime", "vector", corruption=0.5)
    (x,) = looked_at(m, mod, items("vector"))
    x = replace(x, x=x.x.clone())
    x.x[:, 2] = 1.0  # swapping these changes nothing
    seen: list[Batch] = []
    m.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        m.mask.weight.zero_(), m.head.weight.zero_(), m.head.bias.zero_()
        for logit in (-20.0, 20.0):
            m.mask.bias.fill_(logit)
            step = m([x], Context(gen(3), 0.2))
            changed = seen[-1].x != x.x
            assert not changed[:, 2].any() and 0 < changed.sum() < random_mask(m.encoder.cells(x), 0.5, gen(3)).sum()
            wrong = (~changed if logit > 0 else changed).float().mean()
            assert float(step.log["mask"]) == pytest.approx(20 * float(wrong), rel=1e-4)
            mean, std = (torch.tensor(v) for v in (mod.spec.mean, mod.spec.std))
            assert float(step.log["error"]) == pytest.approx(float(((x.x - mean) / std).square().mean()), rel=1e-4)


# ---- subtab ----


@pytest.mark.parametrize(("subsets", "overlap"), [(2, 0.0), (2, 0.9), (4, 0.0), (4, 0.75), (5, 0.5)])
def test_parts_overlap_and_cover_every_cell(subsets: int, overlap: float) -> None:
    m, _ = built("subtab", "vector", subsets=subsets, overlap=overlap)
    cells = Cells((40,), torch.ones(6, 40, dtype=torch.bool))
    seen = m._seen(cells, gen())
    assert seen.shape == (subsets, 6, 40) and seen.any(0).all()
    assert torch.equal(seen, seen[:, :1].expand_as(seen)), "what is hidden must not tell whose part it is"
    own = 40 // subsets
    assert (seen.sum(2) - own * (1 + overlap)).abs().max() <= 1
    for k in range(subsets):
        shared = (seen[k, 0] & seen[(k + 1) % subsets, 0]).sum()
        assert abs(int(shared) - own * overlap * (2 if subsets == 2 else 1)) <= 1
    assert not torch.equal(seen, m._seen(cells, gen(1))) and torch.equal(seen, m._seen(cells, gen()))


def test_parts_of_short_items_are_never_empty() -> None:
    m, _ = built("subtab", "ragged")
    valid = torch.arange(20) < torch.tensor([20, 9, 3, 2, 1])[:, None]
    for seed in range(10):
        seen = m._seen(Cells((20,), valid), gen(seed))
        assert seen.any(2).all() and torch.equal(seen.any(0), valid), "padding is in none"
    with pytest.raises(CannotPair, match="single cell"):
        m._seen(Cells((1,), valid[:, :1]), gen())


def test_a_part_knows_nothing_of_the_rest() -> None:
    m, mod = built("subtab", "vector", "mlp")
    m.eval()
    (x,) = looked_at(m, mod, items("vector"))
    seen, out = m._seen(m.encoder.cells(x), gen(3)), []
    m.encoder.register_forward_hook(lambda module, given, made: out.append(made.pooled.chunk(4)))
    for k in range(4):
        m([x], Context(gen(3), 0.2))
        m([replace(x, x=torch.where(seen[k], x.x, x.x + 3))], Context(gen(3), 0.2))
        same = [torch.allclose(a, b, atol=1e-6) for a, b in zip(out[-2], out[-1], strict=True)]
        assert same[k] and not all(same)


# ---- stunt ----


def test_prototypes_are_the_slow_version() -> None:
    h, classes = torch.randn(14, 5, generator=gen()), torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 4, 4])
    support = examples(classes, 2, gen(1))
    assert [int(support[classes == c].sum()) for c in range(5)] == [2, 2, 0, 2, 2]
    got = nearness(h, classes, support, 5)
    for b, c in itertools.product(range(14), range(5)):
        chosen = [h[i].double() for i in range(14) if classes[i] == c and support[i]]
        want = -float(((h[b].double() - sum(chosen) / len(chosen)) ** 2).sum()) if chosen else -1e9
        assert float(got[b, c]) == pytest.approx(want, rel=1e-5)
    drawn = torch.stack([examples(classes, 2, gen(s)) for s in range(300)]).float().mean(0)
    assert torch.allclose(drawn[:5], torch.tensor(0.4), atol=0.1) and torch.allclose(drawn[5:9], torch.tensor(0.5), atol=0.1)
    assert nearness(h.bfloat16(), classes, support, 5).dtype == torch.float32


def spied(monkeypatch: pytest.MonkeyPatch, m: Any) -> tuple[list[Any], list[Any]]:
    """What goes into k-means with what comes out, and what the encoder sees, from now on."""
    from tacit.methods import stunt

    made: list[Any] = []
    seen: list[Any] = []
    monkeypatch.setattr(stunt, "kmeans", lambda v, k, g: (made.append((v, *(out := kmeans(v, k, g)))), out)[1])
    m.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    return made, seen


def test_the_classes_of_stunt_cannot_be_read_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent columns: the chosen ones say nothing of their own class any more, and the others never did."""
    m, _ = built("stunt", "vector", "mlp", ways=4)
    made, seen = spied(monkeypatch, m)
    x = torch.randn(600, 7, generator=gen())
    right, before = [], []
    for seed in range(12):
        step = m([Batch(x, torch.arange(600))], Context(gen(seed), 0.2))
        (_, _, classes), hidden = made[-1], seen[-1].x
        changed = (hidden != x).any(0)
        assert torch.equal((hidden != x).all(0), changed) and 1 <= changed.sum() <= 4, "whole columns, 0.2 to 0.5 of 7"
        assert torch.allclose(hidden[:, changed].sort(0).values, x[:, changed].sort(0).values), "with the values of the column"

        def read(v: Tensor, classes: Tensor = classes, changed: Tensor = changed) -> float:
            """How often the nearest mean of a class of the true values is the item's own."""
            means = torch.stack([x[classes == c][:, changed].mean(0) for c in range(4)])
            return float((torch.cdist(v[:, changed], means).argmin(1) == classes).float().mean())

        share = classes.bincount(minlength=4) / 600
        before.append(read(x))
        right.append(read(hidden) - float(share.square().sum()))
        assert step.loss.isfinite()
    assert min(before) > 0.8 and abs(sum(right) / 12) < 0.02, "as often as two items have the same class by chance"


def test_the_values_of_stunt_are_those_of_the_chosen_cells_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        m, mod = built("stunt", kind)
        made, seen = spied(monkeypatch, m)
        (x,) = looked_at(m, mod, items(kind, rows=12))
        m([x], Context(gen(3), 0.2))
        values, changed = made[-1][0], (seen[-1].x != x.x).flatten(1).any(0)
        inside = x.x.clone(memory_format=torch.contiguous_format).view(12, -1)
        inside[:, ~changed] += 1.0
        m([replace(x, x=inside.view(x.x.shape))], Context(gen(3), 0.2))
        assert torch.allclose(values, made[-1][0], atol=1e-5), kind
        inside = x.x.clone(memory_format=torch.contiguous_format).view(12, -1)
        inside[:5, changed] += 1.0
        m([replace(x, x=inside.view(x.x.shape))], Context(gen(3), 0.2))
        assert not torch.allclose(values, made[-1][0], atol=1e-2), kind
        spread = values.view(12, -1, m.encoder.tokenizer.dim).square().sum(2).mean(0)
        alike = ((spread - 1).abs() < 1e-4).sum() + (spread == 0).sum() == spread.numel()
        assert alike or kind in ("ragged", "events", "text", "audio"), "every cell counts alike"


def test_small_batches_have_fewer_ways() -> None:
    for rows, shots, ways in ((40, 1, 10), (12, 1, 6), (12, 3, 3), (4, 1, 2), (2, 1, 2)):
        m, mod = built("stunt", "vector", shots=shots)
        step = m(looked_at(m, mod, items("vector", rows=rows)), Context(gen(3), 0.2))
        assert step.chance is not None and step.chance <= math.log(ways) + 1e-9 and step.loss.isfinite()
    with pytest.raises(Asked, match="is more than method"):
        built("stunt", "vector", least=0.6)
