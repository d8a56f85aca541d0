"""Fine-tuning: the probe comes first, what is asked to stay stays, held-out labels stop it, and it goes on to the bit after a stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit as package
from conftest import Said, call, small
from tacit.data.dataset import Dataset, from_arrays
from tacit.data.supervision import Supervision, supervise
from tacit.embedding.model import Model
from tacit.errors import Asked, BadData, Stopped
from tacit.evaluation.probes.linear import Linear
from tacit.evaluation.readers import standardise
from tacit.finetuning import fit as fitting
from tacit.finetuning import forgetting
from tacit.finetuning.config import FinetuneConfig, settings, strategy
from tacit.finetuning.decider import Decider
from tacit.finetuning.depth import depths, frozen
from tacit.finetuning.divide import divide
from tacit.finetuning.finetune import finetune
from tacit.finetuning.fit import Task
from tacit.finetuning.lora import adapt, merge
from tacit.finetuning.network import shares
from tacit.head import at_places
from tacit.heads.classification import Classification
from tacit.losses import cosines_of_classes
from tacit.types import Batch

QUICK = FinetuneConfig(least=12, most=12, batch=16)


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return package.load(trained)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def digits(model: Model) -> Dataset:
    from tacit.api import opened

    return model.prepare(opened("builtin:digits"))


def few(digits: Dataset, n: int) -> Supervision:
    """The labels of n training items and of all held-out ones."""
    whole = supervise(digits)
    keep = np.concatenate([digits.train[:n], digits.test[:200]])
    return replace(whole, items=np.sort(keep), values=whole.values[np.searchsorted(whole.items, np.sort(keep))])


def task_of(model: Model, digits: Dataset, kind: str, **config: Any) -> Task:
    answers = few(digits, 60)
    return Task(model, digits, answers, lambda: Classification(answers.classes), replace(QUICK, **config), kind)


def learned(task: Task) -> np.ndarray:
    return np.flatnonzero(np.isin(task.answers.items, task.data.train))


# ---- the probe ----


def test_the_probe_of_finetune_is_the_probe_of_evaluate(model: Model, digits: Dataset) -> None:
    task = task_of(model, digits, "probe")
    rows = learned(task)
    network, about = task.fit(rows, small=True)
    train, test = digits.train, digits.test[:50]
    z, zt = standardise(model.vectors(digits.x[train]), model.vectors(digits.x[test]))
    at = np.searchsorted(train, task.answers.items[rows])
    probe = Linear().fit(z[at], task.answers.values[rows], 10, small=True)
    mine = network.outcome(task.read(network, test))
    assert about["steps"] == 0
    np.testing.assert_allclose(mine - mine.mean(1, keepdims=True), _centred(probe.scores(zt)), atol=2e-3)


def _centred(scores: np.ndarray) -> np.ndarray:
    scores = np.where(np.isfinite(scores), scores, -30.0)
    return scores - scores.mean(1, keepdims=True)


def test_fine_tuning_begins_at_the_probe_and_moves_on(model: Model, digits: Dataset) -> None:
    """LP-FT starts with the probe's head, full fine-tuning with none; both change the encoder."""
    firsts = {}
    for kind in ("lp-ft", "full"):
        task = task_of(model, digits, kind, lr=1e-12)
        network, _ = task.fit(learned(task), small=True)
        assert network.layer is not None
        firsts[kind] = network.layer.linear.weight.detach().abs().sum()
    assert firsts["lp-ft"] > 0.1 and firsts["full"] < 1e-6
    task = task_of(model, digits, "lp-ft")
    network, about = task.fit(learned(task), small=True)
    moved = [not torch.equal(a, b) for a, b in zip(network.encoder.parameters(), model.encoder.parameters(), strict=True)]
    assert all(moved) and about["steps"] == 12


# ---- what may learn ----


def test_later_layers_learn_faster(model: Model, digits: Dataset) -> None:
    task = task_of(model, digits, "lp-ft", decay=0.5)
    network = task.probed(learned(task), True, 0)
    method = fitting.FineTuning(network, task.config, set(), "lp-ft")
    where, count = depths(network.encoder)
    paces = {name: method.pace(f"encoder.{name}") for name in where}
    assert all(paces[n] == 0.5 ** (count + 1 - d) for n, d in where.items())
    assert paces["backbone.layers.0.weight"] < paces["backbone.layers.1.weight"] < method.pace("network.layer.linear.weight") == 1.0
    assert where["backbone.norms.0.weight"] == where["backbone.layers.0.weight"]


