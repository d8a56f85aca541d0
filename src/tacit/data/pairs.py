"""Files that belong together as parts of one data set: Name_TRAIN and Name_TEST."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from tacit.data.listing import few, split_name, stem
from tacit.data.tree import Tree, beside
from tacit.errors import Asked

PART = re.compile(r"^(?:(.*?)[_. -])?(train|test|val|valid|validation|dev)$", re.IGNORECASE)


def part_of(name: str) -> tuple[str, str]:
    """Name of the data set and part of a file: ('Beef', 'train') for Beef_TRAIN.tsv, ('Beef', '') for Beef.tsv."""
    found = PART.match(stem(name))
    return (found[1] or "", split_name(found[2])) if found else (stem(name), "")


def parts(tree: Tree, wanted: Callable[[str], bool]) -> tuple[Tree, dict[str, str]]:
    """The files of one data set with the part that each one is ("" where it does not say), and a tree that holds them all.

    For a single file its partner is looked for beside it. Raises Asked if a folder holds several data sets.
    """
    if tree.single:
        name = tree.names[0]
        base, part = part_of(name)
        others = [n for n in os.listdir(tree.root) if part and wanted(n) and part_of(n)[0] == base and part_of(n)[1] not in ("", part)]
        tree = beside(tree, [name, *(n for n in others if (tree.root / n).is_file())])
    files = [n for n in tree.names if wanted(n)]
    sets = sorted({part_of(n)[0] for n in files})
    if len(sets) > 1:
        raise Asked(f"{tree.path} holds {len(sets)} data sets: {few(sets)}", f"name one of the files, for example {tree.path / files[0]}")
    taken: dict[str, str] = {}
    for name in sorted(files, key=lambda n: (n.endswith(".gz"), n)):  # the same part twice, plain and gzipped, counts once
        part = part_of(name)[1]
        if part not in taken.values():
            taken[name] = part
    order = {"train": 0, "test": 1, "val": 2, "": 3}
    return tree, dict(sorted(taken.items(), key=lambda item: order[item[1]]))
