"""docs/tables.md, written from the cells of part 4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parts import sources

CLASSICS = (("columns", "linear"), ("columns", "knn"), ("boosting", "itself"), ("forest", "itself"))


def value(cell: dict[str, Any], representation: str, probe: str, level: Any, metric: str = "accuracy") -> float:
    """One number of a cell, NaN where it was not measured."""
    for r in cell["rows"]:
        if (r["representation"], r["probe"], r["labels_per_class"], r["metric"]) == (representation, probe, level, metric) and r[
            "value"
        ] is not None:
            return float(r["value"])
    return float("nan")


def page(cells: Any) -> Iterator[str]:
    """The page, line by line."""
    found = cells.every()
    yield "# Tables: what was measured\n"
    yield (
        "Written by `python benchmarks/part4.py --write` from the cells in `benchmarks/results/part4` (commits: " + sources(found) + ")."
    )
    yield "One preset for all tables (100 steps), one thread; 30 % of the rows held out (adult: its own parts), 20,000 rows at most.\n"
    yield from _labels(found)
    yield from _numbers(found)
    yield from _methods(found)
    yield from _unusual(found)
    yield from _machines(found)
    yield from _reasons(found)
    yield from _events(found)
    yield from _speed(found)


def _labels(found: dict[str, Any]) -> Iterator[str]:
    sets = [
        n.removeprefix("table_") for n, c in found.items() if n.startswith("table_") and any(r["metric"] == "accuracy" for r in c["rows"])
    ]
    yield "## Few labels\n"
    if not sets:
        yield "not measured\n"
        return
    yield "Accuracy in %, means of 10 draws of 1, 5 and 10 labels a class and 3 of 50; the embedding is frozen and read by logistic regression."
    yield "With columns: the embedding and the plain columns side by side, with equal variance (`ssl+columns`).\n"
    yield "| labels a class | data | Tacit | with columns | untrained | logistic regression | kNN | boosting | forest | supervised |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    ways = [("ssl", "linear"), ("ssl+columns", "linear"), ("untrained", "linear"), *CLASSICS, ("supervised", "end-to-end")]
    for level in (1, 5, 10, 50, "all"):
        table = np.array([[100 * value(found[f"table_{s}"], *way, level) for way in ways] for s in sets])
        for s, row in zip(sets, table, strict=True):
            yield f"| {level} | {s} | " + " | ".join(_bold(v, row) for v in row) + " |"
        whole = table[~np.isnan(table[:, :-1]).any(1)]
        if len(whole):
            yield f"| {level} | **mean of {len(whole)}** | " + " | ".join(f"{v:.1f}" for v in np.nanmean(whole, 0)) + " |"
    yield ""
    yield "The difference of the means over the sets, with a 95 % interval by bootstrap over sets (paired):\n"
    yield "| labels a class | sets | of | against logistic regression | against boosting | against untrained |\n| --- | --- | --- | --- | --- | --- |"
    for level in (1, 5, 10, 50, "all"):
        for ours, words in (("ssl", "Tacit"), ("ssl+columns", "with columns")):
            row = []
            count = 0
            for way in (("columns", "linear"), ("boosting", "itself"), ("untrained", "linear")):
                d = np.array([_ahead(found[f"table_{s}"], ours, way, level) for s in sets])
                d = d[~np.isnan(d)]
                count = len(d)
                row.append(_paired(d))
            yield f"| {level} | {count} | {words} | {' | '.join(row)} |"
    yield ""


def _ahead(cell: dict[str, Any], ours: str, way: tuple[str, str], level: Any) -> float:
    """Points that ours is ahead of another way."""
    return 100 * (value(cell, ours, "linear", level) - value(cell, *way, level))


def _bold(v: float, row: np.ndarray) -> str:
    if np.isnan(v):
        return "-"
    return f"**{v:.1f}**" if v >= np.nanmax(row) - 1e-9 else f"{v:.1f}"


def _paired(d: np.ndarray) -> str:
    if not len(d):
        return "-"
    rng = np.random.default_rng(0)
    means = d[rng.integers(0, len(d), (4000, len(d)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{d.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def _numbers(found: dict[str, Any]) -> Iterator[str]:
    sets = [n.removeprefix("table_") for n, c in found.items() if n.startswith("table_") and any(r["metric"] == "r2" for r in c["rows"])]
    if not sets:
        return
    yield "## A number to predict\n"
    yield "R², draws of labels as above.\n"
    yield "| labels | data | Tacit | with columns | untrained | ridge regression | boosting | forest |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    for s in sets:
        for level in (10, 50, 200, "all"):
            ways = (
                ("ssl", "ridge"),
                ("ssl+columns", "ridge"),
                ("untrained", "ridge"),
                ("columns", "ridge"),
                ("boosting", "itself"),
                ("forest", "itself"),
            )
            row = np.array([value(found[f"table_{s}"], *way, level, "r2") for way in ways])
            shown = " | ".join("-" if np.isnan(v) else f"**{v:.2f}**" if v == np.nanmax(row) else f"{v:.2f}" for v in row)
            yield f"| {level} | {s} | {shown} |"
    yield ""


def _methods(found: dict[str, Any]) -> Iterator[str]:
    mine = {tuple(n.removeprefix("method_").split("_", 1)): c for n, c in found.items() if n.startswith("method_")}
    if not mine:
        return
    sets = sorted({s for _, s in mine})
    yield "## Other methods\n"
    yield f"Accuracy in % at 1 / 5 / 10 labels a class on {', '.join(sets)}, 200 steps each.\n"
    yield f"| method | {' | '.join(sets)} |\n| --- |{' --- |' * len(sets)}"
    for method in sorted({m for m, _ in mine}):
        row = []
        for s in sets:
            c = mine.get((method, s))
            row.append("-" if c is None else " / ".join(f"{100 * value(c, 'ssl', 'linear', k):.1f}" for k in (1, 5, 10)))
        yield f"| {method} | {' | '.join(row)} |"
    yield ""


def _unusual(found: dict[str, Any]) -> Iterator[str]:
    mine = {n.removeprefix("unusual_"): c for n, c in found.items() if n.startswith("unusual_")}
    yield "## What is unusual\n"
    if not mine:
        yield "not measured\n"
        return
    yield "`score` decides; it is the mean evidence of the four below it, that of the strangest cell counted twice. Tables: the rare class among all rows, learned without labels. mitbih: beats of patients"
    yield "never seen, after normal beats of others. fashion_mnist: sneakers, after all other clothes. Recall at 1 % false alarms.\n"
    yield "| data | normal, strange | score | AUROC [95 %] | AUPRC | recall |\n| --- | --- | --- | --- | --- | --- |"
    for name, c in mine.items():
        best = max(v["auroc"] for v in c["scores"].values())
        for score, v in c["scores"].items():
            auroc = f"{v['auroc']:.3f} [{v['low']:.3f}, {v['high']:.3f}]"
            auroc = f"**{auroc}**" if v["auroc"] == best else auroc
            yield f"| {name} | {c['n_normal']:,}, {c['n_strange']:,} | {score.replace('_', ' ')} | {auroc} | {v['auprc']:.3f} | {v['recall']:.2f} |"
    yield ""
    for name, c in mine.items():
        yield f"- {name}: at a rate of 1 % asked for, {c['false_alarms']:.1%} of normal items are flagged and {c['caught']:.1%} of strange ones."
    yield ""


def _machines(found: dict[str, Any]) -> Iterator[str]:
    if (nab := found.get("machines_nab")) is not None:
        yield f"NAB: {nab['series']} series with {nab['windows']} labelled windows, one model for all of them; what is normal is learned from the first 15 % of each series, and every fourth"
        yield "sample after it gets a score. Means over series, intervals by bootstrap over series; caught: windows with a sample above the level that 1 % of the series' other samples exceed."
        yield "This is not NAB's own score, which rewards early alarms.\n"
        yield "| score | AUROC [95 %] | windows caught |\n| --- | --- | --- |"
        for score, v in nab["scores"].items():
            yield f"| {score.replace('_', ' ')} | {v['auroc']:.3f} [{v['low']:.3f}, {v['high']:.3f}] | {v['caught']:.0%} |"
        yield f"\nAt a rate of 1 % asked for, {nab['false_alarms']:.1%} of the samples outside the windows are flagged.\n"
    if (engines := found.get("machines_engines")) is not None:
        yield f"C-MAPSS FD001: windows of 30 cycles. Learned from engines 1 to 80 while 125 cycles or more are left; tested on the other {engines['engines']}: windows with fewer than 30 cycles left against"
        yield "those with 125 or more. Warned: cycles before the failure from which on every window is above the level that 1 % of the healthy ones exceed (median over engines).\n"
        yield "| score | AUROC [95 %] | warned | never warned |\n| --- | --- | --- | --- |"
        for score, v in engines["scores"].items():
            yield f"| {score.replace('_', ' ')} | {v['auroc']:.3f} [{v['low']:.3f}, {v['high']:.3f}] | {v['warned']:.0f} cycles | {v['missed']:.0%} |"
        yield f"\nAt a rate of 1 % asked for, {engines['false_alarms']:.1%} of healthy windows are flagged.\n"
        yield f"Remaining life of the {engines['n_test']} test engines (at most 125 cycles), RMSE in cycles [95 %] by labelled windows:\n"
        levels = ("50", "200", "all")
        yield f"| embedding | {' | '.join(levels)} |\n| --- |{' --- |' * len(levels)}"
        for name, row in engines["rmse"].items():
            yield (
                f"| {name} | "
                + " | ".join("-" if row.get(k, [None])[0] is None else "{:.1f} [{:.1f}, {:.1f}]".format(*row[k]) for k in levels)
                + " |"
            )
        yield ""


def _events(found: dict[str, Any]) -> Iterator[str]:
    mine = {n.removeprefix("events_").replace("_", " on "): c for n, c in found.items() if n.startswith("events_")}
    if not mine:
        return
    mine = dict(sorted(mine.items(), key=lambda item: item[0] != "preset"))  # the untrained network is that of the first
    first = next(iter(mine.values()))
    yield "## Event logs\n"
    yield f"A drawn log (`benchmarks/logs.py`): {first['users']:,} users, {first['events']:,} events, 200 items, 8 hidden states, two kinds of users who go through the states in opposite"
    yield f"directions. The last item of {first['ranking'][0]['n']} users who were never seen, ranked among all; the best possible ranking knows the rules (forward algorithm).\n"
    yield "| ranking | recall@10 [95 %] | nDCG@10 [95 %] |\n| --- | --- | --- |"
    for name, c in mine.items():
        for r in c["ranking"] if c is first else c["ranking"][:1]:
            words = f"Tacit, {name}" if r["name"] == "ssl" else r["name"].replace("_", " ")
            yield f"| {words} | " + " | ".join("{:.3f} [{:.3f}, {:.3f}]".format(*r[k]) for k in ("recall", "ndcg")) + " |"
    yield "\nWhich kind a user is, by labels a class: accuracy in % (a guess is right in 50). Counts and averages cannot know it.\n"
    levels = (1, 5, 10, 50, "all")
    yield f"| embedding | {' | '.join(map(str, levels))} |\n| --- |{' --- |' * len(levels)}"
    for name, c in mine.items():
        ways = [("ssl", "linear")] + (
            [("untrained", "linear"), ("aggregates", "linear"), ("boosting", "itself"), ("forest", "itself")] if c is first else []
        )
        for way in ways:
            row = [100 * value(c, *way, level) for level in levels]
            yield (
                f"| {f'Tacit, {name}' if way[0] == 'ssl' else way[0]} | "
                + " | ".join("-" if np.isnan(v) else f"{v:.1f}" for v in row)
                + " |"
            )
    yield ""


def _reasons(found: dict[str, Any]) -> Iterator[str]:
    mine = {n.removeprefix("reason_"): c for n, c in found.items() if n.startswith("reason_") and n != "reason_series"}
    yield "## Reasons\n"
    if mine:
        yield "One number of a row moved by five deviations: how often the first reason names its column, and one of the first three.\n"
        yield "| data | columns | n | first reason | first three | flagged at 1 % | false alarms |\n| --- | --- | --- | --- | --- | --- | --- |"
        for name, c in mine.items():
            numbers = " | ".join(f"{c[k]:.1%}" for k in ("first", "first_three", "flagged", "false_alarms"))
            yield f"| {name} | {c['columns']} | {c['n']} | {numbers} |"
        yield f"| **mean of {len(mine)}** | | | {np.mean([c['first'] for c in mine.values()]):.1%} | {np.mean([c['first_three'] for c in mine.values()]):.1%} | | |\n"
    if (series := found.get("reason_series")) is not None:
        yield "A segment of 12 to 24 samples planted in waves of 192: overlap (intersection over union) of the segment that the first reason names.\n"
        yield "| planted | n | overlap | touches it | flagged at 1 % |\n| --- | --- | --- | --- | --- |"
        for kind, c in series.items():
            if isinstance(c, dict):
                yield f"| {kind} | {c['n']} | {c['iou']:.2f} | {c['touches']:.0%} | {c['flagged']:.0%} |"
        yield ""


def _speed(found: dict[str, Any]) -> Iterator[str]:
    mine = {n.removeprefix("speed_"): c for n, c in found.items() if n.startswith("speed_")}
    if not mine:
        return
    yield "## Speed\n"
    if rows := mine.pop("rows", None):
        yield f"A drawn table of 11 columns, one thread: training (VICReg, mlp, batches of 256) {rows['train_rows_per_s']:,.0f} rows/s, of which {rows['outside']:.0%} of"
        yield f"the time is outside the method's forward and backward pass; embedding {rows['embed_rows_per_s']:,.0f} rows/s, scoring with `detect` {rows['detect_rows_per_s']:,.0f} rows/s.\n"
    yield "| file | size | rows | opened, typed and decoded in | peak memory | limit of address space |\n| --- | --- | --- | --- | --- | --- |"
    for name, c in mine.items():
        limit = f"{c['limit'] / 2**30:.0f} GiB" if c["limit"] else "none"
        yield f"| {name.split('_')[0]} | {c['bytes'] / 1e6:.0f} MB | {c['rows']:,} | {c['open_s']:.0f} s | {c['peak'] / 1e6:.0f} MB | {limit} |"
    yield ""
