"""Teachers that follow, several methods on one encoder, and what is refused with words on the command line."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor

from conftest import call, small
from slow_methods import built, gen, items, looked_at
from tacit import registry
from tacit.assemble import info_of, make_method, make_modality, needs_before
from tacit.data.dataset import Dataset
from tacit.encoder import Encoder
from tacit.errors import Asked, CannotPair
from tacit.method import Method
from tacit.methods.dino import DINO
from tacit.methods.swav import SwAV
from tacit.teacher import Teacher
from tacit.training.loader import Loader, rows_of
from tacit.training.loop import deterministic
from tacit.types import Context, Views
from test_tools import loop_of


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with deterministic():
        yield


# ---- teachers ----

# which part each teacher follows
FOLLOWS = {
    "byol": {"teacher": "encoder", "teacher_projector": "projector"},
    "moco": {"teacher": "encoder", "teacher_projector": "projector"},
    "dino": {"teacher": "encoder", "teacher_head": "head"},
    "data2vec": {"teacher": "encoder"},
    "ijepa": {"teacher": "encoder"},
}
BODY = {"data2vec": "transformer", "ijepa": "transformer"}


@pytest.mark.parametrize("method", FOLLOWS)
def test_teachers_are_not_trained_but_follow_at_every_step(method: str) -> None:
    loop = loop_of(small("image"), method, BODY.get(method, "convnet"), options={"momentum": 0.05})
    m = loop.method
    trained = {id(p) for group in loop.optimizer.param_groups for p in group["params"]}
    pairs: list[tuple[Any, Any]] = [(m.get_submodule(t), m.get_submodule(s)) for t, s in FOLLOWS[method].items()]
    assert len(pairs) == sum(isinstance(part, Teacher) for part in m.modules())
    assert not any(id(p) in trained or p.requires_grad for t, _ in pairs for p in t.parameters())
    assert all(id(p) in trained for _, s in pairs for p in s.parameters())
    for step in range(4):
        before = [[p.clone() for p in t.parameters()] for t, _ in pairs]
        loop.advance()
        risen = 1 - 0.95 * (1 + math.cos(math.pi * step / 6)) / 2
        momentum = min(risen, (step + 1) / (step + 11))  # of so young a teacher: the first two steps by the one, the next by the other
        for (t, s), old in zip(pairs, before, strict=True):
            for now, was, student in zip(t.parameters(), old, s.parameters(), strict=True):
                assert torch.allclose(now, momentum * was + (1 - momentum) * student, atol=1e-6)
            assert any(not torch.equal(now, was) for now, was in zip(t.parameters(), old, strict=True)), "it moved"
            assert all(torch.equal(a, b) for a, b in zip(t.module.buffers(), s.buffers(), strict=True)), "statistics are the student's"


def test_the_encoder_that_is_kept() -> None:
    """The teacher's where the paper keeps it; those of moco and byol set goals alone."""
    kept: dict[str, Callable[[Any], Encoder]] = {m: lambda m: m.teacher.module for m in ("dino", "data2vec", "ijepa")}
    kept["ts2vec"] = lambda m: m.average.module
    with_teacher = set()
    for name in registry.names("methods"):
        network = {"word2vec": "bag", "simcse": "roformer"}.get(name, "transformer")
        kind = "text" if name in ("word2vec", "simcse", "electra") else {"arrow": "series", "enhancement": "audio"}.get(name, "image")
        m, _ = built(name, kind, network)
        assert m.deploy() is kept.get(name, lambda m: m.encoder)(m), name
        if any(isinstance(part, Teacher) for part in m.modules()):
            with_teacher.add(name)
    assert with_teacher == {*FOLLOWS, "ts2vec", "hubert"}, "a new method with a teacher belongs into the list above"


# ---- several methods on one encoder ----


def combined(parts: str, kind: str = "image", backbone: str = "transformer", **options: Any) -> tuple[Any, Any]:
    return built("combine", kind, backbone, parts=parts, **options)


