"""The learning table of part 2: every method for the same minute on the same data, beside the untrained encoder.

    python benchmarks/part2.py [--quick] [--only PARTS] [--methods NAMES] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part2) are skipped. --quick: three methods on built-in data in about a
minute; its numbers are printed and thrown away. --write: renew docs/methods.md, docs/methods/ and src/tacit/measured.json from the cells.
PARTS: some of images, series, more, seeds, longer, reach and speed, with commas; all by default, about two hours and a half.
PATH: the folder of data sets, $TACIT_DATA or shared/data beside the repository. Wall seconds, all threads of the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import pages  # noqa: E402
import prepare  # noqa: E402
from part1 import Cells, tacit  # noqa: E402
from tacit import registry  # noqa: E402
from tacit.matrix import matrix  # noqa: E402

REFERENCE, SECOND = "cifar10_subset", "sign_digits"
UCR = ("SyntheticControl", "PowerCons", "ItalyPowerDemand", "UMD")
LONGER = "CricketX"  # 300 samples, twelve classes: untrained features are far from all that can be had
IMAGE_SECONDS, SERIES_SECONDS, LONGER_SECONDS = 60, 15, 30
DRAWS = 20  # of ten labels a class: few draws leave more luck in the interval than the test items do
LONG = 300  # seconds for the best three and those that failed: is the order of a minute that of five?
GOAL, REACH = "reach_simclr_600", (100, 200)  # part 1's SimCLR after ten minutes, and when the default is looked at
SEEDS = (1, 2)  # for the best of seed 0, whose own value flatters them
PART1 = ("optim.kind=adamw", "train.batch=256")  # settings that part 1 had and the preset has no longer
PARTS = ("images", "series", "more", "seeds", "longer", "reach", "speed")
RUNS = [n for n in registry.names("methods") if n != "combine"]


def place(work: Path, folder: str, method: str, seconds: float, seed: int) -> Path:
    """Where such a run is kept while it is measured."""
    return work / f"{Path(folder.split(':')[-1]).stem}_{method}_{seed}_{seconds:g}"


def learn(folder: str, method: str, seconds: float, seed: int, work: Path, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Pretrain one method, and read its embedding and the untrained encoder's with the same labels."""
    from tacit import api
    from tacit.evaluation.evaluate import Representation, evaluate

    run = place(work, folder, method, seconds, seed)
    tacit("pretrain", folder, "--method", method, "--budget", f"{seconds:g}s", "--seed", str(seed), "--out", str(run), "--quiet", *words)
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    net = api.load(run)
    data = net.prepare(folder)
    rows, held = data.train, data.test
    x = [(data.x[r], None if data.lengths is None else data.lengths[r]) for r in (rows, held)]
    each = [Representation(n, n, *(model.vectors(*part) for part in x)) for n, model in (("ssl", net), ("untrained", api.untrained(net)))]
    assert data.labels is not None
    found = evaluate(each, data.labels[rows], data.labels[held], classes=data.classes, levels=(10, "all"), seeds=DRAWS, labels_seen=False)
    scores = {
        f"{r['representation']} {r['probe']} {r['labels_per_class']}": [r["value"], r["low"], r["high"]]
        for r in found.results
        if r["metric"] == "accuracy"
    }
    v = found.verdict
    return {
        "data": Path(folder).name, "method": method, "seed": seed, "budget": seconds, "steps": info["steps"], "health": info["health"],
        "backbone": info["plan"], "n_test": len(held), "scores": scores, "difference": [v["difference"], v["low"], v["high"]],
    }  # fmt: skip


def attempt(folder: str, method: str, seconds: float, seed: int, work: Path) -> dict[str, Any]:
    """`learn`, or a cell that says that the method could not be trained: it counts as one that does not learn."""
    try:
        return learn(folder, method, seconds, seed, work)
    except SystemExit as error:
        told = place(work, folder, method, seconds, seed) / "run.json"
        if not told.is_file() or json.loads(told.read_text(encoding="utf-8"))["status"] not in ("diverged", "collapsed"):
            raise  # killed, asked wrongly, a full disk: that says nothing about the method
        nothing = {"steps": 0, "health": None, "n_test": 0, "scores": {}, "difference": [None] * 3}
        return {"data": Path(folder).name, "method": method, "seed": seed, "budget": seconds, "failed": str(error), **nothing}


