"""Documents of text files, streamed: one a line, one a file, or passages of consecutive lines."""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np

from tacit.data.blocks import HEAD, stream
from tacit.data.listing import ending, size_in_words
from tacit.data.text import NOTES, decode_text, encoding_of
from tacit.data.tree import Tree
from tacit.modality import BadItem

ENDINGS = (".txt", ".text", ".md", ".markdown", ".rst", ".html", ".htm")
MODES = ("lines", "files", "passages")
LONGEST = 1_000_000  # characters of a line; the rest of a longer one is the next document
PASSAGE = 2_000  # characters that make a passage
LARGE = 16 * 2**20  # bytes of a file that is one document
BLOCK = 4096  # documents at once
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def checked(tree: Tree, name: str) -> tuple[str, str]:
    """The encoding of a text file, and a note if it is not plain UTF-8. Raises BadItem for what is no text."""
    data = tree.data(name, HEAD)
    encoding = encoding_of(data, whole=len(data) < HEAD)
    text = data.decode(encoding, "replace")
    if len(CONTROL.findall(text)) > 0.01 * len(text):
        raise BadItem("not a text file: it holds bytes that no text has")
    return encoding, NOTES[encoding]


def lines(tree: Tree, name: str, mode: str = "lines") -> Iterator[tuple[int, str]]:
    """(number of its first line, document) of a file, one a line or passages, without empty ones. Raises BadItem."""
    passage, begin, size = [], 1, 0  # type: list[str], int, int
    for number, line in every_line(tree, name):
        line = line.replace("\0", "").replace("\ufeff", "")
        if mode == "lines":
            if line.strip():
                yield number, line.strip()
            continue
        for start in range(0, len(line), PASSAGE):
            begin = begin if passage else number
            passage.append(line[start : start + PASSAGE])
            size += len(passage[-1])
            if size >= PASSAGE:
                yield begin, "".join(passage)
                passage, size = [], 0
    if passage and "".join(passage).strip():
        yield begin, "".join(passage)


def every_line(tree: Tree, name: str) -> Iterator[tuple[int, str]]:
    """(number, line) of a file, with their ends. Raises BadItem for what is no text."""
    if ending(name) in (".html", ".htm"):
        yield from enumerate(io.StringIO(whole(tree, name)), 1)
        return
    number = 0
    with stream(tree, name, checked(tree, name)[0]) as file:
        text = io.TextIOWrapper(file, "utf-8", "replace")  # type: ignore[type-var]
        while line := text.readline(LONGEST):
            number += 1
            yield number, line


def whole(tree: Tree, name: str) -> str:
    """A file as one document; of HTML the text that a reader sees. Raises BadItem."""
    checked(tree, name)
    data = tree.data(name, LARGE)
    text = decode_text(data)[0].replace("\0", "")
    if ending(name) in (".html", ".htm"):
        text = visible(text)
    if not text.strip():
        raise BadItem("no text")
    return text


def visible(markup: str) -> str:
    """The text of HTML, a line for each paragraph."""
    found = _Visible()
    found.feed(markup)
    found.close()
    return "\n".join(line for part in "".join(found.parts).splitlines() if (line := re.sub(r"\s+", " ", part).strip()))


class _Visible(HTMLParser):
    BREAKS = frozenset("p br div li tr h1 h2 h3 h4 h5 h6 title section article td blockquote pre".split())
    HIDDEN = frozenset(("script", "style", "noscript", "template"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.hidden += tag in self.HIDDEN
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = max(0, self.hidden - (tag in self.HIDDEN))
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data.replace("\n", " "))


class LineNames(Sequence[str]):
    """Names of documents, file:line, made when asked for. parts: (file, numbers of the lines)."""

    def __init__(self, parts: list[tuple[str, np.ndarray]]) -> None:
        self.found = parts
        self.ends = np.cumsum([len(n) for _, n in parts])
        self.parts = [(name, len(n)) for name, n in parts]  # of the cache's key; the content decides the rest

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = i + len(self) if i < 0 else i
        if not 0 <= i < len(self):
            raise IndexError(i)
        k = int(np.searchsorted(self.ends, i, "right"))
        name, numbers = self.found[k]
        return f"{name}:{numbers[i - (int(self.ends[k]) - len(numbers))]}"


def numbered(tree: Tree, name: str, mode: str) -> tuple[np.ndarray, list[str]]:
    """Numbers of the lines where the documents of a file begin, int64, and notes. Raises BadItem."""
    found, long, last = array("q"), 0, 0
    for number, text in lines(tree, name, mode):
        found.append(number)
        long += number == last or len(text) >= LONGEST - 1
        last = number
    note = checked(tree, name)[1]
    notes = [f"{name}: {note}"] if note else []
    if long and mode == "lines":
        notes.append(f"{name}: {long:,} lines of more than {LONGEST:,} characters are read as several documents")
    return np.array(found, np.int64), notes


def streamed(tree: Tree, names: Sequence[str], mode: str) -> Iterator[list[str]]:
    """All documents of files, some at a time."""
    block: list[str] = []
    for name in names:
        for _, text in lines(tree, name, mode):
            block.append(text)
            if len(block) == BLOCK:
                yield block
                block = []
    if block:
        yield block


def cut_off(tree: Tree, names: Sequence[str]) -> list[str]:
    """A note where files that are one document are too large for one."""
    large = [n for n in names if tree.size(n, LARGE + 1) > LARGE]
    said = f"{len(large)} files are larger than {size_in_words(LARGE)}: of each only the beginning is read (data.documents=lines reads all)"
    return [said] if large else []
