"""Explanations that are not of one map: by example, by group, and which ways of attributing can be believed on a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.api import Say
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked, CannotPair
from tacit.explainers import examples, groups, values
from tacit.explainers.problem import Problem
from tacit.explainers.trial import Trial, trial
from tacit.explainers.words import neighbours
from tacit.explanation import attribution
from tacit.origin import label_of, opened_run
from tacit.subject import about_of, background_of, known_to, others, row_named, seen, untrained_like
from tacit.training.run import finite, write_json

BANK = 5000  # training items that are looked at
ITEMS = 30


def like(
    run: str | Path, data: Any, *, item: int | str = 0, count: int = 5, train: Any = None, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Which training items an item is like, the mixture of them that comes nearest, and whether that explains it. Plain JSON."""
    say = say or (lambda words: None)
    path, net, items = opened_run(run, data, options, say)
    row = row_named(items, item)
    known = known_to(net, path, data, items, train, dict(options or {}), say)
    rows = others(known, items, row)
    rows = rows[:: max(1, -(-len(rows) // BANK))]
    if len(rows) < 3:
        raise Asked(f"{known.path} has {len(rows)} training items, too few to compare with")
    z = _vectors(net, items, np.array([row]))[0]
    bank = _vectors(net, known, rows)
    z, bank = z.astype(np.float64), bank.astype(np.float64)
    found = examples.likeness(z, bank, count, seed)

    def named(i: int) -> dict[str, Any]:
        return {"id": str(known.names[rows[i]]), "label": label_of(known, int(rows[i]))}

    sure = "is made up of training items as well as they are of each other"
    if not found.explained:
        sure = "is not explained by the training data"
    own, worth = label_of(items, row), []  # what every training item adds to a decision by the nearest ones
    if own is not None and known.labels is not None and own in known.classes:
        adds = examples.worth(z, bank, known.labels[rows], known.classes.index(own))
        strongest = np.argsort(-np.abs(adds), kind="stable")[:count]
        worth = [{**named(int(i)), "adds": float(adds[i])} for i in strongest]
    out = about_of(path, items) | {
        "item": str(items.names[row]),
        "label": own,
        "worth": worth,
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
    path, net, items = opened_run(run, data, options, say)
    if len(items) < 8:
        raise Asked(f"{items.path} has {len(items)} items, too few for groups")
    rows = np.arange(0, len(items), max(1, -(-len(items) // BANK)))
    z = _vectors(net, items, rows).astype(np.float64)
    _, found, clear = groups.of_data(items, rows, z, count, seed)
    out = about_of(path, items) | {
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


def words(
    run: str | Path, data: Any, asked: Sequence[str], *, options: Mapping[str, Any] | None = None, say: Say | None = None
) -> dict[str, Any]:
    """What words and phrases stand for in texts: their nearest neighbours, and those of single places in their context. Plain JSON."""
    path, net, items = opened_run(run, data, options, say or (lambda words: None))
    if net.spec.modality != "text":
        raise Asked(f"the run learned from {net.spec.modality} data, which has no words", "leave --words out")
    asked = [a.strip() for a in asked if a.strip()]
    if not asked:
        raise Asked("there is no word to look for", "--words bank,river bank")
    found = neighbours(net, items, items.train if len(items.train) else np.arange(len(items)), asked)
    out = about_of(path, items) | {
        "words": [
            {
                "word": w.asked,
                "occurrences": w.count,
                "near": [{"word": n, "cosine": c} for n, c in w.near],
                "contexts": [{"text": a, "nearest": b, "cosine": c} for a, b, c in w.contexts],
            }
            for w in found
        ]
    }
    write_json(path / "explain" / "words.json", finite(out))
    return out


def trials(
    run: str | Path, data: Any, *, ways: Sequence[str] | None = None, items: int = ITEMS, parts: int = 64, train: Any = None, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Test ways of attributing the embedding itself on held-out items of a run. Plain JSON, kept in RUN/explain/methods.json."""
    say = say or (lambda words: None)
    path, net, data_ = opened_run(run, data, options, say)
    held = len(data_.test) > 0
    rows = data_.test if held else np.arange(len(data_))
    rows = np.sort(np.random.default_rng([seed, 727]).choice(rows, min(items, len(rows)), replace=False))
    other = untrained_like(net, data_, seed)
    background = None
    if not net.modality.layout.ordered:
        known = known_to(net, path, data, data_, train, dict(options or {}), say)
        background = background_of(net, known, known.train if len(known.train) else np.arange(len(known)), seed)
    shown = [seen(net, data_, int(r)) for r in rows]
    problems = [Problem(net, v, values.itself(net, v), parts, background) for v in shown]
    twins = [Problem(other, v, values.itself(other, v), parts, background) for v in shown]
    found: dict[str, Any] = {}
    ours = [n for n in registry.names("attributions") if not registry.find("attributions", n).engine]
    for name in ways or ours:
        say(f"testing {name}\r")
        try:
            found[name] = _plain(trial(problems, twins, attribution(net, name)[1], seed))
        except CannotPair as error:
            found[name] = {"n": 0, "passed": None, "why": str(error).split("\n")[0]}
    out = about_of(path, data_) | {"items": len(rows), "held_out": held, "parts": parts, "seed": seed, "methods": found}
    write_json(path / "explain" / "methods.json", finite(out))
    return out


def _vectors(net: Model, items: Dataset, rows: np.ndarray) -> np.ndarray:
    return net.vectors(items.x[rows], None if items.lengths is None else items.lengths[rows])


def _plain(found: Trial) -> dict[str, Any]:
    return asdict(found) | {"gains": {k: list(v) for k, v in found.gains.items()}}
