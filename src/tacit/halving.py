"""Which pretext task suits my data? Successive halving over methods, measured on training folds; the test items are not touched."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.assemble import needs_before
from tacit.data.dataset import Dataset
from tacit.errors import Asked, Stopped, TacitError
from tacit.evaluation.panel import NAMES, Ranking, agreement, rank
from tacit.statistics import Resampler, interval
from tacit.tournament import Candidate, Judge, Measured, Say, check, train
from tacit.training.origin import training_digest
from tacit.training.plan import seconds as parse
from tacit.training.run import Run, write_json
from tacit.types import LABELS

LEAST = 3.0  # seconds of training below which a round says nothing
AROUND = 2.0  # seconds that planning and measuring a candidate take, until one was measured


KEPT = ("request", "criterion", "seconds", "left_out", "spent", "overhead", "status", "entered")


@dataclass
class Comparison:
    """What a comparison found: `rounds` of measured candidates, and what follows from the last."""

    out: Path
    request: dict[str, Any]
    criterion: str
    rounds: list[dict[str, Measured]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    spent: float = 0.0
    # seconds that planning and measuring a candidate took at most, in the last round
    overhead: float = field(default_factory=lambda: AROUND)
    status: str = "running"
    entered: list[list[str]] = field(default_factory=list)  # who takes part in each round that was begun

    def finish(self) -> None:
        """All rounds are played: the run that was chosen is told who chose it, and whether labels had a say."""
        run = self.choice()["run"]
        if run and (Path(run) / "run.json").is_file():
            labels = any(m.right is not None for m in self.rounds[0].values())
            Run(Path(run)).note(chosen_by={"compare": str(self.out), "criterion": self.criterion, "labels": labels})
            if labels and (card := Path(run) / "model" / "CARD.md").is_file():
                told = f"- Labels were not read, but of {len(self.rounds[0])} candidates it was chosen by the {self.criterion}.\n"
                card.write_text(card.read_text(encoding="utf-8").replace("- Labels were not read.\n", told), encoding="utf-8")
        self.status = "done"
        self.save()

    def save(self) -> None:
        """Write compare.json, whole or not at all."""
        write_json(self.out / "compare.json", self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        plain = {k: getattr(self, k) for k in KEPT}
        plain["rounds"] = [{name: m.to_json() for name, m in each.items()} for each in self.rounds]
        return plain | ({"ranking": self.table(), "choice": self.choice()} if self.status == "done" else {})

    @classmethod
    def read(cls, out: Path) -> Comparison:
        """A comparison that was begun. Raises TacitError when its file is damaged."""
        try:
            raw = json.loads((out / "compare.json").read_text(encoding="utf-8"))
            rounds = [{name: Measured.from_json(m) for name, m in each.items()} for each in raw["rounds"]]
            return cls(out, rounds=rounds, **{k: raw[k] for k in KEPT})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TacitError(f"{out / 'compare.json'} cannot be read: {error}", "start a new comparison in another --out") from error

    def ranking(self, which: int) -> Ranking:
        """How the measures without labels order one round."""
        whole = {n: m.panel for n, m in self.rounds[which].items() if m.panel is not None and not m.failed}
        return rank(whole, one_method=len({Candidate.read(n).method for n in whole}) < 2)

    def order(self, which: int) -> list[str]:
        """Names of one round, best first; what failed comes last."""
        found = self.rounds[which]
        whole = {n: m for n, m in found.items() if not m.failed}
        free = self.ranking(which).mean
        labelled = all(m.right is not None for m in whole.values())
        key = (lambda n: (-whole[n].score, free[n])) if labelled else (lambda n: (free[n], 0.0))
        return [*sorted(whole, key=key), *(n for n in found if n not in whole)]

    def table(self) -> list[dict[str, Any]]:
        """One row a candidate, best first: those that reached a later round come before those that did not."""
        rows, seen = [], set[str]()
        for which in reversed(range(len(self.rounds))):
            found = self.rounds[which]
            free = self.ranking(which)
            for name in self.order(which):
                if name in seen or (found[name].failed and any(not e[name].failed for e in self.rounds[:which] if name in e)):
                    continue  # shown from a later round, or failed in this one after a good one
                seen.add(name)
                m = found[name]
                low, high = (None, None) if m.right is None else _interval(m.right)
                rows.append(
                    {
                        "candidate": name, "round": which + 1, "train_seconds": self.seconds[which], "steps": m.steps, "run": m.run,
                        "score": None if m.right is None else m.score, "low": low, "high": high, "knn": m.knn,
                        "label_free_rank": free.mean.get(name), "ranked": len(free.mean), "backbone": m.backbone,
                        "panel": m.to_json()["panel"], "health": m.health, "failed": m.failed,
                    }
                )  # fmt: skip
        return sorted(rows, key=lambda r: bool(r["failed"]))  # stable: what failed comes last, whichever round it reached

    @property
    def decisive(self) -> int:
        """The last round in which something could be trained, 0 where there is none."""
        return max((k for k, each in enumerate(self.rounds) if any(not m.failed for m in each.values())), default=0)

    def choice(self) -> dict[str, Any]:
        """The best candidate, its run, why, and how well the measures without labels agreed."""
        which = self.decisive
        last = self.rounds[which]
        best, *others = self.order(which)
        if last[best].failed:
            return {"name": None, "run": None, "reason": "no candidate could be trained", "agreement": None, "disagree": False}
        free = [self.ranking(k) for k in range(len(self.rounds))]
        first = self.rounds[0]
        both = [n for n in free[0].mean if first[n].right is not None]
        rho = agreement([-free[0].mean[n] for n in both], [first[n].score for n in both])
        reason = f"best of {len(first)} by the {self.criterion}"
        rival = next((n for n in others if not last[n].failed), None)
        if rival is not None and last[best].right is not None:
            ahead, low, high = paired(last[best], last[rival])
            known = "percentage points" if self.request["classes"] else "of R2"
            scale = 100 if self.request["classes"] else 1
            said = f"{scale * ahead:+.2g} [{scale * low:+.2g}, {scale * high:+.2g}] {known} ahead of {rival}"
            reason += f": {said}" if low > 0 else f"; {rival} cannot be told apart from it with these labels ({said})"
        elif rival is not None:
            reason += "; the measures disagree, so take this with care" if free[which].disagree else f", before {rival}"
        return {
            "name": best, "run": last[best].run, "reason": reason, "agreement": None if math.isnan(rho) else rho,
            "agreement_candidates": len(both), "disagree": bool(free[which].disagree),
        }  # fmt: skip


def paired(one: Measured, other: Measured) -> tuple[float, float, float]:
    """How far one candidate is ahead of another on the same items, with its 95 % interval."""
    assert one.right is not None and other.right is not None
    return one.score - other.score, *_interval(one.right - other.right)


def _interval(right: np.ndarray) -> tuple[float, float]:
    resampler = Resampler(right.shape[1])
    return interval(resampler.over_runs(resampler.means(right)))


def compare(
    data: Dataset,
    methods: Sequence[str] | None = None,
    *,
    every: bool = False,
    budget: str | float = "30min",
    out: Path,
    resume: bool = False,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
    show: Callable[[Any], None] | None = None,
) -> Comparison:
    """Train candidates for the same time, keep the better half, train those anew for longer, until two are left.

    methods: names, with hyperparameters as simclr@method.temperature=0.5. every: all that can run on this data and read no labels.
    budget: time for all of it. out: folder for compare.json and the runs. resume: go on with the comparison in `out`.
    options: of `pretrain`, for all candidates. Raises Asked for what cannot be meant, Stopped on an interrupt (everything is saved).
    """
    told = Told(options or {}, say or (lambda words: None), show)
    total, judge = parse(budget), Judge(data, seed)
    asked = asked_for("compare", data, total, seed, told.options)
    found = begun(out, resume, asked)
    names: list[str] = []
    left_out: dict[str, str] = {}
    if found is None:
        names, left_out = _candidates(data, methods, every, told)
        affordable(len(names), total, 1 / _rounds_for(len(names)))
    elif methods and [Candidate.read(m).name for m in methods] != found.request["candidates"]:
        raise Asked(f"the comparison in {out} is of {', '.join(found.request['candidates'])}", "resume it with the same --methods")
    if found is not None and found.status == "done":
        return found
    with locked(out):  # what it holds is read again: another process may have been faster
        found = begun(out, resume, asked) or begin(judge, names, out, asked, told, left_out)
        _rounds(found, data, judge, total, told)
        found.finish()
    return found


def begun(out: Path, resume: bool, asked: Mapping[str, Any]) -> Comparison | None:
    """The comparison that `out` holds, if one is to be gone on with. Raises Asked where it was asked otherwise, or is none."""
    if resume and (out / "compare.json").is_file():
        found = Comparison.read(out)
        for key, value in asked.items():
            if found.request[key] != value:
                what = "the data, its labels or its split" if key == "data" else key
                raise Asked(f"{what} changed since the comparison in {out} was started", "resume with the same data and options")
        return found
    if out.exists() and not out.is_dir():
        raise Asked(f"{out} is a file", "choose another --out")
    if out.exists() and any(p.name != "lock" and not p.name.startswith(".compare.json") for p in out.iterdir()):
        raise Asked(f"{out} is not empty", "add --resume to go on with it, or choose another --out")
    return None


def asked_for(kind: str, data: Dataset, budget: float, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same when a comparison is resumed."""
    groups = b"" if data.groups is None else data.groups.tobytes()
    whole = hashlib.blake2b(training_digest(data, True).encode() + data.fingerprint.encode() + groups, digest_size=16)
    return {"kind": kind, "data": whole.hexdigest(), "budget": budget, "seed": seed, "options": dict(options)}


