"""Time series under the protocol of TS2Vec: learn on the training split without labels, freeze, classify the official test split.

    python benchmarks/ucr.py [--data DIR] [--out FILE.json] [--sets A,B] [--seeds N] [--steps N] [--threads N]

DIR holds one folder for each set, with NAME_TRAIN.tsv and NAME_TEST.tsv (or .gz). Finished cells of FILE.json are not computed again.

ts2vec       320 numbers a series (maximum over time), RBF support vector machine
untrained    the same encoder before training, same classifier
raw          the values, same classifier
minirocket   9,996 features, ridge classifier, as in aeon
both         ts2vec beside minirocket, standardised, ts2vec with a tenth of the other's total variance, same ridge classifier
dtw          nearest neighbour under dynamic time warping, full window

The support vector machine is that of Yue et al. 2022 (arXiv:2106.10466, tasks/_eval_protocols.py): no standardisation, gamma "scale",
C from 1e-4 to 1e4 and infinity by 5 folds of the training split; C infinite where there are fewer than 50 series or 5 a class.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from prepare import default_data

# Accuracies on the official test splits. TS2Vec: TEST (arXiv:2308.08241) table 14, columns "TCN" (a) and "TS2Vec" (b).
# MiniRocket: its authors' repository, angus924/minirocket, resample 0 of results_ucr109.
PUBLISHED = {
    "ArrowHead": (0.857, 0.817, 0.863),
    "BME": (0.992, 0.980, 1.000),
    "BeetleFly": (0.900, 0.900, 0.850),
    "CBF": (1.000, 1.000, 0.999),
    "Chinatown": (0.964, 0.959, 0.983),
    "Coffee": (1.000, 1.000, 1.000),
    "CricketX": (0.787, 0.805, 0.815),
    "ECGFiveDays": (1.000, 1.000, 1.000),
    "GunPoint": (0.980, 0.987, 0.993),
    "ItalyPowerDemand": (0.925, 0.960, 0.969),
    "MoteStrain": (0.861, 0.863, 0.931),
    "Plane": (1.000, 0.990, 1.000),
    "PowerCons": (0.961, 0.972, 0.989),
    "SonyAIBORobotSurface1": (0.903, 0.900, 0.890),
    "SyntheticControl": (0.997, 0.993, 0.980),
    "TwoLeadECG": (0.986, 0.987, 0.998),
    "UMD": (1.000, 0.993, 0.993),
}
# a full measurement covers these
SETS = """
    ArrowHead BME Beef BeetleFly CBF Car Chinatown Coffee CricketX DistalPhalanxOutlineCorrect DistalPhalanxTW ECGFiveDays Fungi
    GunPoint GunPointMaleVersusFemale Herring InsectEPGSmallTrain ItalyPowerDemand Lightning2 Lightning7 MelbournePedestrian
    MiddlePhalanxOutlineCorrect MoteStrain Plane PowerCons ProximalPhalanxOutlineAgeGroup ProximalPhalanxTW Rock
    SonyAIBORobotSurface1 SyntheticControl ToeSegmentation2 TwoLeadECG UMD Worms
""".split()
COMPETITORS = ("ts2vec", "untrained", "raw", "minirocket", "both", "dtw")
SEEDLESS = ("raw", "minirocket", "dtw")
INFINITE = 1e10  # scikit-learn's grids do not take an infinite C
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4, INFINITE)
BESIDE = 0.1  # total variance of ts2vec beside minirocket, as in tacit.api
PATIENCE = 120.0  # seconds that dynamic time warping may take on one set

Pair = tuple[np.ndarray, np.ndarray]


def svm(z: np.ndarray, y: np.ndarray) -> Any:
    """The protocol's support vector machine, fitted on features [n, D] and classes [n]."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    machine = SVC(C=INFINITE, gamma="scale", max_iter=10_000_000)
    if len(y) // len(np.unique(y)) < 5 or len(y) < 50:
        return machine.fit(z, y)
    return GridSearchCV(machine, {"C": GRID}, cv=5).fit(z, y)


