"""`recommend`: what comes next in each sequence of events, and how good the ranking is beside those without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tacit.api import Say, digest, untrained
from tacit.data.dataset import Dataset
from tacit.deciding import Predictions
from tacit.embedding.model import Model, load
from tacit.errors import Asked, BadData, few, nearest
from tacit.evaluation.verdict import DISCORDANT
from tacit.origin import as_read, training_data
from tacit.recommending.ranker import Ranker
from tacit.recommending.rankings import CHUNK, TOP, Scores, after, classics, ended, judged, ranked, without
from tacit.runtime import choose_device, commit
from tacit.sides import clean_test
from tacit.training.run import finite, write_json


@dataclass(frozen=True)
class Recommended:
    """What may come next. found: one row for each sequence and place: id, place, item, probability. result: plain JSON, as in `path`."""

    found: Predictions
    result: dict[str, Any] = field(repr=False)
    path: Path | None = None

    @property
    def verdict(self) -> str:
        """Whether the network's ranking is better than the best of the others."""
        return str(self.result["verdict"])


def recommend(
    run: str | Path,
    data: Any,
    *,
    column: str | None = None,
    top: int = TOP,
    new: bool = False,
    train: Any = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Recommended:
    """Rank what comes next in each sequence, and measure the ranking on the run's held-out sequences, whose last event is hidden.

    run: folder of a run on event logs. data: a path, a table, or open data. column: what is ranked, None = the one with the most values
    that several sequences have. top: so many for each sequence. new: leave out what a sequence has had already. train: the data to learn
    from, None = that of the run. options: for opening data. Raises Asked for a run on other data and a wrong column, BadData with too few
    sequences.
    """
    say = say or (lambda words: None)
    if top < 1:
        raise Asked(f"{top} recommendations are not possible", "give 1 or more")
    path, given = Path(run), dict(options or {})
    net = load(run, choose_device().value)
    if net.spec.modality != "events":
        raise Asked(f"the run in {path} learned from {net.spec.modality} data, in which nothing follows", "train on an event log")
    known = training_data(net, path, train, given, say)
    items = as_read(net, path, data, given, say)
    f, names = column_of(net, known, column)
    ranker = Ranker(net, f, len(names)).fit(known, known.train, seed, say)
    say("the same with an untrained network")
    fresh = Ranker(untrained(net, seed), f, len(names)).fit(known, known.train, seed)
    if len(names) <= TOP:
        say(f"note: there are {len(names)} different values: among the first {TOP} is every one")
    if new and int(items.spec.extra["longest"]) > items.x.shape[2]:
        say(f"note: of long sequences the latest {items.x.shape[2]} events are read: what was had before them is not known")
    others = classics(items_of(known, known.train, f), len(names))
    held, notes = clean_test(known, known.train, known, known.test, path)
    for note in notes:
        say(f"note: {note}")
    say(f"ranking the last event of {len(held):,} held-out sequences")
    scored = measure({"ssl": ranker, "untrained": fresh}, others, known, held, f, new)
    rows: dict[str, list[Any]] = {"id": [], "place": [], "item": [], "probability": []}
    for start in range(0, len(items), CHUNK):
        part = np.arange(start, min(start + CHUNK, len(items)))
        scores = ranker.scores(items, part)
        if new:
            without(scores, items_of(items, part, f))
        order = np.argpartition(-scores, min(top, len(names)) - 1, 1)[:, :top]
        order = np.take_along_axis(order, np.argsort(-np.take_along_axis(scores, order, 1), 1, kind="stable"), 1)
        for i, best in zip(part.tolist(), order, strict=True):
            best = best[np.isfinite(scores[i - start, best])]
            rows["id"] += [items.names[i]] * len(best)
            rows["place"] += range(1, len(best) + 1)
            rows["item"] += [names[k] for k in best]
            rows["probability"] += np.exp(scores[i - start, best]).round(6).tolist()
    found = Predictions({k: np.array(v) if k in ("place", "probability") else v for k, v in rows.items()})
    result: dict[str, Any] = {
        "run": str(path),
        "data": items.path,
        "fingerprint": items.fingerprint,
        "model": digest(path),
        "commit": commit(),
        "column": net.spec.extra["columns"][f]["name"],
        "sequences": len(items),
        "items": len(names),
        "top": top,
        "new": new,
        "scores": scored,
        "verdict": _verdict(scored),
    }
    asked = hashlib.blake2b(f"{items.fingerprint} {known.fingerprint} {f} {top} {new} {seed}".encode(), digest_size=6).hexdigest()
    written = path / "recommend" / f"{asked}.json"
    write_json(written, finite(result))
    return Recommended(found, result, written)


def column_of(net: Model, known: Dataset, asked: str | None) -> tuple[int, list[str]]:
    """The column that is ranked, and its values; unless it is named, the one with the most values that several sequences have."""
    columns = net.spec.extra["columns"]
    words = {c["name"]: f for f, c in enumerate(columns) if "values" in c}
    if not words:
        raise Asked("the log has no column of categories to rank", "name one with --columns NAME:category when you pretrain")
    if asked is None:
        asked = max(words, key=lambda name: _shared(items_of(known, known.train, words[name]), len(columns[words[name]]["values"])))
    if asked not in words:
        raise Asked(f"{asked!r} is no column of categories here (there are: {few(words)})", nearest(asked, list(words)))
    return words[asked], list(columns[words[asked]]["values"])


def items_of(data: Dataset, rows: np.ndarray, f: int) -> list[np.ndarray]:
    """The items of each sequence in their order, int64, -1 = unknown."""
    assert data.lengths is not None
    cells, lengths = np.asarray(data.x[rows, f]), data.lengths[rows]
    return [np.nan_to_num(s[:n], nan=-1).astype(np.int64) for s, n in zip(cells, lengths.tolist(), strict=True)]


def _shared(sequences: list[np.ndarray], count: int) -> int:
    """How many of so many values two or more sequences have."""
    seen = np.zeros(count, np.int64)
    for s in sequences:
        seen[np.unique(s[s >= 0])] += 1
    return int((seen > 1).sum())


def measure(
    nets: Mapping[str, Ranker], others: Mapping[str, Scores], known: Dataset, rows: np.ndarray, f: int, new: bool = False
) -> list[dict[str, Any]]:
    """How well each ranking places the last item of held-out sequences, the first of `nets` against all others.

    others: rankings by the items so far. rows: of the sequences. f: column of the items. new: only items that a sequence has not had.
    """
    sequences = items_of(known, rows, f)
    usable = [i for i, s in enumerate(sequences) if len(s) > 1 and s[-1] >= 0 and not (new and s[-1] in s[:-1])]
    if not usable:
        raise BadData("no held-out sequence has a last event to ask for", "hold some out with --split, or give more sequences")
    before, truth = ended([sequences[i] for i in usable])
    asked = rows[usable]

    def end(net: Ranker) -> Callable[[slice], np.ndarray]:
        return lambda part: net.scores(known, asked[part], hidden=1)

    ways = {**{name: end(net) for name, net in nets.items()}, **{name: after(before, score) for name, score in others.items()}}
    return judged({name: ranked(way, truth, before if new else None) for name, way in ways.items()})


def _verdict(scored: list[dict[str, Any]]) -> str:
    """One sentence: against the best of the others, the one with the highest nDCG on the same held-out sequences."""
    mine, best = scored[0], max(scored[1:], key=lambda r: r["ndcg"][0])
    gain, low, high = best["ahead"]["ndcg"]
    enough = best["differ"] >= DISCORDANT  # with fewer, no sign test reaches 5 %
    word = "No clear difference" if not enough else "It helped" if low > 0 else "It hurt" if high < 0 else "No clear difference"
    name = "the untrained network" if best["name"] == "untrained" else best["name"].replace("_", " ")
    return (
        f"{word}: nDCG@{TOP} {mine['ndcg'][0]:.3f} against {best['ndcg'][0]:.3f} of {name}, the best of the others "
        f"here: {gain:+.3f} (95 % interval {low:+.3f} to {high:+.3f}, {mine['n']:,} held-out sequences)."
    )
