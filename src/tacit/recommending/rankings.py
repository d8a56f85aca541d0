"""Rankings without any network, and how good a ranking is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tacit.evaluation.bootstrap import bootstrap

TOP = 10
CHUNK = 512  # sequences at once: each has a score for every item
HELD = 5_000  # held-out sequences that choose a setting, at most
Scores = Callable[[Sequence[np.ndarray]], np.ndarray]  # items of each sequence so far -> [n, V]


def shares(items: np.ndarray, count: int) -> np.ndarray:
    """How often each of so many items comes up, float64 [V], none never."""
    found = np.bincount(items, minlength=count) + 0.5
    return np.asarray(found / found.sum())


def classics(known: Sequence[np.ndarray], count: int) -> dict[str, Scores]:
    """name -> ranking of `count` items. known: items of each training sequence in their order, int64, -1 = unknown.

    What has a setting is fitted on nine tenths of the sequences and chooses it on the others, then fitted on all.
    source: item kNN: Sarwar et al. 2001 (cosine of who took both); Markov chain: of first order, with the shares where little was seen.
    """
    fold = np.arange(len(known)) % 10 == 9
    first, held = [s for s, h in zip(known, fold, strict=True) if not h], [s for s, h in zip(known, fold, strict=True) if h]
    before, truth = ended(held)
    before, truth = before[:HELD], truth[:HELD]

    def best(make: Callable[[Sequence[np.ndarray], int], Callable[[Any], Scores]], options: Sequence[Any]) -> Scores:
        if not len(truth):
            return make(known, count)(options[0])
        tried = make(first, count)
        gains = [ndcg(ranked(after(before, tried(o)), truth)).mean() for o in options]
        return make(known, count)(options[int(np.argmax(gains))])

    return {"popularity": _popular(known, count), "item_knn": best(_knn, (0, 10, 3, 1)), "markov_chain": best(_markov, (1, 5, 25, 100))}


def ranked(scores: Callable[[slice], np.ndarray], truth: np.ndarray, had: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """The place of the true item of each sequence [n], by the scores [k, V] of some sequences at a time. had: items that do not count."""
    found = []
    for start in range(0, len(truth), CHUNK):
        part = slice(start, start + CHUNK)
        values = np.array(scores(part), np.float64)
        if had is not None:
            without(values, had[part])
        found.append(ranks(values, truth[part]))
    return np.concatenate(found)


def after(before: Sequence[np.ndarray], score: Scores) -> Callable[[slice], np.ndarray]:
    """Scores by the items so far, for `ranked`."""
    return lambda part: score(before[part])


def without(scores: np.ndarray, had: Sequence[np.ndarray]) -> None:
    """Put what each sequence has had below all else, in place."""
    for row, s in zip(scores, had, strict=True):
        row[s[s >= 0]] = -np.inf


def ended(sequences: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences without their last item, and that item, int64 [n]; of those that have one and something before it."""
    some = [s for s in sequences if len(s) > 1 and s[-1] >= 0]
    return [s[:-1] for s in some], np.array([s[-1] for s in some], np.int64)


def ranks(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The place of the true item among all, 1 = first, float64 [n]; equal scores share their mean place."""
    own = scores[np.arange(len(truth)), truth][:, None]
    return np.asarray(1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2)


def recall(places: np.ndarray, top: int = TOP) -> np.ndarray:
    """1 where the item is among the first, [n]."""
    return np.asarray(places <= top, np.float64)


def ndcg(places: np.ndarray, top: int = TOP) -> np.ndarray:
    """Discounted gain of one true item, [n]: 1 in the first place, 0 beyond the last."""
    return np.where(places <= top, 1 / np.log2(places + 1), 0.0)


def judged(places: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Each ranking's recall and nDCG with 95 % intervals, and how far the first one is ahead of it, paired. places: name -> ranks [n]."""
    mine = next(iter(places))

    def measured(name: str) -> Callable[[np.ndarray], dict[str, float]]:
        r, g = recall(places[name]), ndcg(places[name])
        return lambda rows: {"recall": float(r[rows].mean()), "ndcg": float(g[rows].mean())}

    out = []
    for name, found in places.items():
        row: dict[str, Any] = {"name": name, "n": len(found), **bootstrap(measured(name), len(found))}
        if name != mine:
            row["ahead"] = bootstrap(measured(mine), len(found), other=measured(name))
            row["differ"] = int((ndcg(found) != ndcg(places[mine])).sum())
        out.append(row)
    return out


def _popular(known: Sequence[np.ndarray], count: int) -> Scores:
    share = shares(_all(known), count)
    return lambda before: np.tile(share, (len(before), 1))


def _all(known: Sequence[np.ndarray]) -> np.ndarray:
    items = np.concatenate([*known, np.zeros(0, np.int64)])
    return np.asarray(items[items >= 0])


def _knn(known: Sequence[np.ndarray], count: int) -> Callable[[int], Scores]:
    """The setting: how many items of a sequence count, from its end; 0 = all."""
    from scipy.sparse import diags

    taken = _bag(known, count)
    both = taken.T @ taken
    both = both - diags(both.diagonal())
    norm = diags(1 / np.sqrt(np.maximum(np.asarray(taken.sum(0)).ravel(), 1)))
    near = (norm @ both @ norm).tocsr()
    share = shares(_all(known), count) * 1e-6  # decides between items that are equally near
    return lambda latest: lambda before: (_bag([s[-latest:] for s in before], count) @ near).toarray() + share


def _bag(sequences: Sequence[np.ndarray], count: int) -> Any:
    """Which items each sequence has had, sparse 0 and 1 [n, V]."""
    from scipy.sparse import csr_matrix

    row = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
    items = np.concatenate([*sequences, np.zeros(0, np.int64)])
    good = items >= 0
    found = csr_matrix((np.ones(int(good.sum()), np.float32), (row[good], items[good])), shape=(len(sequences), count))
    found.data[:] = 1
    return found


def _markov(known: Sequence[np.ndarray], count: int) -> Callable[[float], Scores]:
    """The setting: events that the shares of all items count for."""
    from scipy.sparse import csr_matrix

    pairs = np.concatenate([np.zeros((2, 0), np.int64), *(np.stack([s[:-1], s[1:]]) for s in known if len(s) > 1)], 1)
    pairs = pairs[:, (pairs >= 0).all(0)]
    follows = csr_matrix((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(count, count))
    seen = np.asarray(follows.sum(1)).ravel()
    share = shares(_all(known), count)

    def score(before: Sequence[np.ndarray], prior: float) -> np.ndarray:
        last = np.array([next((v for v in s[::-1].tolist() if v >= 0), -1) for s in before])
        at = np.maximum(last, 0)
        found = (follows[at].toarray() + prior * share) / (seen[at] + prior)[:, None]
        return np.where(last[:, None] >= 0, found, share)

    return lambda prior: lambda before: score(before, prior)