def ridge(z: np.ndarray, y: np.ndarray) -> Any:
    """The ridge classifier of MiniRocket's authors, on features that are scaled already."""
    from sklearn.linear_model import RidgeClassifierCV

    return RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)).fit(z, y)


def scaled(pair: Pair, width: float | None = None) -> Pair:
    """Each column with mean 0 and deviation 1 on the training rows; with `width`, the block weighs as much as that many columns."""
    train, test = (np.asarray(v, dtype=np.float64) for v in pair)
    std = train.std(0)
    std[std == 0] = 1.0
    factor = np.sqrt((width or train.shape[1]) / train.shape[1]) / std
    return (train - train.mean(0)) * factor, (test - train.mean(0)) * factor


class Bench:
    """One set: its data, and features computed when they are first asked for."""

    def __init__(self, folder: Path, seed: int, steps: int | None) -> None:
        from tacit import api

        self.data, self.seed, self.steps = api.opened(folder), seed, steps
        data = self.data
        if data.labels is None or not len(data.test):
            raise SystemExit(f"{folder}: no labels or no test split")
        self.y, self.yt = data.labels[data.train], data.labels[data.test]
        self.x, self.xt = np.asarray(data.x[data.train]), np.asarray(data.x[data.test])
        self.kept: dict[str, tuple[Pair, float]] = {}

    def features(self, name: str) -> Pair:
        """Features of the training and test rows; the time of computing them counts for everyone who reads them."""
        if name not in self.kept:
            begin = time.process_time()
            pair = getattr(self, f"_{name}")()
            self.kept[name] = pair, time.process_time() - begin
            return pair
        pair, _ = self.kept[name]
        return pair

    def run(self, name: str) -> dict[str, Any]:
        """Accuracy of one competitor, and the CPU seconds of everything that it needs."""
        before = {k: s for k, (_, s) in self.kept.items()}
        begin = time.process_time()
        if name == "dtw":
            predicted = self._dtw()
        elif name == "minirocket":
            train, test = scaled(self.features(name))
            predicted = ridge(train, self.y).predict(test)
        elif name == "both":
            wide = self.features("minirocket")
            parts = [scaled(wide), scaled(self.features("ts2vec"), BESIDE * wide[0].shape[1])]
            train, test = (np.concatenate(p, 1) for p in zip(*parts, strict=True))
            predicted = ridge(train, self.y).predict(test)
        else:
            train, test = self.features(name)
            predicted = svm(train, self.y).predict(test)
        took = time.process_time() - begin
        took += sum(before.get(part, 0.0) for part in {"both": ("minirocket", "ts2vec")}.get(name, (name,)))
        accuracy = None if predicted is None else float((predicted == self.yt).mean())
        return {"accuracy": accuracy, "seconds": round(took, 2), "n_train": len(self.y), "n_test": len(self.yt)}

    def _ts2vec(self) -> Pair:
        from tacit.training.memory import learn

        model = learn(self.data, steps=self.steps, seed=self.seed)
        return model.vectors(self.x, self._lengths(0)), model.vectors(self.xt, self._lengths(1))

    def _untrained(self) -> Pair:
        from tacit.assemble import make_encoder, make_modality
        from tacit.embedding.model import Model
        from tacit.runtime import seed_globally

        seed_globally(self.seed, 0)
        modality = make_modality(self.data.spec, {})
        model = Model(make_encoder(modality, {"name": "conv1d"}, frozenset({"mask", "resize"})), modality, {})
        return model.vectors(self.x, self._lengths(0)), model.vectors(self.xt, self._lengths(1))

    def _lengths(self, part: int) -> np.ndarray | None:
        return None if self.data.lengths is None else self.data.lengths[(self.data.train, self.data.test)[part]]

    def _classic(self, name: str) -> Pair:
        from tacit import registry

        fitted = registry.find("classics", name)().fit(self.x, self.data.spec)
        return fitted.transform(self.x), fitted.transform(self.xt)

    def _raw(self) -> Pair:
        return self._classic("raw")

    def _minirocket(self) -> Pair:
        return self._classic("minirocket")

    def _dtw(self) -> np.ndarray | None:
        from tacit import registry

        model = registry.find("classics", "dtw")()
        if model.cost(len(self.x), len(self.xt), self.x.shape[2], self.x.shape[1]) > PATIENCE:
            return None
        found: np.ndarray = model.fit(self.x, self.y).predict(self.xt)
        return found


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """The rows as JSON, atomically."""
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    beside.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, out)


