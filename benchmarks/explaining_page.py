"""docs/explaining.md from the cells of part 7."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from part1 import Cells
from parts import sources

GAINS = ("deletion", "insertion", "trivial", "random weights")


def page(cells: Cells) -> Iterator[str]:
    """The lines of the page."""
    found = cells.every()
    yield "# Explanations: what was measured\n"
    yield f"`python benchmarks/part7.py --write`; cells in benchmarks/results/part7, measured at {sources(found)}, one thread."
    yield "What is missing was not measured.\n"
    yield from _planted({n.removeprefix("planted_"): c for n, c in found.items() if n.startswith("planted_")})
    yield from _real({n.removeprefix("real_"): c for n, c in found.items() if n.startswith("real_")})


def _planted(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## A part that alone decides\n"
    yield "The encoder has learned the classes of generated data, in which one part alone decides; an item is explained as nearer to its own"
    yield "class than to the other. Share of items whose strongest part lies in the planted one, in brackets the share of the strongest 5 % of"
    yield "the parts; void where a linear probe reads fewer than 95 %.\n"
    ways = list(next((c["ways"] for c in rows.values() if c["ways"]), {}))
    yield f"| data | n | probe | parts | by chance | {' | '.join(ways)} |"
    yield f"| --- | --- | --- | --- | --- |{' --- |' * len(ways)}"
    for name, c in rows.items():
        if c["void"]:
            yield f"| {name} | void | {100 * c['probe']:.1f} |" + " |" * (len(ways) + 2)
            continue
        each = [f"{100 * c['ways'][w]['hits']:.0f} ({100 * c['ways'][w]['top']:.0f})" for w in ways]
        yield f"| {name} | {c['n']} | {100 * c['probe']:.1f} | {c['parts']:.0f} | {100 * c['by chance']:.0f} | {' | '.join(each)} |"
    yield ""


def _real(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## Real data\n"
    yield "The default explanation of the embedding itself; an item's map passes where two tests or more pass and none fails.\n"
    yield "| data | n | how | parts | passed | failed | not testable | seconds | tests that failed |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, c in rows.items():
        shares = [f"{100 * v:.0f} %" for v in (c["passed"], 1 - c["passed"] - c["not testable"], c["not testable"])]
        why = ", ".join(f"{k} {v}" for k, v in c["failed"].items() if v)
        yield f"| {name} | {c['n']} | {c['how']} | {c['parts']} | {' | '.join(shares)} | {c['each']:.2f} | {why} |"
    yield ""
    yield "### Which attributions can be believed on a run\n"
    yield "Paired differences with 95 % intervals: areas of deletion and insertion against random orders; insertion minus deletion against the"
    yield "order by how much hiding a part changes what goes in (trivial), and against the map of a network with random weights.\n"
    yield f"| data | attribution | {' | '.join(GAINS)} | stable | seconds | |"
    yield f"| --- | --- |{' --- |' * len(GAINS)} --- | --- | --- |"
    for name, c in rows.items():
        for way, m in c["methods"].items():
            if not m.get("gains"):
                continue
            each = [f"{m['gains'][g][0]:+.3f} [{m['gains'][g][1]:+.3f}, {m['gains'][g][2]:+.3f}]" for g in GAINS]
            stable = "" if m["stable"] is None else f"{m['stable']:.2f}"
            word = "passed" if m["passed"] else "failed"
            yield f"| {name} | {way} | {' | '.join(each)} | {stable} | {m['seconds']:.2f} | {word} |"
    yield ""
