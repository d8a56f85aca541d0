"""The measurements of part 7: do maps find what is known to decide, and how many pass their own tests on real data.

    python benchmarks/part7.py [--quick] [--only planted,real] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part7) are skipped. --quick: a little of each on generated data in about a minute;
its numbers are printed and thrown away. --write: renew docs/explaining.md from the cells. PATH: the folder of data sets, $TACIT_DATA or
shared/data beside the repository. Wall seconds, with as many threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import corpora  # noqa: E402
import explaining_page  # noqa: E402
import parts  # noqa: E402
import planted as made  # noqa: E402
import recordings  # noqa: E402
from part1 import Cells  # noqa: E402

WAYS = ("occlusion", "shapley", "integrated", "gradient", "smooth", "expected", "masks", "relax", "lime")
TRIED = ("occlusion", "integrated")  # on real data
ITEMS = 30
SECONDS = 60  # of pretraining on real data
READ = 0.95  # accuracy of a linear probe, below which nothing is known of what the encoder should look at


def planted(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: a part that alone decides; the encoder has learned the classes, so that it has to look at it."""
    for kind in ("series", "text") if quick else made.KINDS:
        cells.measure(f"planted_{kind}", lambda k=kind: _planted(k, work, quick))


def _planted(kind: str, work: Path, quick: bool) -> dict[str, Any]:
    import tacit
    from tacit.data.dataset import from_arrays, from_texts
    from tacit.evaluation.readers import standardise
    from tacit.explainers import values
    from tacit.explainers.problem import Problem
    from tacit.explanation import attribution
    from tacit.registry import find
    from tacit.subject import background_of, seen

    n, rng = 200 if quick else 4000 if kind == "text" else 1000, np.random.default_rng(0)
    x, y, places = made.KINDS[kind](n, rng)
    split = ["train" if i < 0.8 * n else "test" for i in range(n)]
    words = [f"class {k}" for k in y]
    if kind == "text":
        from dataclasses import replace

        data = from_texts(x)
        data = replace(
            data, labels=np.array(y), classes=("class 0", "class 1"), split=np.array([s == "test" for s in split]).astype(np.int8)
        )
    else:
        options = {"rate": 8000} if kind == "audio" else {}
        data = from_arrays(x, words, modality="vector" if kind == "table" else kind, split=split, options=options)
    out = Path(tempfile.mkdtemp(dir=work)) / "run"
    net = tacit.pretrain(data, method="supervised", steps=30 if quick else 200, batch_size=64, out=out).model.eval()
    lengths = data.lengths

    def vectors(rows: np.ndarray) -> np.ndarray:
        return net.vectors(data.x[rows], None if lengths is None else lengths[rows], tiles=False)

    z, t = vectors(data.train), vectors(data.test)
    a, b = standardise(z, t)
    guess = find("probes", "linear")().fit(a, data.labels[data.train], 2, small=False, seed=0, groups=None).predict(b)
    probe = float((guess == data.labels[data.test]).mean())
    found: dict[str, Any] = {"probe": probe, "void": probe < READ, "n": 0, "ways": {}}
    if probe < READ and not quick:
        return found
    rows = data.test[: 6 if quick else 40]
    background = None if net.modality.layout.ordered else background_of(net, data, data.train, 0)
    problems = []
    for row in rows:
        own = data.labels[row]
        these, those = (data.train[data.labels[data.train] == k][:100] for k in (own, 1 - own))
        problems.append(Problem(net, seen(net, data, int(row)), values.contrast(net, vectors(these), vectors(those), ""), 64, background))
    found["n"], found["parts"] = len(rows), float(np.mean([p.count for p in problems]))
    inside = [_inside(kind, p, places[int(r)], net) for p, r in zip(problems, rows, strict=True)]
    found["by chance"] = float(np.mean([i.mean() for i in inside]))
    for name in WAYS:
        way, hits, top, begin = attribution(net, name)[1], [], [], time.perf_counter()
        for p, where in zip(problems, inside, strict=True):
            each = way(p, 0).each.numpy()
            order = np.argsort(-each, kind="stable")
            hits.append(bool(where[order[0]]))
            top.append(float(where[order[: max(1, round(0.05 * len(each)))]].mean()))
        spent = (time.perf_counter() - begin) / len(problems)
        found["ways"][name] = {"hits": float(np.mean(hits)), "top": float(np.mean(top)), "seconds": spent}
    return found


