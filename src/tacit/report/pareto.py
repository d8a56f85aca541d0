"""Accuracy against fairness of several mitigations, drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from tacit.report.charts import nice_ticks

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 380, 64, 52, 18, 150


def pareto(held: Mapping[str, Any]) -> str:
    """Each outcome as a point with its intervals: the gap to the right, accuracy upwards; those that no other beats are joined."""
    points = [o for o in held["outcomes"] if o["gap"]["value"] is not None]
    if not points:
        return ""
    xs = [v for o in points for v in (o["gap"]["low"], o["gap"]["high"]) if v is not None]
    ys = [v for o in points for v in (o["accuracy"]["low"], o["accuracy"]["high"]) if v is not None]
    x_ticks, y_ticks = nice_ticks(min(0.0, *xs), max(xs)), nice_ticks(min(ys), max(ys))
    x0, x1, y0, y1 = min(x_ticks[0], 0.0), max(x_ticks[-1], max(xs)), min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / max(x1 - x0, 1e-9) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y0) / max(y1 - y0, 1e-9) * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Accuracy against fairness by {escape(held["attribute"])}">'
    ]
    for t in y_ticks:
        _, y = at(x0, t)
        parts.append(
            f'<path class="g" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * t:.0f} %</text>'
        )
    for t in x_ticks:
        x, _ = at(t, y0)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{100 * t:.0f}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">equalised odds difference in points (left is fairer); accuracy upwards</text>')
    front = sorted((o for o in points if o["best"]), key=lambda o: o["gap"]["value"])
    if len(front) > 1:
        path = " L".join("{:.1f} {:.1f}".format(*at(o["gap"]["value"], o["accuracy"]["value"])) for o in front)
        parts.append(f'<path class="line" style="--k:var(--c0)" d="M{path}"/>')
    taken: list[tuple[float, float]] = []
    for o in points:
        x, y = at(o["gap"]["value"], o["accuracy"]["value"])
        colour = "var(--c0)" if o["best"] else "var(--cn)"
        if o["gap"]["low"] is not None and o["accuracy"]["low"] is not None:
            (xa, _), (xb, _) = at(o["gap"]["low"], y0), at(o["gap"]["high"], y0)
            (_, ya), (_, yb) = at(x0, o["accuracy"]["low"]), at(x0, o["accuracy"]["high"])
            parts.append(f'<path class="g" style="stroke:{colour};opacity:.45" d="M{xa:.1f} {y:.1f}H{xb:.1f}M{x:.1f} {ya:.1f}V{yb:.1f}"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" style="fill:{colour}"/>')
        name = o["name"] + (f" {o['strength']:g}" if o["strength"] not in (0.0, 1.0) else "")
        down = y - 9
        while any(abs(down - b) < 15 and abs(x - a) < 110 for a, b in taken):
            down += 15
        taken.append((x, down))
        parts.append(f'<text class="t" x="{x + 8:.1f}" y="{down:.1f}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])