def test_layers_are_counted_through_stages() -> None:
    """Few numbered parts are stages, and their parts the layers; many are layers themselves; the numbers of norms are those of layers."""

    def counted(*names: str) -> list[int]:
        net = torch.nn.Module()
        for name in names:
            net.register_parameter(name.replace(".", "|"), torch.nn.Parameter(torch.zeros(1)))
        real = net.named_parameters
        net.named_parameters = lambda *a, **k: ((n.replace("|", "."), p) for n, p in real(*a, **k))  # type: ignore[method-assign, assignment]
        return list(depths(net)[0].values())

    stem = ("tokenizer.project.weight", "backbone.stem.weight")
    staged = ("backbone.net.layer1.0.conv1.weight", "backbone.net.layer1.1.conv1.weight", "backbone.net.layer2.0.bn1.weight")
    assert counted(*stem, *staged, "backbone.net.norm.weight") == [0, 0, 1, 2, 3, 3]
    blocks = [f"backbone.blocks.{i}.layers.{j}.weight" for i in range(6) for j in range(2)]
    assert counted(*stem, *blocks) == [0, 0, *[i + 1 for i in range(6) for _ in range(2)]]


def test_frozen_layers_stay_as_they_are(model: Model, digits: Dataset) -> None:
    names = [n for n, _ in model.encoder.named_parameters()]
    _, count = depths(model.encoder)
    for kind, patterns, stays in (
        ("last-1", "", {n for n in names if f".{count - 1}." not in n}),
        ("lp-ft", "backbone.layers.0*,*norms*", {n for n in names if "layers.0" in n or "norms" in n}),
    ):
        task = task_of(model, digits, kind, freeze=patterns)
        network, _ = task.fit(learned(task), small=True)
        before = dict(model.encoder.named_parameters())
        same = {n for n, p in network.encoder.named_parameters() if torch.equal(p, before[n])}
        assert same == stays, kind
    with pytest.raises(Asked, match=r"finetune.freeze=nothing"):
        frozen(model.encoder, "nothing")


def test_batch_norm_keeps_its_statistics_unless_asked(model: Model, digits: Dataset) -> None:
    for norms, kept in (("frozen", True), ("train", False)):
        task = task_of(model, digits, "lp-ft", norms=norms)
        network, _ = task.fit(learned(task), small=True)
        pairs = zip(network.encoder.named_buffers(), model.encoder.named_buffers(), strict=True)
        assert all(torch.equal(a, b) for (n, a), (_, b) in pairs if "running" in n) is kept


def test_adapters_add_a_small_product_and_leave_no_trace(model: Model, digits: Dataset) -> None:
    layer = torch.nn.Linear(6, 5)
    x, before = torch.randn(4, 6), layer.weight.detach().clone()
    own = layer(x)
    assert adapt(layer, 2) == 1
    torch.testing.assert_close(layer(x), own)
    down, up = layer.parametrizations.weight[0].down, layer.parametrizations.weight[0].up
    with torch.no_grad():
        up.normal_()
    changed = layer(x)
    merge(layer)
    assert [n for n, _ in layer.named_parameters()] == ["bias", "weight"]
    torch.testing.assert_close(layer(x), changed)
    torch.testing.assert_close(layer.weight, before + 2 * up @ down)
    assert torch.linalg.matrix_rank(layer.weight.detach() - before) == 2
    task = task_of(model, digits, "lora", rank=2)
    network, _ = task.fit(learned(task), small=True)
    assert network.encoder.state_dict().keys() == model.encoder.state_dict().keys()
    biases = [n for n, p in network.encoder.named_parameters() if p.ndim < 2]
    start = dict(model.encoder.named_parameters())
    assert all(torch.equal(dict(network.encoder.named_parameters())[n], start[n]) for n in biases)
    assert not torch.equal(network.encoder.backbone.layers[1].weight, model.encoder.backbone.layers[1].weight)  # type: ignore[union-attr, index]


