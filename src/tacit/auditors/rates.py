"""How a model serves each group: rates of its decisions, gaps between groups, and intervals of both.

Classes: selection rate, accuracy, true and false positive rate, false negative rate, precision; with scores also AUC and calibration
error. Numbers: mean prediction, bias, mean absolute and root mean squared error. More than two classes: each against all others, and a
gap is that of the class where it is largest. Intervals are 95 % percentile intervals of the bootstrap that draws items within each group
(2,000 draws; of counts, which is the same and fast); the interval of a gap is that of the difference between the two groups that are
furthest apart, so it may reach below 0. p: share of permutations of the groups (within the true class, for rates that look at one) that
give at least that gap.
source: the definitions of fairlearn 0.15 and AIF360 0.6; Chouldechova 2017, arXiv:1703.00056, for predictive parity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tacit.auditors.attributes import FEWEST, Attribute
from tacit.calibration import ece
from tacit.errors import BadData
from tacit.statistics import interval

DRAWS = 2000
LEAST = 10  # items that a rate has to rest on to be compared: a true positive rate of three people says nothing
MANY = 30  # classes from which on draws are made item by item
HELD = 10_000_000  # numbers of draws that are held at once
WEIGHTED = 500  # draws where every item is weighed
RATES = ("selection_rate", "accuracy", "tpr", "fpr", "fnr", "precision")
ERRORS = ("mean_prediction", "bias", "mae", "rmse")
# gap -> rates that it compares, its words, and whether the permutation keeps the true class
GAPS: Mapping[str, tuple[tuple[str, ...], str, bool]] = {
    "demographic_parity_difference": (("selection_rate",), "share that gets the positive decision", False),
    "equal_opportunity_difference": (("tpr",), "true positive rate", True),
    "false_positive_difference": (("fpr",), "false positive rate", True),
    "equalized_odds_difference": (("tpr", "fpr"), "true or false positive rate, whichever differs more", True),
    "average_odds_difference": (("odds",), "mean of true and false positive rate", True),
    "predictive_parity_difference": (("precision",), "precision of the positive decision", False),
    "accuracy_difference": (("accuracy",), "accuracy", True),
    "auc_difference": (("auc",), "AUC of the score", False),
    "calibration_difference": (("ece",), "calibration error", False),
    "mean_prediction_difference": (("mean_prediction",), "mean prediction", False),
    "bias_difference": (("bias",), "mean of prediction minus truth", False),
    "error_difference": (("mae",), "mean absolute error", False),
}
# numbers of one group that a policy may bound, and of the worst group
WORST = {"worst_group_accuracy": ("accuracy", min), "worst_group_tpr": ("tpr", min), "worst_group_auc": ("auc", min)}
WORST_ERRORS = {"worst_group_error": ("mae", max)}
RATIO = "demographic_parity_ratio"
METRICS = (*GAPS, RATIO, *WORST, *WORST_ERRORS)


@dataclass(frozen=True)
class Decisions:
    """What a model decided about some items, beside the truth.

    rows: int64 [n], which items of the data. truth, made: int64 [n] classes, or float64 [n] numbers. classes: their names, () = numbers.
    score: float64 [n, K], probabilities of the classes, None = unknown; of a score without a scale [n], higher = more positive.
    positive: the class that is the favourable, or the feared, decision; -1 = there are more than two, and each is looked at.
    who: whose decisions, in words.
    """

    rows: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)
    made: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    score: np.ndarray | None = field(repr=False)
    positive: int
    who: str

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.truth) == len(self.made):
            said = f"{len(self.made)} decisions and {len(self.truth)} true answers for {len(self.rows)} items"
            raise BadData(said, "give one decision for each item, in the same order")

    @property
    def wrong(self) -> np.ndarray:
        """bool [n], or float [n]: the absolute error of a number."""
        return self.truth != self.made if self.classes else np.abs(self.truth - self.made)

    def some(self, keep: np.ndarray) -> Decisions:
        """Those of some items, bool or int64 positions."""
        score = None if self.score is None else self.score[keep]
        return Decisions(self.rows[keep], self.truth[keep], self.made[keep], self.classes, score, self.positive, self.who)

    @property
    def margin(self) -> np.ndarray | None:
        """float64 [n], higher = more positive; None without scores or with more than two classes."""
        if self.score is None or self.positive < 0:
            return None
        return self.score if self.score.ndim == 1 else self.score[:, self.positive]


@dataclass(frozen=True)
class Gap:
    """value: the gap. low, high: of the difference between the two groups `most` and `least`. p: by permutation. rate: which rate it is
    (with more than two classes also of which class)."""

    name: str
    value: float
    low: float
    high: float
    p: float
    most: str
    least: str
    rate: str
    n: int


@dataclass(frozen=True)
class Rates:
    """names: of the groups that are large enough. sizes: [G]. values: rate -> [G] (more than two classes: accuracy and recall of each).
    bounds: rate -> [G, 2]. small: groups left out, with their size. gaps: by name. worst: name -> (value, low, high, group)."""

    attribute: str
    names: tuple[str, ...]
    sizes: np.ndarray
    values: Mapping[str, np.ndarray]
    bounds: Mapping[str, np.ndarray]
    small: Mapping[str, int]
    gaps: Mapping[str, Gap]
    worst: Mapping[str, tuple[float, float, float, str]]

    def plain(self) -> dict[str, Any]:
        """Plain JSON: one row a group."""
        rows = [
            {"group": g, "n": int(n)} | {k: float(v[i]) for k, v in self.values.items()}
            | {f"{k}_{end}": float(self.bounds[k][i, j]) for k in self.bounds for j, end in enumerate(("low", "high"))}
            for i, (g, n) in enumerate(zip(self.names, self.sizes.tolist(), strict=True))
        ]  # fmt: skip
        gaps = {k: {x: getattr(g, x) for x in ("value", "low", "high", "p", "most", "least", "rate", "n")} for k, g in self.gaps.items()}
        worst = {k: dict(zip(("value", "low", "high", "group"), v, strict=True)) for k, v in self.worst.items()}
        return {"attribute": self.attribute, "groups": rows, "small": dict(self.small), "gaps": gaps, "worst": worst}


def measure(decisions: Decisions, attribute: Attribute, *, fewest: int = FEWEST, draws: int = DRAWS, seed: int = 0) -> Rates:
    """Rates, gaps and intervals of the groups that have at least `fewest` decisions. Raises BadData where fewer than two have."""
    codes = attribute.codes[decisions.rows]
    sizes = np.bincount(codes[codes >= 0], minlength=len(attribute.values))
    large = np.flatnonzero(sizes >= fewest)
    small = {attribute.values[i]: int(sizes[i]) for i in np.flatnonzero(sizes < fewest)}
    if len(large) < 2:
        shown = ", ".join(f"{attribute.values[i]}: {sizes[i]}" for i in np.argsort(-sizes, kind="stable")[:5])
        raise BadData(f"{attribute.name}: fewer than two groups have {fewest} items with decisions and labels ({shown})", "collect more")
    moved = np.full(len(attribute.values), -1)
    moved[large] = np.arange(len(large))
    keep = np.flatnonzero((codes >= 0) & (moved[codes] >= 0))
    mine, code = decisions.some(keep), moved[codes[keep]]
    rng = np.random.default_rng([seed, 909])
    times = min(500, draws)
    look = _Classes(mine, code, len(large)) if mine.classes else _Numbers(mine, code, len(large))
    whole, drawn = look.whole(), look.drawn(draws, rng)
    names = tuple(attribute.values[i] for i in large)
    gaps = {}
    for name, (wanted, _, within) in GAPS.items():
        pairs = [k for k in whole if k.partition(":")[0] in wanted]
        if pairs:
            gaps[name] = _gap(name, pairs, whole, drawn, look, within, names, len(keep), times, np.random.default_rng([seed, 910]))
    if "demographic_parity_difference" in gaps:
        gaps[RATIO] = _ratio(gaps["demographic_parity_difference"], whole, drawn, names)
    worst = {}
    for name, (rate, pick) in (WORST | WORST_ERRORS).items():
        told = np.where(look.rests(rate) >= LEAST, whole[rate], np.nan) if rate in whole else np.zeros(0)
        if np.isfinite(told).any():
            at = int(np.nanargmin(told) if pick is min else np.nanargmax(told))
            worst[name] = (float(told[at]), *_interval(drawn[rate][:, at]), names[at])
    bounds = {k: np.array([_interval(v[:, g]) for g in range(len(names))]) for k, v in drawn.items() if k != "odds"}
    values = {k: v for k, v in whole.items() if k != "odds"}
    return Rates(attribute.name, names, np.bincount(code), values, bounds, small, gaps, worst)


class _Classes:
    """Counts of (group, truth, decision), and rates of them."""

    def __init__(self, d: Decisions, code: np.ndarray, groups: int) -> None:
        self.d, self.code, self.groups, self.k = d, code, groups, len(d.classes)
        self.flat = d.truth * self.k + d.made
        self.counts = self.of(code)

    def of(self, code: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Counts [G, K, K] when the items (or those of these rows) belong to these groups."""
        flat = self.flat if rows is None else self.flat[rows]
        found = np.bincount(code * self.k**2 + flat, minlength=self.groups * self.k**2)
        return found.reshape(self.groups, self.k, self.k)

    def rates(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Rates [..., G] of counts [..., G, K, K]."""
        n = counts.sum((-1, -2))
        out = {"accuracy": _share(np.trace(counts, axis1=-2, axis2=-1), n)}
        for c in (self.d.positive,) if self.d.positive >= 0 else range(self.k):
            mark = "" if self.d.positive >= 0 else f":{self.d.classes[c]}"
            hit, real, made = counts[..., c, c], counts[..., c, :].sum(-1), counts[..., :, c].sum(-1)
            tpr, fpr = _share(hit, real), _share(made - hit, n - real)
            out[f"selection_rate{mark}"] = _share(made, n)
            out |= {f"tpr{mark}": tpr, f"fpr{mark}": fpr, f"fnr{mark}": 1 - tpr, f"precision{mark}": _share(hit, made)}
            out[f"odds{mark}"] = (tpr + fpr) / 2
        return out

    def whole(self) -> dict[str, np.ndarray]:
        """Rates as they are."""
        out = self.rates(self.counts)
        if self.d.margin is not None:
            out["auc"] = np.array([auc(self.d.margin[self.code == g], self._yes[self.code == g]) for g in range(self.groups)])
        if self._sure is not None:
            right = self.d.truth == self.d.made
            out["ece"] = np.array([ece(self._sure[self.code == g], right[self.code == g], equal="width") for g in range(self.groups)])
        return out

    def drawn(self, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Rates [draws, G] of the bootstrap within each group."""
        parts = []
        if self.k > MANY:
            draws = min(draws, WEIGHTED // 2)  # item by item: of so many classes most pairs never occur
            places = [np.flatnonzero(self.code == g) for g in range(self.groups)]
            for _ in range(draws):
                rows = np.concatenate([rng.choice(p, len(p)) for p in places])
                parts.append({k: v[None] for k, v in self.rates(self.of(self.code[rows], rows)).items()})
        else:
            n, step = self.counts.sum((1, 2)), max(1, HELD // self.counts.size)
            for start in range(0, draws, step):
                size = min(step, draws - start)
                each = [
                    rng.multinomial(n[g], self.counts[g].ravel() / n[g], size).reshape(size, self.k, self.k) for g in range(self.groups)
                ]
                parts.append(self.rates(np.stack(each, 1)))
        out = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
        if self.d.margin is not None or self._sure is not None:
            weighted = [self._weighted(g, min(draws, WEIGHTED), rng) for g in range(self.groups)]
            out |= {k: np.stack([w[k] for w in weighted], 1) for k in weighted[0]}
        return out

    def _weighted(self, g: int, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """AUC and calibration error of draws of one group, so many at a time that they fit into memory."""
        step = max(1, HELD // max(1, int((self.code == g).sum())))
        parts = [self._drawn(g, min(step, draws - i), rng) for i in range(0, draws, step)]
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

    def _drawn(self, g: int, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        at = np.flatnonzero(self.code == g)
        n, out = len(at), dict[str, np.ndarray]()
        times = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(draws)]).astype(np.float64)
        if self.d.margin is not None:
            _, place = np.unique(self.d.margin[at], return_inverse=True)
            order, yes = np.argsort(place, kind="stable"), self._yes[at]
            first = np.flatnonzero(np.r_[True, np.diff(place[order]) > 0])
            up = np.add.reduceat((times * yes)[:, order], first, 1)
            down = np.add.reduceat((times * ~yes)[:, order], first, 1)
            below = down.cumsum(1) - down / 2
            out["auc"] = _share((below * up).sum(1), up.sum(1) * down.sum(1))
        if self._sure is not None:
            right = (self.d.truth == self.d.made)[at]
            bins = np.minimum((self._sure[at] * 15).astype(np.int64), 14)
            apart = np.zeros((n, 15))
            apart[np.arange(n), bins] = self._sure[at] - right
            out["ece"] = np.abs(times @ apart).sum(1) / n
        return out

    @property
    def _yes(self) -> np.ndarray:
        return np.asarray(self.d.truth == self.d.positive)

    @property
    def _sure(self) -> np.ndarray | None:
        """How sure each decision was, where the scores are probabilities."""
        if self.d.score is None or self.d.score.ndim == 1:
            return None
        return self.d.score[np.arange(len(self.d.made)), self.d.made]

    def permuted(self, code: np.ndarray, wanted: str = "") -> dict[str, np.ndarray]:
        """Rates when the items belong to other groups. wanted: "auc" or "ece", those alone."""
        if wanted == "auc":
            assert self.d.margin is not None
            place, yes = self._placed
            out = np.full(self.groups, np.nan)
            for g in range(self.groups):
                mine = code == g
                up = np.bincount(place[mine & yes], minlength=place.max() + 1)
                down = np.bincount(place[mine & ~yes], minlength=place.max() + 1)
                if up.sum() and down.sum():
                    out[g] = ((down.cumsum() - down / 2) * up).sum() / (up.sum() * down.sum())
            return {"auc": out}
        if wanted == "ece":
            sure, n = self._sure, np.bincount(code, minlength=self.groups)
            assert sure is not None
            bins = np.minimum((sure * 15).astype(np.int64), 14)
            apart = np.bincount(code * 15 + bins, sure - (self.d.truth == self.d.made), minlength=15 * self.groups)
            return {"ece": np.abs(apart.reshape(self.groups, 15)).sum(1) / np.maximum(n, 1)}
        return self.rates(self.of(code))

    @cached_property
    def _placed(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.d.margin is not None
        return np.unique(self.d.margin, return_inverse=True)[1], self._yes

    def rests(self, rate: str) -> np.ndarray:
        """On how many items a rate of each group rests, [G]."""
        name, _, kind = rate.partition(":")
        c = self.d.classes.index(kind) if kind else self.d.positive
        n, real = self.counts.sum((1, 2)), self.counts[:, c, :].sum(1)
        few = {
            "auc": np.minimum(real, n - real),
            "tpr": real,
            "fnr": real,
            "fpr": n - real,
            "precision": self.counts[:, :, c].sum(1),
            "odds": np.minimum(real, n - real),
        }
        return np.asarray(few.get(name, n))

    strata = property(lambda self: self.d.truth)


class _Numbers:
    """Errors of predicted numbers."""

    def __init__(self, d: Decisions, code: np.ndarray, groups: int) -> None:
        self.d, self.code, self.groups = d, code, groups
        self.apart = d.made - d.truth
        self.strata = np.zeros(len(code), np.int64)

    def permuted(self, code: np.ndarray, wanted: str = "") -> dict[str, np.ndarray]:
        """Errors [G] when the items belong to these groups."""
        n = np.bincount(code, minlength=self.groups)
        mean = lambda v: np.bincount(code, v, self.groups) / n  # noqa: E731
        found = {"mean_prediction": mean(self.d.made), "bias": mean(self.apart), "mae": mean(np.abs(self.apart))}
        return {**found, "rmse": np.sqrt(mean(self.apart**2))}

    def rests(self, rate: str) -> np.ndarray:
        """On how many items a number of each group rests, [G]."""
        return np.bincount(self.code, minlength=self.groups)

    def whole(self) -> dict[str, np.ndarray]:
        """Errors as they are."""
        return self.permuted(self.code)

    def drawn(self, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Errors [draws, G] of the bootstrap within each group."""
        places = [np.flatnonzero(self.code == g) for g in range(self.groups)]
        out: dict[str, list[np.ndarray]] = {k: [] for k in ERRORS}
        for at in places:
            told = []
            for _ in range(min(draws, WEIGHTED)):
                rows = rng.choice(at, len(at))
                apart = self.apart[rows]
                told.append((self.d.made[rows].mean(), apart.mean(), np.abs(apart).mean(), np.sqrt((apart**2).mean())))
            for k, v in zip(ERRORS, np.array(told).T, strict=True):
                out[k].append(v)
        return {k: np.stack(v, 1) for k, v in out.items()}


def _gap(
    name: str, pairs: list[str], whole: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], look: Any, within: bool,
    names: tuple[str, ...], n: int, times: int, rng: np.random.Generator,
) -> Gap:  # fmt: skip
    """The largest difference between two groups in any of these rates."""
    whole = {k: np.where(look.rests(k) >= LEAST, whole[k], np.nan) for k in pairs}
    apart = {k: _span(whole[k]) for k in pairs}
    known = {k: v for k, v in apart.items() if np.isfinite(v)}
    if not known:
        nothing = float("nan")
        return Gap(name, nothing, nothing, nothing, nothing, "", "", pairs[0], n)
    rate = max(known, key=lambda k: known[k])
    most, least = int(np.nanargmax(whole[rate])), int(np.nanargmin(whole[rate]))
    low, high = _interval(drawn[rate][:, most] - drawn[rate][:, least])
    p = _chance(pairs, known[rate], look, within, rng, times)
    return Gap(name, known[rate], low, high, p, names[most], names[least], rate, n)


def _chance(pairs: list[str], found: float, look: Any, within: bool, rng: np.random.Generator, times: int) -> float:
    """Share of permutations of the groups that give at least such a gap, the groups as they are among them."""
    strata = look.strata if within else np.zeros(len(look.code), np.int64)
    order = np.argsort(strata, kind="stable")
    hits, wanted = 0, pairs[0] if pairs[0] in ("auc", "ece") else ""
    times = min(times, 200) if wanted else times
    for _ in range(times):
        mixed = np.argsort(rng.random(len(order)) + strata)  # within each stratum, strata in their order
        code = np.empty_like(look.code)
        code[order] = look.code[mixed]
        rates = look.permuted(code, wanted)
        solid = (np.where(look.rests(k) >= LEAST, rates[k], np.nan) for k in pairs)
        hits += max((v for r in solid if np.isfinite(v := _span(r))), default=0.0) >= found - 1e-12
    return (hits + 1) / (times + 1)


def _ratio(gap: Gap, whole: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], names: tuple[str, ...]) -> Gap:
    """Smallest selection rate over the largest."""
    most, least = names.index(gap.most), names.index(gap.least)
    ratio = float(_share(whole[gap.rate][least], whole[gap.rate][most]))
    low, high = _interval(_share(drawn[gap.rate][:, least], drawn[gap.rate][:, most]))
    return Gap(RATIO, ratio, low, high, gap.p, gap.most, gap.least, gap.rate, gap.n)


def auc(score: np.ndarray, yes: np.ndarray) -> float:
    """Chance that a positive item has the higher score, ties count half; NaN where there is only one kind."""
    from scipy.stats import rankdata

    up = int(yes.sum())
    down = len(yes) - up
    if not up or not down:
        return float("nan")
    return float((rankdata(score)[yes].sum() - up * (up + 1) / 2) / (up * down))


def _span(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max() - known.min()) if len(known) > 1 else float("nan")


def _share(part: Any, whole: Any) -> Any:
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    known = draws[np.isfinite(draws)]
    return interval(known) if len(known) > 0.9 * len(draws) else (float("nan"), float("nan"))
