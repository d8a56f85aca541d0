"""Names of items as tables hold them, and which items they mean."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from tacit.data import tables
from tacit.data.tables import Table
from tacit.data.tree import grow
from tacit.errors import Asked, BadData
from tacit.modality import BadItem

IDS = ("id", "file_name", "filename", "name", "file", "file_path", "path", "image", "item")
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")  # not the .2 of patient.2


class Names:
    """The items of a data set by name: as it is, else by file name, else without its ending, where only one item has it."""

    def __init__(self, names: Sequence[str]) -> None:
        self.ways: list[tuple[Callable[[str], str], dict[str, list[int]]]] = []
        for way in (str, _base, lambda name: ENDING.sub("", _base(name))):
            found = defaultdict(list)
            for row, name in enumerate(names):
                found[way(name)].append(row)
            self.ways.append((way, found))

    def row(self, name: str) -> int:
        """The row of the item that is called so; -1 = none, -2 = several."""
        name, several = name.strip().replace("\\", "/").removeprefix("./"), False
        for way, found in self.ways:
            rows = found.get(way(name), [])
            if len(rows) == 1:
                return rows[0]
            several = several or len(rows) > 1
        return -2 if several else -1


def table(path: Path) -> Table:
    """The table in a file. Raises Asked if there is none, BadData if it is damaged or empty."""
    if not path.is_file():
        raise Asked(f"there is no file {str(path)!r}", "give a .csv, .tsv, .jsonl or .parquet file with names of items and columns")
    try:
        found = tables.read(grow(path).data(path.name), path.name)
    except BadItem as error:
        raise BadData(f"{path}: {error}", "copy or download it again") from None
    if not found.rows:
        raise BadData(f"{path} holds no row", "write one row an item")
    return found


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]
