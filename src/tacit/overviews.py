"""Explanations that are not of one map: by example, by group, and which ways of attributing can be believed on a run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.api import Say, digest
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model, load
from tacit.errors import Asked, CannotPair
from tacit.explainers import examples, groups, values
from tacit.explainers.problem import Problem
from tacit.explainers.trial import Trial, trial
from tacit.explanation import CENTRE, attribution, background_of, known_to, row_named, seen, untrained_like
from tacit.origin import as_read
from tacit.runtime import choose_device, commit
from tacit.training.run import finite, write_json

BANK = 5000  # training items that are looked at
ITEMS = 30
FASTEST = ("occlusion", "integrated", "gradient", "smooth", "expected", "masks", "relax", "lime", "shapley", "rollout", "relevance")


def like(
    run: str | Path, data: Any, *, item: int | str = 0, count: int = 5, train: Any = None, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Which training items an item is like, the mixture of them that comes nearest, and whether that explains it. Plain JSON."""
    say = say or (lambda words: None)
    path, net, items = _opened(run, data, options, say)
    row = row_named(items, item)
    known = known_to(net, path, data, items, train, dict(options or {}), say)
    rows = known.train[:: max(1, -(-len(known.train) // BANK))]
    if len(rows) < 3:
        raise Asked(f"{known.path} has {len(rows)} training items, too few to compare with")
    z = _vectors(net, items, np.array([row]))[0]
    bank = _vectors(net, known, rows)
    same = known.fingerprint == items.fingerprint
    keep = rows != row if same else np.ones(len(rows), bool)
    rows, bank = rows[keep], bank[keep]
    found = examples.likeness(z.astype(np.float64), bank.astype(np.float64), count, seed)

    def named(i: int) -> dict[str, Any]:
        label = known.classes[known.labels[rows[i]]] if known.labels is not None and known.classes and known.labels[rows[i]] >= 0 else None
        return {"id": str(known.names[rows[i]]), "label": label}

    sure = "is made up of training items as well as they are of each other"
    if not found.explained:
        sure = "is not explained by the training data"
    out = _about(path, items) | {
        "item": str(items.names[row]),
        "nearest": [{**named(i), "cosine": c} for i, c in zip(found.nearest, found.cosines, strict=True)],
        "mixture": [{**named(i), "weight": w} for i, w in found.mixture[: 2 * count]],
        "residual": found.residual,
        "usual": found.usual,
        "explained": found.explained,
        "sentence": f"{items.names[row]} {sure}: the best mixture misses {found.residual:.0%} of the way from their mean to it "
        f"(95 % of training items: below {found.usual:.0%}).",
    }
    write_json(path / "explain" / f"like-{row}.json", finite(out))
    return out


def clusters(
    run: str | Path, data: Any, *, count: int = 0, seed: int = 0, options: Mapping[str, Any] | None = None, say: Say | None = None
) -> dict[str, Any]:
    """What items lie together and what sets the groups apart, in the data's own terms. count: 0 = the clearest number. Plain JSON."""
    say = say or (lambda words: None)
    path, net, items = _opened(run, data, options, say)
    if len(items) < 8:
        raise Asked(f"{items.path} has {len(items)} items, too few for groups")
    rows = np.arange(0, len(items), max(1, -(-len(items) // BANK)))
    z = _vectors(net, items, rows).astype(np.float64)
    group, clear = groups.grouped(z, count, seed)
    texts = None
    if items.raws is not None:
        wanted = set(rows.tolist())
        texts = [t for i, t in enumerate(items.raws()) if i in wanted]
    table = (np.asarray(items.x[rows]), net.spec.extra["columns"]) if net.spec.modality == "table" else None
    labels = None if items.labels is None or not items.classes else items.labels[rows]
    found = groups.described(z, group, texts=texts, table=table, labels=labels, classes=items.classes)
    out = _about(path, items) | {
        "silhouette": clear,
        "groups": [
            {
                "items": len(g.rows),
                "typical": [str(items.names[rows[i]]) for i in g.rows[: groups.TYPICAL]],
                "apart": list(g.apart),
                "classes": dict(list(g.classes.items())[:5]),
            }
            for g in found
        ],
    }
    write_json(path / "explain" / "clusters.json", finite(out))
    return out


def trials(
    run: str | Path, data: Any, *, ways: Sequence[str] | None = None, items: int = ITEMS, parts: int = 64, train: Any = None, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Test ways of attributing the embedding itself on held-out items of a run. Plain JSON, kept in RUN/explain/methods.json."""
    say = say or (lambda words: None)
    path, net, data_ = _opened(run, data, options, say)
    held = len(data_.test) > 0
    rows = data_.test if held else np.arange(len(data_))
    rows = np.sort(np.random.default_rng([seed, 727]).choice(rows, min(items, len(rows)), replace=False))
    some = np.arange(0, len(data_), max(1, len(data_) // CENTRE))
    other = untrained_like(net, data_.x[some], None if data_.lengths is None else data_.lengths[some], seed)
    background = None
    if not net.modality.layout.ordered:
        background = background_of(net, known_to(net, path, data, data_, train, dict(options or {}), say), seed)
    shown = [seen(net, data_, int(r)) for r in rows]
    problems = [Problem(net, v, values.itself(net, v), parts, background) for v in shown]
    twins = [Problem(other, v, values.itself(other, v), parts, background) for v in shown]
    found: dict[str, Any] = {}
    for name in ways or [n for n in FASTEST if n in registry.names("attributions")]:
        say(f"testing {name}\r")
        try:
            found[name] = _plain(trial(problems, twins, attribution(net, name)[1], seed, time.perf_counter))
        except CannotPair as error:
            found[name] = {"n": 0, "passed": None, "why": str(error).split("\n")[0]}
    out = _about(path, data_) | {"items": len(rows), "held_out": held, "parts": parts, "seed": seed, "methods": found}
    write_json(path / "explain" / "methods.json", finite(out))
    return out


def _opened(run: str | Path, data: Any, options: Mapping[str, Any] | None, say: Say) -> tuple[Path, Model, Dataset]:
    path = Path(run)
    net = load(path, choose_device().value)
    return path, net, as_read(net, path, data, dict(options or {}), say)


def _vectors(net: Model, items: Dataset, rows: np.ndarray) -> np.ndarray:
    return net.vectors(items.x[rows], None if items.lengths is None else items.lengths[rows])


def _about(path: Path, items: Dataset) -> dict[str, Any]:
    return {"run": str(path), "model": digest(path), "data": items.path, "fingerprint": items.fingerprint, "commit": commit()}


def _plain(found: Trial) -> dict[str, Any]:
    return asdict(found) | {"gains": {k: list(v) for k, v in found.gains.items()}}
