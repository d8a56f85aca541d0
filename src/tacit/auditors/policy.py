"""What the user demands before looking: attributes, metrics, bounds, a privacy budget; who decided and when, and who reviews."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from tacit.auditors.attributes import Attribute, crossed
from tacit.auditors.case import Case
from tacit.auditors.engine import Audited
from tacit.auditors.finding import percent
from tacit.auditors.rates import GAPS, METRICS, WORST_ERRORS, Rates, measure
from tacit.errors import Asked, BadData, nearest

# what findings may be bounded -> the checks that give them
FOUND = {
    "duplicates.across": "duplicates", "duplicates.conflicts": "duplicates", "duplicates.within": "duplicates", "near.across": "near",
    "near.within": "near", "labels.suspected": "mislabelled", "personal": "personal", "anonymity.k": "anonymity",
    "shortcuts.nuisances": "shortcuts", "shortcuts.spot": "spots", "clusters.worst": "clusters", "leakage": "leakage",
    "counterfactual": "counterfactual", "membership": "membership", "membership.memorised": "membership",
    "representation.strange": "groups", "representation.loss": "groups", "representation.apart": "groups",
}  # fmt: skip
COUNTED = ("duplicates", "near")  # checks that look at every pair: what they do not name is not there
KEYS = ("purpose", "decided_by", "decided_on", "reviewer", "objective")
NEEDED = ("decided_by", "decided_on", "reviewer")
OBJECTIVE = ("metric", "attribute", "at_most", "at_least", "confident", "why")


@dataclass(frozen=True)
class Objective:
    """metric: of METRICS, of FOUND or "epsilon". attribute: None = every one. confident: the whole interval has to keep to the bound."""

    metric: str
    attribute: str | None
    at_most: float | None
    at_least: float | None
    confident: bool
    why: str

    @property
    def bound(self) -> str:
        """The bound in words."""
        parts = [f"at most {self.at_most:g}"] if self.at_most is not None else []
        parts += [f"at least {self.at_least:g}"] if self.at_least is not None else []
        return " and ".join(parts) + (", with its whole interval" if self.confident else "")


@dataclass(frozen=True)
class Policy:
    """What was demanded, by whom and when."""

    path: str
    purpose: str
    decided_by: str
    decided_on: str
    reviewer: str
    objectives: tuple[Objective, ...]

    @property
    def checks(self) -> tuple[str, ...]:
        """Checks that the objectives need, slow ones among them."""
        return tuple(dict.fromkeys(FOUND[o.metric] for o in self.objectives if o.metric in FOUND))


@dataclass(frozen=True)
class Judged:
    """state: met, failed or not checked."""

    objective: Objective
    attribute: str
    state: str
    said: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0

    def plain(self) -> dict[str, Any]:
        """Plain JSON."""
        o = self.objective
        own = {"metric": o.metric, "attribute": self.attribute, "at_most": o.at_most, "at_least": o.at_least, "confident": o.confident}
        return own | {k: getattr(self, k) for k in ("state", "said", "value", "low", "high", "n")} | {"why": o.why}


def read(path: str | Path) -> Policy:
    """Read policy.toml. Raises Asked for anything that cannot be meant."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Asked(f"there is no policy {str(path)!r}", "write one: docs/audit.md has an example") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Asked(f"{path} cannot be read: {error}", "it is a TOML file, in UTF-8") from None
    for key in raw:
        if key not in KEYS:
            raise Asked(f"{path}: there is no setting {key!r}", nearest(key, KEYS))
    if lost := [k for k in NEEDED if not str(raw.get(k, "")).strip()]:
        raise Asked(f"{path} does not say {', '.join(lost)}", "a policy names who decided it, when, and who reviews the result")
    when = raw["decided_on"]
    if not isinstance(when, date):
        raise Asked(f"{path}: decided_on = {when!r} is no date", "such as decided_on = 2026-11-28")
    given = raw.get("objective", [])
    if not isinstance(given, list) or not given:
        raise Asked(f"{path} states no objective", 'write [[objective]] with metric = "equalized_odds_difference" and at_most = 0.1')
    objectives = tuple(_objective(o, path) for o in given)
    _consistent(objectives, path)
    words = {k: str(raw.get(k, "")).strip()[:500] for k in ("purpose", "decided_by", "reviewer")}
    return Policy(str(path), words["purpose"], words["decided_by"], when.isoformat()[:10], words["reviewer"], objectives)


