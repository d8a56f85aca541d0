"""`search`: documents that fit a query, by meaning, by words, and by both; and how good retrieval between two sets of embeddings is."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tacit import personal
from tacit.api import Say
from tacit.data.texts import documents
from tacit.errors import Asked
from tacit.evaluation.bootstrap import bootstrap
from tacit.keeping import digest_of
from tacit.language import Words, short, text_model
from tacit.modalities.text import LONGEST
from tacit.origin import as_read
from tacit.training.run import write_text
from tacit.wording import SEPARATOR

WORD = re.compile(r"\w+")
K1, B = 1.2, 0.75
FUSED = 60
ORDERS = ("fusion", "embedding", "bm25")
CHUNK = 1024  # rows that are compared with all others at a time
SHOWN = 300  # characters of a document that a result holds


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    place: in the list, 1 = first. row: in the data. name: of the document. text: how it begins. fusion: the sum of both reciprocal ranks.
    cosine, bm25: what it scores by meaning and by words. cosine_rank, bm25_rank: its place among all by each; None = it holds no word of
    the query.
    """

    place: int
    row: int
    name: str
    text: str
    fusion: float
    cosine: float
    cosine_rank: int
    bm25: float
    bm25_rank: int | None


@dataclass(frozen=True)
class Search:
    """What was found for a query, the best first. result: plain JSON."""

    hits: tuple[Hit, ...]
    result: dict[str, Any] = field(repr=False)


