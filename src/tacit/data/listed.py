"""What lies at a path, listed as it was asked for: the first half of opening it, which can be done again for one more column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit import registry
from tacit.data import builtin, finding, labels, rowlist, splits
from tacit.data.listing import Listing
from tacit.data.tree import Tree
from tacit.errors import Asked, BadData, nearest
from tacit.types import Spec

if TYPE_CHECKING:
    from tacit.data.dataset import Dataset


@dataclass(frozen=True)
class Listed:
    """listing: the items. tree: their files, None = there are none. options: settings of the modality that are left."""

    listing: Listing
    tree: Tree | None
    options: dict[str, Any]


def listed(asked: Mapping[str, Any], spec: Spec | None) -> Listed:
    """List a path.

    asked: `path`, `modality`, `target`, `group`, `split`, `sequence_by`, `order_by`, `text_column`, `options` of `open`. spec: of a trained
    model, None = none. Raises Asked and BadData as `open` does.
    """
    path, options = asked["path"], dict(asked["options"])
    rows = finding.sequences_asked(asked["sequence_by"], asked["order_by"], asked["modality"], spec)
    modality = "events" if rows else asked["modality"]
    written, modality = finding.texts_asked(asked["text_column"], options.pop("documents", None), modality, spec)
    cut, modality = finding.cut_asked(options.pop("window", None), modality, spec)
    if modality is not None and modality not in registry.names("modalities"):
        raise Asked(f"there is no modality {modality!r}", nearest(modality, registry.names("modalities")))
    if str(path).startswith("builtin:"):
        if rows:
            raise Asked(f"{path} is no table, and only tables have rows that are sequences", "leave --sequence-by out")
        return Listed(builtin.read(str(path).split(":", 1)[1]), None, options)
    source, tree = finding.source(finding.grown(Path(path)), modality)
    kinds = getattr(source, "modalities", ())
    if rows and "events" not in kinds:
        raise Asked(f"{path} is no table, and only tables have rows that are sequences", "leave --sequence-by out")
    rows = written if "text" in kinds else cut if "audio" in kinds else rows
    columns = {k: asked[k] for k in ("target", "group", "split")}
    found = source.read(tree, modality=modality, **columns, **rows)
    return Listed(found, found.tree or tree, options)


def again(data: Dataset, group: str | None = None) -> Listing:
    """The items of open data, listed once more; group: column that says what belongs together, None = as it was opened.

    Raises Asked for data that did not come from a path or a table, or a column that is not there; BadData where it has changed since.
    """
    asked = dict(data.opened)
    named = {"group": group if group is not None else asked.get("group")}
    if "path" in asked:
        found = listed({**asked, **named}, data.spec).listing
    elif "table" in asked:
        kind = "events" if data.modality == "events" else None
        rows = finding.sequences_asked(asked["sequence_by"], asked["order_by"], kind, data.spec)
        given = {"target": asked["target"], "split": asked["split"], **named, **rows}
        found = rowlist.listing([rowlist.Held(asked["table"], asked["name"])], [""], asked["name"], **given)
    else:
        raise Asked(f"{data.path} is no file or table: it has no columns", "give an array of groups for every item, or open a table")
    return found


def places(data: Dataset, found: Listing) -> list[int]:
    """Where each item of open data stands in a listing of the same data. Raises BadData where one is gone."""
    where = {labels.writable(name): i for i, name in enumerate(found.names)}
    if lost := next((str(n) for n in data.names if n not in where), None):
        raise BadData(f"{data.path} has changed since it was opened: {lost} is not there any more", "run the same command again")
    return [where[n] for n in data.names]


def cells(data: Dataset, column: str) -> list[str]:
    """What a column says of every item, in the order of the data, "" = nothing.

    Any column that --group could name; "label", "group" and "split" also mean what the data was opened with where no column is called so.
    Raises Asked for one that is not there.
    """
    known = own(data, column)
    if known is not None and ("path" not in data.opened or column == data.opened.get("target")):
        return known
    try:
        found = again(data, column)
    except Asked:
        if known is not None:
            return known
        raise
    if found.groups is None:
        raise Asked(f"the column {column!r} says nothing of any item", "name another one")
    return [found.groups[i] or "" for i in places(data, found)]


def own(data: Dataset, column: str) -> list[str] | None:
    """Label, group or part of every item as it is open, None = the column is called otherwise, or there is none."""
    if column in ("label", data.opened.get("target")) and data.labels is not None:
        if not data.classes:
            return ["" if v != v else repr(float(v)) for v in data.labels]
        return [data.classes[v] if v >= 0 else "" for v in data.labels]
    if column in ("group", data.opened.get("group")) and data.groups is not None:
        return [data.group_names[g] if g >= 0 else "" for g in data.groups]
    if column in ("split", data.opened.get("split")):
        return [splits.NAMES[s] for s in data.split]
    return None


def raws(data: Dataset, rows: Sequence[int]) -> Iterator[Any]:
    """Raw items as their source gives them (a path, bytes, a part of a recording), one at a time; None where they cannot be read so."""
    try:
        found = again(data)
        where = places(data, found)
    except Asked:
        found, where = None, []
    if found is None or found.blocks is not None or found.sequences is not None:
        yield from (None for _ in rows)
        return
    for i in rows:
        yield found.read(where[i])
