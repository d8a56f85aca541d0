"""Does the model serve groups equally well? Rates of its decisions by group and by intersection, with intervals of the differences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.attributes import FEWEST, Attribute, crossed
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.auditors.rates import GAPS, Gap, Rates, measure
from tacit.errors import BadData, few
from tacit.types import Count

# gap -> from where it is high, medium and low: our rule, which a policy replaces; the ratio is the four-fifths rule
BOUNDS = {
    "demographic_parity_difference": (0.3, 0.1, 0.05),
    "equal_opportunity_difference": (0.15, 0.08, 0.04),
    "false_positive_difference": (0.15, 0.08, 0.04),
    "predictive_parity_difference": (0.2, 0.1, 0.05),
    "accuracy_difference": (0.15, 0.08, 0.04),
    "auc_difference": (0.15, 0.08, 0.04),
    "calibration_difference": (0.15, 0.08, 0.04),
}
MEANS = {
    "demographic_parity_difference": "the positive decision is not as frequent; that is unfair only where the groups should get it alike",
    "equal_opportunity_difference": "who deserves the positive decision gets it less often there",
    "false_positive_difference": "who does not deserve the positive decision gets it more often there",
    "predictive_parity_difference": "the same positive decision is right less often there",
    "accuracy_difference": "the model is simply worse there",
    "auc_difference": "the score ranks people worse there",
    "calibration_difference": "the stated probabilities mean less there",
}


class Fairness(Check):
    """Rates by group, gaps between groups with their intervals, the worst group. Groups need 30 decided and labelled items.

    A gap counts where a permutation of the groups gives it less than once in a hundred times, and its interval leaves 0 out.
    """

    section, needs = "fairness", ("decisions", "attributes")

    def __init__(self, *, fewest: Count = FEWEST, crossings: Count = 2) -> None:
        """fewest: items of a group that is looked at. crossings: attributes of an intersection, 1 = no intersections."""
        self.fewest, self.crossings = fewest, crossings

    def look(self, case: Case) -> Iterator[Finding]:
        assert case.decisions is not None
        several = [c for k in range(2, self.crossings + 1) for c in crossed(case.attributes, k)]
        said = False
        for a in (*case.attributes, *several):
            try:
                found = measure(case.decisions, a, fewest=self.fewest, seed=case.seed)
            except BadData:
                if a.whole:
                    yield _few(case, a, self.fewest)
                continue
            said = True
            yield from self._gaps(case, a, found)
        if not said:
            raise BadData(f"no attribute has two groups with {self.fewest} decided and labelled items", "collect more of them")

    def _gaps(self, case: Case, a: Attribute, found: Rates) -> Iterator[Finding]:
        d = case.decisions
        assert d is not None
        plain, first = found.plain(), True
        if found.small and a.whole:
            small = few((f"{k} ({n})" for k, n in found.small.items()), 4)
            yield Finding(
                "fairness.small", "low", f"{a.name}: nothing can be said about {small}: fewer than {self.fewest} decided items",
                "groups left out", float(len(found.small)), int(found.sizes.sum()), "collect more of them", group=a.name,
            )  # fmt: skip
        grades = {name: _grade(gap) for name, gap in found.gaps.items() if name in BOUNDS}
        if not d.classes:
            yield self._numbers(a, found, plain)
            return
        for name in sorted(grades, key=lambda k: -found.gaps[k].value):
            gap = found.gaps[name]
            if grades[name] == "fine" or not np.isfinite(gap.value):
                continue
            yield Finding(
                f"fairness.{name}", grades[name], _sentence(a, found, gap), name, gap.value, gap.n,
                "--mitigate all shows what closing it costs" if case.vectors is not None else "ask whoever decides for the reason",
                gap.low, gap.high, group=a.name,
                weight=gap.value + (0.01 if a.whole else 0.0),
                more={"p": gap.p, "most": gap.most, "least": gap.least, **({"rates": plain} if first else {})},
            )  # fmt: skip
            first = False
        gap = found.gaps["equalized_odds_difference"]
        wide = not np.isfinite(gap.value) or (gap.high if np.isfinite(gap.high) else gap.value) >= BOUNDS["equal_opportunity_difference"][0]
        if first and wide:
            reach = (
                "no rate rests on enough items" if not np.isfinite(gap.value) else f"they may differ by up to {100 * gap.high:.0f} points"
            )
            yield Finding(
                "fairness.untold", "low", f"{a.name}: too few items to tell whether error rates differ between {len(found.names)} "
                f"groups: {reach}",
                "equalized_odds_difference", None if not np.isfinite(gap.value) else gap.value, gap.n, "decide about and label more "
                "of them",
                gap.low if np.isfinite(gap.low) else None, gap.high if np.isfinite(gap.high) else None, group=a.name, more={"rates": plain},
            )  # fmt: skip
        elif first:
            worst = found.worst["worst_group_accuracy"]
            yield Finding(
                "fairness", "fine",
                f"{a.name}: no difference between {len(found.names)} groups that counts; equalised odds differ by "
                f"{100 * gap.value:.1f} points [{100 * gap.low:.1f}, {100 * gap.high:.1f}], worst accuracy {percent(worst[0])} "
                f"({worst[3]})",
                "equalized_odds_difference", gap.value, gap.n, "", gap.low, gap.high, group=a.name, more={"rates": plain},
            )  # fmt: skip

    @staticmethod
    def _numbers(a: Attribute, found: Rates, plain: dict[str, object]) -> Finding:
        gap, bias = found.gaps["error_difference"], found.gaps["bias_difference"]
        mean = float(np.average(found.values["mae"], weights=found.sizes))
        share = gap.value / max(mean, 1e-12)
        severity = grade(share, 0.5, 0.25, 0.1) if gap.p < 0.01 and gap.low > 0 else "fine"
        return Finding(
            "fairness.error_difference", severity,
            f"{a.name}: the mean error of {gap.most} is {gap.value:.3g} larger than that of {gap.least} ({percent(share)} of the mean "
            "error); "
            f"predictions are {bias.value:.3g} higher, beside the truth, for {bias.most} than for {bias.least} [{bias.low:.3g}, "
            f"{bias.high:.3g}]", "error_difference", gap.value, gap.n, "" if severity == "fine" else "collect more of the worse group",
            gap.low, gap.high, group=a.name, weight=share, more={"rates": plain},
        )  # fmt: skip


def _grade(gap: Gap) -> str:
    """How bad a gap is; one that chance explains is fine."""
    if not np.isfinite(gap.value) or not gap.low > 0:
        return "fine"
    if np.isfinite(gap.p) and gap.p >= 0.01:
        return "fine"
    return grade(gap.value, *BOUNDS[gap.name])


def _sentence(a: Attribute, found: Rates, gap: Gap) -> str:
    rate, _, kind = gap.rate.partition(":")
    values = found.values[gap.rate]
    most, least = (float(values[found.names.index(g)]) for g in (gap.most, gap.least))
    what = GAPS[gap.name][1] + (f" of class {kind}" if kind else "")
    where = gap.most if rate in ("fpr", "selection_rate", "ece") else gap.least
    return (
        f"{a.name}: {what} {percent(most)} for {gap.most}, {percent(least)} for {gap.least}: {100 * gap.value:.1f} points apart "
        f"[{100 * gap.low:.1f}, {100 * gap.high:.1f}]; {where}: {MEANS[gap.name]}"
    )


def _few(case: Case, a: Attribute, fewest: int) -> Finding:
    assert case.decisions is not None
    sizes = a.sizes(case.decisions.rows)
    shown = few((f"{a.values[i]} {sizes[i]}" for i in np.argsort(-sizes, kind="stable")), 4)
    return Finding(
        "fairness.untold", "medium",
        f"{a.name}: fewer than two groups have {fewest} decided and labelled items ({shown}): whether they are served alike is not known",
        "groups that are large enough", float((sizes >= fewest).sum()), int(sizes.sum()), "collect and label more of them", group=a.name,
    )  # fmt: skip
