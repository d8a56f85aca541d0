"""What words and phrases stand for: their nearest neighbours, and those of one word in its context."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked

DOCUMENTS, LEAST, MOST = 3000, 3, 3000  # that are read; occurrences of a word that is told; words
EACH = 30  # occurrences of a word that its mean is of
NEAR = 8
PLACES = 20_000  # occurrences of any word that contexts are compared with
AROUND = 4  # words of context on each side


@dataclass(frozen=True)
class Word:
    """asked: as it was asked for. count: occurrences. near: other words with their cosines. contexts: occurrences, each with the one of
    another word or document that is nearest to it, and the cosine."""

    asked: str
    count: int
    near: tuple[tuple[str, float], ...]
    contexts: tuple[tuple[str, str, float], ...]


@torch.no_grad()
def neighbours(net: Model, items: Dataset, rows: np.ndarray, asked: Sequence[str]) -> list[Word]:
    """What stands near words or phrases in the texts of these rows. Raises Asked for one that does not occur.

    A word is the mean of the features of its places, from which the mean of all words is taken away, as all have much in common.
    """
    wanted = [tuple(_plain(w) for w in a.split()) for a in asked]
    longest = max(map(len, wanted))
    found: dict[tuple[str, ...], np.ndarray] = {}  # sums over the first places
    count: dict[tuple[str, ...], int] = {}
    seen: list[tuple[tuple[str, ...], str, np.ndarray]] = []
    for row in rows[:: max(1, -(-len(rows) // DOCUMENTS))]:
        names, vectors = _words(net, items, int(row))
        for size in range(1, longest + 1):
            for i in range(len(names) - size + 1):
                key = tuple(_plain(n) for n in names[i : i + size])
                if (size > 1 and key not in wanted) or not all(key):
                    continue
                count[key] = count.get(key, 0) + 1
                if count[key] <= EACH:
                    v = vectors[i : i + size].mean(0).astype(np.float32)
                    found[key] = found[key] + v if key in found else v
                    if key in wanted or len(seen) < PLACES:
                        seen.append((key, _around(names, i, size), v))
    for a, key in zip(asked, wanted, strict=True):
        if key not in found:
            raise Asked(f"{a!r} does not occur in {items.path} as words of its own", "ask for a word as it is written there")
    common = sorted((k for k in found if len(k) == 1 and count[k] >= LEAST), key=lambda k: -count[k])[:MOST]
    kept = list(dict.fromkeys([*common, *wanted]))
    means = np.stack([found[k] / min(count[k], EACH) for k in kept])
    middle = means.mean(0)
    unit = _unit(means - middle)
    places = _unit(np.stack([v for _, _, v in seen]) - middle)
    out = []
    for a, key in zip(asked, wanted, strict=True):
        cosine = unit @ unit[kept.index(key)]
        order = [i for i in np.argsort(-cosine, kind="stable") if kept[i] != key][:NEAR]
        near = tuple((" ".join(kept[i]), float(cosine[i])) for i in order)
        contexts = []
        for i in [i for i, (k, _, _) in enumerate(seen) if k == key][:3]:
            alike = places @ places[i]
            other = next((j for j in np.argsort(-alike, kind="stable") if j != i and seen[j][1] != seen[i][1]), None)
            if other is not None:
                contexts.append((seen[i][1], seen[other][1], float(alike[other])))
        out.append(Word(a, count[key], near, tuple(contexts)))
    return out


def _words(net: Model, items: Dataset, row: int) -> tuple[list[str], np.ndarray]:
    """The words of a document and the mean feature of each [W, D]."""
    at = np.array([row])
    (batch,) = net.batches(items.x[at], None if items.lengths is None else items.lengths[at])
    view = net.plain(batch)
    pieces = net.modality.cut_up(view, net.encoder.tokenizer, 10_000)
    f = net.encoder(view)
    of = pieces.of.cpu().numpy()[: f.tokens.shape[1]]
    tokens = f.tokens[0].float().cpu().numpy()[: len(of)]
    total = np.zeros((len(pieces), tokens.shape[1]))
    np.add.at(total, of[of >= 0], tokens[of >= 0])
    number = np.bincount(of[of >= 0], minlength=len(pieces))
    return list(pieces.names), total / np.maximum(number, 1)[:, None]


def _around(names: Sequence[str], i: int, size: int) -> str:
    left, right = names[max(0, i - AROUND) : i], names[i + size : i + size + AROUND]
    return " ".join([*left, f"[{' '.join(names[i : i + size])}]", *right])


def _plain(word: str) -> str:
    return re.sub(r"\W+", "", word.lower())


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
