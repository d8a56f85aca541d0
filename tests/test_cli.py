"""The command line is a contract: streams, exit codes, JSON, and one clear sentence for what was asked wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from conftest import Said, call
from tacit import registry

DIGITS = "builtin:digits"


def refused(said: Said, *words: str, code: int = 2) -> None:
    """Nothing on stdout; one error of one or two lines on stderr, without a traceback."""
    assert said.code == code, said
    assert said.out == "" and "Traceback" not in said.err
    assert "error" in said.err.lower()
    for word in words:
        assert word in said.err, said.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 20 small pictures."""
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "photos" / ("cat" if i % 2 else "dog") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def some(path: Path, **kinds: int) -> Path:
    """A folder with so many different pictures in each class folder."""
    rng = np.random.default_rng(1)
    for name, count in kinds.items():
        (path / name).mkdir(parents=True)
        for i in range(count):
            Pillow.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path / name / f"{i}.png")
    return path


# ---- every verb ----


def test_inspect(folder: Path, tmp_path: Path) -> None:
    said = call("inspect", folder, "--json", "--out", tmp_path / "found.json")
    result = json.loads(said.out)
    assert said.code == 0 and result["items"] == 40 and result["modality"]["name"] == "image"
    assert json.loads((tmp_path / "found.json").read_text()) == result
    plain = call("inspect", folder)
    assert plain.code == 0 and "40" in plain.out and "image" in plain.out
    quiet = call("inspect", folder, "--quiet")
    assert quiet.out == plain.out and quiet.err == ""


def test_pretrain_prints_the_run_and_nothing_else(tmp_path: Path) -> None:
    words = ("pretrain", DIGITS, "--steps", 4, "--size", "tiny", "--out")
    plain = call(*words, tmp_path / "a")
    assert plain.code == 0 and plain.out == f"{tmp_path / 'a'}\n"
    for word in ("method", "simclr", "steps", "asked for", "step 4/4", "next: tacit evaluate"):
        assert word in plain.err
    quiet = call(*words, tmp_path / "b", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, f"{tmp_path / 'b'}\n", "")
    said = call(*words, tmp_path / "c", "--json", "method.temperature=0.3", "--seed", 5)
    result = json.loads(said.out)
    assert result["run"] == str(tmp_path / "c") and result["steps"] == 4 and result["labels_seen"] is False and result["health"]["state"]
    config = (tmp_path / "c" / "config.toml").read_text()
    assert "temperature = 0.3" in config and "seed = 5" in config
    assert json.loads((tmp_path / "c" / "run.json").read_text())["command"].startswith("tacit pretrain builtin:digits --steps 4")


def test_pretrain_without_out_makes_a_folder_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("pretrain", DIGITS, "--steps", 2, "--size", "tiny")
    path = Path(said.out.strip())
    assert said.code == 0 and path.parent == Path("runs") and path.name.endswith("_simclr_digits") and (path / "model").is_dir()


def test_dry_run_prints_the_plan(tmp_path: Path) -> None:
    said = call("pretrain", DIGITS, "--dry-run", "--json", "--out", tmp_path / "run", "--budget", "2min")
    plan = {c["name"]: c for c in json.loads(said.out)}
    assert said.code == 0 and plan["method"]["value"] == "simclr" and plan["budget"]["value"] == 120
    assert all(c["reason"] for c in plan.values())
    plain = call("pretrain", DIGITS, "--dry-run", "--out", tmp_path / "run")
    assert plain.code == 0 and "simclr" in plain.out and "preset" in plain.out and not (tmp_path / "run").exists()


