"""Every method on every kind of data does what a method must; all backbones under `make test-slow`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conftest import KINDS, small
from tacit import registry
from tacit.assemble import info_of, make_method, make_modality, needs_before
from tacit.config import RunConfig, TrainConfig
from tacit.errors import CannotPair
from tacit.method import Method
from tacit.teacher import Teacher
from tacit.training.loader import Loader
from tacit.training.loop import Loop, deterministic, make_fabric
from tacit.types import LABELS, OF_DATA, Batch, Context

METHODS, BACKBONES = registry.names("methods"), list(registry.every("backbones"))
# one network that can all there is; what only the others can is in the slow run
# and a table asks for all that a vector does
PAIRS = [(m, k, "transformer") for m in METHODS for k in KINDS if k != "vector"]
VECTORS = [pytest.param(m, "vector", "transformer", marks=pytest.mark.slow) for m in METHODS]
ALL = [pytest.param(m, k, b, marks=pytest.mark.slow) for m in METHODS for k in KINDS for b in BACKBONES if b != "transformer"]
EVERY = pytest.mark.parametrize(("method", "kind", "backbone"), [*PAIRS, *VECTORS, *ALL])


def loop_of(method: str, kind: str, backbone: str, precision: str = "32-true", seed: int = 0) -> Loop:
    """A loop of 6 steps on small data. Raises CannotPair for what does not fit."""
    data = small(kind)
    config = RunConfig(
        data={},
        modality={},
        method={"name": method},
        backbone={"name": backbone, "size": "tiny"},
        train=TrainConfig(steps=6, batch=8, seed=seed),
        precision=precision,
    )
    mod = make_modality(data.spec, {})
    built = make_method(mod, config.method, config.backbone, info_of(mod, len(data.train), 2), seed)
    loader = Loader(data, data.train, mod, torch.device("cpu"), labels=bool(built.needs & LABELS))
    return Loop.build(make_fabric(config), built, loader, mod, config)


def fitting(method: str, kind: str, backbone: str, **options: object) -> Loop:
    try:
        return loop_of(method, kind, backbone, **options)  # type: ignore[arg-type]
    except CannotPair as error:
        pytest.skip(f"refused, see test_what_cannot_work_is_refused: {error.message}")


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with deterministic():
        yield


def weights(loop: Loop) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in loop.method.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@EVERY
def test_finite_float32_loss_and_a_gradient_for_everything(method: str, kind: str, backbone: str, precision: str) -> None:
    loop = fitting(method, kind, backbone, precision=precision)
    seen: dict[str, Tensor] = {}
    loop.optimizer.zero_grad = lambda **options: None  # type: ignore[method-assign] gradients add up and can be looked at
    for _ in range(3):
        step = loop.advance()
        assert step.loss.dtype == torch.float32 and step.loss.ndim == 0 and step.loss.isfinite()
        assert step.embedding.shape == (8, loop.method.encoder.dim) and step.embedding.isfinite().all()
        assert not step.embedding.requires_grad and all(v.isfinite() for v in step.log.values())
        assert step.chance is None or step.chance > 0
    for name, p in loop.method.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, f"{name} gets no gradient"
            assert p.grad.isfinite().all(), name
            seen[name] = p.grad
    assert seen and any(bool(g.any()) for g in seen.values())
    for name, module in loop.method.named_modules():
        if isinstance(module, Teacher):
            for p in module.parameters():
                assert not p.requires_grad and p.grad is None, f"the teacher {name} gets a gradient"
    assert all(v.isfinite().all() for v in loop.method.state_dict().values())


@EVERY
def test_same_seed_same_numbers(method: str, kind: str, backbone: str) -> None:
    results = []
    for seed, noise in ((0, 1), (0, 2), (5, 1)):
        torch.manual_seed(noise)  # the global state is not a source of randomness
        loop = fitting(method, kind, backbone, seed=seed)
        results.append(([float(loop.advance().loss.detach()) for _ in range(3)], weights(loop)))
    assert results[0][0] == results[1][0] and equal(results[0][1], results[1][1])
    assert results[0][0] != results[2][0]


@EVERY
def test_save_load_continue_is_going_on(method: str, kind: str, backbone: str) -> None:
    """All state lies in state_dict and the optimizer: a fresh method with another past goes on as if nothing had happened."""
    one = fitting(method, kind, backbone)
    for _ in range(2):
        one.advance()
    state, moments = copy.deepcopy(one.trainee.state_dict()), copy.deepcopy(one.optimizer.state_dict())
    want = [float(one.advance().loss.detach()) for _ in range(3)]
    two = fitting(method, kind, backbone)
    with torch.no_grad():
        for p in two.method.parameters():
            p.add_(1.0)
    two.trainee.load_state_dict(state)
    two.optimizer.load_state_dict(moments)
    two.step = 2
    assert [float(two.advance().loss.detach()) for _ in range(3)] == want
    assert equal(weights(one), weights(two))


def rows(batch: Batch, order: Tensor) -> Batch:
    fields = ("x", "ids", "valid", "frame", "answer", "label", "group")
    return replace(batch, **{k: None if (v := getattr(batch, k)) is None else v[order] for k in fields})


@contextmanager
def permuted(order: Tensor) -> Iterator[None]:
    """Random numbers that belong to the rows of a batch come in this order of the rows."""
    patch = pytest.MonkeyPatch()
    for name in ("rand", "randn", "randint"):
        real = getattr(torch, name)

        def drawn(*shape: object, real: object = real, **options: object) -> Tensor:
            values = real(*shape, **options)  # type: ignore[operator]
            return values[order] if values.ndim and len(values) == len(order) else values

        patch.setattr(torch, name, drawn)
    try:
        yield
    finally:
        patch.undo()


@EVERY
def test_the_order_of_a_batch_does_not_matter(method: str, kind: str, backbone: str) -> None:
    loop = fitting(method, kind, backbone)
    built: Method = loop.method
    for module in built.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # draws from the global generator, in another order
    if built.surveys:
        loop.survey(0)
    batch = loop.loader.batch(torch.arange(11).numpy())
    views = loop.modality.views(batch, built.views, torch.Generator().manual_seed(1), built.encoder.cell)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(2))
    before = copy.deepcopy(built.state_dict())
    with torch.no_grad():
        one = built(views, Context(torch.Generator().manual_seed(3), 0.5))
        built.load_state_dict(before)  # queues and centres have moved
        with permuted(order):
            two = built([rows(v, order) for v in views], Context(torch.Generator().manual_seed(3), 0.5))
    assert float(one.loss) == pytest.approx(float(two.loss), rel=1e-4, abs=1e-6)
    assert torch.allclose(one.embedding[order], two.embedding, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_every_pair_works_or_is_refused_with_a_way_out(method: str, kind: str) -> None:
    """A refusal names something that works: a backbone for this method, or a method for this data."""
    for backbone in BACKBONES:
        try:
            loop_of(method, kind, backbone)
        except CannotPair as error:
            assert error.hint, error.message
            others = [b for b in BACKBONES if b in error.hint.replace(",", " ").split()]
            instead = [m for m in METHODS if m in error.hint.replace(",", " ").split()]
            assert others or instead, f"{error}: names nothing that works"
            for other in others:
                loop_of(method, kind, other)
            for other in instead:
                if not any(works(other, kind, b) for b in BACKBONES):
                    raise AssertionError(f"{error}: {other} does not work either") from None


def works(method: str, kind: str, backbone: str) -> bool:
    try:
        loop_of(method, kind, backbone)
    except CannotPair:
        return False
    return True


def test_what_cannot_work_is_refused() -> None:
    """The refusals that are expected, and no others: a declaration that forbids too much would silently skip its tests."""
    refused = {(m, k, b) for m in METHODS for k in KINDS for b in BACKBONES if not works(m, k, b)}
    expected = set()
    for m in METHODS:
        cls = registry.find("methods", m)
        for k in KINDS:
            for b in BACKBONES:
                backbone = registry.find("backbones", b)
                mod = make_modality(small(k).spec, {})
                can, rank = backbone.can, max(1, mod.layout.rank)
                needs = needs_before({"name": m}, k not in ("vector", "table")) - LABELS
                needs |= ({"ragged"} if k in ("ragged", "events", "text", "audio") else set()) | (
                    {"unordered"} if k in ("vector", "table") else set()
                )
                no_view = cls.views.task not in {"", *make_modality(small(k).spec, {}).tasks} or (
                    k in ("vector", "table", "events", "text") and cls.views.crop
                )
                no_order = k in ("vector", "table") and bool({"causal", "order"} & needs)
                no_symbols = k != "text" and "symbols" in needs
                no_values = "values" in needs and not mod.tokenizer(False).valued
                if not needs - OF_DATA <= can or no_view or no_order or no_symbols or no_values or rank not in backbone.ranks:
                    expected.add((m, k, b))
    assert refused == expected


def test_deployed_encoder_is_a_part_of_the_method() -> None:
    """What is kept is the student, or a teacher that has moved with it."""
    for method in METHODS:
        kind, backbone = next((k, b) for b in ("transformer", *BACKBONES) for k in KINDS if works(method, k, b))
        loop = loop_of(method, kind, backbone)
        before = {k: v.clone() for k, v in loop.method.deploy().state_dict().items()}
        for _ in range(3):
            loop.advance()
        after = loop.method.deploy().state_dict()
        assert after.keys() == loop.method.encoder.state_dict().keys()
        assert any(not torch.equal(before[k], after[k]) for k in before), method
