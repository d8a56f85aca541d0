"""Could a row of a table be recognised? How many rows share its age, sex, postcode and the like."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.errors import Asked, nearest
from tacit.statistics import wilson
from tacit.types import Count

TELLING = (
    "age", "sex", "gender", "race", "ethnicity", "zip", "zipcode", "postcode", "postal", "city", "county", "state", "country", "region",
    "birth", "birthdate", "dob", "nationality", "native", "marital", "occupation", "job", "profession", "education", "religion",
    "height", "weight", "household", "address",
)  # fmt: skip


class Anonymity(Check):
    """k-anonymity over columns by which people can be recognised (age, sex, race, place, job, ...; and the named groups)."""

    section, needs = "privacy", ("table",)
    source = "Sweeney 2002, k-anonymity"

    def __init__(self, *, columns: str = "", k: Count = 5) -> None:
        """columns: by which people can be recognised, with commas, "" = by their names. k: rows that should look alike, at least."""
        self.columns, self.k = columns, k

    def look(self, case: Case) -> Iterator[Finding]:
        names = case.columns
        asked = [c.strip() for c in self.columns.split(",") if c.strip()]
        if lost := [c for c in asked if c not in names]:
            raise Asked(f"anonymity.columns: there is no column {lost[0]!r}", nearest(lost[0], names))
        wanted = [i for i, n in enumerate(names) if (n in asked if asked else set(re.split(r"[^a-z]+", n.lower())) & set(TELLING))]
        parts = [np.nan_to_num(np.asarray(case.data.x)[:, i].astype(np.float64), nan=-1e30) for i in wanted]
        used = [names[i] for i in wanted]
        for a in case.attributes:
            if a.name not in used and a.whole:
                parts.append(a.codes.astype(np.float64))
                used.append(a.name)
        n = len(case.data)
        if not parts:
            yield Finding("anonymity.k", "fine", "no column by which people could be recognised", "columns", 0.0, n)
            return
        _, code, count = np.unique(np.stack(parts, 1), axis=0, return_inverse=True, return_counts=True)
        alike = count[code.ravel()]
        rare = float((alike < self.k).mean())
        severity = grade(rare, 0.2, 0.05, 0.005)
        yield Finding(
            "anonymity.k", {"high": "medium", "medium": "medium"}.get(severity, severity),
            f"by {', '.join(used[:8])} together {percent(rare)} of the rows share their values with fewer than {self.k - 1} others "
            f"({percent(float((alike == 1).mean()))} with none): whoever knows these of a person may find the row",
            f"share of rows with fewer than {self.k} alike", rare, n,
            "coarsen ages and places, leave columns out, or do not pass the table on" if severity != "fine" else "",
            *wilson(rare, n), weight=0.3 * rare, more={"columns": used, "k": int(alike.min()), "unique": float((alike == 1).mean())},
        )  # fmt: skip