def measure(folders: list[Path], seeds: int, out: Path, say: Callable[[str], None], steps: int | None = None) -> list[dict[str, Any]]:
    """All cells that `out` does not hold yet; it is rewritten after each. steps: of pretraining, None = the preset's."""
    from tacit.runtime import commit

    rows: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.is_file() else []
    for folder in folders:
        for seed in range(seeds):
            done = {r["competitor"] for r in rows if r["set"] == folder.name and r["seed"] in (seed, None) and comparable(r, steps)}
            bench = None
            for name in (c for c in COMPETITORS if c not in done):
                bench = bench or Bench(folder, seed, steps)
                row = {
                    "set": folder.name,
                    "competitor": name,
                    "seed": None if name in SEEDLESS else seed,
                    **bench.run(name),
                    "commit": commit(),
                }
                row |= {} if name in SEEDLESS or steps is None else {"steps": steps}
                rows.append(row)
                write(rows, out)
                say(f"{folder.name:<30} {name:<10} seed {seed}  {_shown(row['accuracy'])}  {row['seconds']:8.1f} s")
    return rows


def comparable(row: dict[str, Any], steps: int | None) -> bool:
    """Whether a row was measured with that many steps, None = the preset's; what is not trained always was."""
    return row["seed"] is None or row.get("steps") == steps


Cell = dict[tuple[str, str], float | None]


def averaged(rows: list[dict[str, Any]]) -> tuple[list[str], Cell, list[str]]:
    """The sets, the mean over seeds for each (set, competitor), and the sets that every competitor was measured on."""
    sets = sorted({r["set"] for r in rows})
    cell: Cell = {}
    for name in sets:
        for c in COMPETITORS:
            found = [r["accuracy"] for r in rows if (r["set"], r["competitor"]) == (name, c) and r["accuracy"] is not None]
            cell[name, c] = float(np.mean(found)) if found else None
    return sets, cell, [s for s in sets if all(cell[s, c] is not None for c in COMPETITORS)]


