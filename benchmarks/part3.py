"""The measurements of part 3: ways to use labels, strange items and calibration, labels of places, and what leaves.

    python benchmarks/part3.py [--quick] [--only finetune,uncertainty,places,export] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part3) are skipped; about an hour on two cores. --quick: a little of each on
generated and built-in data in about two minutes; its numbers are printed and thrown away. --write: renew docs/deciding.md from the cells.
PATH: the folder of data sets, $TACIT_DATA or shared/data beside the repository. Wall seconds, all threads of the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import deciding_page  # noqa: E402
import generated  # noqa: E402
import parts  # noqa: E402
from part1 import Cells, tacit  # noqa: E402

IMAGES = ("sign_digits", "pneumoniamnist", "fashion_mnist")
UCR = ("SyntheticControl", "MelbournePedestrian", "ItalyPowerDemand", "PowerCons")
LONG = "CricketX"  # series of 300 samples, for export; a fine-tuning takes ten minutes there
SHARES, SEEDS = (0.01, 0.1, 1.0), 3
SECONDS = 120  # of pretraining on images
LIMIT = 5_000  # training images of fashion_mnist
NEAR = ("cat", "truck")  # classes of cifar10_subset that the encoder never sees
SPLITS = 20
FINER = {"method": "mae", "backbone": "transformer", "overrides": {"modality": {"patch": 4}}}  # features of 4 x 4 pixels
BODIES = {"image": ("convnet", "resnet", "transformer", "mlp"), "series": ("conv1d", "gru", "resnet", "convnet", "transformer", "mlp")}


def opened(run: Path, folder: str) -> tuple[Any, Any, Any]:
    """(model, data as the run read it, labels)."""
    from tacit import api
    from tacit.data.supervision import supervise

    net = api.load(run)
    asked = api.remembered(run, folder, {}, lambda words: None)
    data = net.prepare(api.opened(folder, modality=net.spec.modality, spec=net.spec, **asked))
    return net, data, supervise(data)


def pretrained(folder: str, run: Path, words: tuple[str, ...]) -> Path:
    """A run, made once."""
    if not (run / "model" / "model.json").is_file():
        tacit("pretrain", folder, "--out", str(run), "--quiet", *words)
    return run


# ---- ways to use labels ----


def subset(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A stratified share of the labels, at least one a class."""
    rng, take = np.random.default_rng([seed, 606]), []
    for k in np.unique(y):
        mine = rng.permutation(np.flatnonzero(y == k))
        take.append(mine[: max(1, round(share * len(mine)))])
    return np.sort(np.concatenate(take))


def ways(run: Path, folder: str, share: float, seed: int, quick: bool) -> dict[str, Any]:
    """Accuracy on the test split of every way to use a share of the labels: the same labels for all."""
    from tacit.config import RunConfig
    from tacit.evaluation.labels import SMALL, fold
    from tacit.finetuning.config import FinetuneConfig
    from tacit.finetuning.fit import Task
    from tacit.heads.classification import Classification
    from tacit.training.supervised import FromScratch

    net, data, answers = opened(run, folder)
    train, test = (np.flatnonzero(np.isin(answers.items, part)) for part in (data.train, data.test))
    y, truth = answers.values, answers.values[test]
    chosen = train[subset(y[train], share, seed)]
    classes = len(np.unique(y[chosen]))
    small = len(chosen) / classes < SMALL
    learn, stop = chosen, None
    if not small:
        kept, held = fold(y[chosen], len(answers.classes), seed, min(0.1, 2000 / len(chosen)))
        learn, stop = chosen[kept], chosen[held]
    config = FinetuneConfig(most=20, least=10) if quick else FinetuneConfig()
    found: dict[str, Any] = {"labels": len(chosen), "n_test": len(test), "accuracy": {}, "seconds": {}}
    for kind in ("probe", "lp-ft", "full"):
        task = Task(net, data, answers, lambda: Classification(answers.classes), config, kind, seed)
        begin = time.perf_counter()
        network, about = task.fit(chosen if kind == "probe" else learn, None if kind == "probe" else stop, small=small, seed=seed)
        out = task.outputs(network, test)
        found["accuracy"][kind] = float((out.argmax(1) == truth).mean())
        found["seconds"][kind] = round(time.perf_counter() - begin, 1)
        found.setdefault("steps", {})[kind] = [about.get("best_step", 0), about["steps"]]
    like = RunConfig.read(run / "config.toml", runs=("backbone", "modality"))
    begin = time.perf_counter()
    scratch = FromScratch(data, like, answers.items[train], data, answers.items[test])
    _, scores = scratch(np.searchsorted(train, chosen), seed)
    found["accuracy"]["scratch"] = float((scores.argmax(1) == truth).mean())
    found["seconds"]["scratch"] = round(time.perf_counter() - begin, 1)
    name, score = classic(classics(run, folder), data, answers, train, chosen, test, seed)
    found["accuracy"]["classic"], found["classic"] = score, name
    return found


