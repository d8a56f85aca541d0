"""Augmentations against Pillow, scipy and published definitions; views know where they lie in the item."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor

from conftest import small
from tacit.assemble import make_encoder, make_modality
from tacit.augment import apply_axes, gaussian, interpolation, jitter_colour, rotate
from tacit.encoder import match
from tacit.grid import Grid
from tacit.modalities.image import Image
from tacit.modalities.series import Series
from tacit.patches import patches
from tacit.types import Batch, Spec, Views

COLOUR = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grey": 0.0, "share": 1.0}
LUMA = torch.tensor([0.299, 0.587, 0.114])


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=gen(seed))


def matrix(start: float, extent: float, n: int, out: int) -> Tensor:
    return interpolation(torch.tensor([start]), torch.tensor([extent]), n, n, out)


# ---- resampling ----


@pytest.mark.parametrize("out", [(7, 5), (16, 12), (40, 50), (3, 60), (1, 1)])
@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.1, 0.2, 0.7, 0.65), (0.0, 0.5, 0.25, 0.5), (0.55, 0.31, 0.45, 0.3)])
def test_resampling_is_pillows(out: tuple[int, int], box: tuple[float, float, float, float]) -> None:
    """Crop and antialiased resize in one product, against resize(BILINEAR, box=...) on float images."""
    x = draw(24, 30)
    top, left, high, wide = box
    ours = apply_axes(x[None, None], [matrix(top, high, 24, out[0]), matrix(left, wide, 30, out[1])])[0, 0]
    edges = (left * 30, top * 24, min(30.0, (left + wide) * 30), min(24.0, (top + high) * 24))
    theirs = Pillow.fromarray(x.numpy()).resize((out[1], out[0]), Pillow.Resampling.BILINEAR, box=edges)
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), atol=2e-5)


def test_identity_flip_and_sums() -> None:
    assert torch.equal(matrix(0, 1, 9, 9)[0], torch.eye(9))
    assert torch.allclose(matrix(1, -1, 9, 9)[0], torch.eye(9).flip(0), atol=1e-6)
    for out in (1, 4, 9, 23):
        forward, back = matrix(0.2, 0.6, 9, out), matrix(0.8, -0.6, 9, out)
        assert torch.allclose(back, forward.flip(1), atol=1e-6)
        for m in (forward, back):
            assert (m >= 0).all() and torch.allclose(m.sum(-1), torch.ones(1, out), atol=1e-6)


def test_each_item_is_resampled_by_its_own_length() -> None:
    """Stored samples beyond the item's end get no weight, and the item fills the view."""
    lengths = torch.tensor([4, 9, 12])
    m = interpolation(torch.zeros(3), torch.ones(3), lengths, 12, 6)
    for row, n in zip(m, lengths.tolist(), strict=True):
        assert (row[:, n:] == 0).all() and torch.allclose(row[:, :n], matrix(0, 1, n, 6)[0], atol=1e-6)


@pytest.mark.parametrize("sizes", [(9,), (9, 7), (5, 6, 7)])
def test_axes_are_multiplied_in_any_rank(sizes: tuple[int, ...]) -> None:
    x = draw(2, 3, *sizes)
    matrices = [draw(2, n + 1, n, seed=i) for i, n in enumerate(sizes)]
    letters = "hwd"[: len(sizes)]
    spec = "bc" + letters + "," + ",".join(f"b{a.upper()}{a}" for a in letters) + "->bc" + letters.upper()
    assert torch.allclose(apply_axes(x, matrices), torch.einsum(spec, x, *matrices), atol=1e-5)


def test_missing_values_stay_missing_and_leak_nothing() -> None:
    x = torch.arange(12.0).view(1, 1, 12)
    x[..., 4:6] = torch.nan
    same = apply_axes(x, [matrix(0, 1, 12, 12)])
    assert torch.equal(same.isnan(), x.isnan()) and torch.equal(same.nan_to_num(), x.nan_to_num())
    half = apply_axes(x, [matrix(0, 1, 12, 6)])[0, 0]
    assert half.isnan().tolist() == [False, False, True, False, False, False]
    assert half[0] >= 0 and half[1] <= 3 and half[3] >= 6 and half[5] <= 11, "an average over known neighbours, not with zero"
    constant = torch.where(x.isnan(), torch.nan, torch.full_like(x, 7.0))
    known = apply_axes(constant, [matrix(0.1, 0.8, 12, 9)])
    assert torch.allclose(known[~known.isnan()], torch.tensor(7.0))


