"""By group: what items lie together, and what sets each group apart, in the data's own terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.data.dataset import Dataset
from tacit.errors import Asked
from tacit.tabular import cell

MOST = 12  # groups that are tried
TYPICAL = 5
TOLD = 5
SAMPLE = 3000


@dataclass(frozen=True)
class Group:
    """rows: its items, the most typical first. apart: what sets it apart, in words. classes: how many items of each class."""

    rows: tuple[int, ...]
    apart: tuple[str, ...]
    classes: Mapping[str, int]


def of_data(items: Dataset, rows: np.ndarray, z: np.ndarray, count: int = 0, seed: int = 0) -> tuple[np.ndarray, list[Group], float]:
    """Groups of some items of a data set by their embeddings z [n, D]: of each item its group, what they hold, and how clear they are."""
    group, clear = grouped(z, count, seed)
    texts = None
    if items.raws is not None:
        wanted = set(rows.tolist())
        texts = [t for i, t in enumerate(items.raws()) if i in wanted]
    table = (np.asarray(items.x[rows]), items.spec.extra["columns"]) if items.spec.modality == "table" else None
    labels = None if items.labels is None or not items.classes else items.labels[rows]
    return group, described(z, group, texts=texts, table=table, labels=labels, classes=items.classes), clear


def grouped(z: np.ndarray, count: int = 0, seed: int = 0) -> tuple[np.ndarray, float]:
    """The group of each embedding [N, D], int64 [N], and how clearly they are apart (silhouette, -1 to 1).

    count: 0 = the clearest number. Raises Asked for more groups than items.
    """
    if count >= len(z):
        raise Asked(f"{len(z)} items do not make {count} groups", "ask for fewer, or 0 for the clearest number")
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    unit = (z - z.mean(0)) / np.maximum(np.linalg.norm(z - z.mean(0), axis=1, keepdims=True), 1e-12)
    tried = [count] if count else [k for k in range(2, MOST + 1) if k < len(z) / 2]
    best, told = -2.0, np.zeros(len(z), np.int64)
    for k in tried or [1]:
        found = KMeans(k, n_init=3, random_state=seed).fit_predict(unit)
        some = np.random.default_rng(seed).permutation(len(unit))[:SAMPLE]
        several = 1 < len(set(found[some].tolist())) < len(some)
        clear = float(silhouette_score(unit[some], found[some])) if several else 0.0
        if clear > best:
            best, told = clear, found.astype(np.int64)
    order = np.argsort(-np.bincount(told), kind="stable")  # the largest first
    place = np.argsort(order)
    return place[told], best


def described(
    z: np.ndarray,
    group: np.ndarray,
    *,
    texts: Sequence[str] | None = None,
    table: tuple[np.ndarray, Sequence[Mapping[str, Any]]] | None = None,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> list[Group]:
    """What each group holds. texts: of every item. table: decoded rows [N, F] and what their columns are."""
    out = []
    for k in range(int(group.max()) + 1):
        rows = np.flatnonzero(group == k)
        near = rows[np.argsort(((z[rows] - z[rows].mean(0)) ** 2).sum(1), kind="stable")]
        apart: list[str] = []
        if texts is not None:
            apart = _words([texts[i] for i in rows], [texts[i] for i in np.flatnonzero(group != k)])
        elif table is not None:
            apart = _columns(table[0], group == k, table[1])
        held: Mapping[str, int] = {}
        if labels is not None and len(classes):
            count = Counter(int(v) for v in labels[rows] if v >= 0)
            held = {str(classes[c]): n for c, n in count.most_common()}
        out.append(Group(tuple(near.tolist()), tuple(apart), held))
    return out


def _words(own: Sequence[str], others: Sequence[str]) -> list[str]:
    """Words that documents of a group hold more often than others do, by the lower end of the log-odds."""
    import re

    def documents(texts: Sequence[str]) -> Counter[str]:
        return Counter(w for t in texts for w in set(re.findall(r"\w{2,}", t.lower())))

    a, b = documents(own), documents(others)
    n, m = max(1, len(own)), max(1, len(others))

    def clear(word: str) -> float:
        x, y = a[word] + 0.5, b[word] + 0.5
        odds = np.log(x / (n - a[word] + 0.5)) - np.log(y / (m - b[word] + 0.5))
        return float(odds - 1.96 * np.sqrt(1 / x + 1 / y + 1 / (n - a[word] + 0.5) + 1 / (m - b[word] + 0.5)))

    best = sorted((w for w in a if a[w] >= 3), key=clear, reverse=True)[:TOLD]
    return [f"{w} ({a[w] / n:.0%} against {b[w] / m:.0%})" for w in best if clear(w) > 0]


def _columns(x: np.ndarray, own: np.ndarray, columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns whose values differ most from those of the other rows, in units of their deviation."""
    found: list[tuple[float, str]] = []
    for f, column in enumerate(columns):
        a, b = x[own, f], x[~own, f]
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
        if not len(a) or not len(b):
            continue
        if "values" in column:
            size = len(column["values"])
            p, q = (np.bincount(v[v >= 0].astype(int), minlength=size)[:size] / max(1, len(v)) for v in (a, b))
            k = int(np.argmax(p - q))
            said = f"{column['name']} = {column['values'][k]} ({p[k]:.0%} against {q[k]:.0%})"
            found.append((float((p[k] - q[k]) / np.sqrt(max(q[k] * (1 - q[k]), 0.01))), said))
        else:
            gap = float((np.median(a) - np.median(b)) / max(float(np.nanstd(x[:, f])), 1e-12))
            word = "higher" if gap > 0 else "lower"
            own_, theirs = (cell(column, float(np.median(v))) for v in (a, b))
            found.append((abs(gap), f"{column['name']} {word}: {own_} against {theirs}"))
    return [words for size, words in sorted(found, reverse=True)[:TOLD] if size > 0.2]
