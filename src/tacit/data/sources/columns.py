"""A column of a table that holds text: reviews in a csv, articles in a jsonl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from tacit import celltypes
from tacit.data import tables
from tacit.data.blocks import ENDINGS, blocks
from tacit.data.listing import GROUP_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS, Listing, ending, few
from tacit.data.pairs import parts
from tacit.data.rowlist import listing
from tacit.data.tree import Tree
from tacit.errors import Asked, BadData, nearest
from tacit.wording import SEPARATOR

NAMES = (
    "text", "body", "content", "document", "sentence", "review", "article", "abstract", "message", "comment", "utterance", "question",
    "tweet",
    "sequence", "smiles",
)  # fmt: skip
NOTHING: Mapping[str, Any] = MappingProxyType({})
ASIDE = (*LABEL_COLUMNS, *GROUP_COLUMNS, *SPLIT_COLUMNS, "id", "index", "name", "title", "url")
LONG = 20.0  # characters of a text on average, from where words are no names of categories


class Columns:
    """A column with text in .csv, .tsv, .jsonl, .parquet or .arrow (--text-column body); several are joined (title,body)."""

    modalities: ClassVar[frozenset[str]] = frozenset({"text"})

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.55 where a column is named like a text and nothing else is left to learn from; otherwise 0.2, for who asks for text."""
        wanted = [n for n in tree.names if _wanted(n)]
        if not wanted:
            return 0.0
        try:
            found = blocks(tree, wanted[0])
        except BadData:
            return 0.1
        left = [c for c in found.columns if tables.find([c], ASIDE) is None]
        sure = found.header and len(left) == 1 and tables.find(left, NAMES) is not None
        return (0.55 if sure else 0.2) * (1.0 if tree.single else (len(wanted) / len(tree.names)) ** 0.5)

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
        """List the rows.

        text_column: name of the column, several with commas between; None = as in `like`, of a trained model, or the one that holds text.
        documents: not used.
        """
        if modality not in (None, "text"):
            raise Asked(f"{tree.path} is a table, not {modality} data", "leave --modality out")
        tree, files = parts(tree, _wanted)
        opened = [blocks(tree, name) for name in files]
        first = opened[0]
        aside = {c for c in (target, group, split) if c}
        before = str(like.get("column") or "")  # of a trained model; another table may call it otherwise
        named = text_column or (before if before and _has(first.columns, before) else None)
        wanted = _only(first, aside) if named is None else _asked(first.columns, named)
        special = tables.special(first, target=None if tables.several(first, target) else target, group=group, split=split)
        if taken := [c for c in wanted if first.columns.index(c) in special.values()]:
            raise Asked(f"{taken[0]!r} is the text, and cannot be a label, a group or a part, too", "name another column")
        found = listing(opened, list(files.values()), str(tree.path), target=target, group=group, split=split)

        def texts() -> Iterator[list[str]]:
            assert found.blocks is not None
            for block in found.blocks():
                cells = [celltypes.untrimmed(block.column(c)) for c in wanted]
                yield [f" {SEPARATOR} ".join(str(v).replace("\0", "") for v in row if v) for row in zip(*cells, strict=True)]

        joined = f"the columns {few(map(repr, wanted))}, joined" if len(wanted) > 1 else f"the column {wanted[0]!r}"
        return replace(
            found,
            modality="text",
            why=f"{len(found.names):,} texts: {joined} (--text-column otherwise)",
            bad=[*tree.bad, *found.bad],
            notes=[*tree.notes, *found.notes],
            variant=f"{found.variant} {','.join(wanted)}",
            tree=tree,
            blocks=texts,
            about={"column": ",".join(wanted)},
        )


def _wanted(name: str) -> bool:
    return ending(name) in ENDINGS


def _has(columns: list[str], asked: str) -> bool:
    return all(c.strip() in columns for c in asked.split(","))


def _asked(columns: list[str], asked: str) -> list[str]:
    """The columns that the user named. Raises Asked for one that is not there."""
    if asked in columns:
        return [asked]
    return [columns[tables.index(columns, c.strip(), "text-column")] for c in asked.split(",") if c.strip()]


def _only(table: Any, aside: set[str]) -> list[str]:
    """The one column with text. Raises Asked where there are several, or none."""
    left = [
        c
        for c in table.columns
        if c not in aside and (not table.header or tables.find([c], (*LABEL_COLUMNS, *GROUP_COLUMNS, *SPLIT_COLUMNS)) is None)
    ]
    named = [c for c in left if table.header and tables.find([c], NAMES) is not None]
    if len(named) == 1:
        return named
    seen = {c: celltypes.Seen(c) for c in left}
    width = dict.fromkeys(left, 0.0)
    for block in table:
        for c in left:
            cells = [w for w in celltypes.words(block.column(c)) if w]
            seen[c].look(block.column(c))
            width[c] = sum(map(len, cells)) / max(1, len(cells))
        break
    long = [c for c in left if width[c] >= LONG and seen[c].number < 0.5 * seen[c].rows]
    if len(long) == 1:
        return long
    if not long:
        hint = nearest("text", table.columns) or "name the column: --text-column body"
        raise Asked(f"{table.name} has no column that looks like text, but {few(map(repr, left))}", hint)
    raise Asked(
        f"{table.name} has several columns of text: {few(map(repr, long))}",
        f"name one: --text-column {long[0]}, or join them: {','.join(long)}",
    )
