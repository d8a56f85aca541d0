"""What the measurements of explanations stand on: the planted part decides and is where it is said to be; the page."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import explaining_page  # noqa: E402
import planted  # noqa: E402
from part1 import Cells  # noqa: E402


@pytest.mark.parametrize("kind", planted.KINDS)
def test_the_planted_part_alone_tells_the_class(kind: str) -> None:
    x, y, places = planted.KINDS[kind](40, np.random.default_rng(0))
    assert len(x) == len(y) == len(places) == 40 and set(y) == {0, 1}
    for item, k, place in zip(x, y, places, strict=True):
        if kind == "text":
            assert place == ("zebra", "walrus")[k] and place in item.split() and {"zebra", "walrus"} & set(item.split()) == {place}
        elif kind == "table":
            assert k == int(item[list(place)].sum() > 0)
        elif kind == "audio":
            hz, (begin, end) = place
            part = item[round(begin * 8000) : round(end * 8000)]
            assert abs(np.fft.rfft(part)).argmax() * 8000 / len(part) == pytest.approx(hz, abs=20)
        else:
            cut = tuple(slice(round(a * n), round(b * n)) for (a, b), n in zip(place, item.shape[1:], strict=True))
            part = item[0][cut].astype(float)
            if kind == "image":  # stripes are the same across, a checkerboard is not
                assert (np.ptp(part, axis=1) == 0).all() == (k == 1)
            else:
                assert abs(np.fft.rfft(part))[2:].argmax() + 2 == pytest.approx((2, 4)[k], abs=1)


def test_the_page_is_written_from_the_cells() -> None:
    cells = Cells(ROOT / "benchmarks" / "results" / "part7")
    assert (ROOT / "docs" / "explaining.md").read_text(encoding="utf-8") == "\n".join(explaining_page.page(cells)) + "\n"
