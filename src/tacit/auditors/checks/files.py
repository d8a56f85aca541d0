"""Leaks through how files were made: the class that can be read from the compression, the camera, the size, the time or the name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.case import Case, Check
from tacit.auditors.facts import PEOPLE, Facts, facts
from tacit.auditors.finding import Finding, grade, percent
from tacit.auditors.reading import codes, told
from tacit.data import listed
from tacit.statistics import wilson

SEEN = ("JPEG", "format", "width", "height", "kind of file", "sampling rate", "channels")  # what reaches a network
NAMED = ("name",)


class Files(Check):
    """Each fact of a file alone: how well does it tell the class? And what photos give away: places, people, serial numbers.

    What reaches the network (compression, format, size in pixels, sampling rate) and when a file was made count in full; the number of
    bytes, which content decides too, and names, which no network sees, count less.
    """

    section, needs = "data", ("files",)

    def look(self, case: Case) -> Iterator[Finding]:
        rows = case.some(np.arange(len(case.data)))
        case.say("reading the heads of files\r")
        found = facts(listed.raws(case.data, rows.tolist()), [case.data.names[i] for i in rows])
        yield from self._given_away(case, found, rows)
        best, seen = 0.0, False
        for name, score in self._told(case, found, rows):
            best = max(best, score[0])
            severity = grade(score[0], 0.6, 0.3, 0.15)
            if any(w in name for w in NAMED):
                severity = {"high": "medium", "medium": "low"}.get(severity, severity)
            elif name == "bytes":  # which follow from the others, and from what is shown
                severity = {"high": "high" if score[0] > 0.9 else "medium", "medium": "low"}.get(severity, "fine")
                severity = "low" if seen and severity != "fine" else severity
            seen = seen or (severity != "fine" and name.startswith(SEEN))
            if severity != "fine":
                yield Finding(
                    "files." + name.replace(" ", "_"), severity,
                    f"the class can be read from the {name} alone: {percent(score[0])} of the way from guessing to certainty",
                    "balanced accuracy beyond chance", score[0], score[3],
                    "take all classes the same way, or save them anew with one setting; until then no result on this data means much",
                    score[1], score[2], weight=score[0],
                )  # fmt: skip
        if case.labels is not None and best < 0.15:
            yield Finding("files", "fine", "no fact of the files tells the class", "balanced accuracy beyond chance", best, len(rows))

    @staticmethod
    def _told(case: Case, found: Facts, rows: np.ndarray) -> Iterator[tuple[str, tuple[float, float, float, int]]]:
        """(fact, (excess, low, high, n)) of the facts that tell the class better than chance; one for several that say the same."""
        if case.labels is None:
            return
        y = case.labels[rows]
        seen: dict[bytes, str] = {}
        columns = {**found.numbers, **{k: codes(v) for k, v in found.words.items()}}
        for name in sorted(columns, key=lambda k: (not k.startswith(SEEN), "name" in k, k)):
            x = columns[name]
            key = np.unique(np.nan_to_num(x, nan=-1), return_inverse=True)[1].tobytes()
            if key in seen:
                continue
            seen[key] = name
            known = np.flatnonzero(y >= 0)
            score = told(x[known], y[known], seed=case.seed)
            if score is not None and score.p < 0.01 and score.low > 0:
                yield name, (score.excess, score.low, score.high, score.n)

    @staticmethod
    def _given_away(case: Case, found: Facts, rows: np.ndarray) -> Iterator[Finding]:
        n = len(rows)
        if found.places:
            share = len(found.places) / n
            yield Finding(
                "files.places", "high", f"{len(found.places):,} files ({percent(share)}) say in their EXIF data where they were taken",
                "share of files with coordinates", share, n, "remove it before files are passed on (tacit itself keeps pixels alone)",
                *wilson(share, n), items=case.names(rows[np.array(found.places)]), weight=share,
            )  # fmt: skip
        for what in (*PEOPLE, *(k for k in found.words if k.startswith("serial"))):
            at = [i for i, v in enumerate(found.words.get(what, [])) if v]
            if at:
                yield Finding(
                    "files.people", "medium", f"{len(at):,} files name the {what}", "share of files", len(at) / n, n,
                    "remove it before files are passed on", items=case.names(rows[np.array(at)]), weight=len(at) / n,
                )  # fmt: skip
