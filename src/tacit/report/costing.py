"""What a run cost, arranged for reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tacit.report.read import real, words

SCALES = ((1e12, "tera"), (1e9, "giga"), (1e6, "mega"), (1e3, "kilo"))


@dataclass(frozen=True)
class Cost:
    """facts: (name, value, how it was measured). latency: (items at once, median, 95th percentile, items a second, repeats)."""

    facts: tuple[tuple[str, str, str], ...]
    latency: tuple[tuple[str, str, str, str, str], ...]
    caption: str


def show(held: Any, known: Mapping[str, Any]) -> Cost:
    """The costs for the report.

    held: "cost" of run.json or result.json, whatever it holds. known: "parameters" and "seconds", for what was written without costs.
    """
    cost: Mapping[str, Any] = held if isinstance(held, Mapping) else {}
    given = cost.get("energy")
    energy: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    parameters, seconds = (real(cost.get(k)) or real(known.get(k)) for k in ("parameters", "seconds"))
    flops, peak, kwh, watts = real(cost.get("flops")), real(cost.get("peak_memory_mb")), real(energy.get("kwh")), real(energy.get("watts"))
    power = f", {watts:,.0f} W on average" if watts else ""
    found = [
        ("Parameters", f"{parameters:,.0f}" if parameters else "", ""),
        ("Operations", f"{operations(flops)} for one item" if flops else "", words(cost.get("flops_of"))),
        ("Training", duration(seconds), ""),
        ("Energy", "" if kwh is None else energy_words(kwh) + power, words(energy.get("method"), 600)),
        ("Peak memory", f"{peak / 1000:,.2f} GB" if peak else "", words(cost.get("peak_memory_of"))),
    ]
    rows = cost.get("latency")
    latency = tuple(_timed(row) for row in rows if isinstance(row, Mapping)) if isinstance(rows, (list, tuple)) else ()
    caption = f"Time of one batch, {words(cost.get('latency_of'))}." if latency else ""
    return Cost(tuple(row for row in found if row[1]), latency, caption)


def _timed(row: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    batch, p50, p95 = (real(row.get(k)) for k in ("batch", "p50_ms", "p95_ms"))
    at = f"{batch:,.0f} item{'' if batch == 1 else 's'}" if batch else words(row.get("batch"))
    if not p50 or not batch:
        return at, "n/a", words(row.get("reason")) or "not measured", "", ""
    return at, milliseconds(p50), milliseconds(p95 or p50), f"{1000 * batch / p50:,.0f}", words(row.get("n"))


def milliseconds(value: float) -> str:
    """A time in ms or s with about three digits."""
    return f"{value / 1000:,.2f} s" if value >= 10_000 else f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def operations(flops: float) -> str:
    """Floating point operations with a prefix, such as '22.4 MFLOP'."""
    for size, name in SCALES:
        if flops >= size:
            return f"{flops / size:.3g} {name[0].upper() if name != 'kilo' else 'k'}FLOP"
    return f"{flops:.0f} FLOP"


def energy_words(kwh: float) -> str:
    """An energy in kWh or Wh."""
    return f"{kwh:,.3g} kWh" if kwh >= 0.1 else f"{1000 * kwh:.3g} Wh"


def duration(seconds: float | None) -> str:
    """Seconds as s, min or h."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
