"""How a reason is worded: the strangest cells of an item, what was expected there and what is there, in the data's own terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Reason = tuple[tuple[int, ...], str]  # the cells that it is about, and the words


@dataclass(frozen=True)
class Strange:
    """One item as the network that fills in saw it.

    x: decoded item [C, *S] or [F]. guess: outputs for each cell [N, P]. evidence: [N], -log10 of how many normal items are as strange
    there. grid, cell: how cells are arranged, and samples that one covers. tokenizer: what its outputs mean.
    """

    x: np.ndarray
    guess: np.ndarray
    evidence: np.ndarray
    grid: tuple[int, ...]
    cell: tuple[int, ...]
    tokenizer: Any

    def strongest(self, most: int, share: float = 0.3, least: float = 1.0) -> list[int]:
        """Cells by their evidence: the first one, and others that have this share of it and at least `least`."""
        order = np.argsort(-self.evidence, kind="stable")[:most].tolist()
        floor = max(least, share * float(self.evidence[order[0]])) if order else least
        return [int(i) for k, i in enumerate(order) if k == 0 or self.evidence[i] >= floor]

    def around(self, first: int, share: float = 0.4) -> list[int]:
        """The cells that hang together with this one and have this share of its evidence, ascending."""
        least = share * float(self.evidence[first])
        found, todo = {first}, [first]
        while todo:
            at = np.unravel_index(todo.pop(), self.grid)
            for axis in range(len(self.grid)):
                for step in (-1, 1):
                    near = list(map(int, at))
                    near[axis] += step
                    if 0 <= near[axis] < self.grid[axis]:
                        n = int(np.ravel_multi_index(near, self.grid))
                        if n not in found and n < len(self.evidence) and self.evidence[n] >= max(least, 0.3):
                            found.add(n)
                            todo.append(n)
        return sorted(found)


def number(value: float) -> str:
    """A number as a person writes it: four digits that say something, thousands apart."""
    if not np.isfinite(value):
        return str(value)
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def segments(item: Strange, most: int) -> list[Reason]:
    """Stretches of a series [C, T] that are not as the rest of it lets expect."""
    out: list[Reason] = []
    taken: set[int] = set()
    (cell,) = item.cell
    channels = len(item.x)
    mean, std = (np.asarray(getattr(item.tokenizer, k)).reshape(-1) for k in ("mean", "std"))
    for first in item.strongest(len(item.evidence)):
        if first in taken or len(out) == most:
            continue
        where = item.around(first)
        taken |= set(where)
        start, end = where[0] * cell, min((where[-1] + 1) * cell, item.x.shape[1])
        expected = np.concatenate([item.guess[i].reshape(channels, cell) for i in range(where[0], where[-1] + 1)], 1)[:, : end - start]
        expected = expected * std[:, None] + mean[:, None]
        observed = item.x[:, start:end]
        off = np.nanmean(np.abs(observed - expected[:, : observed.shape[1]]) / std[:, None], 1)
        c = int(np.nanargmax(np.nan_to_num(off)))
        there = observed[c][~np.isnan(observed[c])]
        said = _span(there) if len(there) else "nothing"
        channel = f", channel {c}" if channels > 1 else ""
        out.append((tuple(where), f"samples {start} to {end - 1}{channel}: expected {_span(expected[c])}, observed {said}"))
    return out


def regions(item: Strange, most: int, scale: float = 255.0) -> list[Reason]:
    """Regions of an image [C, H, W] that are not as their surroundings let expect. scale: of brightness 1."""
    out: list[Reason] = []
    taken: set[int] = set()
    channels, height, width = item.x.shape
    mean, std = (np.asarray(getattr(item.tokenizer, k)).reshape(-1) for k in ("mean", "std"))
    up, across = height / (item.grid[0] * item.cell[0]), width / (item.grid[1] * item.cell[1])
    for first in item.strongest(len(item.evidence)):
        if first in taken or len(out) == most:
            continue
        where = item.around(first)
        taken |= set(where)
        rows, columns = np.unravel_index(where, item.grid)
        top, bottom = int(rows.min() * item.cell[0] * up), int(np.ceil((rows.max() + 1) * item.cell[0] * up)) - 1
        left, right = int(columns.min() * item.cell[1] * across), int(np.ceil((columns.max() + 1) * item.cell[1] * across)) - 1
        patches = np.stack([item.guess[i].reshape(channels, -1) for i in where])
        expected = float((patches * std[:, None] + mean[:, None]).mean() * scale)
        shown = item.x[:, top : bottom + 1, left : right + 1].astype(np.float64)
        observed = float(shown.mean()) * (scale / 255.0 if item.x.dtype == np.uint8 else scale)
        place = _place((top + bottom) / 2 / height, (left + right) / 2 / width)
        words = f"pixels {left} to {right} across, {top} to {bottom} down ({place})"
        words += f": expected brightness {expected:.0f}, observed {observed:.0f}"
        out.append((tuple(where), words))
    return out


def _span(values: Sequence[float] | np.ndarray) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    a, b = f"{low:.3g}", f"{high:.3g}"
    return a if a == b else f"{a} to {b}"


def _place(down: float, across: float) -> str:
    vertical = "upper" if down < 1 / 3 else "lower" if down > 2 / 3 else ""
    horizontal = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    return " ".join(filter(None, [vertical, horizontal])) or "centre"
