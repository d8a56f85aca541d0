"""What the measurements of one part share on the command line: which pieces, quick or whole, and the page that is written from their cells."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import prepare
from part1 import Cells

HERE = Path(__file__).resolve().parent
Piece = Callable[[Cells, bool, Path, Path], None]  # (cells, quick, folder of data sets, folder to work in)


def run(about: str | None, part: str, pieces: Mapping[str, Piece], page: Callable[[Cells], Iterator[str]], target: str) -> int:
    """Measure what is missing. part: folder of the cells. target: page in docs that --write renews."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(pieces))
    parser.add_argument("--data", type=Path, default=prepare.default_data())
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if unknown := set(asked.only.split(",")) - set(pieces):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; known: {', '.join(pieces)}")
    with tempfile.TemporaryDirectory(prefix=f"tacit-{part}-") as scratch:
        work = Path(scratch)
        cells = Cells(work / "results" if asked.quick else HERE / "results" / part)
        for name in asked.only.split(","):
            pieces[name](cells, asked.quick, asked.data, work)
        if asked.quick:
            for file in sorted(cells.folder.glob("*.json")):
                print(file.stem, file.read_text(encoding="utf-8")[:1500])
        elif asked.write:
            (HERE.parent / "docs" / target).write_text("\n".join(page(cells)) + "\n", encoding="utf-8")
    return 0


def sources(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The commits that cells were measured at."""
    return ", ".join(sorted({c["commit"] for c in found.values()}))
