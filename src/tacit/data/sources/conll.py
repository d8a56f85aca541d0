"""Texts with a label for every word, as CoNLL wrote them: a word and its BIO tag a line, an empty line between texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from tacit.data import documents as reading
from tacit.data.listing import Listing, Problem, ending, few, no_columns
from tacit.data.pairs import parts
from tacit.data.tree import Tree
from tacit.errors import Asked, BadData
from tacit.modality import BadItem

ENDINGS = (".conll", ".bio", ".iob", ".iob2", ".conllu")
TAG = re.compile(r"O|[BIESLU]-\S+")
Word = tuple[str, str]


class Conll:
    """.conll, .bio, .iob and .iob2 files: the first column is the word, the last one its tag (B-PER, I-PER, O)."""

    modalities: ClassVar[frozenset[str]] = frozenset({"text"})

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.9 by their share of the files."""
        count = sum(ending(n) in ENDINGS for n in tree.names)
        return 0.9 * (count / len(tree.names)) ** 0.5 if count else 0.0

    @staticmethod
    def read(
        tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None, text_column: str | None = None,
        documents: str | None = None, like: Any = None,
    ) -> Listing:  # fmt: skip
        """List the texts, their words with spaces between. documents, like: not used."""
        if modality not in (None, "text"):
            raise Asked(f"{tree.path} holds texts with tags, not {modality} data", "leave --modality out")
        no_columns(tree.path, "no names of columns", target=target, group=group, split=split, **{"text-column": text_column})
        tree, files = parts(tree, lambda n: ending(n) in ENDINGS)
        bad, notes, found = list(tree.bad), list(tree.notes), []
        labels: list[Any] = []
        splits: list[str] = []
        for name, part in files.items():
            try:
                numbers, spans, said = _listed(tree, name)
            except BadItem as error:
                bad.append(Problem(name, str(error)))
                continue
            found.append((name, np.array(numbers, np.int64)))
            labels += spans
            splits += [part] * len(numbers)
            notes += said
        if not labels:
            reasons = "".join(f"\n  {p.name}: {p.reason}" for p in bad[:5])
            raise BadData(f"{tree.path} holds no text with tags{reasons}", "" if reasons else "write a word and its tag in each line")
        return Listing(
            "text",
            f"{len(labels):,} texts of {few(n for n, _ in found)}, a word and its tag a line",
            reading.LineNames(found),
            labels,
            None,
            splits if any(splits) else None,
            _streamed,
            bad,
            notes,
            "conll",
            tree.only([n for n, _ in found]),
            blocks=lambda: _blocks(tree, [n for n, _ in found]),
        )


def _texts(tree: Tree, name: str) -> Iterator[tuple[int, list[Word]]]:
    """(number of its first line, words with their tags) of every text of a file. Raises BadItem for a line without a tag."""
    held, begin = list[Word](), 0
    for number, line in reading.every_line(tree, name):
        line = line.replace("\0", "").replace("\ufeff", "").strip()
        if line and not _comment(line):
            cells = line.split("\t") if "\t" in line else line.split()
            if len(cells) < 2:
                raise BadItem(f'line {number} has no tag: a word, white space and its tag are expected, such as "Berlin B-LOC"')
            begin = begin or number
            held.append((cells[0].strip(), cells[-1].strip()))
        elif not line and held:
            yield begin, held
            held, begin = [], 0
    if held:
        yield begin, held


def _comment(line: str) -> bool:
    """Whether a line is none of a word and its tag, such as "# id = 3"; a word may begin with #, too."""
    return line.startswith("-DOCSTART-") or (line.startswith("#") and not TAG.fullmatch(line.split()[-1]))


def _listed(tree: Tree, name: str) -> tuple[list[int], list[str], list[str]]:
    """Lines where texts begin, their spans as JSON in characters, and notes."""
    numbers, labels, loose = list[int](), list[str](), 0
    for number, words in _texts(tree, name):
        spans, at = list[list[Any]](), 0
        before = "O"
        for word, tag in words:
            mark, _, label = tag.partition("-")
            if tag != "O" and (mark not in ("B", "I", "E", "S", "L", "U") or not label):
                loose += 1
            elif tag != "O":
                if mark in ("B", "S", "U") or before != label:
                    spans.append([at, at + len(word), label])
                else:
                    spans[-1][1] = at + len(word)
            before = label if tag != "O" and label and mark not in ("E", "S", "L", "U") else "O"
            at += len(word) + 1
        numbers.append(number)
        labels.append(json.dumps(spans, ensure_ascii=False))
    if loose and not any(label != "[]" for label in labels):
        raise BadItem("its tags are no BIO tags (B-PER, I-PER, O)")
    return numbers, labels, [f"{name}: {loose:,} tags that are no BIO tags count as O"] if loose else []


def _blocks(tree: Tree, names: list[str]) -> Iterator[list[str]]:
    for name in names:
        block = []
        for _, words in _texts(tree, name):
            block.append(" ".join(w for w, _ in words))
            if len(block) == reading.BLOCK:
                yield block
                block = []
        yield block


def _streamed(i: int) -> Any:
    raise BadItem("lines are read one after the other")
