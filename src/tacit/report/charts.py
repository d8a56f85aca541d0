"""The report's drawings as SVG strings: no library, no network, colours by CSS class so that they follow the theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

CHAR = 7.4  # width of a character of the charts' text, in SVG units, generously
DASHES = ("", "7 4", "2 4", "10 4 2 4", "4 3", "14 5", "2 3", "6 2 2 2")


@dataclass(frozen=True)
class Point:
    """One measured value: x as drawn, the value, and the ends of its interval where it has one."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One representation's curve; colour: 0 is ours and drawn strongest, 1 to 7 the others."""

    name: str
    colour: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Bin:
    """One point of a reliability plot: mean confidence and accuracy, the ends of its interval, and how many items it stands on."""

    confidence: float
    accuracy: float
    low: float
    high: float
    n: int


def number(value: float, percent: bool = False) -> str:
    """A value as people read it: '91.4 %' for a share, three significant digits otherwise."""
    if percent:
        return f"{100 * value:.1f} %"
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def score(value: float, percent: bool = False) -> str:
    """A measured score: '91.4 %' for a share, three decimals otherwise, so that a column of them lines up."""
    return number(value, percent) if percent or abs(value) >= 100 else f"{value:.3f}".replace("-", "\u2212")


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from below `low` to above `high`, about `count` of them."""
    if not high > low:
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    rough = (high - low) / max(count - 1, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def spread_out(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, at least `gap` apart and inside low..high where that fits."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[float]] = []  # [sum of (wanted - offset), count], each block a run of touching labels
    for i in order:
        blocks.append([wanted[i], 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] + blocks[-2][1] * gap > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total - count * blocks[-1][1] * gap
            blocks[-1][1] += count
    placed = [total / count + k * gap for total, count in blocks for k in range(int(count))]
    if placed:
        for k in range(len(placed) - 1, -1, -1):
            placed[k] = min(placed[k], high - (len(placed) - 1 - k) * gap)
        for k in range(len(placed)):
            placed[k] = max(placed[k], low + k * gap)
    result = [0.0] * len(wanted)
    for position, i in zip(placed, order, strict=True):
        result[i] = position
    return result


def efficiency(lines: Sequence[Line], ticks: Sequence[tuple[float, str]], *, width: int, metric: str, percent: bool, x_title: str) -> str:
    """How good each representation is (y) with how many labels (x, logarithmic), with interval bands.

    ticks: (x, words) for every number of labels that was measured. width: drawing width; below 500 the names stand under the drawing.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return ""
    narrow = width < 500
    values = [v for line in drawn for p in line.points for v in (p.value, p.low, p.high) if v is not None]
    marks = nice_ticks(min(values), max(values))
    if percent:
        marks = [m for m in marks if -1e-9 <= m <= 1 + 1e-9]
    lowest, highest = min(marks[0], *values), max(marks[-1], *values)
    names = {line.name: f"{line.name}  {score(line.points[-1].value, percent)}" for line in drawn}
    left, top, plot = 52, 30, (250 if narrow else 300)
    right = 14 if narrow else min(300, int(30 + CHAR * max(len(n) for n in names.values())))
    bottom = 46 + (22 * len(drawn) if narrow else 0)
    height = top + plot + bottom
    logs = [math.log10(x) for x, _ in ticks]
    first, last = min(logs), max(logs)

    def at_x(x: float) -> float:
        share = 0.5 if last == first else (math.log10(x) - first) / (last - first)
        return round(left + 12 + share * (width - left - right - 24), 1)

    def at_y(value: float) -> float:
        return round(top + plot * (1 - (value - lowest) / (highest - lowest)), 1)

    parts = [_text(0, 14, metric, "t")]
    for mark in marks:
        words = f"{100 * mark:g} %" if percent else f"{mark:g}".replace("-", "\u2212")
        parts += [_rule(left, at_y(mark), width - right, "g"), _text(left - 8, at_y(mark) + 4, words, "a", "end")]
    shown = -1e9
    for x, words in sorted(ticks):
        half = CHAR * len(words) / 2
        if at_x(x) - half > shown:
            parts.append(_text(at_x(x), top + plot + 19, words, "a", "middle"))
            shown = at_x(x) + half + 4
        parts.append(f'<path class="g" d="M{at_x(x)} {top + plot}v5"/>')
    parts.append(_text((left + width - right) / 2, top + plot + 38, x_title, "t", "middle"))
    others_first = sorted(drawn, key=lambda line: -line.colour)
    for line in others_first:
        for run in _runs(line.points, [x for x, _ in ticks]):
            banded = [(p.x, p.low, p.high) for p in run if p.low is not None and p.high is not None]
            if len(banded) > 1:
                edge = [f"{at_x(x)} {at_y(high)}" for x, _, high in banded] + [f"{at_x(x)} {at_y(low)}" for x, low, _ in reversed(banded)]
                parts.append(f'<path class="band k{line.colour}" d="M{"L".join(edge)}Z"/>')
            for x, low, high in banded if len(banded) == 1 else ():
                parts.append(f'<path class="line k{line.colour}" d="M{at_x(x)} {at_y(low)}V{at_y(high)}"/>')
                parts += [f'<path class="line k{line.colour}" d="M{at_x(x) - 5} {at_y(v)}h10"/>' for v in (low, high)]
    for line in others_first:
        strong = " strong" if line.colour == 0 else ""
        dash = f' stroke-dasharray="{DASHES[line.colour % 8]}"' if DASHES[line.colour % 8] else ""
        for run in _runs(line.points, [x for x, _ in ticks]):
            where = "L".join(f"{at_x(p.x)} {at_y(p.value)}" for p in run)
            parts.append(f'<path class="line k{line.colour}{strong}"{dash} d="M{where}"/>')
        parts += [_marker(at_x(p.x), at_y(p.value), line.colour) for p in line.points]
    if narrow:
        for row, line in enumerate(sorted(drawn, key=lambda line: -line.points[-1].value)):
            y = float(top + plot + 62 + 22 * row)
            dash = f' stroke-dasharray="{DASHES[line.colour % 8]}"' if DASHES[line.colour % 8] else ""
            parts.append(f'<path class="line k{line.colour}"{dash} d="M4 {y}h28"/>{_marker(18, y, line.colour)}')
            parts.append(_text(42, y + 4, names[line.name], "n strong" if line.colour == 0 else "n"))
    else:
        ends = [at_y(line.points[-1].value) for line in drawn]
        for line, end, y in zip(drawn, ends, spread_out(ends, 19, top + 4, top + plot - 2), strict=True):
            x = at_x(line.points[-1].x)
            parts.append(f'<path class="lead" d="M{x + 7} {end}L{width - right + 8} {y:.1f}"/>')
            parts.append(_text(width - right + 12, y + 4, names[line.name], "n strong" if line.colour == 0 else "n"))
    said = "; ".join(f"{n}" for n in names.values())
    return _svg(width, height, f"{metric} by {x_title}. At the most labels: {said}. Every number is in the table below.", parts)