def row(cells: Cells, folder: str, methods: list[str], seconds: float, seed: int, work: Path) -> None:
    """A cell of the table for each method that the data lets run."""
    kind = "series" if Path(folder).name in (*UCR, LONGER) else "image"
    able = {r["method"] for r in matrix() if r[kind]["runs"]}
    for method in [m for m in methods if m in able]:
        name = f"{Path(folder).name.split(':')[-1]}_{method}_{seed}"
        cells.measure(name, lambda m=method: attempt(folder, m, seconds, seed, work))


def reach(cells: Cells, folder: str, work: Path) -> None:
    """Time to accuracy: kNN of the recipe after a part of the time, beside SimCLR as part 1 trained it after ten minutes."""
    goal = cells.measure(GOAL, lambda: learn(folder, "simclr", 600, 0, work, PART1))
    print(f"simclr, 600 s: kNN {100 * value(goal, 'knn all'):.1f}")
    for seconds in REACH:
        cell = cells.measure(f"reach_recipe_{seconds}", lambda s=seconds: learn(folder, "simclr", s, 0, work))
        print(f"default, {seconds} s: kNN {100 * value(cell, 'knn all'):.1f}")


def speed(cells: Cells) -> None:
    """What every method costs, as benchmarks/speed.py measures it on this machine."""

    def work() -> dict[str, Any]:
        import torch

        import speed as measured
        from tacit.runtime import choose_device

        device = choose_device(None).value
        return {"device": device, "threads": torch.get_num_threads(), "rows": measured.measure(registry.names("methods"), device, False)}

    cells.measure("speed", work)


def best(cells: Cells, data: str, count: int) -> list[str]:
    """The methods with the highest linear probe at 10 labels a class, those that read labels left out."""
    found = {m: c for m in RUNS if (c := cells.get(f"{data}_{m}_0")) and registry.find("methods", m).family != "labels"}
    return sorted(found, key=lambda m: -rated(found[m]))[:count]


def value(cell: dict[str, Any], probe: str = "linear 10", whose: str = "ssl") -> float:
    """A score of a cell, NaN where it is missing."""
    found = cell["scores"].get(f"{whose} {probe}")
    return math.nan if found is None or found[0] is None else float(found[0])


def known(cell: dict[str, Any], probe: str = "linear 10", whose: str = "ssl") -> float | None:
    """A score of a cell as JSON has it, None where it is missing."""
    found = value(cell, probe, whose)
    return None if math.isnan(found) else found


def rated(cell: dict[str, Any]) -> float:
    """The score that methods are ordered by; what failed comes last."""
    found = value(cell)
    return -1.0 if math.isnan(found) else found


def learned(difference: list[float | None]) -> bool:
    """Whether a method beats the untrained encoder with an interval."""
    return difference[1] is not None and difference[1] > 0


