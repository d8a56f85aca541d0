"""How strong should augmentation be, and which invariances would erase what the labels say? One change at a time, on training folds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.assemble import make_modality
from tacit.data.dataset import Dataset
from tacit.errors import Asked
from tacit.halving import Comparison, Told, affordable, asked_for, begin, begun, locked, paired, play
from tacit.tournament import Candidate, Judge, Say, check
from tacit.training.plan import seconds as parse

FIRST = 2 / 3  # of the budget, for the single changes


def tune(
    data: Dataset,
    *,
    method: str | None = None,
    budget: str | float = "30min",
    out: Path,
    resume: bool = False,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
    show: Callable[[Any], None] | None = None,
) -> Comparison:
    """Try each strength of augmentation by itself, then all that helped together against the preset.

    method: what trains, None = simclr. budget: time for all of it, two thirds of it for the single changes. Everything else: as for
    `compare`. Raises Asked where the method looks at no augmented views.
    """
    method = method or "simclr"
    if not registry.find("methods", method).views.global_:
        raise Asked(f"{method} looks at no augmented views, so there is nothing to tune", "give --method simclr")
    told = Told(options or {}, say or (lambda words: None), show)
    total, judge = parse(budget), Judge(data, seed)
    tried = changes(data)
    if not tried:
        raise Asked(f"{data.modality} data has no augmentation whose strength could be varied")
    if reason := check(Candidate(method, method), data, **told.options):
        raise Asked(f"{method} cannot be tuned here: {reason}", "give --method simclr")
    asked = asked_for(f"augmentation of {method}", data, total, seed, told.options)
    found = begun(out, resume, asked)
    names = [method, *(f"{method}@modality.{knob}={_text(value)}" for knob, value in tried)]
    if found is None:
        affordable(len(names), total, FIRST)
    elif found.status == "done":
        return found
    with locked(out):
        found = begun(out, resume, asked) or begin(judge, names, out, asked, told)
        play(found, 0, names, total * FIRST, data, judge, told)
        last = finalists(found)
        if len(found.entered) > 1 or (total - found.spent) / max(1, len(last)) - found.overhead >= found.seconds[0]:
            play(found, 1, last, total - found.spent, data, judge, told)
        else:
            told.say("no time is left for a last round that is longer than the first")
        found.finish()
    return found


def changes(data: Dataset) -> list[tuple[str, Any]]:
    """(hyperparameter, value): every strength of this modality that is not what it has now."""
    modality = make_modality(data.spec, {})
    now = current(modality)
    return [(knob, value) for knob, values in modality.strengths.items() for value in values if value != now[knob]]


def current(modality: Any) -> dict[str, Any]:
    """The strengths as the preset has them; what the data decides ("auto") is what it decided."""
    defaults = {k: p.default for k, p in inspect.signature(type(modality).__init__).parameters.items()}
    return {k: getattr(modality, k) if isinstance(defaults[k], str) else defaults[k] for k in modality.strengths}


def finalists(found: Comparison) -> list[str]:
    """The preset, the best single change, and for every strength the best value that beat the preset, all of them together."""
    names = found.request["candidates"]
    base, order = names[0], found.order(0)
    better = [n for n in order[: order.index(base)] if not found.rounds[0][n].failed]
    if not better:
        return [base, *(n for n in order[1:2] if not found.rounds[0][n].failed)]
    words: dict[str, str] = {}
    for name in better:  # best first
        knob, _, word = name.partition("@")[2].partition("=")
        words.setdefault(knob, f"{knob}={word}")
    together = "@".join([base, *words.values()])
    return list(dict.fromkeys([base, better[0], together]))


def invariances(found: Comparison, data: Dataset) -> list[dict[str, Any]]:
    """For every strength, what training with its weakest value changes against the preset: score, low, high, and what that means.

    A change whose interval lies above zero says that the invariance erases a part of what the labels say; below zero, that it
    helps. One training each: its luck is not in the interval. Empty without labels.
    """
    modality, first, base = make_modality(data.spec, {}), found.rounds[0], found.request["candidates"][0]
    now, out = current(modality), []
    for knob, values in modality.strengths.items():
        name = f"{base}@modality.{knob}={_text(values[0])}"
        if values[0] == now[knob] or name not in first or first[name].right is None or first[base].right is None:
            continue
        difference, low, high = paired(first[name], first[base])
        means = "erases what the labels say" if low > 0 else "helps" if high < 0 else "no clear effect"
        out.append(
            {"strength": knob, "from": now[knob], "to": values[0], "difference": difference, "low": low, "high": high, "means": means}
        )
    return out


def chosen(found: Comparison) -> dict[str, Any]:
    """The strengths of the chosen candidate, as modality hyperparameters."""
    name = found.choice()["name"]
    return dict(Candidate.read(name).overrides.get("modality", {})) if name else {}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, (bool, np.bool_)) else f"{value:g}"
