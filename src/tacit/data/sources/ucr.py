"""UCR archive files: one series a line, the class first, in Name_TRAIN.tsv and Name_TEST.tsv."""

from __future__ import annotations

import re

import numpy as np

from tacit.data.listing import Listing, Problem, ending, no_columns
from tacit.data.pairs import part_of, parts
from tacit.data.text import decode_text, is_number, numbers, plain
from tacit.data.tree import Tree
from tacit.errors import BadData
from tacit.modality import BadItem


class Ucr:
    """UCR .tsv files (also gzipped): class first, then the values; _TRAIN and _TEST are parts."""

    source = "Dau et al. 2018, the UCR time series archive"

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.9 for _TRAIN/_TEST pairs of numbers, 0.7 for another .tsv without a header."""
        found = [n for n in tree.names if _wanted(n)]
        if not found:
            return 0.0
        try:
            head = re.split(r"[\t,]", decode_text(tree.data(found[0], 100_000))[0].split("\n")[0].strip())
        except BadItem:
            return 0.3
        if len(head) < 3 or sum(map(is_number, head[1:20])) < min(19, len(head) - 1) / 2:
            return 0.0
        return 0.9 if all(part_of(n)[1] for n in found) else 0.7

    @staticmethod
    def read(tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None) -> Listing:
        """List the series of the pair; NaN at the end of a line is padding."""
        no_columns(tree.path, "a UCR file", target=target, group=group, split=split)
        tree, files = parts(tree, _wanted)
        names, labels, splits, rows = [], [], [], []
        bad, notes, padded = list(tree.bad), list(tree.notes), 0
        for name, part in files.items():
            try:
                text, note = decode_text(tree.data(name))
            except BadItem as error:
                raise BadData(f"{name}: {error}", "copy or download it again") from None
            notes += [f"{name}: {note}"] if note else []
            for k, line in enumerate(text.splitlines(), 1):
                cells = line.strip().split("\t") if "\t" in line else re.split(r"[,\s]+", line.strip())
                if len(cells) < 2:
                    bad += [Problem(f"{name}:{k}", "no values on this line")] if line.strip() else []
                    continue
                try:
                    values = numbers(cells[1:])
                except ValueError as error:
                    bad.append(Problem(f"{name}:{k}", str(error)))
                    continue
                known = np.flatnonzero(~np.isnan(values))
                end = int(known[-1]) + 1 if len(known) else len(values)
                padded += end < len(values)
                names.append(f"{name}:{k}")
                labels.append(plain(cells[0]))
                splits.append(part)
                rows.append(values[:end] if modality != "vector" else values)
        if padded and modality != "vector":
            notes.append(f"{padded} series end in NaN: taken as shorter series, not as missing values")
        why = f"UCR lines, class first ({', '.join(files)})"
        return Listing(modality or "series", why, names, labels, None, splits, rows.__getitem__, bad, notes, tree=tree)


def _wanted(name: str) -> bool:
    return ending(name) == ".tsv" or (ending(name) == ".txt" and part_of(name)[1] != "")
