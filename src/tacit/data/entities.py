"""Spans of texts as labels: entities to be found, or the answer to a question; one BIO label a token."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tacit import wording
from tacit.data import happenings
from tacit.data.listing import Problem
from tacit.data.tags import MOST, Marks
from tacit.errors import Asked, BadData
from tacit.modality import BadItem, Modality
from tacit.types import Spec

Span = tuple[int, int, str]  # first character, one after the last, label
LABELS = ("label", "entity", "tag", "type", "entity_group")
ANSWER = "answer"


class Entities(Marks):
    """Labels that say where the spans of each text are, as one BIO label a token: "O", then B- and I- for every label that occurs.

    A label is JSON, [[0, 5, "person"], ...] or [{"start": 0, "end": 5, "label": "person"}, ...], with places in characters; or a piece of
    the text itself, such as the answer to a question. [] says that there is none, None that nobody looked. T of `values` is that of the
    longest text with a label.
    """

    def __init__(
        self,
        kind: type[Modality],
        spec: Spec,
        names: Sequence[str],
        lengths: np.ndarray,
        raws: Callable[[], Iterator[str]],
        found: Sequence[str | None],
    ) -> None:
        """lengths: of the N texts, in tokens. raws: reads the texts again. found: their labels."""
        super().__init__(kind, spec, names)
        self.lengths, self.raws, self.found = lengths, raws, found

    def _read(self) -> tuple[np.ndarray, tuple[str, ...], list[Problem], list[str]]:
        if self.spec.extra.get("redact"):
            raise Asked("personal data was taken out of these texts, so places in them are others", "pretrain without data.redact")
        bad, widened, behind = list[Problem](), 0, 0
        read: dict[int, tuple[list[Span], np.ndarray]] = {}
        for row, (text, label) in enumerate(zip(self.raws(), self.found, strict=True)):
            if label is None:
                continue
            try:
                places = wording.places(self.spec.extra["tokenizer"], text)[: int(self.lengths[row])]
                read[row] = _disjoint(spans(label, text)), places
                widened += sum(a not in places[:, 0] or b not in places[:, 1] for a, b, _ in read[row][0])
                behind += sum(a >= places[-1, 1] for a, *_ in read[row][0])
            except BadItem as error:
                bad.append(Problem(self.names[row], str(error)))
        names = sorted({name for found, _ in read.values() for *_, name in found})
        if len(names) > MOST:
            raise BadData(f"the spans have {len(names):,} different labels", f"at most {MOST:,} are understood")
        classes = ("O", *(f"{mark}-{name}" for name in names for mark in "BI"))
        index = {c: k for k, c in enumerate(classes)}
        values = np.full((len(self), max((len(p) for _, p in read.values()), default=1)), -1, np.int16)
        for row, (found, places) in read.items():
            values[row, : len(places)] = 0
            for first, end, name in found:
                inside = np.flatnonzero((places[:, 1] > first) & (places[:, 0] < end))
                values[row, inside] = index[f"I-{name}"]
                values[row, inside[:1]] = index[f"B-{name}"]
        notes = [f"{sum(len(f) for f, _ in read.values()):,} spans of {', '.join(names[:8]) or 'nothing'} in {len(read):,} texts"]
        notes += [f"{widened:,} spans begin or end inside a token, and count from its beginning to its end"] if widened else []
        notes += [f"{behind:,} spans lie behind what is read of a long text"] if behind else []
        return values, classes, bad, notes


def _disjoint(found: list[Span]) -> list[Span]:
    """The spans in their order. Raises BadItem where one lies in another: a token has one label."""
    found = sorted(found)
    for (_, end, _), (first, _, _) in itertools.pairwise(found):
        if first < end:
            raise BadItem(f"two spans overlap at character {first}, and a token has one label only")
    return found


def said(y: np.ndarray, classes: Sequence[str]) -> list[str | None]:
    """Labels as they were written, None = unlabelled. y: int64 index into `classes`, -1 = none; or numbers, NaN = none."""
    if len(classes):
        return [None if k < 0 else classes[k] for k in y.tolist()]
    return [None if v != v else f"{v:.9g}" for v in y.tolist()]


def given(labels: Sequence[str]) -> bool:
    """Whether these labels are JSON with spans, nine of ten at least; the others are named later."""
    return sum(_json(c) is not None for c in labels) >= max(1.0, 0.9 * len(labels))


def within(
    kind: type[Modality],
    spec: Spec,
    names: Sequence[str],
    lengths: np.ndarray,
    raws: Callable[[], Iterator[str]] | None,
    y: np.ndarray,
    classes: Sequence[str],
) -> Marks | None:
    """What labels name within items: spans of texts, events in recordings; None where they are labels of whole items."""
    if raws is not None and given(classes):
        return Entities(kind, spec, names, lengths, raws, said(y, classes))
    if spec.modality == "audio" and happenings.given(classes):
        return happenings.Happenings(kind, spec, names, lengths, said(y, classes))
    return None


def located(found: Sequence[Sequence[Any]], texts: Iterable[str], tokenizer: str) -> list[list[dict[str, Any]]]:
    """Spans of tokens (first, one after the last, label) as characters of the texts, with what stands there."""
    out = []
    for row, text in zip(found, texts, strict=True):
        if not isinstance(text, str):  # numbers of tokens, whose places in a text nobody knows
            out.append([{"start": a, "end": b, "label": label, "text": ""} for a, b, label in row])
            continue
        places = wording.places(tokenizer, text) if row else np.zeros((0, 2), np.int64)
        marks = [(int(places[a, 0]), int(places[b - 1, 1]), label) for a, b, label in row]
        out.append([{"start": a, "end": b, "label": label, "text": text[a:b]} for a, b, label in marks])
    return out


def spans(label: str, text: str) -> list[Span]:
    """The spans that a label names in a text. Raises BadItem for a label that is neither JSON with spans nor a piece of the text."""
    found = _json(label)
    if found is not None:
        for first, end, _ in found:
            if not 0 <= first < end <= len(text):
                raise BadItem(f"the span {first} to {end} does not lie in a text of {len(text)} characters")
        return found
    mark = text.rfind(wording.SEPARATOR)  # of joined columns, the last one holds the answer
    begin = mark + len(wording.SEPARATOR) if mark >= 0 else 0
    for low in (str, str.lower):
        if low(label) and (at := low(text).find(low(label), begin)) >= 0 and len(low(text)) == len(text):
            return [(at, at + len(label), ANSWER)]
    raise BadItem(f"the label {label[:40]!r} is no list of spans and does not occur in the text")


def _json(label: str) -> list[Span] | None:
    """The spans of a JSON text, None where it is something else."""
    if not label.startswith("["):
        return None
    try:
        return [_span(one) for one in json.loads(label)]
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration, OverflowError, RecursionError):
        return None


def _span(one: Any) -> Span:
    if isinstance(one, dict):
        one = (one["start"], one["end"], next(one[k] for k in LABELS if k in one))
    first, end, name = one
    if not (isinstance(first, int) and isinstance(end, int) and isinstance(name, str | int) and str(name).strip()):
        raise ValueError("a span is two whole numbers and a label")
    return first, end, str(name).strip()
