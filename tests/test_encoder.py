"""The encoder keeps its promises about masks, padding, order and places, whatever the backbone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conftest import KINDS, small
from tacit import registry
from tacit.assemble import make_encoder, make_modality
from tacit.encoder import Encoder, grow, join, match, pool, pool_valid, split
from tacit.errors import CannotPair
from tacit.layers import SHORT, Block, Place, attend, sincos, unravel
from tacit.masking import random_mask
from tacit.modality import Modality
from tacit.patches import patches
from tacit.predictors import Predictor
from tacit.teacher import Teacher
from tacit.types import Batch, Cells, Features, Layout, Spec


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(kind: str, backbone: str = "transformer", needs: frozenset[str] = frozenset(), **knobs: object) -> tuple[Modality, Encoder]:
    torch.manual_seed(0)
    mod = make_modality(small(kind).spec, {})
    return mod, make_encoder(mod, {"name": backbone, "size": "tiny", **knobs}, needs).eval()


def batch_of(kind: str, mod: Modality, rows: int = 6) -> Batch:
    data = small(kind)
    valid = None if data.lengths is None else torch.arange(data.x[:rows].shape[-1]) < torch.from_numpy(data.lengths[:rows])[:, None]
    batch = Batch(mod.load(torch.from_numpy(np.asarray(data.x[:rows]))), torch.arange(rows), valid)
    return mod.heard(batch) if kind == "audio" else batch  # type: ignore[attr-defined]


# ---- hidden cells ----


def changed_where(batch: Batch, mask: Tensor, encoder: Encoder) -> Batch:
    """The batch with other content in the hidden cells, and nothing else."""
    sizes = batch.x.shape[-len(encoder.cell) :]
    hidden = grow(mask, encoder.cells(batch).grid, sizes, encoder.cell).view(len(mask), *sizes)
    other = batch.x.nan_to_num() + 3.0
    return replace(batch, x=torch.where(hidden if batch.x.ndim == hidden.ndim else hidden[:, None], other, batch.x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", list(registry.every("backbones")))
def test_hidden_content_cannot_be_seen(kind: str, backbone: str) -> None:
    """Changing what is hidden changes no feature, whether hidden cells are dropped or replaced by the mask token."""
    cls, rank = registry.find("backbones", backbone), max(1, make_modality(small(kind).spec, {}).layout.rank)
    for how in ("drop", "mask"):
        try:
            mod, encoder = built(kind, backbone, frozenset({how}))
        except CannotPair:
            assert how not in cls.can or kind in ("ragged", "vector", "table", "events", "text", "audio") or rank not in cls.ranks
            continue
        batch = batch_of(kind, mod)
        mask = random_mask(encoder.cells(batch), 0.5, gen())
        a, b = (encoder(v, mask=mask, drop=how == "drop") for v in (batch, changed_where(batch, mask, encoder)))
        assert torch.equal(a.valid, b.valid)
        assert torch.equal(a.tokens[a.valid], b.tokens[b.valid]) and torch.equal(a.pooled, b.pooled)
        seen = encoder(changed_where(batch, ~mask, encoder), mask=mask, drop=how == "drop")
        assert not torch.equal(a.pooled, seen.pooled), "what is not hidden is seen"


def test_dropped_cells_keep_their_places() -> None:
    mod, encoder = built("ragged", needs=frozenset({"drop"}))
    batch = batch_of("ragged", mod)
    cells = encoder.cells(batch)
    mask = random_mask(cells, 0.4, gen())
    f = encoder(batch, mask=mask, drop=True)
    kept = (cells.valid & ~mask).sum(1)
    assert f.tokens.shape[1] == kept.max() and torch.equal(f.valid.sum(1), kept)
    for row in range(len(mask)):
        want = [i for i in range(mask.shape[1]) if cells.valid[row, i] and not mask[row, i]]
        assert f.position[row, f.valid[row]].tolist() == want
        assert torch.allclose(f.at[row, f.valid[row], 0], (torch.tensor(want) + 0.5) * encoder.cell[0] / batch.x.shape[-1])
    assert batch.valid is not None
    for row in range(len(mask)):
        alone = Batch(batch.x[row : row + 1], batch.ids[row : row + 1], batch.valid[row : row + 1])
        same = torch.allclose(encoder(alone, mask=mask[row : row + 1], drop=True).pooled, f.pooled[row : row + 1], atol=1e-5)
        assert same, "short rows of a batch do not feel the others"


@pytest.mark.parametrize("kind", KINDS)
def test_mask_token_exists_only_where_it_is_needed(kind: str) -> None:
    mod, plain = built(kind)
    _, masking = built(kind, needs=frozenset({"mask"}))
    assert plain.mask_token is None and isinstance(masking.mask_token, nn.Parameter)
    batch = batch_of(kind, mod)
    mask = random_mask(plain.cells(batch), 0.5, gen())
    with pytest.raises(CannotPair, match="without a mask token") as error:
        plain(batch, mask=mask)
    assert error.value.hint
    everything = torch.ones_like(mask)
    f = masking(batch, mask=everything & masking.cells(batch).valid)
    assert f.tokens.isfinite().all() or not f.valid.all()


# ---- padding, order, causality ----


RAGGED = [n for n, b in registry.every("backbones").items() if "ragged" in b.can]


@pytest.mark.parametrize("backbone", [n for n in RAGGED if 1 in registry.find("backbones", n).ranks])
def test_padding_changes_nothing(backbone: str) -> None:
    """Neither the content of the padding nor its amount reaches a feature of what exists."""
    spec = Spec("series", 2, (64,), (0.0, 0.0), (1.0, 1.0), ragged=True)
    torch.manual_seed(0)
    encoder = make_encoder(make_modality(spec, {}), {"name": backbone, "size": "tiny"}, frozenset()).eval()
    cell = encoder.cell[0]
    lengths = torch.tensor([64, 40, 24, 17])
    valid = torch.arange(64) < lengths[:, None]
    x = torch.randn(4, 2, 64, generator=gen()).masked_fill(~valid[:, None], torch.nan)
    batch = Batch(x, torch.arange(4), valid)
    plain = encoder(batch)
    assert torch.equal(plain.valid.sum(1), -(-lengths // cell))
    filled = encoder(replace(batch, x=torch.where(valid[:, None], x, torch.full_like(x, 9.0))))
    more = torch.cat([x, torch.full((4, 2, 4 * cell), torch.nan)], 2), torch.cat([valid, torch.zeros(4, 4 * cell).bool()], 1)
    longer = encoder(Batch(more[0], batch.ids, more[1]))
    for other in (filled, longer):
        assert torch.allclose(plain.pooled, other.pooled, atol=1e-5)
        assert torch.allclose(plain.tokens[plain.valid], other.tokens[other.valid], atol=1e-5)
    assert plain.pooled.isfinite().all()
    for row, n in enumerate(lengths.tolist()):
        if n % cell == 0:  # alone and cut to its length, without any padding
            alone = encoder(Batch(x[row : row + 1, :, :n], torch.arange(1)))
            assert torch.allclose(alone.pooled, plain.pooled[row : row + 1], atol=1e-5)


@pytest.mark.parametrize("backbone", [n for n in RAGGED if 2 in registry.find("backbones", n).ranks])
def test_padding_changes_nothing_in_spectra(backbone: str) -> None:
    mod, encoder = built("audio", backbone)
    encoder.eval()
    batch = batch_of("audio", mod)
    assert batch.valid is not None
    plain, b, tall = encoder(batch), len(batch.x), batch.x.shape[2]
    there = batch.valid.view(b, 1, tall, -1)
    filled = encoder(replace(batch, x=torch.where(there, batch.x, 9.0)))
    more = 4 * encoder.cell[1]
    longer = encoder(replace(batch, x=F.pad(batch.x, (0, more), value=7.0), valid=F.pad(there, (0, more)).flatten(1)))
    for other in (filled, longer):
        assert torch.allclose(plain.pooled, other.pooled, atol=1e-5)
        assert torch.allclose(plain.tokens[plain.valid], other.tokens[other.valid], atol=1e-5)


@pytest.mark.parametrize("backbone", [n for n in registry.names("backbones") if "causal" in registry.find("backbones", n).can])
@pytest.mark.parametrize("kind", ["series", "ragged"])
def test_causal_features_do_not_know_the_future(backbone: str, kind: str) -> None:
    mod, encoder = built(kind, backbone, frozenset({"causal"}))
    batch = batch_of(kind, mod)
    cell = encoder.cell[0]
    cut = (24 // cell) * cell
    later = replace(batch, x=torch.cat([batch.x[..., :cut], batch.x[..., cut:] + 1], -1))
    n = cut // cell
    a, b = (encoder(v).tokens for v in (batch, later))
    assert torch.equal(a[:, :n], b[:, :n]) and not torch.equal(a[:, n:], b[:, n:])
    earlier = encoder(replace(batch, x=torch.cat([batch.x[..., :cell] + 1, batch.x[..., cell:]], -1))).tokens
    assert not torch.allclose(a[:, 1:n], earlier[:, 1:n]), "the past is seen"
    if backbone == "gru":  # causal by nature
        return
    encoder = built(kind, backbone, frozenset())[1]
    both = [encoder(v).tokens for v in (batch, later)]
    assert not torch.equal(both[0][:, :n], both[1][:, :n]), "without causal, the future is seen"


def test_columns_are_told_apart_by_identity() -> None:
    """An unordered set: the transformer knows columns by a learned row, so swapping two values changes the embedding."""
    mod, encoder = built("vector")
    batch = batch_of("vector", mod)
    assert isinstance(encoder.backbone.get_submodule("place").table, nn.Parameter)  # type: ignore[union-attr]
    swapped = replace(batch, x=batch.x.flip(1))
    assert not torch.allclose(encoder(batch).pooled, encoder(swapped).pooled, atol=1e-3)


# ---- geometry ----


def test_pool_valid_grow_and_patches_are_the_loop() -> None:
    sizes, cell = (7, 10), (3, 4)
    grid = (3, 3)
    valid = torch.rand(4, 70, generator=gen()) < 0.15
    want = torch.zeros(4, 9, dtype=torch.bool)
    for b in range(4):
        for i in range(70):
            if valid[b, i]:
                want[b, (i // 10 // 3) * 3 + (i % 10) // 4] = True
    assert torch.equal(pool_valid(valid, 4, sizes, cell, grid, valid.device), want)
    fine = grow(want, grid, sizes, cell)
    for i in range(70):
        assert torch.equal(fine[:, i], want[:, (i // 10 // 3) * 3 + (i % 10) // 4])
    x = torch.rand(2, 3, *sizes, generator=gen())
    cut, found = patches(x, cell)
    assert found == grid
    padded = torch.zeros(2, 3, 9, 12)
    padded[..., :7, :10] = x
    for i in range(3):
        for j in range(3):
            assert torch.equal(cut[:, i * 3 + j], padded[:, :, 3 * i : 3 * i + 3, 4 * j : 4 * j + 4].flatten(1))


def test_a_hidden_cell_is_hidden_to_its_last_sample() -> None:
    first = torch.tensor([[True, False, False, False]])
    assert grow(first, (4,), (28,), (8,)).sum() == 8 and grow(~first, (4,), (28,), (8,)).sum() == 20


def test_pooling_is_over_what_exists() -> None:
    x = torch.randn(3, 4, 5, generator=gen())
    valid = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    mean, most = pool(x, valid, "mean"), pool(x, valid, "max")
    assert torch.allclose(mean[0], x[0, :2].mean(0)) and torch.equal(most[0], x[0, :2].amax(0))
    assert torch.allclose(mean[1], x[1].mean(0)) and torch.allclose(pool(x, None, "mean"), x.mean(1))
    assert torch.allclose(pool(x, valid, "both"), mean + most)
    assert torch.equal(most[1], x[1].amax(0)) and torch.equal(pool(x, None, "max"), x.amax(1))
    assert mean.isfinite().all() and most.isfinite().all(), "an item without any cell has an embedding too"


def test_positions() -> None:
    flat = torch.arange(24)
    assert unravel(flat, (2, 3, 4)).tolist() == [[i // 12, i // 4 % 3, i % 4] for i in range(24)]
    codes = sincos(unravel(flat, (2, 3, 4)).float(), 32)
    assert codes.shape == (24, 32) and len(torch.unique(codes, dim=0)) == 24
    one = sincos(torch.tensor([[3.0]]), 8)[0]
    want = [math.sin(3 / 10_000 ** (k / 4)) for k in range(4)] + [math.cos(3 / 10_000 ** (k / 4)) for k in range(4)]
    assert torch.allclose(one, torch.tensor(want), atol=1e-6)
    place = Place(6, Layout(1, ordered=False, count=5))
    assert place.table is not None and torch.equal(place(torch.tensor([[4, 0]]), (5,)), place.table[torch.tensor([[4, 0]])])


def test_blocks_look_only_at_what_exists() -> None:
    torch.manual_seed(0)
    block, x = Block(16, 2).eval(), torch.randn(2, 5, 16, generator=gen())
    valid = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    y = torch.where(valid[..., None], x, x + 5)
    assert torch.equal(block(x, valid)[valid], block(y, valid)[valid])
    assert torch.allclose(block(x, valid)[0, :3], block(x[:1, :3], None)[0], atol=1e-5)
    assert block(x, valid).isfinite().all(), "a row without any valid cell is no NaN"
    assert torch.allclose(block(x, torch.ones_like(valid), causal=True), block(x, None, causal=True), atol=1e-5)


@pytest.mark.parametrize(("causal", "masked"), [(False, False), (True, False), (False, True)])
def test_attention_in_half_precision_is_that_of_the_library(causal: bool, masked: bool) -> None:
    q, k, v = (torch.randn(2, 3, 7, 8, generator=gen()).to(torch.bfloat16).requires_grad_() for _ in range(3))
    mask = torch.ones(2, 1, 7, 7).bool() if masked else None
    if mask is not None:
        mask[0, :, :, 4:] = False
    weight = torch.randn(2, 3, 7, 8, generator=gen())
    exact = [t.detach().double().requires_grad_() for t in (q, k, v)]
    got = attend(q, k, v, mask, causal)
    want = torch.nn.functional.scaled_dot_product_attention(*exact, attn_mask=mask, is_causal=causal)
    assert got.dtype == torch.bfloat16 and torch.allclose(got.double(), want, atol=0.03)
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    for a, b in zip((q, k, v), exact, strict=True):
        assert a.grad is not None and b.grad is not None and torch.allclose(a.grad.double(), b.grad, atol=0.1)
    with torch.no_grad():
        assert torch.allclose(attend(q, k, v, mask, causal).float(), got.float(), atol=0.03), "learning and embedding agree"
    assert SHORT >= 196, "the patches of an image of 224 pixels are a short sequence"


def features(at: Tensor, valid: Tensor | None = None) -> Features:
    b, n, _ = at.shape
    return Features(at, at[:, 0], torch.arange(n).expand(b, n), at, torch.ones(b, n).bool() if valid is None else valid, (n,))


def test_match_finds_the_same_place() -> None:
    f = features(torch.tensor([[[0.1], [0.2], [0.3], [0.4]]]))
    g = features(torch.tensor([[[0.3], [0.4], [0.5]]]))
    index, ok = match(f, g)
    assert ok.tolist() == [[False, False, True, True]] and index[0, 2:].tolist() == [0, 1]
    near = features(torch.tensor([[[0.33], [0.43], [0.53]]]))
    index, ok = match(f, near)
    assert ok.tolist() == [[False, False, True, True]] and index[0, 2:].tolist() == [0, 1]
    far = features(torch.tensor([[[0.36], [0.46]]]))
    index, ok = match(f, far)
    assert ok.tolist() == [[False, False, False, True]] and index[0, 3] == 0, "nearer than half a cell"
    _, ok = match(f, features(g.at, torch.tensor([[False, True, True]])))
    assert ok.tolist() == [[False, False, False, True]], "a cell that does not exist matches nothing"
    _, ok = match(features(f.at, torch.tensor([[True, True, True, False]])), g)
    assert ok.tolist() == [[False, False, True, False]]
    plane = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))[None]
    two = Features(plane, plane[:, 0], torch.arange(9)[None], plane, torch.ones(1, 9).bool(), (3, 3))
    turned = replace(two, at=plane.flip(1))
    assert match(two, turned)[0].tolist() == [list(range(8, -1, -1))] and match(two, turned)[1].all()


def test_each_groups_equal_shapes_and_keeps_the_order() -> None:
    mod, encoder = built("image")
    big = [batch_of("image", mod), batch_of("image", mod, 4)]
    little = replace(big[0], x=big[0].x[..., :8, :8])
    frame = torch.rand(4, 2, 2, generator=gen())
    views = [big[0], little, replace(big[1], frame=frame), replace(little, x=little.x.flip(0)), replace(big[0], x=big[0].x.flip(2))]
    for view, f in zip(views, encoder.each(views), strict=True):
        alone = encoder(view)
        assert f.grid == alone.grid
        for name in ("tokens", "pooled", "at"):
            assert torch.allclose(getattr(f, name), getattr(alone, name), atol=1e-5), name
    parts = [replace(big[1], frame=frame), replace(big[1], frame=1 - frame)]
    whole = join(parts)
    assert whole.frame is not None and torch.equal(whole.frame[:4], frame) and len(whole.ids) == 8
    first, second = split(encoder(whole), [4, 4])
    assert torch.allclose(first.at, encoder(parts[0]).at) and torch.allclose(second.at, encoder(parts[1]).at)


def test_predictor_fills_in_every_cell_and_only_from_what_was_seen() -> None:
    mod, encoder = built("series", needs=frozenset({"drop"}))
    batch = batch_of("series", mod)
    cells = encoder.cells(batch)
    mask = random_mask(cells, 0.6, gen())
    predictor = Predictor(encoder.dim, encoder.layout, width=32, depth=1).eval()
    seen = encoder(batch, mask=mask, drop=True)
    out = predictor(seen, cells, full=True)
    assert out.shape == (6, cells.valid.shape[1], 32)
    assert torch.allclose(out, predictor(seen, cells, full=False), atol=1e-5)
    hidden = out[0, mask[0]]
    assert len(torch.unique(hidden.round(decimals=4), dim=0)) == len(hidden), "hidden cells are told apart by their place"
    order = torch.randperm(seen.tokens.shape[1], generator=gen())
    shuffled = replace(seen, tokens=seen.tokens[:, order], position=seen.position[:, order], valid=seen.valid[:, order])
    assert torch.allclose(out, predictor(shuffled, Cells(cells.grid, cells.valid), full=True), atol=1e-5)


def test_teacher_follows_and_gets_no_gradient() -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    teacher = Teacher(student)
    start = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for p in student.parameters():
            p += 1
    student(torch.randn(5, 3))
    teacher.follow(student, 0.9, warm=False)
    for old, now, new in zip(start, teacher.module.parameters(), student.parameters(), strict=True):
        assert torch.allclose(now, 0.9 * old + 0.1 * new, atol=1e-6) and not now.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(teacher.module.buffers(), student.buffers(), strict=True))
    assert not teacher(torch.randn(5, 3, requires_grad=True)).requires_grad
    teacher.follow(student, 0.0)
    assert int(teacher.steps) == 2
    assert all(torch.equal(a, b) for a, b in zip(teacher.module.parameters(), student.parameters(), strict=True))
    before = [p.clone() for p in student.parameters()]
    teacher.follow(student, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


def test_a_young_teacher_is_not_its_untrained_beginning() -> None:
    """Whatever the momentum, it remembers a tenth of its life at most: step n keeps n / (n + 10) of it."""
    student, weight = nn.Linear(1, 1, bias=False), 0.0
    nn.init.zeros_(student.weight)
    teacher = Teacher(student)
    nn.init.ones_(student.weight)
    for n in range(1, 201):
        teacher.follow(student, 0.9)
        keep = min(0.9, n / (10 + n))
        weight = keep * weight + (1 - keep)
        assert float(teacher.module.weight.detach()) == pytest.approx(weight, abs=1e-5)  # type: ignore[union-attr,arg-type]
