"""The measurements of part 1: images, UCR series, throughput, and a method from outside the package.

    python benchmarks/part1.py [--quick] [--only images,ucr,throughput,precision,method] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part1) are skipped; what is missing prints as "not measured".
--quick: a few minutes on built-in data and a little of what is there; its numbers are printed and thrown away. --write: renew docs/benchmarks.md.
PATH: the folder of data sets, $TACIT_DATA or shared/data beside the repository. Wall minutes, all threads of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import prepare  # noqa: E402

IMAGES = ["fashion_mnist", "cifar10_subset", "sign_digits", "pneumoniamnist"]
LESS = "--no-supervised"  # curves and further seeds need only our own numbers
FLOOR = (  # a 60-line SimCLR loop and the best peer on 10,000 Fashion-MNIST images: minutes, linear at 10, linear at all, kNN-20
    ("raw pixels", "-", 67.8, 83.3, 82.1), ("untrained", "-", 56, 80, 76), ("60-line loop", "1 min", 71.2, 85.5, 81.5),
    ("60-line loop", "5 min", 73.7, 86.7, 83.4), ("60-line loop", "10 min", 73.8, 87.5, 83.5), ("lightly-train 0.18", "1 min", 68.8, 85.0, 81.0),
    ("lightly-train 0.18", "5 min", 73.8, 86.9, 84.1),
)  # fmt: skip


class Cells:
    """Results on disk: one JSON file a cell, written when it is whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> dict[str, Any] | None:
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def every(self) -> dict[str, dict[str, Any]]:
        """name -> cell, of everything measured."""
        return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.json"))}

    def measure(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if (done := self.get(name)) is not None:
            print(f"{name}: measured before, at {done['commit']}", file=sys.stderr)
            return done
        print(f"{name}: measuring", file=sys.stderr, flush=True)
        begin = time.perf_counter()
        before = commit()
        result = {"commit": before, **work(), "seconds": round(time.perf_counter() - begin, 1)}
        if commit() != before:
            raise SystemExit(f"{name}: the source changed while it was measured; measure in a checkout that nobody works in")
        beside = self.folder / f".{name}.json"
        beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, self.folder / f"{name}.json")
        return result


def commit() -> str:
    """The commit that is measured."""
    from tacit.runtime import commit as now

    return now()