def test_setfit_brings_items_of_a_class_together_and_then_reads_them_by_a_probe(model: Model, digits: Dataset) -> None:
    task = task_of(model, digits, "setfit")
    rows = learned(task)
    network, about = task.fit(rows, rows[:20], small=True)
    assert about["steps"] == about["best_step"] == 12
    y = torch.from_numpy(task.answers.values[rows])
    before, after = (cosines_of_classes(torch.from_numpy(m.vectors(digits.x[task.answers.items[rows]])), y) for m in (model, network.model))
    assert after < 0.9 * before
    again = replace(task, model=network.model).probed(rows, True, 0)
    assert network.layer is not None and again.layer is not None
    torch.testing.assert_close(network.layer.linear.weight, again.layer.linear.weight)
    numbers = Supervision("regression", task.answers.items, task.answers.values.astype(np.float32))
    with pytest.raises(Asked, match="setfit compares items of classes"):
        replace(task, answers=numbers).fit(rows)


def test_l2sp_pulls_towards_the_pretrained_weights(model: Model, digits: Dataset) -> None:
    away = {}
    for strength in (0.0, 100.0):
        task = task_of(model, digits, "lp-ft", l2sp=strength)
        network, _ = task.fit(learned(task), small=True)
        pairs = zip(network.encoder.parameters(), model.encoder.parameters(), strict=True)
        away[strength] = sum(float((a - b).detach().square().sum()) for a, b in pairs)
    assert away[100.0] < 0.7 * away[0.0]


def test_mixup_mixes_items_and_their_answers(model: Model, digits: Dataset) -> None:
    """With the mixing share at 0.5 everywhere, the loss is that of the mean image under both answers."""
    task = task_of(model, digits, "lp-ft", mixup=1e9, view="plain")
    network = task.probed(learned(task), True, 0)
    method = fitting.FineTuning(network, task.config, set(), "lp-ft").eval()
    x = torch.from_numpy(digits.x[:4].astype(np.float32)) / 255
    view = Batch(x, torch.arange(4), label=torch.tensor([0, 1, 2, 3]))
    from tacit.types import Context

    step = method([view], Context(torch.Generator().manual_seed(3), 0.0))
    order = torch.randperm(4, generator=torch.Generator().manual_seed(3))
    assert network.layer is not None and view.label is not None
    out = network.layer(network.read(replace(view, x=(x + x[order]) / 2)))
    loss = 0.5 * network.head.loss(out, view.label) + 0.5 * network.head.loss(out, view.label[order])
    torch.testing.assert_close(step.loss, loss, rtol=1e-3, atol=1e-4)


# ---- stopping and going on ----


