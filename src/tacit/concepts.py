"""Concepts: what an encoder's tokens are made of, which of it is stable, and how far a decision by it alone gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit.api import Say
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked
from tacit.explainers import atoms, draw, sparsely
from tacit.explainers.direction import direction
from tacit.origin import held, label_of, opened_run
from tacit.subject import about_of, row_named, seen
from tacit.training.run import finite, write_json
from tacit.types import Features

ITEMS, TOKENS = 2000, 30_000  # that atoms are learned from
BANK = 5000  # items that are described
COUNT, TOP, PARTS = 32, 5, 64
SHOWN = (12, 4)  # atoms and examples on the sheet


def concepts(
    run: str | Path, data: Any, *, how: str = "nmf", count: int = 0, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Concepts of a run's tokens, learned without labels. Plain JSON, kept in RUN/explain/concepts.json and, drawn, .png.

    how: nmf (non-negative factors, on which more seeds agree: docs/explaining.md) or sae (a sparse autoencoder). count: atoms, 0 = 32, or
    fewer where there are few tokens.
    """
    say = say or (lambda words: None)
    path, net, items = opened_run(run, data, options, say)
    learn = items.train if len(items.train) else np.arange(len(items))
    learn = learn[:: max(1, -(-len(learn) // ITEMS))]
    if count < 0:
        raise Asked(f"{count} concepts are not possible", "ask for 2 or more, or 0 for as many as suit")
    say("reading tokens\r")
    tokens = _tokens(net, items, learn, seed)
    say("learning concepts with three seeds\r")
    found = atoms.learned(tokens, count or max(2, min(COUNT, len(tokens) // 20)), how, seed)
    rows = np.arange(0, len(items), max(1, -(-len(items) // BANK)))
    mean, high = _activity(net, items, rows, found)
    kept = found.kept[high[:, found.kept].max(0) > 0]  # what is never active is no concept
    kept = kept[np.argsort(-mean[:, kept].mean(0), kind="stable")]  # the most common first
    told = [_told(net, items, rows, high[:, k], found, int(k)) for k in kept]
    out = about_of(path, items) | {
        "how": how,
        "seed": seed,
        "tokens": len(tokens),
        "atoms": len(found.stable),
        "stable": len(kept),
        "stability": {"mean": float(found.stable.mean()), "least": atoms.SURE, "seeds": atoms.SEEDS},
        "explained": found.explained,
        "concepts": told,
        "head": _head(net, items, rows, mean[:, kept], kept, seed) if len(kept) else None,
    }
    write_json(path / "explain" / "concepts.json", finite(out))
    if told:
        (path / "explain" / "concepts.png").write_bytes(_sheet(net, items, told, found, kept))
    return out


def concept(
    run: str | Path, data: Any, examples: Sequence[int | str], *, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Does an encoder hold a concept that some items show? Its direction, tested against items drawn at random. Plain JSON.

    examples: numbers or names of items that share it, 5 or more. Kept in RUN/explain/concept.json.
    """
    path, net, items = opened_run(run, data, options, say or (lambda words: None))
    chosen = sorted({row_named(items, e) for e in examples})
    rows = np.unique(np.concatenate([np.arange(0, len(items), max(1, -(-len(items) // BANK))), chosen]))
    z = net.vectors(*held(items, rows)).astype(np.float64)
    found = direction(z, np.searchsorted(rows, chosen), seed)
    scaled = (z - z.mean(0)) / np.maximum(z.std(0), 1e-9)
    along = scaled @ found.vector
    along = (along - along.mean()) / max(float(along.std()), 1e-12)
    order = [i for i in np.argsort(-along, kind="stable") if rows[i] not in chosen][: 2 * TOP]
    holds = found.p < 0.05
    said = f"tells held-out examples from other items with an AUROC of {found.auroc:.3f}; sets of {found.n} random items reach "
    said += f"{found.chance[0]:.3f} on average and {found.chance[1]:.3f} in 95 of 100 draws (p = {found.p:.2f})"
    out = about_of(path, items) | {
        "examples": [str(items.names[r]) for r in chosen],
        "auroc": found.auroc,
        "random": {"mean": found.chance[0], "high": found.chance[1]},
        "p": found.p,
        "held": holds,
        "like": [{"id": str(items.names[rows[i]]), "label": label_of(items, int(rows[i])), "along": float(along[i])} for i in order],
        "classes": _along(items, rows, along, chosen) if holds else {},
        "sentence": f"{'The encoder holds this concept' if holds else 'The examples do not show that it is held'}: its direction {said}.",
    }
    write_json(path / "explain" / "concept.json", finite(out))
    return out


def _along(items: Dataset, rows: np.ndarray, along: np.ndarray, chosen: Sequence[int]) -> dict[str, float]:
    """Where the items of each class lie along a direction, in deviations; the examples left out. The strongest five."""
    if items.labels is None or not items.classes:
        return {}
    free = ~np.isin(rows, chosen)
    labels = items.labels[rows]
    means = {str(c): float(along[free & (labels == k)].mean()) for k, c in enumerate(items.classes) if (free & (labels == k)).any()}
    return dict(sorted(means.items(), key=lambda pair: -abs(pair[1]))[:TOP])


def _tokens(net: Model, items: Dataset, rows: np.ndarray, seed: int) -> np.ndarray:
    """Tokens of these items [N, D], of long ones some, so that they are at most TOKENS."""
    most, draw, out = max(1, TOKENS // max(1, len(rows))), np.random.default_rng([seed, 91]), []
    for _, f in _features(net, items, rows):
        for t, valid in zip(f.tokens.float().cpu().numpy(), f.valid.cpu().numpy(), strict=True):
            kept = np.flatnonzero(valid)
            out.append(t[np.sort(draw.choice(kept, most, replace=False)) if len(kept) > most else kept])
    return np.concatenate(out)


@torch.no_grad()
def _features(net: Model, items: Dataset, rows: np.ndarray) -> Any:
    """(rows, features) of some items, a batch at a time."""
    for at, batch in net.bundles(*held(items, rows)):
        found: Features = net.encoder(net.plain(batch))
        yield rows[at], found


def _activity(net: Model, items: Dataset, rows: np.ndarray, found: atoms.Atoms) -> tuple[np.ndarray, np.ndarray]:
    """How active each atom is in each item: mean over its tokens, and highest [n, K]."""
    place = {int(r): i for i, r in enumerate(rows)}
    mean, high = (np.zeros((len(rows), len(found.stable)), np.float32) for _ in range(2))
    for at, f in _features(net, items, rows):
        tokens, valid = f.tokens.float().cpu().numpy(), f.valid.cpu().numpy()
        code = np.zeros((*valid.shape, len(found.stable)), np.float32)
        if valid.any():
            code[valid] = found.encode(tokens[valid])
        where = [place[int(r)] for r in at]
        mean[where] = code.sum(1) / np.maximum(valid.sum(1, keepdims=True), 1)
        high[where] = code.max(1)
    return mean, high


def _told(net: Model, items: Dataset, rows: np.ndarray, high: np.ndarray, found: atoms.Atoms, k: int) -> dict[str, Any]:
    """One atom by its strongest examples: which items, where in them, and what is common to them."""
    order = np.argsort(-high, kind="stable")[:20]
    order = order[high[order] > 0] if (high > 0).any() else order[:1]
    examples = []
    for i in order[:TOP]:
        pieces, each = _placed(net, items, int(rows[i]), found, k)
        where = pieces.names[int(each.argmax())] if len(pieces) > 1 and each.max() > 0 else ""
        examples.append({"id": str(items.names[rows[i]]), "row": int(rows[i]), "part": where, "activity": float(high[i])})
    common, times = Counter(e["part"] for e in examples).most_common(1)[0]
    labels = [name for i in order if (name := label_of(items, int(rows[i]))) is not None]
    most = Counter(labels).most_common(1)
    return {
        "atom": k,
        "name": common if times > 1 and common else f"as in {examples[0]['id']}",
        "stable": float(found.stable[k]),
        "items": float((high > 0).mean()),
        "examples": examples,
        "class": {"name": most[0][0], "share": most[0][1] / len(labels)} if most else None,
    }


@torch.no_grad()
def _placed(net: Model, items: Dataset, row: int, found: atoms.Atoms, k: int) -> tuple[Any, np.ndarray]:
    """The parts of an item, and how active an atom is in each [P]."""
    view = seen(net, items, row)
    pieces = net.modality.cut_up(view, net.encoder.tokenizer, PARTS).on("cpu")
    f = net.encoder(view)
    each = np.zeros(len(pieces))
    if f.tokens.shape[1] < 2:
        return pieces, each
    valid = f.valid[0].cpu().numpy()
    code = np.zeros(int(np.prod(f.grid)))
    code[f.position[0].cpu().numpy()[valid]] = found.encode(f.tokens[0].float().cpu().numpy()[valid])[:, k]
    size = pieces.of.shape
    cells = [np.minimum(np.arange(s) // c, g - 1) for s, c, g in zip(size, net.encoder.cell, f.grid, strict=True)]
    shown = code.reshape(f.grid)[np.ix_(*cells)]
    of = pieces.of.numpy()
    np.maximum.at(each, of[of >= 0], shown[of >= 0])
    return pieces, each


def _head(net: Model, items: Dataset, rows: np.ndarray, codes: np.ndarray, kept: np.ndarray, seed: int) -> dict[str, Any] | None:
    """How far a decision by few concepts gets, where there are classes and held-out items."""
    if items.labels is None or not items.classes:
        return None
    known = items.labels[rows] >= 0
    train, test = (np.flatnonzero(known & np.isin(rows, part)) for part in (items.train, items.test))
    if len(train) < 20 or len(test) < 10 or len(np.unique(items.labels[rows[train]])) < 2:
        return None
    z = net.vectors(*held(items, rows))
    labels = items.labels[rows]
    made = sparsely.decided((codes[train], codes[test]), (z[train], z[test]), (labels[train], labels[test]), len(items.classes), seed)
    strongest = {
        str(c): [int(kept[i]) for i in np.argsort(-made.weights[k], kind="stable")[:3] if made.weights[k, i] > 1e-6]
        for k, c in enumerate(items.classes)
    }
    gap = dict(zip(("mean", "low", "high"), made.gap, strict=True))
    return {"n": len(test), "used": made.used, "accuracy": made.accuracy, "full": made.full, "gap": gap, "strongest": strongest}


def _sheet(net: Model, items: Dataset, told: Sequence[Mapping[str, Any]], found: atoms.Atoms, kept: np.ndarray) -> bytes:
    """A row for each of the most common concepts: its strongest examples, with the parts coloured where it is active."""
    rows = []
    for one, k in list(zip(told, kept, strict=True))[: SHOWN[0]]:
        cells = []
        for e in one["examples"][: SHOWN[1]]:
            pieces, each = _placed(net, items, e["row"], found, int(k))
            cells.append(draw.drawn(seen(net, items, e["row"]).x[0].cpu().numpy(), pieces, each.tolist()))
        rows.append((f"{one['name']} ({one['stable']:.2f})", cells))
    return draw.sheet(rows)


def examples_of(words: str) -> list[str]:
    """Items of "3,17,photo.png", or of a file with one a line (@FILE). Raises Asked where it cannot be read."""
    if not words.startswith("@"):
        return [w.strip() for w in words.split(",") if w.strip()]
    try:
        lines = Path(words[1:]).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Asked(f"{words[1:]} cannot be read: {error}", "a text file with the number or name of an item in each line") from None
    return [line.strip() for line in lines if line.strip()]
