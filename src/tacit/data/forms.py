"""The forms that labels take: what is to be predicted, and how one form is read as another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tacit.data.listing import MISSING, few
from tacit.data.tags import Marks
from tacit.data.text import is_number
from tacit.errors import Asked, BadData

HEADS = ("classification", "multilabel", "regression", "tagging", "similarity", "pairs", "transcription")
OF_PAIRS = ("similarity", "pairs")
WHOLE = 2.0**24  # up to here float32 holds every whole number
SEPARATOR = re.compile(r"[|;]")
ONE_HOT = "every item has exactly one of the labels: they can be learned as classes, too (head classification)"


@dataclass(frozen=True)
class Supervision:
    """What is to be predicted for some items of a data set.

    head: name of the head that suits, of HEADS.
    items: int64 [R], rows of the data set, ascending; of pairs [R, 2], in no order.
    values: classification int64 [R]; multilabel float32 [R, K], NaN = unknown; regression float32 [R]; tagging int16 [R, *S],
    -1 = unknown; similarity float32 [R]; pairs int64 [R]; transcription int16 [R, L], -1 = the end.
    classes: names, empty for numbers. notes: what a person should know.
    """

    head: str
    items: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)


def single(
    items: np.ndarray, y: np.ndarray, classes: tuple[str, ...], head: str | None, where: str, notes: Sequence[str] = ()
) -> Supervision:
    """One label an item, as classes or numbers, whichever the head wants.

    items: int64 [n], rows of the data. y: int64 [n], index into `classes`, -1 = unlabelled; or float32 [n], NaN = unlabelled.
    where: what holds the labels, for messages. Raises Asked where the labels cannot be read as the head wants.
    """
    known = y >= 0 if classes else ~np.isnan(y)
    items, y, notes = items[known], y[known], tuple(notes)
    head = head or ("classification" if classes else "regression")
    if head == "multilabel":
        values, names = words([classes[k] for k in y] if classes else [f"{v:g}" for v in y])
        return Supervision(head, items, values, names, notes)
    if head == "transcription":
        if not classes or all(is_number(c) for c in classes):  # 007 was read as 7
            raise Asked(f"{where} has numbers where words are to be learned", "write digits apart (0 0 7), or as words (zero zero seven)")
        return transcripts(items, [classes[k] for k in y] if classes else [f"{v:g}" for v in y], where, notes)
    if head == "classification":
        if not classes:
            y, classes = _counted(y, where)
        if joined := [c for c in classes if SEPARATOR.search(c)]:
            notes += (f"classes such as {joined[0]!r} look like several labels: the head multilabel reads them so",)
        return Supervision(head, items, y.astype(np.int64), classes, notes)
    if head != "regression":
        raise Asked(f"{where} has one label an item, not what {head} learns from", "leave the head out")
    return Supervision(head, items, (numbers(classes, where)[y] if classes else y).astype(np.float32), (), notes)


def transcripts(items: np.ndarray, texts: Sequence[str], where: str, notes: Sequence[str] = ()) -> Supervision:
    """What is said (or written) in each item, as numbers of characters int16 [R, L], -1 = the end; number 0 is no character.

    Spaces in a row count as one. Raises BadData where no text holds a character.
    """
    clean = [" ".join(t.split()) for t in texts]
    letters = tuple(sorted({c for t in clean for c in t}))
    if not letters:
        raise BadData(f"{where}: no transcript holds a character", "name the column with --target")
    number = {c: k + 1 for k, c in enumerate(letters)}
    kept = np.array([bool(t) for t in clean])
    out = np.full((int(kept.sum()), max(map(len, clean))), -1, np.int16)
    for row, t in zip(out, (t for t in clean if t), strict=True):
        row[: len(t)] = [number[c] for c in t]
    return Supervision("transcription", items[kept], out, ("", *letters), tuple(notes))


def several(
    items: np.ndarray, values: np.ndarray, names: tuple[str, ...], head: str | None, where: str, notes: Sequence[str] = ()
) -> Supervision:
    """Several yes-or-no labels an item; as classes if the head wants them and every item has exactly one.

    items: int64 [n]. values: float32 [n, K], NaN = unknown.
    """
    known = ~np.isnan(values).all(1)
    items, values, notes = items[known], values[known], tuple(notes)
    exclusive = values.shape[1] > 1 and bool((values.sum(1) == 1).all())
    if head == "classification" and exclusive:
        return Supervision(head, items, values.argmax(1).astype(np.int64), names, notes)
    if head not in (None, "multilabel"):
        raise Asked(
            f"{where} has several labels an item, not what {head} learns from", "leave the head out, or name one column with --target"
        )
    return Supervision("multilabel", items, values.astype(np.float32), names, notes + ((ONE_HOT,) if exclusive and head is None else ()))


def tagging(items: np.ndarray, tags: Marks, head: str | None, where: str, notes: Sequence[str] = ()) -> Supervision:
    """A class for each position of an item. items: int64 [n], rows of the data that `tags` [n] belong to.

    Raises BadData if not one of the tags can be used.
    """
    if head not in (None, "tagging"):
        raise Asked(f"{where} has tags of {tags.kind.tagged}, not what {head} learns from", "leave the head out, or use tagging")
    known = (tags.values >= 0).reshape(len(items), -1).any(1)
    reasons = [f"{p.name}: {p.reason}" for p in tags.bad]
    if not known.any():
        raise BadData(
            "".join([f"{where}: no tag can be used", *(f"\n  {r}" for r in reasons[:5])]), "" if reasons else "every position is unknown"
        )
    said = [f"{len(reasons)} items whose tags cannot be used count as unlabelled: {few(reasons)}"] if reasons else []
    return Supervision("tagging", items[known], tags.values[known], tags.classes, (*notes, *tags.notes, *said))


def of_pairs(items: np.ndarray, y: np.ndarray, classes: tuple[str, ...], head: str, where: str, notes: Sequence[str] = ()) -> Supervision:
    """A number or a class for each pair of items. items: int64 [n, 2]. y: index into `classes`, -1 = unlabelled; or numbers, NaN."""
    if head == "similarity":
        y = (np.where(y >= 0, numbers(classes, where)[y], np.nan) if classes else y).astype(np.float32)
        known = ~np.isnan(y)
        return Supervision(head, items[known], y[known], (), tuple(notes))
    known = y >= 0 if classes else ~np.isnan(y)
    items, y = items[known], y[known]
    if not classes:
        y, classes = _counted(y, where)
    return Supervision(head, items, y.astype(np.int64), classes, tuple(notes))


def words(cells: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cells of several words with | or ; between them as float32 [n, K] of 0 and 1, and the words.

    An empty cell is unknown (NaN), "none" says that no label holds.
    """
    lists = [[w.strip() for w in SEPARATOR.split(c) if w.strip()] for c in cells]
    unknown = [c.strip().lower() in MISSING and c.strip().lower() != "none" for c in cells]
    names = tuple(sorted({w for found, skip in zip(lists, unknown, strict=True) if not skip for w in found if w.lower() != "none"}))
    index = {w: k for k, w in enumerate(names)}
    out = np.zeros((len(cells), len(names)), np.float32)
    for i, found in enumerate(lists):
        out[i, [index[w] for w in found if w in index]] = 1
    out[unknown] = np.nan
    return out, names


def numbers(cells: Sequence[str], where: str) -> np.ndarray:
    """float32 of labels that are written as words, NaN where one is missing. Raises Asked naming some that are no numbers."""
    out, strange = np.full(len(cells), np.nan, np.float32), []
    for i, cell in enumerate(cells):
        if cell.strip().lower() in MISSING:
            continue
        try:
            with np.errstate(over="ignore"):
                out[i] = float(cell)
        except ValueError:
            strange.append(cell.strip())
    if strange:
        hint = "leave the head out to predict classes, or name a column of numbers with --target"
        raise Asked(f"{where} has words where a number is to be predicted, such as {few(map(repr, dict.fromkeys(strange)))}", hint)
    return np.where(np.isfinite(out), out, np.nan).astype(np.float32)


def _counted(y: np.ndarray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Whole numbers as classes."""
    broken = y[(y != np.rint(y)) | (np.abs(y) > WHOLE)]
    if len(broken):
        raise Asked(f"{where} has numbers such as {broken[0]:g}, which are no classes", "leave the head out to predict a number")
    found, index = np.unique(y.astype(np.int64), return_inverse=True)
    return index, tuple(map(str, found.tolist()))