def test_held_out_labels_stop_it_at_the_best_step(model: Model, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights that are kept are those of the look with the best score."""
    scores = iter([(0.1, 0.0), (0.5, 0.0), (0.9, 0.0), (0.4, 0.0), (0.3, 0.0), (0.2, 0.0), *[(0.1, 0.0)] * 50])
    states: list[torch.Tensor] = []

    def scored(self: Any) -> tuple[float, float]:
        states.append(self.network.encoder.backbone.layers[0].weight.detach().clone())
        return next(scores)

    monkeypatch.setattr(fitting._Trainer, "_score", scored)
    task = task_of(model, digits, "lp-ft", least=20, most=20, patience=0.2)
    rows = learned(task)
    network, about = task.fit(rows[:40], rows[40:], small=True)
    assert about == {**about, "best_step": 2, "planned": 20} and about["steps"] < 20
    torch.testing.assert_close(network.encoder.backbone.layers[0].weight, states[2])  # type: ignore[union-attr, index]


def test_an_interrupted_fine_tuning_goes_on_to_the_bit(
    model: Model, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib

    task = task_of(model, digits, "lp-ft", least=20, most=20)
    rows = learned(task)
    whole, _ = task.fit(rows[:40], rows[40:], small=True, folder=tmp_path / "whole")

    @contextlib.contextmanager
    def after_seven() -> Any:
        count = iter(range(1000))
        yield lambda: next(count) >= 6

    monkeypatch.setattr(fitting, "interruptible", after_seven)
    with pytest.raises(Stopped, match="interrupted at step"):
        task.fit(rows[:40], rows[40:], small=True, folder=tmp_path / "parts")
    monkeypatch.undo()
    assert list((tmp_path / "parts" / "steps").glob("00000007"))
    again, _ = task.fit(rows[:40], rows[40:], small=True, folder=tmp_path / "parts")
    advanced: list[int] = []
    monkeypatch.setattr("tacit.training.loop.Loop.advance", lambda self: advanced.append(1))
    done, _ = task.fit(rows[:40], rows[40:], small=True, folder=tmp_path / "whole")  # what is done is not done again
    assert not advanced
    for (name, a), b, c in zip(whole.state_dict().items(), again.state_dict().values(), done.state_dict().values(), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c), name


# ---- dividing ----


def test_labels_are_divided_without_overlap_and_by_whole_groups() -> None:
    y = np.repeat(np.arange(4), 150)
    groups = np.arange(600) // 5
    parts = divide(y, 600, groups, tuple(map(str, range(120))), 0, None)
    sides = [parts.learn, parts.stop, parts.calibrate]
    assert np.array_equal(np.sort(np.concatenate(sides)), np.arange(600)) and not parts.folds and not parts.small
    assert 100 <= len(parts.calibrate) <= 140 and 30 <= len(parts.stop) <= 70
    owners = [set(groups[s]) for s in sides]
    assert not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])
    few_ = divide(y[::6], 100, groups[::6], tuple(map(str, range(120))), 0, None)
    assert len(few_.folds) == 5 and len(few_.learn) == 100
    for learn, held in few_.folds:
        assert not set(groups[::6][learn]) & set(groups[::6][held])
    assert np.array_equal(np.sort(np.concatenate([h for _, h in few_.folds])), np.arange(100))


def test_groups_that_make_a_split_impossible_are_named() -> None:
    y, groups = np.arange(40) % 2, np.zeros(40, np.int64)
    with pytest.raises(Asked, match=r"belong to 1 groups.*'ward 7' holds 40 of the 40"):
        divide(y, 40, groups, ("ward 7",), 0, 3)
    parts = divide(y, 40, groups, ("ward 7",), 0, None)
    assert not parts.folds and "ward 7" in parts.notes[0] and len(parts.learn) == 40
    assert "too few to calibrate" in divide(y[:6], 6, None, (), 0, None).notes[0]


def test_strategies_and_settings_are_checked() -> None:
    assert strategy("last-3") == ("last", 3) and strategy("lora") == ("lora", 0)
    for wrong in ("last-0", "last-N", "everything"):
        with pytest.raises(Asked):
            strategy(wrong)
    with pytest.raises(Asked, match="did you mean 'mixup'"):
        settings({"mixupp": 1})
    with pytest.raises(Asked, match=r"finetune.lr=-1"):
        settings({"lr": -1})


# ---- places ----


def test_labels_of_a_view_are_those_of_what_it_shows() -> None:
    """A cropped and mirrored view's shares equal those counted on the pixels that it shows."""
    label = torch.arange(64).view(1, 8, 8) % 5
    view = Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64), frame=torch.tensor([[[0.25, 0.5], [1.0, -0.5]]]))
    found = shares(label, view, (2, 2), (2, 2), 5)
    shown = label[0, 2:6, 4:8].flip(1)
    for i in range(2):
        for j in range(2):
            cell = shown[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            counted = torch.stack([(cell == k).float().mean() for k in range(5)])
            torch.testing.assert_close(found[0, 2 * i + j], counted)
    unknown = shares(torch.full((1, 8, 8), -1), view, (2, 2), (2, 2), 5)
    assert float(unknown.sum()) == 0


def test_outputs_come_back_to_every_place() -> None:
    """A linear function of the place survives; a single cell is the same everywhere."""
    cells = (np.arange(4) + 0.5) * 8 / 32
    out = (cells[:, None] + np.zeros(4)).reshape(1, 16, 1)
    back = at_places(out, (4, 4), (8, 8), (32, 32), (64, 64))
    inner = back[0, 8:56, 8:56, 0]
    np.testing.assert_allclose(inner, np.broadcast_to(((np.arange(64) + 0.5) / 64)[8:56, None], inner.shape), atol=1e-6)
    assert at_places(np.ones((2, 1, 3)), (1,), (16,), (10,), (10,)).shape == (2, 10, 3)


# ---- forgetting ----


def test_forgetting_is_none_for_a_rotation_and_total_for_noise() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 12)) * np.arange(1, 13)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    same, noise, part = (forgetting.forgetting(z, other) for other in (z @ turn, rng.normal(size=(300, 12)), z[:, 6:]))
    assert same["kept"] > 0.999 and same["neighbours"] == 1.0 and same["cka"] == pytest.approx(1)
    assert noise["kept"] < 0.05 and noise["neighbours"] < 0.2
    truth = (z[:, 6:].var(0).sum()) / z.var(0).sum()
    assert part["kept"] == pytest.approx(truth, abs=0.05)