def begin(
    judge: Judge, names: list[str], out: Path, asked: Mapping[str, Any], told: Told, left_out: dict[str, str] | None = None
) -> Comparison:
    """A new comparison, written to `out`."""
    request = {**asked, "candidates": names, "path": judge.data.path, "classes": judge.classes}
    found = Comparison(out, request, judge.criterion, left_out=left_out or {})
    out.mkdir(parents=True, exist_ok=True)
    found.save()
    told.say(f"{len(names)} candidates; what decides: {found.criterion}")
    return found


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps a second process from training in the same folders. Raises Asked where one does, Stopped on an interrupt."""
    lock = Run.start(out / "lock", resume=True)
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped("interrupted; everything is saved", out) from stop
    finally:
        lock.close()


def _rounds(found: Comparison, data: Dataset, judge: Judge, total: float, told: Told) -> None:
    names, share = list(found.request["candidates"]), total / _rounds_for(len(found.request["candidates"]))
    for which in range(len(names)):
        if which and which == len(found.entered):
            names, share = _next(found, total, told.say)
            if not names:
                return
        play(found, which, names, share, data, judge, told)


def _next(found: Comparison, total: float, say: Say) -> tuple[list[str], float]:
    """Who takes part in the next round and the seconds for all of it: the better half, or as many as can have more than they had."""
    good = [n for n in found.order(len(found.rounds) - 1) if not found.rounds[-1][n].failed]
    size = len(found.entered[-1])
    if size == 2 or len(good) < 2:
        return [], 0.0
    while size > 2:
        size = math.ceil(size / 2)
        share = (total - found.spent) / _rounds_for(size)
        if share / min(size, len(good)) - found.overhead >= found.seconds[-1]:
            return good[:size], share
    say("no time is left for a round that is longer than the last one")
    return [], 0.0


def _rounds_for(count: int) -> int:
    """How many rounds halve so many candidates to two."""
    return max(1, math.ceil(math.log2(max(2, count))))


def affordable(count: int, budget: float, part: float) -> None:
    """Raise Asked where this part of the budget, that of the first round, is too short for so many candidates."""
    each = budget * part / count - AROUND
    if each < LEAST:
        least = math.ceil((LEAST + AROUND) * count / part)
        said = f"the budget leaves {max(0.0, each):.1f} s of training for each of {count} candidates"
        raise Asked(said, f"give --budget {least}s at least, or fewer of them")


@dataclass(frozen=True)
class Told:
    """options: of `pretrain`, for all candidates. say: words for a person. show: progress."""

    options: Mapping[str, Any]
    say: Say
    show: Callable[[Any], None] | None = None


def play(found: Comparison, which: int, names: Sequence[str], share: float, data: Dataset, judge: Judge, told: Told) -> None:
    """One round: train and measure each of these candidates for the same time, or those that are left of an interrupted round.

    share: seconds for all of the round. Raises Stopped on an interrupt, with everything saved.
    """
    if which == len(found.entered):
        found.entered.append(list(names))
        found.rounds.append({})
        found.seconds.append(round(max(LEAST, share / len(names) - found.overhead), 3))
    told.say(f"round {which + 1}: {len(found.entered[which])} candidates for {found.seconds[which]:.3g} s each")
    slowest = 0.5
    for name in found.entered[which]:
        if name in found.rounds[which]:
            continue
        begin = time.perf_counter()
        place = found.out / f"round{which + 1}" / Candidate.read(name).folder
        begun_before = place.exists()
        try:
            done = train(
                Candidate.read(name), data, judge, place, found.seconds[which],
                seed=found.request["seed"], options=told.options, say=told.say, show=told.show,
            )  # fmt: skip
        except (Stopped, KeyboardInterrupt) as stop:
            found.spent += time.perf_counter() - begin
            found.save()
            raise Stopped(f"interrupted in round {which + 1} at {name}; everything is saved", found.out) from stop
        took = time.perf_counter() - begin
        if not begun_before and not done.failed:  # what is left of an interrupted candidate says nothing about a whole one
            slowest = max(slowest, took - found.seconds[which])
            found.overhead = slowest
        found.spent += took
        found.rounds[which][name] = done
        found.save()
        score = done.failed or (f"{done.score:.3f}" if done.right is not None else "measured")
        told.say(f"  {name}: {score} after {done.steps} steps ({took:.0f} s)")


def _candidates(data: Dataset, methods: Sequence[str] | None, every: bool, told: Told) -> tuple[list[str], dict[str, str]]:
    """Names of what can run, and why the others cannot. What was named must be able to."""
    left_out: dict[str, str] = {}
    if bool(methods) == every:
        raise Asked("say which methods to compare", "--methods simclr,mae,byol, or --all")
    if methods:
        read = [Candidate.read(text) for text in methods]
        if len({c.name for c in read}) < len(read):
            raise Asked(f"--methods names one candidate twice: {', '.join(methods)}")
        if len(read) < 2:
            raise Asked("a comparison needs at least two candidates", "--methods simclr,mae,byol, or --all")
        for c in read:
            if reason := check(c, data, **told.options):
                raise Asked(f"{c.name} cannot run on this data: {reason}", "leave it out of --methods, or use --all")
        return [c.name for c in read], left_out
    names = []
    for name in registry.names("methods"):
        try:
            reason = "reads labels" if needs_before({"name": name}) & LABELS else check(Candidate(name, name), data, **told.options)
        except Asked as error:  # a plug-in from elsewhere that does not load
            reason = error.message
        if reason:
            left_out[name] = reason
        else:
            names.append(name)
    told.say("left out: " + "; ".join(f"{name} ({reason})" for name, reason in left_out.items()))
    return names, left_out


def summary(found: Comparison) -> list[str]:
    """What a comparison found, as sentences."""
    choice = found.choice()
    lines = [f"choice: {choice['name']}, {choice['reason']}" if choice["name"] else choice["reason"]]
    if choice["agreement"] is not None:
        n = choice["agreement_candidates"]
        lines.append(f"the ranking without labels agrees with the one with labels by {choice['agreement']:+.2f} (Spearman, {n} candidates)")
    if left_out := found.ranking(found.decisive).left_out:
        without = "; ".join(f"{NAMES[m]} ({why})" for m, why in left_out.items())
        lines.append(f"left out of the label-free rank: {without}")
    if choice["disagree"]:
        lines.append("the measures without labels disagree among each other: do not trust their mean rank")
    return lines


def short(found: Comparison) -> dict[str, Any]:
    """Plain JSON without what fills screens: which items each probe got right."""
    plain = found.to_json()
    return plain | {"rounds": [{n: {**m, "right": None} for n, m in each.items()} for each in plain["rounds"]]}
