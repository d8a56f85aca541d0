"""The measurements of part 3: the page says what the cells hold, and drawn data is what it claims to be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import deciding_page  # noqa: E402
import generated  # noqa: E402
import part3  # noqa: E402
from part1 import Cells  # noqa: E402


def test_the_page_is_written_from_the_cells() -> None:
    written = (ROOT / "docs" / "deciding.md").read_text(encoding="utf-8")
    assert "\n".join(deciding_page.page(Cells(ROOT / "benchmarks" / "results" / "part3"))) + "\n" == written


def test_what_is_not_measured_says_so(tmp_path: Path) -> None:
    assert sum(line == "not measured\n" for line in deciding_page.page(Cells(tmp_path))) == 4


def test_drawn_shapes_have_the_size_that_they_are_labelled_with() -> None:
    x, mask, size = generated.shapes(60, 0)
    assert x.shape == (60, 3, 32, 32) and set(np.unique(mask)) == {0, 1, 2, 3}
    again = generated.shapes(60, 0)
    assert all(np.array_equal(a, b) for a, b in zip((x, mask, size), again, strict=True))
    covered = (mask > 0).reshape(60, -1).sum(1)
    assert np.corrcoef(covered, size**2)[0, 1] > 0.6
    x, mask = generated.pasted(20, 1)
    assert x[mask[:, None] > 0].mean() > x[mask[:, None] == 0].mean() + 60


def test_a_share_of_labels_has_every_class() -> None:
    y = np.repeat(np.arange(5), [100, 50, 10, 3, 1])
    few = part3.subset(y, 0.1, 0)
    assert np.bincount(y[few]).tolist() == [10, 5, 1, 1, 1]
    assert not np.array_equal(few, part3.subset(y, 0.1, 1)) and len(part3.subset(y, 1.0, 0)) == len(y)
