"""docs/explaining.md from the cells of part 7."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from part1 import Cells
from parts import sources

GAINS = ("deletion", "insertion", "road", "trivial", "random weights")


def page(cells: Cells) -> Iterator[str]:
    """The lines of the page."""
    found = cells.every()
    yield "# Explanations: what was measured\n"
    yield f"`python benchmarks/part7.py --write`; cells in benchmarks/results/part7, measured at {sources(found)}, one thread."
    yield "What is missing was not measured.\n"
    if "exact" in found:
        yield from _exact(found["exact"])
    yield from _planted({n.removeprefix("planted_"): c for n, c in found.items() if n.startswith("planted_")})
    yield from _real({n.removeprefix("real_"): c for n, c in found.items() if n.startswith("real_")})
    yield from _concepts({n.removeprefix("concepts_"): c for n, c in found.items() if n.startswith("concepts_")})
    yield from _prototypes({n.removeprefix("prototypes_"): c for n, c in found.items() if n.startswith("prototypes_")})
    if "gallery" in found:
        yield from _gallery({k: v for k, v in found["gallery"].items() if isinstance(v, dict) and "verdict" in v})


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
    yield "order by how much hiding a part changes what goes in (trivial), and against the map of a network with random weights; of images also ROAD"
    yield "against random orders.\n"
    yield f"| data | attribution | {' | '.join(GAINS)} | stable | seconds | |"
    yield f"| --- | --- |{' --- |' * len(GAINS)} --- | --- | --- |"
    for name, c in rows.items():
        for way, m in c["methods"].items():
            if not m.get("gains"):
                continue
            each = [f"{v[0]:+.3f} [{v[1]:+.3f}, {v[2]:+.3f}]" if (v := m["gains"].get(g)) else "" for g in GAINS]
            stable = "" if m["stable"] is None else f"{m['stable']:.2f}"
            word = "passed" if m["passed"] else "failed"
            yield f"| {name} | {way} | {' | '.join(each)} | {stable} | {m['seconds']:.2f} | {word} |"
    yield ""


def _exact(c: dict[str, Any]) -> Iterator[str]:
    yield "## What is known in closed form\n"
    yield f"Of {c['n']} linear encoders the largest error of any place, as a share of the largest attribution; of games that are no sums how far"
    yield "ours and a package's are apart; and how far the right order is ahead of the best of 200 random ones.\n"
    yield "| what | measured |"
    yield "| --- | --- |"
    for name, far in c["linear"].items():
        yield f"| linear encoder, `{name}` | {far:.1e} |"
    for name, far in c["apart"].items():
        yield f"| {name}, no sum | {far:.1e} |"
    for name, ahead in c["least ahead of 200 orders"].items():
        yield f"| {name}: right order ahead by at least | {ahead:.1e} |"
    worst = f"{c['completeness']['median']:.1e} (worst {c['completeness']['worst']:.1e})"
    yield f"| integrated gradients on {c['items']} digits: the sum of all parts misses | {worst} |"
    yield ""


def _concepts(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## Concepts\n"
    yield "Learned with three seeds; stable: found again by the others (matched cosine of 0.7 or more), in brackets the mean cosine of all. A linear"
    yield "decision with few of the stable ones beside a linear probe of the whole embedding, on held-out items; the gap with its 95 % interval.\n"
    yield "| data | by | stable | explained | used | accuracy | whole | gap | n |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, c in sorted(rows.items(), key=lambda pair: pair[0].partition("_")[2]):
        how, _, data = name.partition("_")
        told = f"| {data} | {how} | {c['stable']} of {c['atoms']} ({c['stability']['mean']:.2f}) | {100 * c['explained']:.0f} % |"
        if (h := c["head"]) is None:
            yield f"{told} | | | | |"
            continue
        gap = f"{100 * h['gap']['mean']:+.1f} [{100 * h['gap']['low']:+.1f}, {100 * h['gap']['high']:+.1f}]"
        yield f"{told} {h['used']} | {100 * h['accuracy']:.1f} | {100 * h['full']:.1f} | {gap} | {h['n']} |"
    yield ""


def _prototypes(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## What prototypes cost\n"
    yield "`tacit finetune --strategy prototypes`: accuracy on held-out items by likeness to real training parts, 10 and 50 a class, beside the"
    yield "linear probe of the same encoder on the same labels; 95 % intervals.\n"
    yield "| data | n | 10 a class | 50 a class | linear probe |"
    yield "| --- | --- | --- | --- | --- |"
    for name, c in rows.items():
        if "10" not in c:
            yield f"| {name} | | {c['why']} | | |"
            continue
        told = [
            f"{100 * v['value']:.1f} [{100 * v['low']:.1f}, {100 * v['high']:.1f}]"
            for v in (c["10"]["ours"], c["50"]["ours"], c["10"]["twin"])
        ]
        yield f"| {name} | {c['10']['ours']['n_test']} | {' | '.join(told)} |"
    yield ""


def _gallery(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "## Gallery\n"
    yield "Each item once by the network that learned, and once by a copy of it with random weights, whose map is tested on the network that"
    yield "learned and has to fail. Orange speaks for, blue against. All data are generated, or the embedded digits.\n"
    for name, c in rows.items():
        why = f" ({', '.join(c['failed'])})" if c["failed"] else ""
        yield f"**{name.partition('-')[0]}**: {c['said']}, by {c['how']}: {c['verdict']}{why}\n"
        yield f"![{name}](gallery/{name}.png)\n"
