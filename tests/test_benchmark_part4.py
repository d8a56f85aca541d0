"""The measurements of part 4: the page says what the cells hold."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import part4  # noqa: E402
import tables_page  # noqa: E402
from part1 import Cells  # noqa: E402


def test_the_page_is_written_from_the_cells() -> None:
    written = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert "\n".join(tables_page.page(Cells(ROOT / "benchmarks" / "results" / "part4"))) + "\n" == written


def test_what_is_not_measured_says_so(tmp_path: Path) -> None:
    assert sum(line == "not measured\n" for line in tables_page.page(Cells(tmp_path))) == 2


def test_the_drawn_table_is_what_it_claims(tmp_path: Path) -> None:
    with open(part4.shop(tmp_path)) as file:
        rows = list(csv.DictReader(file))
    prices = {"tea": 3, "cake": 5, "soup": 8, "stew": 11}
    off = [float(r["amount"]) / (prices[r["item"]] * int(r["pieces"])) for r in rows]
    assert len(rows) == 600 and np.std(off) < 0.03 and all((float(r["amount"]) > 18) == (r["label"] == "large") for r in rows[:50])


def test_a_large_table_takes_part_with_some_rows(tmp_path: Path) -> None:
    data = part4.opened(part4.shop(tmp_path), 100)
    assert len(data.train) + len(data.test) == 100 and len(data) == 600 and 60 <= len(data.train) <= 80
