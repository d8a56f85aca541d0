"""The learning table: how rows are put together, what counts as learning and leading, and the matrix made of them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import call
from tacit import matrix as matrices
from tacit import measured, registry

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def part2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import part2

    yield part2
    for name in ("part2", "part1", "pages", "prepare"):
        sys.modules.pop(name, None)


def cell(linear: float | None, difference: tuple[float, float, float], n: int = 100) -> dict[str, Any]:
    scores = {"ssl linear 10": [linear, linear, linear], "ssl knn all": [0.5, 0.4, 0.6], "untrained linear 10": [0.2, 0.1, 0.3]}
    kept = {"commit": "abcdef0123", "budget": 60, "steps": 7, "data": "d", "n_test": n, "health": None}
    return {**kept, "scores": scores, "difference": list(difference)}


def test_what_counts_as_learning(part2: Any) -> None:
    assert part2.learned([0.1, 0.01, 0.2]) and not part2.learned([0.1, -0.01, 0.2]) and not part2.learned([None, None, None])
    assert (
        part2.value(cell(0.7, (0, 0, 0))) == 0.7
        and math.isnan(part2.value(cell(None, (0, 0, 0))))
        and math.isnan(part2.value(cell(0.7, (0, 0, 0)), "svm"))
    )


def test_several_sets_become_one_row_with_a_narrower_interval(part2: Any) -> None:
    whole = part2.together([cell(0.6, (0.1, 0.0, 0.2)), cell(0.8, (0.3, 0.2, 0.4)), cell(0.7, (0.2, 0.1, 0.3)), cell(0.7, (0.2, 0.1, 0.3))])
    assert part2.value(whole) == pytest.approx(0.7) and whole["n_test"] == 400
    middle, low, high = whole["difference"]
    assert middle == pytest.approx(0.2) and high - middle == pytest.approx(0.1 / 2) and middle - low == pytest.approx(0.1 / 2)


def test_writing_marks_the_best_of_each_family(part2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = part2.Cells(tmp_path / "cells")
    rows = {"simclr": cell(0.7, (0.2, 0.1, 0.3)), "moco": cell(0.6, (0.1, 0.05, 0.2)), "vae": cell(0.21, (0.01, -0.02, 0.03))}
    for method, row in rows.items():
        (tmp_path / "cells" / f"cifar10_subset_{method}_0.json").write_text(json.dumps(row))
    for name in part2.UCR[:-1]:  # one of the four is missing: no row
        (tmp_path / "cells" / f"{name}_simclr_0.json").write_text(json.dumps(rows["simclr"]))
    assert part2.best(cells, "cifar10_subset", 2) == ["simclr", "moco"]
    monkeypatch.setattr(part2, "HERE", tmp_path / "benchmarks")
    (tmp_path / "src" / "tacit").mkdir(parents=True)
    monkeypatch.setattr(part2.pages, "write", lambda: None)
    monkeypatch.setattr(part2.pages, "EXTRA", tmp_path / "extra.md")
    part2.write(cells)
    found = json.loads((tmp_path / "src" / "tacit" / "measured.json").read_text())
    marks = {m: (found[m]["image"]["learns"], found[m]["image"]["leads"]) for m in rows}
    assert marks == {"simclr": (True, True), "moco": (True, False), "vae": (False, False)} and "series" not in found["simclr"]
    assert [found[m]["image"]["place"] for m in rows] == [1, 2, 3] and found["vae"]["image"]["of"] == 3
    monkeypatch.setattr(measured, "FILE", tmp_path / "src" / "tacit" / "measured.json")
    table = {r["method"]: r for r in matrices.matrix()}
    assert [matrices.mark(table[m]["image"]) for m in rows] == ["leads", "learns", "does not learn"]
    reason = measured.because("simclr", "image")
    assert reason.startswith("number 1 of 3 after 60 s on d, 70 % against") and "nothing was" in measured.because("simclr", "vector")
    assert matrices.mark(table["arrow"]["image"]) == "-" and matrices.mark(table["arrow"]["series"]) == "runs"
    text = part2.pages.page("vae", found["vae"])
    assert "+1.0 [-2.0, +3.0]" in text and "abcdef0" in text


def test_the_matrix_on_the_command_line() -> None:
    said = call("list", "methods", "--matrix", "--json")
    rows = json.loads(said.out)
    assert said.code == 0 and {r["method"] for r in rows} == set(registry.names("methods"))
    by = {r["method"]: r for r in rows}
    assert (
        by["rotation"]["series"]["runs"] is None
        and by["ts2vec"]["series"]["runs"] == "conv1d"
        and by["mae"]["vector"]["runs"] == "transformer"
    )
    assert "simclr" in call("list", "methods", "--matrix").out
    assert call("list", "backbones", "--matrix").code == 2


def test_the_cost_of_a_method_is_one_line_for_all_backbones(part2: Any) -> None:
    one = {
        "method": "dino",
        "backbone": "transformer",
        "batch": 128,
        "passes": 4,
        "items_per_s": 1234.4,
        "of_ceiling": 0.914,
        "after_step": 0.012,
    }
    two = {**one, "method": "dino, 4 small views", "backbone": "convnet", "items_per_s": 99.6}
    lines = part2.cost_table({"device": "cpu", "threads": 2, "commit": "abcdef0123", "rows": [one, {**one, "backbone": "convnet"}, two]})
    assert lines[-2] == "| dino | 4 | 1,234 | 91 % | 1.2 | 1,234 | 91 % | 1.2 |"
    assert lines[-1] == "| dino, 4 small views | 4 | - | - | - | 100 | 91 % | 1.2 |"


def test_one_failed_set_leaves_no_number_for_all_of_them(part2: Any) -> None:
    nothing = {**cell(None, (0, 0, 0)), "difference": [None] * 3}
    whole = part2.together([{**cell(0.6, (0.1, 0.0, 0.2)), "steps": 9, "commit": "1234567890abc"}, nothing])
    assert whole["difference"] == [None] * 3 and whole["steps"] == 8 and whole["commit"] == "1234567890 abcdef0123"
    assert not part2.learned(whole["difference"])


def test_a_method_without_a_number_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"place": 28, "of": 28, "linear10": None, "untrained": None, "seconds": 60, "data": "d"}
    monkeypatch.setattr(measured, "measured", lambda: {"simclr": {"image": row}})
    assert "nothing was measured" in measured.because("simclr", "image")


def test_plug_ins_from_elsewhere_cannot_hide_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    from tacit.methods.barlow import Barlow
    from tacit.modality import Modality

    class Broken(Barlow):
        def __init__(self, *args: Any, **options: Any) -> None:
            raise ValueError("mine")

    real, every = registry.find, registry.every
    monkeypatch.setattr(registry, "find", lambda kind, name: Broken if (kind, name) == ("methods", "barlow") else real(kind, name))
    monkeypatch.setattr(registry, "every", lambda kind: {**every(kind), **({"odd": Modality} if kind == "modalities" else {})})
    rows = {r["method"]: r for r in matrices.matrix()}
    assert "odd" not in rows["mae"] and rows["mae"]["image"]["runs"] and rows["barlow"]["image"]["runs"] is None
    assert rows["barlow"]["family"] == "ValueError: mine"
