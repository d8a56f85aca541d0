"""A data set, opened: decoded, measured, fingerprinted and split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.data import cache, decoding, entities, finding, labels, listed, picked, rowlist, shapes, splits
from tacit.data import keep as keep_list
from tacit.data.entities import Entities
from tacit.data.flat import Flat
from tacit.data.listing import Listing, Problem, few, parts_said, size_in_words
from tacit.data.tags import Marks, Tags
from tacit.data.tree import Tree
from tacit.errors import Asked, BadData, nearest
from tacit.modality import BadItem, Modality
from tacit.types import Spec

MEASURED = (1_000, 10_000, 64 * 2**20)  # training items that a spec is measured on, at least and at most, and their bytes
# of how it was opened: what decides the items, their labels and the split
REMEMBERED = ("target", "group", "split", "sequence_by", "order_by", "text_column", "max_bad", "seed", "keep")
DECIDING = ("scale", "fit", "columns", "tokenizer", "redact", "rate")  # what else of a spec decides decoded values


@dataclass(frozen=True)
class Dataset:
    """Decoded items with what is known about them, in the order of the source.

    x: uint8 [N, C, H, W] images, float32 [N, C, T] series (NaN = missing or padding), float32 [N, F] vectors; memory-mapped if cached;
    of texts a Flat of token numbers.
    lengths: int64 [N], samples of each series, if they differ. names: stable ids.
    labels: int64 [N], index into `classes`, -1 = unlabelled; or float32 [N], NaN = unlabelled; None = no labels.
    groups: int64 [N], index into `group_names`, -1 = unknown. split: int8 [N], 0 train, 1 test, 2 val, 3 left out.
    hashes: uint64 [N], equal = exact duplicates. fingerprint: of all decoded content and names.
    opened: what it was opened from and with, so that `decoded_for` can do it again.
    tagged: classes of the positions of items (masks, spans of texts), decoded when `tags` is first read. multi: float32 [N, K], 0 or 1 for
    each of several labels, NaN = unknown; multi_names: their K names. raws: reads the documents of text again.
    Pretraining and `evaluate` read none of these.
    """

    path: str
    modality: str
    why: str
    spec: Spec
    x: Any = field(repr=False)
    lengths: np.ndarray | None = field(repr=False)
    names: Sequence[str] = field(repr=False)
    labels: np.ndarray | None = field(repr=False)
    classes: tuple[str, ...]
    groups: np.ndarray | None = field(repr=False)
    group_names: tuple[str, ...] = field(repr=False)
    split: np.ndarray = field(repr=False)
    split_rule: str
    hashes: np.ndarray = field(repr=False)
    fingerprint: str
    bad: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    cache_path: Path | None = None
    cache_bytes: int = 0
    opened: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tagged: Marks | None = field(default=None, repr=False)
    multi: np.ndarray | None = field(default=None, repr=False)
    raws: Callable[[], Iterator[str]] | None = field(default=None, repr=False)
    multi_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> np.ndarray:
        """One decoded item, [C, *S]; a ragged one without its padding."""
        item = np.asarray(self.x[row])
        return item if self.lengths is None else item[..., : self.lengths[row]]

    def some(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Decoded items [n, ...] with their lengths, None where all are alike."""
        return np.asarray(self.x[rows]), None if self.lengths is None else self.lengths[rows]

    def __str__(self) -> str:
        labels = f"{len(self.classes)} classes" if self.classes else "numbers as labels" if self.labels is not None else ""
        labels = ", ".join(filter(None, [labels, *self.forms.values()])) or "no labels"
        stored = " x ".join(map(str, (self.spec.channels, *self.spec.sizes)))
        bad = f", {len(self.bad)} unreadable" if self.bad else ""
        parts = f"{len(self.train):,} to learn from, {len(self.test):,} held out"
        return f"{len(self):,} {self.modality} items of {stored}, {labels}; {parts}{bad}"

    @property
    def task(self) -> str | None:
        """What the labels ask for: "classification", "regression" or None."""
        return None if self.labels is None else "classification" if self.classes else "regression"

    @property
    def forms(self) -> dict[str, str]:
        """What there is to predict beside one label an item: head -> words."""
        tags = f"tags of their {registry.find('modalities', self.modality).tagged}" if self.tagged is not None else ""
        several = f"several labels an item ({few(self.multi_names)})" if self.multi is not None else ""
        return {head: words for head, words in (("multilabel", several), ("tagging", tags)) if words}

    @property
    def tags(self) -> np.ndarray | None:
        """int16 [N, *S], index into `tag_names`, -1 = unknown or padding; decoded when first asked for. None = no tags."""
        return None if self.tagged is None else self.tagged.values

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The classes of the positions."""
        return () if self.tagged is None else self.tagged.classes

    @property
    def train(self) -> np.ndarray:
        """int64 indices of the training items."""
        return np.flatnonzero(self.split == splits.TRAIN)

    @property
    def test(self) -> np.ndarray:
        """int64 indices of the held-out items."""
        return np.flatnonzero(self.split == splits.TEST)

    def decoded_for(self, spec: Spec) -> Dataset:
        """The same items decoded as a trained model's spec says, with the labels, groups and split that they have here.

        Raises Asked if this data set was put together by hand, BadData if the items cannot be decoded that way.
        """
        kind: type[Modality] = registry.find("modalities", self.modality)
        try:
            wanted = kind.like(self.spec, spec)
        except BadItem as error:
            raise BadData(str(error), "give the model data of the kind that it was trained on") from None
        if _decoding(self.spec) == _decoding(wanted):
            return self if self.spec == wanted else replace(self, spec=wanted)
        if not self.opened:
            raise Asked(
                f"{self.path} was decoded in another way than the model needs, and where it came from is not known",
                "open it again with tacit.open, or make it with from_arrays",
            )
        asked = dict(self.opened)
        read: Callable[..., Dataset] = {"path": open, "x": from_arrays, "table": from_table, "paths": from_files, "texts": from_texts}[
            next(iter(asked))
        ]  # type: ignore[assignment]
        again = read(**{**asked, "spec": spec})
        if again.names != self.names:  # an item may be readable in one form only
            return again
        kept = ("labels", "classes", "groups", "group_names", "split", "split_rule", "multi", "multi_names")
        return replace(again, **{name: getattr(self, name) for name in kept})

    def whole(self) -> Dataset:
        """The same data with nothing held out: every item is a training item."""
        return replace(self, split=np.zeros(len(self), np.int8), split_rule="nothing is held out, as asked")

    def describe(self) -> dict[str, Any]:
        """Plain JSON for a run's data.json: what was read, how it was split, which items were held out."""
        return {
            "path": self.path,
            "place": str(Path(place).resolve()) if (place := str(self.opened.get("path", ""))) and Path(place).exists() else None,
            "modality": self.modality,
            "why": self.why,
            "items": len(self),
            "fingerprint": self.fingerprint,
            "spec": {**asdict(self.spec), "extra": dict(self.spec.extra)},
            "task": self.task,
            "classes": {c: int((self.labels == i).sum()) for i, c in enumerate(self.classes)} if self.labels is not None else {},
            "multilabel": {c: int(np.nansum(self.multi[:, k])) for k, c in enumerate(self.multi_names)} if self.multi is not None else {},
            "tags": self.tagged is not None,
            "groups": len(self.group_names),
            "split": {
                "rule": self.split_rule,
                "train": len(self.train),
                "test": self.test.tolist(),
                "val": np.flatnonzero(self.split == splits.VAL).tolist(),
            },
            "options": {k: self.opened[k] for k in REMEMBERED if self.opened.get(k)},
            "bad": [asdict(p) for p in self.bad],
            "notes": list(self.notes),
        }


