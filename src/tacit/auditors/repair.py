"""What a mitigation is handed, what it gives back, and what it costs: accuracy against fairness, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from tacit import registry
from tacit.auditors.attributes import Attribute
from tacit.auditors.probes import leak
from tacit.auditors.rates import LEAST, Decisions, Rates, measure
from tacit.errors import Asked, BadData, MissingExtra, nearest
from tacit.statistics import interval

DRAWS = 500


@dataclass(frozen=True)
class Problem:
    """Labelled items to learn from: z float64 [n, D] standardised features, y int64 [n] classes, s int64 [n] groups (all known). c: inverse
    strength of the regularisation, as of scikit-learn."""

    z: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    s: np.ndarray = field(repr=False)
    classes: int
    groups: int
    seed: int = 0
    c: float = 1.0


@dataclass(frozen=True)
class LinearDecision:
    """Log-odds z @ weight + bias: weight [D, K], bias [K]. It needs no group when it decides, and becomes part of a model. eraser: what it
    was learned behind, for what is left of the attribute."""

    weight: np.ndarray
    bias: np.ndarray
    eraser: Any = None

    def scores(self, z: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Log-odds [m, K]."""
        return z @ self.weight + self.bias


class Mitigation:
    """Base: `fit` learns a decision from a problem. Hyperparameters are keyword-only arguments of the constructor.

    stays: why it cannot become part of a model, "" = it can. binary: only for two classes.
    """

    stays: ClassVar[str] = ""
    binary: ClassVar[bool] = False
    source: ClassVar[str] = ""

    def fit(self, problem: Problem) -> Any:
        """The decision: `scores(z [m, D], s [m])` gives [m, classes]. Raises TacitError where this problem has not what it needs."""
        raise NotImplementedError


def weighted(z: np.ndarray, y: np.ndarray, classes: int, weight: np.ndarray | None = None, c: float = 1.0) -> LinearDecision:
    """Logistic regression with weights [n] of the items, as columns for all classes. Raises BadData with one class."""
    import warnings

    from sklearn.linear_model import LogisticRegression

    if len(np.unique(y)) < 2:
        raise BadData("all items that it would learn from have one class", "label more items")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = LogisticRegression(C=c, max_iter=300).fit(z, y, weight)
    w, b = np.zeros((z.shape[1], classes)), np.full(classes, -1e9)
    if len(reader.classes_) == 2:
        w[:, reader.classes_] = np.concatenate([-reader.coef_, reader.coef_]).T / 2
        b[reader.classes_] = np.concatenate([-reader.intercept_, reader.intercept_]) / 2
    else:
        w[:, reader.classes_], b[reader.classes_] = reader.coef_.T, reader.intercept_
    return LinearDecision(w, b)


def strength_of(z: np.ndarray, y: np.ndarray, classes: int, seed: int) -> float:
    """The C with which a linear reading of these items would be learned by itself, chosen on a tenth of them."""
    small = len(y) / max(1, len(np.unique(y))) < 20
    return float(registry.find("probes", "linear")().fit(z, y, classes, small=small, seed=seed).chosen) or 1.0


def make(name: str, settings: Mapping[str, Any] | None = None) -> Mitigation:
    """A mitigation by its name, such as "reweighing". Raises Asked for an unknown one or a wrong setting."""
    kind = registry.find("mitigations", name)
    found: Mitigation = kind(**registry.check_knobs(kind, settings or {}, "mitigation"))
    return found


@dataclass(frozen=True)
class Outcome:
    """One mitigation on held-out items. rates: as an audit measures them. accuracy, gap: (value, low, high) and their paired difference to
    what was before. leaks: probe -> AUC of the attribute in what it reads. best: no other is better in both. stays: why it cannot become
    part of the model."""

    name: str
    strength: float
    rates: Rates
    accuracy: tuple[float, float, float]
    cost: tuple[float, float, float]
    gap: tuple[float, float, float]
    gain: tuple[float, float, float]
    leaks: Mapping[str, Any]
    stays: str
    best: bool = False

    def plain(self) -> dict[str, Any]:
        """Plain JSON."""
        three = {k: dict(zip(("value", "low", "high"), getattr(self, k), strict=True)) for k in ("accuracy", "cost", "gap", "gain")}
        gaps = {k: {"value": g.value, "low": g.low, "high": g.high} for k, g in self.rates.gaps.items()}
        own = {"name": self.name, "strength": self.strength, "best": self.best, "stays": self.stays, "n": int(self.rates.sizes.sum())}
        return own | three | {"gaps": gaps, "worst": {k: v[0] for k, v in self.rates.worst.items()}, "leaks": dict(self.leaks)}


def named(names: Sequence[str]) -> None:
    """Raise Asked for a mitigation that there is not."""
    known = registry.names("mitigations")
    if lost := [n for n in names if n not in known]:
        raise Asked(f"there is no mitigation {lost[0]!r}", nearest(lost[0], known))


