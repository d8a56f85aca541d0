"""The measurements of part 7: do maps find what is known to decide, and how many pass their own tests on real data.

    python benchmarks/part7.py [--quick] [--only exact,planted,real,concepts,prototypes,gallery] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part7) are skipped. --quick: a little of each on generated data in about a minute;
its numbers are printed and thrown away. --write: renew docs/explaining.md from the cells; the pictures of the gallery are written to
docs/gallery when they are made. PATH: the folder of data sets, $TACIT_DATA or
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
    from tacit.data.dataset import from_arrays
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
        data = _labelled(x, y, split)
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
        cells.measure(f"real_{name}", lambda n=name, p=place, o=options: _real(n, p, o, work, quick))


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


def _real(name: str, place: Any, options: dict[str, Any], work: Path, quick: bool) -> dict[str, Any]:
    from tacit import overviews
    from tacit.explanation import explain

    data, run = _run(name, place, options, work, quick)
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


def exact(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: what is known in closed form, and what packages say of the same."""
    cells.measure("exact", lambda: _exact(work, 3 if quick else ITEMS))


def _exact(work: Path, items: int) -> dict[str, Any]:
    import torch

    import tacit
    from games import closed, curved
    from tacit.explainers import values
    from tacit.explainers.checks import areas, ranked, short_of
    from tacit.explainers.problem import Problem
    from tacit.explanation import attribution
    from tacit.registry import find
    from tacit.subject import seen

    def by(name: str, problem: Any) -> torch.Tensor:
        return find("attributions", name)()(problem, 0).each

    linear = [closed(n, seed) for n in (6, 12) for seed in range(5)]
    largest = {}
    for name in ("integrated", "gradient", "shapley", "occlusion", "by_shap", "by_captum"):
        far = [float((by(name, p) - e).abs().max() / e.abs().max()) for p, e in linear if name != "shapley" or p.count <= 9]
        largest[name] = max(far)
    games = [curved(8, seed) for seed in range(5)]
    pairs = {"shapley and shap": ("shapley", "by_shap"), "integrated and captum": ("integrated", "by_captum")}
    apart = {k: max(float((by(a, p) - by(b, p)).abs().max() / by(a, p).abs().max()) for p in games) for k, (a, b) in pairs.items()}
    ahead = {"deletion": [], "insertion": []}
    for p, e in linear:
        rng = np.random.default_rng(0)
        orders = [ranked(e), *[rng.permutation(p.count).tolist() for _ in range(200)]]
        for k, insert in (("deletion", False), ("insertion", True)):
            area = areas(p, orders, insert)[0]
            ahead[k].append(float((area[1:] - area[0]).min() if k == "deletion" else (area[0] - area[1:]).min()))
    run = tacit.pretrain(tacit.open("builtin:digits"), steps=20 if items < ITEMS else 150, out=Path(tempfile.mkdtemp(dir=work)) / "run")
    net, digits = run.model.eval(), tacit.open("builtin:digits")
    way, missed = attribution(net, "integrated")[1], []
    for row in np.random.default_rng(0).choice(digits.test, items, replace=False):
        view = seen(net, digits, int(row))
        missed.append(short_of(way(Problem(net, view, values.itself(net, view)), 0)))
    return {
        "n": len(linear), "linear": largest, "apart": apart, "least ahead of 200 orders": {k: min(v) for k, v in ahead.items()},
        "items": items, "completeness": {"median": float(np.median(missed)), "worst": float(np.max(missed))},
    }  # fmt: skip


