"""The measurements of part 8: published fairness numbers, erasure, planted faults, membership, and what an audit takes.

    python benchmarks/part8.py [--quick] [--only compas,adult,leace,erased,faults,membership,time] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part8) are skipped. --quick: a little of each on generated data in about two
minutes; its numbers are printed and thrown away. --write: renew docs/audit-measured.md from the cells. PATH: the folder of data sets,
$TACIT_DATA or shared/data beside the repository. Wall seconds, with as many threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import csv
import gzip
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import audit_page  # noqa: E402
import faults as planted  # noqa: E402
import parts  # noqa: E402
import recordings  # noqa: E402
from part1 import Cells  # noqa: E402

# ProPublica's counts of the high category (medium and high), [tn, fp, fn, tp]
PROPUBLICA = {"African-American": (990, 805, 532, 1369), "Caucasian": (1139, 349, 461, 505)}
TABLES = {  # fairness_tabular: file -> (label, group, the value that is the positive class)
    "law_school_clean": ("pass_bar", "race"), "credit-card-clients": ("default payment", "SEX"), "dutch": ("occupation", "sex"),
    "oulad_clean": ("final_result", "gender"),
}  # fmt: skip
SECONDS = 60  # of pretraining
MALE = ("03", "10", "11", "12", "15")  # speakers of emodb


def compas(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: ProPublica's error rates by race, through --predictions."""
    cells.measure("compas", lambda: _compas(data, work, quick))


def _compas(data: Path, work: Path, quick: bool) -> dict[str, Any]:
    import tacit

    file = data / "compas" / "compas-scores-two-years.csv.gz"
    if quick or not file.is_file():
        file = counted(work)
    found = tacit.audit(
        None, file, predictions="score_text=Medium|High", target="two_year_recid", groups="race", out=work / "compas", seed=0
    )
    rates = next(f.more["rates"] for f in found.findings if "rates" in f.more)
    own = {g["group"]: {k: g[k] for k in ("n", "fpr", "fnr", "precision")} for g in rates["groups"]}
    told = found.result["decisions"]
    whole = {k: told[k] for k in ("n", "fpr", "fnr", "precision")} | {"counts": told["counts"]}
    gaps = {k: {x: g[x] for x in ("value", "low", "high", "most", "least")} for k, g in rates["gaps"].items()}
    return {"groups": own, "all": whole, "gaps": gaps, "generated": quick}


def counted(work: Path) -> Path:
    """A table with ProPublica's counts, where theirs is not at hand."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "counted.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["age", "race", "score_text", "two_year_recid"])
        for race, (tn, fp, fn, tp) in PROPUBLICA.items():
            for score, truth, n in (("Low", 0, tn), ("Medium", 0, fp), ("Low", 1, fn), ("High", 1, tp)):
                writer.writerows([[20 + i % 40, race, score, truth] for i in range(n)])
    return file


def adult(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: the published binning of adult; then frozen embeddings against raw columns and boosting."""
    if quick or not (data / "adult").is_dir():
        return
    cells.measure("adult_binned", lambda: _binned(data))
    for group in ("sex", "race"):
        cells.measure(f"adult_{group}", lambda g=group: _gaps(data, work, g))


def _census(data: Path) -> list[dict[str, str]]:
    out = []
    for part in ("data", "test"):
        with gzip.open(data / "adult" / f"adult.{part}.gz", "rt") as file:
            held = [[c.strip() for c in row] for row in csv.reader(file) if len(row) > 5]
        out += [dict(zip(held[0], row, strict=True)) | {"part": part} for row in held[1:]]
    return [{**row, "classification": row["classification"].rstrip(".")} for row in out]


