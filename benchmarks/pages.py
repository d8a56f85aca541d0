"""Pages about the methods, from their docstrings and the learning table: docs/methods.md and docs/methods/NAME.md.

python benchmarks/pages.py    renew them from what is stored
"""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"

from tacit import registry  # noqa: E402
from tacit.assemble import needs_before  # noqa: E402
from tacit.matrix import mark, matrix  # noqa: E402
from tacit.measured import measured  # noqa: E402

FAMILIES = {
    "contrastive": "Contrastive", "distillation": "Distillation", "decorrelation": "Decorrelation", "clustering": "Clustering and pseudo-labels",
    "generative": "Generative and predictive", "transformation": "Transformation recognition", "combination": "Combination",
    "labels": "With labels",
}  # fmt: skip


def page(name: str, rows: dict[str, Any]) -> str:
    """One method's page."""
    cls = registry.find("methods", name)
    doc = inspect.getdoc(cls) or ""
    head, _, rest = doc.partition("\n")
    knobs, said = _explained(rest.strip(), list(registry.knobs(cls)))
    lines = [f"# {name}", "", f"*{FAMILIES[cls.family]}.* {head}", ""]
    lines += [said, ""] if said else []
    lines += [f"**Use it when** {cls.when}.", "", f"**What it teaches.** {_teaches(cls)}", "", f"**Cost.** {_cost(name, cls)}", ""]
    lines += [f"**Source.** {cls.source}.", ""]
    if needs := sorted(needs_before({"name": name})):
        lines += [f"**Needs** {', '.join(needs)}.", ""]
    if knobs:
        lines += ["| hyperparameter | default | what it is |", "| --- | --- | --- |"]
        lines += [f"| `method.{k}` | `{registry.knobs(cls)[k].default!r}` | {text} |" for k, text in knobs.items()] + [""]
    if cls.experimental:
        lines += [f"**Experimental.** {cls.experimental}.", ""]
    lines += _measured(rows)
    return "\n".join(lines).rstrip() + "\n"


def _explained(text: str, names: list[str]) -> tuple[dict[str, str], str]:
    """What the docstring says about each hyperparameter, and what it says beside."""
    flat = re.sub(r"\s+", " ", text)
    alternatives = "|".join(map(re.escape, names)) or "(?!)"
    parts = re.split(rf"(?:(?<=\. )|^)((?:{alternatives})(?:, (?:{alternatives}))*): ", flat)
    out, beside = dict[str, str](), [parts[0].strip()]
    for heads, said in zip(parts[1::2], parts[2::2], strict=True):
        own, _, further = re.sub(r"\. (?=[A-Z])", ".\n", said.strip(), count=1).partition("\n")
        beside += [further] if further else []
        for head in heads.split(", "):
            out[head] = own.rstrip(".")
    return {k: out.get(k, "") for k in names}, " ".join(b for b in beside if b)


def _teaches(cls: Any) -> str:
    views = cls.views
    if views.global_:
        local = " It also sees small parts." if views.local else ""
        return f"To ignore what augmentation changes (`tacit pretrain --dry-run` says what that is for your data).{local}"
    if views.task:
        return "To tell how an item was changed; nothing is ignored but position and scale, slightly."
    if views.plain:
        return "To see through what the method itself does to an item; augmentation plays no part."
    if views.crop:
        return "To give the same moment the same feature wherever a window begins and ends."
    return "To predict the item's own content; nothing is ignored but position and scale, slightly."


def _cost(name: str, cls: Any) -> str:
    v = cls.views
    passes = [f"{v.global_} whole views" if v.global_ > 1 else "1 view" if v.global_ or v.weak else ""]
    passes += [
        "whole items, or copies that the method makes of them," if v.plain else "",
        f"{v.local} small views" if v.local else "",
        f"{v.crop} windows" if v.crop else "",
        "the parts of the task" if v.task else "",
    ]
    teacher = re.search(r"self\.teacher\w*(\.each)?\(", inspect.getsource(sys.modules[cls.__module__]))
    what = " and ".join(p for p in passes if p) or "those of its parts"
    said = f"A step passes {what} through the network" + (", and some of them through a teacher without gradient." if teacher else ".")
    often = registry.knobs(cls).get("rounds")
    return said + (f" All items are embedded {often.default} times a run." if often else "")