class BM25:
    """Documents scored by the words of a query that they hold: rare words count more, repeated ones less and less, long documents less.

    texts: the documents. k1: how soon repetitions stop to count. b: how much length counts, 0 to 1. Words are \\w+, lower-cased.
    source: Robertson & Zaragoza 2009, with the logarithm of 1 + (N - n + 0.5) / (n + 0.5), which is never negative, as in Lucene.
    """

    def __init__(self, texts: Iterable[str], k1: float = K1, b: float = B) -> None:
        from scipy.sparse import csc_matrix

        self.index: dict[str, int] = {}
        counts, columns, ends = list[int](), list[int](), [0]
        for text in texts:
            found = Counter(words(text))
            columns += [self.index.setdefault(w, len(self.index)) for w in found]
            counts += found.values()
            ends.append(len(columns))
        n = len(ends) - 1
        tf, column = np.array(counts, np.float64), np.array(columns, np.int64)
        row = np.repeat(np.arange(n), np.diff(ends))
        long = np.bincount(row, tf, minlength=n)
        holds = np.bincount(column, minlength=len(self.index))
        rarity = np.log1p((n - holds + 0.5) / (holds + 0.5))
        share = long / max(float(long.mean()) if n else 0.0, 1e-9)
        value = rarity[column] * tf * (k1 + 1) / (tf + k1 * (1 - b + b * share[row]))
        self.weights = csc_matrix((value, (row, column)), shape=(n, len(self.index)))

    def scores(self, query: str) -> np.ndarray:
        """A score for each document, float64 [N], 0 = it holds no word of the query. A word that is repeated in it counts as often."""
        asked = np.zeros(len(self.index))
        for word in words(query):
            if word in self.index:
                asked[self.index[word]] += 1
        return np.asarray(self.weights @ asked)


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, lower-cased."""
    return WORD.findall(text.lower())


def places(scores: np.ndarray) -> np.ndarray:
    """The place of each score, 1 = the highest, int64 [N]; equal scores share the first of their places."""
    rising = np.sort(scores)
    return np.asarray(1 + len(scores) - np.searchsorted(rising, scores, side="right"))


def fused(*ranks: np.ndarray, k: int = FUSED) -> np.ndarray:
    """The sum of 1 / (k + rank) over several rankings [N] of the same items, float64 [N]; rank 0 = not ranked.

    source: Cormack, Clarke & Buettcher 2009 (reciprocal rank fusion).
    """
    return np.asarray(sum((r > 0) / (k + r.astype(np.float64)) for r in ranks))


def search(
    run: str | Path,
    data: Any,
    query: str,
    *,
    top: int = 10,
    order: str = "fusion",
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Search:
    """The documents of data that fit a query: by the cosine of embeddings, by BM25, and by the fusion of both ranks.

    run: folder of a run on text. data: a path, texts, or open data. top: so many documents. order: fusion, embedding or bm25.
    options: for opening the data. Raises Asked for other data than text, and a query of which nothing is known.
    """
    say = say or (lambda words: None)
    if top < 1:
        raise Asked(f"--top {top} is not possible", "give 1 or more")
    if order not in ORDERS:
        raise Asked(f"--order {order}: there is no such order", f"one of {', '.join(ORDERS)}")
    if not query.strip():
        raise Asked("the query is empty", "give some words, such as 'late delivery'")
    path = Path(run)
    net = text_model(path)
    redact = bool(net.spec.extra.get("redact"))
    vocabulary = Words(net)
    ids = vocabulary.encode(personal.redact(query) if redact else query)[:LONGEST]
    if not (known := vocabulary.known(ids)).any():
        raise Asked(f"no token of {short(query)!r} was seen in training", "ask with words of the training texts")
    if not known.all():
        say(f"note: {int((~known).sum()):,} of {len(known):,} tokens of the query were never seen in training")
    items = as_read(net, path, data, dict(options or {}), say)
    if items.modality != "text":
        raise Asked(f"{items.path} is {items.modality} data, and only documents can be searched with words", "give text")
    texts = [(personal.redact(t) if redact else t).replace(SEPARATOR, "|") for _, t in documents(items)]
    say(f"reading {len(items):,} documents")
    z, q = net.vectors(items.x, items.lengths), net.vectors(ids[None, None].astype(np.float32), np.array([len(ids)]))
    if net.centre is None:  # a run of before embeddings were directions
        middle = z[items.train].mean(0) if len(items.train) else z.mean(0)
        z, q = z - middle, q - middle
    cosine = (unit(z) @ unit(q)[0]).astype(np.float64)
    bm25 = BM25(texts).scores(query)
    by_meaning, by_words = places(cosine), places(bm25) * (bm25 > 0)
    both = fused(by_meaning, by_words)
    if not by_words.any():
        say("note: no document holds a word of the query: only the meaning decides")
    value = {"fusion": both, "embedding": cosine, "bm25": bm25}[order]
    best = np.lexsort((np.arange(len(items)), -cosine, -value))
    best = best[value[best] > 0][:top] if order == "bm25" else best[:top]
    hits = tuple(
        Hit(
            k + 1, i, str(items.names[i]), short(" ".join(texts[i].split()), SHOWN), float(both[i]), float(cosine[i]), int(by_meaning[i]),
            float(bm25[i]), int(by_words[i]) or None,
        )
        for k, i in enumerate(best.tolist())
    )  # fmt: skip
    about = {"run": str(path), "model": digest_of(path), "data": items.path, "fingerprint": items.fingerprint, "documents": len(items)}
    return Search(hits, {**about, "query": query, "order": order, "hits": [asdict(h) for h in hits]})


def write(found: Search, path: Path) -> Path:
    """The hits as .jsonl, one a line."""
    write_text(path, "".join(json.dumps(h, ensure_ascii=False) + "\n" for h in found.result["hits"]))
    return path


def unit(z: np.ndarray) -> np.ndarray:
    """Rows of length 1, [N, D]; a row of zeros stays."""
    z = np.asarray(z, np.float64)
    return np.asarray(z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12))


def recall(
    own: np.ndarray,
    other: np.ndarray,
    relevant: np.ndarray | Sequence[Sequence[int] | np.ndarray],
    ks: Sequence[int] = (1, 5, 10),
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """How often what belongs to a row of `own` is among the k rows of `other` with the largest cosine.

    own, other: embeddings [N, D] and [M, D] in one space. relevant: int64 [N], the row of `other` that belongs to each, or several rows
    for each: the best placed one counts. ks: values of k. draws, seed: of the bootstrap over the rows of `own`.
    Returns "recall@k" -> (value, low, high) with 95 % intervals, and "median_rank" likewise. Equal cosines share their mean place.
    """
    ranks = ranked(own, other, relevant)

    def measured(rows: np.ndarray) -> dict[str, float]:
        some = ranks[rows]
        return {**{f"recall@{k}": float((some <= k).mean()) for k in ks}, "median_rank": float(np.median(some))}

    return {name: (v, low, high) for name, (v, low, high) in bootstrap(measured, len(ranks), draws=draws, seed=seed).items()}


def ranked(own: np.ndarray, other: np.ndarray, relevant: np.ndarray | Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """The place of the best relevant row of `other` for each row of `own`, by cosine, 1 = first, float64 [N]; see `recall`."""
    if len(own) != len(relevant) or not len(own):
        raise Asked(f"{len(own)} rows, but {len(relevant)} entries say what is relevant", "give one for each row, and some rows")
    lists = [np.atleast_1d(np.asarray(r, np.int64)) for r in relevant]
    if min(map(len, lists)) < 1 or min(int(r.min()) for r in lists) < 0 or max(int(r.max()) for r in lists) >= len(other):
        raise Asked(f"what is relevant to a row is at least one row of the other {len(other)}", "number them from 0")
    a, b, out = unit(own), unit(other), np.empty(len(own))
    for start in range(0, len(a), CHUNK):
        cosines = a[start : start + CHUNK] @ b.T
        for i, row in enumerate(cosines, start):
            best = row[lists[i]].max()
            out[i] = 1 + (row > best).sum() + ((row == best).sum() - (row[lists[i]] == best).sum()) / 2
    return out
