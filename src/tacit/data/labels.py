"""Labels as they were found become class numbers or values, by a rule that is stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

FEW = 20
LARGEST = float(np.finfo(np.float32).max)


def encode(found: Sequence[Any] | None) -> tuple[np.ndarray | None, tuple[str, ...], str]:
    """Class index (int64, -1 = unlabelled) or value (float32, NaN = unlabelled), the names of the classes, and the rule.

    Words are classes. Whole numbers are classes if there are at most 20 of them, or if they are exactly 0..K-1 or 1..K with K
    at most half the items. Other numbers are values to predict (regression). NaN, infinite numbers and those that float32 cannot
    hold are no labels.
    """
    if found is None or all(_missing(v) for v in found):
        return None, (), ""
    found = [as_text(v) for v in found]
    known = [v for v in found if not _missing(v)]
    if any(isinstance(v, str) for v in known) or all(isinstance(v, bool) for v in known):
        names = sorted({str(v) for v in known}, key=_natural)
        rule = f"{len(names)} classes"
    else:
        distinct = sorted({float(v) for v in known})
        whole = all(v == int(v) for v in distinct)
        codes = whole and distinct[0] in (0, 1) and distinct[-1] - distinct[0] == len(distinct) - 1 and len(distinct) <= len(known) / 2
        if not (whole and (len(distinct) <= FEW or codes)):
            values = np.array([np.nan if _missing(v) or abs(float(v)) > LARGEST else float(v) for v in found], np.float32)
            kind = "whole numbers" if whole else "numbers"
            return values, (), f"the target is a value to predict (regression): {len(distinct)} different {kind}"
        names = [str(int(v)) for v in distinct]
        rule = f"the target is a class: {len(names)} different whole numbers"
        found = [None if _missing(v) else str(int(v)) for v in found]
    index = {name: i for i, name in enumerate(names)}
    return np.array([-1 if _missing(v) else index[str(v)] for v in found], np.int64), tuple(names), rule


def codes(found: Sequence[Any] | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Group numbers (int64, -1 = unknown) and the groups' names."""
    if found is None or not any(found):
        return None, ()
    found = [as_text(g) for g in found]
    names = sorted({str(g) for g in found if g}, key=_natural)
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[str(g)] if g else -1 for g in found], np.int64), tuple(names)


def as_text(value: Any) -> Any:
    """Bytes, as NumPy files hold them, and names that are no UTF-8 as text that can be written."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return writable(value) if isinstance(value, str) else value


def writable(name: str) -> str:
    """A name with its bytes that are no UTF-8 written out, such as \\udcff."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _natural(word: str) -> tuple[int, float, str]:
    """Numbers in their order, before words."""
    try:
        return 0, float(word), word
    except ValueError:
        return 1, 0.0, word
