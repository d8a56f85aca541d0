"""Image files with a table that describes them: metadata.csv, .jsonl or .parquet with file_name."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from tacit.data import tables
from tacit.data.folders import ENDINGS, classes, parts
from tacit.data.listing import Listing, Problem, ending, few, parts_said
from tacit.data.tree import LARGEST, Tree, beside
from tacit.errors import Asked, BadData
from tacit.modality import BadItem

FILE = ("file_name", "filename", "file", "file_path", "filepath", "path", "image", "image_path")
MOST = 20  # tables that are looked into


class Metadata:
    """Image files with metadata.csv, .tsv, .jsonl or .parquet: file_name, and columns for label, group and split."""

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.95 for images beside a table with file_name, or for such a table itself."""
        if not tree.single and not any(ending(n) in ENDINGS for n in tree.names):
            return 0.0
        return 0.95 if next(_tables(tree, 65536), None) is not None else 0.0

    @staticmethod
    def read(tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None) -> Listing:
        """List all images; those without a row are unlabelled, rows without an image are bad."""
        if modality not in (None, "image"):
            raise Asked(f"{tree.path} names image files, which are not {modality} data", "leave --modality out")
        found = list(_tables(tree))
        whole = beside(tree, _named(tree, found)) if tree.single else tree
        images = [n for n in whole.names if ending(n) in ENDINGS]
        known = set(images)
        bad, notes = list(whole.bad), list(whole.notes)
        about: dict[str, dict[str, str]] = {}
        twice = 0
        for name, table in found:
            notes += [f"{name}: {table.note}"] if table.note else []
            bad += table.bad
            where = table.columns.index(tables.find(table.columns, FILE) or "")
            special = tables.special(table, target=target, group=group, split=split)
            for row, line in zip(table.rows, table.lines, strict=True):
                cell = row[where].strip().replace("\\", "/")
                file = posixpath.normpath(posixpath.join(posixpath.dirname(name), cell))
                file = file if file in known else posixpath.normpath(cell)
                if file not in known:
                    outside = cell.startswith("/") or ".." in cell.split("/")
                    reason = "points outside the folder: refused" if outside else f"named in {name} line {line}, but there is no such image"
                    bad.append(Problem(cell or f"{name}:{line}", reason))
                    continue
                twice += file in about
                about.setdefault(file, {option: row[i] for option, i in special.items()})
        names = images if not tree.single else sorted(about)
        if lost := [n for n in names if n not in about]:
            notes.append(f"{len(lost)} images have no row and stay unlabelled: {few(lost)}")
        if twice:
            notes.append(f"{twice} images have several rows: the first one counts")
        columns = {o: [about.get(n, {}).get(o, "") for n in names] for o in ("target", "group", "split")}
        folders = [n.split("/")[:-1] for n in names]
        splits, folders = parts(folders)
        labels: list[Any] | None = tables.typed(columns["target"]) if any(columns["target"]) else None
        if labels is None and target is None:
            labels, rule = classes(folders)
            notes += [rule] if rule else []
        notes += tables.unlabelled(columns["target"])
        if any(columns["split"]) or split is not None:
            said, strange = parts_said(columns["split"], split or "split", split is not None)
            splits = splits if said is None else said
            notes += [strange] if strange else []
        groups = columns["group"] if any(columns["group"]) else None
        first = found[0][1]
        taken = [f"{o}: {first.columns[i]}" for o, i in tables.special(first, target=target, group=group, split=split).items()]
        notes.append(f"columns taken: {', '.join(taken)}" if taken else f"no label column among: {few(first.columns, 6)}")
        why = f"{len(names)} image files described by {few(n for n, _ in found)}"
        return Listing("image", why, names, labels, groups, splits, lambda i: whole.raw(names[i]), bad, notes, tree=whole.only(names))


def _named(tree: Tree, found: list[tuple[str, tables.Table]]) -> list[str]:
    """The image files that a single table names and that lie at its place or below."""
    table = found[0][1]
    where = table.columns.index(tables.find(table.columns, FILE) or "")
    cells = {posixpath.normpath(c.strip().replace("\\", "/")) for c in table.cells(where)}
    return [c for c in cells if not c.startswith(("/", "..")) and ending(c) in ENDINGS and (tree.root / c).is_file()]


def _tables(tree: Tree, most: int = LARGEST) -> Iterator[tuple[str, tables.Table]]:
    """The tables that have a column with file names. most: bytes of text to look at, enough for the head of a table."""
    for name in [n for n in tree.names if ending(n) in tables.ENDINGS][:MOST]:
        try:
            table = tables.read(tree.data(name, LARGEST if ending(name) == ".parquet" else most), name)
        except (BadItem, BadData):
            if posixpath.basename(name).startswith("metadata."):
                raise BadData(f"{name} cannot be read", "repair it, or remove it to use the folders alone") from None
            continue
        if table.header and tables.find(table.columns, FILE):
            yield name, table
