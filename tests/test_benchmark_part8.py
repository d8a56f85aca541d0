"""What the measurements of the audit stand on: faults that are what they say, and the page."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import audit_page  # noqa: E402
import faults  # noqa: E402
from part1 import Cells  # noqa: E402


def test_the_page_is_written_from_the_cells() -> None:
    cells = Cells(ROOT / "benchmarks" / "results" / "part8")
    assert (ROOT / "docs" / "audit-measured.md").read_text(encoding="utf-8") == "\n".join(audit_page.page(cells)) + "\n"


def test_there_are_thirty_faults_of_every_kind_and_ten_clean_data_sets() -> None:
    assert len(faults.PLANTED) >= 30 and len(faults.CLEAN) == 10 and len({p.name for p in faults.PLANTED}) == len(faults.PLANTED)
    assert {p.kind for p in faults.PLANTED} == {"image", "text", "table", "series", "audio"}
    assert all(p.found for p in faults.PLANTED) and not any(p.found for p in faults.CLEAN)


def test_a_planted_fault_is_there_and_the_rest_is_as_in_clean_data() -> None:
    rng = np.random.default_rng(0)
    x, y = faults.pictures(rng, 80)
    block = faults.block(np.random.default_rng(1), x, np.tile(y, 10)[:500])[1]
    assert (block[400:460] != np.tile(y, 10)[400:460]).all() and (block[:400] == np.tile(y, 10)[:400]).all()
    marked, _ = faults.corner(np.random.default_rng(1), x.copy(), y)
    assert len(np.unique(marked[:, 1, 1])) == 4 and np.array_equal(np.delete(marked, 1, 1), np.delete(x, 1, 1))
    columns, label = faults.rows(np.random.default_rng(2), 400)
    assert set(columns) == {"lab0", "lab1", "lab2", "lab3", "lab4", "ward", "sex"} and 0.3 < label.mean() < 0.7