def test_blur_is_scipys() -> None:
    from scipy.ndimage import gaussian_filter1d

    x = draw(1, 1, 20)
    for sigma in (0.5, 1.3, 4.0):
        ours = apply_axes(x, [gaussian(torch.tensor([sigma]), 20)])[0, 0].numpy()
        # beyond the border there is nothing: scipy's zero padding, divided by the weight that fell inside
        options = {"sigma": sigma, "mode": "constant", "truncate": 50.0}
        theirs = gaussian_filter1d(x[0, 0].double().numpy(), **options) / gaussian_filter1d(np.ones(20), **options)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    m = gaussian(torch.tensor([0.0, 2.0]), 20)
    assert torch.equal(m[0], torch.eye(20)) and torch.allclose(m.sum(-1), torch.ones(2, 20))


@pytest.mark.parametrize("angle", [0.0, 20.0, -65.0, 90.0])
def test_rotation_turns_about_the_centre_and_keeps_distances(angle: float) -> None:
    h, w, a = 24, 32, math.radians(angle)
    y, x = torch.meshgrid(torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2, indexing="ij")
    turned = rotate(torch.stack([y, x])[None], torch.tensor([a]))[0]
    near = (y.square() + x.square()).sqrt() < 10
    assert torch.allclose(turned[1][near], (math.cos(a) * x - math.sin(a) * y)[near], atol=1e-3)
    assert torch.allclose(turned[0][near], (math.sin(a) * x + math.cos(a) * y)[near], atol=1e-3)


# ---- colour ----


def jitter(x: Tensor, seed: int = 0, **strengths: float) -> Tensor:
    return jitter_colour(x, gen(seed), **{**COLOUR, **strengths})


def test_nothing_asked_nothing_changed() -> None:
    for c in (1, 3, 4):
        x = draw(4, c, 5, 6)
        assert torch.allclose(jitter(x), x, atol=1e-6)
        strong = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
        assert torch.allclose(jitter(x, share=0.0, **strong), x, atol=1e-6)
        assert not torch.allclose(jitter(x, **strong), x, atol=1e-2)


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_multiplies(channels: int) -> None:
    x = draw(500, channels, 2, 2) * 0.4 + 0.1
    factor = jitter(x, brightness=0.5) / x
    assert torch.allclose(factor, factor[:, :1, :1, :1].expand_as(factor), atol=1e-5)
    f = factor[:, 0, 0, 0]
    assert 0.5 <= f.min() < 0.53 and 1.47 < f.max() <= 1.5 and abs(f.mean() - 1) < 0.05
    assert jitter(torch.ones(8, channels, 2, 2), brightness=0.5).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_scales_about_the_mean_grey(channels: int) -> None:
    x = draw(500, channels, 3, 3) * 0.2 + 0.4
    out = jitter(x, contrast=0.5)
    grey = (x * LUMA.view(1, 3, 1, 1)).sum(1, keepdim=True) if channels == 3 else x
    mean = grey.mean((1, 2, 3), keepdim=True)
    factor = ((out - mean) * (x - mean)).sum((1, 2, 3)) / (x - mean).square().sum((1, 2, 3))
    assert torch.allclose(out, mean + factor.view(-1, 1, 1, 1) * (x - mean), atol=1e-4)
    assert 0.5 - 1e-3 <= factor.min() < 0.53 and 1.47 < factor.max() <= 1.5 + 1e-3