def _objective(raw: Any, path: Path) -> Objective:
    if not isinstance(raw, Mapping):
        raise Asked(f"{path}: an objective is a table", "[[objective]]")
    for key in raw:
        if key not in OBJECTIVE:
            raise Asked(f"{path}: an objective has no {key!r}", nearest(key, OBJECTIVE))
    metric, known = raw.get("metric"), (*METRICS, *FOUND, "epsilon")
    if metric not in known:
        raise Asked(f"{path}: there is no metric {metric!r}", nearest(str(metric), known))
    bounds: dict[str, float | None] = {}
    for k in ("at_most", "at_least"):
        v = raw.get(k)
        if v is not None and (isinstance(v, bool) or not isinstance(v, (int, float)) or not np.isfinite(v)):
            raise Asked(f"{path}: {metric}: {k} = {v!r} is no number")
        bounds[k] = None if v is None else float(v)
    low, high = bounds["at_least"], bounds["at_most"]
    if low is None and high is None:
        raise Asked(f"{path}: the objective for {metric} has no bound", "at_most = 0.1, or at_least = 0.8")
    if low is not None and high is not None and low > high:
        raise Asked(f"{path} contradicts itself: {metric} at least {low:g} and at most {high:g}")
    share = metric not in (
        "epsilon",
        *WORST_ERRORS,
        "mean_prediction_difference",
        "bias_difference",
        "error_difference",
        "duplicates.conflicts",
    )
    if share and ((high is not None and high < 0) or (low is not None and low > 1)):
        raise Asked(f"{path}: {metric} lies between 0 and 1, so this can never be met")
    if not isinstance(raw.get("confident", False), bool):
        raise Asked(f"{path}: {metric}: confident is true or false, without quotes")
    attribute = raw.get("attribute")
    return Objective(
        metric, None if attribute is None else str(attribute), high, low, bool(raw.get("confident", False)), str(raw.get("why", ""))[:500]
    )


def _consistent(objectives: tuple[Objective, ...], path: Path) -> None:
    """Raise Asked where two objectives exclude each other, or one bound is stated twice otherwise."""
    seen: dict[tuple[str, str | None, str], float] = {}
    for o in objectives:
        for side in ("at_most", "at_least"):
            value = getattr(o, side)
            if value is None:
                continue
            key = (o.metric, o.attribute, side)
            if seen.get(key, value) != value:
                raise Asked(f"{path} contradicts itself: {o.metric} {side.replace('_', ' ')} {seen[key]:g} and {value:g}", "keep one")
            seen[key] = value
        low, high = (seen.get((o.metric, o.attribute, s)) for s in ("at_least", "at_most"))
        if low is not None and high is not None and low > high:
            raise Asked(f"{path} contradicts itself: {o.metric} at least {low:g} and at most {high:g}", "keep one")


def known(policy: Policy, attributes: Sequence[Attribute]) -> None:
    """Raise Asked where the policy speaks of an attribute (or an intersection, "sex x race") that no --groups named."""
    names = [a.name for a in (*attributes, *crossed(attributes))]
    for o in policy.objectives:
        if o.attribute is not None and o.attribute not in names:
            said = f"the policy speaks of {o.attribute!r}, which --groups does not name"
            raise Asked(said, nearest(o.attribute, names) if names else f"--groups {o.attribute}")


def judge(policy: Policy, case: Case, audited: Audited, epsilon: float | None) -> tuple[list[Judged], list[str]]:
    """Each objective on this case, and notes. epsilon: of the run's training, None = without privacy."""
    out: list[Judged] = []
    held: dict[str, Rates] = {}
    every = [*case.attributes, *crossed(case.attributes)]
    for o in policy.objectives:
        if o.metric == "epsilon":
            out.append(_epsilon(o, epsilon))
        elif o.metric in FOUND:
            out += _found(o, audited)
        else:
            looked = case.attributes if o.attribute is None else [a for a in every if a.name == o.attribute]
            out += [_of_groups(o, case, a, held) for a in looked] or [Judged(o, "", "not checked", f"{o.metric}: no groups were named")]
    return out, _impossible(policy, case, held)