def test_embed(trained: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    said = call("embed", trained, DIGITS, "--out", tmp_path / "z.parquet")
    assert said.code == 0 and said.out == f"{tmp_path / 'z.parquet'}\n" and "1797 vectors of 192 numbers" in said.err
    table = pq.read_table(tmp_path / "z.parquet")
    assert table.column_names == ["id", "label", "vector"] and table.num_rows == 1797
    assert table["id"][0].as_py() == "digits:0" and table["label"][:3].to_pylist() == ["0", "1", "2"]
    said = call("embed", trained, DIGITS, "--out", tmp_path / "z.npy", "--json", "--quiet")
    assert json.loads(said.out) == {"file": str(tmp_path / "z.npy"), "items": 1797, "dim": 192, "left_out": []} and said.err == ""
    z = np.load(tmp_path / "z.npy", allow_pickle=False)
    assert z.dtype == np.float32 and np.array_equal(z, np.stack(table["vector"].to_numpy(zero_copy_only=False)))


def test_evaluate_and_report(trained: Path, tmp_path: Path) -> None:
    import shutil

    path = tmp_path / "run"
    shutil.copytree(trained, path)
    said = call("evaluate", path, DIGITS, "--labels", "1,5", "--seeds", 2, "--no-supervised", "--json")
    result = json.loads(said.out)
    assert said.code == 0 and {r["labels_per_class"] for r in result["results"]} == {1, 5}
    assert {"ssl", "untrained"} <= {r["representation"] for r in result["results"]} and result["verdict"]["sentence"]
    assert [json.loads(p.read_text())["verdict"] for p in (path / "evaluation").glob("*.json")] == [result["verdict"]]
    plain = call("evaluate", path, DIGITS, "--labels", "5", "--seeds", 2, "--no-supervised", "--quiet")
    assert plain.code == 0 and plain.err == "" and "ssl" in plain.out and "untrained" in plain.out
    said = call("report", path, "--json", "--quiet")
    assert said.code == 0 and json.loads(said.out)["report"] == str(path / "report.html") and (path / "report.html").stat().st_size > 10_000
    assert call("report", path).out == f"{path / 'report.html'}\n"


def test_list() -> None:
    found = json.loads(call("list", "--json").out)
    assert {e["kind"] for e in found} == set(registry.KINDS) and {"simclr", "mae"} <= {e["name"] for e in found}
    assert "simclr" in call("list", "methods").out and "resnet" not in call("list", "methods").out
    about = json.loads(call("list", "methods", "simclr", "--json").out)
    assert about["hyperparameters"]["temperature"] == 0.2 and "2002.05709" in about["source"]
    assert "temperature" in call("list", "methods", "simclr").out
    refused(call("list", "method"), "did you mean 'methods'")
    refused(call("list", "methods", "simcrl"), "did you mean 'simclr'")


def test_doctor() -> None:
    said = call("doctor", "--json")
    findings = json.loads(said.out)
    assert said.code in (0, 1) and {f["name"] for f in findings} >= {"python", "torch"}
    assert (said.code == 1) == any(f["ok"] is False for f in findings)


@pytest.mark.parametrize("verb", ["inspect", "pretrain", "embed", "evaluate", "report", "list", "doctor", "demo"])
def test_help_shows_an_example_and_the_common_options(verb: str) -> None:
    said = call(verb, "--help")
    assert said.code == 0 and f"tacit {verb}" in said.out and "Example" in said.out and "--json" in said.out and "--quiet" in said.out


def test_version_and_no_words() -> None:
    import tacit

    assert call("--version").out == f"{tacit.__version__}\n"
    assert "pretrain" in call().out + call().err


def test_module_and_entry_point_agree(tmp_path: Path) -> None:
    """As a process: streams, NO_COLOR, a closed pipe, and the exit code that a script sees."""
    command = [sys.executable, "-c", "from tacit.cli import main; main()"]
    bad = subprocess.run([*command, "inspect", str(tmp_path / "absent")], capture_output=True, text=True, timeout=120)
    assert bad.returncode == 2 and bad.stdout == "" and bad.stderr.startswith("error: there is no file or folder")
    listing = subprocess.run([*command, "list"], capture_output=True, text=True, timeout=120, env={**os.environ, "NO_COLOR": "1"})
    assert listing.returncode == 0 and "\x1b" not in listing.stdout
    closed = subprocess.Popen([*command, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert closed.stdout is not None and closed.stderr is not None
    closed.stdout.close()
    assert closed.stderr.read() == b"" and closed.wait(timeout=120) in (0, 1), "a reader that goes away is no error to talk about"


# ---- what is asked wrongly ----


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--method", "simcrl"], "did you mean 'simclr'"),
        (["--method", "absent.py:Mine"], "there is no file 'absent.py'"),
        (["--backbone", "resnt"], "did you mean 'resnet'"),
        (["--modality", "imagge"], "did you mean 'image'"),
        (["--size", "huge"], "tiny, small and base"),
        (["method.temprature=0.2"], "did you mean 'temperature'"),
        (["method.temperature=-1"], "method.temperature=-1"),
        (["method.temperature=warm"], "method.temperature=warm"),
        (["backbone.depth=0"], "backbone.depth=0"),
        (["optim.lr=0"], "optim.lr=0"),
        (["optim.rate=1"], "optim"),
        (["modality.crop=1.5"], "modality.crop=1.5"),
        (["model.depth=3"], "there is no part 'model'"),
        (["temperature"], "part.name=value"),
        (["--budget", "soon"], "cannot read the budget 'soon'"),
        (["--budget", "0s"], "not a positive time"),
        (["--budget", "1min", "--steps", "5"], "--budget excludes"),
        (["--steps", "5", "--epochs", "1"], "exclude each other"),
        (["--steps", "0"], "at least one step"),
        (["--epochs", "0"], "positive number of passes"),
        (["--steps", "many"], "'--steps'"),
        (["--batch-size", "5000"], "more than the"),
        (["--batch-size", "1"], "at least 2 items"),
        (["--image-size", "0"], "size 0"),
        (["--image-size", "-4"], "size -4"),
        (["--device", "tpu"], "not available"),
        (["--precision", "fp4"], "not offered"),
        (["--resume"], "--resume needs --out"),
        (["--init", "absent"], "holds no model"),
        (["--method", "mae", "--backbone", "resnet"], "backbones that can: transformer"),
        (["--max-bad", "2"], "'--max-bad'"),
        (["--colour"], "--colour"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_what_cannot_be_meant_exits_with_2(words: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("pretrain", DIGITS, *([] if {"--steps", "--budget", "--epochs"} & set(words) else ["--steps", 2]), *words)
    refused(said, complaint)


def test_paths_that_are_wrong(trained: Path, folder: Path, tmp_path: Path) -> None:
    for verb in (["inspect"], ["pretrain"], ["embed", trained], ["evaluate", trained]):
        out = ["--out", tmp_path / "z.npy"] if verb[0] == "embed" else []
        refused(call(*verb, folder.parent / "photoz", *out), "there is no file or folder", f"did you mean '{folder}'")
        refused(call(*verb, "builtin:digitz", *out), "did you mean 'digits'")
    for verb in (["embed"], ["evaluate"]):
        out = ["--out", tmp_path / "z.npy"] if verb[0] == "embed" else []
        refused(call(*verb, tmp_path / "absent", DIGITS, *out), "absent")
    refused(call("report", tmp_path), "is not a run folder")
    refused(call("embed", trained, DIGITS, "--out", tmp_path / "z.csv"), ".parquet or .npy")
    refused(call("embed", trained, DIGITS, "--out", "/proc/z.npy"), "cannot be written", code=1)
    refused(call("evaluate", trained, DIGITS, "--labels", "few"), "'few' is neither")
    refused(call("evaluate", trained, DIGITS, "--labels", "0"), "'0' is neither")
    refused(call("pretrain", DIGITS, "--steps", 2, "--out", trained), "is not empty")
    refused(call("pretrain", DIGITS, "--steps", 2, "--out", "/proc/run"), "cannot be written", code=1)
    assert call("conquer", DIGITS).code == 2 and call("inspect").code == 2


def test_kinds_of_data_are_not_mixed_up(trained: Path, tmp_path: Path) -> None:
    series = tmp_path / "Waves_TRAIN.tsv"
    series.write_text("".join("\t".join(map(str, [i % 2 + 1, *range(i, i + 20)])) + "\n" for i in range(30)))
    for words in (["embed", trained, series, "--out", tmp_path / "z.npy"], ["evaluate", trained, series]):
        said = call(*words)
        assert said.code in (1, 2) and said.out == "" and "image" in said.err and "Traceback" not in said.err


def test_data_without_labels_cannot_be_evaluated(trained: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), dtype=np.uint8))
    said = call("evaluate", trained, tmp_path / "images.npy")
    refused(said, "has no labels to evaluate with", "--target")


def test_few_images(tmp_path: Path) -> None:
    one = some(tmp_path / "one", only=1)
    assert call("inspect", one).code == 0
    refused(call("pretrain", one, "--steps", 2, "--out", tmp_path / "r1"), "nothing can be learned from so few", code=1)
    single = some(tmp_path / "single", only=12)
    said = call("pretrain", single, "--steps", 2, "--size", "tiny", "--out", tmp_path / "r2")
    assert said.code == 0, said.err
    evaluated = call("evaluate", tmp_path / "r2", single, "--seeds", 2, "--no-supervised", "--json")
    verdict = json.loads(evaluated.out)["verdict"]
    assert evaluated.code == 0 and verdict["helps"] is None and "same label" in verdict["sentence"]
    refused(call("pretrain", single, "--steps", 2, "--batch-size", 64, "--out", tmp_path / "r3"), "more than the", "training items")
    (tmp_path / "empty").mkdir()
    refused(call("pretrain", tmp_path / "empty", "--steps", 2), "no file", code=1)


# ---- plug-ins from a file ----

PLUGIN = '''
import torch
from torch import nn
from tacit.encoder import Encoder
from tacit.losses import mse
from tacit.method import Method
from tacit.types import Batch, Context, Info, Positive, Step, Views


class Nearer(Method):
    """Two views of an item shall have the same projection.

    weight: of the only term.
    """

    source = "this test, 2025"
    views = Views(global_=2)

    def __init__(self, encoder: Encoder, info: Info, *, weight: Positive = 1.0) -> None:
        super().__init__(encoder, info)
        self.projector, self.weight = nn.Linear(encoder.dim, 8), weight

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        f, g = self.encoder.each(views)
        spread = self.projector(f.pooled).std(0).mean()
        return Step(self.weight * mse(self.projector(f.pooled), self.projector(g.pooled)) - spread.float(), f.pooled.detach())
'''


def test_a_method_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "nearer.py"
    file.write_text(PLUGIN)
    words = ("pretrain", DIGITS, "--steps", 3, "--size", "tiny", "--method", f"{file}:Nearer")
    said = call(*words, "--out", tmp_path / "run", "method.weight=2")
    assert said.code == 0, said.err
    assert "nearer.py:Nearer" in (tmp_path / "run" / "config.toml").read_text()
    z = call("embed", tmp_path / "run", DIGITS, "--out", tmp_path / "z.npy")
    assert z.code == 0, "a model needs its method no more"
    refused(call(*words, "method.weight=-2"), "method.weight=-2")
    refused(call(*words, "method.wait=2"), "did you mean 'weight'")
    about = json.loads(call("list", "methods", f"{file}:Nearer", "--json").out)
    assert about["hyperparameters"] == {"weight": 1.0}


def test_data_on_stdout_words_on_stderr(folder: Path, tmp_path: Path) -> None:
    """Whatever a verb says while it works, stdout holds only what a script reads."""
    results: dict[str, Any] = {}
    for name, words in {
        "inspect": ["inspect", folder],
        "pretrain": ["pretrain", folder, "--steps", 3, "--size", "tiny", "--out", tmp_path / "run"],
        "embed": ["embed", tmp_path / "run", folder, "--out", tmp_path / "z.parquet"],
        "evaluate": ["evaluate", tmp_path / "run", folder, "--labels", "1,all", "--seeds", 2],
        "report": ["report", tmp_path / "run"],
    }.items():
        said = call(*words, "--json")
        assert said.code == 0, said.err
        results[name] = json.loads(said.out)
    assert {r["representation"] for r in results["evaluate"]["results"]} >= {"ssl", "untrained", "supervised"}