def _measured(rows: dict[str, Any]) -> list[str]:
    if not rows:
        return ["Not measured yet."]
    lines = [
        "| data | training | linear at 10 labels a class | untrained encoder | difference | kNN |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows.values():
        lines.append(
            f"| {row['data']} | {row['seconds']:g} s, {row['steps']} steps | {_percent(row['linear10'])} | {_percent(row['untrained'])} "
            f"| {apart(row['difference'])} | {_percent(row['knn'])} |"
        )
    return [
        *lines,
        "",
        "Measured by `benchmarks/part2.py` at commit "
        + ", ".join(sorted({c[:7] for r in rows.values() for c in r["commit"].split()}))
        + ".",
    ]


def apart(difference: list[float | None]) -> str:
    """How far a method is from the untrained encoder, with its interval, in percentage points."""
    if None in difference:
        return "n/a"
    d, low, high = (100 * v for v in difference if v is not None)
    return f"{d:+.1f} [{low:+.1f}, {high:+.1f}]"


def _percent(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def overview(rows: dict[str, Any], extra: str) -> str:
    """docs/methods.md."""
    lines = [
        "# Methods", "",
        "Each method is one file in `src/tacit/methods/` and one page in [`methods/`](methods/). `tacit list methods --matrix` prints the matrix,",
        "`tacit compare DATA --methods simclr,mae` measures them on your data.", "",
        "## Learning table", "",
        "Every method with its default settings for the same time; linear probe at 10 labels a class (20 label draws) and kNN with all labels on the",
        "official test split, in %, beside the untrained encoder with the same backbone. Differences with 95 % intervals over labels and test items;",
        "the luck of one pretraining is not in them. Methods of the family `labels` saw all labels of the training split; they are there to",
        "compare with; `combine` has no settings of its own and is left out. 2 CPU cores with AVX512-BF16, wall seconds.",
        "`python benchmarks/part2.py --write` measures and writes this page.", "",
    ]  # fmt: skip
    for kind in ("image", "series"):
        mine = {m: each[kind] for m, each in rows.items() if kind in each}
        if not mine:
            continue
        first = next(iter(mine.values()))
        lines += [f"### {kind}: {first['data']}, {first['seconds']:g} s, {first['n_test']:,} test items", ""]
        lines += [
            "| method | family | linear at 10 | untrained | difference | kNN | steps | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for m, r in sorted(mine.items(), key=lambda item: -(item[1]["linear10"] or 0.0)):
            state = "leads" if r["leads"] else "learns" if r["learns"] else "does not learn"
            lines.append(
                f"| [{m}](methods/{m}.md) | {registry.find('methods', m).family} | {_percent(r['linear10'])} | {_percent(r['untrained'])} "
                f"| {apart(r['difference'])} | {_percent(r['knn'])} | {r['steps']} | {state} |"
            )
        without = {m: r for m, r in mine.items() if registry.find("methods", m).family != "labels"}
        count = sum(r["learns"] for r in without.values())
        lines += ["", f"{count} of {len(without)} methods that read no labels learn.", ""]
    if extra:
        lines += [extra, ""]
    table = matrix()
    kinds = [k for k in table[0] if k not in ("method", "family")]
    lines += [
        "## Matrix",
        "",
        "runs: it can be built and trained; learns: it beats the untrained encoder with an interval; leads: it is the best of its family.",
        "",
    ]
    lines += [f"| method | family | {' | '.join(kinds)} |", f"| --- | --- |{' --- |' * len(kinds)}"]
    lines += [f"| [{r['method']}](methods/{r['method']}.md) | {r['family']} | {' | '.join(mark(r[k]) for k in kinds)} |" for r in table]
    return "\n".join(lines) + "\n"


EXTRA = HERE / "results" / "part2" / "extra.md"  # further tables for the overview


def contents() -> dict[Path, str]:
    """Every generated file and its text."""
    rows = measured()
    extra = EXTRA.read_text(encoding="utf-8").strip() if EXTRA.is_file() else ""
    out = {DOCS / "methods" / f"{name}.md": page(name, rows.get(name, {})) for name in registry.names("methods")}
    return {DOCS / "methods.md": overview(rows, extra), **out}


def write() -> None:
    """Renew all of them."""
    (DOCS / "methods").mkdir(exist_ok=True)
    for path, text in contents().items():
        path.write_text(text, encoding="utf-8")
    for path in (DOCS / "methods").glob("*.md"):
        if path.stem not in registry.names("methods"):
            path.unlink()


if __name__ == "__main__":
    write()
    print(json.dumps(sorted(measured()), indent=None))
