"""Data with named columns: what the columns are, how their cells become numbers, and how a strange cell is worded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tacit import celltypes
from tacit.errors import Asked, few, nearest
from tacit.later import later
from tacit.modality import BadItem, Modality, Raw
from tacit.reasons import Strange, number
from tacit.types import Spec

if TYPE_CHECKING:
    import torch

    from tacit import tabletokens
else:
    torch, tabletokens = later("torch"), later("tacit.tabletokens")

BINS, ROWS_A_BIN = 16, 20
TAIL = 17  # quantiles of the values in the outermost bins
PLURAL = {"number": "numbers", "category": "categories", "boolean": "yes or no", "date": "dates"}
LEFT_OUT = ("id", "text", "constant", "empty")
LEAK = 0.995  # share of labels that one column alone gives right, from where it is no honest input
LOOKED = 50_000  # labelled rows that are looked at for that


class Tabular(Modality):
    """Base of modalities whose data has named columns. named: the modality. values: categories of a column that are told apart, at most."""

    named: ClassVar[str] = "table"
    values: ClassVar[int] = celltypes.MOST_VALUES

    @classmethod
    def described(cls, columns: list[dict[str, Any]], left: list[dict[str, Any]]) -> Spec:
        """The spec of such columns; left: those that are left out, with the reason."""
        return Spec(cls.named, len(columns), (), extra={"columns": columns, "left": left})

    @classmethod
    def nuisances(cls, x: Any, lengths: np.ndarray | None, spec: Spec) -> dict[str, np.ndarray]:
        """How long an item is and how much of it is missing: what its columns say is content."""
        found = super().nuisances(x, lengths, spec)
        return {k: v for k, v in found.items() if k in ("length", "missing values")}

    @classmethod
    def naming(cls, seen: celltypes.Seen) -> tuple[str, str]:
        """(kind, why) of a column."""
        return celltypes.kind_of(seen)

    @classmethod
    def plan(cls, sample: Sequence[Raw], *, size: int | None = None, limit: int = 224, columns: str = "") -> Spec:
        """Look at every cell and say what the columns are.

        size, limit: not used. columns: what columns are, against the first look: "age:number,zip:category"; also id and text, which are
        left out.
        """
        asked = _asked(columns)
        if not hasattr(sample, "blocks"):
            if not len(sample):
                raise BadItem("there is no row")
            count = int(np.asarray(sample[0]).shape[-1])
            return cls.described([{"name": str(i), "kind": "number", "why": "numbers"} for i in range(count)], [])
        seen: dict[str, celltypes.Seen] = {}
        some: list[Any] = []
        kept = 0
        for block in sample.blocks():
            for name in block.schema.names:
                seen.setdefault(name, celltypes.Seen(name)).look(block.column(name))
            if kept < LOOKED:
                some.append(block.slice(0, LOOKED - kept))
                kept += some[-1].num_rows
        if not kept:
            raise BadItem("there is no row")
        for name in asked:
            if name not in seen:
                raise Asked(f"--columns names {name!r}, which is no column", nearest(name, list(seen)))
        found, left = [], []
        for name, s in seen.items():
            kind, why = (asked[name], "as asked") if name in asked else cls.naming(s)
            if kind in LEFT_OUT:
                left.append({"name": name, "kind": kind, "why": why})
                continue
            found.append(_described(s, kind, why, asked.get(name) == "number", cls.values))
        spec = cls.described(found, left)
        gives = _gives_away(cls, spec, some, getattr(sample, "row_labels", None), set(asked))
        if gives:
            left += [{"name": c["name"], "kind": "leak", "why": gives[c["name"]]} for c in found if c["name"] in gives]
            spec = cls.described([c for c in found if c["name"] not in gives], left)
        if not spec.channels:
            written = next((c["name"] for c in left if c["kind"] == "text"), None)
            way = f" (--text-column {written!r} reads it as text)" if written else ""
            raise BadItem("no column is left to learn from: " + "; ".join(f"{c['name']}: {c['why']}" for c in left[:8]) + way)
        return spec

    @classmethod
    def known(cls, sample: Sequence[Raw]) -> Spec:
        """The names of the columns: a single row says nothing of what they are."""
        if not hasattr(sample, "blocks"):  # arrays in memory, decoded already
            return replace(cls.described([], []), extra={"decoded": True})
        names = next((list(block.schema.names) for block in sample.blocks()), [])
        return cls.described([{"name": name} for name in names], [])

    @classmethod
    def decode_block(cls, block: Any, spec: Spec) -> tuple[np.ndarray, int]:
        """Rows as float32 [n, F]: numbers, days since 1970, the place of a category in its list (-1 = in none); NaN = missing."""
        x = np.empty((block.num_rows, spec.channels), np.float32)
        infinite = 0
        for f, column in enumerate(spec.extra["columns"]):
            values = _values(block.column(column["name"]), column)
            endless = np.isinf(values)
            with np.errstate(over="ignore"):
                x[:, f] = values
            endless |= np.isinf(x[:, f])
            infinite += int(endless.sum())
            x[endless, f] = np.nan
        return x, infinite

    @classmethod
    def finish(cls, spec: Spec, x: np.ndarray) -> Spec:
        """Measure the training rows x float32 [n, F]: mean, deviation and quantiles of numbers, shares of categories."""
        mean, std, measured = [], [], []
        for f, column in enumerate(spec.extra["columns"]):
            values = np.asarray(x[:, f], dtype=np.float64)
            gone = float(np.isnan(values).mean()) if len(values) else 0.0
            values = values[~np.isnan(values)]
            if "values" in column:
                codes = values[values >= 0].astype(np.int64)
                share = np.bincount(codes, minlength=len(column["values"]))[: len(column["values"])] / max(1, len(values))
                rare = min(1.5, 0.001 * len(values)) / max(1, len(values)) if len(values) > 500 else 0.0
                measured.append({"share": share.tolist(), "rare": rare, "gone": gone})
                mean.append(0.0)
                std.append(1.0)
                continue
            bins = int(np.clip(len(values) // ROWS_A_BIN, 2, BINS))
            edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)).astype(np.float32)) if len(values) else np.zeros(1)
            inside = np.clip(np.searchsorted(edges[1:-1], values, "right"), 0, max(0, len(edges) - 2))
            parts = np.bincount(inside, minlength=max(1, len(edges) - 1)) / max(1, len(values))
            about: dict[str, Any] = {"edges": edges.tolist(), "share_of_bins": parts.tolist(), "gone": gone}
            about["median"] = float(np.median(values)) if len(values) else 0.0
            inner = (edges[0], edges[-1]) if len(edges) < 3 else (edges[1], edges[-2])
            ends = (values[values <= inner[0]], values[values >= inner[1]])
            about["tails"] = [np.quantile(v, np.linspace(0, 1, TAIL)).tolist() if len(v) else [0.0] * TAIL for v in ends]
            measured.append(about)
            mean.append(float(values.mean()) if len(values) else 0.0)
            deviation = float(values.std()) if len(values) else 0.0
            std.append(deviation if deviation > 1e-12 * max(1.0, abs(mean[-1])) else 1.0)
        extra = {**spec.extra, "measured": measured}
        return replace(spec, mean=tuple(mean), std=tuple(std), extra=extra)

    @classmethod
    def like(cls, planned: Spec, trained: Spec) -> Spec:
        """The columns that the model was trained with, by their names; others are not read."""
        if planned.extra.get("decoded"):
            return trained
        here = {c["name"] for c in (*planned.extra["columns"], *planned.extra["left"])}
        lost = [c["name"] for c in trained.extra["columns"] if c["name"] not in here]
        if lost:
            raise BadItem(
                f"the model reads the column{'s' * (len(lost) > 1)} {', '.join(map(repr, lost[:5]))}, which "
                f"{'are' if len(lost) > 1 else 'is'} not there (or which you named as the target: then pretrain with --target, too)"
            )
        return trained

    @classmethod
    def notes(cls, spec: Spec) -> list[str]:
        columns, left = spec.extra["columns"], spec.extra["left"]
        count = Counter(c["kind"] for c in columns)
        said = ", ".join(f"{n} {PLURAL[kind] if n > 1 else kind}" for kind, n in count.most_common())
        others = [c for c in left if c["kind"] != "leak"]
        out = [f"columns: {said}" + (f"; left out: {few(c['name'] + ' (' + c['why'] + ')' for c in others)}" if others else "")]
        out += [f"left out: {c['name']}, which {c['why']}" for c in left if c["kind"] == "leak"]
        coded = [f"{c['name']} ({few(f'{v:g}' for v in c['missing'])})" for c in columns if c.get("missing")]
        out += [f"numbers that count as missing: {few(coded, 5)}; --columns NAME:number keeps them"] if coded else []
        strange = [f"{c['name']} ({few(map(repr, c['strange']))})" for c in columns if c.get("strange")]
        return out + ([f"cells that are no numbers count as missing: {few(strange, 5)}"] if strange else [])

    @classmethod
    def parts_of(cls, spec: Spec) -> list[tuple[str, str, str]]:
        out = []
        for c, m in zip(spec.extra["columns"], spec.extra["measured"], strict=True):
            if "share" in m:
                known = sorted(zip(m["share"], c["values"], strict=True), reverse=True)
                words = few((f"{value} {share:.0%}" for share, value in known), 4)
            elif c["kind"] == "date":
                words = " to ".join(str(np.datetime64(int(np.floor(v)), "D")) for v in (m["edges"][0], m["edges"][-1]))
            else:
                words = f"{m['edges'][0]:g} to {m['edges'][-1]:g}, median {m['median']:g}"
            out.append((c["name"], c["kind"], words))
        return out + [(c["name"], "left out", c["why"]) for c in spec.extra["left"]]


def said(spec: Spec, f: int, item: Strange, given: str = "the other columns") -> str:
    """What was expected in a column and what is there."""
    column, value = spec.extra["columns"][f], float(item.x[f])
    p = tabletokens.odds(item.tokenizer, torch.from_numpy(item.guess[f]), f).numpy()
    if "values" in column:
        kept = tabletokens.kept(spec.extra["measured"][f])
        names = ["another value", *(column["values"][i] for i in kept)]
        likely = [k for k in np.argsort(-p)[:3] if k and p[k] > 0.5 * p.max()]
        expected = " or ".join(f"{names[k]} ({p[k]:.0%})" for k in likely) or f"a rare value ({p[0]:.0%})"
        known = value == value and 0 <= value < len(column["values"])
        place = names.index(column["values"][int(value)]) if known and int(value) in kept else 0
        shown = "no value" if value != value else column["values"][int(value)] if known else "a value that was never seen"
        observed = shown if value != value else f"{shown} ({p[place]:.1%})"
    else:
        edges = np.array(spec.extra["measured"][f]["edges"])
        spans = tabletokens.likely(p[: len(edges) - 1].tolist(), edges.tolist()) if len(edges) > 1 else [(edges[0], edges[0])]
        write = _day if column["kind"] == "date" else number
        expected = " or ".join(write(a) if write(a) == write(b) else f"{write(a)} to {write(b)}" for a, b in spans)
        observed = "no value" if value != value else write(value)
    return f"{column['name']}: expected {expected} given {given}, observed {observed}"


def words_of(spec: Spec, row: Sequence[float]) -> list[str]:
    """The cells of a row [F] as "name = value"."""
    return [f"{column['name']} = {cell(column, value)}" for column, value in zip(spec.extra["columns"], row, strict=True)]


def cell(column: Mapping[str, Any], value: float) -> str:
    """A cell of a column in words."""
    if value != value:
        return "no value"
    if "values" in column:
        return str(column["values"][int(value)]) if 0 <= value < len(column["values"]) else "a value that was never seen"
    return _day(value) if column["kind"] == "date" else number(value)


def _day(value: float) -> str:
    return str(np.datetime64("1970-01-01") + np.timedelta64(round(value), "D"))


def _asked(words: str) -> dict[str, str]:
    """{"age": "number"} of "age:number". Raises Asked."""
    out = {}
    for word in filter(None, (w.strip() for w in words.split(","))):
        name, _, kind = word.rpartition(":")
        if not name or kind not in celltypes.KINDS:
            raise Asked(f"--columns {word!r} is not understood", f"write name:kind, with a kind of {', '.join(celltypes.KINDS)}")
        out[name.strip()] = kind
    return out


def _described(seen: celltypes.Seen, kind: str, why: str, as_asked: bool, most: int) -> dict[str, Any]:
    """What the spec says of a column."""
    out: dict[str, Any] = {"name": seen.name, "kind": kind, "why": why}
    if kind == "number":
        out["missing"] = [] if as_asked else celltypes.missing_codes(seen)
        if seen.strange and not seen.typed:
            out["strange"] = seen.strange[:3]
    elif kind == "date":
        out["day_first"] = seen.days > seen.months
    elif kind in ("category", "boolean"):
        common = sorted(seen.counts.items(), key=lambda item: (-item[1], item[0]))[:most]
        values = [word for word, _ in common]
        if why == celltypes.NAMES:  # 7.0 is 7 in a column that has holes elsewhere
            out["things"], values = True, list(dict.fromkeys(re.sub(r"\.0+$", "", word) for word in values))
        out["values"] = sorted(values, key=lambda w: w.lower() in celltypes.TRUE) if kind == "boolean" else values
    return out


def _values(cells: Any, column: Mapping[str, Any]) -> np.ndarray:
    """float64 of the cells of a column as its description says; -1 for a word that is in no list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column["kind"] == "number":
        values = celltypes.numbers(cells)
        return np.where(np.isin(values, column.get("missing") or [np.nan]), np.nan, values)
    if column["kind"] == "date":
        return celltypes.dates(cells, column.get("day_first", False))
    words = celltypes.text(cells)
    if column.get("things"):
        words = pc.replace_substring_regex(words, r"\.0+$", "")
    place = pc.index_in(words, pa.array(column["values"], pa.string()))
    return np.where(np.asarray(pc.is_null(words)), np.nan, np.asarray(pc.fill_null(place, -1)).astype(np.float64))


