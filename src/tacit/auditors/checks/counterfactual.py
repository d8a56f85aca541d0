"""Does the decision change when nothing changes but the sex, the name, the pronoun?"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tacit import wording
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.errors import BadData, few
from tacit.statistics import wilson
from tacit.types import Count

# what stands for the other; both ways
WORDS = (
    ("he", "she"), ("him", "her"), ("his", "her"), ("himself", "herself"), ("man", "woman"), ("men", "women"), ("boy", "girl"),
    ("boys", "girls"), ("father", "mother"), ("son", "daughter"), ("brother", "sister"), ("husband", "wife"), ("uncle", "aunt"),
    ("king", "queen"), ("mr", "mrs"), ("sir", "madam"), ("male", "female"), ("gentleman", "lady"), ("actor", "actress"), ("guy", "gal"),
    ("john", "mary"), ("james", "emily"), ("david", "sarah"), ("michael", "jessica"), ("robert", "anna"), ("thomas", "laura"),
    ("peter", "julia"), ("paul", "linda"), ("daniel", "emma"), ("william", "susan"),
)  # fmt: skip
OWNS = re.compile(
    r"\s+(?!(?:to|and|or|with|for|at|in|on|of|that|a|an|the|again|by|from|if|when|as|but|so)\b)[A-Za-z]"
)  # her book, not: saw her in
SWAP = {b: a for a, b in reversed(WORDS)} | dict(reversed(WORDS))
FEWEST = 10  # texts that have a word to swap


class Counterfactual(Check):
    """Decides about items again after one thing was exchanged: of tables the value of a protected column, of English texts words of sex
    and first names. How often does the decision flip?

    Only what is exchanged changes: a column that goes along with it (a name with a postcode) stays, so this is a lower bound of how much
    the group matters.
    """

    section, needs = "fairness", ("decisions", "again")

    def __init__(self, *, most: Count = 2000) -> None:
        """most: items that are decided again."""
        self.most = most

    def look(self, case: Case) -> Iterator[Finding]:
        if case.data.raws is not None:
            yield self._texts(case)
        elif case.data.modality == "table":
            yield from self._columns(case)
        else:
            raise BadData(f"of {case.kind.unit} nothing can be exchanged that would stand for a group")

    def _columns(self, case: Case) -> Iterator[Finding]:
        data, d = case.data, case.decisions
        assert d is not None
        names = case.columns
        told = False
        for a in case.attributes:
            if a.name not in names:
                continue
            told = True
            f, rows = names.index(a.name), case.some(d.rows, self.most)
            x = np.asarray(data.x[rows])
            before, flips, turned = case.asks["again"](x, None), np.zeros(len(rows), bool), list[str]()
            seen = [g for g in range(len(a.values)) if (a.codes == g).any()]
            for g in seen:
                like = np.asarray(data.x)[a.codes == g, f]
                changed, mine = x.copy(), a.codes[rows] != g
                changed[:, f] = np.median(like) if len(np.unique(like)) > 1 else like[0]
                after = case.asks["again"](changed[mine], None)
                changed_here = _differ(before[mine], after, bool(d.classes))
                flips[mine] |= changed_here
                turned.append(f"to {a.values[g]} {percent(float(changed_here.mean()))}" if mine.any() else "")
            share = float(flips.mean())
            severity = grade(share, 0.1, 0.05, 0.01)
            yield Finding(
                "counterfactual", severity,
                f"{a.name}: {percent(share)} of the decisions change with nothing but {a.name} ({few(filter(None, turned), 4)})",
                "share of decisions that flip", share, len(rows),
                "" if severity == "fine" else f"leave {a.name} out of what the model reads, or erase it: tacit erase",
                *wilson(share, len(rows)), group=a.name, weight=share, items=case.names(rows[flips]),
            )  # fmt: skip
        if not told:
            raise BadData("none of the groups is a column that the model reads", "name one with --groups")

    def _texts(self, case: Case) -> Finding:
        from tacit.data.dataset import from_texts

        d = case.decisions
        assert d is not None
        rows = case.some(d.rows, self.most)
        texts = wording.texts_of(case.data.x[rows], case.data.spec.extra)
        changed = [swapped(t) for t in texts]
        there = [i for i, (a, b) in enumerate(zip(texts, changed, strict=True)) if a != b]
        if len(there) < FEWEST:
            raise BadData(f"{len(there)} of {len(rows)} texts hold a word of sex or an English first name that could be exchanged")
        pairs = [from_texts([t[i] for i in there], spec=case.data.spec) for t in (texts, changed)]
        before, after = (case.asks["again"](p.x, p.lengths) for p in pairs)
        flips = _differ(before, after, bool(d.classes))
        share = float(flips.mean())
        severity = grade(share, 0.1, 0.05, 0.02)
        return Finding(
            "counterfactual", severity, f"{percent(share)} of the decisions change when he becomes she and John Mary, and the other "
            "way round",
            "share of decisions that flip", share, len(there), "" if severity == "fine" else "learn from texts with both, exchanged",
            *wilson(share, len(there)), group="words of sex", weight=share, items=case.names(rows[np.array(there)[flips]]),
        )  # fmt: skip


def _differ(before: np.ndarray, after: np.ndarray, classes: bool) -> np.ndarray:
    """Which decisions change: another class, or a number that moves by more than a tenth of how such numbers are spread."""
    return np.asarray(before != after if classes else np.abs(after - before) > 0.1 * max(float(np.std(before)), 1e-12))


def swapped(text: str) -> str:
    """The text with words of sex and first names exchanged, their capitals kept."""

    def turn(m: re.Match[str]) -> str:
        word = SWAP.get(m[0].lower())
        if m[0].lower() == "her" and OWNS.match(text, m.end()):
            word = "his"
        if word is None:
            return m[0]
        return word.upper() if m[0].isupper() and len(m[0]) > 1 else word.capitalize() if m[0][0].isupper() else word

    return re.sub(r"[A-Za-z]+", turn, text)
