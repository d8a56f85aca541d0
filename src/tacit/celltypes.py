"""What the cells of a table's column are: numbers, dates, categories; read from whole columns at once.

Cells arrive as pyarrow arrays, of text or of the type that a file gives them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = ("", "?", "na", "n/a", "nan", "null", "none")
MORE_MISSING = (*MISSING, "#n/a", "nat", "<na>", "-")  # of tables: a lone dash is no word there
CODES = (-1.0, -9.0, *(float(s * int("9" * k)) for s in (-1, 1) for k in range(2, 8)))  # -99, -999, ..., 99, 999, ...
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?[iI][nN][fF]([iI][nN][iI][tT][yY])?$"
ISO = r"^\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"
DATES = {  # pattern -> formats; those with day and month in doubt come both ways round
    r"^\d{4}/\d{1,2}/\d{1,2}$": ("%Y/%m/%d",),
    r"^\d{4}/\d{1,2}/\d{1,2} \d{1,2}:\d{2}(:\d{2})?$": ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M"),
    r"^\d{1,2}\.\d{1,2}\.\d{4}$": ("%d.%m.%Y",),
    r"^\d{1,2}\.\d{1,2}\.\d{4} \d{1,2}:\d{2}(:\d{2})?$": ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M"),
    r"^[A-Za-z]{3,9} \d{1,2},? \d{4}$": ("%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
    r"^\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{4}$": ("%d %b %Y", "%d-%b-%Y", "%d %B %Y"),
}
SLASHED = r"^\d{1,2}[/-]\d{1,2}[/-]\d{4}( \d{1,2}:\d{2}(:\d{2})?)?$"
TRUE, FALSE = ("true", "yes", "t", "y", "1", "1.0"), ("false", "no", "f", "n", "0", "0.0")
DAY = 86400e6  # microseconds
KINDS = ("number", "category", "boolean", "date", "id", "text")
MOST_DISTINCT = 50_000  # words of a column that are counted; with more it is no category
MOST_VALUES = 1_000  # categories that are told apart; the rarer ones count as one
IDS = re.compile(r"(^|[_ .-])(id|uuid|guid|key|index|nr|no|number|row)$|^unnamed|^(id|uuid|index)([_ .-]|$)", re.IGNORECASE)
# columns whose whole numbers are names
THING = re.compile(r"((?i:^|[_ .-])(?i:id|code|sku|item|product|article|page|movie|song|shop|store|merchant)|[a-z](Id|ID|Code))$")
NAMES = "numbers that name something"  # why such whole numbers are a category


def text(cells: pa.Array) -> pa.Array:
    """Cells as trimmed text, null where missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if pa.types.is_nested(cells.type):
        cells = pa.array(["" if v is None else str(v) for v in cells.to_pylist()], pa.string())
    if not pa.types.is_string(cells.type):
        cells = pc.cast(cells, pa.string())
    trimmed = pc.utf8_trim_whitespace(cells)
    gone = pc.is_in(pc.utf8_lower(trimmed), pa.array(MORE_MISSING))
    return pc.if_else(gone, None, trimmed)


def untrimmed(cells: pa.Array) -> list[str]:
    """Cells as they are, "" where missing: places in a text count from its beginning."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = text(cells)
    plain = cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
    whole = plain if pa.types.is_string(plain.type) else known
    return [v or "" for v in pc.if_else(pc.is_null(known), None, whole).to_pylist()]


def words(cells: pa.Array) -> list[str | None]:
    """The same as a list, in which equal words are one object."""
    coded = text(cells).dictionary_encode()
    values = [*coded.dictionary.to_pylist(), None]
    return [values[i] for i in coded.indices.fill_null(len(values) - 1).to_pylist()]


def numbers(cells: pa.Array) -> np.ndarray:
    """float64 of cells, NaN where one is missing or no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = cells.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        values = pc.cast(cells, pa.float64(), safe=False)
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    words = text(cells)
    try:
        found = pc.cast(words, pa.float64())
    except pa.ArrowInvalid:
        fits = pc.match_substring_regex(words, NUMBER)
        plain = pc.replace_substring_regex(pc.if_else(fits, words, None), r"^\+", "")
        found = pc.cast(plain, pa.float64())
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.float64)


