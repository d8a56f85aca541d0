"""The measurements of part 4: tables with few labels, what is unusual, and whether the reason is the right one.

    python benchmarks/part4.py [--quick] [--only tables,alternatives,anomalies,reasons,events,speed] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part4) are skipped. --quick: a little of each on generated and built-in data in
about two minutes; its numbers are printed and thrown away. --write: renew docs/tables.md from the cells.
PATH: the folder of data sets, $TACIT_DATA or shared/data beside the repository. Wall seconds, all threads of the machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import logs  # noqa: E402
import machines  # noqa: E402
import parts  # noqa: E402
import tables_page  # noqa: E402
import throughput  # noqa: E402
from part1 import Cells  # noqa: E402

SETS = (
    "adult", "bank", "credit", "law", "abalone", "breast-cancer", "horse-colic", "ionosphere", "mammography", "oil-spill", "phoneme", "pima",
    "sonar", "wine-red", "wine-white", "housing",
)  # fmt: skip
FOLDERS = {"bank": "fairness_tabular", "credit": "fairness_tabular", "law": "fairness_tabular", "housing": "california_housing"}
SECONDS = 40  # of pretraining, on beats and images twice as much
STEPS = 200  # of the other methods
ROWS = 20_000  # of a table, at most
FOUR = ("adult", "credit", "abalone", "phoneme")
METHODS = ("scarf", "vime", "subtab", "stunt", "denoising", "vicreg", "simclr")
PLANTED, FAR = 300, 5.0  # rows with one wrong cell, and how many deviations it is away


def ready(data: Path, work: Path, name: str) -> str | None:
    """The folder of a table as `tacit.open` reads it, None where it is absent."""
    source = name if name in ("adult", "fashion_mnist", "mitbih") else FOLDERS.get(name, "small_tabular")
    if not (data / source).is_dir():
        return None
    made = [sys.executable, str(HERE / "prepare.py"), "--data", str(data), "--out", str(work / "data"), source]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    inner = "" if source == name else name
    return str(work / "data" / source / inner)


def opened(place: str, most: int = ROWS) -> Any:
    """A table, of which at most so many rows take part."""
    from dataclasses import replace

    from tacit.data import dataset

    data = dataset.open(place, modality="table")
    if len(data) <= most:
        return data
    split = np.full(len(data), 2, np.int8)  # the rest is in no part
    rng = np.random.default_rng(0)
    for part, rows in ((0, data.train), (1, data.test)):
        split[rng.permutation(rows)[: round(most * len(rows) / len(data))]] = part
    return replace(data, split=split, split_rule=f"{data.split_rule}; {most:,} rows of {len(data):,}")


def kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a cell keeps of the results of an evaluation."""
    names = ("representation", "probe", "labels_per_class", "metric", "value", "low", "high", "n_test", "seeds")
    return [{k: r[k] for k in names} for r in rows]


def judged(place: str, work: Path, method: str | None, quick: bool, classics: bool = True) -> dict[str, Any]:
    """Pretrain and evaluate at every number of labels; 10 draws of labels where they are few."""
    import tacit

    data = opened(place, 600 if quick else ROWS)
    how: dict[str, Any] = {"steps": 20, "size": "tiny"} if quick else {} if method is None else {"steps": STEPS}
    with tempfile.TemporaryDirectory(dir=work) as folder:
        run = tacit.pretrain(data, method=method, out=Path(folder) / "run", **how)
        few, many = ([1, 5, 10], [50, "all"]) if data.classes else ([10, 50], [200, "all"])
        rows: list[dict[str, Any]] = []
        verdict: dict[str, Any] = {}
        for levels, seeds in ((few, 10), (many, 3)) if not quick else (([5], 2),):
            done = tacit.evaluate(run, data, levels=levels, seeds=seeds, supervised=classics and not quick)
            rows += [r for r in done.evaluation.results if r["metric"] in ("accuracy", "balanced_accuracy", "r2")]
            verdict = verdict or done.verdict
        about = {"steps": run.steps if hasattr(run, "steps") else None}
    return {"rows": kept(rows), "verdict": verdict.get("sentence"), "train": len(data.train), "n_test": len(data.test), **about}


