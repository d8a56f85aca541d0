"""`explain`: which parts of an item make an encoder say what it says, tested before it is shown."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit import questions, registry
from tacit.api import Say
from tacit.embedding.model import Model
from tacit.errors import Asked, CannotPair, MissingExtra
from tacit.explainers.attribution import Attributed, Attribution
from tacit.explainers.checks import Tested, check
from tacit.explainers.draw import picture
from tacit.explainers.links import links, strongest
from tacit.explainers.problem import Problem
from tacit.explainers.values import Value
from tacit.subject import Subject, background_of, others, row_named, seen, stored
from tacit.training.run import finite, write_json
from tacit.types import Batch

MOST = 64  # parts of an item
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

    def to_shap(self) -> Any:
        """As the package shap holds such values, for its plots: `shap.plots.waterfall(explanation.to_shap())`. Raises MissingExtra."""
        try:
            import shap
        except ModuleNotFoundError as error:
            raise MissingExtra("shap", "explain", "to_shap") from error
        return shap.Explanation(self.each, base_values=self.empty, data=np.array(self.names), feature_names=list(self.names))

    def to_lime(self) -> Any:
        """As the package lime holds such weights, for its lists and plots. Raises MissingExtra."""
        try:
            from lime.explanation import DomainMapper
            from lime.explanation import Explanation as Lime
        except ModuleNotFoundError as error:
            raise MissingExtra("lime", "explain", "to_lime") from error

        class Named(DomainMapper):  # type: ignore[misc]
            def __init__(self, names: Sequence[str]) -> None:
                self.names = names

            def map_exp_ids(self, exp: Any, **more: Any) -> list[tuple[str, float]]:
                return [(self.names[i], w) for i, w in exp]

        out = Lime(Named(self.names), mode="regression", class_names=[self.said])
        order = np.argsort(-np.abs(self.each), kind="stable")
        out.local_exp = {1: [(int(i), float(self.each[i])) for i in order], 0: [(int(i), -float(self.each[i])) for i in order]}
        out.intercept, out.predicted_value, out.min_value, out.max_value = (
            {1: self.empty, 0: self.empty},
            self.whole,
            self.empty,
            self.whole,
        )
        return out

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
    run: Any,
    data: Any,
    *,
    item: int | str | None = None,
    pair: tuple[int | str, int | str] | None = None,
    these: str | None = None,
    those: str | None = None,
    anomaly: bool = False,
    pretext: bool = False,
    next_: str | None = None,
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

    run: folder of a run, of a fine-tuned or exported model (of which what it decides is explained), or an open model. data: a path, an
    array or open data. item: its number or name. pair: two items: which parts make them alike. these: a class: why the item is nearer to
    its items than to those of the class `those`, None = of all others. anomaly: why it is far from the training items. pretext: what the
    task that the run learned by looks at. next_: which past events make this item of an event log come next, "top" = the likeliest. None
    of these: what its embedding comes from. how: an attribution, None = what suits the kind of data. settings: of the attribution. parts:
    of an item, at most. untrained_copy: the map of a copy of the network with random weights, tested on the run's network: it has to fail.
    train: the data that was learned from, None = as the run says. options: for opening paths.
    Raises Asked for an item or class that does not exist, CannotPair where the network or the data has not what an attribution needs.
    """
    say = say or (lambda words: None)
    subject, options = Subject.open(run), dict(options or {})
    net, decider = subject.net, subject.decider
    asked_for = [pair is not None, these is not None, anomaly, pretext, next_ is not None]
    if sum(asked_for) > 1:
        raise Asked("--pair, --class, --anomaly, --pretext and --next ask for different things", "ask for one of them")
    if those is not None and these is None:
        raise Asked("--rather-than needs a class to hold against it", "name it with --class")
    if parts < 2:
        raise Asked(f"--parts {parts}: there is nothing to compare", "give 2 or more")
    if subject.decides and (asked_for.count(True) > (these is not None) or those is not None):
        raise Asked(f"{subject.name} decides: what it says of an item can be explained", "ask for nothing else, or for a --class")
    if (pretext or next_ is not None) and (subject.path is None or subject.held is not None):
        raise Asked(f"{subject.name} is no run", "give the folder of `tacit pretrain`")
    items = subject.items(data, options, say)
    rows = [row_named(items, v) for v in (pair if pair is not None else (0 if item is None else item,))]
    name, way = attribution(net, how or ("occlusion" if pretext else None), settings)
    if way.gradients and subject.held is not None:
        if how is not None:
            raise CannotPair(f"{subject.name} is exported and has no gradients, which {name} follows", "occlusion, shapley, masks or lime")
        name, way = attribution(net, "occlusion", settings)
    if pretext or (decider is not None and decider.network.cuts):
        shown = [stored(net, items, r) for r in rows]  # items are cut, or made into views, as large as they are stored
    else:
        shown = [seen(net, items, r) for r in rows]
    known, background = None, None
    if anomaly or pretext or next_ is not None or not net.modality.layout.ordered:
        known = subject.known(data, items, train, options, say)
    if not net.modality.layout.ordered and known is not None:
        background = background_of(net, known, others(known, items, rows[0]), seed)
        background = background[:2] if pretext else background  # each copy of a task costs a step
    if pretext and known is not None and subject.path is not None:
        from tacit.pretext import solved

        asked_of = [solved(subject.path, net, items, known, rows[0], seed)]
    elif next_ is not None and known is not None:
        asked_of = [questions.of_next(net, known, items, rows[0], next_, seed, say)]
    elif decider is not None:
        asked_of = [questions.of_decision(decider, stored(net, items, rows[0]), these)]
    elif subject.decides:
        asked_of = [questions.of_export(subject, items, rows[0], these)]
    else:
        near = known if anomaly else None
        asked_of = [questions.of_item(net, items, shown, rows, k, these, those, near) for k in range(len(rows))]
    about, fresh, mapped = subject.about(items), subject.fresh(items), []
    for view, value_of in zip(shown, asked_of, strict=True):
        mapped.append(one(net, view, value_of, way, fresh, parts=parts, background=background, seed=seed, copy=untrained_copy))
    both = None
    if pair is not None and subject.held is None:
        both = links(net, shown[0], shown[1], mapped[0].problem.pieces, mapped[1].problem.pieces)
    out = []
    for k, (row, done) in enumerate(zip(rows, mapped, strict=True)):
        asked = {"item": str(items.names[row]), "row": row, **about, "seed": seed, "parts": parts, "untrained_copy": untrained_copy}
        if both is not None:
            each, own, other = both
            asked["links"] = strongest(each, own, other) if k == 0 else strongest(each.T, other, own)
        out.append(_kept(subject.path, done, name, way, asked))
    return out