def test_parts_share_one_encoder_that_is_saved_once() -> None:
    m, mod = combined("simclr,dino,rotation")
    assert all(part.encoder is m.encoder for part in m.each)
    state = m.state_dict()
    assert len({v.data_ptr() for v in state.values() if v.numel()}) == len([v for v in state.values() if v.numel()])
    own = {k for k in state if k.startswith("encoder.")}
    assert {k.removeprefix("parts.1.teacher.module.") for k in state if ".teacher.module." in k} == {
        k.removeprefix("encoder.") for k in own
    }
    assert not any(k.startswith(("parts.0.encoder", "parts.1.encoder", "parts.2.encoder")) for k in state)
    twin = copy.deepcopy(m)
    assert all(part.encoder is twin.encoder is not m.encoder for part in twin.each)
    other, _ = combined("simclr,dino,rotation")
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    other.load_state_dict(state)
    views = looked_at(m, mod, items("image"))
    assert len(views) == 3 and m.views == Views(global_=2, task="turn")
    losses = [float(x(views, Context(gen(3), 0.2)).loss.detach()) for x in (m, twin, other)]
    assert losses[0] == losses[1] == losses[2]
    other.eval()
    assert not other.each[0].encoder.training and not other.each[1].teacher.training


@pytest.mark.parametrize(
    "parts", ["simclr,vicreg", "rotation,byol,mae", "ts2vec,simclr", "supcon,dino,supervised,ijepa", "swav,dino,jigsaw"]
)
def test_each_part_sees_the_views_that_it_asked_for(parts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for method, local in ((DINO, 3), (SwAV, 1)):
        monkeypatch.setitem(method.__init__.__kwdefaults__, "local", local)  # type: ignore[arg-type]
    m, mod = combined(parts)
    views = looked_at(m, mod, items("image"))
    names, seen = parts.split(","), {}
    for name, part in zip(names, m.each, strict=True):
        part.register_forward_pre_hook(lambda module, given, name=name: seen.update({name: given[0]}))
    m(views, Context(gen(), 0.0))
    for name, part in zip(names, m.each, strict=True):
        alone = looked_at(part, mod, items("image"))
        assert [tuple(v.x.shape[2:]) for v in seen[name]] == [tuple(v.x.shape[2:]) for v in alone] or part.views.crop
        assert len(alone) == len(seen[name]) and [v.answer is None for v in seen[name]] == [v.answer is None for v in alone]
        assert all(any(v is w for w in views) for v in seen[name])
    globals_ = [s[:2] for n, s in seen.items() if built(n)[0].views.global_ == 2]
    assert all(v is w for s in globals_ for v, w in zip(s, globals_[0], strict=True)), "the same two large views serve all"


def test_weights_weigh_loss_gradient_and_chance() -> None:
    m, mod = combined("simclr,rotation", weights="2,0.5")
    views = looked_at(m, mod, items("image"))
    step = m(views, Context(gen(), 0.0))
    step.loss.backward()
    got = [p.grad.clone() for p in m.encoder.parameters()]
    parts = [m.each[0](views[:2], Context(gen(), 0.0)), m.each[1](views[2:], Context(gen(), 0.0))]
    assert float(step.loss.detach()) == pytest.approx(
        sum(w * float(s.loss.detach()) for w, s in zip((2, 0.5), parts, strict=True)), rel=1e-5
    )
    assert step.chance == pytest.approx(2 * math.log(11) + 0.5 * math.log(4))
    assert [float(step.log[f"part{i}"]) for i in (0, 1)] == pytest.approx([float(s.loss.detach()) for s in parts])
    assert torch.equal(step.embedding, parts[0].embedding)
    each = [torch.autograd.grad(s.loss, list(m.encoder.parameters())) for s in parts]
    assert all(torch.allclose(g, 2 * a + 0.5 * b, atol=1e-5) for g, a, b in zip(got, *each, strict=True))
    assert combined("simclr,vicreg")[0](views[:2], Context(gen(), 0.0)).chance is None, "vicreg knows none"


def test_parts_that_look_at_the_same_views_share_a_pass() -> None:
    m, mod = combined("simclr,vicreg,moco,supervised")
    views, passes = looked_at(m, mod, items("image")), []
    m.encoder.register_forward_pre_hook(lambda module, given: passes.append(len(given[0].ids)))
    alone = [float(part(seen, Context(gen(), 0.0)).loss.detach()) for part, seen in zip(m.each, [views] * 3 + [views[:1]], strict=True)]
    assert passes == [12, 12, 12, 6]
    for _ in range(2):  # nothing is left over for the next step
        passes.clear()
        step = m(views, Context(gen(), 0.0))
        assert passes == [12, 6] and [float(step.log[f"part{i}"]) for i in range(4)] == pytest.approx(alone, rel=1e-5)
        with torch.no_grad():
            m.encoder.backbone.norm.weight += 0.5
        alone = [float(part(seen, Context(gen(), 0.0)).loss.detach()) for part, seen in zip(m.each, [views] * 3 + [views[:1]], strict=True)]
    m.each[3].forward = lambda views, ctx: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        m(views, Context(gen(), 0.0))
    assert m.encoder.memo is None


def test_the_first_part_says_which_encoder_is_kept() -> None:
    for parts in ("data2vec,simclr", "simclr,data2vec"):
        loop = loop_of(small("image"), "combine", options={"parts": parts})
        m: Any = loop.method
        (teacher,) = [part.teacher.module for part in m.each if hasattr(part, "teacher")]
        before = [p.clone() for p in teacher.parameters()]
        assert m.deploy() is (teacher if parts.startswith("data2vec") else m.encoder)
        loop.advance()
        assert all(not torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True)), "it follows here too"
        trained = {id(p) for group in loop.optimizer.param_groups for p in group["params"]}
        assert not any(id(p) in trained for p in teacher.parameters()) and all(id(p) in trained for p in m.encoder.parameters())