def concepts(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 4: how many concepts other seeds find too, and what a decision by them costs."""
    for name, (place, options) in _sets(quick, data, work).items():
        for how in ("nmf",) if quick else ("sae", "nmf"):
            cells.measure(f"concepts_{how}_{name}", lambda p=place, o=options, h=how, n=name: _concepts(n, p, o, h, work, quick))


RUNS: dict[str, Any] = {}  # of this call: concepts, prototypes and real data look at the same ones


def _run(name: str, place: Any, options: dict[str, Any], work: Path, quick: bool) -> Any:
    import tacit

    if name not in RUNS:
        how = {"steps": 20} if quick else {"budget": f"{SECONDS}s"}
        data = tacit.open(place, **options)
        RUNS[name] = data, tacit.pretrain(data, out=Path(tempfile.mkdtemp(dir=work)) / "run", **how)
    return RUNS[name]


def _concepts(name: str, place: Any, options: dict[str, Any], how: str, work: Path, quick: bool) -> dict[str, Any]:
    from tacit.concepts import concepts as learned

    data, run = _run(name, place, options, work, quick)
    found = learned(run.path, data, how=how)
    head = found["head"]
    if head is not None:
        head = {k: head[k] for k in ("n", "used", "accuracy", "full", "gap")}
    return {k: found[k] for k in ("atoms", "stable", "stability", "explained", "tokens")} | {"head": head}


def prototypes(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 4: the accuracy that a decision by real parts costs, beside its opaque twin, the linear probe on the same labels."""
    for name, (place, options) in _sets(quick, data, work).items():
        cells.measure(f"prototypes_{name}", lambda n=name, p=place, o=options: _prototypes(n, p, o, work, quick))


def _prototypes(name: str, place: Any, options: dict[str, Any], work: Path, quick: bool) -> dict[str, Any]:
    import tacit
    from tacit.errors import CannotPair

    data, run = _run(name, place, options, work, quick)
    out: dict[str, Any] = {}
    for each in (10,) if quick else (10, 50):
        try:
            made = tacit.finetune(
                run, data, target=options.get("target"), strategy="prototypes", overrides={"finetune": {"prototypes": each}},
                out=Path(tempfile.mkdtemp(dir=work)) / "model",
            )  # fmt: skip
        except CannotPair as error:
            return {"why": error.message}
        rows = [r for r in made.result["results"] if r["metric"] == "accuracy"]
        mine = next(r for r in rows if r["probe"].startswith("finetune"))
        twin = next(r for r in rows if not r["probe"].startswith("finetune"))
        keep = ("value", "low", "high", "n_test", "difference", "difference_low", "difference_high")
        out[str(each)] = {"ours": {k: mine.get(k) for k in keep}, "twin": {k: twin.get(k) for k in keep}}
    return out


def gallery(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Explanations to look at, those that passed and those that failed, of generated data and of the embedded digits."""
    cells.measure("gallery", lambda: _gallery(work, quick))


def _gallery(work: Path, quick: bool) -> dict[str, Any]:
    import tacit
    from tacit.data.dataset import from_arrays
    from tacit.explanation import explain

    folder = work / "gallery" if quick else HERE.parent / "docs" / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    shown: dict[str, Any] = {"digits": ("builtin:digits", {"these": "7"}, 17)}
    for kind in () if quick else ("image", "series", "audio", "table", "text"):
        x, y, _ = made.KINDS[kind](1000, np.random.default_rng(0))
        words, split = [f"class {k}" for k in y], ["train" if i < 800 else "test" for i in range(1000)]
        if kind == "text":
            shown[kind] = (_labelled(x, y, split), {"these": "class 0"}, 900)
        else:
            options = {"rate": 8000} if kind == "audio" else {}
            held = from_arrays(x, words, modality="vector" if kind == "table" else kind, split=split, options=options)
            shown[kind] = (held, {"these": "class 0"}, 900)
    out: dict[str, Any] = {}
    for name, (place, asked, row) in shown.items():
        data = tacit.open(place) if isinstance(place, str) else place
        method = {} if name == "digits" else {"method": "supervised"}
        run = tacit.pretrain(data, steps=30 if quick else 150, batch_size=64, out=Path(tempfile.mkdtemp(dir=work)) / "run", **method)
        for word, copy in (("network", False), ("random", True)):
            (one,) = explain(run.path, data, item=row, untrained_copy=copy, **asked)
            (folder / f"{name}-{word}.png").write_bytes(one.picture)
            failed = [c.name for c in one.tested.checks if c.passed is False]
            out[f"{name}-{word}"] = {"said": one.result["explains"], "how": one.how, "verdict": one.verdict, "failed": failed}
    return out


def _labelled(x: Any, y: list[int], split: list[str]) -> Any:
    from dataclasses import replace

    from tacit.data.dataset import from_texts

    sides = np.array([s == "test" for s in split]).astype(np.int8)
    return replace(from_texts(x), labels=np.array(y), classes=("class 0", "class 1"), split=sides)


PIECES: dict[str, parts.Piece] = {
    "exact": exact,
    "planted": planted,
    "real": real,
    "concepts": concepts,
    "prototypes": prototypes,
    "gallery": gallery,
}


if __name__ == "__main__":
    raise SystemExit(parts.run(__doc__, "part7", PIECES, explaining_page.page, "explaining.md"))