def test_saturation_blends_with_grey() -> None:
    x = draw(300, 3, 3, 3) * 0.2 + 0.4
    out, grey = jitter(x, saturation=0.5), (x * LUMA.view(1, 3, 1, 1)).sum(1, keepdim=True)
    factor = ((out - grey) * (x - grey)).sum((1, 2, 3)) / (x - grey).square().sum((1, 2, 3))
    assert torch.allclose(out, grey + factor.view(-1, 1, 1, 1) * (x - grey), atol=2e-3)
    assert 0.49 < factor.min() < 0.53 and 1.47 < factor.max() < 1.51
    assert torch.allclose(jitter(draw(4, 1, 3, 3), saturation=0.5), draw(4, 1, 3, 3), atol=1e-6), "grey images have no colour"


def test_grey_is_pillows_luminance() -> None:
    x = torch.randint(0, 256, (4, 3, 6, 6), generator=gen()).float() / 255
    out = jitter(x, grey=1.0)
    assert torch.allclose(out[:, 0], out[:, 1], atol=2e-3) and torch.allclose(out[:, 0], out[:, 2], atol=2e-3)
    for ours, item in zip(out, x, strict=True):
        image = Pillow.fromarray((item.permute(1, 2, 0) * 255).round().byte().numpy()).convert("L")
        np.testing.assert_allclose(ours[0].numpy(), np.asarray(image) / 255, atol=3 / 255)
    some = jitter(draw(1000, 3, 2, 2), grey=0.3)
    share = float(((some - some.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 5e-3).float().mean())
    assert 0.25 < share < 0.35


def test_hue_turns_colour_and_keeps_luma_and_saturation() -> None:
    x = draw(200, 3, 3, 3) * 0.1 + 0.45
    out = jitter(x, hue=0.25)
    yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    before, after = (torch.einsum("ij,bjhw->bihw", yiq, v) for v in (x, out))
    assert torch.allclose(before[:, 0], after[:, 0], atol=1e-4)
    strength = [v[:, 1:].square().sum(1).sqrt() for v in (before, after)]
    assert torch.allclose(*strength, atol=1e-4)
    turn = torch.atan2(after[:, 2], after[:, 1]) - torch.atan2(before[:, 2], before[:, 1])
    turn = torch.remainder(turn / (2 * math.pi) + 0.5, 1) - 0.5
    assert (turn - turn[:, :1, :1]).abs().max() < 0.02, "one rotation an item"
    assert turn.abs().max() <= 0.2501 and turn.min() < -0.2 and turn.max() > 0.2


# ---- randomness ----


def modality(kind: str, **knobs: object) -> Grid:
    return make_modality(small(kind).spec, knobs)  # type: ignore[return-value]


def batch_of(kind: str, rows: int = 8) -> Batch:
    data = small(kind)
    x = modality(kind).load(torch.from_numpy(np.array(data.x[:rows])))
    valid = None if data.lengths is None else torch.arange(x.shape[-1]) < torch.from_numpy(data.lengths[:rows])[:, None]
    return Batch(x, torch.arange(rows), valid)


WANTED = {"two": Views(global_=2), "all": Views(global_=1, local=1, weak=1, plain=1, crop=2), "task": Views(task="permute")}


def equal(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return (
        torch.equal(a.isnan(), b.isnan()) and torch.allclose(a.nan_to_num(), b.nan_to_num(), atol=1e-5)
        if a.is_floating_point()
        else (torch.equal(a, b))
    )


def same(a: Batch, b: Batch) -> bool:
    return all(equal(getattr(a, k), getattr(b, k)) for k in ("x", "ids", "valid", "frame", "answer"))


@pytest.mark.parametrize("want", WANTED)
@pytest.mark.parametrize("kind", ["image", "series", "ragged"])
def test_views_come_from_the_generator_alone(kind: str, want: str) -> None:
    mod, batch = modality(kind), batch_of(kind)
    cell = (4,) * mod.layout.rank
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = mod.views(batch, WANTED[want], gen(5), cell)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = mod.views(batch, WANTED[want], gen(5), cell), mod.views(batch, WANTED[want], gen(6), cell)
    assert all(torch.equal(a.x.nan_to_num(), b.x.nan_to_num()) and same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], other[0])
    several = mod.parts if want == "task" else sum(getattr(WANTED[want], k) for k in ("global_", "local", "weak", "plain", "crop"))
    assert len(first) == several


@contextmanager
def permuted_draws(monkeypatch: pytest.MonkeyPatch, order: Tensor) -> Iterator[None]:
    """Random numbers that belong to the rows of a batch come in this order of the rows."""
    with monkeypatch.context() as patch:
        for name in ("rand", "randn"):
            real = getattr(torch, name)

            def drawn(*shape: object, real: object = real, **options: object) -> Tensor:
                values = real(*shape, **options)  # type: ignore[operator]
                return values[order] if values.ndim and len(values) == len(order) else values

            patch.setattr(torch, name, drawn)
        yield


@pytest.mark.parametrize("want", WANTED)
@pytest.mark.parametrize("kind", ["image", "series", "ragged"])
def test_each_item_has_its_own_draws(kind: str, want: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permuting the items together with their draws permutes the views: nothing of one item reaches another."""
    mod, batch = modality(kind), batch_of(kind, 11)
    order = torch.randperm(11, generator=gen())
    moved = replace(batch, x=batch.x[order], ids=batch.ids[order], valid=None if batch.valid is None else batch.valid[order])
    cell = (4,) * mod.layout.rank
    plain = mod.views(batch, WANTED[want], gen(5), cell)
    with permuted_draws(monkeypatch, order):
        views = mod.views(moved, WANTED[want], gen(5), cell)
    for a, b in zip(plain, views, strict=True):
        fields = {k: getattr(a, k) for k in ("x", "ids", "valid", "frame", "answer")}
        assert same(replace(a, **{k: None if v is None else v[order] for k, v in fields.items()}), b)


# ---- where a view lies ----


def ramp(rows: int, sizes: tuple[int, ...]) -> Tensor:
    """Items that hold their own coordinates in 0..1, one channel an axis: [B, r, *S]."""
    axes = torch.meshgrid(*[(torch.arange(n) + 0.5) / n for n in sizes], indexing="ij")
    return torch.stack(axes).expand(rows, *[-1] * (len(sizes) + 1)).clone()


def grid_of(kind: str) -> tuple[Grid, Batch]:
    """A modality without noise, and items that are coordinate ramps, stored larger than views are."""
    if kind == "image":
        spec = Spec("image", 2, (40, 48), (0.0, 0.0), (1.0, 1.0), extra={"size": [32, 40]})
        return Image(spec, colour=0.0, grey=0.0, blur=0.0, flip=True, patch=4), Batch(ramp(16, (40, 48)), torch.arange(16))
    if kind == "series":
        spec = Spec("series", 1, (96,), extra={"length": 80, "shortened": True})
        return Series(spec, noise=0.0, scale=0.0, patch=4), Batch(ramp(16, (96,)), torch.arange(16))
    spec = Spec("series", 1, (96,), ragged=True, extra={"length": 80, "shortened": True})
    lengths = torch.tensor([96, 50, 33, 96, 80, 64, 47, 40] * 2)
    x = torch.stack([torch.cat([ramp(1, (n,))[0], torch.full((1, 96 - n), torch.nan)], 1) for n in lengths.tolist()])
    return Series(spec, noise=0.0, scale=0.0, patch=4), Batch(x, torch.arange(16), torch.arange(96) < lengths[:, None])


@pytest.mark.parametrize("view", ["global_", "local", "weak"])
@pytest.mark.parametrize("kind", ["image", "series", "ragged"])
def test_features_know_where_they_are(kind: str, view: str) -> None:
    """A cell's place in the item's frame is the mean coordinate of what the cell shows."""
    mod, batch = grid_of(kind)
    encoder = make_encoder(mod, {"name": "transformer", "size": "tiny"}, frozenset())
    flipped = 0
    for seed in range(3):
        seen = mod.augment(batch, view, gen(seed), encoder.cell)
        assert seen.valid is None and not seen.x.isnan().any()
        assert seen.x.shape[2:] == (mod.sizes if view != "local" else tuple(round(s / 2 / 4) * 4 for s in mod.sizes))
        at = encoder(seen).at
        content, _ = patches(seen.x, encoder.cell)
        truth = content.view(*content.shape[:2], mod.layout.rank, -1).mean(-1)
        # the filter is cut off at the border of the item, there the content is not the coordinate
        inside = ((truth > 0.15) & (truth < 0.85)).all(-1)
        assert inside.any() and (at - truth)[inside].abs().max() < 2e-3
        assert seen.frame is not None
        low, high = seen.frame[..., 0], seen.frame.sum(-1)
        assert torch.minimum(low, high).min() >= -1e-5 and torch.maximum(low, high).max() <= 1 + 1e-5
        flipped += int((seen.frame[..., 1] < 0).any(-1).sum())
    assert (flipped > 0) == (kind == "image" and view != "plain")


def test_plain_views_are_the_item() -> None:
    for kind in ("image", "series", "ragged"):
        mod, batch = modality(kind), batch_of(kind)
        (view,) = mod.views(batch, Views(plain=1), gen(), (4,) * mod.layout.rank)
        assert same(view, batch)


@pytest.mark.parametrize("cell", [1, 4, 5])
@pytest.mark.parametrize("kind", ["image", "series", "ragged"])
def test_crops_snap_to_cells_and_agree_exactly(kind: str, cell: int) -> None:
    mod, batch = grid_of(kind)
    rank, sizes = mod.layout.rank, batch.x.shape[2:]
    stored = ramp(16, tuple(sizes)) * torch.tensor(sizes).view(1, rank, *[1] * rank)  # coordinates in samples of the storage
    shared, lengths = 0, set()
    for seed in range(12 if cell > 1 else 4):
        one, two = mod.views(replace(batch, x=stored), Views(crop=2), gen(seed), (cell,) * rank)
        places, contents = [], []
        for view in (one, two):
            x, grid = patches(view.x, (cell,) * rank)
            assert all(n % cell == 0 for n in view.x.shape[2:])
            begin = x[:, 0].view(16, rank, -1)[..., 0] - 0.5
            assert (begin % cell).abs().max() < 1e-4, "offsets are multiples of the cell"
            steps = (torch.stack(torch.meshgrid(*[torch.arange(n) for n in view.x.shape[2:]], indexing="ij")))[None]
            assert torch.allclose(view.x, begin.view(16, rank, *[1] * rank) + 0.5 + steps), "a window of the item, as it is stored"
            assert view.frame is not None
            assert torch.allclose(view.frame[..., 0] * torch.tensor(sizes), begin, atol=1e-3)
            assert torch.allclose(view.frame[..., 1] * torch.tensor(sizes), torch.tensor(view.x.shape[2:]).float(), atol=1e-3)
            if batch.valid is not None:
                assert view.valid is not None
                inside = begin + 0.5 + torch.arange(view.x.shape[2]) <= batch.valid.sum(1, keepdim=True)
                assert torch.equal(view.valid, inside) and inside.any(1).all(), "every item shows something in every view"
            contents.append(x)
            places.append(grid)
        lengths.add(places[0])
        encoder = make_encoder(mod, {"name": "conv1d" if rank == 1 else "convnet", "size": "tiny"}, frozenset())
        encoder.tokenizer.patch, encoder.backbone.stride = (cell,) * rank, 1  # only the geometry is looked at
        f, g = (geometry(encoder, v) for v in (one, two))
        index, ok = match(f, g)
        assert ok.any(1).all(), "windows overlap in every item"
        twin = contents[1].gather(1, index[..., None].expand(-1, -1, contents[1].shape[-1]))
        assert torch.equal(contents[0][ok], twin[ok]), "matched cells show the same samples"
        shared += int(ok.sum())
    assert shared and len(lengths) > 2


def geometry(encoder: object, view: Batch) -> object:
    """Features of a view without computing any: where its cells are and which exist."""
    from tacit.encoder import Encoder
    from tacit.layers import unravel
    from tacit.types import Features

    assert isinstance(encoder, Encoder)
    cells = encoder.cells(view)
    b, n = cells.valid.shape
    position = torch.arange(n).expand(b, n)
    size = torch.tensor(view.x.shape[2:])
    at = (unravel(position, cells.grid) + 0.5) * torch.tensor(encoder.cell) / size
    assert view.frame is not None
    at = view.frame[:, None, :, 0] + at * view.frame[:, None, :, 1]
    return Features(at, at[:, 0], position, at, cells.valid, cells.grid)