def test_surveys_reach_the_parts_that_want_them() -> None:
    loop = loop_of(small("image"), "combine", options={"parts": "simclr,deepcluster,selftraining"})
    m: Any = loop.method
    assert m.surveys == 20 and (m.each[1].labels == -1).all()
    loop.advance()
    assert (m.each[1].labels >= 0).all() and (m.each[2].labels >= 0).all()
    assert not combined("simclr,vicreg")[0].surveys


@pytest.mark.parametrize(("steps", "rounds"), [(30, 20), (20, 20), (7, 20), (40, 3), (10, 1)])
def test_as_many_surveys_as_asked_for(steps: int, rounds: int) -> None:
    loop = loop_of(small("image"), "deepcluster", "convnet", options={"rounds": rounds}, steps=steps)
    at: list[float] = []
    loop.method.survey = lambda z, ctx: at.append(ctx.progress)  # type: ignore[assignment]
    for _ in range(steps):
        loop.advance()
    assert len(at) == min(rounds, steps) and at[0] == 0.0
    gaps = [b - a for a, b in zip(at, at[1:], strict=False)]
    assert not gaps or max(gaps) - min(gaps) < 1.01 / steps, "evenly spread"


def half_labelled() -> Dataset:
    data = small("image")
    assert data.labels is not None
    return replace(data, labels=np.where(np.arange(len(data.labels)) % 2, data.labels, -1))


@pytest.mark.parametrize(
    ("parts", "kept"), [("supervised,simclr", "all"), ("supcon,supervised", "all"), ("supervised,supervised", "labelled")]
)
def test_unlabelled_items_stay_if_a_part_learns_from_them(parts: str, kept: str) -> None:
    data = half_labelled()
    needs = needs_before({"name": "combine", "parts": parts})
    assert ("some labels" in needs) == (kept == "all") and ("labels" in needs) == (kept != "all")
    rows = rows_of(data, needs)
    assert data.labels is not None and len(rows) == (len(data.train) if kept == "all" else (data.labels[data.train] >= 0).sum())
    mod = make_modality(data.spec, {})
    words = {"name": "combine", "parts": parts}
    m: Method = make_method(mod, words, {"name": "transformer", "size": "tiny"}, info_of(mod, len(rows), 2), 0)
    assert m.needs == needs and Loader(data, rows, mod, torch.device("cpu"), labels=True).batch(np.arange(4)).label is not None


