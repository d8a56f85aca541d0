"""docs/deciding.md, written from the cells of part 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parts import sources

WAYS = ("probe", "lp-ft", "full", "scratch", "classic")
SETS = ("sign_digits", "pneumoniamnist", "fashion_mnist", "SyntheticControl", "MelbournePedestrian", "ItalyPowerDemand", "PowerCons")


def page(cells: Any) -> Iterator[str]:
    """The page, line by line."""
    found = cells.every()
    yield "# Deciding and shipping: what was measured\n"
    yield (
        "Written by `python benchmarks/part3.py --write` from the cells in `benchmarks/results/part3` (commits: "
        + sources(found)
        + "), one thread each on two CPU cores"
    )
    yield "with AVX512-BF16, wall seconds. One preset for all data.\n"
    yield from _ways(found)
    yield from _strange(found)
    yield from _coverage(found)
    yield from _places(found)
    yield from _export(found)


def _mean(values: list[float]) -> str:
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else f"{100 * values[0]:.1f}"


def _ways(found: dict[str, Any]) -> Iterator[str]:
    yield "## Ways to use labels\n"
    yield "Accuracy in % on the test split, mean and deviation over three draws of labels (stratified; at least one a class). The same pretrained"
    yield "encoder and the same labels for all but the last two columns, which have no pretraining. Images: 120 s of pretraining; series: the preset.\n"
    yield "| data | labels | n test | probe | LP-FT | full | scratch | best classic |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    hurts, repaired, counted = [], [], 0
    for name in SETS:
        for share in ("0.01", "0.1", "1"):
            mine = [c for k, c in found.items() if k.startswith(f"ways_{name}_{share}_")]
            if not mine:
                continue
            counted += 1
            each = {w: [c["accuracy"][w] for c in mine] for w in WAYS}
            best = max(WAYS, key=lambda w: np.mean(each[w]))
            shown = [f"**{_mean(each[w])}**" if w == best else _mean(each[w]) for w in WAYS]
            classics = "/".join(sorted({c["classic"] for c in mine}))
            yield f"| {name} | {float(share):.0%}: {mine[0]['labels']} | {mine[0]['n_test']:,} | {' | '.join(shown)} ({classics}) |"
            full, lp = (np.array(each[w]) - np.array(each["probe"]) for w in ("full", "lp-ft"))
            if full.mean() < -0.005:
                hurts.append(f"{name} at {float(share):.0%} ({100 * full.mean():+.1f})")
                repaired.append((full.mean(), lp.mean(), f"{100 * lp.mean():+.1f}"))
    if counted:
        words = ", ".join(hurts) or "nowhere"
        yield f"\nOn average full fine-tuning is below the frozen probe by half a point or more in {len(hurts)} of {counted} rows: {words}."
        if repaired:
            better, still = sum(lp > full for full, lp, _ in repaired), sum(lp < -0.005 for _, lp, _ in repaired)
            yield f"LP-FT is ahead of full fine-tuning in {better} of these, and still half a point or more below the probe in {still}: it is at"
            yield f"{', '.join(s for *_, s in repaired)} points against the probe. With few labels, stay with the frozen probe unless your own labels say otherwise."
    yield ""


def _strange(found: dict[str, Any]) -> Iterator[str]:
    cell = found.get("strange_cifar10_subset")
    yield "## Strange items\n"
    if cell is None:
        yield "not measured\n"
        return
    yield f"An encoder pretrained for 120 s on eight classes of cifar10_subset; {cell['inside']:,} held-out items of these classes against images of the"
    yield "two other classes (near: cat, truck) and against Fashion-MNIST (far). Distances in the pretrained embedding.\n"
    yield "The Mahalanobis distance is the one that decides in `tacit predict`; it was chosen by this table, so expect less elsewhere.\n"
    yield f"Convention: {cell['near']['knn']['convention']}.\n"
    yield "| against | score | AUROC [95 %] | AUPR out | AUPR in | FPR95 | FPR95, ODIN's way | n in, n out |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    for where in ("near", "far"):
        for score, d in cell[where].items():
            numbers = " | ".join(f"{100 * d[k]:.1f}" for k in ("aupr_out", "aupr_in", "fpr95", "fpr95_in"))
            yield f"| {where} | {score} | {100 * d['auroc']:.1f} [{100 * d['low']:.1f}, {100 * d['high']:.1f}] | {numbers} | {d['n_in']:,}, {d['n_out']:,} |"
    yield ""


def _coverage(found: dict[str, Any]) -> Iterator[str]:
    yield "## Coverage and calibration\n"
    rows = {
        "cifar10_subset (8 classes)": found.get("strange_cifar10_subset", {}).get("cifar"),
        "fashion_mnist": found.get("coverage_fashion_mnist"),
    }
    if not any(rows.values()):
        yield "not measured\n"
        return
    yield "A probe on 1,000 labels; temperature and sets from one half of the test items, scored on the other half; 20 random splits, mean (deviation).\n"
    yield "| data | sets | nominal | coverage | set size | ECE before | ECE after | NLL before | NLL after |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, c in rows.items():
        for kind in ("lac", "aps") if c else ():
            k = c[kind]
            percent = [f"{100 * k[x][0]:.1f} ({100 * k[x][1]:.1f})" for x in ("coverage",)]
            plain = [f"{k[x][0]:.3f}" for x in ("ece_before", "ece", "nll_before", "nll")]
            yield f"| {name} | {kind} | {100 * c['nominal']:.0f} | {percent[0]} | {k['set_size'][0]:.2f} | {' | '.join(plain)} |"
    yield ""


def _places(found: dict[str, Any]) -> Iterator[str]:
    yield "## Labels of places, and numbers\n"
    tables = {
        "segmentation of drawn shapes (IoU)": found.get("places_shapes", {}).get("segmentation"),
        "segmentation of digits on backgrounds (IoU)": found.get("places_pasted"),
        "size of the largest shape (R²)": found.get("places_shapes", {}).get("size"),
    }
    if not any(tables.values()):
        yield "not measured\n"
        return
    yield "Drawn data (`benchmarks/generated.py`), 1,500 images of 32 pixels, 45 s of pretraining (mae, transformer with patches of 4 pixels),"
    yield "300 steps of fine-tuning; labelled images: mean and range over two draws. From scratch is the same network, untrained, with trained norms"
    yield "and one learning rate. Saying background everywhere has an IoU of about 0.21 (shapes) and 0.09 (digits); 0.80 is the most that patches of 4\npixels allow for shapes. Pretraining did not help here: the two are within the range of each other.\n"
    yield "| what | labelled | n test | probe | LP-FT | full | scratch |\n| --- | --- | --- | --- | --- | --- | --- |"
    for what, c in tables.items():
        if not c:
            continue
        for count in sorted({int(k.split()[-1]) for k in c["values"]}):
            cell = [c["values"][f"{who} {count}"] for who in ("pretrained probe", "pretrained lp-ft", "pretrained full", "scratch full")]
            yield (
                f"| {what} | {count} | {c['n_test']:,} | "
                + " | ".join(f"{np.mean(v):.3f} ({min(v):.3f}, {max(v):.3f})" for v in cell)
                + " |"
            )
    yield ""


def _export(found: dict[str, Any]) -> Iterator[str]:
    yield "## What leaves\n"
    mine = {k.removeprefix("export_"): c for k, c in found.items() if k.startswith("export_")}
    if not mine:
        yield "not measured\n"
        return
    yield "Each backbone, trained for 100 steps, exported and compared with itself on 256 real items. Latency in ms, p50 before -> after.\n"
    yield "| data, backbone | to | smallest cosine | same 10 nearest | batch 1 | batch 64 | MB | gates |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, cell in mine.items():
        if "failed" in cell:
            yield f"| {name.replace('_', ', ')} | - | - | - | - | - | - | {cell['failed']} |"
            continue
        for to in ("onnx", "int8"):
            yield f"| {name.replace('_', ', ')} | {to} | {_exported(cell[to])} |"
    yield ""


def _exported(c: dict[str, Any]) -> str:
    if "failed" in c:
        return f"- | - | - | - | - | {c['failed'].splitlines()[0][:160]}"
    gates = {g["name"]: g for g in c["gates"]}
    cosine, near = (gates[n]["value"] if n in gates else None for n in ("cosine", "neighbours"))
    before, after = ({row["batch"]: row["p50_ms"] for row in c["latency"][when]} for when in ("before", "after"))
    times = [f"{before[n]:.2f} -> {after[n]:.2f}" for n in (1, 64)]
    passed = "all passed" if all(g["passed"] for g in gates.values()) else "failed"
    numbers = [f"{cosine:.6f}" if cosine is not None else "-", f"{near:.3f}" if near is not None else "-"]
    return " | ".join([*numbers, *times, f"{c['bytes'] / 1e6:.1f}", passed])
