"""Image files with a table that describes them: metadata.csv, .jsonl or .parquet with file_name."""

from __future__ import annotations

import posixpath
from typing import Any

import numpy as np

from tacit.data import described, masks, tables
from tacit.data.folders import ENDINGS, classes, parts
from tacit.data.listing import Listing, Problem, ending, few, parts_said
from tacit.data.tree import Tree, beside
from tacit.errors import Asked


class Metadata:
    """Image files with metadata.csv, .tsv, .jsonl or .parquet: file_name, and columns for label, group and split."""

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.95 for images beside a table with file_name, or for such a table itself."""
        if not tree.single and not any(ending(n) in ENDINGS for n in tree.names):
            return 0.0
        return 0.95 if next(described.tables_of(tree, 65536), None) is not None else 0.0

    @staticmethod
    def read(tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None) -> Listing:
        """List all images; those without a row are unlabelled, rows without an image are bad."""
        if modality not in (None, "image"):
            raise Asked(f"{tree.path} names image files, which are not {modality} data", "leave --modality out")
        found = list(described.tables_of(tree))
        whole = beside(tree, _named(tree, *found[0])) if tree.single else tree
        tagged = {file for name, table in found for file in _masks(whole, name, table)}
        pairs = masks.pairs([n for n in whole.names if ending(n) in ENDINGS and n not in tagged])
        about, several, bad, notes = _rows(whole, found, set(pairs.items), target, group, split)
        beside_them = {**pairs.masks, **{n: said["mask"] for n, said in about.items() if said.get("mask")}}
        wrong = masks.differing(beside_them, whole.raw)
        left_out = {p.name for p in wrong}
        names = [n for n in (pairs.items if not tree.single else sorted(about)) if n not in left_out]
        if lost := [n for n in names if n not in about]:
            notes.append(f"{len(lost)} images have no row and stay unlabelled: {few(lost)}")
        columns = {o: [about.get(n, {}).get(o, "") for n in names] for o in ("target", "group", "split", *several)}
        folders = dict(zip(pairs.items, pairs.folders, strict=True))
        splits, inner = parts([folders[n] for n in names])
        if beside_them:  # then images/ is no class
            inner = [[word for word in f if word.lower() not in masks.IMAGES] for f in inner]
        labels: list[Any] | None = tables.typed(columns["target"]) if any(columns["target"]) else None
        if labels is None and target is None:
            labels, rule = classes(inner)
            notes += [rule] if rule else []
        notes += tables.unlabelled(columns["target"])
        if any(columns["split"]) or split is not None:
            said, strange = parts_said(columns["split"], split or "split", split is not None)
            splits = splits if said is None else said
            notes += [strange] if strange else []
        first = found[0][1]
        taken = [f"{o}: {first.columns[i]}" for o, i in _columns(whole, *found[0], target, group, split).items()]
        notes.append(f"columns taken: {', '.join(taken)}" if taken else f"no label column among: {few(first.columns, 6)}")
        return Listing(
            "image",
            f"{len(names)} image files described by {few(n for n, _ in found)}",
            names,
            labels,
            columns["group"] if any(columns["group"]) else None,
            splits,
            lambda i: whole.raw(names[i]),
            [*whole.bad, *bad, *wrong],
            [*whole.notes, *pairs.notes, *notes],
            tree=whole.only(names),
            tags=masks.reader(names, beside_them, whole.raw),
            multi=np.stack([tables.flags(columns[w], w) for w in several], 1) if several else None,
            multi_names=tuple(several),
        )


def _rows(
    tree: Tree, found: list[tuple[str, tables.Table]], images: set[str], target: str | None, group: str | None, split: str | None
) -> tuple[dict[str, dict[str, str]], list[str], list[Problem], list[str]]:
    """What the tables say about each image, by option; the names of several targets; rows that cannot be used; notes."""
    about: dict[str, dict[str, str]] = {}
    several: list[str] = []
    bad, notes, twice, lost = [], [], 0, []  # type: list[Problem], list[str], int, list[str]
    there = set(tree.names)
    for name, table in found:
        notes += [f"{name}: {table.note}"] if table.note else []
        bad += table.bad
        columns = _columns(tree, name, table, target, group, split)
        several = list(tables.several(table, target))
        for row, line in zip(table.rows, table.lines, strict=True):
            cell = row[described.where(table)].strip()
            file, reason = masks.named(cell, name, images.__contains__)
            if not file:
                reason = reason if reason == masks.OUTSIDE else f"named in {name} line {line}, but there is no such image"
                bad.append(Problem(cell.replace("\\", "/") or f"{name}:{line}", reason))
                continue
            said = {option: row[i] for option, i in columns.items()}
            if cell := said.get("mask", "").strip():
                said["mask"], reason = masks.named(cell, name, there.__contains__)
                bad += [Problem(cell, reason)] if reason == masks.OUTSIDE else []
                lost += [cell] if not said["mask"] and reason != masks.OUTSIDE else []
            twice += file in about
            about.setdefault(file, said)
    notes += [f"{twice} images have several rows: the first one counts"] if twice else []
    notes += [f"{len(lost)} masks that the table names are not there, and their images stay unlabelled: {few(lost)}"] if lost else []
    return about, several, bad, notes


def _columns(tree: Tree, name: str, table: tables.Table, target: str | None, group: str | None, split: str | None) -> dict[str, int]:
    """Which column is the target, the group, the split and the mask, and each of several targets."""
    several = tables.several(table, target)
    mask = _mask(table) if _masks(tree, name, table) else None
    aside = bool(several) or (mask is not None and target == table.columns[mask])
    found = tables.special(table, target=None if aside else target, group=group, split=split)
    if aside:
        found.pop("target", None)
    return {**found, **several, **({} if mask is None else {"mask": mask})}


def _mask(table: tables.Table) -> int | None:
    """The column that may name masks."""
    column = tables.find(table.columns, masks.COLUMNS)
    return None if column is None else table.columns.index(column)


def _masks(tree: Tree, name: str, table: tables.Table) -> list[str]:
    """The files that the mask column of a table names; none if its cells are something else."""
    column, there = _mask(table), set(tree.names)
    cells = set() if column is None else {c for c in table.cells(column) if c.strip()}
    return [file for c in cells if (file := masks.named(c, name, there.__contains__)[0])]


def _named(tree: Tree, name: str, table: tables.Table) -> list[str]:
    """The image files that a single table names and that lie at its place or below, and their masks."""
    images = {posixpath.normpath(c.strip().replace("\\", "/")) for c in table.cells(described.where(table))}
    mask = _mask(table)
    others = set() if mask is None else {posixpath.normpath(c.strip().replace("\\", "/")) for c in table.cells(mask) if c.strip()}
    found = {c for c in images if ending(c) in ENDINGS} | {c for c in others if ending(c) in (*ENDINGS, ".npy")}
    return [c for c in found if not c.startswith(("/", "..")) and (tree.root / c).is_file()]
