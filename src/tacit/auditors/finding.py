"""What an audit found: a number with its interval, what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("high", "medium", "low", "fine")  # worst first; "fine": looked at, and nothing is wrong


@dataclass(frozen=True)
class Finding:
    """One thing that an audit can say.

    name: the same in every audit, such as "duplicates.across". severity: of SEVERITIES. said: in plain words. value, low, high: the number
    and its 95 % interval, None = there is none. n: items that it rests on. do: what to do about it. group: the attribute that it is about.
    metric: what the number is. items: names of examples. weight: how bad among findings of the same severity, larger = worse. more: plain
    JSON. drop: rows that a cleaned list of the data leaves out. check, section, command: which check said so, and how to see it again; the
    audit fills them in.
    """

    name: str
    severity: str
    said: str
    metric: str
    value: float | None
    n: int
    do: str = ""
    low: float | None = None
    high: float | None = None
    group: str = ""
    items: tuple[str, ...] = ()
    weight: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[int, ...] = field(default=(), repr=False)
    check: str = ""
    section: str = ""
    command: str = ""

    def plain(self) -> dict[str, Any]:
        """Plain JSON."""
        out: dict[str, Any] = {k: getattr(self, k) for k in ("name", "severity", "section", "check", "group", "said", "metric", "value")}
        out |= {"low": self.low, "high": self.high, "n": self.n, "do": self.do, "command": self.command}
        return out | {"items": list(self.items), "weight": self.weight, "more": dict(self.more)}


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first: by severity, then by weight, then as they were found."""
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.weight))


def grade(value: float, high: float, medium: float, low: float) -> str:
    """The severity of a number that is worse the larger it is, by the bounds from which it is high, medium and low."""
    return "high" if value >= high else "medium" if value >= medium else "low" if value >= low else "fine"


def percent(value: float) -> str:
    """A share in words: 12.3 %."""
    return f"{100 * value:.1f} %"