def curve(
    points: Sequence[tuple[float, float]],
    *,
    width: int,
    height: int,
    title: str,
    level: tuple[float, str] | None = None,
    zero: bool = False,
) -> str:
    """One quantity over the steps of training; points that are not finite are gaps.

    level: a horizontal line to compare with, and its name. zero: the y axis starts at 0.
    """
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return ""
    compared = [level[0]] if level and math.isfinite(level[0]) else []
    values = [y for _, y in finite] + compared + ([0.0] if zero else [])
    marks = nice_ticks(min(values), max(values), 4)
    x1 = max(finite[-1][0], finite[0][0] + 1)
    x0 = 0.0 if 0 < finite[0][0] < 0.1 * x1 else finite[0][0]
    steps = nice_ticks(x0, x1, 6 if width > 500 else 3)
    labels = [f"{m:g}" for m in marks]
    left, top, right, bottom = int(14 + CHAR * max(len(m) for m in labels)), 32, 16, 40

    def at_x(x: float) -> float:
        return round(left + (x - x0) / (x1 - x0) * (width - left - right), 1)

    def at_y(y: float) -> float:
        return round(top + (height - top - bottom) * (1 - (y - marks[0]) / (marks[-1] - marks[0])), 1)

    last = finite[-1][1]
    parts = [_text(0, 14, title, "t"), _text(width - right, 14, f"last {number(last)}", "n strong", "end")]
    for mark, words in zip(marks, labels, strict=True):
        parts += [_rule(left, at_y(mark), width - right, "g"), _text(left - 7, at_y(mark) + 4, words, "a", "end")]
    for step in (s for s in steps if x0 <= s <= x1):
        words = f"{step:,.0f}"
        half = CHAR * len(words) / 2
        parts.append(_text(min(max(at_x(step), half), width - half), height - bottom + 19, words, "a", "middle"))
    parts.append(_text((left + width - right) / 2, height - 4, "step", "a", "middle"))
    run: list[str] = []
    for x, y in [*points, (math.nan, math.nan)]:
        if math.isfinite(x) and math.isfinite(y):
            run.append(f"{at_x(x)} {at_y(y)}")
        elif run:
            parts.append(f'<path class="line k0" d="M{"L".join(run) if len(run) > 1 else run[0] + "h.1"}"/>')
            run = []
    if level and compared:
        y = at_y(level[0])
        crowded = sum(at_y(v) < y + 2 and at_y(v) > y - 20 for x, v in finite if at_x(x) > width - right - CHAR * len(level[1]))
        parts.append(f'<path class="level" d="M{left} {y}H{width - right}"/>')
        parts.append(_text(width - right, y + 15 if crowded else y - 6, level[1], "n halo", "end"))
    said = f"{title} from {number(finite[0][1])} at step {finite[0][0]:.0f} to {number(last)} at step {finite[-1][0]:.0f}"
    return _svg(width, height, said + (f"; {level[1]}: {number(level[0])}" if level else ""), parts)


