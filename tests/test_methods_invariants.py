"""What methods on cells and tasks promise: what is hidden stays hidden, one vector is all, nobody looks into the future."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slow_methods import built, gen, items, looked_at
from tacit.assemble import info_of, make_method
from tacit.grid import Grid
from tacit.losses import full_precision
from tacit.masking import block_mask, random_mask
from tacit.modalities.image import Image
from tacit.modalities.series import Series
from tacit.training.loop import deterministic
from tacit.types import Batch, Cells, Context, Spec
from test_tools import ramp


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with deterministic():
        yield


def loss(m: Any, views: list[Batch], seed: int = 3) -> float:
    return float(m(views, Context(gen(seed), 0.2)).loss.detach())


def heard(module: nn.Module) -> list[Any]:
    """What a module makes from now on, with the gradients it will get."""
    made: list[Any] = []

    def listen(module: nn.Module, given: Any, out: Any) -> None:
        kept = out if isinstance(out, Tensor) else out.tokens
        if kept.requires_grad:
            kept.retain_grad()
        made.append(out)

    module.register_forward_hook(listen)
    return made


def altered(m: Any, x: Batch, cells: Tensor) -> Batch:
    """The same items with something else in these cells, bool [B, N]."""
    where = cells.view(-1, 1, *m.encoder.cells(x).grid)
    for axis, (c, s) in enumerate(zip(m.encoder.cell, x.x.shape[2:], strict=True), 2):
        where = where.repeat_interleave(c, axis).narrow(axis, 0, s)
    return replace(x, x=torch.where(where, x.x + 0.5 + torch.rand(x.x.shape, generator=gen(8)), x.x))


# ---- what is hidden ----

HIDE: dict[str, Callable[..., Tensor]] = {
    "data2vec": lambda m, cells, g: block_mask(cells, m.ratio, m.block, g),
    "inpainting": lambda m, cells, g: block_mask(cells, m.ratio, m.block, g),
    "mae": lambda m, cells, g: random_mask(cells, m.ratio, g),
    "ijepa": lambda m, cells, g: m._hidden(cells, g),
}
HIDING = [(n, k, b) for n in HIDE for k in ("image", "ragged") for b in ("transformer",)] + [("inpainting", "image", "convnet")]


@pytest.mark.parametrize(("method", "kind", "backbone"), HIDING)
def test_what_is_hidden_is_guessed_without_being_seen(method: str, kind: str, backbone: str) -> None:
    m, mod = built(method, kind, backbone)
    (x,) = looked_at(m, mod, items(kind), raw=True)
    cells = m.encoder.cells(x)
    hidden, said = HIDE[method](m, cells, gen(3)), heard(m.head)
    losses = [loss(m, [v]) for v in (x, altered(m, x, hidden), altered(m, x, cells.valid & ~hidden))]
    assert torch.allclose(said[0], said[1], atol=1e-6) and not torch.allclose(said[0], said[2], atol=1e-2)
    assert losses[0] != pytest.approx(losses[1], rel=1e-4), "the truth has changed, though"


@pytest.mark.parametrize(("method", "kind", "backbone"), HIDING)
def test_only_what_is_hidden_costs(method: str, kind: str, backbone: str) -> None:
    options = {"adversarial": 0.5} if method == "inpainting" else {}
    m, mod = built(method, kind, backbone, **options)
    (x,) = looked_at(m, mod, items(kind), raw=True)
    hidden, made = HIDE[method](m, m.encoder.cells(x), gen(3)), heard(m.predictor if hasattr(m, "predictor") else m.encoder)
    m([x], Context(gen(3), 0.2)).loss.backward()
    gradient = (made[0] if isinstance(made[0], Tensor) else made[0].tokens).grad
    assert torch.equal(gradient.abs().sum(-1) > 0, hidden) and 0 < hidden.sum() < hidden.numel()


@pytest.mark.parametrize(("method", "kind"), [(m, k) for m in ("ijepa", "data2vec") for k in ("image", "ragged")])
def test_a_teacher_sees_everything(method: str, kind: str) -> None:
    m, mod = built(method, kind)
    (x,) = looked_at(m, mod, items(kind), raw=True)
    seen: list[Any] = []
    m.teacher.module.register_forward_pre_hook(lambda module, given, named: seen.append((given, named)), with_kwargs=True)
    m([x], Context(gen(3), 0.2))
    (((batch,), named),) = seen
    assert batch is x and "mask" not in named and "drop" not in named


@pytest.mark.parametrize("kind", ["image", "series", "ragged"])
def test_the_context_of_ijepa_is_all_that_is_not_a_target(kind: str) -> None:
    m, mod = built("ijepa", kind)
    (x,) = looked_at(m, mod, items(kind), raw=True)
    cells, made = m.encoder.cells(x), heard(m.encoder)
    for seed in range(4):
        hidden = m._hidden(cells, gen(seed))
        assert hidden.any(1).all() and not (hidden & ~cells.valid).any()
        m([x], Context(gen(seed), 0.2))
        for b, (place, there) in enumerate(zip(made[-1].position, made[-1].valid, strict=True)):
            assert sorted(place[there].tolist()) == (cells.valid[b] & ~hidden[b]).nonzero()[:, 0].tolist()


def test_targets_of_ijepa_are_blocks_anywhere() -> None:
    m, _ = built("ijepa", blocks=1, share=0.2)
    cells = Cells((8, 10), torch.ones(200, 80, dtype=torch.bool))
    one = m._hidden(cells, gen()).view(200, 8, 10)
    assert (one.any(2).sum(1) == 4).all() and (one.any(1).sum(1) == 4).all() and (one.flatten(1).sum(1) == 16).all(), (
        "8 and 10 x 0.2 ** 0.5"
    )
    down, across = one.any(2).int().argmax(1), one.any(1).int().argmax(1)
    assert set(down.tolist()) == set(range(5)) and set(across.tolist()) == set(range(7))
    m.blocks = 4
    many = m._hidden(cells, gen()).flatten(1).sum(1)
    assert many.min() >= 16 and many.max() <= 64 and many.float().mean() > 30
    m.share = 0.9
    assert ((left := (~m._hidden(cells, gen())).sum(1)) > 0).all() and left.max() == 40, "where blocks cover all, half is drawn at random"


@pytest.mark.parametrize("method", ["data2vec", "ijepa"])
def test_goals_of_hidden_cells_are_normal_and_not_learned(method: str) -> None:
    """The teacher and the goal get no gradient; a head that is cut off leaves the student without any."""
    m, mod = built(method)
    (x,) = looked_at(m, mod, items("image"), raw=True)
    with torch.no_grad():
        m.head.weight.zero_()
    m([x], Context(gen(3), 0.2)).loss.backward()
    assert not any(p.grad is not None and p.grad.any() for part in (m.encoder, m.teacher) for p in part.parameters())
    assert m.head.weight.grad.any()


def test_data2vec_averages_the_upper_layers() -> None:
    m, mod = built("data2vec", layers=1)
    (x,) = looked_at(m, mod, items("image"), raw=True)
    every = torch.ones(6, 64, dtype=torch.bool)

    def goal(layers: int) -> Tensor:
        m.layers = layers
        return m._goal(x, every)

    last, both = goal(1), goal(2)
    assert torch.allclose(both.mean(1), torch.zeros(384), atol=1e-5) and torch.allclose(
        both.std(1, correction=0), torch.ones(384), atol=1e-3
    )
    blocks, kept = m.teacher.module.backbone.blocks, {}
    for k in (0, 1):
        blocks[k].register_forward_hook(lambda module, given, out, k=k: kept.update({k: nn.functional.instance_norm(out.mT).mT}))
    goal(2)
    assert torch.allclose(both, nn.functional.layer_norm((kept[0] + kept[1]).flatten(0, 1), (64,)), atol=1e-3)
    assert torch.allclose(last, nn.functional.layer_norm(kept[1].flatten(0, 1), (64,)), atol=1e-3) and not torch.allclose(
        last, both, atol=0.1
    )


# ---- from one vector ----


@pytest.mark.parametrize("kind", ["image", "ragged"])
@pytest.mark.parametrize("method", ["autoencoder", "denoising", "vae", "vime"])
def test_only_the_embedding_reaches_the_decoder(method: str, kind: str) -> None:
    m, mod = built(method, kind)
    (x,) = looked_at(m, mod, items(kind), raw=True)
    made, given = heard(m.encoder), []
    m.decoder.register_forward_pre_hook(lambda module, arguments: given.append(arguments))
    m([x], Context(gen(3), 0.2)).loss.backward()
    ((z, cells),) = given
    assert z.shape == (6, 64) and isinstance(cells, Cells) and cells.valid.dtype == torch.bool
    gradient, there = made[0].tokens.grad, made[0].valid
    for g, ok in zip(gradient, there, strict=True):  # the mean of the cells is all there is, so that each counts as much
        assert g[ok].any() and torch.allclose(g[ok], g[ok][:1].expand_as(g[ok]), rtol=1e-4, atol=1e-9) and not g[~ok].any()


def test_denoising_spoils_what_the_encoder_sees_and_leaves_gaps() -> None:
    m, _ = built("denoising", "series", noise=0.0, holes=0.3)
    x = torch.randn(50, 2, 48, generator=gen()) * torch.tensor([1.0, 10.0])[:, None] + 3
    x[:, :, 5] = torch.nan
    seen: list[Tensor] = []
    m.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0].x))
    m([Batch(x, torch.arange(50))], Context(gen(1), 0.2))
    m.noise, m.holes = 0.5, 0.0
    m([Batch(x, torch.arange(50))], Context(gen(1), 0.2))
    known = ~x.isnan()
    assert all(torch.equal(s.isnan(), x.isnan()) for s in seen)
    gone = known & (seen[0] != x)
    assert float(gone.sum() / known.sum()) == pytest.approx(0.3, abs=0.02)
    for c in (0, 1):
        assert torch.allclose(seen[0][:, c][gone[:, c]], x[:, c].nanmean(), atol=1e-4), "holes hold the mean"
        added = (seen[1] - x)[:, c][known[:, c]]
        assert float(added.std()) == pytest.approx(0.5 * float(x[:, c][known[:, c]].std()), rel=0.05) and abs(float(added.mean())) < 0.4


def test_a_vae_pays_for_what_its_clouds_tell() -> None:
    (free, mod), (dear, _) = built("vae", beta=0.0, code=4), built("vae", beta=3.0, code=4)
    views = looked_at(free, mod, items("image"))
    with torch.no_grad():
        one, two = free(views, Context(gen(3), 0.2)), dear(views, Context(gen(3), 0.2))
    assert float(one.loss) == float(one.log["error"]) == float(two.log["error"])
    far = float(two.log["divergence"])
    assert float(two.loss) == pytest.approx(float(one.loss) + 3 * far) and far > 0
    h = dear.encoder(views[0]).pooled
    cloud, origin = (torch.distributions.Normal(a, b) for a, b in ((dear.mean(h), (dear.log_variance(h) / 2).exp()), (0.0, 1.0)))
    want = torch.distributions.kl_divergence(cloud, origin).sum(1).mean() * 2 / (3 * 16 * 16)
    assert far == pytest.approx(float(want.detach()), rel=1e-4)
    with torch.no_grad():
        for part in (dear.mean, dear.log_variance):
            part.weight.zero_(), part.bias.zero_()
    assert float(dear(views, Context(gen(3), 0.2)).log["divergence"]) == 0.0, "clouds that are all the origin's tell nothing"


@pytest.mark.parametrize("kind", ["image", "vector"])
def test_sparse_codes_gain_nothing_by_longer_atoms(kind: str) -> None:
    m, mod = built("sparse", kind, atoms=9, sparsity=0.7)
    views = looked_at(m, mod, items(kind))
    before, scale = loss(m, views), torch.exp(torch.randn(9, generator=gen()))
    with torch.no_grad():
        m.code.weight *= scale[:, None]
        m.code.bias *= scale
        assert loss(m, views) != pytest.approx(before, rel=1e-2)
        m.dictionary.weight /= scale
    assert loss(m, views) == pytest.approx(before, rel=1e-4)
    m.sparsity = 0.0
    assert loss(m, views) < 0.99 * before


def test_the_critic_tells_apart_and_the_filling_deceives() -> None:
    m, mod = built("inpainting", adversarial=0.4)
    (x,) = looked_at(m, mod, items("image"), raw=True)
    m([x], Context(gen(3), 0.2)).loss.backward()
    got = {n: p.grad.clone() for n, p in m.named_parameters() if p.grad is not None}
    mask = block_mask(m.encoder.cells(x), m.ratio, m.block, gen(3))
    guess, target = m.head(m.encoder(x, mask=mask).tokens[mask]), m.encoder.target(x)
    error = target.distance(guess, mask)
    logits = m.critic(target.values[mask]), m.critic(guess)
    told = sum(
        full_precision(nn.functional.binary_cross_entropy_with_logits)(v, torch.full_like(v, y)) / 2
        for v, y in zip(logits, (1.0, 0.0), strict=True)
    )
    for n, p in m.named_parameters():
        of_error, of_telling = (torch.autograd.grad(v, p, retain_graph=True, allow_unused=True)[0] for v in (error, told))
        assert of_telling is not None and of_telling.any(), "also the encoder learns to deceive"
        want = 0.4 * of_telling if n.startswith("critic") else of_error - 0.4 * of_telling
        assert torch.allclose(got[n], want, atol=1e-5), n


# ---- the future ----


@pytest.mark.parametrize(("kind", "backbone"), [("image", "transformer"), ("series", "gru"), ("ragged", "transformer")])
def test_each_cell_is_predicted_from_those_before_it(kind: str, backbone: str) -> None:
    m, mod = built("autoregressive", kind, backbone)
    (x,) = looked_at(m, mod, items(kind), raw=True)
    valid, said = m.encoder.cells(x).valid, heard(m.head)
    asked, n = valid.clone(), valid.shape[1]
    asked[:, 0] = False
    m([x], Context(gen(), 0.2))
    assert m.deploy().causal and len(said[0]) == asked.sum(), "all but the first are asked for"
    for first in (0, 1, n // 2, int(valid.sum(1).min()) - 1):
        later = valid & (torch.arange(n) >= first)
        m([altered(m, x, later)], Context(gen(), 0.2))
        differs = torch.zeros(asked.shape)
        differs[asked] = (said[-1] - said[0]).abs().amax(1)
        after = asked & (torch.arange(n) > first)
        assert differs[~after].max() < 1e-5 and torch.equal((differs * after).amax(1) > 1e-3, after.any(1))


@pytest.mark.parametrize("kind", ["image", "ragged"])
def test_the_context_of_cpc_ends_with_its_window(kind: str) -> None:
    m, mod = built("cpc", kind, windows=8, anchors=8)
    (x,) = looked_at(m, mod, items(kind), raw=True)
    n = m.encoder.cells(x).valid.shape[1]
    wide, known = -(-n // 8), int(m.encoder.cells(x).valid.sum(1).min())
    count = -(-n // wide)
    places, contexts, keys = torch.randperm(count - 1, generator=gen(3)), [], heard(m.local)
    m.ahead[0].register_forward_pre_hook(lambda module, given: contexts.append(given[0].detach()))
    m([x], Context(gen(3), 0.2))
    assert contexts[0].shape == (6, count - 1, 64) and m.deploy().causal
    for cell in range(wide - 1, known, wide):  # the last cell of a window, and the first of the next one
        for first, begins in ((cell, cell // wide), (cell + 1, cell // wide + 1)):
            later = torch.arange(n).expand(6, n) >= first
            m([altered(m, x, later & m.encoder.cells(x).valid)], Context(gen(3), 0.2))
            differs = (contexts[-1] - contexts[0]).abs().amax((0, 2))
            assert torch.equal(differs > 1e-4, places >= begins), "what came before is unchanged, and its own window is all seen"
            assert torch.equal((keys[-1] - keys[0]).abs().amax(2)[:, :first] > 0, torch.zeros(6, first, dtype=torch.bool))


# ---- tasks that can be learned ----


def toy(task: str) -> tuple[Grid, Tensor]:
    """Items in which the answer can be seen."""
    noise = 0.05 * torch.randn(32, 3, 16, 16, generator=gen())
    if task == "rotation":
        return Image(Spec("image", 1, (16, 16), (0.5,), (0.3,))), ramp(32, (16, 16))[:, :1] + noise[:, :1]
    if task == "relative":
        return Image(Spec("image", 2, (24, 24), (0.5,) * 2, (0.3,) * 2)), ramp(32, (24, 24))
    if task == "colorization":  # dark is blue and bright is orange
        bright = (torch.rand(32, 1, 2, 2, generator=gen()) < 0.5).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
        return Image(Spec("image", 3, (16, 16), (0.5,) * 3, (0.3,) * 3)), torch.cat([bright, 0.2 + 0.3 * bright, 0.8 - 0.6 * bright], 1)
    return Series(Spec("series", 1, (48,), (0.5,), (0.3,))), ramp(32, (48,)) + noise[:, 0, :1, :1]


@pytest.mark.parametrize(("task", "floor"), [("rotation", 0.9), ("relative", 0.5), ("jigsaw", 0.6), ("arrow", 0.9), ("colorization", 0.0)])
def test_what_can_be_seen_is_learned(task: str, floor: float) -> None:
    mod, x = toy(task)
    m = make_method(mod, {"name": task}, {"name": "transformer", "size": "tiny"}, info_of(mod, 32), 0).train()
    optimizer, steps = torch.optim.AdamW(m.parameters(), 3e-3), []
    for t in range(60):
        optimizer.zero_grad()
        views = mod.views(Batch(x, torch.arange(32)), m.views, gen(t), m.encoder.cell)
        steps.append(m(views, Context(gen(t), t / 60)))
        steps[-1].loss.backward()
        optimizer.step()
    last = sum(float(s.loss.detach()) for s in steps[-5:]) / 5
    assert last < 0.5 * steps[0].chance, "better than guessing"
    if task == "colorization":
        assert last < 0.6 * math.log(2), "two colours, as often each, would cost log 2 without looking"
    else:
        assert sum(float(s.log["accuracy"]) for s in steps[-5:]) / 5 > floor
