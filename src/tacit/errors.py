"""Every error that Tacit raises on purpose: what went wrong, and a hint that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class TacitError(Exception):
    """Something failed for a reason that we can name.

    message: what went wrong, and where.
    hint: what to do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class Asked(TacitError):
    """The request itself cannot be meant: wrong path, unknown name, value out of range, run folder in use."""

    exit_code = 2


class CannotPair(Asked):
    """These two parts do not fit: a method needs what a backbone or a modality cannot do."""


class BadData(TacitError):
    """The data cannot be used as it is: nothing readable, too much of it broken, nothing to learn from."""


class MissingExtra(TacitError):
    """An optional dependency is absent; the hint is the exact install line."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed", f"pip install 'tacit[{extra}]'")


class Diverged(TacitError):
    """The loss is no longer a finite number."""


class Collapsed(TacitError):
    """All items got the same embedding, for certain: training on would waste the rest of the budget."""


class GateFailed(TacitError):
    """A check that was asked for as a gate said no."""

    exit_code = 3


class Stopped(TacitError):
    """Interrupted by the user; everything up to the last step is saved in the folder `run`."""

    exit_code = 130

    def __init__(self, message: str, run: Path) -> None:
        super().__init__(message, f"go on with --resume --out {run}")
        self.run = run


def nearest(word: str, known: Iterable[str]) -> str:
    """A 'did you mean' sentence for a misspelt word, or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {few(known, 40)}"


def few(words: Iterable[str], most: int = 3) -> str:
    """The first words of a list, and how many more there are."""
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