def together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Several data sets as one row: means of scores and steps; the intervals of the differences are independent."""
    difference: list[float | None] = [None] * 3
    if all(None not in p["difference"] for p in parts):
        values = np.array([p["difference"] for p in parts], dtype=float)
        middle, half = float(values[:, 0].mean()), float(np.sqrt((((values[:, 2] - values[:, 1]) / 2) ** 2).sum()) / len(parts))
        difference = [middle, middle - half, middle + half]
    names = sorted(set.intersection(*(set(p["scores"]) for p in parts)))
    known = [n for n in names if all(p["scores"][n][0] is not None for p in parts)]
    scores = {n: [float(np.mean([p["scores"][n][i] for p in parts])) for i in range(3)] for n in known}
    n_test = sum(p["n_test"] for p in parts)
    return {
        **parts[0],
        "data": f"{len(parts)} UCR sets",
        "scores": scores,
        "difference": difference,
        "steps": round(float(np.mean([p["steps"] for p in parts]))),
        "commit": " ".join(sorted({p["commit"][:10] for p in parts})),
        "n_test": n_test,
    }


def rows_of(cells: Cells) -> dict[str, dict[str, dict[str, Any]]]:
    """method -> modality -> its measured row on the reference data."""
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for method in RUNS:
        if cell := cells.get(f"{REFERENCE}_{method}_0"):
            out.setdefault(method, {})["image"] = cell
        parts = [c for s in UCR if (c := cells.get(f"{s}_{method}_0"))]
        if len(parts) == len(UCR) and any("failed" in p for p in parts):
            out.setdefault(method, {})["series"] = next(p for p in parts if "failed" in p)
        elif len(parts) == len(UCR):
            out.setdefault(method, {})["series"] = together(parts)
    return out


def write(cells: Cells) -> None:
    """docs/methods.md, docs/methods/*.md and src/tacit/measured.json."""
    rows = rows_of(cells)
    measured: dict[str, dict[str, Any]] = {}
    families = {m: registry.find("methods", m).family for m in rows}
    for method, each in rows.items():
        for kind, cell in each.items():
            mates = [m for m in rows if families[m] == families[method] and kind in rows[m]]
            top = max(mates, key=lambda m: rated(rows[m][kind]))
            learns = learned(cell["difference"])
            others = sorted((m for m in rows if families[m] != "labels" and kind in rows[m]), key=lambda m: -rated(rows[m][kind]))
            measured.setdefault(method, {})[kind] = {
                "data": cell["data"], "seconds": cell["budget"], "linear10": known(cell), "knn": known(cell, "knn all"),
                "untrained": known(cell, "linear 10", "untrained"), "difference": cell["difference"], "steps": cell["steps"], "n_test": cell["n_test"],
                "learns": learns, "leads": learns and top == method, "commit": cell["commit"],
                "place": others.index(method) + 1 if method in others else None, "of": len(others),
            }  # fmt: skip
    target = HERE.parent / "src" / "tacit" / "measured.json"
    target.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    pages.EXTRA.write_text(further(cells) + "\n", encoding="utf-8")
    pages.write()


def further(cells: Cells) -> str:
    """The second data set and the seeds of the best, as tables."""
    lines = []
    seen = (
        (SECOND, f"image: {SECOND}, {IMAGE_SECONDS} s", "The best eight of the table above, and those that failed there."),
        (LONGER, f"series: {LONGER}, {LONGER_SECONDS} s", "The methods that failed on the four sets above, and the default."),
    )
    for data, title, words in seen:
        if second := {m: c for m in RUNS if (c := cells.get(f"{data}_{m}_0"))}:
            lines += [f"### {title}", "", words, ""]
            lines += ["| method | linear at 10 | untrained | difference | kNN |", "| --- | --- | --- | --- | --- |"]
            for m, c in sorted(second.items(), key=lambda item: -rated(item[1])):
                old = 100 * value(c, whose="untrained")
                lines.append(
                    f"| {m} | {100 * value(c):.1f} | {old:.1f} | {pages.apart(c['difference'])} | {100 * value(c, 'knn all'):.1f} |"
                )
            lines.append("")
    if long := {m: c for m in RUNS if (c := cells.get(f"{REFERENCE}_{m}_long"))}:
        lines += [f"### image: {REFERENCE}, {LONG} s", "", "The best three after a minute, and those that failed.", ""]
        lines += ["| method | linear at 10 | difference | linear, all | kNN | steps |", "| --- | --- | --- | --- | --- | --- |"]
        for m, c in sorted(long.items(), key=lambda item: -rated(item[1])):
            few, whole, near = (100 * value(c, p) for p in ("linear 10", "linear all", "knn all"))
            lines.append(f"| {m} | {few:.1f} | {pages.apart(c['difference'])} | {whole:.1f} | {near:.1f} | {c['steps']:,} |")
        lines.append("")
    several = {m: [c for s in SEEDS if (c := cells.get(f"{REFERENCE}_{m}_{s}"))] for m in RUNS}
    if several := {m: found for m, found in several.items() if len(found) == len(SEEDS)}:
        lines += [
            f"### Two further seeds on {REFERENCE}, for the five best of the table above",
            "",
            "| method | linear at 10 | kNN |",
            "| --- | --- | --- |",
        ]
        for m, found in sorted(several.items(), key=lambda item: -sum(map(rated, item[1]))):
            linear, near = ([100 * value(c, p) for c in found] for p in ("linear 10", "knn all"))
            lines.append(
                f"| {m} | {np.mean(linear):.1f} ({min(linear):.1f} to {max(linear):.1f}) | {np.mean(near):.1f} ({min(near):.1f} to {max(near):.1f}) |"
            )
    if (goal := cells.get(GOAL)) is not None:
        lines += [
            "",
            f"### Time to accuracy on {REFERENCE}",
            "",
            "The default beside SimCLR as part 1 trained it (AdamW, batches of 256), 600 s.",
            "",
        ]
        lines += ["| | seconds | steps | kNN | linear at 10 | linear, all |", "| --- | --- | --- | --- | --- | --- |"]
        named = [*(f"reach_recipe_{s}" for s in REACH), f"{REFERENCE}_simclr_long"]
        runs = [("part 1", goal), *[("default", c) for n in named if (c := cells.get(n)) is not None]]
        for who, c in runs:
            near, few, whole = (100 * value(c, p) for p in ("knn all", "linear 10", "linear all"))
            lines.append(f"| {who} | {c['budget']:g} | {c['steps']:,} | {near:.1f} | {few:.1f} | {whole:.1f} |")
    if (costs := cells.get("speed")) is not None:
        lines += ["", *cost_table(costs)]
    return "\n".join(lines)


def cost_table(costs: dict[str, Any]) -> list[str]:
    """Speed of every method beside the ceiling, a column for each backbone."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for r in costs["rows"]:
        found.setdefault(r["method"], {})[r["backbone"]] = r
    backbones = list(dict.fromkeys(r["backbone"] for r in costs["rows"]))
    sizes = ", ".join(sorted({str(r["batch"]) for r in costs["rows"]}))
    lines = [
        f"### Speed: {costs['device']}, {costs['threads']} threads, 3 x 32 x 32, batches of {sizes}",
        "",
        "Items a second, and the share of the ceiling: forward and backward of the passes through the encoder that a step needs (views of one shape are one), on ready batches; predictors and decoders are not in it. `after` is",
        f"what follows the optimizer's step (teachers, queues), in % of a step. `python benchmarks/speed.py` measures it (commit {costs['commit']}).",
        "",
        "| method | passes | " + " | ".join(f"{b}, items/s | of ceiling | after" for b in backbones) + " |",
        "| --- | --- | " + " | ".join(["---"] * 3 * len(backbones)) + " |",
    ]
    for method, each in found.items():
        said = [
            f"{r['items_per_s']:,.0f} | {100 * r['of_ceiling']:.0f} % | {100 * r['after_step']:.1f}" if (r := each.get(b)) else "- | - | -"
            for b in backbones
        ]
        lines.append(f"| {method} | {next(iter(each.values()))['passes']} | " + " | ".join(said) + " |")
    return lines


def main() -> int:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--methods", default=",".join(RUNS))
    parser.add_argument("--data", type=Path, default=prepare.default_data())
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    only, methods = asked.only.split(","), asked.methods.split(",")
    with tempfile.TemporaryDirectory(prefix="tacit-part2-") as scratch:
        work = Path(scratch)
        if asked.quick:
            cells = Cells(work / "cells")
            row(cells, "builtin:digits", ["simclr", "mae", "rotation"], 5, 0, work)
            found = {m: cells.get(f"digits_{m}_0") for m in ("simclr", "mae", "rotation")}
            for method, cell in found.items():
                if cell is None or "failed" in cell:
                    return 1
                said = pages.apart(cell["difference"])
                print(f"{method}: {100 * value(cell):.1f} at 10 labels a class, {said} against the untrained encoder")
            return 0
        cells = Cells(HERE / "results" / "part2")
        names = [n for n in (REFERENCE, SECOND, "ucr") if (asked.data / n).is_dir()]
        subprocess.run(
            [sys.executable, str(HERE / "prepare.py"), "--data", str(asked.data), "--out", str(work / "data"), *names], check=True
        )
        here = {n: str(work / "data" / n) for n in names}
        if "images" in only and REFERENCE in here:
            row(cells, here[REFERENCE], methods, IMAGE_SECONDS, 0, work)
        if "series" in only and "ucr" in here:
            for name in UCR:
                row(cells, str(Path(here["ucr"]) / name), methods, SERIES_SECONDS, 0, work)
        failed = [m for m in RUNS if (c := cells.get(f"{REFERENCE}_{m}_0")) and not learned(c["difference"])]
        if "more" in only and SECOND in here:
            chosen = [*best(cells, REFERENCE, 8), *failed]
            row(cells, here[SECOND], [m for m in dict.fromkeys(chosen) if m in methods], IMAGE_SECONDS, 0, work)
        if "more" in only and "ucr" in here:
            few = [m for m, each in rows_of(cells).items() if "series" in each and not learned(each["series"]["difference"])]
            row(cells, str(Path(here["ucr"]) / LONGER), [m for m in ("ts2vec", *few) if m in methods], LONGER_SECONDS, 0, work)
        if "seeds" in only and REFERENCE in here:
            for seed in SEEDS:
                row(cells, here[REFERENCE], [m for m in best(cells, REFERENCE, 5) if m in methods], IMAGE_SECONDS, seed, work)
        if "longer" in only and REFERENCE in here:
            for method in [m for m in (*best(cells, REFERENCE, 3), *failed) if m in methods]:
                cells.measure(f"{REFERENCE}_{method}_long", lambda m=method: attempt(here[REFERENCE], m, LONG, 0, work))
        if "reach" in only and REFERENCE in here:
            reach(cells, here[REFERENCE], work)
        if "speed" in only:
            speed(cells)
        if asked.write:
            write(cells)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
