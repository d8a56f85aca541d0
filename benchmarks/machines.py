"""Recordings of machines and services: the series of NAB with their windows, and engines that run until they fail."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, STRIDE = 64, 4  # samples of a window of NAB, and from one to the next
FIRST = 0.15  # of a series, taken as normal: NAB's own probation
CYCLES, SOON, HEALTHY = 30, 30, 125  # of an engine: a window, "soon", and from where remaining life is counted as this much


def nab(folder: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, values [T], bool [T]: in a labelled window) of each series; timestamps that appear twice stay."""
    found = []
    with zipfile.ZipFile(next(folder.glob("*.zip"))) as held:
        windows = json.loads(held.read("labels/combined_windows.json"))
        for name, spans in sorted(windows.items()):
            rows = list(csv.DictReader(io.StringIO(held.read(f"data/{name}").decode())))
            times = [r["timestamp"][:19] for r in rows]
            inside = np.array([any(a[:19] <= t <= b[:19] for a, b in spans) for t in times])
            found.append((name, np.array([float(r["value"]) for r in rows], np.float32), inside))
    return found


def windows(x: np.ndarray, width: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows [n, width, ...] of x [T, ...], and the sample that each ends with, int64 [n]."""
    ends = np.arange(width, len(x) + 1, stride)
    return np.stack([x[e - width : e] for e in ends]), ends - 1


def services(folder: Path, work: Path, seconds: float) -> dict[str, Any]:
    """NAB: one model for all series, learned from the first part of each; scores of every fourth sample after it."""
    from sklearn.metrics import roc_auc_score

    import tacit
    from tacit.data import dataset
    from tacit.detecting.classics import classics
    from tacit.detecting.detector import SCORES, Detector

    known, groups, later = [], [], []
    for name, values, inside in nab(folder):
        first = values[: int(FIRST * len(values))]
        unit = (values - first.mean()) / max(float(first.std()), 1e-3 * abs(float(first.mean())), 1e-9)
        w, _ = windows(unit[: len(first)], WIDTH, STRIDE)
        known.append(w)
        groups += [name] * len(w)
        # what comes after has one window of the first part before it
        start = len(first) - WIDTH
        w, ends = windows(unit[start:], WIDTH, STRIDE)
        later.append((name, np.clip(w, -50, 50), inside[start:][ends]))
    x = np.clip(np.concatenate(known), -50, 50)[:, None]
    data = dataset.from_arrays(x, name="first parts")  # a window may share samples with one that is held out
    with tempfile.TemporaryDirectory(dir=work) as place:
        net = tacit.pretrain(data, budget=seconds, out=Path(place) / "run").model
        detector = Detector.fit(net, data, data.train, data.test)
    others = classics(np.asarray(data.x[data.train]), data.spec)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    flagged: list[float] = []
    for _, w, inside in later:
        y = w[:, None].astype(np.float32)
        found = detector.score(y)
        scores = {k: found[k] for k in ("score", *SCORES)} | {k: f(y) for k, f in others.items()}
        flagged.append(float((found["score"] > detector.threshold(0.01))[~inside].mean()))
        if not inside.any() or inside.all():
            continue
        spans = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int)])) == 1)
        for k, v in scores.items():
            limit = np.quantile(v[~inside], 0.99, method="higher")
            caught = [bool((v[s:][: int((~inside[s:]).argmax()) or len(v)] > limit).any()) for s in spans]
            rows.setdefault(k, []).append((float(roc_auc_score(inside, v)), float(np.mean(caught)), float(len(spans))))
    out: dict[str, Any] = {"series": len(next(iter(rows.values()))), "windows": int(sum(r[2] for r in rows["score"])), "scores": {}}
    rng = np.random.default_rng(0)
    for k, v in rows.items():
        a = np.array(v)
        drawn = a[rng.integers(0, len(a), (2000, len(a))), 0].mean(1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        caught = float((a[:, 1] * a[:, 2]).sum() / a[:, 2].sum())
        out["scores"][k] = {"auroc": float(a[:, 0].mean()), "low": float(low), "high": float(high), "caught": caught}
    return out | {"false_alarms": float(np.mean(flagged)), "calibrated": detector.about}


def engines(folder: Path) -> dict[str, Any]:
    """C-MAPSS FD001: windows of CYCLES cycles of the 24 settings and sensors; of the training engines all, of the test engines the last.

    x, xt: float32 [n, 24, CYCLES]; life, life_t: cycles left; engine: of each training window.
    """

    def table(name: str) -> np.ndarray:
        return np.loadtxt(io.StringIO(gzip.decompress((folder / f"{name}_FD001.txt.gz").read_bytes()).decode()))

    train, test, left = table("train"), table("test"), table("RUL")
    x, life, engine, xt = [], [], [], []
    for e in np.unique(train[:, 0]):
        rows = train[train[:, 0] == e]
        w, ends = windows(rows[:, 2:], CYCLES, 3)
        x.append(w)
        life.append(len(rows) - 1 - ends)
        engine.append(np.full(len(w), int(e)))
    for e in np.unique(test[:, 0]):
        rows = test[test[:, 0] == e][:, 2:]
        xt.append(rows[-CYCLES:] if len(rows) >= CYCLES else np.concatenate([np.tile(rows[:1], (CYCLES - len(rows), 1)), rows]))
    turn = [np.moveaxis(v, 1, 2).astype(np.float32) for v in (np.concatenate(x), np.stack(xt))]
    return {"x": turn[0], "xt": turn[1], "life": np.concatenate(life), "engine": np.concatenate(engine), "life_t": left.ravel()}


def wear(folder: Path, work: Path, seconds: float) -> dict[str, Any]:
    """Engines: how early a detector that knows healthy ones alone warns, and how well the remaining life is told."""
    import tacit
    from tacit.data import dataset
    from tacit.detecting.classics import classics
    from tacit.detecting.detector import SCORES, Detector
    from tacit.outliers import detection

    held = engines(folder)
    some = held["engine"] <= 80
    healthy = held["life"] >= HEALTHY
    rows = some & healthy
    known = dataset.from_arrays(held["x"][rows], groups=[str(e) for e in held["engine"][rows]], name="healthy engines")
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=work) as place:
        net = tacit.pretrain(known, budget=seconds, out=Path(place) / "run").model
        detector = Detector.fit(net, known, known.train, known.test)
        other = ~some
        y, life, engine = held["x"][other], held["life"][other], held["engine"][other]
        found = detector.score(y)
        scores = {k: found[k] for k in ("score", *SCORES)}
        scores |= {k: f(y) for k, f in classics(np.asarray(known.x[known.train]), known.spec).items()}
        soon, well = life < SOON, life >= HEALTHY
        for k, v in scores.items():
            d = detection(v[well], v[soon])
            limit = np.quantile(v[well], 0.99, method="higher")
            warned = [_warning(v[engine == e] > limit, life[engine == e]) for e in np.unique(engine)]
            out[k] = {
                **{n: d[n] for n in ("auroc", "low", "high")},
                "warned": float(np.median(warned)),
                "missed": float(np.mean(np.equal(warned, 0))),
            }
        alarms = float((found["score"] > detector.threshold(0.01))[well].mean())
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=work) as place:
        x = np.concatenate([held["x"], held["xt"]])
        y = np.minimum(np.concatenate([held["life"], held["life_t"]]), HEALTHY)
        groups = [*map(str, held["engine"]), *(f"test {i}" for i in range(len(held["xt"])))]
        parts = ["train"] * len(held["x"]) + ["test"] * len(held["xt"])
        data = dataset.from_arrays(x, y.astype(np.float64) + 1e-3, groups=groups, split=parts, name="engines")
        run = tacit.pretrain(data, budget=seconds, out=Path(place) / "run")
        done = tacit.evaluate(run, data, levels=[50, 200, "all"], seeds=5, supervised=False)
        for r in done.evaluation.results:
            if r["metric"] == "rmse":
                told.setdefault(f"{r['representation']} ({r['probe']})", {})[str(r["labels_per_class"])] = [r["value"], r["low"], r["high"]]
    return {"scores": out, "false_alarms": alarms, "engines": 20, "rmse": told, "n_test": len(held["xt"])}


def _warning(alarm: np.ndarray, life: np.ndarray) -> float:
    """Cycles before the failure from which on every window is flagged, 0 = the last one is not."""
    quiet = np.flatnonzero(~alarm)
    start = 0 if not len(quiet) else int(quiet[-1]) + 1
    return float(life[start] + 1) if start < len(alarm) else 0.0