def dates(cells: pa.Array, day_first: bool = False) -> np.ndarray:
    """float64 days since 1970 of cells, in any of the usual ways to write a date; NaN where one is missing or no date.

    day_first: 03/04/2020 is the third of April; what can only be read the other way round is.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_time(cells.type) or pa.types.is_duration(cells.type):
        wide = pa.time64("us") if pa.types.is_time(cells.type) else pa.duration("us")
        return _days(pc.cast(pc.cast(pc.cast(cells, wide), pa.int64()), pa.timestamp("us")))
    if pa.types.is_temporal(cells.type):
        return _days(pc.cast(cells, pa.timestamp("us"), safe=False))
    words = text(cells)
    out = np.full(len(words), np.nan)

    def take(pattern: str, read: Any) -> None:
        fits = pc.fill_null(pc.match_substring_regex(words, pattern), False)
        rows = np.flatnonzero(np.isnan(out) & fits.to_numpy(zero_copy_only=False))
        if len(rows):
            out[rows] = read(words.take(pa.array(rows)))

    take(ISO, _iso)
    for pattern, formats in DATES.items():
        for form in formats:
            take(pattern, lambda some, form=form: _days(pc.strptime(some, form, "us", error_is_null=True)))
    ordered = ("%d/%m/%Y", "%m/%d/%Y") if day_first else ("%m/%d/%Y", "%d/%m/%Y")
    for form in ordered:
        for clock in ("", " %H:%M:%S", " %H:%M"):
            slashed = lambda some, f=form + clock: _days(pc.strptime(pc.replace_substring(some, "-", "/"), f, "us", error_is_null=True))  # noqa: E731
            take(SLASHED, slashed)
    return out


def _iso(words: pa.Array) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return _days(pc.cast(pc.cast(words, pa.timestamp("us", "UTC")), pa.timestamp("us")))
    except pa.ArrowInvalid:
        pass
    try:
        return _days(pc.cast(words, pa.timestamp("us")))
    except pa.ArrowInvalid:
        return np.array([_one_iso(w) for w in words.to_pylist()])


def _one_iso(word: str) -> float:
    from datetime import UTC, datetime

    head, _, clock = word.replace("T", " ").partition(" ")
    padded = "-".join(part.zfill(2) for part in head.split("-")) + (f" {clock.zfill(5)}" if clock else "")
    try:
        found = datetime.fromisoformat(padded)
    except ValueError:
        return float("nan")
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() / 86400


def beyond_twelve(words: pa.Array) -> tuple[int, int]:
    """How many dates such as 13/04/2020 have a first, and a second number that can be no month."""
    import pyarrow.compute as pc

    parts = pc.extract_regex(words, r"^(?P<first>\d{1,2})[/-](?P<second>\d{1,2})[/-]\d{4}").drop_null()
    first, second = (np.asarray(pc.cast(pc.struct_field(parts, name), "int64")) for name in ("first", "second"))
    return int((first > 12).sum()), int((second > 12).sum())


def _days(stamps: pa.Array) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = np.asarray(pc.cast(pc.fill_null(stamps, 0), pa.int64())).astype(np.float64) / DAY
    return np.where(np.asarray(pc.is_null(stamps)), np.nan, whole)


@dataclass
class Seen:
    """What the cells of one column were, over all blocks that were looked at.

    rows, missing: how many. number, date, zeros: how many of the others are numbers, dates, numbers with zeros in front. words: spaces
    between words, in total. counts: word -> how often, at most MOST_DISTINCT of them (`more`: there are others). low, high: of the
    numbers that are no candidates for a missing code. codes: candidates -> how often. rising: each number is the one before plus one.
    days, months: dates whose first, or second, number is beyond 12. strange: some cells that are no numbers. typed: the file itself says
    that these are numbers or dates.
    """

    name: str
    rows: int = 0
    missing: int = 0
    number: int = 0
    date: int = 0
    zeros: int = 0
    spaces: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False
    low: float = np.inf
    high: float = -np.inf
    codes: Counter[float] = field(default_factory=Counter)
    whole: bool = True
    rising: bool = True
    last: float | None = None
    days: int = 0
    months: int = 0
    strange: list[str] = field(default_factory=list)
    typed: str = ""

    def look(self, cells: pa.Array) -> None:
        """Take one block of cells into account."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self.rows += len(cells)
        kind = cells.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self.typed = "number"
            values = numbers(cells)
            self.missing += int(np.isnan(values).sum())
            self._numbers(values, np.ones(len(values), np.int64))
            if not self.more:
                found = pc.value_counts(cells.filter(pa.array(~np.isnan(values))))
                self._count(pc.cast(found.field("values"), pa.string()).to_pylist(), found.field("counts").to_pylist())
            return
        if pa.types.is_temporal(kind):
            self.typed = "date"
            self.missing += cells.null_count
            self.date += len(cells) - cells.null_count
            self.rising = False
            self.more = True
            return
        words = text(cells)
        self.missing += words.null_count
        counted = pc.value_counts(pc.drop_null(words))
        distinct, many = counted.field("values"), counted.field("counts").to_numpy()
        values = numbers(distinct)
        ok = ~np.isnan(values)
        if ok.all():
            self._numbers(numbers(words), np.ones(len(words), np.int64))
        else:
            self.rising = False
            self._numbers(values, many)
            others = distinct.filter(pa.array(~ok))
            if len(self.strange) < 3:
                self.strange += [w for w in others.slice(0, 3).to_pylist() if w not in self.strange]
            found = ~np.isnan(dates(others))
            self.date += int(many[~ok][found].sum())
            if found.any():
                days, months = beyond_twelve(others)
                self.days, self.months = self.days + days, self.months + months
            self.spaces += int((pc.count_substring(others, " ").to_numpy() * many[~ok]).sum())
        zero = pc.match_substring_regex(distinct, r"^[+-]?0\d").to_numpy(zero_copy_only=False).astype(bool)
        self.zeros += int(many[zero].sum())
        self._count(distinct.to_pylist(), many.tolist())

    def _count(self, words: list[str], many: list[int]) -> None:
        if self.more:
            return
        for word, k in zip(words, many, strict=True):
            self.counts[word] += k
        self.more = len(self.counts) > MOST_DISTINCT

    def _numbers(self, values: np.ndarray, many: np.ndarray) -> None:
        ok = ~np.isnan(values)
        values, many = values[ok], many[ok]
        self.number += int(many.sum())
        endless = np.isinf(values)
        values, many = values[~endless], many[~endless]
        if not len(values):
            return
        steps = np.diff(values, prepend=[self.last] if self.last is not None else [])
        self.rising = self.rising and bool((steps == 1).all())
        self.last = float(values[-1])
        self.whole = self.whole and bool((values == np.rint(values)).all())
        code = np.isin(values, CODES)
        for v, k in zip(values[code].tolist(), many[code].tolist(), strict=True):
            self.codes[v] += k
        if (~code).any():
            self.low, self.high = min(self.low, float(values[~code].min())), max(self.high, float(values[~code].max()))

    @property
    def distinct(self) -> int:
        """How many different words, at most MOST_DISTINCT and one."""
        return len(self.counts)