def one(
    net: Model,
    view: Batch,
    value_of: Callable[[Model], Value],
    way: Attribution,
    fresh: Callable[[int], Any] | None,
    *,
    parts: int,
    background: torch.Tensor | None,
    seed: int,
    copy: bool = False,
) -> Mapped:
    """The map of one item with its tests and what it cost.

    value_of: what is explained, by a network. fresh: the network with random weights, by a seed, None = there is
    none. copy: the map is that of such a one. Raises CannotPair where it is asked for and there is none.
    """
    if copy and fresh is None:
        raise CannotPair("there is no copy of this decision with random weights", "explain the model that it was exported from")
    begin = time.perf_counter()
    problem = Problem(net, view, value_of(net), parts, background)

    def by(s: int, of: Problem = problem) -> Attributed:
        return way(of, 1000 * seed + s)

    def twin(s: int) -> Problem:
        assert fresh is not None
        other = fresh(s)
        return Problem(other, view, value_of(other), parts, background)

    mapped = twin(seed) if copy else problem
    found = by(0, mapped)
    own = time.perf_counter() - begin
    other = twin(seed + 1) if fresh is not None else problem
    rivals = {} if fresh is None else {"random weights": lambda: by(0, other)}
    rivals |= {"the network itself": lambda: by(0)} if copy else {}
    tested = check(problem, found, way, seed, rivals, lambda s: by(s, mapped))
    looks = sum(p.evaluations for p in {id(p): p for p in (problem, mapped, other)}.values())
    cost = {"seconds": round(time.perf_counter() - begin, 3), "seconds_of_map": round(own, 3), "evaluations": looks}
    return Mapped(problem, found, tested, cost)


def attribution(net: Model, how: str | None, settings: Mapping[str, Any] | None = None) -> tuple[str, Attribution]:
    """An attribution by its name. Raises Asked for an unknown one or a setting that it has not."""
    name = how or net.modality.explained
    kind = registry.find("attributions", name)
    usual = net.modality.explained_with if name == net.modality.explained else {}
    return name, kind(**registry.check_knobs(kind, {**usual, **(settings or {})}, "explain"))


def _kept(path: Path | None, done: Mapped, name: str, way: Attribution, asked: dict[str, Any]) -> Explanation:
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
    drawn = picture(problem.view.x[0].cpu().numpy(), problem.pieces, each.tolist(), None if doubt is None else doubt.tolist())
    written = None
    if path is not None:
        written = path / "explain" / f"{asked['row']}-{short}-{key}.json"
        write_json(written, finite(result))
        written.with_suffix(".png").write_bytes(drawn)
    return Explanation(
        asked["item"], value.said, name, problem.pieces.names, each, doubt, problem.all, problem.none, tested, drawn, result, written
    )
