"""Personal data in texts and in the words of tables: addresses, phone numbers, cards, accounts, keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tacit import personal
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, percent
from tacit.data import listed
from tacit.errors import Asked
from tacit.statistics import wilson


class Personal(Check):
    """E-mail addresses, phone numbers, credit cards, IBANs and secret keys, by their form and check digits."""

    section = "privacy"

    def look(self, case: Case) -> Iterator[Finding]:
        if case.data.raws is not None:
            yield from self._of(case, "documents", case.data.raws())
            return
        if case.data.modality != "table":
            return
        extra = case.data.spec.extra
        worded = [c["name"] for c in (*extra.get("left", ()), *extra["columns"]) if c.get("kind") in ("id", "text", "category")]
        for column in worded:
            try:
                yield from self._of(case, f"cells of {column!r}", listed.cells(case.data, column))
            except Asked:  # a label or part, which has few words
                continue

    @staticmethod
    def _of(case: Case, what: str, texts: Iterable[str]) -> Iterator[Finding]:
        counts, holding, n = dict.fromkeys(personal.KINDS, 0), list[int](), 0
        known: dict[str, list[str]] = {}
        for row, text in enumerate(texts):
            n += 1
            if len(known) > 100_000:
                known.clear()
            if text not in known:
                known[text] = [f.kind for f in personal.find(text)]
            kinds = known[text]
            for kind in kinds:
                counts[kind] += 1
            if kinds:
                holding.append(row)
        told = ", ".join(f"{c:,} x {k}" for k, c in counts.items() if c)
        if not holding:
            yield Finding("personal", "fine", f"no personal data of a known form in {n:,} {what}", "share", 0.0, n)
            return
        share = len(holding) / n
        sure = counts["iban"] + counts["card"] + counts["key"]
        yield Finding(
            "personal", "high" if sure or share > 0.001 or len(holding) >= 5 else "medium",
            f"{len(holding):,} {what} ({percent(share)}) hold personal data: {told}", f"share of {what} that hold personal data", share, n,
            "black it out before training: tacit inspect DATA --redact clean.jsonl, or data.redact=true; of a table leave the column out",
            *wilson(share, n), items=tuple(str(case.data.names[i]) for i in holding[:5]), weight=min(1.0, 0.5 + share),
            more={"counts": counts},
        )  # fmt: skip