def test_the_supervised_part_leaves_unlabelled_items_out() -> None:
    m, mod = combined("simclr,supervised")
    views = looked_at(m, mod, items("image"))
    label = views[0].label
    assert label is not None and 0 < (label < 0).sum() < 6

    def parts(changed: Tensor) -> list[float]:
        x = [torch.where(changed[:, None, None, None], 1 - v.x, v.x) for v in views]
        step = m([replace(v, x=y) for v, y in zip(views, x, strict=True)], Context(gen(), 0.0))
        return [float(step.log[f"part{i}"]) for i in (0, 1)]

    plain, other, known = parts(label > 9), parts(label < 0), parts(label >= 0)
    assert other[1] == plain[1] and other[0] != plain[0], "simclr learns from them, supervised does not"
    assert known[1] != plain[1]
    none = [replace(v, label=torch.full_like(label, -1)) for v in views]
    assert float(m(none, Context(gen(), 0.0)).log["part1"]) == 0.0, "a batch without any label costs nothing"


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"parts": "simclr"}, "at least two methods", "simclr,rotation"),
        ({"parts": " , simclr,"}, "at least two methods", "simclr,rotation"),
        ({"parts": "simclr,combine"}, "none of them combine", "simclr,rotation"),
        ({"parts": "simclr,simcrl"}, "no method 'simcrl'", "did you mean 'simclr'"),
        ({"parts": "rotation,jigsaw"}, "two pretext tasks at once (permute, turn)", "one of them with simclr"),
        ({"weights": "1"}, "give 2 positive numbers", "1,0.5"),
        ({"weights": "1,2,3"}, "give 2 positive numbers", "1,0.5"),
        ({"weights": "1,0"}, "give 2 positive numbers", "1,0.5"),
        ({"weights": "1,nan"}, "give 2 positive numbers", "1,0.5"),
        ({"weights": "1,inf"}, "give 2 positive numbers", "1,0.5"),
        ({"weights": "one,two"}, "give 2 positive numbers", "1,0.5"),
    ],
)
def test_what_cannot_be_combined_is_refused(options: dict[str, str], said: str, hint: str) -> None:
    with pytest.raises(Asked) as refused:
        built("combine", **options)
    assert said in refused.value.message and hint in refused.value.hint


def test_parts_need_what_each_of_them_needs() -> None:
    assert needs_before({"name": "combine", "parts": "mae,data2vec"}) == {"drop", "mask", "layers", "tokens"}
    for parts, backbone in (("simclr,mae", "convnet"), ("simclr,cpc", "resnet")):
        with pytest.raises(CannotPair, match=f"backbone {backbone} cannot"):
            combined(parts, backbone=backbone)
    assert combined("simclr,inpainting", backbone="convnet")[0].encoder.mask_token is not None
    assert combined("simclr,cpc")[0].deploy().causal and not combined("simclr,mae")[0].deploy().causal


# ---- the command line ----


def alone(folder: Path) -> Path:
    """Grey pictures, each of a patient of its own."""
    folder.mkdir()
    draw, lines = np.random.default_rng(0), ["file_name,kind,who"]
    for i in range(12):
        Pillow.fromarray(draw.integers(0, 256, (8, 8)).astype(np.uint8)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},p{i}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