def compare(
    fit: Problem, z: np.ndarray, y: np.ndarray, s: np.ndarray, attribute: Attribute, classes: Sequence[str], positive: int,
    names: Sequence[str] = (), say: Any = lambda words: None,
) -> tuple[list[Outcome], list[tuple[str, str]]]:  # fmt: skip
    """Each mitigation, learned from `fit` and tested on held-out features z [m, D] with classes y and groups s; and (name, why) of those
    that could not be tried. The first is "none". names: which, () = all.

    A gap is the equalised odds difference; with more than two classes that of the class where it is largest.
    """
    if len(np.unique(y)) < 2:
        raise BadData("the held-out items have one class only", "label more of them")
    local = Attribute(attribute.name, s, attribute.values)
    known = registry.names("mitigations")
    named(names)
    found: list[tuple[str, float, Any, str]] = [("none", 0.0, weighted(fit.z, fit.y, fit.classes, c=fit.c), "")]
    left: list[tuple[str, str]] = []
    for name in names or known:
        kind: type[Mitigation] = registry.find("mitigations", name)
        if kind.binary and fit.classes != 2:
            left.append((name, "only for two classes"))
            continue
        strengths = (0.5, 1.0) if "strength" in registry.knobs(kind) else (1.0,)
        for strength in strengths:
            say(f"mitigation {name}\r")
            try:
                settings = {"strength": strength} if "strength" in registry.knobs(kind) else {}
                found.append((name, strength, make(name, settings).fit(fit), kind.stays))
            except (MissingExtra, BadData, Asked) as error:
                left.append((name, f"{error.message} ({error.hint})" if error.hint else error.message))
                break
            except ValueError as error:  # of fairlearn, for a group with one class
                left.append((name, str(error).splitlines()[0][:200]))
                break
    scores = [d.scores(z, s) for _, _, d, _ in found]
    out = []
    rows = np.arange(len(y))
    for (name, strength, decision, stays), score in zip(found, scores, strict=True):
        made = score.argmax(1)
        rates = measure(Decisions(rows, y, made, tuple(classes), None, positive, name), local, draws=DRAWS, seed=fit.seed)
        accuracy, cost, gap, gain = _paired(y, made, scores[0].argmax(1), s, rates, local, tuple(classes), positive, fit.seed)
        eraser = getattr(decision, "eraser", None)
        leaks: dict[str, Any] = {}
        if eraser is not None or name == "none":
            a, b = (fit.z, z) if eraser is None else (eraser(fit.z), eraser(z))
            leaks = {p: leak(a[:5000], fit.s[:5000], b, s, p, fit.seed).plain() for p in ("linear", "network")}
        out.append(Outcome(name, strength, rates, accuracy, cost, gap, gain, leaks, stays))
    return [replace(o, best=not any(_better(p, o) for p in out)) for o in out], left


def _better(a: Outcome, b: Outcome) -> bool:
    """Whether a is at least as good in both, and better in one."""
    x, y = (a.accuracy[0], -a.gap[0]), (b.accuracy[0], -b.gap[0])
    return x[0] >= y[0] and x[1] >= y[1] and x != y


def _paired(
    y: np.ndarray, made: np.ndarray, before: np.ndarray, s: np.ndarray, rates: Rates, attribute: Attribute, classes: tuple[str, ...],
    positive: int, seed: int,
) -> tuple[tuple[float, float, float], ...]:  # fmt: skip
    """(accuracy, its difference to before, gap, its difference to before), each with the interval of draws within the groups."""
    large = [attribute.values.index(g) for g in rates.names]
    keep = np.isin(s, large)
    y, made, before, code = y[keep], made[keep], before[keep], np.searchsorted(large, s[keep])
    rng = np.random.default_rng([seed, 919])
    places = [np.flatnonzero(code == g) for g in range(len(large))]
    k = len(classes)

    def numbers(m: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
        flat = (code[rows] * k + y[rows]) * k + m[rows]
        counts = np.bincount(flat, minlength=len(large) * k * k).reshape(len(large), k, k)
        worst = 0.0
        for c in (positive,) if positive >= 0 else range(k):
            real, made_c = counts[:, c, :].sum(1), counts[:, :, c].sum(1)
            other = counts.sum((1, 2)) - real
            for rate, rests in ((_safe(counts[:, c, c], real), solid[0][c]), (_safe(made_c - counts[:, c, c], other), solid[1][c])):
                rate = np.where(rests, rate, np.nan)
                known_rate = rate[np.isfinite(rate)]
                if len(known_rate) > 1:
                    worst = max(worst, float(known_rate.max() - known_rate.min()))
        return float((m[rows] == y[rows]).mean()), worst

    per = np.array([[int(((code == g) & (y == c)).sum()) for g in range(len(large))] for c in range(k)])
    solid = per >= LEAST, per.sum(0) - per >= LEAST
    every = np.arange(len(y))
    whole, first = numbers(made, every), numbers(before, every)
    draws = []
    for _ in range(DRAWS):
        rows = np.concatenate([rng.choice(p, len(p)) for p in places])
        draws.append((*numbers(made, rows), *numbers(before, rows)))
    d = np.array(draws)
    return (
        (whole[0], *interval(d[:, 0])),
        (whole[0] - first[0], *interval(d[:, 0] - d[:, 2])),
        (whole[1], *interval(d[:, 1])),
        (whole[1] - first[1], *interval(d[:, 1] - d[:, 3])),
    )


def _safe(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