def _binned(data: Path, seeds: int = 5) -> dict[str, Any]:
    """AIF360's optimised preprocessing: decades of age, years of education, sex, race (white or not); 70 % to learn from."""
    from sklearn.linear_model import LogisticRegression

    from tacit.auditors.mitigations.reweighing import weights

    rows = _census(data)
    age = np.array([min(int(r["age"]) // 10 * 10, 70) for r in rows])
    years = np.array([int(r["education-num"]) for r in rows])
    years = np.where(years < 6, 5, np.where(years > 12, 13, years))
    male, white = (np.array([r[k] == v for r in rows]).astype(int) for k, v in (("sex", "Male"), ("race", "White")))
    y = np.array([r["classification"] == ">50K" for r in rows]).astype(int)
    x = np.concatenate([(v[:, None] == np.unique(v)).astype(float) for v in (age, years, male, white)], 1)
    out: dict[str, Any] = {
        "label_spd_sex": float(y[male == 0].mean() - y[male == 1].mean()),
        "label_spd_race": float(y[white == 0].mean() - y[white == 1].mean()),
    }
    found: dict[str, list[list[float]]] = {"logistic": [], "reweighed": []}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(y))
        fit, judge, test = np.split(order, [int(0.5 * len(y)), int(0.7 * len(y))])
        for name, w in (("logistic", None), ("reweighed", weights(y[fit], male[fit]))):
            p = LogisticRegression(max_iter=500).fit(x[fit], y[fit], w).predict_proba(x)[:, 1]
            best = max(np.linspace(0.01, 0.99, 99), key=lambda t: _balanced(y[judge], p[judge] > t))
            found[name].append(_published(y[test], p[test] > best, male[test]))
    names = ("balanced_accuracy", "spd", "average_odds", "equal_opportunity")
    for name, values in found.items():
        out[name] = {k: {"mean": float(np.mean(v)), "std": float(np.std(v))} for k, v in zip(names, zip(*values, strict=True), strict=True)}
    out["seeds"], out["n"] = seeds, len(y)
    return out


def _balanced(y: np.ndarray, made: np.ndarray) -> float:
    return float((made[y == 1].mean() + (~made)[y == 0].mean()) / 2)


def _published(y: np.ndarray, made: np.ndarray, privileged: np.ndarray) -> list[float]:
    """Balanced accuracy, and AIF360's signed differences (others minus privileged)."""

    def rate(g: int, truth: int | None) -> float:
        mine = (privileged == g) & (True if truth is None else y == truth)
        return float(made[mine].mean())

    spd = rate(0, None) - rate(1, None)
    odds = ((rate(0, 0) - rate(1, 0)) + (rate(0, 1) - rate(1, 1))) / 2
    return [_balanced(y, made), spd, odds, rate(0, 1) - rate(1, 1)]


def _written(data: Path, work: Path) -> Path:
    """adult as one table with its own parts."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "adult.csv"
    if not file.is_file():
        rows = _census(data)
        names = [k for k in rows[0] if k not in ("part", "fnlwgt")]
        with file.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow([*names, "split"])
            writer.writerows([[*(r[k] for k in names), "train" if r["part"] == "data" else "test"] for r in rows])
    return file


def _gaps(data: Path, work: Path, group: str) -> dict[str, Any]:
    """Gaps of three decisions on the official test part: a linear reading of the embedding, of the raw columns, and boosting."""
    from tacit.auditing import attributes_of
    from tacit.auditors.rates import Decisions, measure
    from tacit.evaluation.readers import standardise
    from tacit.judged import of_reading
    from tacit.registry import find

    run, items = _run("adult", _written(data, work), {"target": "classification"}, work, 2 * SECONDS)
    (a,) = attributes_of(items, group, None)
    assert items.labels is not None
    z = run.model.vectors(items.x, items.lengths)
    mine, _ = of_reading(z, run.model.vectors, items, None, lambda w: None)
    y, x = items.labels, np.asarray(items.x)
    columns = find("classics", "columns")().fit(x[items.train], items.spec)
    raw = columns.transform(x)
    fit, held = standardise(raw[items.train], raw[items.test])
    linear = find("probes", "linear")().fit(fit, y[items.train], 2, small=False).scores(held)
    boosting = find("classics", "boosting")()
    getattr(boosting, "prepare", lambda x, spec: None)(x[items.train], items.spec)
    made = boosting.fit(x[items.train], y[items.train]).predict(x[items.test])
    who = {"embedding": mine.made, "raw columns": linear.argmax(1), "boosting": np.asarray(made, np.int64)}
    out: dict[str, Any] = {"n": len(items.test), "pretraining_seconds": 2 * SECONDS}
    rng = np.random.default_rng(0)
    truth, code = y[items.test], a.codes[items.test]
    places = [np.flatnonzero(code == g) for g in range(len(a.values)) if (code == g).sum() >= 30]
    draws = [np.concatenate([rng.choice(p, len(p)) for p in places]) for _ in range(300)]
    for name, m in who.items():
        found = measure(Decisions(items.test, truth, m, items.classes, None, 1, name), a)
        keep = ("demographic_parity_difference", "equalized_odds_difference", "accuracy_difference")
        out[name] = {"accuracy": float((m == truth).mean())} | {
            k: {x: getattr(found.gaps[k], x) for x in ("value", "low", "high")} for k in keep
        }
        if name != "embedding":
            out[name]["apart"] = _apart(truth, who["embedding"], m, code, draws)
    return out


def _apart(truth: np.ndarray, ours: np.ndarray, theirs: np.ndarray, code: np.ndarray, draws: list[np.ndarray]) -> dict[str, list[float]]:
    """Ours minus theirs: gap of selection rates and of error rates (equalised odds), with the interval of paired draws."""

    def gaps(m: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
        t, c, v = truth[rows], code[rows], m[rows]
        kinds = [g for g in np.unique(code) if g >= 0 and (code == g).sum() >= 30]
        rate = lambda mask: [float(v[(c == g) & mask].mean()) if ((c == g) & mask).any() else np.nan for g in kinds]  # noqa: E731
        sel, tpr, fpr = rate(np.ones(len(v), bool)), rate(t == 1), rate(t == 0)
        return float(np.nanmax(sel) - np.nanmin(sel)), float(max(np.nanmax(tpr) - np.nanmin(tpr), np.nanmax(fpr) - np.nanmin(fpr)))

    every = np.arange(len(truth))
    whole = np.subtract(gaps(ours, every), gaps(theirs, every))
    each = np.array([np.subtract(gaps(ours, r), gaps(theirs, r)) for r in draws])
    low, high = np.quantile(each, [0.025, 0.975], axis=0)
    return {k: [float(whole[i]), float(low[i]), float(high[i])] for i, k in enumerate(("demographic_parity", "equalized_odds"))}


RUNS: dict[str, tuple[Any, Any]] = {}


def _run(name: str, place: Any, options: dict[str, Any], work: Path, seconds: int) -> tuple[Any, Any]:
    """A run of this data and the data as the run reads it; made once."""
    import tacit

    if name not in RUNS:
        items = tacit.open(place, **options)
        RUNS[name] = (tacit.pretrain(items, budget=f"{seconds}s", out=work / f"run-{name}"), items)
    return RUNS[name]


def leace(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: coefficients of readings after erasure, and what is left of rare groups."""
    cells.measure("leace", lambda: _leace(4000 if quick else 24_000))


def _leace(n: int) -> dict[str, Any]:
    import warnings

    from scipy.stats import norm
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    from tacit.auditors import erasure
    from tacit.auditors.probes import leak

    rng = np.random.default_rng(0)
    out: dict[str, Any] = {"coefficients": {}, "rare": {}, "n": n}
    for k in (2, 3, 5, 10, 20):
        codes = rng.integers(0, k, 2048)
        x = rng.normal(size=(2048, 128)) + rng.normal(size=(k, 128))[codes]
        r = erasure.leace(x, codes)(x)
        r = r - r.mean(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before, after = (LogisticRegression(C=np.inf, max_iter=1000, tol=1e-12).fit(v, codes).coef_ for v in (x, r))
            svm = LinearSVC(C=1e6, dual=False, tol=1e-12, max_iter=20_000).fit(r, codes).coef_
        out["coefficients"][str(k)] = {
            "before": float(np.abs(before).max()),
            "after": float(np.abs(after).max()),
            "svm": float(np.abs(svm).max()),
        }
    for p in (0.5, 0.1, 0.01, 0.005):
        share = min(0.0099 / np.sqrt(p * (1 - p)), 0.98)
        shift = np.sqrt(share**2 / (p * (1 - p) * (1 - share**2)))
        s = (rng.random(n) < p).astype(int)
        x = rng.normal(size=(n, 64))
        x[:, 0] += shift * s
        x = x @ rng.normal(size=(64, 64))
        fit, held = np.arange(n // 2), np.arange(n // 2, n)
        e = erasure.leace(x[fit], s[fit])
        told = {when: leak(a[fit], s[fit], a[held], s[held], "linear").plain() for when, a in (("before", x), ("after", e(x)))}
        out["rare"][str(p)] = {"best_possible": float(norm.cdf(shift / np.sqrt(2))), **told, "left": erasure.left(e(x[fit]), s[fit])}
    return out


def erased(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: what erasing a group costs in accuracy, and what a network still finds."""
    if quick:
        folder = recordings.generated(work / "sounds")
        cells.measure("erased_generated", lambda: _erased("generated", folder, {"target": "digit"}, None, "speaker", work, 10))
        return
    sets: dict[str, tuple[Any, dict[str, Any], Any, str]] = {}
    if (data / "adult").is_dir():
        sets["adult_sex"] = (_written(data, work), {"target": "classification"}, None, "sex")
        sets["adult_race"] = (_written(data, work), {"target": "classification"}, None, "race")
    for name, (target, group) in TABLES.items():
        if (file := data / "fairness_tabular" / f"{name}.csv.gz").is_file():
            sets[name] = (file, {"target": target}, None, group)
    if (folder := recordings.fsdd(data, work)) is not None:
        sets["fsdd_speaker"] = (folder, {"target": "digit"}, None, "speaker")
    if (folder := recordings.emodb(data, work)) is not None:
        sets["emodb_speaker"] = (folder, {"target": "emotion"}, None, "speaker")
        sets["emodb_sex"] = (
            folder,
            {},
            lambda names: ["male" if str(n).rsplit("/", 1)[-1][:2] in MALE else "female" for n in names],
            "sex",
        )
    for name, (place, options, cells_of, group) in sets.items():
        cells.measure(
            f"erased_{name}",
            lambda a=(name, place, options, cells_of, group): _erased(*a, work, 2 * SECONDS if "adult" in a[0] else SECONDS),
        )


def _erased(name: str, place: Any, options: dict[str, Any], cells_of: Any, group: str, work: Path, seconds: int) -> dict[str, Any]:
    import tacit
    from tacit.auditing import attributes_of
    from tacit.auditors import erasure
    from tacit.auditors.probes import PROBES, leak
    from tacit.evaluation.readers import standardise
    from tacit.registry import find

    stem = name.rsplit("_", 1)[0] if name.startswith(("adult", "emodb")) else name
    run, items = _run(stem, place, options, work, seconds)
    told = tacit.open(place, **options) if cells_of is None else items
    (a,) = attributes_of(told, {group: cells_of(items.names)} if cells_of is not None else group, None)
    z = np.asarray(run.model.vectors(items.x, items.lengths), np.float64)
    y, groups = items.labels, a.codes
    assert y is not None
    rng = np.random.default_rng(0)
    known = np.flatnonzero((y >= 0) & (groups >= 0))
    order = rng.permutation(known)[:20_000]
    fit, held = order[: len(order) // 2], order[len(order) // 2 :]
    out: dict[str, Any] = {"n_fit": len(fit), "n_held": len(held), "group": group, "groups": len(a.values), "classes": len(items.classes)}
    right = {}
    for when, e in (("before", None), ("leace", erasure.leace(z[fit], groups[fit])), ("inlp", erasure.inlp(z[fit], groups[fit]))):
        f, h = (z[fit], z[held]) if e is None else (e(z[fit]), e(z[held]))
        found = {p: leak(f, groups[fit], h, groups[held], p).plain() for p in PROBES}
        s, t = standardise(f, h)
        made = find("probes", "linear")(c=1.0).fit(s, y[fit], len(items.classes), small=True).predict(t)
        right[when] = (made == y[held]).astype(float)
        out[when] = {"accuracy": float(right[when].mean()), "leaks": found, "removed": 0 if e is None else e.removed}
    for when in ("leace", "inlp"):
        apart = right[when] - right["before"]
        draws = [float(apart[rng.integers(0, len(apart), len(apart))].mean()) for _ in range(1000)]
        out[when]["cost"] = [float(apart.mean()), float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975))]
    return out


def faults(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 3: planted faults, and clean data."""
    every = (*planted.PLANTED, *planted.CLEAN)
    chosen = [(i, p) for i, p in enumerate(every) if not quick or i in (0, 6, 10, 13, 23, 28, 34, 38, 40)]
    cells.measure("faults", lambda: {"rows": [_fault(i, p, work) for i, p in chosen]})


def _fault(i: int, p: planted.Planted, work: Path) -> dict[str, Any]:
    import tacit
    from tacit.auditing import attributes_of
    from tacit.auditors import engine
    from tacit.auditors.case import Case

    made = p.make(work / f"fault-{i}", np.random.default_rng(2000 + i))
    items = tacit.open(made, cache=False) if isinstance(made, str) else made
    begin = time.perf_counter()
    found = engine.audit(Case(items, attributes_of(items, p.groups, None)), engine.chosen([], []), {})
    wrong = [f for f in found.findings if f.severity != "fine"]
    names = [f.name for f in wrong]
    place = next((k + 1 for k, n in enumerate(names) if n in p.found), 0)
    row = {
        "name": p.name or f"clean {p.kind}",
        "kind": p.kind,
        "planted": bool(p.name),
        "place": place,
        "seconds": round(time.perf_counter() - begin, 2),
    }
    top = [{"name": f.name, "severity": f.severity, "value": f.value} for f in wrong[:3]]
    return row | {"items": len(items), "high": sum(f.severity == "high" for f in wrong), "top": top}


def membership(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 4: an encoder that learned 200 items by heart, one that learned nothing, and one that was trained with privacy."""
    cells.measure("membership", lambda: _membership(work, quick))


def _membership(work: Path, quick: bool) -> dict[str, Any]:
    import tacit
    from tacit.auditing import asks, learned
    from tacit.auditors.case import Case
    from tacit.auditors.checks.membership import Membership
    from tacit.judged import of_reading
    from tacit.subject import Subject

    x, y = planted.pictures(np.random.default_rng(0), 1000)
    items = planted.images(x, y, split=["train" if i < 200 else "test" for i in range(1000)])
    out: dict[str, Any] = {"members": 200, "others": 800}
    ways: dict[str, dict[str, Any]] = {
        "overfitted": {"steps": 60 if quick else 1500},
        "untrained": {"steps": 1, "overrides": {"optim": {"lr": 1e-9}}},
        "as long, not private": {"steps": 10 if quick else 400},
        "epsilon 8": {"steps": 10 if quick else 400, "overrides": {"private": {"epsilon": 8.0, "delta": 1e-3}}},
    }
    for name, asked in ways.items():
        run = tacit.pretrain(
            items, method="autoencoder", batch_size=50, out=work / f"run-{name.replace(' ', '').replace(',', '')}", **asked
        )
        subject = Subject.open(run.path)
        case = Case(items, vectors=run.model.vectors(items.x), seed=0)
        case.learned, case.unseen = learned(subject, items)
        case.asks = asks(subject, subject.net, items, 0, ["membership"], [])
        found = next(iter(Membership(most=200).look(case)))
        assert case.vectors is not None
        decided, _ = of_reading(case.vectors, run.model.vectors, items, None, lambda w: None)
        info = (run.path / "run.json").read_text(encoding="utf-8")
        out[name] = {
            "attacks": found.more["attacks"], "control": found.more["control"], "accuracy": float((decided.made == decided.truth).mean()),
            "n": len(decided.truth), "epsilon": __import__("json").loads(info).get("private"),
        }  # fmt: skip
    return out


def timing(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 5: all checks on 10,000 items of each kind, embedding and membership left out."""
    n = 500 if quick else 10_000
    for kind in ("image", "table", "text", "series"):
        cells.measure(f"time_{kind}", lambda k=kind: _timed(k, n, work))


def _timed(kind: str, n: int, work: Path) -> dict[str, Any]:
    import tacit

    rng, place = np.random.default_rng(0), work / f"timed-{kind}"
    site = rng.choice(["north", "south", "east"], n)
    groups: dict[str, Any] = {"site": site.tolist()}
    if kind == "image":
        x, y = planted.pictures(rng, n)
        items = tacit.open(planted.folder(place, x, y, planted.plain, rng, site=site))
        groups = {"site": [site[int(str(name).rsplit("/", 1)[-1][:5])] for name in items.names]}
    elif kind == "table":
        columns, y = planted.rows(rng, n)
        items = tacit.open(planted.table(place, columns, y))
    elif kind == "text":
        items = tacit.open(planted.written(place, *planted.sentences(rng, n)))
    else:
        x, y = planted.waves(rng, n)
        items = tacit.data.dataset.from_arrays(x, y, modality="series")
    run = tacit.pretrain(items, steps=20, batch_size=64, out=work / f"timed-run-{kind}")
    begin = time.perf_counter()
    found = tacit.audit(run.path, items, groups=groups, out=work / f"timed-out-{kind}")
    whole = time.perf_counter() - begin
    return {
        "items": len(items),
        "whole": round(whole, 1),
        "checks": found.result["seconds"],
        "sum": round(sum(found.result["seconds"].values()), 1),
    }


PIECES: dict[str, parts.Piece] = {
    "compas": compas,
    "adult": adult,
    "leace": leace,
    "erased": erased,
    "faults": faults,
    "membership": membership,
    "time": timing,
}


if __name__ == "__main__":
    raise SystemExit(parts.run(__doc__, "part8", PIECES, audit_page.page, "audit-measured.md"))
