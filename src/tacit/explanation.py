"""`explain`: which parts of an item make an encoder say what it says, tested before it is shown."""

from __future__ import annotations

import difflib
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit import registry
from tacit.api import Say, digest, untrained
from tacit.data.dataset import Dataset
from tacit.deciding import Knowledge
from tacit.embedding.model import Model, load
from tacit.errors import Asked, few, nearest
from tacit.explainers import values
from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.checks import Tested, check
from tacit.explainers.draw import picture
from tacit.explainers.problem import Problem
from tacit.explainers.values import Value, row_of
from tacit.finetuning.decider import Decider, is_decider
from tacit.finetuning.network import Network
from tacit.origin import as_read, training_data
from tacit.runtime import choose_device, commit
from tacit.training.run import finite, write_json
from tacit.types import Batch

MOST = 64  # parts of an item
BACKGROUND = 16  # other items whose values stand in for a part that is gone
CENTRE = 500  # items that settle the directions of a network with random weights
CORPUS = 200  # items of a class that an item is held against
WORDS = {"passed": "passed its tests", "failed": "FAILED a test", "not testable": "could not be tested"}


@dataclass(frozen=True)
class Explanation:
    """What the parts of an item add to a number, and whether that survived its tests.

    item: its name. said: what is explained. how: the attribution. names: of the parts. each: what every part adds, float64 [P]. doubt:
    how sure each is, or None. whole, empty: the number of the item, and of the item with every part hidden. tested: the checks.
    picture: PNG. result: plain JSON, as it was written to `path`.
    """

    item: str
    said: str
    how: str
    names: tuple[str, ...]
    each: np.ndarray
    doubt: np.ndarray | None
    whole: float
    empty: float
    tested: Tested
    picture: bytes = field(repr=False)
    result: dict[str, Any] = field(repr=False)
    path: Path | None = None

    @property
    def verdict(self) -> str:
        """passed, failed or not testable."""
        return self.tested.verdict

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The parts that add or take away most, with how much."""
        order = np.argsort(-np.abs(self.each), kind="stable")[:count]
        return [(self.names[i], float(self.each[i])) for i in order]


@dataclass(frozen=True)
class Mapped:
    """One map before it is kept: of which problem, what was found, its tests, seconds and looks at the item."""

    problem: Problem
    found: Attributed
    tested: Tested
    cost: dict[str, Any]


def explain(
    run: str | Path,
    data: Any,
    *,
    item: int | str | None = None,
    pair: tuple[int | str, int | str] | None = None,
    these: str | None = None,
    those: str | None = None,
    anomaly: bool = False,
    pretext: bool = False,
    how: str | None = None,
    settings: Mapping[str, Any] | None = None,
    parts: int = MOST,
    untrained_copy: bool = False,
    train: Any = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> list[Explanation]:
    """Explain one item (of a pair both).

    run: folder of a run, or of a fine-tuned model, of which what it decides is explained. data: a path, an array or open data. item: its
    number or name. pair: two items: which parts make them alike. these: a class: why the item is nearer to its items than to those of the
    class `those`, None = of all others. anomaly: why it is far from the training items. pretext: what the task that the run learned by
    looks at. None of these: what its embedding comes from. how: an attribution, None = what suits the kind of data. settings: of the
    attribution. parts: of an item, at most. untrained_copy: the map of a copy of the network with random weights, tested on the run's
    network: it has to fail. train: the data that was learned from, None = as the run says. options: for opening paths.
    Raises Asked for an item or class that does not exist, CannotPair where the network or the data has not what an attribution needs.
    """
    say = say or (lambda words: None)
    path, options = Path(run), dict(options or {})
    if sum((pair is not None, these is not None, anomaly, pretext)) > 1:
        raise Asked("--pair, --class, --anomaly and --pretext ask for different things", "ask for one of them")
    if those is not None and these is None:
        raise Asked("--rather-than needs a class to hold against it", "name it with --class")
    if parts < 2:
        raise Asked(f"--parts {parts}: there is nothing to compare", "give 2 or more")
    decider = Decider.load(path, choose_device().value) if is_decider(path) else None
    net = load(path, choose_device().value) if decider is None else decider.network.model
    if decider is not None and (pair is not None or anomaly or pretext or those is not None):
        raise Asked(f"{path} decides: what it says of an item can be explained", "leave --pair, --anomaly, --pretext and --rather-than out")
    items = as_read(net, path, data, options, say)
    rows = [row_named(items, v) for v in (pair if pair is not None else (0 if item is None else item,))]
    name, way = attribution(net, how or ("occlusion" if pretext else None), settings)
    if pretext or (decider is not None and decider.network.cuts):
        shown = [stored(net, items, r) for r in rows]  # items are cut, or made into views, as large as they are stored
    else:
        shown = [seen(net, items, r) for r in rows]
    known = None
    if anomaly or pretext or not net.modality.layout.ordered:
        known = known_to(net, path, data, items, train, options, say)
    background = None
    if not net.modality.layout.ordered and known is not None:
        background = background_of(net, known, others(known, items, rows[0]), seed)
    if pretext and known is not None:
        from tacit.pretext import solved

        asked_of = [solved(path, net, items, known, rows[0], seed)]
    elif decider is not None:
        asked_of = [_decision(decider, stored(net, items, rows[0]), these)]
    else:
        asked_of = [_value(net, items, shown, rows, k, these, those, known if anomaly else None) for k in range(len(rows))]
    about = about_of(path, items)
    out = []
    for row, view, value_of in zip(rows, shown, asked_of, strict=True):
        fresh = partial(untrained_like, net, items)
        done = one(net, view, value_of, way, fresh, parts=parts, background=background, seed=seed, copy=untrained_copy)
        asked = {"item": str(items.names[row]), "row": row, **about, "seed": seed, "parts": parts, "untrained_copy": untrained_copy}
        out.append(_kept(path, done, name, way, asked))
    return out


def one(
    net: Model,
    view: Batch,
    value_of: Callable[[Model], Value],
    way: Attribution,
    fresh: Callable[[int], Model],
    *,
    parts: int,
    background: torch.Tensor | None,
    seed: int,
    copy: bool = False,
) -> Mapped:
    """The map of one item with its tests and what it cost.

    value_of: what is explained, by a network. fresh: the network with random weights, by a seed. copy: the map is that of such a one.
    """
    begin = time.perf_counter()
    problem = Problem(net, view, value_of(net), parts, background)

    def by(s: int, of: Problem = problem) -> Attributed:
        return way(of, 1000 * seed + s)

    def twin(s: int) -> Problem:
        other = fresh(s)
        return Problem(other, view, value_of(other), parts, background)

    mapped = twin(seed) if copy else problem
    found = by(0, mapped)
    own = time.perf_counter() - begin
    other = twin(seed + 1)
    rivals = {"random weights": lambda: by(0, other)} | ({"the network itself": lambda: by(0)} if copy else {})
    tested = check(problem, found, way, seed, rivals, lambda s: by(s, mapped))
    looks = sum(p.evaluations for p in {id(p): p for p in (problem, mapped, other)}.values())
    cost = {"seconds": round(time.perf_counter() - begin, 3), "seconds_of_map": round(own, 3), "evaluations": looks}
    return Mapped(problem, found, tested, cost)


def untrained_like(net: Model, items: Dataset, seed: int) -> Model:
    """The network with random weights; by some of the items its directions are settled, where such data has any."""
    some = np.arange(0, len(items), max(1, len(items) // CENTRE))
    return untrained(net, seed).eval().settle(items.x[some], None if items.lengths is None else items.lengths[some])


def about_of(path: Path, items: Dataset) -> dict[str, Any]:
    """What was read: the model and the data, with their hashes, and our code."""
    return {"run": str(path), "data": items.path, "fingerprint": items.fingerprint, "model": digest(path), "commit": commit()}


def known_to(net: Model, path: Path, data: Any, items: Dataset, train: Any, options: Mapping[str, Any], say: Say) -> Dataset:
    """The items that a run or a fine-tuned model learned from; where nobody knows, the training part of the explained ones.

    Raises Asked where the data of a path is asked for, and what the run learned from is gone.
    """
    if train is None and is_decider(path):
        about = Knowledge.read(path).about
        train = about.get("place") or (about.get("data") if str(about.get("data")).startswith("builtin:") else None)
        options = {**about.get("options", {}), **options}
    try:
        return training_data(net, path, train, options, say)
    except Asked as error:
        if isinstance(data, (str, Path)):
            raise
        say(f"note: {error.message}: the training part of the explained data stands in")
        return items


def others(known: Dataset, items: Dataset, row: int) -> np.ndarray:
    """Training rows of the known items (all of them, where none is for training) without the explained one."""
    rows = known.train if len(known.train) else np.arange(len(known))
    return rows[rows != row] if known.fingerprint == items.fingerprint else rows


def attribution(net: Model, how: str | None, settings: Mapping[str, Any] | None = None) -> tuple[str, Attribution]:
    """An attribution by its name. Raises Asked for an unknown one or a setting that it has not."""
    name = how or net.modality.explained
    kind = registry.find("attributions", name)
    return name, kind(**registry.check_knobs(kind, settings or {}, "explain"))


def row_named(items: Dataset, asked: int | str) -> int:
    """The row of an item by its number or name. Raises Asked."""
    names = [str(n) for n in items.names]
    if isinstance(asked, str) and asked in names:  # names may be numbers
        return names.index(asked)
    if isinstance(asked, int) or re.fullmatch(r"-?[0-9]+", asked):
        row = int(asked)
        if not 0 <= row < len(items):
            raise Asked(f"there is no item {row}: {items.path} has items 0 to {len(items) - 1}")
        return row
    near = difflib.get_close_matches(asked, names[:20_000], 1)
    way = f"did you mean {near[0]!r}?" if near else f"a number from 0 to {len(items) - 1}, or a name"
    raise Asked(f"there is no item {asked!r}", way)


def seen(net: Model, items: Dataset, row: int) -> Batch:
    """One item as the encoder sees it."""
    with torch.no_grad():
        return row_of(net.plain(stored(net, items, row)), 0)


def stored(net: Model, items: Dataset, row: int) -> Batch:
    """One item as it is stored."""
    at = np.array([row])
    (batch,) = net.batches(items.x[at], None if items.lengths is None else items.lengths[at])
    return batch


def background_of(net: Model, known: Dataset, rows: np.ndarray, seed: int) -> torch.Tensor:
    """Some of these rows as the encoder sees them. Raises Asked where there is none."""
    if not len(rows):
        raise Asked(f"{known.path} has no other item whose values could stand in", "name the data that was learned from: --train DATA")
    rows = np.sort(np.random.default_rng([seed, 808]).choice(rows, min(BACKGROUND, len(rows)), replace=False))
    (batch,) = net.batches(known.x[rows], None)
    return net.plain(batch).x


def _value(
    net: Model,
    items: Dataset,
    shown: Sequence[Batch],
    rows: Sequence[int],
    k: int,
    these: str | None,
    those: str | None,
    known: Dataset | None,
) -> Callable[[Model], Value]:
    """What is explained of item k, by any network of this kind; known: the training items that it is strange beside, None = it is not."""
    if len(shown) == 2:
        return lambda m: values.pair(m, shown[1 - k], f"how near it is to {items.names[rows[1 - k]]}")
    if known is not None:
        near = others(known, items, rows[k])
        near = near[:: max(1, len(near) // values.BANK)]
        return lambda m: values.strangeness(m, _vectors(m, known, near))
    if these is None:
        return lambda m: values.itself(m, shown[k])
    a, b = _of_class(items, these, None, rows[k]), _of_class(items, those, these, rows[k])
    said = f"how much nearer it is to the items of {these} than to {f'those of {those}' if those else 'all others'}"
    return lambda m: values.contrast(m, _vectors(m, items, a), _vectors(m, items, b), said)


def _decision(decider: Decider, batch: Batch, these: str | None) -> Callable[[Model], Value]:
    """What a fine-tuned model says of an item, as it is stored: for a class, or for the one that it decides for."""
    network, head = decider.network, decider.knowledge.head
    if head.level != "item":
        raise Asked(f"{decider.knowledge.name} says more than one thing of an item", "explain the run that it was made from")
    if these is not None and these not in head.classes:
        raise Asked(f"there is no class {these!r}", f"{nearest(these, list(head.classes))} of {few(head.classes)}")
    exclusive = decider.knowledge.name == "classification"
    with torch.no_grad():
        best = int(network.decide(batch)[0].argmax())
    k = best if these is None else head.classes.index(these)
    word = f"the log-odds of {head.classes[k]}" if exclusive else f"the evidence for {head.classes[k]}" if head.classes else "the number"
    said = f"{word} that {decider.knowledge.about.get('target') or 'the model'} is decided by"

    def of(m: Model) -> Value:
        if m is network.model:
            return values.decision(network, k, exclusive, said)
        other = Network(m, head, network.tiles)  # the same reading of another network
        other.layer, other.bank = network.layer, network.bank
        return values.decision(other, k, exclusive, said)

    return of


def _vectors(m: Model, items: Dataset, rows: np.ndarray) -> np.ndarray:
    """Embeddings of whole items."""
    return m.vectors(items.x[rows], None if items.lengths is None else items.lengths[rows], tiles=False)


def _of_class(items: Dataset, name: str | None, without: str | None, row: int) -> np.ndarray:
    """Some items of a class, or of all but one class; the explained item is none of them."""
    if items.labels is None or not items.classes:
        raise Asked(f"{items.path} has no classes", "name their column with --target")
    for word in (name, without):
        if word is not None and word not in items.classes:
            raise Asked(f"there is no class {word!r}", f"{nearest(word, list(items.classes))} of {few(items.classes)}")
    if name is not None:
        chosen = items.labels == items.classes.index(name)
    else:
        chosen = (items.labels >= 0) & (items.labels != items.classes.index(str(without)))
    found = np.flatnonzero(chosen)
    found = found[found != row]
    if not len(found):
        raise Asked(f"no other item is of {f'the class {name!r}' if name else f'another class than {without!r}'}")
    return found[:: max(1, -(-len(found) // CORPUS))]


def _kept(path: Path, done: Mapped, name: str, way: Attribution, asked: dict[str, Any]) -> Explanation:
    """As an object, and as files in the run's folder."""
    problem, found, tested, value = done.problem, done.found, done.tested, done.problem.value
    each = found.each.numpy()
    doubt = None if found.doubt is None else found.doubt.numpy()
    note = "; ".join(filter(None, [found.said, "" if way.tells else "it shows where the network looks, not what it uses"]))
    result: dict[str, Any] = {
        **asked,
        "explains": value.said + (", by a network with random weights" if asked["untrained_copy"] else ""),
        "how": name,
        "note": note,
        "kind": problem.pieces.kind,
        "whole": problem.all,
        "empty": problem.none,
        "parts_of_item": [
            {"name": n, "adds": float(v), **({} if doubt is None else {"doubt": float(doubt[i])})}
            for i, (n, v) in enumerate(zip(problem.pieces.names, each, strict=True))
        ],
        "boxes": [list(map(list, b)) for b in problem.pieces.boxes],
        "verdict": tested.verdict,
        "checks": tested.plain(),
        "curves": {k: list(v) for k, v in tested.curves.items()},
        "cost": done.cost,
    }
    told = "\0".join(map(str, (value.said, asked["fingerprint"], asked["untrained_copy"])))
    key = hashlib.blake2b(told.encode(), digest_size=4).hexdigest()
    short = re.sub(r"\W+", "_", Path(name.rpartition(":")[0] or name).stem)  # an attribution may be named by its file
    written = path / "explain" / f"{asked['row']}-{short}-{key}.json"
    write_json(written, finite(result))
    drawn = picture(problem.view.x[0].cpu().numpy(), problem.pieces, each.tolist(), None if doubt is None else doubt.tolist())
    written.with_suffix(".png").write_bytes(drawn)
    return Explanation(
        asked["item"], value.said, name, problem.pieces.names, each, doubt, problem.all, problem.none, tested, drawn, result, written
    )