@cache
def classics(run: Path, folder: str) -> tuple[Any, ...]:
    """The classics of a data set, fitted on its training items and read on all labelled held-out ones."""
    from tacit import api

    _, data, answers = opened(run, folder)
    test = answers.items[np.isin(answers.items, data.test)]
    return tuple(api._classics(data.spec, data.x[data.train], data.x[test], lambda words: None)[0])


def classic(
    found: tuple[Any, ...], data: Any, answers: Any, train: np.ndarray, chosen: np.ndarray, test: np.ndarray, seed: int
) -> tuple[str, float]:
    """The classic that reads held-out training labels best, and its accuracy on the test split."""
    from tacit.evaluation.labels import Draw, LevelPlan, fold
    from tacit.evaluation.readers import Labels, probes_of, read_probe

    y, own, at = answers.values, answers.values[train], np.searchsorted(train, chosen)
    rest = np.setdiff1d(np.arange(len(train)), at)[:2000]
    fit = at
    if len(rest) < 20:
        kept, rest = fold(own, len(answers.classes), seed, 0.1)
        fit = at[np.isin(at, kept)]
    plan = LevelPlan(1, len(at), len(chosen) / len(np.unique(y[chosen])), (Draw(fit, rest), Draw(at, np.zeros(0, np.int64))))
    labels = Labels(own, len(answers.classes), np.searchsorted(data.train, answers.items[train]))
    best, name, value = -1.0, "", 0.0
    for representation in found:
        for probe in probes_of(representation, False):
            (reading,) = read_probe(representation, probe, [plan], labels)
            if probe != "knn" and reading.choice is not None and reading.predicted is not None and reading.choice > best:
                best, name, value = reading.choice, representation.name, float((reading.predicted[1] == y[test]).mean())
    return name, value