def open(
    path: str | Path,
    *,
    modality: str | None = None,
    target: str | None = None,
    group: str | None = None,
    split: str | None = None,
    sequence_by: str | None = None,
    order_by: str | None = None,
    text_column: str | None = None,
    size: int | None = None,
    limit: int = 224,
    cache: bool = True,
    seed: int = 0,
    max_bad: float = 0.1,
    options: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    spec: Spec | None = None,
    keep: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Open a file, a folder, a zip or builtin:digits: detect the modality, decode, measure, fingerprint, split.

    modality: "image", "series", "table", ..., None = detect. target, group, split: columns (or keys) with the label, the group
    (patient, session) and the part. sequence_by, order_by: columns of a table that say which rows are one item (an event log), and in
    which order. text_column: column of a table that holds the text, several with commas between. size: training size in pixels, samples,
    events or tokens, None = choose. limit: largest chosen size. cache: keep the decoded items on disk. seed: of the split. max_bad: share
    of unusable items that is tolerated, 0..1. options: more settings of the modality, such as fit="pad". spec: decode as this says, for a
    trained model. keep: a list of items (`tacit audit --write-keep`): all others are left out. say: called with words for a
    person; progress, about once a second, ends in a carriage return.
    """
    say = say or (lambda line: None)
    opened: dict[str, Any] = {"path": path, "modality": modality, "target": target, "group": group, "split": split}
    opened |= {"size": size, "limit": limit, "cache": cache, "seed": seed, "max_bad": max_bad, "options": dict(options)}
    opened |= {"sequence_by": sequence_by, "order_by": order_by, "text_column": text_column}
    opened |= {"keep": None if keep is None else str(Path(keep).resolve())}
    found = listed.listed(opened, spec)
    return _build(str(path), found.listing, found.tree, size, limit, cache, seed, max_bad, found.options, say, spec, opened)


def from_arrays(
    x: np.ndarray | Sequence[np.ndarray],
    y: Sequence[Any] | np.ndarray | None = None,
    *,
    modality: str | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    split: Sequence[str] | None = None,
    name: str = "array",
    size: int | None = None,
    limit: int = 224,
    seed: int = 0,
    max_bad: float = 0.1,
    options: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    spec: Spec | None = None,
) -> Dataset:
    """A data set of arrays in memory.

    x: [N, F] vectors, [N, C, T] series (or a list of [C, T] of unequal lengths), [N, C, H, W] or [N, H, W, C] images.
    y: one label for each item; tags of its positions, [N, H, W] or [N, T] (for a list of series a list of [T]); or several
    labels, [N, K] of 0, 1 and NaN. groups, split ("train", "test", "val"): one entry for each item.
    """
    opened: dict[str, Any] = {"x": x, "y": y, "modality": modality, "groups": groups, "split": split, "name": name}
    opened |= {"size": size, "limit": limit, "seed": seed, "max_bad": max_bad, "options": dict(options)}
    rank = np.ndim(x) if isinstance(x, np.ndarray) else (np.ndim(x[0]) + 1 if len(x) else 0)
    kinds = {cls.axes: name for name, cls in registry.every("modalities").items()}
    if modality is None and (not rank or rank not in kinds):
        raise Asked(f"an array of {rank} axes is not understood", "expected [N, F], [N, C, T] or [N, C, H, W]")
    n = len(x)
    for word, column in (("y", y), ("groups", groups), ("split", split)):
        if column is not None and len(column) != n:
            raise Asked(f"{n} items but {len(column)} entries in {word}", "give one for each item")
    if isinstance(x, np.ndarray) and x.dtype == object:
        raise Asked("an array of Python objects is not data to learn from", "convert it with np.stack or astype(float)")
    found = {} if y is None or not n else shapes.given(registry.find("modalities", modality or kinds[rank]), x, y)
    grouped = None if groups is None else ["" if g is None else str(g) for g in np.asarray(groups).tolist()]
    listing = Listing(
        modality or kinds[rank],
        f"array of {rank} axes",
        [f"{name}:{i}" for i in range(n)],
        found.get("labels"),
        grouped,
        None if split is None else parts_said(np.asarray(split, dtype=object).tolist(), "split", True)[0],
        lambda i: np.asarray(x[i]),
        tags=found.get("tags"),
        multi=found.get("multi"),
    )
    return _build(name, listing, None, size, limit, False, seed, max_bad, dict(options), lambda line: None, spec, opened)


def from_table(
    table: Any,
    *,
    target: str | None = None,
    group: str | None = None,
    split: str | None = None,
    sequence_by: str | None = None,
    order_by: str | None = None,
    size: int | None = None,
    name: str = "table",
    seed: int = 0,
    max_bad: float = 0.1,
    options: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    spec: Spec | None = None,
) -> Dataset:
    """A data set of a table in memory: a pandas, polars or pyarrow table, or anything else with Arrow's interface; one item a row.

    target, group, split: names of columns. sequence_by, order_by: columns that say which rows are one item, and in which order;
    size: events of one that are read, None = 200. options: what columns are, such as {"columns": "zip:category"}.
    """
    opened: dict[str, Any] = {"table": table, "target": target, "group": group, "split": split, "name": name}
    opened |= {"sequence_by": sequence_by, "order_by": order_by, "size": size, "seed": seed, "max_bad": max_bad, "options": dict(options)}
    rows = finding.sequences_asked(sequence_by, order_by, None, spec)
    found = rowlist.listing([rowlist.Held(table, name)], [""], name, target=target, group=group, split=split, **rows)
    return _build(name, found, None, size, 224, False, seed, max_bad, dict(options), lambda line: None, spec, opened)


def from_texts(
    texts: Sequence[str],
    y: Sequence[Any] | np.ndarray | None = None,
    *,
    groups: Sequence[Any] | np.ndarray | None = None,
    split: Sequence[str] | None = None,
    name: str = "texts",
    size: int | None = None,
    seed: int = 0,
    max_bad: float = 0.1,
    options: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    spec: Spec | None = None,
) -> Dataset:
    """A data set of texts in memory. y, groups, split ("train", "test", "val"): one entry for each text."""
    opened: dict[str, Any] = {"texts": texts, "y": y, "groups": groups, "split": split, "name": name, "size": size}
    opened |= {"seed": seed, "max_bad": max_bad, "options": dict(options)}
    for word, column in (("y", y), ("groups", groups), ("split", split)):
        if column is not None and len(column) != len(texts):
            raise Asked(f"{len(texts)} texts but {len(column)} entries in {word}", "give one for each text")
    y = None if y is None else [json.dumps(v) if isinstance(v, list) else v for v in y]  # spans
    given = [None if c is None else np.asarray(c, dtype=object).tolist() for c in (y, groups, split)]
    grouped = None if given[1] is None else ["" if g is None else str(g) for g in given[1]]
    parts = None if given[2] is None else parts_said(given[2], "split", True)[0]
    found = Listing("text", "texts in memory", [f"{name}:{i}" for i in range(len(texts))], given[0], grouped, parts, texts.__getitem__)  # type: ignore[arg-type]
    return _build(name, found, None, size, 224, False, seed, max_bad, dict(options), lambda line: None, spec, opened)


def from_files(paths: Sequence[Path], spec: Spec) -> Dataset:
    """Single files, decoded for a trained model with this spec. Raises Asked for a missing file, BadData for an unreadable one."""
    for path in paths:
        if not path.is_file():
            raise Asked(f"there is no file {str(path)!r}", "give paths of files")
    if not registry.find("modalities", spec.modality).reads_files:
        raise Asked(f"single files are no items of {spec.modality} data, which the model reads", "give the path of a data set, or an array")
    listing = Listing(spec.modality, "files", [str(p) for p in paths], None, None, ["test"] * len(paths), lambda i: paths[i])
    return _build("files", listing, None, None, 224, False, 0, 0.0, {}, lambda line: None, spec, {"paths": paths})


def _build(
    path: str,
    listing: Listing,
    tree: Tree | None,
    size: int | None,
    limit: int,
    keep: bool,
    seed: int,
    max_bad: float,
    options: dict[str, Any],
    say: Callable[[str], None],
    spec: Spec | None,
    opened: Mapping[str, Any],
) -> Dataset:
    """Decode, then everything that is measured on decoded items."""
    if not listing.names:
        reasons = "".join(f"\n  {p.name}: {p.reason}" for p in listing.bad[:5])
        raise BadData(f"{path} holds no item that can be read{reasons}", "see the reasons" if reasons else "the file is empty")
    if size is not None and size < 1:
        raise Asked(f"size {size} is not possible", "give a number of pixels or samples, 1 or more")
    kind: type[Modality] = registry.find("modalities", listing.modality)
    known = [k for k in registry.knobs(kind.plan) if k not in ("size", "limit")]
    for key in options:
        if key not in known:
            raise Asked(f"{listing.modality} data has no option {key!r}", nearest(key, known) if known else "it has none")
    settings = {"size": size, "limit": limit, **registry.check_knobs(kind.plan, options, f"{listing.modality} data:")}
    if spec is not None and listing.modality != spec.modality:
        raise Asked(f"{path} is {listing.modality} data, the model reads {spec.modality} data", "give it data as it was trained on")
    content = cache.content(tree) if keep and tree is not None else None
    trained = spec
    spec, stored, place = decoding.decode(kind, listing, settings, content, max_bad, say, trained)
    rows = stored.keep.tolist()
    names = picked.names(listing.names, stored.keep)
    values, classes, rule = labels.encode(None if listing.labels is None else [listing.labels[i] for i in rows])
    grouped = None if listing.groups is None else [listing.groups[i] for i in rows]
    groups, group_names = labels.codes(grouped)
    given = None if listing.splits is None else [listing.splits[i] for i in rows]
    split, split_rule = splits.assign(names, stored.hashes, grouped, given, seed)
    if opened.get("keep"):
        split[keep_list.left_out(names, opened["keep"], path)] = splits.LEFT_OUT
        split_rule += f"; {int((split == splits.LEFT_OUT).sum()):,} items are left out, as {Path(opened['keep']).name} says"
    train = np.flatnonzero(split == splits.TRAIN)
    most = min(MEASURED[1], max(MEASURED[0], MEASURED[2] // max(1, stored.x[0].nbytes)))
    measured = train[:: max(1, -(-len(train) // most))]
    if trained is None:
        flat = isinstance(stored.x, Flat)
        spec = kind.finish(spec, stored.x[train] if flat else np.asarray(stored.x[measured]))
    whole = hashlib.blake2b(stored.hashes.tobytes(), digest_size=16)
    for start in range(0, len(names), 100_000):
        whole.update(("\0" * (start > 0) + "\0".join(names[start : start + 100_000])).encode("utf-8", "surrogatepass"))
    notes = [*listing.notes, *([rule] if rule and "classes" not in rule else []), *kind.notes(spec)]
    if stored.facts["infinite"]:
        notes.append(f"{stored.facts['infinite']} infinite values count as missing")
    taken = sum(p.stat().st_size for p in place.iterdir()) if place is not None else 0
    if place is not None:
        say(f"decoded data: {size_in_words(taken)} in {place}")
    bad = tuple(replace(p, name=labels.writable(p.name)) for p in (*listing.bad, *stored.bad))
    if bad:
        shown = "".join(f"\n  {p.name}: {p.reason}" for p in bad[:5]) + (f"\n  and {len(bad) - 5:,} more" if len(bad) > 5 else "")
        of = f"of {len(names) + len(bad):,} {kind.unit}" if listing.sequences is None else "rows or sequences"
        say(f"{len(bad):,} {of} cannot be used and are left out{shown}")
    tags, raws = listing.tags, partial(decoding.raws, listing, stored.keep) if kind.written else None
    tagged: Marks | None = None if tags is None else Tags(kind, spec, names, lambda i: tags(rows[i]))
    if values is not None and (found := entities.within(kind, spec, names, stored.lengths, raws, values, classes)) is not None:
        tagged, values, classes = found, None, ()
    several = None if listing.multi is None or np.isnan(listing.multi[rows]).all() else listing.multi[rows]
    return Dataset(
        path=labels.writable(path),
        modality=listing.modality,
        why=listing.why,
        spec=spec,
        x=stored.x,
        lengths=stored.lengths if spec.ragged else None,
        names=names,
        labels=values,
        classes=classes,
        groups=groups,
        group_names=group_names,
        split=split,
        split_rule=split_rule,
        hashes=stored.hashes,
        fingerprint=whole.hexdigest(),
        bad=bad,
        notes=tuple(notes),
        cache_path=place,
        cache_bytes=taken,
        opened=opened,
        tagged=tagged,
        multi=several,
        raws=raws,
        multi_names=() if several is None else listing.multi_names or tuple(map(str, range(several.shape[1]))),
    )


def marked(data: Dataset, labels: Sequence[str | None] | None = None) -> Entities:
    """The spans that labels of texts name, one for each text; None = those that the data was opened with."""
    assert data.lengths is not None and data.raws is not None
    if labels is None:
        assert data.labels is not None
        labels = entities.said(data.labels, data.classes)
    return Entities(registry.find("modalities", data.modality), data.spec, data.names, data.lengths, data.raws, labels)


def _decoding(spec: Spec) -> list[Any]:
    """What decides the decoded values, of all that a spec holds; the scale says how deep pixels become 8 bits."""
    return [spec.channels, list(spec.sizes), spec.ragged, *(spec.extra.get(k) for k in DECIDING)]
