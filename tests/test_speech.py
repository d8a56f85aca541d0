"""Methods of speech against slow versions of themselves: codes, distractors, clusters that are found anew, likeness."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tacit.codes import Gumbel, nearest, per_cell, perplexity
from tacit.methods.cola import COLA
from tacit.methods.wav2vec2 import chosen, rivals
from tacit.types import Cells, Tokens


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rivals_are_other_hidden_cells_of_the_same_item_and_all_are_as_likely() -> None:
    mask = torch.tensor([[1, 0, 1, 1, 1], [0, 0, 1, 0, 0], [1, 1, 0, 0, 0]]).bool()
    draws = torch.rand(int(mask.sum()), 4000, generator=gen())
    other, known = rivals(mask, draws)
    owner = mask.nonzero()[:, 0]
    assert known.tolist() == [True] * 4 + [False] + [True] * 2
    for k in range(len(owner)):
        if known[k]:
            assert (owner[other[k]] == owner[k]).all() and (other[k] != k).all()
    count = other[0].bincount(minlength=4)[1:4] / 4000
    assert torch.allclose(count, torch.full((3,), 1 / 3), atol=0.05)


def test_choice_of_the_code_is_the_slow_loop_and_equal_codes_are_no_rivals() -> None:
    g, c = torch.randn(5, 8, generator=gen(1)), torch.randn(5, 8, generator=gen(2))
    others = torch.tensor([[1, 2, 3], [0, 2, 2], [1, 0, 0], [4, 4, 4], [3, 3, 3]])
    known = torch.tensor([True, True, True, True, False])
    taken = torch.tensor([[0, 1], [0, 1], [2, 2], [3, 3], [4, 4]])
    total = []
    for k in range(4):
        right = F.cosine_similarity(g[k], c[k], dim=0) / 0.1
        wrong = [F.cosine_similarity(g[k], c[o], dim=0) / 0.1 for o in others[k].tolist() if taken[o].tolist() != taken[k].tolist()]
        total.append(-(right - torch.logsumexp(torch.stack([right, *wrong]), 0)))
    assert chosen(g, c, others, known, taken, 0.1).item() == pytest.approx(torch.stack(total).mean().item(), rel=1e-5)


def test_gumbel_draws_follow_the_softmax_and_gradients_reach_scores_and_entries() -> None:
    torch.manual_seed(0)
    book = Gumbel(3, 1, 4, 5)
    x = torch.randn(1, 3).expand(20_000, 3)
    codes, use, taken = book(x, 1.0, torch.rand(20_000, 1, 4, generator=gen()))
    assert codes.shape == (20_000, 5) and torch.allclose(use.sum(-1), torch.ones(1))
    share = taken[:, 0].bincount(minlength=4) / 20_000
    assert torch.allclose(share, use[0].detach(), atol=0.02)
    codes.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in book.parameters())
    assert perplexity(torch.full((2, 8), 1 / 8)).item() == pytest.approx(16.0, rel=1e-4)
    assert perplexity(F.one_hot(torch.tensor([3]), 8).float()).item() == pytest.approx(1.0, rel=1e-4)


def test_the_nearest_centre_and_the_mean_of_a_cell() -> None:
    x, centres = torch.randn(7, 3, 4, generator=gen()), torch.randn(5, 4, generator=gen(1))
    assert torch.equal(nearest(x, centres), torch.cdist(x, centres).argmin(-1))
    tokens = Tokens(torch.arange(12.0).view(1, 6, 2), torch.tensor([[1, 1, 1, 1, 1, 0]]).bool(), (6,))
    means = per_cell(tokens, Cells((3,), torch.ones(1, 3).bool()), (2,))
    assert torch.allclose(means[0], torch.tensor([[1.0, 2.0], [5.0, 6.0], [8.0, 9.0]]))


def test_likeness_of_parts_is_a_cross_entropy_over_items() -> None:
    from conftest import small
    from tacit.assemble import info_of, make_method, make_modality

    mod = make_modality(small("audio").spec, {})
    built = make_method(mod, {"name": "cola", "out": 6}, {"name": "spectral", "size": "tiny"}, info_of(mod, 28), 0)
    assert isinstance(built, COLA)
    a, b = torch.randn(4, 6, generator=gen()), torch.randn(4, 6, generator=gen(1))
    ids = torch.tensor([3, 1, 4, 5])
    want = torch.stack([-(a[i] @ built.likeness @ b.T).log_softmax(0)[i] for i in range(4)]).mean()
    assert built._loss(a, b, ids, ids).item() == pytest.approx(want.item(), rel=1e-5)
    twice = torch.tensor([3, 1, 3, 5])  # the same item twice in a batch is no rival of itself
    assert built._loss(a, b, twice, twice).isfinite()
    assert math.isfinite(built._loss(a, b, twice, twice).item())


def test_hubert_finds_clusters_after_the_first_step_and_anew_in_the_second_round() -> None:
    import numpy as np

    from conftest import small
    from tacit.assemble import info_of, make_method, make_modality
    from tacit.training.loader import Loader
    from tacit.types import Context

    data = small("audio")
    mod = make_modality(data.spec, {"tall": 0, "patch": 2})
    built = make_method(mod, {"name": "hubert", "entries": 6, "rows": 256}, {"name": "transformer", "size": "tiny"}, info_of(mod, 28), 0)
    loader = Loader(data, data.train, mod, torch.device("cpu"))
    seen = []
    for step, progress in enumerate((0.0, 0.2, 0.5, 0.6, 0.9)):
        views = mod.views(loader.batch(np.arange(8)), built.views, gen(step), built.encoder.cell)
        ctx = Context(gen(step), progress)
        seen.append(float(built(views, ctx).log["codes"]))
        if step == 2:
            with torch.no_grad():  # as training would
                for p in built.encoder.parameters():
                    p.add_(0.1)
        built.after_step(ctx)
    assert seen[0] == pytest.approx(1.0, abs=1e-3) and seen[1] > 2.5  # no clusters yet, then clusters of what cells hold
    assert built.state[0] == 1 and built.later.abs().sum() > 0
    teacher, student = built.teacher.module.state_dict(), built.encoder.state_dict()
    assert all(torch.equal(teacher[k], student[k]) for k in teacher)  # nothing was trained here, and the copy was taken


def test_codes_of_a_random_book_are_the_slow_loop_and_never_trained() -> None:
    from conftest import small
    from tacit.assemble import info_of, make_method, make_modality
    from tacit.masking import block_mask
    from tacit.types import Batch, Context

    mod = make_modality(small("series").spec, {})
    built = make_method(mod, {"name": "bestrq", "entries": 7, "width": 3}, {"name": "transformer", "size": "tiny"}, info_of(mod, 28), 0)
    assert {n for n, p in built.named_parameters() if not n.startswith("encoder.")} == {"head.weight", "head.bias"}
    batch = Batch(torch.randn(6, 2, 48, generator=gen()), torch.arange(6))
    step = built([batch], Context(gen(5), 0.0))
    mask = block_mask(built.encoder.cells(batch), built.ratio, built.span, gen(5))
    held = built.encoder.target(batch, raw=True).values[mask]
    held = (held - held.mean(0)) / held.std(0, correction=0).clamp(min=1e-5)
    logits, total = built.head(built.encoder(batch, mask=mask).tokens[mask]), 0.0
    for k, row in enumerate(held):
        z = row @ built.projection
        best = max(range(7), key=lambda j: float(F.cosine_similarity(z, built.codebook[j], dim=0)))
        total += (-logits[k].log_softmax(0)[best]).item()
    assert float(step.loss) == pytest.approx(total / len(held), rel=1e-5)


def test_enhancement_starts_as_the_identity_and_its_loss_is_the_slow_loop() -> None:
    import numpy as np

    from conftest import small
    from tacit.assemble import info_of, make_method, make_modality
    from tacit.training.loader import Loader
    from tacit.types import Context

    data = small("audio")
    mod = make_modality(data.spec, {})
    built = make_method(mod, {"name": "enhancement"}, {"name": "spectral", "size": "tiny"}, info_of(mod, 28), 0)
    (view,) = mod.views(Loader(data, data.train, mod, torch.device("cpu")).batch(np.arange(8)), built.views, gen(), built.encoder.cell)
    assert view.answer is not None and view.valid is not None
    mean, std = data.spec.extra["measured"]["logmel"]
    away = view.answer - (view.x - mean) / std
    assert float(away.abs().mean()) > 0.1  # noise was added
    loss, count = 0.0, 0
    tall, wide = built.encoder.cell
    there = view.valid.view(8, tall, -1)
    for i in range(8):
        for start in range(0, away.shape[-1], wide):
            if not there[i, 0, start]:
                continue
            cell = F.pad(away[i, 0, :, start : start + wide], (0, max(0, start + wide - away.shape[-1])))
            loss += float(F.smooth_l1_loss(torch.zeros_like(cell), cell))
            count += 1
    assert float(built([view], Context(gen(), 0.0)).loss) == pytest.approx(loss / count, rel=1e-4)
