"""What the measurements of sound stand on: folds, noise, rows of digits, the page."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import audio_page  # noqa: E402
import part6  # noqa: E402
import recordings  # noqa: E402
from part1 import Cells  # noqa: E402


def test_no_speaker_is_on_both_sides_and_labels_of_rows_are_what_is_said(tmp_path: Path) -> None:
    import tacit

    place = recordings.generated(tmp_path, takes=2)
    data = recordings.held_out(part6.opened(place, "digit"), ("s0", "s1"))
    assert set(data.groups[data.test]) == {0, 1} and not {0, 1} & set(data.groups[data.train])
    rows = recordings.rowed(data, tmp_path, 20, 5, 0.5)
    whole = tacit.open(rows, target="said", cache=False)
    assert len(whole.train) == 20 and len(whole.test) == 5 and (whole.labels[whole.train] >= 0).sum() == 10
    words = [whole.classes[k].split() for k in whole.labels[whole.labels >= 0]]
    assert all(3 <= len(w) <= 5 and set(w) <= {f"w{i}" for i in range(5)} for w in words)
    assert not set(whole.groups[whole.test]) & set(whole.groups[whole.train])


def test_noise_is_as_loud_as_it_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=8000)
    n = recordings.noisy(x, 6.0, rng) - x
    assert 10 * np.log10((x**2).mean() / (n**2).mean()) == pytest.approx(6.0, abs=0.01)


def test_the_page_is_written_from_the_cells() -> None:
    cells = Cells(ROOT / "benchmarks" / "results" / "part6")
    assert (ROOT / "docs" / "audio.md").read_text(encoding="utf-8") == "\n".join(audio_page.page(cells)) + "\n"
