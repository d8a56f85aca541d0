"""What is to be predicted: the labels of some items, in the form that a head learns from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from tacit.data import dataset, forms, labelfile
from tacit.data.dataset import Dataset
from tacit.data.forms import HEADS, Supervision
from tacit.data.listing import few
from tacit.errors import Asked, BadData, nearest


def supervise(data: Dataset, *, target: str | None = None, file: str | Path | None = None, head: str | None = None) -> Supervision:
    """The labels of a data set for fine-tuning, unlabelled items left out.

    file: a table of labels (.csv, .tsv, .jsonl, .parquet) by name of the item, None = the labels that the data was opened with.
    target: the column; several with commas between them are yes-or-no labels. head: how to read them, None = as they suggest.
    Raises Asked where the labels cannot be read that way, or belong to other data; BadData where there is none.
    """
    if head is not None and head not in HEADS:
        raise Asked(f"there is no head {head!r}", nearest(head, HEADS))
    if file is not None:
        return labelfile.read(data, Path(file), target, head)
    data = labelled(data, target)
    chosen = _columns(data, target)
    rows = np.arange(len(data))
    if head == "tagging" and data.tagged is None and data.raws is not None and data.labels is not None:
        return forms.tagging(rows, dataset.marked(data), head, data.path)
    form = _form(data, head, chosen)
    if form == "several" and data.multi is not None:
        columns = list(range(len(data.multi_names))) if chosen is None else chosen
        names = tuple(data.multi_names[k] for k in columns)
        return forms.several(rows, data.multi[:, columns], names, head, data.path)
    if form == "one" and data.labels is not None:
        more = [f"the data also has {words}, which the head {name} learns" for name, words in data.forms.items() if head is None]
        return forms.single(rows, data.labels, data.classes, head, data.path, more)
    if form == "tags" and data.tagged is not None:
        return forms.tagging(rows, data.tagged, head, data.path)
    raise Asked(f"{data.path} has no labels to learn from" if head is None else f"{data.path} has no labels for {head}", _hint(head))


def _form(data: Dataset, head: str | None, chosen: list[int] | None) -> str:
    """Which of the labels of the data the head learns from: "one" an item, "several", "tags", or "" for none."""
    if head in forms.OF_PAIRS:
        return ""
    if head == "tagging":
        return "tags"
    if data.multi is not None and (chosen is not None or head == "multilabel" or data.labels is None):
        return "several"
    return "one" if data.labels is not None else "tags" if head is None else ""


def check(s: Supervision, rows: np.ndarray) -> list[str]:
    """What a person should know before a head learns from these labels.

    rows: int64, positions in `s` of the items to learn from; the others are held out.
    Raises BadData if nothing can be learned: fewer than two labelled items, or all labels equal.
    """
    if len(rows) < 2:
        raise BadData(f"{len(rows)} labelled items to learn from", "label more items, at least two of every class")
    values = s.values[rows]
    columns = list(values.T) if s.head == "multilabel" else [values]
    known = [v[~np.isnan(v)] if v.dtype.kind == "f" else v[v >= 0] for v in columns]
    alike = [len(v) == 0 or bool((v == v[0]).all()) for v in known]
    if all(alike):
        first = next((v[0] for v in known if len(v)), -1)
        said = s.classes[int(first)] if s.head in ("classification", "tagging", "pairs") and first >= 0 else f"{first:g}"
        hint = "label items of another kind too, or name another label column with --target"
        raise BadData(f"all labels to learn from are equal: {said}", hint)
    if s.head == "multilabel":
        same = [c for c, one in zip(s.classes, alike, strict=True) if one]
        return [f"labels that are the same for all items to learn from, and cannot be learned: {few(same)}"] if same else []
    return _rare(s, rows) if s.classes else []


def _rare(s: Supervision, rows: np.ndarray) -> list[str]:
    """Notes on classes of one item, and on classes that only held-out items have."""
    having = np.zeros((len(s), len(s.classes)), bool)  # which item has which class, anywhere
    for has, value in zip(having, s.values, strict=True):
        flat = np.ravel(value)
        has[flat[flat >= 0]] = True
    every, learned = having.sum(0), having[rows].sum(0)
    single = [c for c, n, m in zip(s.classes, every, learned, strict=True) if n == m == 1]
    absent = [c for c, n, m in zip(s.classes, every, learned, strict=True) if n and not m]
    notes = [f"classes of a single item, which cannot be held out: {few(map(repr, single))}"] if single else []
    return notes + ([f"classes that no item to learn from has, so they cannot be predicted: {few(map(repr, absent))}"] if absent else [])


def _columns(data: Dataset, target: str | None) -> list[int] | None:
    """Which of several labels were asked for; None = all, or there are none."""
    wanted = [w.strip() for w in (target or "").split(",")]
    return [data.multi_names.index(w) for w in wanted] if data.multi is not None and set(wanted) <= set(data.multi_names) else None


def labelled(data: Dataset, target: str | None) -> Dataset:
    """The data with the labels of this column, if it was opened with another. Raises Asked where that would change the items."""
    if target is None or target == data.opened.get("target") or _columns(data, target) is not None:
        return data
    hint = "open it with target=..., or give a table of labels"
    if "path" not in data.opened:
        raise Asked(f"{data.path} was not opened with the labels {target!r}", hint)
    again = dataset.open(**{**data.opened, "target": target, "spec": data.spec})
    if again.fingerprint != data.fingerprint:
        raise Asked(f"{target!r} is part of the items of {data.path} as they were opened", hint)
    return replace(again, split=data.split, split_rule=data.split_rule)


def _hint(head: str | None) -> str:
    if head == "tagging":
        texts = 'for texts name a column with spans, [[0, 5, "person"]], or with a piece of the text'
        return f"put a folder masks/ beside images/, or save whole numbers for each position as y; {texts}"
    if head in forms.OF_PAIRS:
        texts = "of texts, two joined columns: --text-column first,second"
        return f"give a table of two columns with names of items (a, b) and one with a number or a class; {texts}"
    return "put the items into class folders, name a label column with --target, or give a table of labels"


__all__ = ["HEADS", "Supervision", "check", "supervise"]


def fingerprint(data: Dataset, s: Supervision) -> str:
    """Changes with the labels, and with how they are split and grouped."""
    whole = hashlib.blake2b("\0".join(s.classes).encode("utf-8", "surrogatepass"), digest_size=16)
    for part in (s.values, s.items, data.split, data.groups):
        if part is not None:
            whole.update(np.ascontiguousarray(part).tobytes())
    return whole.hexdigest()
