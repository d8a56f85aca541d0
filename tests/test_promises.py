"""Small promises of the API that users rely on, each broken once: what is said, what is kept, what is refused."""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from sklearn.linear_model import LogisticRegression

import tacit
from conftest import call, small
from tacit.assemble import make_encoder, make_modality
from tacit.data.dataset import from_arrays
from tacit.data.dataset import open as opened
from tacit.embedding.model import Model
from tacit.encoder import join
from tacit.errors import Asked, TacitError
from tacit.evaluation.classics.columns import Columns
from tacit.evaluation.labels import Draw, LevelPlan
from tacit.evaluation.readers import Reading
from tacit.evaluation.scores import Scorer
from tacit.evaluation.verdict import verdict
from tacit.methods.ts2vec import TS2Vec
from tacit.methods.vicreg import VICReg
from tacit.runtime import rng
from tacit.training.health import Watch
from tacit.training.loader import Loader
from tacit.training.loop import Loop, calibrate, make_fabric
from tacit.training.plan import make_plan
from tacit.training.supervised import FromScratch
from tacit.types import Batch, Context, Embeddings, Info, Step, Views


def pictures(folder: Path, n: int = 24) -> Path:
    """Images in two class folders with a metadata.csv that names label and camera."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    lines = ["file_name,kind,camera"]
    for i in range(n):
        Pillow.fromarray(draw.integers(0, 256, (12, 12, 3)).astype(np.uint8)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},c{i // 4}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def test_evaluate_reads_a_runs_own_data_as_the_pretraining_did(tmp_path: Path) -> None:
    folder, run = pictures(tmp_path / "photos"), tmp_path / "run"
    words = ["pretrain", folder, "--steps", 2, "--size", "tiny", "--batch-size", 4, "--target", "kind", "--group", "camera", "--out", run]
    assert call(*words).code == 0
    stored = json.loads((run / "data.json").read_text())
    assert stored["options"] == {"target": "kind", "group": "camera", "max_bad": 0.1}
    said = call("evaluate", run, folder, "--no-supervised", "--labels", "1", "--json")
    assert said.code == 0 and "read as for the pretraining: --target kind, --group camera" in said.err
    (file,) = (run / "evaluation").glob("*.json")
    held = json.loads(file.read_text())
    assert held["read"]["options"]["group"] == "camera" and file.stem == "photos"
    assert {r["n_test"] for r in held["results"]} == {len(stored["split"]["test"])}, "the same items are held out"
    assert call("report", run).code == 0 and "--target kind --group camera" in (run / "report.html").read_text()
    assert call("embed", run, folder, "--out", tmp_path / "z.npy", "--json").code == 0
    other = call("embed", run, folder, "--out", tmp_path / "z.npy", "--target", "camera").err
    assert "--target" not in other and "--group camera" in other, "what is named now counts"


def test_unreadable_items_are_told_by_every_verb(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    (folder / "3.png").write_text("no image")
    said = call("pretrain", folder, "--steps", 2, "--size", "tiny", "--batch-size", 4, "--out", tmp_path / "run")
    assert said.code == 0 and "1 of 24 images cannot be used and are left out" in said.err and "3.png" in said.err
    said = call("embed", tmp_path / "run", folder, "--out", tmp_path / "z.npy", "--json")
    assert json.loads(said.out)["left_out"] == ["3.png"] and "left out" in said.err


def test_embeddings_are_an_array() -> None:
    z = Embeddings(np.arange(12, dtype=np.float32).reshape(6, 2), tuple("abcdef"))
    assert np.asarray(z).shape == z.shape == (6, 2) and len(z) == 6 and np.array_equal(z[1:3], z.vectors[1:3])
    assert np.asarray(z, dtype=np.float64).dtype == np.float64
    assert LogisticRegression().fit(z, [0, 1] * 3).predict(z).shape == (6,)


def test_a_data_set_gives_its_items() -> None:
    ragged = small("ragged")
    assert ragged[1].shape == (2, 20) and np.isfinite(ragged[1]).all() and small("image")[0].shape == (3, 16, 16)


def test_a_backbone_may_be_named_with_its_depth(tmp_path: Path) -> None:
    run = tacit.pretrain(small("image"), backbone="resnet18", size="tiny", steps=1, batch_size=4, out=tmp_path / "run")
    assert run.config.backbone["name"] == "resnet" and run.config.backbone["depth"] == 18
    again = tacit.pretrain(small("image"), backbone="resnet18", size="tiny", steps=1, batch_size=4, out=tmp_path / "run", resume=True)
    assert again.path == run.path
    with pytest.raises(Asked, match="convnet7"):
        tacit.pretrain(small("image"), backbone="convnet7000x", steps=1, out=tmp_path / "other")


def test_batches_carry_groups_through_joins() -> None:
    data = from_arrays(np.zeros((6, 4), np.float32) + np.arange(6)[:, None], groups=list("aabbcc")).whole()
    loader = Loader(data, data.train, make_modality(data.spec, {}), torch.device("cpu"))
    batch = loader.batch(np.array([0, 3, 5]))
    assert batch.group is not None and batch.group.tolist() == [0, 1, 2]
    both = join([batch, batch])
    assert both.group is not None and both.group.tolist() == [0, 1, 2, 0, 1, 2] and both.label is None


def test_a_pretext_task_comes_after_the_other_views() -> None:
    data = small("image")
    modality = make_modality(data.spec, {})
    batch = Batch(modality.load(torch.from_numpy(data.x[:4])), torch.arange(4))
    views = modality.views(batch, Views(plain=1, task="turn"), rng(0, "t"), (1, 1))
    assert len(views) == 2 and views[0].answer is None and views[1].answer is not None


def test_columns_are_read_as_they_are() -> None:
    x = np.array([[1.0, np.nan], [3.0, 4.0]], np.float32)
    fitted = Columns().fit(x, small("vector").spec)
    assert np.array_equal(fitted.transform(x), [[1, 4], [3, 4]])
    assert np.array_equal(fitted.transform(np.full((1, 2), np.nan, np.float32)), [[2, 4]])


def test_vectors_are_compared_with_their_own_columns(tmp_path: Path) -> None:
    data = small("vector")
    run = tacit.pretrain(data, steps=2, size="tiny", batch_size=8, out=tmp_path / "run")
    rows = tacit.evaluate(run, data, levels=[1], supervised=False).evaluation.results
    assert {"columns", "ssl", "untrained"} == {r["representation"] for r in rows}


def test_names_that_are_no_utf8_are_written_out(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", 8)
    os.rename(os.fsencode(folder / "0.png"), os.fsencode(folder) + b"/\xff.png")
    (folder / "metadata.csv").unlink()
    run = tacit.pretrain(opened(folder), steps=1, size="tiny", batch_size=2, out=tmp_path / "run")
    z = tacit.embed(run, folder, tmp_path / "z.parquet")
    assert any("udcff" in name for name in z.ids)


def test_supervised_training_leaves_unlabelled_items_out(tmp_path: Path) -> None:
    data = small("vector")
    assert data.labels is not None
    some = replace(data, labels=np.where(np.arange(len(data)) % 3 == 0, -1, data.labels))
    run = tacit.pretrain(some, method="supervised", steps=2, size="tiny", batch_size=4, out=tmp_path / "run")
    assert run.path.is_dir()
    with pytest.raises(Asked, match="no training item has a label"):
        tacit.pretrain(replace(data, labels=np.full(len(data), -1)), method="supervised", steps=2, out=tmp_path / "none")


def test_what_the_start_of_a_run_saw_is_not_forgotten(tmp_path: Path) -> None:
    data = small("vector")
    options = {"steps": 1, "size": "tiny", "batch_size": 4}
    first = tacit.pretrain(data, out=tmp_path / "first", **options)
    inside = tacit.pretrain(data, out=tmp_path / "inside", init=str(first.path / "model"), **options)
    assert set(np.load(first.path / "seen.npy")) <= set(np.load(inside.path / "seen.npy"))
    first.model.save(tmp_path / "alone")
    unknown = tacit.pretrain(data, out=tmp_path / "unknown", init=str(tmp_path / "alone"), **options)
    assert not (unknown.path / "seen.npy").exists(), "nothing claims that leaks were checked"
    notes = tacit.evaluate(unknown, data, levels=[1], supervised=False).evaluation.notes
    assert any(note.startswith("what pretraining saw is unknown") for note in notes)
    assert "another matter" in (unknown.path / "model" / "CARD.md").read_text()


@pytest.mark.parametrize(("different", "helps"), [(3, None), (5, None), (60, True)])
def test_few_items_that_differ_are_no_verdict(different: int, helps: bool | None) -> None:
    truth = np.zeros(400, np.int64)
    plan = LevelPlan(10, 20, 10, (Draw(np.arange(3), np.arange(3, 6)),) * 5)
    right, worse = np.zeros((5, 400), np.int64), np.zeros((5, 400), np.int64)
    worse[:, :different] = 1
    both = [Reading("ssl", "ssl", "linear", plan, right), Reading("pca", "classic", "linear", plan, worse, 0.5)]
    found = verdict(both, Scorer(truth, False))
    assert found["levels"][0]["discordant"] == different and found["helps"] is helps


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e25])
def test_numbers_of_any_size_are_scored(unit: float) -> None:
    y = np.random.default_rng(0).normal(size=50) * unit
    value, low, high = Scorer(y, True).score("r2", np.stack([0.9 * y, 0.8 * y]))
    assert value == pytest.approx(1 - (0.01 + 0.04) / 2 * (y**2).mean() / y.var(), rel=1e-6) and low < value < high
    rmse = Scorer(y, True).score("rmse", np.stack([0.9 * y, 0.9 * y]))
    assert rmse[0] == pytest.approx(0.1 * np.sqrt((y**2).mean()))


def test_bfloat16_does_not_touch_what_the_network_sees() -> None:
    """Values far from zero keep their small differences: only the network runs in bfloat16."""
    x = (10_000 + np.random.default_rng(0).normal(size=(8, 1, 64))).astype(np.float32)
    data = from_arrays(x, size=32)
    modality = make_modality(data.spec, {})
    model = Model(make_encoder(modality, {"name": "conv1d", "size": "tiny"}, frozenset()), modality, {}).eval()
    exact = model.vectors(data.x)
    model.precision = "bf16-mixed"
    rough = model.vectors(data.x)
    assert np.abs(exact - rough).max() < 0.1 * exact.std() + 0.02 and np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.99


def test_a_model_of_another_width_is_refused(tmp_path: Path) -> None:
    run = tacit.pretrain(small("image"), steps=1, size="tiny", batch_size=4, out=tmp_path / "run")
    file = run.path / "model" / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "dim": 7}))
    with pytest.raises(TacitError, match="vectors of 7 numbers"):
        tacit.load(run.path)


def test_a_member_named_dot_is_skipped(tmp_path: Path) -> None:
    out = io.BytesIO()
    Pillow.new("L", (8, 8), 9).save(out, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in (".", "a.png", "b.png"):
            file.writestr(name, out.getvalue())
    assert len(opened(tmp_path / "a.zip")) == 2


def test_labels_as_bytes_are_words(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "d.npz",
        x=np.random.default_rng(0).normal(size=(6, 1, 30)),
        y=np.array([b"cat", b"dog"] * 3),
        group=np.array([b"p1"] * 6),
    )
    data = opened(tmp_path / "d.npz")
    assert data.classes == ("cat", "dog") and data.group_names == ("p1",)


def test_one_infinite_pixel_spoils_one_image(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(12):
        x = draw.random((8, 8)).astype(np.float32)
        x[0, 0] = np.inf if i == 0 else x[0, 0]
        Pillow.fromarray(x).save(tmp_path / f"{i}.tif")
    data = opened(tmp_path)
    assert len(data) == 11 and "not finite" in data.bad[0].reason and data.x.max() > 200


def test_what_a_method_does_not_vary_is_not_said_to_be_ignored(tmp_path: Path) -> None:
    series = tacit.pretrain(small("series"), method="ts2vec", steps=1, size="tiny", batch_size=4, out=tmp_path / "run")
    assert "amplitude" not in (series.path / "model" / "CARD.md").read_text()
    assert json.loads((series.path / "model" / "model.json").read_text())["ignores"] == "where a window begins and ends"
    tacit.load(series.path).save(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "model.json").read_text())["ignores"] == "where a window begins and ends"


def test_test_series_longer_than_training_series_are_compared(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    train = from_arrays([draw.normal(size=(1, 30)).astype(np.float32) for _ in range(16)], y=[0, 1] * 8)
    test = from_arrays([draw.normal(size=(1, n)).astype(np.float32) for n in [40, 30] * 5], y=[0, 1] * 5)
    run = tacit.pretrain(train.whole(), steps=1, size="tiny", batch_size=4, out=tmp_path / "run")
    done = tacit.evaluate(run, train.whole(), test=test, levels=[1], supervised=False)
    raw = [r for r in done.evaluation.results if r["representation"] == "raw"]
    assert raw and all(r["value"] is not None for r in raw)


def test_a_run_knows_its_own_data_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, run = pictures(tmp_path / "photos"), tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    words = ["pretrain", "photos", "--steps", 1, "--size", "tiny", "--batch-size", 4, "--target", "kind", "--out", run]
    assert call(*words).code == 0
    (tmp_path / "other").mkdir()
    namesake = pictures(tmp_path / "other" / "photos")
    (namesake / "metadata.csv").unlink()
    monkeypatch.chdir(tmp_path / "other")
    assert "--target kind" in call("embed", run, folder, "--out", tmp_path / "z.npy").err
    assert "--target" not in call("embed", run, "photos", "--out", tmp_path / "z.npy").err, "another folder of the same name"
    labels = tacit.embed(run, folder).labels
    assert labels is not None and set(labels) == {"a", "b"}


def test_one_label_draw_is_no_verdict() -> None:
    truth, plan = np.zeros(60, np.int64), LevelPlan(10, 20, 10, (Draw(np.arange(3), np.arange(3, 6)),))
    right, worse = np.zeros((1, 60), np.int64), np.ones((1, 60), np.int64)
    both = [Reading("ssl", "ssl", "linear", plan, right), Reading("pca", "classic", "linear", plan, worse, 0.5)]
    found = verdict(both, Scorer(truth, False))
    assert found["helps"] is None and "a single label draw" in found["sentence"]


def test_few_test_numbers_have_bounded_intervals() -> None:
    y = np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    value, low, high = Scorer(y, True).score("r2", np.stack([y + 0.1, y - 0.1]))
    assert np.isfinite([value, low, high]).all() and low > -10


def test_a_test_of_one_class_is_not_measured(tmp_path: Path) -> None:
    data = small("vector")
    run = tacit.pretrain(data, steps=1, size="tiny", batch_size=4, out=tmp_path / "run")
    test = from_arrays(np.random.default_rng(3).normal(size=(9, 7)).astype(np.float32), y=["0"] * 9)
    done = tacit.evaluate(run, replace(data, classes=("0", "1")), test=test, levels=[1], supervised=False)
    assert done.verdict["helps"] is None and "same label" in done.verdict["sentence"]


def test_an_infinite_rate_is_asked_wrongly_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("pretrain", "builtin:digits", "--steps", 1, "optim.lr=inf").code == 2
    assert call("pretrain", "builtin:digits", "--steps", 1, "--init", "nowhere").code == 2
    assert not list((tmp_path / "runs").glob("*"))


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    run = tacit.pretrain(small("vector"), steps=1, size="tiny", batch_size=4, out=tmp_path / "run")
    (run.path / "model" / "model.json").unlink()
    with pytest.raises(Asked, match="has not finished") as error:
        tacit.load(run.path)
    assert "--resume" in error.value.hint


def test_a_damaged_data_json_is_said_and_not_worked_around(tmp_path: Path) -> None:
    run = tacit.pretrain(pictures(tmp_path / "photos"), steps=1, size="tiny", batch_size=4, out=tmp_path / "run")
    (run.path / "data.json").write_text("{")
    said = call("embed", run.path, tmp_path / "photos", "--out", tmp_path / "z.npy")
    assert said.code == 1 and "data.json cannot be read" in said.err


def test_calibration_times_a_survey_and_does_not_hurry() -> None:
    data = small("vector")
    config, _ = make_plan(data, len(data.train), size="tiny", batch_size=4)
    modality = make_modality(data.spec, config.modality)
    progress: list[float] = []
    surveyed: list[int] = []

    class Curious(VICReg):
        surveys = 4

        def forward(self, views: list[Batch], ctx: Context) -> Step:
            progress.append(ctx.progress)
            return super().forward(views, ctx)

        def survey(self, z: torch.Tensor, ctx: Context) -> None:
            surveyed.append(len(z))

    method = Curious(make_encoder(modality, config.backbone, frozenset()), Info(len(data.train)))
    fabric = make_fabric(config)
    loop = Loop.build(fabric, method, Loader(data, data.train, modality, fabric.device), modality, config)
    now = iter(range(10**6))
    _, pause = calibrate(loop, 0.0, lambda: float(next(now)))
    # embedding and looking are measured once each, so that a budget knows what all of them take
    assert surveyed == [len(data.train)] and pause == 4.0 + 4.0
    assert progress and max(progress) < 0.01 and loop.config is config and method.surveys == 4


def test_supervised_training_knows_no_label_but_its_own() -> None:
    draw = np.random.default_rng(0)
    data = from_arrays(draw.normal(size=(40, 5)).astype(np.float32), y=draw.normal(size=40))
    assert data.labels is not None and data.task == "regression"
    config, _ = make_plan(data, len(data.train), size="tiny", batch_size=4, steps=1)
    chosen = np.arange(10)
    others = data.labels.copy()
    others[np.setdiff1d(np.arange(40), data.train[chosen])] += 1000
    scores = [FromScratch(d, config, data.train, d, data.test)(chosen, 0)[1] for d in (data, replace(data, labels=others))]
    assert np.array_equal(*scores)


def test_a_rank_of_few_rows_is_no_warning() -> None:
    def words(rows: int) -> str:
        watch = Watch(32)
        watch.see(torch.randn(rows, 1) @ torch.randn(1, 32) + 0.01 * torch.randn(rows, 32))
        return watch.judge(0.5, 1.0, None, None).words

    assert "few dimensions" in words(256) and "few dimensions" not in words(8)


def test_ts2vec_knows_what_guessing_costs() -> None:
    """Equal features at every moment: the loss is that of guessing."""
    encoder = make_encoder(make_modality(small("series").spec, {}), {"name": "conv1d", "size": "tiny"}, frozenset({"mask", "resize"}))
    for p in encoder.backbone.parameters():
        torch.nn.init.zeros_(p)
    batch = Batch(torch.randn(6, 2, 48), torch.arange(6))
    step = TS2Vec(encoder, Info(6))([batch, batch], Context(rng(0, "t"), 0.5))
    assert step.chance is not None and float(step.loss.detach()) == pytest.approx(step.chance, rel=0.02)


def test_inspect_says_how_large_the_pictures_are(tmp_path: Path) -> None:
    pictures(tmp_path / "photos", 3)
    Pillow.new("RGB", (40, 30)).save(tmp_path / "photos" / "0.png")
    assert "sizes      12 x 12 to 30 x 40, median 12 x 12" in call("inspect", tmp_path / "photos").out


def test_an_interrupt_before_the_first_step_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tacit.training.pretrain.calibrate", stop)
    said = call("pretrain", "builtin:digits", "--budget", "10s", "--quiet", "--out", tmp_path / "run")
    assert said.code == 130 and "run the same command again" in said.err
    monkeypatch.undo()
    assert call("pretrain", "builtin:digits", "--steps", 1, "--size", "tiny", "--out", tmp_path / "run").code == 0


@pytest.mark.parametrize("asked", [{}, {"MALLOC_MMAP_THRESHOLD_": "131072"}], ids=["ours", "the user's own threshold"])
def test_freed_arrays_are_kept_for_the_next_ones_where_the_c_library_can(asked: dict[str, str]) -> None:
    code = """
import resource
from tacit.runtime import hold_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in range(20, 60):
        b"x" * (size << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), hold_memory(), faults(), faults())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **asked}).stdout
    before, held, _, after = said.split()
    assert held == str(platform.libc_ver()[0] == "glibc" and not asked)
    if held == "True":
        assert int(after) < int(before) / 4