def finetune(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: probe, LP-FT, full fine-tuning, from scratch and the best classic with 1, 10 and 100 % of the labels."""
    if quick:
        run = pretrained("builtin:digits", work / "digits", ("--steps", "60", "--size", "tiny"))
        cells.measure("ways_digits_0.1_0", lambda: ways(run, "builtin:digits", 0.1, 0, True))
        return
    for name in (*IMAGES, *UCR):
        place = ready(data, work, name)
        if place is None:
            continue
        words = ("--budget", f"{SECONDS}s") if name in IMAGES else ()
        names = [(share, seed) for share in SHARES for seed in range(SEEDS)]
        if all(cells.get(f"ways_{name}_{share:g}_{seed}") for share, seed in names):
            continue
        run = pretrained(place, work / f"run_{name}", words)
        for share, seed in names:
            cells.measure(f"ways_{name}_{share:g}_{seed}", lambda s=share, k=seed, r=run, p=place: ways(r, p, s, k, False))


def ready(data: Path, work: Path, name: str) -> str | None:
    """The folder of a data set as `tacit.open` reads it, None where it is absent."""
    source = "ucr" if name in (*UCR, LONG) else name
    if not (data / source).is_dir():
        return None
    limit = ["--limit", str(LIMIT)] if name == "fashion_mnist" else []
    made = [sys.executable, str(HERE / "prepare.py"), "--data", str(data), "--out", str(work / "data"), *limit, source]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    folder = f"{source}_{LIMIT}" if limit else source
    return str(work / "data" / folder / name) if name in (*UCR, LONG) else str(work / "data" / folder)


# ---- strange items, coverage, calibration ----


def strange(net: Any, known: Any, near: Any, far: Any) -> dict[str, Any]:
    """How well items of held-out classes (near) and of another data set (far) are told from held-out items of the known classes."""
    from tacit.data.supervision import supervise
    from tacit.outliers import Reference, detection

    answers = supervise(known)
    own = np.full(len(known), -1)
    own[answers.items] = answers.values
    z = {k: net.vectors(known.x[r]) for k, r in (("train", known.train), ("test", known.test))}
    reference = Reference.fit(z["train"], own[known.train], most=10_000)
    inside = reference.score(z["test"])
    found: dict[str, Any] = {"inside": len(z["test"])}
    for word, other in (("near", near), ("far", far)):
        scores = reference.score(net.vectors(other))
        found[word] = {k: detection(inside[k], scores[k]) for k in inside}
    return found


def coverage(z: np.ndarray, y: np.ndarray, zt: np.ndarray, yt: np.ndarray, classes: int, alpha: float = 0.1) -> dict[str, Any]:
    """Coverage and size of conformal sets, and the calibration error before and after scaling, over random splits of labels and test items."""
    from tacit import calibration
    from tacit.evaluation.readers import standardise
    from tacit.heads.classification import Classification

    z, zt = standardise(z, zt)
    rows: list[dict[str, float]] = []
    for split in range(SPLITS):
        rng = np.random.default_rng([split, 707])
        order = rng.permutation(len(zt))
        held, score = order[: len(zt) // 2], order[len(zt) // 2 :]
        learn = rng.permutation(len(z))[:1000]
        for kind in ("lac", "aps"):
            head = Classification(tuple(map(str, range(classes))), sets=kind)  # type: ignore[arg-type]
            weight, bias = head.probe(z[learn], y[learn], small=False, seed=split, groups=None)
            out, out_t = zt[held] @ weight + bias, zt[score] @ weight + bias
            c = head.calibrate(out, yt[held], alpha)
            s = head.scores(out_t, yt[score], c)
            rows.append({"kind": kind, "split": split, **{k: s[k] for k in ("coverage", "set_size", "ece", "ece_before", "accuracy")}})  # type: ignore[dict-item]
            p = calibration.softmax(out_t)
            rows[-1]["nll_before"], rows[-1]["nll"] = calibration.nll(p, yt[score]), s["nll"]
    return {
        kind: {
            k: [float(np.mean(v)), float(np.std(v))]
            for k in rows[0]
            if k not in ("kind", "split")
            for v in [[r[k] for r in rows if r["kind"] == kind]]
        }
        for kind in ("lac", "aps")
    } | {"nominal": 1 - alpha, "splits": SPLITS, "calibrated_on": len(zt) // 2, "n_test": len(zt) - len(zt) // 2}


def uncertainty(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: out-of-distribution detection, coverage and calibration error."""
    import tacit as package
    from tacit import api
    from tacit.data.dataset import from_arrays

    if quick:

        def look() -> dict[str, Any]:
            net, d, s = opened(pretrained("builtin:digits", work / "digits", ("--steps", "60", "--size", "tiny")), "builtin:digits")
            z, zt = net.vectors(d.x[d.train]), net.vectors(d.x[d.test])
            return coverage(z, s.values[np.isin(s.items, d.train)], zt, s.values[np.isin(s.items, d.test)], 10)

        cells.measure("coverage_digits", look)
        return
    place, far = ready(data, work, "cifar10_subset"), ready(data, work, "fashion_mnist")
    if place is None or far is None:
        return

    def both() -> dict[str, Any]:
        whole = api.opened(place)
        names = np.array([*whole.classes, ""], dtype=object)[whole.labels]
        keep = ~np.isin(names, NEAR)
        x = np.asarray(whole.x)
        split = ["train" if s == 0 else "test" for s in whole.split[keep]]
        known = from_arrays(x[keep], y=names[keep].tolist(), split=split, modality="image", size=32)
        run = package.pretrain(known, budget=SECONDS, out=work / "run_near")
        grey = api.opened(far)
        rows = grey.test[:2000]
        wide = np.repeat(np.asarray(grey.x[rows]), 3, 1)
        wide = np.pad(wide, ((0, 0), (0, 0), (2, 2), (2, 2)))
        found = strange(run.model, known, x[(whole.split == 1) & ~keep], wide)
        z, zt = run.model.vectors(known.x[known.train]), run.model.vectors(known.x[known.test])
        assert known.labels is not None
        found["cifar"] = coverage(z, known.labels[known.train], zt, known.labels[known.test], len(known.classes))
        return found

    cells.measure("strange_cifar10_subset", both)
    run = pretrained(far, work / "run_fashion_mnist", ("--budget", f"{SECONDS}s"))

    def fashion() -> dict[str, Any]:
        net, d, s = opened(run, far)
        z, zt = net.vectors(d.x[d.train]), net.vectors(d.x[d.test])
        return coverage(z, s.values[np.isin(s.items, d.train)], zt, s.values[np.isin(s.items, d.test)], len(s.classes))

    cells.measure("coverage_fashion_mnist", fashion)


# ---- labels of places, and numbers ----


def few_labels(
    net: Any, data: Any, answers: Any, kinds: tuple[str, ...], counts: tuple[int, ...], seeds: int, quick: bool
) -> dict[str, Any]:
    """The metric that decides, on held-out items, for each way and number of labels, beside the same network without pretraining."""
    from tacit import api, registry
    from tacit.finetuning.config import FinetuneConfig
    from tacit.finetuning.fit import Task

    head = registry.find("heads", answers.head)
    train, test = (np.flatnonzero(np.isin(answers.items, part)) for part in (data.train, data.test))
    config = FinetuneConfig(most=20, least=10) if quick else FinetuneConfig(tiles="no", least=300)
    found: dict[str, Any] = {"n_test": len(test), "metric": head.metrics[0], "values": {}}
    for count in counts:
        for seed in range(seeds):
            chosen = np.sort(np.random.default_rng([seed, 808]).permutation(train)[:count])
            for who in ("pretrained", "scratch"):
                model = net if who == "pretrained" else api.untrained(net, seed)
                for kind in kinds if who == "pretrained" else ("full",):
                    own = config if who == "pretrained" else replace(config, norms="train", decay=1.0)
                    task = Task(model, data, answers, lambda: head(answers.classes), own, kind, seed)
                    network, _ = task.fit(chosen, None, small=count < 100, seed=seed)
                    score = network.head.scores(task.outputs(network, test), answers.values[test], {})
                    found["values"].setdefault(f"{who} {kind} {count}", []).append(round(score[head.metrics[0]], 4))
    return found


def places(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 3: segmentation and regression on drawn data, with few labels."""
    import tacit as package
    from tacit.data.dataset import from_arrays
    from tacit.data.supervision import supervise

    n, seconds, counts, seeds = (200, 3, (10,), 1) if quick else (1500, 45, (10, 50, 200), 2)

    def shapes() -> dict[str, Any]:
        x, mask, size = generated.shapes(n, 0)
        both = {}
        d = from_arrays(x, y=mask, modality="image", size=32)
        run = package.pretrain(d, budget=seconds, out=work / "run_shapes", **FINER)
        both["segmentation"] = few_labels(run.model, run.model.prepare(d), supervise(d), ("probe", "lp-ft", "full"), counts, seeds, quick)
        d = from_arrays(x, y=size, modality="image", size=32)
        both["size"] = few_labels(run.model, run.model.prepare(d), supervise(d), ("probe", "lp-ft", "full"), counts, seeds, quick)
        return both

    def pasted() -> dict[str, Any]:
        x, mask = generated.pasted(n, 1)
        d = from_arrays(x, y=mask, modality="image", size=32)
        run = package.pretrain(d, budget=seconds, out=work / "run_pasted", **FINER)
        return few_labels(run.model, run.model.prepare(d), supervise(d), ("probe", "lp-ft", "full"), counts, seeds, quick)

    cells.measure("places_shapes", shapes)
    if not quick:
        cells.measure("places_pasted", pasted)


# ---- what leaves ----


def export(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 4: parity and latency of every backbone and both modalities, in float32 and int8."""
    series = ready(data, work, LONG)
    for modality, bodies in BODIES.items():
        folder = "builtin:digits" if modality == "image" else series
        if folder is None or (quick and modality == "series"):
            continue
        for body in bodies[:1] if quick else bodies:
            cells.measure(f"export_{modality}_{body}", lambda m=modality, b=body, f=folder: leave(m, b, f, work))


def leave(modality: str, body: str, folder: str, work: Path) -> dict[str, Any]:
    """Train a little, export both ways; the gates and latencies."""
    from tacit.errors import CannotPair, GateFailed, TacitError
    from tacit.operate.export import export as out

    run = work / f"run_{modality}_{body}"
    words = ("--method", "vicreg" if body == "mlp" else "simclr", "--backbone", body, "--steps", "100")
    try:
        pretrained(folder, run, words)
    except SystemExit as error:
        return {"failed": str(error)}
    found: dict[str, Any] = {}
    for to in ("onnx", "int8"):
        target = work / f"artefact_{modality}_{body}_{to}"
        try:
            done = out(run, to, target, data=folder)
            held = json.loads((done.path / "artefact.json").read_text(encoding="utf-8"))
            found[to] = {k: held.get(k) for k in ("gates", "latency")} | {"bytes": sum(f.stat().st_size for f in done.path.glob("*.onnx"))}
        except (GateFailed, CannotPair, TacitError) as error:
            found[to] = {"failed": error.message}
    return found


if __name__ == "__main__":
    raise SystemExit(
        parts.run(
            __doc__,
            "part3",
            {"finetune": finetune, "uncertainty": uncertainty, "places": places, "export": export},
            deciding_page.page,
            "deciding.md",
        )
    )