def page(path: Path) -> Iterator[str]:
    """The lines of a Markdown section about the results in `path`, written by `measure`."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    sets, cell, full = averaged(rows)
    common = [s for s in full if s in PUBLISHED]
    steps = sorted({r["steps"] for r in rows if "steps" in r})
    yield "Protocol of TS2Vec: learn on the training split without labels, freeze, classify the official test split with an RBF support vector"
    yield "machine. `both` is ts2vec beside minirocket with a ridge classifier. The last three columns are the published accuracies (TS2Vec a and b:"
    yield "arXiv:2308.08241, table 14, TCN and TS2Vec; MiniRocket: its authors' repository). Accuracy in %; each set counts once.\n"
    if steps:
        yield f"**Not the benchmark's own length: {', '.join(map(str, steps))} steps of pretraining.**\n"
    columns = [*COMPETITORS, "TS2Vec a", "TS2Vec b", "MiniRocket"]
    yield "| set | " + " | ".join(columns) + " |\n| --- |" + " ---: |" * len(columns)
    means = [_mean([cell[s, c] for s in full]) for c in COMPETITORS]
    yield _row(f"**mean of {len(full)} sets**", [*means, None, None, None])
    means = [_mean([cell[s, c] for s in common]) for c in COMPETITORS] + [_mean([PUBLISHED[s][k] for s in common]) for k in range(3)]
    yield _row(f"**mean of the {len(common)} with published values**", means)
    for name in sorted({*SETS, *sets}):
        published = list(PUBLISHED.get(name, (None,) * 3))
        yield _row(name, [*(cell.get((name, c)) for c in COMPETITORS), *published], len(COMPETITORS))
    seconds = {c: sum(r["seconds"] for r in rows if r["competitor"] == c) for c in COMPETITORS}
    seeds = len({r["seed"] for r in rows if r["seed"] is not None})
    yield f"\n{len(sets)} of {len({*SETS, *sets})} sets measured, {seeds} seed(s), {len(full)} with every competitor"
    yield f"(dynamic time warping is left out where it would take more than {PATIENCE:.0f} s)."
    yield "CPU seconds in all: " + ", ".join(f"{c} {s:,.0f}" for c, s in seconds.items()) + "."
    yield f"Commit of the rows: {', '.join(sorted({r['commit'] or 'unknown' for r in rows}))}."


def _row(name: str, values: list[float | None], ours: int = 0) -> str:
    """A line of the table; of the first `ours` values, an absent one was not measured, the others were not published."""
    shown = [("not measured" if i < ours else "") if v is None else f"{100 * v:.1f}" for i, v in enumerate(values)]
    return f"| {name} | " + " | ".join(shown) + " |"


def table(rows: list[dict[str, Any]]) -> str:
    """Mean over seeds for each set and competitor, the means over sets, and the comparison with what was published."""
    sets, cell, full = averaged(rows)
    lines = [f"{'set':<30}" + "".join(f"{c:>12}" for c in COMPETITORS) + f"{'TS2Vec a':>12}{'TS2Vec b':>12}{'MiniRocket':>12}"]
    for name in sets:
        known = [*(cell[name, c] for c in COMPETITORS), *PUBLISHED.get(name, (None,) * 3)]
        lines.append(f"{name:<30}" + "".join(f"{_shown(v):>12}" for v in known))
    lines.append(f"{f'mean of {len(full)}':<30}" + "".join(f"{_shown(_mean([cell[s, c] for s in full])):>12}" for c in COMPETITORS))
    common = [s for s in full if s in PUBLISHED]
    means = [_mean([cell[s, c] for s in common]) for c in COMPETITORS] + [_mean([PUBLISHED[s][k] for s in common]) for k in range(3)]
    lines.append(f"{f'mean of {len(common)} published':<30}" + "".join(f"{_shown(v):>12}" for v in means))
    if common:
        ours, a, b, mine, theirs = means[0], means[-3], means[-2], means[COMPETITORS.index("minirocket")], means[-1]
        lines.append(f"ts2vec minus TS2Vec a: {100 * (ours - a):+.1f}, minus TS2Vec b: {100 * (ours - b):+.1f} points")  # type: ignore[operator]
        lines.append(f"minirocket minus its published values: {100 * (mine - theirs):+.1f} points")  # type: ignore[operator]
    seconds = {c: sum(r["seconds"] for r in rows if r["competitor"] == c) for c in COMPETITORS}
    lines.append("CPU seconds: " + ", ".join(f"{c} {s:.0f}" for c, s in seconds.items()))
    return "\n".join(lines)


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main(arguments: list[str] | None = None) -> int:
    """Measure, write, print; 1 if a set is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data() / "ucr", help="folder with one folder for each set")
    parser.add_argument("--out", type=Path, default=Path("ucr.json"), help="where the results are kept")
    parser.add_argument("--sets", default="", help="comma-separated names; default: all that are there")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=None, help="of pretraining; default: the preset's, which the benchmark means")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    asked = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(asked.threads)
    warnings.filterwarnings("ignore", module="sklearn")
    names = asked.sets.split(",") if asked.sets else sorted(p.name for p in asked.data.glob("*/"))
    folders = [asked.data / name for name in names]
    absent = [p.name for p in folders if not p.is_dir()]
    if absent or not names:
        print(f"{asked.data}: there is no {', '.join(absent) or 'set'}", file=sys.stderr)
        return 1
    rows = measure(folders, asked.seeds, asked.out, lambda words: print(words, file=sys.stderr, flush=True), asked.steps)
    print(table([r for r in rows if r["set"] in names and comparable(r, asked.steps)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
