"""The UCR benchmark: its protocol's rules, its file that is never computed twice, and its table."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def ucr(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("ucr", BENCHMARKS / "ucr.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ucr", module)
    spec.loader.exec_module(module)
    return module


def waves(folder: Path) -> Path:
    """Two classes of noisy waves, as the archive stores them."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part in ("TRAIN", "TEST"):
        lines = []
        for i in range(12):
            t = np.linspace(0, 6, 30) + draw.uniform(0, 6)
            x = np.sin(t * (1 + i % 2)) + 0.1 * draw.normal(size=30)
            lines.append("\t".join([str(1 + i % 2), *(f"{v:.4f}" for v in x)]))
        (folder / f"{folder.name}_{part}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_support_vector_machine_is_the_protocols(ucr: ModuleType) -> None:
    draw = np.random.default_rng(0)
    y = np.arange(60) % 2
    z = draw.normal(size=(60, 3)) + 3 * y[:, None]
    assert ucr.svm(z[:40], y[:40]).C == ucr.INFINITE, "below 50 series nothing is searched"
    assert set(ucr.svm(z, y).cv_results_["param_C"]) == set(ucr.GRID)
    assert ucr.svm(z, np.arange(60) % 20).C == ucr.INFINITE, "nor below 5 series a class"


def test_blocks_weigh_the_same(ucr: ModuleType) -> None:
    draw = np.random.default_rng(0)
    z = 7 + 5 * draw.normal(size=(50, 4))
    train, test = ucr.scaled((z, z[:3]), 100)
    assert train.var(0).sum() == pytest.approx(100) and np.allclose(train.mean(0), 0) and np.allclose(test, train[:3])


def test_cells_are_measured_once_and_shown(
    ucr: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aeon")
    from tacit.modalities.series import Series

    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Series, "preset", {**Series.preset, "steps": 2})
    waves(tmp_path / "data" / "Coffee")
    asked = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out.json")]
    assert ucr.main(asked) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [r["competitor"] for r in rows] == list(ucr.COMPETITORS)
    assert all(0.5 <= r["accuracy"] <= 1 and r["n_test"] == 12 and r["seconds"] >= 0 for r in rows)
    shown = capsys.readouterr().out
    assert "minus TS2Vec b" in shown and "mean of 1 published" in shown
    monkeypatch.setattr(ucr.Bench, "run", lambda *_: pytest.fail("measured again"))
    assert ucr.main(asked) == 0 and capsys.readouterr().out == shown
    assert ucr.main([*asked, "--sets", "Nothing"]) == 1


def test_the_page_shows_every_set_and_what_was_not_measured(ucr: ModuleType, tmp_path: Path) -> None:
    values = {"ts2vec": 0.9, "untrained": 0.8, "raw": 0.7, "minirocket": 0.95, "both": 0.96, "dtw": 0.85}
    rows = []
    for name, shift in (("Coffee", 0.0), ("Beef", -0.1)):
        for c, v in values.items():
            for seed in [None] if c in ucr.SEEDLESS else [0, 1]:
                accuracy = None if (name, c) == ("Beef", "dtw") else v + shift + (0.02 * (seed or 0))
                rows.append({"set": name, "competitor": c, "seed": seed, "accuracy": accuracy, "seconds": 2.0, "commit": "abc"})
    (tmp_path / "out.json").write_text(json.dumps({"rows": rows}))
    text = "\n".join(ucr.page(tmp_path / "out.json"))
    assert "| **mean of 1 sets** | 91.0 | 81.0 | 70.0 | 95.0 | 97.0 | 85.0 |" in text, "only sets with every competitor are averaged"
    assert "| **mean of the 1 with published values** | 91.0 | 81.0 | 70.0 | 95.0 | 97.0 | 85.0 | 100.0 | 100.0 | 100.0 |" in text
    assert "| Beef | 81.0 | 71.0 | 60.0 | 85.0 | 87.0 | not measured |  |  |  |" in text
    assert "| GunPoint | " + "not measured | " * 6 + "98.0 | 98.7 | 99.3 |" in text
    assert f"2 of {len(ucr.SETS)} sets measured, 2 seed(s), 1 with every competitor" in text and len(ucr.SETS) == 34
    assert "ts2vec 8, untrained 8, raw 4" in text and "Commit of the rows: abc." in text and "Not the benchmark" not in text
    (tmp_path / "out.json").write_text(json.dumps({"rows": [{**r, "steps": 50} for r in rows]}))
    assert "50 steps of pretraining" in "\n".join(ucr.page(tmp_path / "out.json"))


def test_steps_are_passed_on_and_never_mixed(ucr: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Fake:
        def __init__(self, folder: Path, seed: int, steps: int | None) -> None:
            self.steps = steps

        def run(self, name: str) -> dict[str, object]:
            asked.append((name, self.steps))
            return {"accuracy": 0.5, "seconds": 1.0, "n_train": 2, "n_test": 2}

    monkeypatch.setattr(ucr, "Bench", Fake)
    (tmp_path / "Coffee").mkdir()
    for steps in (["--steps", "3"], [], ["--steps", "3"]):
        assert ucr.main(["--data", str(tmp_path), "--out", str(tmp_path / "o.json"), "--sets", "Coffee", *steps]) == 0
    assert asked == [(c, 3) for c in ucr.COMPETITORS] + [(c, None) for c in ucr.COMPETITORS if c not in ucr.SEEDLESS]
