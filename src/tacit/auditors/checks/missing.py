"""Who is asked and who is not: values that are missing more often in one group, or in one class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.attributes import FEWEST
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.statistics import wilson


class Missing(Check):
    """Shares of missing values by group and by class, column by column; with a chi-squared test over all columns."""

    section, needs = "data", ("table",)

    def look(self, case: Case) -> Iterator[Finding]:
        from scipy.stats import chi2_contingency

        gone = np.isnan(np.asarray(case.data.x))
        columns = case.columns
        sides = [(a.name, a.codes, a.values) for a in case.attributes]
        if case.labels is not None:
            sides.append(("the class", case.labels, case.data.classes))
        some = np.flatnonzero(gone.any(0))
        worst = False
        for name, codes, values in sides:
            large = [i for i in range(len(values)) if (codes == i).sum() >= FEWEST]
            for f in some.tolist() if len(large) > 1 else []:
                count = np.array([[int(gone[codes == i, f].sum()), int((~gone[codes == i, f]).sum())] for i in large])
                if not count.sum(0).all():
                    continue
                share = count[:, 0] / count.sum(1)
                p = float(chi2_contingency(count).pvalue) * max(1, len(some) * len(sides))
                apart = float(share.max() - share.min())
                severity = grade(apart, 0.3, 0.1, 0.03)
                if p > 0.001 or severity == "fine":
                    continue
                most, least, worst = values[large[int(share.argmax())]], values[large[int(share.argmin())]], True
                low = wilson(share.max(), int(count[share.argmax()].sum()))[0] - wilson(share.min(), int(count[share.argmin()].sum()))[1]
                high = wilson(share.max(), int(count[share.argmax()].sum()))[1] - wilson(share.min(), int(count[share.argmin()].sum()))[0]
                yield Finding(
                    "missing.groups", severity,
                    f"{columns[f]!r} is missing for {percent(share.max())} of {most} and {percent(share.min())} of {least} ({name}): "
                    "that it "
                    "is missing tells the one from the other", f"difference of the shares of missing values of {columns[f]}",
                    apart, int(count.sum()),
                    "find out why; a model learns it", low, high, group=name, weight=apart,
                )  # fmt: skip
        if not worst:
            yield Finding(
                "missing", "fine", f"values are missing in {len(some)} of {len(columns)} columns, as often in every group and class",
                "columns with missing values", float(len(some)), len(case.data),
            )  # fmt: skip