def _inside(kind: str, problem: Any, place: Any, net: Any) -> np.ndarray:
    """Which parts lie in the planted one, at least by a third of themselves."""
    if kind == "table":
        return np.isin(np.arange(problem.count), place)
    if kind == "text":
        return np.array([place in name.split() for name in problem.pieces.names])
    if kind == "audio":
        from tacit import spectra

        hz, time_ = place
        edge = spectra.corners(net.modality.rate, net.modality.mels)
        bands = np.flatnonzero((edge[:-2] <= hz) & (edge[2:] >= hz))
        place = ((bands[0] / net.modality.mels, (bands[-1] + 1) / net.modality.mels), time_)
    out = []
    for box in problem.pieces.boxes:
        share = 1.0
        for (a, b), (c, d) in zip(box, place, strict=True):
            share *= max(0.0, min(b, d) - max(a, c)) / min(b - a, d - c)
        out.append(share >= 1 / 3)
    return np.array(out)


def real(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 3: how many maps of the default pass their tests on real data, and what they cost."""
    for name, (place, options) in _sets(quick, data, work).items():
        cells.measure(f"real_{name}", lambda p=place, o=options: _real(p, o, work, quick))


def _sets(quick: bool, data: Path, work: Path) -> dict[str, tuple[Any, dict[str, Any]]]:
    """name -> (place, how to open it)."""
    if quick:
        return {"digits": ("builtin:digits", {})}
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    for source in ("pneumoniamnist", "gtsrb_subset", "ucr", "adult"):
        if not (data / source).exists():
            continue
        made_ = [sys.executable, str(HERE / "prepare.py"), "--data", str(data), "--out", str(work / "data"), source]
        subprocess.run(made_, check=True, stdout=subprocess.DEVNULL)
        if source == "ucr":
            found |= {name: (work / "data" / "ucr" / name, {}) for name in ("SyntheticControl", "PowerCons")}
        elif source == "adult":
            found[source] = (work / "data" / source / "adult_train.csv", {"target": "label"})
        else:
            found[source] = (work / "data" / source, {})
    if (text := corpora.ready(data, work, "sst2")) is not None:
        found["sst2"] = (text, {"target": "label", "split": "split"})
    sound = recordings.fsdd(data, work)
    found |= {} if sound is None else {"fsdd": (sound, {"target": "digit"})}
    return dict(sorted(found.items(), key=lambda pair: pair[0] in ("SyntheticControl", "PowerCons")))  # which take longest


def _real(place: Any, options: dict[str, Any], work: Path, quick: bool) -> dict[str, Any]:
    import tacit
    from tacit import overviews
    from tacit.explanation import explain

    data = tacit.open(place, **options) if not isinstance(place, dict) else place
    how = {"steps": 20} if quick else {"budget": f"{SECONDS}s"}
    run = tacit.pretrain(data, out=Path(tempfile.mkdtemp(dir=work)) / "run", **how)
    rows = data.test if len(data.test) else np.arange(len(data))
    rows = np.sort(np.random.default_rng(0).choice(rows, 5 if quick else ITEMS, replace=False))
    verdicts, failed, seconds = [], dict[str, int](), []
    for row in rows:
        (one,) = explain(run.path, data, item=int(row))
        verdicts.append(one.verdict)
        seconds.append(one.result["cost"]["seconds"])
        for c in one.tested.checks:
            failed[c.name] = failed.get(c.name, 0) + (c.passed is False)
    tried = overviews.trials(run.path, data, ways=("occlusion", "integrated") if quick else TRIED, items=len(rows))
    share = {v: verdicts.count(v) / len(verdicts) for v in ("passed", "not testable")}
    about = {"n": len(rows), "how": one.how, "each": float(np.median(seconds)), "failed": failed, "parts": len(one.names)}
    return {**share, **about, "methods": tried["methods"], "steps": run.config.train.steps}


PIECES: dict[str, parts.Piece] = {"planted": planted, "real": real}


if __name__ == "__main__":
    raise SystemExit(parts.run(__doc__, "part7", PIECES, explaining_page.page, "explaining.md"))