def tacit(*words: str) -> str:
    """Run the command line; stdout."""
    done = subprocess.run([sys.executable, "-m", "tacit", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tacit {' '.join(words)} failed with exit code {done.returncode}")
    return done.stdout


def image_cell(folder: str, budget: str, seed: int, work: Path, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Pretrain within a budget, then evaluate with every baseline."""
    run = work / f"{Path(folder.split(':')[-1]).stem}_{budget}_{seed}"
    tacit("pretrain", folder, "--budget", budget, "--seed", str(seed), "--out", str(run))
    tacit("evaluate", str(run), folder, "--json", *extra)
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    scores = json.loads(next((run / "evaluation").glob("*.json")).read_text(encoding="utf-8"))
    keep = ("steps", "seconds", "items_per_s", "parameters", "plan", "health")
    return {
        "budget": budget,
        "seed": seed,
        "run": {k: info.get(k) for k in keep},
        **{k: scores[k] for k in ("results", "verdict", "notes")},
    }


def images(cells: Cells, quick: bool, data: Path, scratch: Path) -> None:
    """Item 1: the verdict on four data sets, and the curve of minutes on fashion_mnist."""
    if quick:
        cells.measure("digits_20s", lambda: image_cell("builtin:digits", "20s", 0, scratch, ("--no-supervised", "--labels", "1,5,all")))
        return
    cells.measure("digits_40s_0", lambda: image_cell("builtin:digits", "40s", 0, scratch))
    for name in IMAGES:
        if not (data / name).is_dir():
            continue
        limit = ["--limit", "10000"] if name == "fashion_mnist" else []
        subprocess.run(
            [sys.executable, str(HERE / "prepare.py"), "--data", str(data), "--out", str(scratch / "data"), *limit, name], check=True
        )
        folder = str(next((scratch / "data").glob(f"{name}*")))
        cells.measure(f"{name}_5min_0", lambda folder=folder: image_cell(folder, "5min", 0, scratch))
        if name == "fashion_mnist":
            for budget in ("1min", "2min"):
                cells.measure(f"{name}_{budget}_0", lambda f=folder, b=budget: image_cell(f, b, 0, scratch, (LESS,)))
            for seed in (1, 2):
                cells.measure(f"{name}_5min_{seed}", lambda f=folder, s=seed: image_cell(f, "5min", s, scratch, (LESS,)))


def ucr(cells: Cells, quick: bool, data: Path, scratch: Path) -> None:
    """Item 2: the TS2Vec protocol on 34 UCR sets."""
    if not (data / "ucr").is_dir():
        return
    out = cells.folder / "ucr_cells.json"
    words = ["--sets", "Chinatown,Coffee", "--steps", "50"] if quick else []
    subprocess.run(
        [sys.executable, str(HERE / "ucr.py"), "--data", str(data / "ucr"), "--out", str(out), *words], check=True, stdout=sys.stderr
    )


def speed(cells: Cells, quick: bool, data: Path, scratch: Path) -> None:
    """Item 3: throughput."""
    import throughput

    cells.measure("throughput", lambda: throughput.measure(quick))


def precision(cells: Cells, quick: bool, data: Path, scratch: Path) -> None:
    """Item 3, second half: what bf16 does to accuracy, same steps and seed."""

    def work() -> dict[str, Any]:
        out: dict[str, Any] = {}
        for how in ("bf16-mixed", "32-true"):
            run = scratch / f"precision_{how}"
            tacit("pretrain", "builtin:digits", "--steps", "50" if quick else "500", "--precision", how, "--out", str(run))
            scores = json.loads(tacit("evaluate", str(run), "builtin:digits", "--no-supervised", "--labels", "5,all", "--json"))
            info = json.loads((run / "run.json").read_text(encoding="utf-8"))
            rows = [r for r in scores["results"] if r["representation"] == "ssl"]
            out[how] = {"items_per_s": info["items_per_s"], "results": rows}
        return out

    cells.measure("precision", work)


def method(cells: Cells, quick: bool, data: Path, scratch: Path) -> None:
    """Item 4: the further method of docs/extending.md, from its own file."""

    def work() -> dict[str, Any]:
        file = HERE.parent / "examples" / "alignment.py"
        run = scratch / "alignment"
        tacit(
            "pretrain", "builtin:digits", "--method", f"{file}:AlignmentUniformity", "--steps", "50" if quick else "500", "--out", str(run)
        )
        scores = json.loads(tacit("evaluate", str(run), "builtin:digits", "--no-supervised", "--labels", "5,all", "--json"))
        return {"lines": len(file.read_text(encoding="utf-8").splitlines()), "verdict": scores["verdict"], "results": scores["results"]}

    cells.measure("method", work)


PARTS = {"images": images, "throughput": speed, "precision": precision, "method": method, "ucr": ucr}


def page(cells: Cells) -> Iterator[str]:
    """docs/benchmarks.md from what was measured."""
    yield "# Benchmarks\n"
    yield "Written by `python benchmarks/part1.py --write` from the cells in `benchmarks/results/part1`; each cell names its commit."
    yield '2 CPU cores with AVX512-BF16, no GPU. Accuracy in %, 95 % intervals over label draws and test items. "not measured" means just that.\n'
    yield "## 1. Images: was it worth it?\n"
    yield 'Five minutes of pretraining, one preset for all image data; linear probe unless stated. "best other" is chosen on training folds.\n'
    for name in IMAGES:
        yield from _image_table(name, cells.get(f"{name}_5min_0"))
    if (quick := cells.get("digits_20s")) is not None:
        yield from _image_table("builtin:digits, a quick look", quick)
    yield "On `builtin:digits` a loop with small affine augmentations (given, 250 steps, 30 % held out) goes from 65.8 (raw) to 76.6 at 1 label a class and"
    yield "from 81.6 to 89.7 at 5.\n"
    yield from _image_table("builtin:digits, 40 seconds", cells.get("digits_40s_0"))
    yield "### Minutes on 10,000 Fashion-MNIST images, against a 60-line loop and the best peer\n"
    yield "| | budget | linear, 10 labels a class | linear, all | kNN, all | n test |\n| --- | --- | --- | --- | --- | --- |"
    for who, when, *values in FLOOR:
        yield f"| {who} (given) | {when} | " + " | ".join(f"{v}" for v in values) + " | 10,000 |"
    for cell in ("1min_0", "2min_0", "5min_0", "5min_1", "5min_2"):
        got = cells.get(f"fashion_mnist_{cell}")
        when, seed = cell.split("_")
        if got is None:
            yield f"| tacit, seed {seed} | {when} | not measured | not measured | not measured | |"
            continue
        shown = [_value(got, "ssl", "linear", 10), _value(got, "ssl", "linear", "all"), _value(got, "ssl", "knn", "all")]
        yield f"| tacit, seed {seed} ({got['commit']}) | {when} | " + " | ".join(shown) + f" | {got['results'][0]['n_test']:,} |"
    yield "\n## 2. UCR series\n"
    yield from _ucr_table(cells)
    yield "\n## 3. Throughput\n"
    yield from _speed_table(cells.get("throughput"), cells.get("precision"))
    yield "\n## 4. A method from outside the package\n"
    got = cells.get("method")
    if got is None:
        yield "not measured"
    else:
        yield f"`examples/alignment.py`, {got['lines']} lines, run by `--method examples/alignment.py:AlignmentUniformity` on `builtin:digits` ({got['commit']}):"
        yield f"{got['verdict']['sentence']}"


def _image_table(name: str, cell: dict[str, Any] | None) -> Iterator[str]:
    yield f"### {name}\n"
    if cell is None:
        yield "not measured\n"
        return
    rows, run = cell["results"], cell["run"]
    levels = list(dict.fromkeys(r["labels_per_class"] for r in rows))
    yield f"{cell['verdict']['sentence']}\n"
    yield f"({run['steps']} steps in {run['seconds']:.0f} s, {run['items_per_s']:,.0f} items/s, n test {rows[0]['n_test']:,}, commit {cell['commit']})\n"
    yield "| representation, probe | " + " | ".join(str(v) for v in levels) + " |\n| --- |" + " --- |" * len(levels)
    for who, probe in dict.fromkeys((r["representation"], r["probe"]) for r in rows):
        yield f"| {who}, {probe} | " + " | ".join(_value(cell, who, probe, level) for level in levels) + " |"
    yield ""


def _value(cell: dict[str, Any], who: str, probe: str, level: int | str) -> str:
    for r in cell["results"]:
        if (r["representation"], r["probe"], r["labels_per_class"], r["metric"]) == (who, probe, level, "accuracy") and r[
            "value"
        ] is not None:
            return f"{100 * r['value']:.1f} [{100 * r['low']:.1f}, {100 * r['high']:.1f}]"
    return "n/a"


def _ucr_table(cells: Cells) -> Iterator[str]:
    import ucr as series

    path = cells.folder / "ucr_cells.json"
    if not path.is_file():
        yield "not measured"
        return
    yield from series.page(path)


def _speed_table(got: dict[str, Any] | None, accuracy: dict[str, Any] | None) -> Iterator[str]:
    if got is None:
        yield "not measured"
    else:
        yield f"Commit {got['commit']}, {got['threads']} threads. Share of a step outside forward and backward on a resident batch:\n"
        yield "| backbone | data | method | batch | precision | items/s | share outside |\n| --- | --- | --- | --- | --- | --- | --- |"
        for r in got["shares"]:
            yield f"| {r['backbone']} | {r['data']} | {r['method']} | {r['batch']} | {r['precision']} | {r['items_per_s']:,.0f} | {r['outside']:.0%} |"
        for r in got["precision"]:
            yield f"\n{r['backbone']} on {r['data']}: bf16 is {r['speed_up']:.2f} times as fast as float32 {r.get('against', 'in the same memory layout')}."
        for r in got["augmentation"]:
            yield f"\nAugmentation alone at {r['size']} px: {r['views_per_s']:,.0f} SimCLR views/s."
        if large := got.get("large"):
            yield f"\nAt 224 px augmentation takes {large['augmentation_share']:.0%} of a ResNet-18 step."
    if accuracy is None:
        yield "\nEffect of bf16 on accuracy: not measured"
        return
    for how in ("bf16-mixed", "32-true"):
        rows = [r for r in accuracy[how]["results"] if r["probe"] == "linear"]
        shown = ", ".join(
            f"{r['labels_per_class']} labels: {100 * r['value']:.1f} [{100 * r['low']:.1f}, {100 * r['high']:.1f}]" for r in rows
        )
        yield f"\n{how} on builtin:digits, same steps and seed: {shown} ({accuracy[how]['items_per_s']:,.0f} items/s)."


def main() -> None:
    """Measure what is missing, then print (and with --write store) the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--data", type=Path, default=prepare.default_data())
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--print-only", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    unknown = set(asked.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="tacit-bench-") as scratch:
        # a quick look must not pass for a measurement
        cells = Cells(Path(scratch) / "results" if asked.quick else HERE / "results" / "part1")
        for name in asked.only.split(",") if not asked.print_only else []:
            PARTS[name](cells, asked.quick, asked.data, Path(scratch))
        text = "\n".join(page(cells)) + "\n"
    print(text)
    if asked.write and not asked.quick:
        (HERE.parent / "docs" / "benchmarks.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