# ---- the whole ----


def test_a_model_decides_and_reads_back_the_same(model: Model, digits: Dataset, tmp_path: Path) -> None:
    done = finetune(model, digits, few(digits, 400), config=QUICK)
    assert 70 <= done.found["calibrated_on"] <= 90 and not done.found["cross_fitted"]
    done.decider.save(tmp_path / "m")
    again = Decider.load(tmp_path / "m")
    some = from_arrays(digits.x[digits.test[:30]], spec=model.spec, modality="image")
    a, b = done.decider.predict(some), again.predict(some)
    assert a.columns.keys() == b.columns.keys()
    for name in a.columns:
        assert list(map(str, a[name])) == list(map(str, b[name])), name
    truth = [digits.classes[digits.labels[r]] for r in digits.test[:30]]  # type: ignore[index]
    assert np.mean([p == t for p, t in zip(a["prediction"], truth, strict=True)]) > 0.7
    assert all(len(s) >= 1 and p in s for s, p in zip(a["set"], a["prediction"], strict=True))
    assert set(a["nearest"][0]) <= set(digits.names)


def test_noise_is_called_strange(model: Model, digits: Dataset) -> None:
    done = finetune(model, digits, few(digits, 100), strategy="probe", config=QUICK)
    noise = np.random.default_rng(0).integers(0, 255, (40, *digits.x.shape[1:])).astype(np.uint8)
    strange = done.decider.predict(from_arrays(noise, spec=model.spec, modality="image"))
    usual = done.decider.predict(from_arrays(digits.x[digits.test[:200]], spec=model.spec, modality="image"))
    assert np.mean(strange["ood"]) > 0.9 and np.mean(usual["ood"]) < 0.2
    assert all(np.asarray(strange["abstain"])[np.asarray(strange["ood"])]) and "unlike the training data" in strange["why"][0]


def test_pseudo_labels_join_where_the_model_is_sure(model: Model, digits: Dataset) -> None:
    done = finetune(model, digits, few(digits, 60), strategy="probe", config=QUICK, pseudo=0.5)
    found = done.found["training"]["pseudo"]
    assert 0 < found["adopted"] <= found["unlabelled"] == len(digits.train) - 60
    with pytest.raises(Asked, match="every training item has a label"):
        finetune(model, digits, supervise(digits), strategy="probe", config=QUICK, pseudo=0.5)


def test_labels_that_teach_nothing_are_refused(model: Model, digits: Dataset) -> None:
    answers = few(digits, 60)
    with pytest.raises(BadData, match="all labels to learn from are equal"):
        finetune(model, digits, replace(answers, values=np.zeros_like(answers.values)))
    held = np.isin(answers.items, digits.test)
    with pytest.raises(BadData, match="no training item has a label"):
        finetune(model, digits, replace(answers, items=answers.items[held], values=answers.values[held]))


@pytest.mark.parametrize("kind", ["series", "ragged", "vector"])
def test_every_kind_of_data_is_fine_tuned(kind: str, tmp_path: Path) -> None:
    data = small(kind, 60)
    run = package.pretrain(data, steps=5, out=tmp_path / "run", size="tiny")
    done = finetune(run.model, data, supervise(data), config=QUICK)
    assert len(done.decider.predict(data)) == 60 and done.found["cross_fitted"]


# ---- the command line ----