def _epsilon(o: Objective, epsilon: float | None) -> Judged:
    if epsilon is None:
        return Judged(o, "", "failed", "epsilon: the run was not trained with differential privacy, so nothing bounds what it gives away")
    return Judged(o, "", _state(o, epsilon, epsilon, epsilon), f"epsilon {epsilon:.2f}: {o.bound}", epsilon, epsilon, epsilon)


def _found(o: Objective, audited: Audited) -> list[Judged]:
    check = FOUND[o.metric]
    why = dict(audited.unchecked).get(check)
    mine = [f for f in audited.findings if f.name == o.metric and o.attribute in (None, f.group)]
    if mine:
        return [
            Judged(
                o, f.group, _state(o, f.value, f.low, f.high), f"{_named(o.metric, f.group)} {_number(f.value)}: {o.bound}",
                f.value, f.low, f.high, f.n,
            )
            for f in mine
        ]  # fmt: skip
    if why is not None or not any(f.check == check for f in audited.findings) or check not in COUNTED:
        return [Judged(o, o.attribute or "", "not checked", f"{o.metric}: {why or f'the check {check} was not made'}")]
    n = max(f.n for f in audited.findings if f.check == check)
    return [Judged(o, o.attribute or "", _state(o, 0.0, 0.0, 0.0), f"{o.metric} 0: {o.bound}", 0.0, 0.0, 0.0, n)]


def _of_groups(o: Objective, case: Case, a: Attribute, held: dict[str, Rates]) -> Judged:
    if case.decisions is None:
        return Judged(o, a.name, "not checked", f"{_named(o.metric, a.name)}: there are no decisions")
    try:
        if a.name not in held:
            held[a.name] = measure(case.decisions, a, seed=case.seed)
    except BadData as error:
        return Judged(o, a.name, "not checked", f"{_named(o.metric, a.name)}: {error.message}")
    found = held[a.name]
    if o.metric in found.gaps:
        g = found.gaps[o.metric]
        value, low, high, n, where = g.value, g.low, g.high, g.n, f" ({g.most} and {g.least})"
    elif o.metric in found.worst:
        value, low, high, who = found.worst[o.metric]
        n, where = int(found.sizes[found.names.index(who)]), f" ({who})"
    else:
        return Judged(o, a.name, "not checked", f"{_named(o.metric, a.name)}: these decisions have no such number")
    if not np.isfinite(value):
        return Judged(o, a.name, "not checked", f"{_named(o.metric, a.name)} is not defined: a rate has no items")
    return Judged(
        o, a.name, _state(o, value, low, high), f"{_named(o.metric, a.name)} {_number(value)}{where}: {o.bound}", value, low, high, n
    )


def _state(o: Objective, value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "not checked"
    bottom, top = value, value
    if o.confident:
        if low is None or high is None or not np.isfinite([low, high]).all():
            return "not checked"
        bottom, top = min(low, value), max(high, value)
    ok = (o.at_most is None or top <= o.at_most + 1e-12) and (o.at_least is None or bottom >= o.at_least - 1e-12)
    return "met" if ok else "failed"


def _named(metric: str, group: str) -> str:
    return f"{metric} by {group}" if group else metric


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"


def _impossible(policy: Policy, case: Case, held: Mapping[str, Rates]) -> list[str]:
    """A note where the objectives cannot all be met by any but a perfect model.

    source: Kleinberg et al. 2016, arXiv:1609.05807; Chouldechova 2017, arXiv:1703.00056.
    """
    d = case.decisions
    tight = {o.metric for o in policy.objectives if o.at_most is not None and o.at_most < 0.05 and o.metric in GAPS}
    odds = tight & {"equalized_odds_difference", "false_positive_difference", "equal_opportunity_difference"}
    if (
        d is None
        or d.positive < 0
        or not d.classes
        or not (odds and tight & {"predictive_parity_difference", "demographic_parity_difference"})
    ):
        return []
    for name, found in held.items():
        a = next(x for x in (*case.attributes, *crossed(case.attributes)) if x.name == name)
        code = a.codes[d.rows]
        base = [float((d.truth[code == a.values.index(g)] == d.positive).mean()) for g in found.names]
        if max(base) - min(base) > 0.05:
            return [
                f"{name}: the positive class is {percent(min(base))} of one group and {percent(max(base))} of another: with such rates no "
                "model but a perfect one has equal error rates and equal precision (or equal selection) at once, so this policy asks "
                "for both"
            ]
    return []
