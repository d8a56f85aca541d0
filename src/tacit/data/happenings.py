"""Events in recordings as labels: what is heard from which second to which; one class a frame."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tacit.data.listing import Problem
from tacit.data.tags import MOST, Marks
from tacit.errors import BadData
from tacit.modality import BadItem, Modality
from tacit.types import Spec

Event = tuple[float, float, str]  # first second, last second, label
LABELS = ("label", "event", "class", "type", "tag")
NOTHING = "none"
PART = re.compile(r"@([0-9.e+-]+?)-(?:[0-9.e+]+|end)$")


class Happenings(Marks):
    """Labels that say what is heard when, as one class a frame: "none", and every label that occurs.

    A label is JSON, [[0.5, 1.25, "dog"], ...] or [{"start": 0.5, "end": 1.25, "label": "dog"}, ...], in seconds of the recording, also for
    a part of it; [] says that there is nothing, None that nobody listened. Where two events overlap, the one that began later counts.
    """

    def __init__(self, kind: type[Modality], spec: Spec, names: Sequence[str], lengths: np.ndarray, found: Sequence[str | None]) -> None:
        """lengths: of the N recordings, in samples. found: their labels."""
        super().__init__(kind, spec, names)
        self.lengths, self.found = lengths, found

    def _read(self) -> tuple[np.ndarray, tuple[str, ...], list[Problem], list[str]]:
        step = self.kind.step_of(self.spec)
        second = int(self.spec.extra["rate"]) / step  # frames
        bad: list[Problem] = []
        read: dict[int, list[Event]] = {}
        for row, label in enumerate(self.found):
            if label is None:
                continue
            try:
                read[row] = _events(label)
            except BadItem as error:
                bad.append(Problem(self.names[row], str(error)))
        names = sorted({name for events in read.values() for *_, name in events} - {NOTHING})
        if len(names) > MOST:
            raise BadData(f"the events have {len(names):,} different labels", f"at most {MOST:,} are understood")
        index = {name: k + 1 for k, name in enumerate(names)} | {NOTHING: 0}
        values = np.full((len(self), -(-int(self.lengths.max(initial=1)) // step)), -1, np.int16)
        outside = 0
        for row, events in read.items():
            part = PART.search(self.names[row])
            begin, frames = float(part[1]) if part else 0.0, -(-int(self.lengths[row]) // step)
            values[row, :frames] = 0
            for first, last, name in sorted(events):
                a, b = round((first - begin) * second), round((last - begin) * second)
                outside += part is None and b > frames + 1
                values[row, max(0, a) : max(0, min(frames, max(b, a + 1)))] = index[name]
        notes = [f"{sum(map(len, read.values())):,} events of {', '.join(names[:8]) or 'nothing'} in {len(read):,} recordings"]
        notes += [f"{outside:,} events end after their recording does"] if outside else []
        return values, (NOTHING, *names), bad, notes


def given(labels: Sequence[str]) -> bool:
    """Whether these labels are JSON with events, nine of ten at least."""
    return sum(_json(c) is not None for c in labels) >= max(1.0, 0.9 * len(labels))


def heard(tags: np.ndarray, classes: Sequence[str], second: float) -> list[dict[str, Any]]:
    """Runs of one class in a row of frames as events; second: frames of one."""
    edges = np.flatnonzero(np.diff(tags, prepend=-1, append=-1))
    out = []
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if (name := classes[int(tags[a])]) != NOTHING:
            out.append({"start": round(a / second, 3), "end": round(b / second, 3), "label": name})
    return out


def _events(label: str) -> list[Event]:
    found = _json(label)
    if found is None:
        raise BadItem(f"the label {label[:40]!r} is no list of events")
    for first, last, _ in found:
        if not 0 <= first < last:
            raise BadItem(f"an event from {first:g} to {last:g} s")
    return found


def _json(label: str) -> list[Event] | None:
    """The events of a JSON text, None where it is something else."""
    if not label.startswith("["):
        return None
    try:
        return [_event(one) for one in json.loads(label)]
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration, OverflowError, RecursionError):
        return None


def _event(one: Any) -> Event:
    if isinstance(one, dict):
        one = (one["start"], one["end"], next(one[k] for k in LABELS if k in one))
    first, last, name = one
    if isinstance(first, bool) or isinstance(last, bool) or not isinstance(name, str | int) or not str(name).strip():
        raise ValueError("an event is two numbers and a label")
    if not (math.isfinite(first) and math.isfinite(last)):
        raise ValueError("seconds are numbers")
    return float(first), float(last), str(name).strip()
