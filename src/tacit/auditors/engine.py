"""An audit: all checks on one case, what they found, what could not be checked and what was left out."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tacit import registry
from tacit.auditors.case import SECTIONS, Case, Check
from tacit.auditors.finding import Finding, ranked
from tacit.errors import Asked, TacitError, nearest


@dataclass(frozen=True)
class Audited:
    """findings: worst first. unchecked: (check, why) of what could not be looked at. seconds: of each check."""

    findings: list[Finding]
    unchecked: list[tuple[str, str]]
    seconds: dict[str, float] = field(default_factory=dict)


def chosen(only: Sequence[str], skip: Sequence[str], usual: Sequence[str] = SECTIONS) -> list[str]:
    """Names of the checks that are made. only, skip: names of checks or of sections; usual: sections that are looked at unless `only` says
    otherwise. Slow checks are made where `only` names them or their section. Raises Asked for a name that is neither."""
    every = {name: registry.find("checks", name) for name in registry.names("checks")}
    known = [*every, *SECTIONS]
    for word in (*only, *skip):
        if word not in known:
            raise Asked(f"there is no check and no section {word!r}", nearest(word, known))
    if only:
        names = [n for n, c in every.items() if n in only or c.section in only]
    else:
        names = [n for n, c in every.items() if c.section in usual and not c.slow]
    names = [n for n in names if n not in skip and every[n].section not in skip]
    return sorted(names, key=lambda n: (SECTIONS.index(every[n].section), n))


def audit(case: Case, names: Sequence[str], settings: Mapping[str, Mapping[str, Any]], command: str = "") -> Audited:
    """Make these checks. settings: check -> its hyperparameters. command: how to ask again, to which each finding adds its own check."""
    findings: list[Finding] = []
    unchecked: list[tuple[str, str]] = []
    seconds: dict[str, float] = {}
    for name in names:
        kind: type[Check] = registry.find("checks", name)
        check = kind(**registry.check_knobs(kind, settings.get(name, {}), name))
        if why := case.lacks(kind.needs):
            unchecked.append((name, why))
            continue
        begin, said = time.perf_counter(), False
        try:
            for f in check.look(case):
                own = f"{_without_others(command, name)} --only {name}" if command else ""
                findings.append(replace(f, check=name, section=kind.section, command=own))
                said = True
            if not said:
                unchecked.append((name, f"there is nothing that it could look at in such {case.kind.unit}"))
        except TacitError as error:
            unchecked.append((name, error.message))
        seconds[name] = round(time.perf_counter() - begin, 3)
    return Audited(ranked(findings), unchecked, seconds)


def _without_others(command: str, name: str) -> str:
    """The command without settings of other checks, which would not be made."""
    words = shlex.split(command)
    return shlex.join([w for w in words if not (m := re.fullmatch(r"([a-z_]+)\.[a-z_]+=.*", w)) or m[1] in (name, "data")])
