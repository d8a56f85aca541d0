"""Words and tables for a person at a terminal: stdout is data, stderr is words."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


class Teller:
    """Words for a person, on stderr. What passes (progress, and words that end in a carriage return) is a line that rewrites itself on a
    terminal, and one line every 30 seconds elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.live = quiet, sys.stderr.isatty() and not quiet
        self.open, self.last = False, 0.0

    def say(self, words: str) -> None:
        if words.endswith("\r"):
            self._pass(words[:-1])
        elif not self.quiet:
            self._end()
            print(words, file=sys.stderr, flush=True)

    def show(self, p: Any) -> None:
        """The progress line: step, loss, health, items/s, time left."""
        mark = "" if p.health.state == "healthy" else f"{p.health.state}: "
        line = f"step {p.step}/{p.total}  loss {p.loss:.3f}  {mark}{p.health.words}  {p.items_per_s:,.0f} items/s  {clock(p.left)} left"
        self._pass(line, last=p.step == p.total)

    def _pass(self, line: str, last: bool = False) -> None:
        now = time.monotonic()
        if self.quiet or not (self.live or now - self.last > 30 or last):
            return
        self.last = now
        if not self.live:
            print(line, file=sys.stderr, flush=True)
            return
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        print("\r\x1b[2K" + line[: width - 1], end="", file=sys.stderr, flush=True)
        self.open = True

    def _end(self) -> None:
        if self.open:
            print(file=sys.stderr)
            self.open = False


def clock(seconds: float) -> str:
    """Seconds as 1h02m, 3m05s or 12s."""
    s = int(seconds)
    return f"{s // 3600}h{s % 3600 // 60:02d}m" if s >= 3600 else f"{s // 60}m{s % 60:02d}s" if s >= 60 else f"{s}s"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; plain text of the same content where stdout is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    t = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for i, name in enumerate(columns):
        t.add_column(name, overflow="fold", no_wrap=i == 0 and all(len(row[0]) <= 24 for row in rows))
    for row in rows:
        t.add_row(*map(Text, row))  # words of the data are no markup
    # a file gets as much room as it needs; a terminal gets its own width
    Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 110, highlight=False).print(t)


def out(value: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def scores(result: dict[str, Any], teller: Teller) -> None:
    """The results as one table a metric, the verdict below, and what was not checked."""
    rows, few_shot = ([r for r in result["results"] if r["probe"].startswith("episodes:") == wanted] for wanted in (False, True))
    levels = list(dict.fromkeys(r["labels_per_class"] for r in rows))
    for metric in dict.fromkeys(r["metric"] for r in rows):
        mine = [r for r in rows if r["metric"] == metric]
        lines = []
        for key in dict.fromkeys((r["representation"], r["probe"]) for r in mine):
            cells = {r["labels_per_class"]: r for r in mine if (r["representation"], r["probe"]) == key}
            lines.append([f"{key[0]}\n{key[1]}", *(_cell(cells.get(level)) for level in levels)])
        n = next((r["n_test"] for r in mine), 0)
        amount = "labels a class" if metric == "accuracy" else "labels"
        table(f"{metric} on {n} test items, by {amount} [95 % interval]", ["", *map(str, levels)], lines)
    if few_shot:
        _episodes(few_shot)
    print(result["verdict"]["sentence"], flush=True)
    for note in result["notes"]:
        teller.say(f"note: {note}")


def _episodes(rows: list[dict[str, Any]]) -> None:
    """Few-shot episodes: one column for each kind and reader, and how far ours is from the best other."""
    kinds = list(dict.fromkeys(r["probe"] for r in rows))
    lines = []
    for name in dict.fromkeys(r["representation"] for r in rows):
        lines.append([name, *(_cell(next((r for r in rows if (r["representation"], r["probe"]) == (name, k)), None)) for k in kinds)])
    apart = {r["probe"]: r for r in rows if "difference" in r}
    if apart:
        told = [(f"{100 * r['difference']:+.1f} to {r['best_other']}", r) if (r := apart.get(k)) else ("n/a", None) for k in kinds]
        lines.append(["difference", *(w if r is None else f"{w}\n{_span(r)}" for w, r in told)])
    title = f"accuracy on {rows[0]['seeds']} few-shot episodes of test items [95 % interval of the episodes]"
    table(title, ["", *(k.removeprefix("episodes:").replace(":", "\n") for k in kinds)], lines)


def _span(row: dict[str, Any]) -> str:
    return f"{100 * row['low_difference']:+.1f} to {100 * row['high_difference']:+.1f}"


def ranking(rows: list[dict[str, Any]], criterion: str) -> None:
    """Candidates of a comparison, best first, and below it what each measure without labels says."""
    scored = any(r["score"] is not None for r in rows)
    scale = 100 if "accuracy" in criterion else 1
    lines = []
    for r in rows:
        score = f"{scale * r['score']:.3g}\n{scale * r['low']:.3g} to {scale * r['high']:.3g}" if r["score"] is not None else "n/a"
        knn = "n/a" if r["knn"] is None else f"{100 * r['knn']:.1f}"
        free = "n/a" if r["label_free_rank"] is None else f"{r['label_free_rank']:.1f} of {r['ranked']}"
        who = f"{r['candidate']}\n{r['backbone']}" if r["backbone"] else r["candidate"]
        lines.append([who, f"{r['train_seconds']:.3g} s\n{r['steps']} steps", *([score, knn] if scored else []), free])
        if r["failed"]:
            lines[-1][-1] = "failed"
    heads = ["candidate", "trained", *(["score [95 %]", "kNN"] if scored else []), "label-free rank"]
    print(f"best first, by the {criterion}")
    table("", heads, lines)
    names = {
        "rankme": "RankMe",
        "lidar": "LiDAR",
        "alpha": "alpha",
        "alignment": "align",
        "uniformity": "uniform",
        "learnability": "clusters",
    }
    names |= {"dimension": "dim"}
    told = [r for r in rows if r["panel"]]
    cells = [[r["candidate"], *("n/a" if (v := r["panel"][k]) is None else f"{v:.3g}" for k in names)] for r in told]
    print("without labels (alpha is best near 1; align, uniform and dim are better low)")
    table("", ["candidate", *names.values()], cells)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "n/a"
    scale = 100 if row["metric"] == "accuracy" else 1
    value, low, high = (f"{row[k] * scale:.{1 if scale == 100 else 3}f}" for k in ("value", "low", "high"))
    # two lines, so that five levels fit into 80 columns; R2 may be negative, which a dash would hide
    return f"{value}\n{low}{'-' if scale == 100 else ' to '}{high}"