def _gives_away(kind: type[Tabular], spec: Spec, blocks: list[Any], labels: list[Any] | None, asked: set[str]) -> dict[str, str]:
    """Columns that say the label by themselves, with the reason; those that the user asked for stay."""
    if labels is None or not spec.channels:
        return {}
    x = np.concatenate([kind.decode_block(b, spec)[0] for b in blocks])
    known = [i for i, v in enumerate(labels[: len(x)]) if v is not None]
    y = [labels[i] for i in known]
    if len(known) < 20 or len(set(y)) < 2:
        return {}
    numbers = all(isinstance(v, float) for v in y) and len(set(y)) > 20
    out = {}
    for f, column in enumerate(spec.extra["columns"]):
        if column["name"] in asked:
            continue
        right = _rank_correlation(x[known, f], np.array(y)) if numbers else _right_alone(x[known, f], y, "values" in column)
        if right > LEAK:
            word = f"its order is the target's ({right:.3f})" if numbers else f"alone it gives {right:.1%} of the labels"
            out[column["name"]] = f"gives the target away: {word}; --columns {column['name']}:{column['kind']} keeps it"
    return out


def _right_alone(x: np.ndarray, y: list[Any], words: bool) -> float:
    """Share of labels that one column gives right on rows that it was not learned from, 0 where guessing does nearly as well."""
    from sklearn.model_selection import cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    _, code = np.unique(np.array(list(map(str, y))), return_inverse=True)
    counts = Counter(code.tolist())
    if max(counts.values()) > 0.98 * len(code) or min(counts.values()) < 2:
        return 0.0
    filled = np.where(np.isnan(x), -9e9, x)
    leaves = 4 * len(counts) if not words else max(4 * len(counts), min(200, len(np.unique(filled))))
    if words and len(np.unique(filled)) > len(code) / 10:
        return 0.0
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0)
    guess = cross_val_predict(tree, filled[:, None], code, cv=2)
    common = max(counts.values()) / len(code)
    right = float((guess == code).mean())
    return right if right - common > 0.5 * (1 - common) else 0.0


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import spearmanr

    ok = ~np.isnan(x)
    if ok.sum() < 20 or len(np.unique(x[ok])) < 10:
        return 0.0
    return abs(float(spearmanr(x[ok], y[ok]).statistic))
