"""A csv file of numbers: one series a row."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.data import tables
from tacit.data.listing import MISSING, Listing, Problem, ending, few, parts_said
from tacit.data.pairs import parts
from tacit.data.text import is_number, numbers
from tacit.data.tree import Tree
from tacit.errors import Asked, BadData
from tacit.modality import BadItem

IDS = ("id", "name", "index", "")


class Csv:
    """.csv files of numbers: one series a row; --target, --group and --split name columns; _TRAIN and _TEST are parts."""

    modalities: ClassVar[frozenset[str]] = frozenset({"series", "vector"})

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.4 for a csv or tsv file."""
        return 0.4 if any(_wanted(n) for n in tree.names) else 0.0

    @staticmethod
    def read(tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None) -> Listing:
        """List the rows; columns called label, target, class or y, group or patient, and split are taken by their name."""
        if modality not in (None, "series", "vector"):
            raise Asked(f"{tree.path} holds rows of numbers, which are not {modality} data", "leave --modality out")
        tree, files = parts(tree, _wanted)
        names, splits, rows = [], [], []
        found: dict[str, list[str]] = {"target": [], "group": []}
        bad, notes, why, width = list(tree.bad), list(tree.notes), "", 0
        for name, part in files.items():
            try:
                table = tables.read(tree.data(name), name)
            except BadItem as error:
                raise BadData(f"{name}: {error}", "copy or download it again") from None
            if not table.rows:
                raise BadData(f"{name} holds no row")
            notes += [f"{name}: {table.note}"] if table.note else []
            bad += table.bad
            several = tables.several(table, target)
            special = tables.special(table, target=None if several else target, group=group, split=split)
            aside = {*special.values(), *several.values()}
            special = {o: i for o, i in special.items() if not several or o != "target"} | several
            left = [i for i, c in enumerate(table.columns) if i not in aside and c.strip().lower() not in IDS]
            _numeric(table, left, name, guessed=target is None)
            said: list[str] | None = None
            if "split" in special:
                column = table.columns[special["split"]]
                said, strange = parts_said(table.cells(special["split"]), column, split is not None)
                notes += [f"{name}: {strange}"] if strange else []
            for k, (row, line) in enumerate(zip(table.rows, table.lines, strict=True)):
                try:
                    values = numbers([row[i] for i in left])
                except ValueError as error:
                    bad.append(Problem(f"{name}:{line}", str(error)))
                    continue
                names.append(f"{name}:{line}")
                splits.append(part if said is None else said[k])
                for option in ("target", "group", *several):
                    found.setdefault(option, []).append(row[special[option]] if option in special else "")
                rows.append(values)
            taken = [f"{option}: {table.columns[i]}" for option, i in special.items()]
            notes += [f"columns by name: {', '.join(taken)}"] if taken and not (target or group or split) and part in ("", "train") else []
            if width and width != len(left):
                raise BadData(f"{name} has {len(left)} columns of numbers, the other file {width}", "both files need the same columns")
            width = len(left)
        other = "vector" if modality != "vector" else "series"
        why = f"{width} columns of numbers, one {'series' if other == 'vector' else 'vector'} a row (--modality {other} otherwise)"
        labels = tables.typed(found["target"]) if any(found["target"]) else None
        notes += tables.unlabelled(found["target"])
        groups = found["group"] if any(found["group"]) else None
        kind = modality or "series"
        multi = np.stack([tables.flags(found[c], c) for c in several], 1) if several else None
        key = f"{target} {group} {split}"
        return Listing(
            kind, why, names, labels, groups, splits, rows.__getitem__, bad, notes, key, tree, multi=multi, multi_names=tuple(several)
        )


def _wanted(name: str) -> bool:
    return ending(name) in (".csv", ".tsv")


def _numeric(table: tables.Table, left: list[int], name: str, guessed: bool) -> None:
    """Raise BadData unless the columns hold numbers."""
    if not left:
        raise BadData(f"{name} has no column of numbers left")
    words = [table.columns[i] for i in left if not _mostly_numbers([r[i] for r in table.rows[:200]])]
    if words:
        cells = table.cells(table.columns.index(words[0]))
        label = len(words) == 1 and guessed and len(set(cells)) <= len(cells) / 2
        hint = f"if it is the label: --target {words[0]!r}" if label else "remove these columns, or write one series a row, numbers only"
        raise BadData(f"{name} is not one series of numbers a row: {few(map(repr, words))} hold{'s' * (len(words) == 1)} text", hint)


def _mostly_numbers(cells: list[str]) -> bool:
    known = [c for c in cells if c.strip().lower() not in MISSING]
    return not known or sum(map(is_number, known)) > len(known) / 2