def test_the_command_line_writes_a_model_and_says_whether_it_was_worth_it(trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "m"
    words = ("finetune", trained, "builtin:digits", "--out", place, "finetune.most=10", "finetune.least=10", "head.smoothing=0.1")
    said: Said = call(*words)
    assert said.code == 0, said.err
    assert said.out.strip() == str(place) and "frozen probe on the same labels" in said.err
    result = json.loads((place / "result.json").read_text())
    probes = {r["probe"] for r in result["results"]}
    assert probes == {"finetune:lp-ft", "linear"} and result["n_test"] == 539
    assert all(r["low"] <= r["value"] <= r["high"] for r in result["results"] if r["metric"] == "accuracy")
    assert not (place / "checkpoints").exists()
    again = call(*words)  # the same place is written anew
    assert again.code == 0, again.err
    refused = call(*words[:-1], "head.smoothing=0.2", "--resume")
    assert refused.code == 2 and "was begun with another" in refused.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--strategy", "lp"), "there is no strategy 'lp'"),
        (("finetune.lrr=1",), "has no hyperparameter 'lrr'"),
        (("method.temperature=1",), "there is no part 'method'"),
        (("--alpha", "2"), "not a share of misses"),
        (("--head", "regres"), "regres"),
    ],
)
def test_what_cannot_be_meant_is_refused(trained: Path, tmp_path: Path, words: tuple[str, ...], complaint: str) -> None:
    said = call("finetune", trained, "builtin:digits", "--out", tmp_path / "m", *words)
    assert said.code == 2 and complaint in said.err and "hint:" in said.err, said.err


# ---- what a strict reading found ----


def test_numbers_calibrated_across_folds_are_in_the_final_head_s_unit(tmp_path: Path) -> None:
    """One far value changes the unit of the folds that hold it; the interval must not grow with it."""
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    y = x @ np.arange(1, 7) + 100
    y[3] += 60
    data = from_arrays(x, y=y + 0.01)
    run = package.pretrain(data, steps=5, out=tmp_path / "run", size="tiny")
    done = finetune(run.model, data, supervise(data), strategy="probe", config=QUICK)
    assert done.found["cross_fitted"] and done.out is not None
    found = done.decider.knowledge.head.scores(done.out, supervise(data).values[done.test], done.decider.knowledge.calibration)
    assert 0.75 <= found["coverage"] <= 1.0
    out, truth = done.out[:, 0], supervise(data).values[done.test]
    errors = np.abs(done.decider.knowledge.head.values(out[:, None]) - truth)
    assert done.decider.knowledge.calibration["half"] < 3 * np.quantile(errors, 0.9)


def test_copies_of_training_items_are_not_scored(model: Model, digits: Dataset) -> None:
    hashes = digits.hashes.copy()
    hashes[digits.test[:5]] = hashes[digits.train[0]]
    done = finetune(model, replace(digits, hashes=hashes), few(digits, 60), strategy="probe", config=QUICK)
    assert len(done.test) == 195 and any("5 held-out items are exact copies" in n for n in done.notes)


def test_where_no_step_helped_the_frozen_probe_is_kept(model: Model, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting._Trainer, "_score", lambda self: (0.5, 0.0))
    done = finetune(model, digits, few(digits, 400), config=QUICK)
    assert done.found["training"]["best_step"] == 0 and "forgotten" not in done.found
    assert done.out is not None and done.probe_out is not None
    np.testing.assert_allclose(done.out, done.probe_out, atol=0.2)  # bfloat16 against float32
    assert done.decider.pretrained is done.decider.network.model


def test_pseudo_labels_without_labels_set_aside_leave_nothing_promised(model: Model, digits: Dataset) -> None:
    done = finetune(model, digits, few(digits, 60), config=QUICK, pseudo=0.5)
    assert done.decider.knowledge.calibration == {} and any("pseudo-labels were learned from since" in n for n in done.notes)
    assert done.decider.pretrained is not done.decider.network.model


def test_linked_pairs_are_told(model: Model, digits: Dataset) -> None:
    rng = np.random.default_rng(0)
    chain = np.stack([digits.train[:120], np.roll(digits.train[:120], 1)], 1)
    apart = digits.train[:240].reshape(120, 2)
    for pairs, told in ((chain, True), (apart, False)):
        answers = Supervision("similarity", pairs, rng.normal(size=120).astype(np.float32))
        done = finetune(model, digits, answers, strategy="probe", config=QUICK)
        assert any("the pairs share items" in n for n in done.notes) is told
        with pytest.raises(Asked, match="compares two items"):
            done.decider.predict(digits)


def test_another_request_does_not_replace_a_model(trained: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained, run)
    words = ("finetune", run, "builtin:digits", "--strategy", "probe", "-q")
    first, same, other = call(*words), call(*words), call(*words, "--alpha", "0.2")
    assert first.out == same.out and other.out.strip() == first.out.strip() + "_2", other.err
    assert call(*words, "--alpha", "0.2", "--out", first.out.strip()).code == 2
