"""docs/audit-measured.md from the cells of part 8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from part1 import Cells
from parts import sources

PUBLISHED = {  # AIF360's notebooks: balanced accuracy, statistical parity, average odds, equal opportunity
    "logistic": (0.7417, -0.3576, -0.3281, -0.4001),
    "reweighed": (0.7128, -0.0906, -0.0266, -0.0518),
}


def page(cells: Cells) -> Iterator[str]:
    """The lines of the page."""
    found = cells.every()
    yield "# The audit: what was measured\n"
    yield f"`python benchmarks/part8.py --write`; cells in benchmarks/results/part8, measured at {sources(found)}, one thread."
    yield "What is missing was not measured. How to audit: [audit.md](audit.md).\n"
    if "compas" in found:
        yield from _compas(found["compas"])
    if "adult_binned" in found:
        yield from _binned(found["adult_binned"])
    yield from _gaps({n.removeprefix("adult_"): c for n, c in found.items() if n in ("adult_sex", "adult_race")})
    if "leace" in found:
        yield from _leace(found["leace"])
    yield from _erased({n.removeprefix("erased_"): c for n, c in found.items() if n.startswith("erased_")})
    if "faults" in found:
        yield from _faults(found["faults"]["rows"])
    if "membership" in found:
        yield from _membership(found["membership"])
    yield from _time({n.removeprefix("time_"): c for n, c in found.items() if n.startswith("time_")})


def _compas(c: dict[str, Any]) -> Iterator[str]:
    yield "## COMPAS, as ProPublica published it\n"
    yield "| group | n | FPR % | FNR % | precision |\n| --- | --- | --- | --- | --- |"
    for name, g in (("all", c["all"]), *c["groups"].items()):
        yield f"| {name} | {g['n']:,} | {100 * g['fpr']:.2f} | {100 * g['fnr']:.2f} | {g['precision']:.2f} |"
    yield "\nProPublica: all 32.35 and 37.40, African-American 44.85 and 27.99, Caucasian 23.45 and 47.72.\n"


def _binned(c: dict[str, Any]) -> Iterator[str]:
    yield "## Adult, in the published binning\n"
    yield f"Label statistical parity: sex {c['label_spd_sex']:.4f} (published -0.1907 of a random part), race {c['label_spd_race']:.4f} (-0.1046)."
    yield f"Mean and deviation over {c['seeds']} random splits (n = {c['n']:,}); published values, of one split, in brackets.\n"
    yield "| decision | balanced accuracy | statistical parity | average odds | equal opportunity |\n| --- | --- | --- | --- | --- |"
    for name, published in PUBLISHED.items():
        cells = [f"{v['mean']:.4f} ± {v['std']:.4f} ({p:.4f})" for v, p in zip(c[name].values(), published, strict=True)]
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""


def _gaps(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## Adult: is a decision on the frozen embedding fairer?\n"
    yield "The official test part; gaps in points with 95 % intervals; last columns: the embedding's gap minus the other's, paired.\n"
    yield "| group | decision | accuracy | selection gap | odds gap | selection: ours minus theirs | odds: ours minus theirs |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for group, c in rows.items():
        for name in ("embedding", "raw columns", "boosting"):
            r = c[name]
            cells = [_points(r[k]) for k in ("demographic_parity_difference", "equalized_odds_difference")]
            apart = [_three(r["apart"][k]) for k in ("demographic_parity", "equalized_odds")] if "apart" in r else ["", ""]
            yield f"| {group} | {name} | {100 * r['accuracy']:.1f} | {' | '.join(cells + apart)} |"
    yield ""
    for group, c in rows.items():
        said = [
            f"{what} {_plainly(c[name]['apart'][key])} that of {name}"
            for name in ("raw columns", "boosting")
            for key, what in (("demographic_parity", "the selection gap is"), ("equalized_odds", "the odds gap is"))
        ]
        yield f"Plainly, by {group}, for the embedding: {'; '.join(said)}."
    yield ""


def _plainly(v: list[float]) -> str:
    return "smaller than" if v[2] < 0 else "larger than" if v[1] > 0 else "not clearly other than"


def _points(g: dict[str, float]) -> str:
    return f"{100 * g['value']:.1f} [{100 * g['low']:.1f}, {100 * g['high']:.1f}]"


def _three(v: list[float]) -> str:
    return f"{100 * v[0]:+.1f} [{100 * v[1]:+.1f}, {100 * v[2]:+.1f}]"


def _leace(c: dict[str, Any]) -> Iterator[str]:
    yield "## Erasure: the guarantee\n"
    yield "Largest coefficient of an unpenalised logistic reading and of a linear SVM on what the eraser was fitted to (n = 2,048, d = 128).\n"
    yield "| groups | before | logistic after | SVM after |\n| --- | --- | --- | --- |"
    for k, v in c["coefficients"].items():
        yield f"| {k} | {v['before']:.2f} | {v['after']:.1e} | {v['svm']:.1e} |"
    yield f"\nRare groups, placed where an absolute tolerance of 0.01 leaves them (n = {c['n']:,}, half of it held out, d = 64).\n"
    yield "| prevalence | best possible AUC | linear AUC before | after | chance lets expect |\n| --- | --- | --- | --- | --- |"
    for p, v in c["rare"].items():
        band = v["after"]["chance"]
        yield f"| {float(p):.1%} | {v['best_possible']:.3f} | {v['before']['auc']:.3f} | {v['after']['auc']:.3f} | {band[0]:.3f} to {band[1]:.3f} |"
    yield ""


def _erased(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## Erasure: what it costs\n"
    yield "Linear reading of the label on held-out items; AUC of the group by a linear and by a network probe; INLP for comparison.\n"
    yield "| data | group | n | accuracy | LEACE: change | INLP: change | linear AUC | after LEACE | network AUC | after LEACE | after INLP |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, c in rows.items():
        auc = {(w, p): c[w]["leaks"][p]["auc"] for w in ("before", "leace", "inlp") for p in ("linear", "network")}
        band = c["leace"]["leaks"]["linear"]["chance"]
        yield (
            f"| {name} | {c['group']} ({c['groups']}) | {c['n_held']:,} | {100 * c['before']['accuracy']:.1f} | {_three(c['leace']['cost'])} | "
            f"{_three(c['inlp']['cost'])} | {auc['before', 'linear']:.3f} | {auc['leace', 'linear']:.3f} ({band[0]:.3f} to {band[1]:.3f}) | "
            f"{auc['before', 'network']:.3f} | {auc['leace', 'network']:.3f} | {auc['inlp', 'network']:.3f} |"
        )
    yield ""


def _faults(rows: list[dict[str, Any]]) -> Iterator[str]:
    bad, clean = [r for r in rows if r["planted"]], [r for r in rows if not r["planted"]]
    found, first = sum(r["place"] > 0 for r in bad), sum(r["place"] == 1 for r in bad)
    yield "## Planted faults\n"
    yield f"{found} of {len(bad)} faults were found, {first} ranked first; {sum(r['high'] > 0 for r in clean)} of {len(clean)} clean data sets"
    yield "have a finding of high severity. About 1,000 items each; seeds that nothing was tuned on.\n"
    yield "| planted | kind | items | place | first finding | seconds |\n| --- | --- | --- | --- | --- | --- |"
    for r in rows:
        top = f"{r['top'][0]['name']} ({r['top'][0]['severity']})" if r["top"] else "none"
        place = (str(r["place"]) if r["place"] else "not found") if r["planted"] else f"{r['high']} high"
        yield f"| {r['name']} | {r['kind']} | {r['items']:,} | {place} | {top} | {r['seconds']} |"
    yield ""


def _membership(c: dict[str, Any]) -> Iterator[str]:
    yield "## Membership\n"
    yield f"An autoencoder of {c['members']} pictures; attacks on {c['members']} members and as many others, half of them tested.\n"
    yield "| encoder | consistency | parts | loss | all | caught at 1 % | control (all) | epsilon | accuracy |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name in ("overfitted", "untrained", "as long, not private", "epsilon 8"):
        r = c[name]
        cells = [_auc(r["attacks"].get(k)) for k in ("consistency", "parts", "loss", "all")]
        epsilon = "-" if not r["epsilon"] else f"{r['epsilon']['epsilon']:.2f}"
        caught = f"{100 * r['attacks']['all']['tpr']:.0f} %"
        yield f"| {name} | {' | '.join(cells)} | {caught} | {_auc(r['control'].get('all'))} | {epsilon} | {100 * r['accuracy']:.1f} (n = {r['n']}) |"
    yield ""


def _auc(a: dict[str, Any] | None) -> str:
    return "-" if a is None else f"{a['auc']:.3f} [{a['low']:.3f}, {a['high']:.3f}]"


def _time(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## Time\n"
    yield "All checks but membership, one attribute, one thread; seconds.\n"
    yield "| items | n | checks | whole audit with embedding | slowest |\n| --- | --- | --- | --- | --- |"
    for kind, c in rows.items():
        slow = sorted(c["checks"].items(), key=lambda kv: -kv[1])[:3]
        yield f"| {kind} | {c['items']:,} | {c['sum']} | {c['whole']} | {', '.join(f'{k} {v:.0f}' for k, v in slow)} |"
    yield ""