def missing_codes(seen: Seen) -> list[float]:
    """Numbers that stand for "missing": made of nines or -1, frequent, and far from all else (or below it, where that is positive)."""
    known = seen.rows - seen.missing
    low, high = seen.low, seen.high
    if not np.isfinite(low) or seen.distinct < 6:
        return []
    found = []
    for code, k in sorted(seen.codes.items(), key=lambda item: abs(item[0])):
        often = k >= max(3, 0.001 * known)
        apart = high - low if high > low else abs(low) + 1
        if code in (-1.0, -9.0):
            outside = low >= 0
        else:
            outside = code < low - apart or code > high + 2 * apart
        if often and outside:
            found.append(code)
        else:
            low, high = min(low, code), max(high, code)
    return found


def kind_of(seen: Seen) -> tuple[str, str]:
    """(kind, why) of a column: one of KINDS, or "constant" or "empty"."""
    known = seen.rows - seen.missing
    if not known:
        return "empty", "every cell is missing"
    if seen.distinct == 1 and not seen.more:
        return "constant", f"always {next(iter(seen.counts))!r}"
    if seen.typed == "date" or seen.date >= 0.9 * known:
        return "date", "dates"
    lower = {w.lower() for w in seen.counts} if seen.distinct == 2 else set()
    if lower and lower <= {*TRUE, *FALSE} and len(lower & set(TRUE)) == 1:
        return "boolean", "yes or no"
    unique = (seen.more and seen.number >= known) or seen.distinct >= 0.999 * known
    if seen.number >= 0.9 * known and not seen.zeros:
        if seen.whole and known >= 20 and ((seen.rising and seen.number == known) or (unique and not seen.more and IDS.search(seen.name))):
            return "id", "counts the rows" if seen.rising else "a different number in every row"
        return "number", "numbers"
    words = seen.spaces / max(1, known) + 1
    if words >= 4 and seen.distinct > 0.2 * known:
        return "text", f"free text of {words:.0f} words"
    if known >= 20 and (seen.more or seen.distinct > 0.9 * known):
        return "id", "a different word in nearly every row"
    if seen.distinct == 2:
        return "category", "two words"
    return "category", "numbers with zeros in front" if seen.zeros else "words"
