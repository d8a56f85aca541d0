"""Text files: one document a line in a single file, one a file in a folder; subfolders are classes, train and test are parts."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from tacit.data import documents as reading
from tacit.data.folders import classes, parts
from tacit.data.listing import Listing, Problem, ending, few, no_columns, split_name
from tacit.data.pairs import part_of
from tacit.data.tree import Tree, beside
from tacit.errors import Asked, BadData, nearest
from tacit.modality import BadItem

NOTHING: Mapping[str, Any] = MappingProxyType({})
ABOUT = re.compile(r"(readme|licen[cs]e|notice|changelog|contributing|authors|copying)\b", re.IGNORECASE)


class Documents:
    """Text files: .txt, .md, .rst, .html; a document a line in one file (or train.txt and test.txt), a document a file in a folder."""

    modalities: ClassVar[frozenset[str]] = frozenset({"text"})

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.45 for a text file, or by their share of a folder's files; what only accompanies other files does not count."""
        count = sum(_wanted(n) and (tree.single or not ABOUT.match(posixpath.basename(n))) for n in tree.names)
        return 0.45 * (count / len(tree.names)) ** 0.5 if count else 0.0

    @staticmethod
    def read(
        tree: Tree,
        *,
        modality: str | None,
        target: str | None,
        group: str | None,
        split: str | None,
        text_column: str | None = None,
        documents: str | None = None,
        like: Mapping[str, Any] = NOTHING,
    ) -> Listing:
        """List the documents.

        documents: lines, files, or passages of about 2,000 characters; None = as in `like`, of a trained model, or lines of a single file
        and files of a folder.
        """
        if modality not in (None, "text"):
            raise Asked(f"{tree.path} holds text files, which are not {modality} data", "leave --modality out")
        if documents not in (None, *reading.MODES):
            raise Asked(f"data.documents={documents}: there are {few(reading.MODES)}", nearest(documents, reading.MODES))
        no_columns(tree.path, "no table", target=target, group=group, split=split, **{"text-column": text_column})
        if tree.single and (others := _partners(tree)):
            tree = beside(tree, [tree.names[0], *others])
        names = [n for n in tree.names if _wanted(n)]
        if not names:  # asked for by --modality
            names = list(tree.names)
        bad, notes = list(tree.bad), list(tree.notes)
        if left := len(tree.names) - len(names):
            notes.append(f"left out {left} files that are no text files ({', '.join(reading.ENDINGS)} are)")
        parted = len(names) > 1 and all(part_of(n)[1] for n in names) and len({part_of(n)[0] for n in names}) == 1
        mode = documents or like.get("documents") or ("lines" if len(names) == 1 or parted else "files")
        folders = [posixpath.dirname(n).split("/") if "/" in n else [] for n in names]
        splits, inner = parts(folders)
        labels, rule = classes(inner) if len(names) > 1 else (None, "")
        if parted:
            names = sorted(names, key=lambda n: (part_of(n)[1] != "train", n))
            splits, labels, rule = [part_of(n)[1] for n in names], None, ""
        if labels is not None and len(names) > 1 and len(set(labels)) == len(labels):
            labels, rule = None, "every folder holds one file: folder names are not taken as classes"
        notes += [rule.replace("images", "files")] if rule else []
        if mode == "files":
            why = f"{len(names):,} text files, one document a file (data.documents=lines otherwise)"
            notes += reading.cut_off(tree, names)
            return Listing(
                "text",
                why,
                names,
                labels,
                None,
                splits,
                lambda i: _whole(tree, names[i]),
                bad,
                notes,
                mode,
                tree.only(names),
                about={"documents": mode},
            )
        found: list[tuple[str, np.ndarray]] = []
        kept = []
        for i, name in enumerate(names):
            try:
                numbers, said = reading.numbered(tree, name, mode)
            except BadItem as error:
                bad.append(Problem(name, str(error)))
                continue
            notes += said
            found.append((name, numbers))
            kept.append(i)
        if bad and not found:
            raise BadData("no file can be read as text" + "".join(f"\n  {p.name}: {p.reason}" for p in bad[:5]), "is it a text file?")
        counts = [len(n) for _, n in found]
        told: dict[str, Any] = {
            "labels": None if labels is None else [labels[i] for i, n in zip(kept, counts, strict=True) for _ in range(n)],
            "splits": None if splits is None else [splits[i] for i, n in zip(kept, counts, strict=True) for _ in range(n)],
        }
        what = "one document a line" if mode == "lines" else f"passages of about {reading.PASSAGE:,} characters"
        return Listing(
            "text",
            f"{sum(counts):,} documents of {few(n for n, _ in found)}, {what}",
            reading.LineNames(found),
            told["labels"],
            None,
            told["splits"],
            _streamed,
            bad,
            notes,
            mode,
            tree.only([n for n, _ in found]),
            blocks=lambda: reading.streamed(tree, [n for n, _ in found], mode),
            about={"documents": mode},
        )


def _wanted(name: str) -> bool:
    return ending(name) in reading.ENDINGS


def _partners(tree: Tree) -> list[str]:
    """test.txt beside train.txt."""
    base, part = part_of(tree.names[0])
    if not part:
        return []
    return sorted(
        p.name
        for p in tree.root.iterdir()
        if p.is_file() and _wanted(p.name) and part_of(p.name)[0] == base and split_name(part_of(p.name)[1]) not in ("", part)
    )


def _whole(tree: Tree, name: str) -> Any:
    return reading.whole(tree, name)


def _streamed(i: int) -> Any:
    raise BadItem("lines are read one after the other")
