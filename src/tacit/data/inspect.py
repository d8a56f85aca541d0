"""What is in a data set, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from tacit import registry
from tacit.data import sounds, texts
from tacit.data.dataset import Dataset
from tacit.data.listing import few, size_in_words
from tacit.data.splits import TEST, TRAIN, VAL

SHOWN = 5
BLOCK = 4096
COLUMNS, SCREEN = 40, 110


def inspect(dataset: Dataset) -> dict[str, Any]:
    """Counts, sizes, classes, duplicates, leaks and bad items as plain JSON; the warnings come first."""
    sizes = {"train": dataset.split == TRAIN, "test": dataset.split == TEST, "val": dataset.split == VAL}
    values = _values(dataset)
    report: dict[str, Any] = {
        "warnings": [],
        "path": dataset.path,
        "modality": {"name": dataset.modality, "why": dataset.why},
        "items": len(dataset),
        "channels": dataset.spec.channels,
        "stored": list(dataset.spec.sizes),
        "training_size": dataset.spec.extra.get("size", dataset.spec.extra.get("length")),
        "original": dataset.spec.extra.get("original"),
        "mean": list(dataset.spec.mean),
        "std": list(dataset.spec.std),
        "lengths": _lengths(dataset),
        "split": {"rule": dataset.split_rule, **{k: int(v.sum()) for k, v in sizes.items()}},
        "labels": _labels(dataset, sizes),
        "tags": _tags(dataset),
        "multilabel": _several(dataset),
        "groups": _groups(dataset),
        "columns": [dict(zip(("name", "kind", "about"), c, strict=True)) for c in _parts(dataset)],
        "missing": values["missing"],
        "constant": values["constant"],
        "duplicates": duplicates(dataset),
        "bad": {"count": len(dataset.bad), "items": [{"name": p.name, "reason": p.reason} for p in dataset.bad]},
        "text": texts.survey(dataset) if dataset.raws is not None else None,
        "sound": sounds.survey(dataset) if dataset.modality == "audio" else None,
        "notes": list(dataset.notes),
        "cache": {"path": str(dataset.cache_path) if dataset.cache_path else None, "bytes": dataset.cache_bytes},
        "fingerprint": dataset.fingerprint,
    }
    report["warnings"] = _warnings(dataset, report)
    return report


def lines(report: dict[str, Any]) -> list[str]:
    """The report of `inspect` for the terminal, warnings first."""
    out = [f"warning: {w}" for w in report["warnings"]]
    split, labels, groups, missing = report["split"], report["labels"], report["groups"], report["missing"]
    out.append(f"modality   {report['modality']['name']}: {report['modality']['why']}")
    out.append(f"items      {report['items']:,} (train {split['train']:,}, test {split['test']:,}, val {split['val']:,})")
    out.append(f"split      {split['rule']}")
    if report["original"]:
        small, middle, large = (_shape(size) for size in report["original"])
        out.append(
            f"sizes      {middle}" if small == large else f"sizes      {small} to {large}, median {middle} (height x width, of a sample)"
        )
    stored = " x ".join(map(str, [report["channels"], *report["stored"]]))
    out.append(f"stored as  {stored}" + (f", training size {_shape(report['training_size'])}" if report["training_size"] else ""))
    if columns := report["columns"]:
        wide = min(24, max(len(c["name"]) for c in columns[:COLUMNS]))
        out += [f"  {c['name'][:wide]:<{wide}} {c['kind']:<9} {c['about']}"[:SCREEN] for c in columns[:COLUMNS]]
        out += [f"  and {len(columns) - COLUMNS:,} more columns (all with --json)"] if len(columns) > COLUMNS else []
    if report["lengths"]:
        out.append("lengths    {min} to {max}, median {median:g}".format(**report["lengths"]))
    if labels["task"] == "classification":
        shown = few((f"{c} ({n:,})" for c, n in labels["counts"].items()), 10)
        out.append(
            f"classes    {len(labels['counts'])}: {shown}" + (f"; {labels['unlabelled']:,} unlabelled" if labels["unlabelled"] else "")
        )
    elif labels["task"] == "regression":
        out.append("target     {min:g} to {max:g}, mean {mean:g}".format(**labels["values"]))
    elif not (report["tags"] or report["multilabel"]):
        out.append("labels     none")
    if several := report["multilabel"]:
        out.append(
            f"labels     multi-label: {len(several['counts'])} labels, {few((f'{c} ({n:,})' for c, n in several['counts'].items()), 10)}"
        )
    if tags := report["tags"]:
        what = f"{tags['what']}: {len(tags['counts'])} classes, {100 * tags['share']:.0f} % of the {tags['unit']} labelled"
        out.append(f"labels     {what}, in {tags['items']:,} items")
    if groups["count"]:
        unknown = f", {groups['unknown']} items without" if groups["unknown"] else ""
        out.append(f"groups     {groups['count']:,} of {groups['smallest']} to {groups['largest']} items{unknown}")
    if missing["values"]:
        out.append(f"missing    {missing['values']:,} values ({missing['share']:.2%}) in {missing['items']:,} items")
    copies = report["duplicates"]
    out.append(f"copies     {copies['within']:,} exact duplicates within a part, {copies['across']:,} held-out items also in training")
    out += texts.lines(report["text"]) if report["text"] else []
    out += sounds.lines(report["sound"]) if report["sound"] else []
    if report.get("redacted"):
        out.append("redacted   {changed:,} documents changed, {left_out:,} left out, written to {file}".format(**report["redacted"]))
    if report["constant"]["count"]:
        out.append(f"constant   {report['constant']['count']:,} items of one value: {few(report['constant']['names'])}")
    if report["bad"]["count"]:
        out.append(f"bad        {report['bad']['count']:,} items left out")
        out += [f"  {p['name']}: {p['reason']}" for p in report["bad"]["items"][:SHOWN]]
        out += [f"  and {report['bad']['count'] - SHOWN:,} more"] if report["bad"]["count"] > SHOWN else []
    out += [f"note       {note}" for note in (*report["notes"], *(report["tags"]["notes"] if report["tags"] else []))]
    if report["cache"]["path"]:
        out.append(f"cache      {size_in_words(report['cache']['bytes'])} in {report['cache']['path']}")
    return out


def _parts(dataset: Dataset) -> list[tuple[str, str, str]]:
    kind = registry.find("modalities", dataset.modality)
    return list(kind.parts_of(dataset.spec))


def _shape(size: Any) -> str:
    return " x ".join(map(str, size)) if isinstance(size, list | tuple) else str(size)


def _values(dataset: Dataset) -> dict[str, Any]:
    """Missing values and items whose channels hold one value each, read block by block; columns of several kinds share no value."""
    alike = not _parts(dataset)
    missing, total, gaps, constant = 0, 0, 0, []  # type: int, int, int, list[str]
    block = BLOCK if not dataset.spec.ragged else max(1, min(BLOCK, 2**24 // max(1, int(np.prod(dataset.x.shape[1:])))))
    for start in range(0, len(dataset), block):
        n = min(block, len(dataset) - start)
        x = np.asarray(dataset.x[start : start + n]).reshape(n, dataset.spec.channels if dataset.spec.sizes else 1, -1)
        if x.dtype == np.uint8:
            flat = (x.min(2) == x.max(2)).all(1)
            total += x.size
        else:
            known = ~np.isnan(x)
            each = np.full(n, x[0].size)
            if dataset.lengths is not None:
                each = dataset.lengths[start : start + n] * dataset.spec.channels
            holes = each - known.sum((1, 2))
            missing, gaps, total = missing + int(holes.sum()), gaps + int((holes > 0).sum()), total + int(each.sum())
            flat = (np.where(known, x, np.inf).min(2) >= np.where(known, x, -np.inf).max(2)).all(1)
        constant += [dataset.names[start + i] for i in np.flatnonzero(flat & alike)]
    return {
        "missing": {"values": missing, "share": missing / max(1, total), "items": gaps},
        "constant": {"count": len(constant), "names": constant[:SHOWN]},
    }


def _lengths(dataset: Dataset) -> dict[str, float] | None:
    if dataset.lengths is None:
        return None
    return {"min": int(dataset.lengths.min()), "median": float(np.median(dataset.lengths)), "max": int(dataset.lengths.max())}


def _labels(dataset: Dataset, parts: dict[str, np.ndarray]) -> dict[str, Any]:
    y = dataset.labels
    if y is None:
        return {"task": None, "unlabelled": len(dataset)}
    if not dataset.classes:
        known = y[~np.isnan(y)].astype(np.float64)
        values = {"min": float(known.min()), "max": float(known.max()), "mean": float(known.mean()), "std": float(known.std())}
        return {"task": "regression", "unlabelled": int(np.isnan(y).sum()), "values": values}

    def counts(which: np.ndarray) -> dict[str, int]:
        found = np.bincount(y[which & (y >= 0)], minlength=len(dataset.classes))
        return dict(zip(dataset.classes, found.tolist(), strict=True))

    by_part = {name: counts(which) for name, which in parts.items() if which.any()}
    return {"task": "classification", "unlabelled": int((y < 0).sum()), "counts": counts(np.ones(len(y), bool)), "parts": by_part}


def _tags(dataset: Dataset) -> dict[str, Any] | None:
    """How many positions of how many items carry which class, and whose tags cannot be used."""
    tags = dataset.tagged
    if tags is None:
        return None
    counts, items = np.zeros(len(tags.classes), np.int64), 0
    for value in tags.values:
        known = np.bincount(value[value >= 0], minlength=len(counts))
        counts, items = counts + known, items + bool(known.any())
    positions = len(dataset) * int(np.prod(dataset.spec.sizes)) if dataset.lengths is None else int(dataset.lengths.sum())
    return {
        "what": "segmentation masks" if len(dataset.spec.sizes) == 2 else "tags",
        "unit": tags.kind.tagged,
        "items": items,
        "share": float(counts.sum()) / max(1, positions),
        "counts": dict(zip(tags.classes, counts.tolist(), strict=True)),
        "bad": [{"name": p.name, "reason": p.reason} for p in tags.bad],
        "notes": list(tags.notes),
    }


def _several(dataset: Dataset) -> dict[str, Any] | None:
    """How many items have each of several labels."""
    if dataset.multi is None:
        return None
    counts = np.nansum(dataset.multi, 0).astype(int).tolist()
    unlabelled = int(np.isnan(dataset.multi).all(1).sum())
    return {"counts": dict(zip(dataset.multi_names, counts, strict=True)), "unlabelled": unlabelled}


def _groups(dataset: Dataset) -> dict[str, int]:
    if dataset.groups is None:
        return {"count": 0, "unknown": 0, "smallest": 0, "largest": 0, "across": 0}
    sizes = np.bincount(dataset.groups[dataset.groups >= 0])
    shared = np.intersect1d(dataset.groups[dataset.train], dataset.groups[dataset.test])
    unknown = int((dataset.groups < 0).sum())
    across = int((shared >= 0).sum())
    return {"count": len(sizes), "unknown": unknown, "smallest": int(sizes.min()), "largest": int(sizes.max()), "across": across}


def copies(dataset: Dataset) -> list[list[int]]:
    """Sets of rows that hold the same item to the last bit."""
    places: dict[int, list[int]] = defaultdict(list)
    for i, h in enumerate(dataset.hashes.tolist()):
        places[h].append(i)
    return [rows for rows in places.values() if len(rows) > 1]


def duplicates(dataset: Dataset) -> dict[str, Any]:
    """Exact copies: how many within a part, and which held-out items are in the training part too."""
    within, across, conflicts = 0, [], []  # type: int, list[tuple[str, str]], list[tuple[str, str]]
    for items in copies(dataset):
        within += sum(n - 1 for n in Counter(int(dataset.split[i]) for i in items).values())
        trained = [i for i in items if dataset.split[i] == TRAIN]
        if trained:
            across += [(dataset.names[i], dataset.names[trained[0]]) for i in items if dataset.split[i] == TEST]
        if dataset.labels is not None:
            known = [i for i in items if not (np.isnan(dataset.labels[i]) if not dataset.classes else dataset.labels[i] < 0)]
            other = next((i for i in known if dataset.labels[i] != dataset.labels[known[0]]), None)
            conflicts += [(dataset.names[known[0]], dataset.names[other])] if other is not None else []
    return {
        "within": within,
        "across": len(across),
        "across_share": len(across) / max(1, len(dataset.test)),
        "across_names": [list(pair) for pair in across[:SHOWN]],
        "conflicts": len(conflicts),
        "conflict_names": [list(pair) for pair in conflicts[:SHOWN]],
    }


def _warnings(dataset: Dataset, report: dict[str, Any]) -> list[str]:
    """What would spoil a result, in the order of how much."""
    out = []
    copies, labels = report["duplicates"], report["labels"]
    if copies["across"]:
        test, train = copies["across_names"][0]
        share = f"{copies['across']:,} ({copies['across_share']:.2%})"
        out.append(f"held-out items that are also in training: {share}, for example {test} = {train}")
    if report["groups"]["across"]:
        out.append(f"{report['groups']['across']:,} groups have items in training and in the held-out part")
    if copies["conflicts"]:
        first, other = copies["conflict_names"][0]
        out.append(f"{copies['conflicts']:,} sets of copies carry different labels, for example {first} and {other}")
    if len(dataset) < 2:
        out.append("there is only one item: nothing can be learned from it")
    elif not len(dataset.test):
        out.append("nothing is held out, so nothing can be evaluated")
    if report["sound"] and (count := report["sound"]["near"]["across_count"]):
        out.append(f"{count:,} recordings are held out and in training, encoded anew: {' = '.join(report['sound']['near']['across'][0])}")
    if labels["task"] == "classification" and len(labels["counts"]) == 1:
        out.append(f"all labels are {dataset.classes[0]!r}: one class cannot be evaluated")
    elif labels["task"] == "classification":
        seen = labels["parts"]
        absent = [c for c in dataset.classes if "train" in seen and "test" in seen and seen["test"][c] and not seen["train"][c]]
        out += [f"classes that no training item has: {few(absent)}"] if absent else []
    if report["constant"]["count"] == len(dataset):
        out.append("every item holds one value only: there is nothing to learn")
    if report["missing"]["share"] > 0.5:
        out.append(f"{report['missing']['share']:.0%} of the values are missing")
    if report["tags"] and (bad := report["tags"]["bad"]):
        out.append(f"the tags of {len(bad):,} items cannot be used, for example {bad[0]['name']}: {bad[0]['reason']}")
    if dataset.bad:
        out.append(f"{len(dataset.bad):,} items cannot be used, for example {dataset.bad[0].name}: {dataset.bad[0].reason}")
    return out