def reliability(bins: Sequence[Bin], *, title: str, note: str, lowest: float = 0.0, size: int = 400) -> str:
    """How often a model is right (y) where it is so sure (x), with Wilson intervals, beside the diagonal on which it would be exactly as
    sure as right.

    note: in words at the top right. lowest: of what is drawn, in 0..1, so that several drawings share their axes. size: drawing width.
    """
    start = min(0.9, math.floor(10 * lowest + 1e-9) / 10)
    marks = [m for m in nice_ticks(start, 1.0) if start - 1e-9 <= m <= 1 + 1e-9]
    left, top, right, bottom = 60, 34, 24, 46
    side = size - left - right
    height = top + side + bottom

    def at(value: float) -> float:
        return side * (min(max(value, start), 1.0) - start) / (1 - start)

    def x(value: float) -> float:
        return round(left + at(value), 1)

    def y(value: float) -> float:
        return round(top + side - at(value), 1)

    parts = [_text(0, 14, title, "t"), _text(size - right, 14, note, "n strong", "end")]
    for mark in marks:
        words = f"{100 * mark:g} %"
        parts += [_rule(left, y(mark), size - right, "g"), _text(left - 8, y(mark) + 4, words, "a", "end")]
        parts += [f'<path class="g" d="M{x(mark)} {top + side}v5"/>', _text(x(mark), top + side + 19, words, "a", "middle")]
    parts.append(_text(left + side / 2, height - 6, "how sure it is", "t", "middle"))
    parts.append(f'<path class="level" d="M{x(start)} {y(start)}L{x(1)} {y(1)}"/>')
    for b in bins:
        parts.append(f'<path class="line k0" d="M{x(b.confidence)} {y(b.low)}V{y(b.high)}"/>')
    if len(bins) > 1:
        parts.append(f'<path class="line k0" d="M{"L".join(f"{x(b.confidence)} {y(b.accuracy)}" for b in bins)}"/>')
    for b in bins:
        said = f"{number(b.confidence, True)} sure, {number(b.accuracy, True)} right, n = {b.n:,}"
        parts.append(f"<g><title>{escape(said)}</title>{_marker(x(b.confidence), y(b.accuracy), 0)}</g>")
    furthest = max(bins, key=lambda b: abs(b.accuracy - b.confidence))
    far = f"{number(furthest.confidence, True)} sure and {number(furthest.accuracy, True)} right"
    label = f"{title}, by how sure it is, in {len(bins)} groups of items; {note}. The furthest from the diagonal: {far}."
    return _svg(size, height, f"{label} Every point is in the table below.", parts)


def dots(xy: Sequence[tuple[float, float]], kinds: Sequence[int], *, width: int, height: int, label: str) -> str:
    """The map: a dot an item, in order, of constant size on screen whatever the drawing is scaled to.

    xy: positions in 0..1 with y up. kinds: class number; 0 to 7 are round, 8 to 15 square in the same colours, -1 is grey.
    """
    parts = []
    for i, ((x, y), kind) in enumerate(zip(xy, kinds, strict=True)):
        style = f"k{kind % 8}{' sq' if kind >= 8 else ''}" if kind >= 0 else "kn"
        parts.append(f'<path class="{style}" data-i="{i}" d="M{12 + x * (width - 24):.1f} {12 + (1 - y) * (height - 24):.1f}h0"/>')
    body = "".join(parts) + '<path class="here" d="M-9999-9999h0"/><path class="top" d="M-9999-9999h0"/>'
    return (
        f'<svg class="dots" viewBox="0 0 {width} {height}" tabindex="0" role="application" aria-describedby="map-help" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def _runs(points: Sequence[Point], ticks: Sequence[float]) -> list[list[Point]]:
    """The points in runs of neighbouring ticks: nothing is drawn across a number of labels that was not measured."""
    order = {x: i for i, x in enumerate(sorted(ticks))}
    runs: list[list[Point]] = []
    for p in points:
        if runs and order[p.x] == order[runs[-1][-1].x] + 1:
            runs[-1].append(p)
        else:
            runs.append([p])
    return runs


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}"{where}>{escape(words)}</text>'


def _rule(x0: float, y: float, x1: float, style: str) -> str:
    return f'<path class="{style}" d="M{x0} {y}H{x1}"/>'


def _marker(x: float, y: float, colour: int) -> str:
    shapes = (
        "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
        "M-3.6-3.6h7.2v7.2h-7.2z",
        "M0-5L5 0L0 5L-5 0z",
        "M0-4.6L4.8 3.8H-4.8z",
        "M0 4.6L-4.8-3.8H4.8z",
        "M-4.5-1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
        "M-2.5-4.5h5l2.5 4.5l-2.5 4.5h-5l-2.5-4.5z",
        "M-4.5-2h9v4h-9z",
    )
    return f'<path class="mark k{colour}" transform="translate({x} {y:.1f})" d="{shapes[colour % 8]}"/>'
