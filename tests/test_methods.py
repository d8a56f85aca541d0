"""Every method's loss of one step is its slow loop, and methods that compare views or cluster them keep what they promise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import slow_methods as slow
from slow_methods import ITEMS, built, cosine, gen, items, looked_at, rows
from tacit import registry
from tacit.methods import dino, swav
from tacit.modality import Modality
from tacit.training.loop import deterministic
from tacit.types import Batch, Context, Views


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with deterministic():
        yield


def loss(m: Any, views: list[Batch], progress: float = 0.0) -> float:
    return float(m(views, Context(gen(), progress)).loss.detach())


SMALL: dict[str, Any] = {"hidden": 16, "out": 6}
SPAN: dict[str, Any] = {"kind": "series"}
RAW: dict[str, Any] = {"kind": "ragged", "raw": True}
DENSE: dict[str, Any] = {"backbone": "convnet"}
WORDS: dict[str, Any] = {"kind": "text", "raw": True}
MIXED = {"parts": "simclr,deepcluster,rotation,supervised", "weights": "1,0.5,2,0.25"}
# what is tried: the loop, and options of `built` and of the method
CASES: dict[str, tuple[Callable[..., float], dict[str, Any]]] = {
    "simclr": (slow.slow_simclr, {}),
    "supcon": (slow.slow_supcon, {}),
    "triplet": (slow.slow_triplet_method, {"margin": 0.5}),
    "moco": (slow.slow_moco, {}),
    "moco, queue": (slow.slow_moco, {"queue": 12, **DENSE}),
    "moco, queue that is not full": (slow.slow_moco, {"queue": 20}),
    "nnclr": (slow.slow_nnclr, {"queue": 10}),
    "nnclr, queue that is full": (slow.slow_nnclr, {"queue": 4, **SPAN}),
    "byol": (slow.slow_byol, {}),
    "byol, dense": (slow.slow_byol, DENSE),
    "simsiam": (slow.slow_simsiam, {"out": 12, "bottleneck": 3}),
    "dino": (slow.slow_dino, {"prototypes": 9, **DENSE}),
    "dino, local views": (slow.slow_dino, {"prototypes": 9, "local": 3, "teacher_temperature": 0.07}),
    "dino, centre": (slow.slow_dino, {"prototypes": 9, "local": 1, "teacher_temperature": 0.07, "balance": "centre"}),
    "data2vec": (slow.slow_data2vec, {"layers": 2, "beta": 0.5}),
    "data2vec, ragged": (slow.slow_data2vec, {"layers": 1, "kind": "ragged", "raw": True}),
    "ijepa": (slow.slow_ijepa, {}),
    "ijepa, ragged": (slow.slow_ijepa, {"blocks": 2, **RAW}),
    "lejepa": (slow.slow_lejepa, {**SMALL, "directions": 5, "local": 2}),
    "barlow": (slow.slow_barlow, SMALL),
    "vicreg": (slow.slow_vicreg, {**SMALL, **DENSE}),
    "swav": (slow.slow_swav, {"prototypes": 5, "local": 2}),
    "swav, queue": (slow.slow_swav, {"prototypes": 5, "queue": 10, "wait": 0.1, "local": 1, **DENSE}),
    "swav, queue that waits": (slow.slow_swav, {"prototypes": 5, "queue": 10, "wait": 0.3}),
    "deepcluster": (slow.slow_deepcluster, {"clusters": 5}),
    "deepcluster, local views": (slow.slow_deepcluster, {"clusters": 5, "local": 2, **DENSE}),
    "selftraining": (slow.slow_selftraining, {"clusters": 5}),
    "selftraining, labels": (slow.slow_selftraining, {"start": "labels", "smoothing": 0.0, **DENSE}),
    "autoencoder": (slow.slow_autoencoder, {}),
    "autoencoder, ragged": (slow.slow_autoencoder, RAW),
    "denoising": (slow.slow_denoising, {}),
    "denoising, ragged": (slow.slow_denoising, RAW),
    "vae": (slow.slow_vae, {"code": 3, "beta": 2.0}),
    "sparse": (slow.slow_sparse, {"atoms": 7}),
    "sparse, ragged": (slow.slow_sparse, {"atoms": 7, **RAW}),
    "inpainting": (slow.slow_inpainting, {}),
    "inpainting, adversarial": (slow.slow_inpainting, {"adversarial": 0.3, **DENSE}),
    "inpainting, ragged": (slow.slow_inpainting, RAW),
    "mae": (slow.slow_mae, {}),
    "mae, ragged": (slow.slow_mae, RAW),
    "autoregressive": (slow.slow_autoregressive, {}),
    "autoregressive, ragged": (slow.slow_autoregressive, RAW),
    "autoregressive, one sample a cell": (slow.slow_autoregressive, {"backbone": "gru", **SPAN}),
    "cpc": (slow.slow_cpc, {"windows": 5, "anchors": 2}),
    "cpc, more steps ahead than windows": (slow.slow_cpc, {"windows": 2, **SPAN}),
    "cpc, ragged": (slow.slow_cpc, {"windows": 6, **RAW}),
    "rotation": (slow.slow_task, DENSE),
    "jigsaw": (slow.slow_task, {}),
    "relative": (slow.slow_task, DENSE),
    "arrow": (slow.slow_task, SPAN),
    "colorization": (slow.slow_colorization, {}),
    "colorization, cells that reach beyond the edge": (slow.slow_colorization, {"patch": 6}),
    "colorization, dense": (slow.slow_colorization, {"bins": 3, **DENSE}),
    "scarf": (slow.slow_scarf, {"temperature": 0.3}),
    "scarf, dense": (slow.slow_scarf, DENSE),
    "scarf, ragged": (slow.slow_scarf, RAW),
    "vime": (slow.slow_vime, {"alpha": 1.5}),
    "vime, ragged": (slow.slow_vime, RAW),
    "subtab": (slow.slow_subtab, {"overlap": 0.5, "contrast": 0.7, "distance": 1.3}),
    "subtab, noise": (slow.slow_subtab, {"subsets": 3, "noise": 0.3, **SPAN}),
    "subtab, ragged": (slow.slow_subtab, RAW),
    "stunt": (slow.slow_stunt, {}),
    "stunt, dense": (slow.slow_stunt, {"ways": 2, "shots": 2, **DENSE}),
    "stunt, ragged": (slow.slow_stunt, {"backbone": "gru", **RAW}),
    "supervised": (slow.slow_supervised, {}),
    "supervised, numbers": (slow.slow_supervised, {"numbers": True}),
    "combine": (slow.slow_combine, MIXED),
    "mlm": (slow.slow_mlm, WORDS),
    "mlm, cell by cell": (slow.slow_mlm, {"whole": False, "swapped": 0.5, "kept": 0.2, "ratio": 0.5, **WORDS}),
    "simcse": (slow.slow_simcse, {"backbone": "roformer", "kind": "text"}),
    "electra": (slow.slow_electra, WORDS),
    "tsdae": (slow.slow_tsdae, WORDS),
    "spans": (slow.slow_spans, {"ratio": 0.4, "block": 2, **WORDS}),
    "word2vec": (slow.slow_word2vec, {"backbone": "bag", **WORDS}),
    "word2vec, pairs": (slow.slow_word2vec, {"backbone": "bag", "knobs": {"pairs": 50, "width": 8, "sif": 0.1}, **WORDS}),
    "word2vec, window": (slow.slow_word2vec, {"backbone": "bag", "window": 2, "frequent": 0.1, **WORDS}),
    "word2vec, skipgram": (slow.slow_word2vec, {"backbone": "bag", "mode": "skipgram", "window": 3, **WORDS}),
}


def name_of(case: str) -> str:
    return case.partition(",")[0]


def at_work(case: str) -> tuple[Any, Modality, list[Batch]]:
    """The method of a case after a step on other items, with what it sees next."""
    options = dict(CASES[case][1])
    kind, raw = options.get("kind", "image"), options.pop("raw", False)
    m, mod = built(name_of(case), **options)
    if m.surveys:
        m.survey(torch.randn(ITEMS, m.encoder.dim, generator=gen(4)), Context(gen(5), 0.0))
    before, now = items(kind, start=20), items(kind, start=9)
    if options.get("numbers"):
        before, now = (replace(b, label=torch.where(b.label < 0, torch.nan, b.label * 0.7)) for b in (before, now))
    m(looked_at(m, mod, before, raw), Context(gen(2), 0.0))  # fills queues, moves centres
    return m, mod, looked_at(m, mod, now, raw)


def test_every_method_has_a_loop() -> None:
    elsewhere = {"ts2vec", "bestrq", "cola", "enhancement", "hubert", "wav2vec2"}
    assert {name_of(c) for c in CASES} | elsewhere == set(registry.names("methods")), "those are in test_losses.py and test_speech.py"


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_loop(case: str) -> None:
    m, mod, views = at_work(case)
    with torch.no_grad():
        want = CASES[case][0](m, mod, views, Context(gen(3), 0.2))
        step = m(views, Context(gen(3), 0.2))
    assert step.loss.dtype == torch.float32 and want > 1e-3
    assert float(step.loss) == pytest.approx(want, rel=2e-4, abs=1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if c not in ("triplet", "moco, queue that is not full", "stunt")])
def test_chance_is_the_loss_of_a_network_that_says_nothing(case: str) -> None:
    """Where the loss is an average over many kinds of guesses, about."""
    m, mod, views = at_work(case)
    if m.views.weak == 1:
        views = looked_at(m, mod, items(CASES[case][1].get("kind", "image")), raw=True)  # cropping makes noise smoother
    with torch.no_grad():
        for p in m.parameters():
            p.zero_()
        if name_of(case) == "dino":
            m.center.zero_()
        step = m(views, Context(gen(3), 0.2))
    if step.chance is None:
        assert (
            name_of(case) in ("data2vec", "ijepa", "lejepa", "barlow", "vicreg", "mae", "electra")
            or "numbers" in case
            or "adversarial" in case
        )
    else:
        average = m.views.weak or "error" in step.log  # a few cells of data that is only about standardised, and as many rivals as fit
        assert float(step.loss) == pytest.approx(step.chance, rel=0.25 if average else 1e-3)


# ---- what gets no gradient ----


@pytest.mark.parametrize("method", ["simsiam", "byol", "moco", "nnclr"])
def test_nothing_is_learned_from_the_goal(method: str) -> None:
    """With a predictor that says the same of everything, a gradient could come through the goal alone."""
    for deaf in (False, True):
        m, mod = built(method)
        views = looked_at(m, mod, items("image"))
        if deaf:
            with torch.no_grad():
                m.predictor[0].weight.zero_()
        m(views, Context(gen(), 0.0)).loss.backward()
        learned = [bool(p.grad is not None and p.grad.any()) for part in (m.encoder, m.projector) for p in part.parameters()]
        assert not any(learned) if deaf else all(learned)
        assert any(p.grad is not None and bool(p.grad.any()) for p in m.predictor.parameters())


@pytest.mark.parametrize(("method", "module"), [("swav", swav), ("dino", dino)])
def test_soft_goals_have_no_gradient_and_come_from_large_views(method: str, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    m, mod = built(method, prototypes=5, local=3)
    pairs: list[tuple[Tensor, Tensor]] = []
    real = module.soft_cross_entropy
    monkeypatch.setattr(module, "soft_cross_entropy", lambda logits, goal: (pairs.append((logits, goal)), real(logits, goal))[1])
    m(looked_at(m, mod, items("image")), Context(gen(), 0.0))
    said, goals = ({tuple(p[k].flatten().tolist()) for p in pairs} for k in (0, 1))
    assert (len(said), len(goals), len(pairs)) == (5, 2, 2 * (5 - 1)), "every view predicts the goals of the other large ones"
    for z, goal in pairs:
        assert z.requires_grad and not goal.requires_grad and torch.allclose(goal.sum(1), torch.ones(6), atol=1e-5)


# ---- queues ----


def test_moco_remembers_the_keys_of_both_views_in_order() -> None:
    m, mod = built("moco", queue=16)
    past: list[tuple[int, list[float]]] = []
    for start in (0, 6, 12):
        views = looked_at(m, mod, items("image", start))
        with torch.no_grad():
            keys = [m.teacher_projector(f.pooled) for f in m.teacher.each(views)]
        m(views, Context(gen(), 0.0))
        past += [(int(i), row) for k, v in zip(keys, views, strict=True) for i, row in zip(v.ids, rows(k), strict=True)]
        for n, (who, row) in list(enumerate(past))[-16:]:
            assert int(m.queue.ids[n % 16]) == who and rows(m.queue.rows)[n % 16] == pytest.approx(row, abs=1e-6)
    m.eval()
    before = m.queue.rows.clone()
    m(views, Context(gen(), 0.0))
    assert torch.equal(m.queue.rows, before) and not before.requires_grad, "only training is remembered"


def test_moco_compares_with_the_past_of_other_items_only() -> None:
    m, _ = built("moco", queue=6)
    query, key, ids = torch.randn(1, 128, generator=gen()), torch.randn(3, 128, generator=gen(1)), torch.tensor([4])
    m.queue.push(torch.randn(4, 128, generator=gen(2)), torch.tensor([4, 9, 4, 8]))
    m.queue.rows.requires_grad_()
    m._loss(query, key, ids, torch.tensor([3, 4, 5])).backward()
    assert m.queue.rows.grad.any(1).tolist() == [False, True, False, True, False, False], "neither itself nor what is empty"


def test_a_queue_without_anything_is_version_3() -> None:
    (with_queue, mod), (without, _) = built("moco", queue=8), built("moco")
    views = looked_at(without, mod, items("image"))
    alone = loss(without, views)
    assert loss(with_queue, views) == pytest.approx(alone, rel=1e-6) and without.queue is None
    assert loss(with_queue, views) > 1.05 * alone, "with negatives of the past it is harder"


def test_nnclr_puts_the_nearest_neighbour_in_the_place_of_the_item() -> None:
    m, mod = built("nnclr", queue=5)
    views = looked_at(m, mod, items("image"))
    raw = [m.projector(h).detach() for h in slow.pooled(m, views)]
    z, guesses = [nn.functional.normalize(v, dim=1) for v in raw], [rows(m.predictor(v)) for v in raw]

    def pulled_to(goals: list[list[list[float]]]) -> float:
        scores = [[{j: cosine(g, p) / m.temperature for j, p in enumerate(guesses[1 - i])} for g in goals[i]] for i in (0, 1)]
        return -slow.mean(slow.log_softmax_at(s, b) for view in scores for b, s in enumerate(view))

    assert loss(m, views) == pytest.approx(pulled_to([rows(v) for v in z]), rel=1e-4), "no past: the item itself"
    far = -z[0].mean(0)  # like no item at all, but it is all the past there is
    m.queue.rows[:], m.queue.ids[:] = nn.functional.normalize(far, dim=0), 99
    assert loss(m, views) == pytest.approx(pulled_to([[rows(far)] * 6] * 2), rel=1e-4)
    assert torch.allclose(m.queue.rows, raw[0][-5:], atol=1e-6) and m.queue.ids.tolist() == views[0].ids[-5:].tolist(), "first views"


def test_nnclr_takes_another_item_than_its_own_past() -> None:
    m, mod = built("nnclr", queue=12)
    views = looked_at(m, mod, items("image"))
    z = [m.projector(h).detach() for h in slow.pooled(m, views)]
    m.queue.push(torch.cat(z), torch.cat([v.ids for v in views]))  # the nearest of all is itself
    unit = [nn.functional.normalize(v, dim=1) for v in (z[0], m.queue.rows)]
    near = (unit[0] @ unit[1].T).masked_fill(views[0].ids[:, None] == m.queue.ids, -2.0)
    assert torch.equal(m._neighbour(z[0], views[0].ids), m.queue.rows[near.argmax(1)])
    m.queue.ids[:] = 3
    assert torch.equal(m._neighbour(z[0], views[0].ids)[3], z[0][3]), "where all the past is its own there is no neighbour"


def test_swav_assigns_along_with_the_queue_after_its_wait_only() -> None:
    m, mod = built("swav", prototypes=5, queue=8, wait=0.5)
    views = looked_at(m, mod, items("image"))
    losses = {}
    for fill in (3, 4):
        for progress in (0.49, 0.5):
            m.queue.push(torch.randn(8, 128, generator=gen(fill)))
            losses[fill, progress] = loss(m, views, progress)
    assert losses[3, 0.49] == losses[4, 0.49] and losses[3, 0.5] != losses[4, 0.5]
    m.queue.pushed.zero_()
    assert loss(m, views, 1.0) == losses[3, 0.49], "an empty queue adds nothing"


# ---- labels ----


def test_supcon_without_a_known_label_is_simclr() -> None:
    (sup, mod), (sim, _) = built("supcon", temperature=0.3), built("simclr", temperature=0.3)
    views = looked_at(sup, mod, items("image"))
    unknown = [replace(v, label=torch.full_like(v.ids, -1)) for v in views]
    alone = loss(sim, views)
    assert loss(sup, unknown) == alone == loss(sup, [replace(v, label=None) for v in views])
    assert loss(sup, views) != alone
    apart = [replace(v, label=torch.arange(6)) for v in views]
    assert loss(sup, apart) == pytest.approx(alone, rel=1e-6), "classes of one item each"


def test_an_unlabelled_item_of_supcon_belongs_to_no_class() -> None:
    """Item 1 has the id of class 1, item 2 the label 2: neither numbers meet."""
    m, mod = built("supcon")
    views = looked_at(m, mod, items("image"))
    label = torch.tensor([-1, -1, 2, 1, 0, 0])
    want = slow.slow_info_nce(m.projector(torch.cat(slow.pooled(m, views))), [10, 11, 2, 1, 0, 0] * 2, m.temperature)
    assert loss(m, [replace(v, label=label) for v in views]) == pytest.approx(want, rel=1e-4)


# ---- centres and sharpening ----


def test_dino_moves_its_centre_to_what_the_teacher_says_of_large_views() -> None:
    m, mod = built("dino", prototypes=7, local=2, balance="centre", centring=0.8)
    views, seen = looked_at(m, mod, items("image")), []
    m.teacher.module.register_forward_pre_hook(lambda module, given: seen.append(given[0].x.shape))
    want = torch.randn(7, generator=gen())
    m.center.copy_(want)
    for _ in range(3):
        said = torch.cat([m.teacher_head(f.pooled) for f in m.teacher.each(views[:2])])
        want = 0.8 * want + 0.2 * said.mean(0)
        m(views, Context(gen(), 0.0))
        assert torch.allclose(m.center, want, atol=1e-5)
    assert {tuple(s) for s in seen} == {(12, 3, 16, 16)} and views[2].x.shape[-1] < 16, "the teacher never looks at small views"
    m.eval()
    m(views, Context(gen(), 0.0))
    assert torch.allclose(m.center, want, atol=1e-5)


def test_dino_sharpens_over_the_first_third() -> None:
    m, mod = built("dino", prototypes=7, balance="centre", warm_temperature=1.0, teacher_temperature=0.05)
    views = looked_at(m, mod, items("image"))
    m.eval()  # the centre stays
    entropy = [float(m(views, Context(gen(), t)).log["teacher_entropy"]) for t in (0.0, 0.2, 1 / 3, 1.0)]
    assert math.log(7) > entropy[0] > entropy[1] > entropy[2] and entropy[3] == pytest.approx(entropy[2], rel=1e-4)
    sharp = m.teacher_head(m.teacher(views[0]).pooled)
    m.center.copy_(sharp.mean(0))
    assert float(m(views, Context(gen(), 1.0)).log["teacher_entropy"]) != pytest.approx(entropy[3], rel=1e-3), "centred before"


# ---- guesses about all items ----


def bundles() -> tuple[Tensor, Tensor]:
    """Embeddings of all items near four directions, and which direction each is near."""
    which = torch.arange(ITEMS) % 4
    return torch.eye(4, 64)[which] * 3 + 0.05 * torch.randn(ITEMS, 64, generator=gen()), which


def same_parts(a: Tensor, b: Tensor) -> bool:
    """Whether two labellings divide the items in the same way, whatever their numbers."""
    return torch.equal(a[:, None] == a[None], b[:, None] == b[None])


@pytest.mark.parametrize(("method", "options"), [("deepcluster", {"out": 64}), ("selftraining", {})])
def test_a_survey_gives_each_item_its_own_cluster_whatever_the_order(method: str, options: dict[str, Any]) -> None:
    z, which = bundles()
    for order in (torch.arange(ITEMS), torch.randperm(ITEMS, generator=gen(1))):
        m, mod = built(method, clusters=4, **options)
        m.projector = nn.Identity()
        views = looked_at(m, mod, items("image"))
        assert m.surveys and loss(m, views) == 0.0, "before the first there is nothing to learn"
        m.survey(z[order] + (1e4 if method == "selftraining" else 0), Context(gen(2), 0.0))  # which centres them itself
        assert same_parts(m.labels, which[order]) and len(m.labels.unique()) == 4
        assert loss(m, views) > 0.1
        if method == "deepcluster":
            assert torch.allclose(m.centres[m.labels], nn.functional.normalize(z[order], dim=1), atol=0.3), "labels number the centres"


def reader(m: Any) -> None:
    """A head that reads the class off the first numbers of an embedding."""
    with torch.no_grad():
        m.head.weight.copy_(torch.eye(m.k, 64))
        m.head.bias.zero_()


def test_selftraining_trains_on_sure_guesses_until_they_settle() -> None:
    m, _ = built("selftraining", clusters=4, confidence=0.8, settled=0.1)
    z, which = bundles()
    m.survey(z, Context(gen(), 0.0))
    clusters = m.labels.clone()
    assert same_parts(clusters, which) and not m.final
    reader(m)
    new = torch.randint(0, 4, (ITEMS,), generator=gen(3))
    seen = torch.eye(4, 64)[new] * 9
    seen[:10] = 0.1  # the head cannot tell
    m.survey(seen, Context(gen(), 0.1))
    assert m.labels[:10].tolist() == [-1] * 10 and torch.equal(m.labels[10:], new[10:]) and not m.final
    m.survey(torch.eye(4, 64)[torch.zeros(ITEMS, dtype=torch.int64)] * 9, Context(gen(), 0.2))
    assert torch.equal(m.labels[10:], new[10:]) and not m.final, "one class for all would teach nothing"
    new[20:24] = (new[20:24] + 1) % 4
    m.survey(torch.eye(4, 64)[new] * 9, Context(gen(), 0.3))
    assert torch.equal(m.labels, new) and not m.final, "14 of 40 changed"
    new[30:33] = (new[30:33] + 1) % 4
    m.survey(torch.eye(4, 64)[new] * 9, Context(gen(), 0.4))
    assert torch.equal(m.labels, new) and m.final, "3 of 40 are fewer than a tenth"
    m.survey(torch.eye(4, 64)[(new + 1) % 4] * 9, Context(gen(), 0.5))
    assert torch.equal(m.labels, new), "settled for good"


def test_selftraining_from_labels_keeps_them() -> None:
    m, mod = built("selftraining", start="labels", confidence=0.8, smoothing=0.0)
    assert m.k == 3 and "some labels" in m.needs and not built("selftraining")[0].needs
    views = looked_at(m, mod, items("image"))
    label = views[0].label
    m.survey(50 * torch.randn(ITEMS, 64, generator=gen()), Context(gen(), 0.0))
    assert set(m.labels.tolist()) == {-1}, "nothing is guessed before anything was learned"
    known = label >= 0
    said = [m.head(h) for h in slow.pooled(m, views)]
    want = slow.mean(slow.entropy_of(s, y) for part in said for s, y in zip(rows(part[known]), label[known].tolist(), strict=True))
    assert loss(m, views) == pytest.approx(want, rel=1e-4), "the known ones alone"
    reader(m)
    wrong = (torch.cat([label, label.new_zeros(ITEMS - 6)]) + 1) % 3
    m.survey(torch.eye(3, 64)[wrong] * 9, Context(gen(), 0.1))
    assert torch.equal(m.labels, wrong)
    goal, said = torch.where(known, label, wrong[:6]), [m.head(h) for h in slow.pooled(m, views)]
    want = slow.mean(slow.entropy_of(s, y) for part in said for s, y in zip(rows(part), goal.tolist(), strict=True))
    assert loss(m, views, 0.1) == pytest.approx(want, rel=1e-4), "guesses where there is no label"


# ---- agreement ----


@pytest.mark.parametrize("method", ["barlow", "vicreg", "lejepa", "simsiam", "byol"])
def test_the_two_views_count_alike(method: str) -> None:
    m, mod = built(method)
    views = looked_at(m, mod, items("image"))
    swapped = [views[1], views[0], *views[2:]]
    assert loss(m, views) == pytest.approx(loss(m, swapped), rel=1e-4)


def test_views_that_agree_cost_only_their_shape() -> None:
    m, mod = built("lejepa")
    view = looked_at(m, mod, items("image"))[0]
    log = m([view, view], Context(gen(), 0.0)).log
    assert float(log["agreement"]) == pytest.approx(0.0, abs=1e-10) and float(log["shape"]) > 0
    b, _ = built("barlow")
    assert float(b([view, view], Context(gen(), 0.0)).log["same"]) == pytest.approx(0.0, abs=1e-3)
    many = built("lejepa", local=3)[0]
    assert many.views == Views(global_=2, local=3)
    first, second, *rest = looked_at(many, mod, items("image"))
    agreements = [float(many([first, second, *r], Context(gen(), 0.0)).log["agreement"]) for r in (rest, rest[:2], rest[::-1])]
    assert agreements[0] != agreements[1] and agreements[0] == pytest.approx(agreements[2], rel=1e-4), "every small view counts"