COMBINE, HIDING = ["--method", "combine"], ("ijepa", "inpainting", "mae", "data2vec")
DIGITS, ALONE, BARE = "builtin:digits", "alone", "bare.npy"
REFUSED: list[tuple[str, list[str], list[str]]] = [
    (DIGITS, ["--method", "colorization"], ["these images are grey, so there is no colour to predict", "simclr"]),
    (DIGITS, ["--method", "arrow"], ["no pretext task 'reverse'", "simclr"]),
    (DIGITS, ["train.positives=group"], ["which items belong together", "--group"]),
    (ALONE, ["--group", "who", "train.positives=group"], ["every group has a single training item", "leave train.positives=group out"]),
    (DIGITS, ["train.deep=dropout", "train.chunk=64", "--backbone", "transformer"], ["exclude each other", "leave one of them out"]),
    (DIGITS, ["--method", "deepcluster", "train.positives=group"], ["every item a cluster of its own", "simclr"]),
    (DIGITS, ["--method", "mae", "train.positives=group"], ["compare views of an item, which mae does not", "simclr"]),
    (DIGITS, [*COMBINE, "method.parts=rotation,jigsaw"], ["two pretext tasks at once (permute, turn)", "simclr"]),
    (DIGITS, [*COMBINE, "method.parts=simclr"], ["at least two methods", "method.parts=simclr,rotation"]),
    (DIGITS, [*COMBINE, "method.parts=simclr,combine"], ["none of them combine", "method.parts=simclr,rotation"]),
    (DIGITS, [*COMBINE, "method.weights=1,-1"], ["give 2 positive numbers", "method.weights=1,0.5"]),
    (DIGITS, [*COMBINE, "method.parts=simclr,mae", "--backbone", "convnet"], ["convnet cannot: drop", "transformer"]),
    (DIGITS, ["--method", "dino", "modality.local=64"], ["larger than the items (8 samples)", "at most 8"]),
    (DIGITS, ["--method", "cpc", "modality.patch=8", "--backbone", "transformer"], ["single cell", "modality.patch"]),
    (DIGITS, [*COMBINE, "method.parts=simclr,colorization"], ["these images are grey", "simclr"]),
    (DIGITS, [*COMBINE, "method.parts=simclr,arrow"], ["no pretext task 'reverse'", "simclr"]),
    (DIGITS, [*COMBINE, "method.parts=simclr,boom.py:Boom"], ["boom.py:Boom is a file", "tacit.methods"]),
    (DIGITS, [*COMBINE, "method.weights=2"], ["give 2 positive numbers", "method.weights=1,0.5"]),
    *[(DIGITS, ["--method", m, "modality.patch=8", "--backbone", "transformer"], ["single cell", "modality.patch"]) for m in HIDING],
    (BARE, ["--method", "supcon"], ["no training item has a label", "--target"]),
    (BARE, ["--method", "selftraining", "method.start=labels"], ["no training item has a label", "--target"]),
    (BARE, [*COMBINE, "method.parts=simclr,supervised"], ["no training item has a label", "--target"]),
    (DIGITS, ["--method", "selftraining", "method.start=nothing"], ["'kmeans' or 'labels'"]),
    (DIGITS, ["--method", "swav", "method.queue=-1"], ["greater than or equal to 0"]),
    (DIGITS, ["--method", "absent.py:Boom"], ["there is no file 'absent.py'", "path/to/file.py:Class"]),
    (DIGITS, ["--method", "boom.py:Boom"], ["boom.py does not load: ModuleNotFoundError", "`python boom.py` shows where"]),
    (DIGITS, ["--method", "boom.py"], ["boom.py does not load: ModuleNotFoundError", "not_there_at_all"]),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    alone(folder / ALONE)
    np.save(folder / BARE, np.random.default_rng(0).random((40, 7)))
    (folder / "boom.py").write_text("import not_there_at_all\n\n\nclass Boom:\n    pass\n")
    return folder


@pytest.mark.parametrize(("data", "words", "said"), REFUSED, ids=[" ".join([d, *w]) for d, w, _ in REFUSED])
def test_bad_requests_are_refused_in_words(
    data: str, words: list[str], said: list[str], places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places)
    got = call("pretrain", data, *words, "--steps", 2, "--size", "tiny", "--out", tmp_path / "run")
    assert got.code == 2 and got.out == "" and "Traceback" not in got.err, got.err
    assert "error: " in got.err and all(s in got.err for s in said), got.err
    assert not (tmp_path / "run" / "model").exists()


def test_a_stored_run_does_not_name_code_among_its_parts(places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    run, ran = tmp_path / "run", tmp_path / "ran"
    words = ["pretrain", DIGITS, *COMBINE, "--steps", 2, "--size", "tiny", "--out", run]
    assert call(*words).code == 0
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nfrom tacit.methods.simclr import SimCLR\nclass Evil(SimCLR):\n    pass\n")
    config = run / "config.toml"
    config.write_text(config.read_text().replace('name = "combine"', f'name = "combine"\nparts = "simclr,{tmp_path}/evil.py:Evil"'))
    for again in (["pretrain", DIGITS, "--resume", "--out", run], [*words, "--resume"]):
        got = call(*again)
        assert got.code == 2 and "only installed methods can be combined" in got.err and not ran.exists()


@pytest.mark.parametrize(("method", "options"), [("supcon", {}), ("selftraining", {"start": "labels"})])
def test_classes_are_wanted_where_labels_are_numbers(method: str, options: dict[str, str]) -> None:
    with pytest.raises(Asked, match="label is a number") as refused:
        built(method, numbers=True, **options)
    assert "--target" in refused.value.hint


def test_good_requests_beside_them_work(places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    good: list[tuple[str, list[str], bool]] = [
        (ALONE, ["--target", "kind", "--method", "supcon"], True),
        (ALONE, ["--target", "kind", *COMBINE, "method.parts=supervised,rotation", "method.weights=1,0.5"], True),
        (ALONE, ["--target", "kind", "--group", "kind", "train.positives=group"], False),
        (ALONE, ["--target", "kind", "--method", "selftraining"], False),
    ]
    for i, (data, words, read) in enumerate(good):
        got = call("pretrain", data, *words, "--steps", 2, "--batch-size", 4, "--size", "tiny", "--out", tmp_path / str(i))
        assert got.code == 0, got.err
        assert f'"labels_seen": {str(read).lower()}' in (tmp_path / str(i) / "run.json").read_text()