def tables(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: every table with the default method, against all classics."""
    if quick:
        cells.measure("table_generated", lambda: judged(shop(work), work, None, True))
        return
    for name in SETS:
        if (place := ready(data, work, name)) is not None:
            cells.measure(f"table_{name}", lambda p=place: judged(p, work, None, False))


def alternatives(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: other methods on four sets."""
    for name in () if quick else FOUR:
        place = ready(data, work, name)
        for method in METHODS if place else ():
            cells.measure(f"method_{method}_{name}", lambda p=place, m=method: judged(p, work, m, False, classics=False))


def shop(work: Path, rows: int = 600) -> str:
    """A table whose amount follows from item and pieces; the label is whether the town is a port."""
    import csv

    rng = np.random.default_rng(0)
    prices = {"tea": 3.0, "cake": 5.0, "soup": 8.0, "stew": 11.0}
    item, pieces, town = rng.choice(list(prices), rows), rng.integers(1, 5, rows), rng.choice(["Bern", "Basel", "Genf"], rows)
    amount = np.array([prices[i] for i in item]) * pieces * rng.normal(1, 0.02, rows)
    path = work / "shop.csv"
    with path.open("w", newline="") as file:
        made = csv.writer(file)
        made.writerow(["item", "pieces", "amount", "town", "label"])
        made.writerows(zip(item, pieces, amount.round(2), town, np.where(amount > 18, "large", "small"), strict=True))
    return str(path)


# ---- what is unusual ----


def scored(detector: Any, x: np.ndarray, strange: np.ndarray, known: np.ndarray, spec: Any) -> dict[str, Any]:
    """AUROC with its interval, AUPRC and recall at 1 % false alarms of every score and classic on items x, some of them strange."""
    from tacit.detecting.classics import classics
    from tacit.detecting.detector import SCORES
    from tacit.outliers import detection

    found = detector.score(x)
    scores = {name: found[name] for name in ("score", *SCORES)} | {name: score(x) for name, score in classics(known, spec).items()}
    out: dict[str, Any] = {"n_normal": int((~strange).sum()), "n_strange": int(strange.sum()), "scores": {}}
    for name, values in scores.items():
        d = detection(values[~strange], values[strange])
        limit = np.quantile(values[~strange], 0.99, method="higher")
        row = {
            "auroc": d["auroc"],
            "low": d["low"],
            "high": d["high"],
            "auprc": d["aupr_out"],
            "recall": float((values[strange] > limit).mean()),
        }
        out["scores"][name] = row
    alarms = found["score"] > detector.threshold(0.01)
    return out | {"false_alarms": float(alarms[~strange].mean()), "caught": float(alarms[strange].mean()), "calibrated": detector.about}


def unusual_rows(place: str, work: Path) -> dict[str, Any]:
    """Rare class of a table, found without labels: it is among the rows that are learned from, as in life."""
    import tacit
    from tacit.detecting.detector import Detector

    data = opened(place)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        net = tacit.pretrain(data, out=Path(folder) / "run").model
        rng = np.random.default_rng(0)
        order = rng.permutation(data.train)
        held, rows = np.sort(order[: len(order) // 4]), np.sort(order[len(order) // 4 :])
        detector = Detector.fit(net, data, rows, held)
        rare = int(np.bincount(data.labels[data.train]).argmin())
        return scored(detector, np.asarray(data.x[data.test]), data.labels[data.test] == rare, np.asarray(data.x[data.train]), data.spec)


def unusual_beats(place: str, work: Path, most: int = 12_000) -> dict[str, Any]:
    """Abnormal heart beats of patients that were never seen, after learning from normal beats of others."""
    import tacit
    from tacit.data import dataset
    from tacit.detecting.detector import Detector

    data = dataset.open(place)
    normal = data.labels == data.classes.index("N")
    rng = np.random.default_rng(0)
    train = np.sort(rng.permutation(data.train[normal[data.train]])[:most])
    test = np.sort(rng.permutation(data.test)[:most])
    with tempfile.TemporaryDirectory(dir=work) as folder:
        known = dataset.from_arrays(
            np.asarray(data.x[train]), groups=[data.group_names[g] for g in data.groups[train]], name="normal beats"
        )
        net = tacit.pretrain(known, budget=2 * SECONDS, out=Path(folder) / "run").model
        detector = Detector.fit(net, known, known.train, known.test)
        return scored(detector, np.asarray(data.x[test]), ~normal[test], np.asarray(known.x[known.train]), known.spec)


def unusual_images(place: str, work: Path, most: int = 8_000) -> dict[str, Any]:
    """Sneakers among other clothes, after learning from these."""
    import tacit
    from tacit.data import dataset
    from tacit.detecting.detector import Detector

    data = dataset.open(place)
    strange = data.labels == 7
    rng = np.random.default_rng(0)
    train = np.sort(rng.permutation(data.train[~strange[data.train]])[:most])
    test = np.sort(rng.permutation(data.test)[:4000])
    with tempfile.TemporaryDirectory(dir=work) as folder:
        known = dataset.from_arrays(np.asarray(data.x[train]), name="clothes", modality="image", size=28)
        net = tacit.pretrain(known, budget=2 * SECONDS, out=Path(folder) / "run").model
        detector = Detector.fit(net, known, known.train, known.test)
        return scored(detector, np.asarray(data.x[test]), strange[test], np.asarray(known.x[known.train]), known.spec)


def anomalies(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: rare classes of tables, abnormal heart beats, a class of images that was held out."""
    if quick:
        return
    for name, work_of in (
        ("mammography", unusual_rows),
        ("oil-spill", unusual_rows),
        ("mitbih", unusual_beats),
        ("fashion_mnist", unusual_images),
    ):
        if (place := ready(data, work, name)) is not None:
            cells.measure(f"unusual_{name}", lambda p=place, f=work_of: f(p, work))
    for name, folder, of_machines in (("nab", "nab", machines.services), ("engines", "cmapss_fd001", machines.wear)):
        if (data / folder).is_dir():
            cells.measure(f"machines_{name}", lambda p=data / folder, f=of_machines: f(p, work, SECONDS))


# ---- what comes next ----

EVENTS = (
    ("", ""),
    ("autoregressive", "transformer"),
    ("inpainting", "transformer"),
    ("simclr", "gru"),
)  # (method, backbone); "" = as preset


def following(work: Path, method: str, backbone: str, users: int, quick: bool) -> dict[str, Any]:
    """A log with known rules: our ranking of the last item beside the classics' and the best possible, and the kind of user by few labels."""
    import tacit
    from tacit import recommendation
    from tacit.api import untrained
    from tacit.data import dataset
    from tacit.recommending.ranker import Ranker
    from tacit.recommending.rankings import classics

    rules = logs.Rules.drawn()
    path = work / f"log{users}.csv"
    words = logs.write(path, rules, users)
    data = dataset.open(path, sequence_by="user", order_by="day", target="kind", cache=False)
    columns = data.spec.extra["columns"]
    f = [c["name"] for c in columns].index("item")
    place = np.array([words.index(w) for w in columns[f]["values"]])
    with tempfile.TemporaryDirectory(dir=work) as folder:
        asked = {"method": method, "backbone": backbone, "steps": 20 if quick else 1200 if method else 0}
        run = tacit.pretrain(data, out=Path(folder) / "run", **{k: v for k, v in asked.items() if v})
        nets = {"ssl": run.model, "untrained": untrained(run.model)}
        rankers = {name: Ranker(net, f, len(place)).fit(data, data.train) for name, net in nets.items()}
        others = classics(recommendation.items_of(data, data.train, f), len(place))
        others["best possible"] = lambda before: rules.oracle([place[s] for s in before])[:, place]
        scores = recommendation.measure(rankers, others, data, data.test, f)
        done = tacit.evaluate(run, data, levels=[5] if quick else [1, 5, 10, 50, "all"], seeds=2 if quick else 10, supervised=False)
    return {"ranking": scores, "rows": kept(done.evaluation.results), "events": int(data.lengths.sum()), "users": users}


def events(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 4: what comes next in a generated log."""
    for method, backbone in EVENTS[: 1 if quick else None]:
        name = "_".join(filter(None, ("events", method, backbone))) if method else "events_preset"
        cells.measure(name, lambda m=method, b=backbone: following(work, m, b, 300 if quick else 3000, quick))


# ---- reasons ----


def planted(place: str, work: Path, quick: bool) -> dict[str, Any]:
    """How often the first reason names the one cell that was moved by FAR deviations."""
    import tacit
    from tacit.detecting.detector import Detector

    data = opened(place, 600 if quick else 10_000)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        net = tacit.pretrain(data, steps=10 if quick else 50, out=Path(folder) / "run").model
        held = data.test[: len(data.test) // 2]
        detector = Detector.fit(net, data, data.train, held, steps=100 if quick else 0)
        clean = np.asarray(data.x[data.test[len(data.test) // 2 :]])
    rng = np.random.default_rng(0)
    x = clean[: 30 if quick else PLANTED].copy()
    numbers = [f for f, c in enumerate(data.spec.extra["columns"]) if c["kind"] == "number"]
    f, sign, n = rng.choice(numbers, len(x)), rng.choice([-1, 1], len(x)), np.arange(len(x))
    mean, std = np.array(data.spec.mean), np.array(data.spec.std)
    x[n, f] = np.where(np.isnan(x[n, f]), mean[f], x[n, f]) + sign * FAR * std[f]
    parts = detector.parts(x, None, 3)
    first = np.array([bool(p) and p[0][0][0] == g for p, g in zip(parts, f, strict=True)])
    three = np.array([g in [c[0] for c, _ in p] for p, g in zip(parts, f, strict=True)])
    limit = detector.threshold(0.01)
    share = {"first": float(first.mean()), "first_three": float(three.mean()), "n": len(x), "columns": data.spec.channels}
    return share | {
        "flagged": float((detector.score(x)["score"] > limit).mean()),
        "false_alarms": float((detector.score(clean)["score"] > limit).mean()),
    }


def segment(work: Path, quick: bool) -> dict[str, Any]:
    """Overlap of the segment that is named with the one that was planted in waves: another level, a flat line, noise."""
    import tacit
    from tacit.data import dataset
    from tacit.detecting.detector import Detector

    rng = np.random.default_rng(0)
    n, length = (200, 96) if quick else (1500, 192)
    t = np.arange(length)
    x = np.sin(t / rng.uniform(4, 8, (n, 1)) + rng.uniform(0, 6.3, (n, 1))) + rng.normal(0, 0.1, (n, length))
    data = dataset.from_arrays(x[:, None].astype(np.float32), name="waves")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        net = tacit.pretrain(data, steps=20, out=Path(folder) / "run").model
    detector = Detector.fit(net, data, data.train, data.test, steps=100 if quick else 0)
    found: dict[str, Any] = {}
    for kind in ("level", "flat", "noise"):
        y, overlap = x[data.test][:100].astype(np.float32)[:, None].copy(), []
        start, size = rng.integers(0, length - 24, len(y)), rng.integers(12, 25, len(y))
        for i, (a, k) in enumerate(zip(start, size, strict=True)):
            part = y[i, 0, a : a + k]
            y[i, 0, a : a + k] = {"level": part + 2.5, "flat": np.full(k, part[0]), "noise": rng.normal(0, 1.2, k)}[kind]
        for i, reasons in enumerate(detector.parts(y)):
            said = np.zeros(length, bool)
            cell = detector.filler.encoder.cell[0]
            for c in reasons[0][0] if reasons else ():
                said[c * cell : (c + 1) * cell] = True
            true = (t >= start[i]) & (t < start[i] + size[i])
            overlap.append(float((said & true).sum() / max(1, (said | true).sum())))
        hit = float(np.mean([o > 0 for o in overlap]))
        flagged = float((detector.score(y)["score"] > detector.threshold(0.01)).mean())
        found[kind] = {"iou": float(np.mean(overlap)), "touches": hit, "flagged": flagged, "n": len(y)}
    return found


def reasons(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 3: planted cells and segments."""
    if quick:
        cells.measure("reason_generated", lambda: planted(shop(work), work, True))
        cells.measure("reason_series", lambda: segment(work, True))
        return
    for name in ("adult", "credit", "law", "abalone", "wine-white", "pima", "ionosphere", "housing"):
        if (place := ready(data, work, name)) is not None:
            cells.measure(f"reason_{name}", lambda p=place: planted(p, work, False))
    cells.measure("reason_series", lambda: segment(work, False))


# ---- speed ----


OPEN = """
import re, resource, sys, time
begin = time.perf_counter()
if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
from tacit.data import dataset
data = dataset.open(sys.argv[1], target="label")
# the peak of this program alone: what getrusage says began with the program that started it
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
print(len(data), time.perf_counter() - begin, 1024 * int(peak[1]))
"""


def mixed(rows: int, seed: int = 0) -> Any:
    """A table of numbers, words, counts and days, in memory."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"value {c}": rng.normal(size=rows).astype(np.float32) for c in "abcdef"}
    columns |= {f"kind {c}": rng.choice(["red", "green", "blue", "grey"], rows) for c in "abc"}
    columns["count"] = rng.integers(0, 100, rows)
    columns["day"] = (np.datetime64("2020-01-01") + rng.integers(0, 1000, rows)).astype("datetime64[D]")
    return pa.table({**columns, "label": rng.choice(["yes", "no"], rows)})


def opening(work: Path, ending: str, rows: int, limit: int) -> dict[str, Any]:
    """Seconds and peak memory of opening a file that was never read before; limit: bytes of address space, 0 = none."""
    import os

    import pyarrow.csv
    import pyarrow.parquet

    path, block = work / f"large.{ending}", 100_000
    with path.open("wb") as file:
        first = mixed(block)
        writer = pyarrow.parquet.ParquetWriter(file, first.schema) if ending == "parquet" else pyarrow.csv.CSVWriter(file, first.schema)
        with writer:
            for i in range(rows // block):
                writer.write_table(mixed(block, i))
    size = path.stat().st_size
    with tempfile.TemporaryDirectory(dir=work) as cache:
        said = subprocess.run(
            [sys.executable, "-c", OPEN, str(path), str(limit)],
            env={**os.environ, "TACIT_CACHE": cache},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.split()
    path.unlink()
    return {"bytes": size, "rows": int(said[0]), "open_s": float(said[1]), "peak": float(said[2]), "limit": limit}


def pace(work: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Rows a second of training and scoring, and the share of a step outside forward and backward."""
    import tacit
    from tacit.assemble import make_method, make_modality
    from tacit.config import OptimConfig, RunConfig, TrainConfig
    from tacit.data import dataset
    from tacit.detecting.detector import Detector
    from tacit.runtime import choose_precision
    from tacit.training.loader import Loader
    from tacit.training.loop import Loop, make_fabric
    from tacit.types import Info

    data = dataset.from_table(mixed(rows), target="label")
    modality = make_modality(data.spec, {})
    precision = choose_precision("cpu").value
    train, backbone = TrainConfig(steps=100_000, batch=256), {"name": "mlp", "size": "small"}
    config = RunConfig(
        data={}, modality={}, method={"name": "vicreg"}, backbone=backbone, optim=OptimConfig(), train=train, precision=precision
    )
    built = make_method(modality, config.method, config.backbone, Info(len(data.train), 0, {}), 0)
    fabric = make_fabric(config)
    loop = Loop.build(fabric, built, Loader(data, data.train, modality, fabric.device), modality, config)
    found = throughput.share_of(loop, 256, repeats, method=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        net = tacit.pretrain(data, steps=5, out=Path(folder) / "run").model
    detector = Detector.fit(net, data, data.train, data.test, steps=5)
    x = np.asarray(data.x)
    embed, detect = (rows / throughput.timed(lambda f=f: f(x), 2) for f in (net.vectors, detector.score))
    return {"train_rows_per_s": found["items_per_s"], "outside": found["outside"], "embed_rows_per_s": embed, "detect_rows_per_s": detect}


def speed(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 5: rows a second, the share outside forward and backward, and memory on large files."""
    cells.measure("speed_rows", lambda: pace(work, 2_000 if quick else 20_000, 3 if quick else 15))
    for name, ending, rows, limit in (
        ("parquet_200k", "parquet", 200_000, 0),
        ("parquet_2m", "parquet", 2_000_000, 0),
        ("csv_300mb", "csv", 2_800_000, 3 * 2**30),
    ):
        if not quick or name == "parquet_200k":
            cells.measure(f"speed_{name}", lambda e=ending, r=rows, m=limit: opening(work, e, r, m))


if __name__ == "__main__":
    raise SystemExit(
        parts.run(
            __doc__,
            "part4",
            {"tables": tables, "alternatives": alternatives, "anomalies": anomalies, "reasons": reasons, "events": events, "speed": speed},
            tables_page.page,
            "tables.md",
        )
    )
