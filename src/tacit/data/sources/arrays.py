"""NumPy arrays: one .npy, one .npz (also with MedMNIST's keys), or a folder with X.npy and y.npy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tacit import registry
from tacit.data import npy, shapes
from tacit.data.labels import as_text
from tacit.data.listing import GROUP_COLUMNS, LABEL_COLUMNS, Listing, ending, few, parts_said, split_name, stem
from tacit.data.tree import Tree
from tacit.errors import Asked, BadData, nearest
from tacit.modality import BadItem, Modality, Raw

DATA = ("x", "data", "images", "image", "imgs", "series", "signals", "features", "inputs", "samples", "arr_0")
LABELS = (*LABEL_COLUMNS, "targets", "classes")
TAGS = ("tags", "masks", "mask", "segments", "segmentation", "segmentations")
GROUPS = (*GROUP_COLUMNS, "groups", "subjects", "patients", "speakers", "sessions")


class Arrays:
    """NumPy .npy and .npz files: [N, T] or [N, C, T] series, [N, H, W(, C)] images, with labels y, one an item or one a position."""

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.9 for one NumPy file, up to 0.8 for a folder or zip with them, by their share of the files."""
        found = sum(ending(n) in (".npy", ".npz") for n in tree.names)
        return 0.9 if tree.single and found else 0.8 * (found / len(tree.names)) ** 0.25 if found else 0.0

    @staticmethod
    def read(tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None) -> Listing:
        """List the items of the arrays; target, group and split name keys."""
        found = _found(tree)
        data: dict[str, npy.Array] = {}
        labels: dict[str, npy.Array] = {}
        groups: dict[str, npy.Array] = {}
        splits: dict[str, npy.Array] = {}
        tags: dict[str, npy.Array] = {}
        unused = []
        for key, array in found.items():
            part, role = _role(key)
            if key == target or (target is not None and role == target.lower()):
                labels[part] = array
            elif key == group:
                groups[part] = array
            elif key == split or (split is None and role in ("split", "splits")):
                splits[part] = array
            elif role in DATA:
                data[part] = array
            elif role in LABELS and target is None:
                labels[part] = array
            elif role in GROUPS and group is None:
                groups[part] = array
            elif role in TAGS:
                tags[part] = array
            else:
                unused.append(key)
        for option, name, where in (("target", target, labels), ("group", group, groups), ("split", split, splits)):
            if name is not None and not where:
                raise Asked(f"{tree.path} has no array {name!r} for --{option}", nearest(name, found))
        if not data:
            large = [k for k in unused if len(found[k].shape) > 1]
            if len(large) != 1 and not (len(found) == 1 and unused):
                raise Asked(f"{tree.path}: which of the arrays holds the items? {few(found, 6)}", "call it x (and the labels y)")
            key = large[0] if large else unused[0]
            unused.remove(key)
            data = {"": found[key]}
        order = {"train": 0, "test": 1, "val": 2, "": 3}
        data = dict(sorted(data.items(), key=lambda item: order[item[0]]))
        if "" in data and len(data) > 1:
            raise Asked(f"{tree.path} holds arrays with and without a part: {few(found, 6)}", "keep x, or x_train and x_test")
        first = next(iter(data.values()))
        named = any("im" in _role(k)[1] and found[k] is first for k in found)
        kind, why = _kind(first, modality, named)
        names, places = [], []
        held = [k for k, array in found.items() if any(array is a for a in data.values())]  # --target and others may leave another one
        for part, array in data.items():
            if not array.shape or not array.shape[0]:
                raise BadData(f"{tree.path}: the array {part or 'x'} holds no item")
            names += [f"{part or 'row'}:{i}" for i in range(array.shape[0])]
            places += [(array, i) for i in range(array.shape[0])]

        def read(i: int) -> Raw:
            array, row = places[i]
            return np.asarray(array.values[row])

        said, left = _labels(tree, kind, data, labels, tags)
        unused += [k for k, array in found.items() if any(array is a for a in left)]
        columns = [_column(tree, data, c, word) for c, word in ((groups, "groups"), (splits, "split"))]
        notes = list(tree.notes) + ([f"left out arrays: {few(unused)}"] if unused else [])
        parts: list[str] | None = None
        if columns[1] is not None:
            parts, strange = parts_said(columns[1], split or "split", split is not None)
            notes += [strange] if strange else []
        parts = parts if parts is not None else [p for p, a in data.items() for _ in range(a.shape[0])]
        grouped = None if columns[0] is None else [str(as_text(g)) for g in columns[0]]
        one = said.pop("labels", None)
        return Listing(kind, why, names, one, grouped, parts, read, list(tree.bad), notes, ",".join(sorted(held)), **said)


def _found(tree: Tree) -> dict[str, npy.Array]:
    """All arrays by key; the key of a .npy file is its name without the ending."""
    found: dict[str, npy.Array] = {}
    for name in tree.names:
        try:
            if ending(name) == ".npz":
                more = npy.several(tree.raw(name), name)
            elif ending(name) == ".npy":
                more = {stem(name): npy.one(tree.raw(name), name)}
            else:
                continue
        except BadItem as error:
            raise BadData(f"{name}: {error}", "copy or download it again") from None
        if twice := found.keys() & more.keys():
            raise Asked(f"{tree.path} holds the array {min(twice)!r} twice", "name one of the files")
        found |= more
    if not found:
        raise BadData(f"{tree.path} holds no array")
    return found


def _role(key: str) -> tuple[str, str]:
    """('train', 'images') for train_images, ('test', 'x') for X_test, ('', 'x') for X."""
    words = key.lower().replace("-", "_").split("_")
    for part, rest in ((words[0], words[1:]), (words[-1], words[:-1])):
        if split_name(part):
            return split_name(part), "_".join(rest) or "x"
    return "", key.lower()


def _kind(array: npy.Array, given: str | None, named_image: bool) -> tuple[str, str]:
    """Modality of an array, with the reason in words."""
    rank, shape = len(array.shape), " x ".join(map(str, array.shape))
    what = f"array {shape} of {array.dtype}"
    if array.dtype.kind not in "buif":
        raise BadData(f"an array of {array.dtype} is not data to learn from: numbers are", npy.HINT)
    if rank < 2 or rank > 4:
        raise BadData(f"an array of shape {shape} is not understood", "items come first: [N, T], [N, C, T], [N, H, W] or [N, H, W, C]")
    if given is not None:
        if given == "vector" and rank != 2:
            raise Asked(f"vectors need an array [N, F], this one is {shape}", "leave --modality out")
        if (given, rank) in (("image", 2), ("series", 4)):
            raise Asked(f"an array {shape} cannot be {given} data", "leave --modality out")
        return given, f"{what}, {given} as asked"
    if rank == 4:
        return "image", f"{what}: four axes are images"
    if rank == 3 and (array.dtype == np.uint8 or named_image):
        return (
            "image",
            f"{what}: {'named images' if named_image else '8-bit values on two axes'} are grey images (--modality series otherwise)",
        )
    if rank == 3:
        return "series", f"{what}: items x channels x time (--modality image otherwise)"
    return "series", f"{what}: one series a row (--modality vector if the order of the columns means nothing)"


def _labels(
    tree: Tree, kind: str, data: dict[str, npy.Array], labels: dict[str, npy.Array], tags: dict[str, npy.Array]
) -> tuple[dict[str, Any], list[npy.Array]]:
    """What the Listing holds of labels, one an item, tags of positions or several; and guessed tags that do not fit the items.

    labels: what is called y or was asked for. tags: what is called masks or the like.
    """
    cls = registry.find("modalities", kind)

    def form(arrays: dict[str, npy.Array]) -> str:
        found = {shapes.form(cls, data[part].shape[1:], a.shape) for part, a in arrays.items() if part in data and a.shape}
        return found.pop() if len(found) == 1 else ""

    out: dict[str, Any] = {}
    if form(tags) == "tags" and all(a.dtype.kind in "bui" for a in tags.values()):
        out["tags"] = _tags(tree, cls, data, tags)
        tags = {}
    if (said := form(labels)) == "tags":
        out["tags"] = _tags(tree, cls, data, labels)
    elif said == "several":
        pieces = _pieces(tree, data, labels, "labels")
        width = max(shapes.several_of(p, "labels").shape[1] for p in pieces if p is not None)
        empty = [np.full((a.shape[0], width), np.nan, np.float32) for a in data.values()]
        rows = [e if p is None else shapes.several_of(p, "labels") for e, p in zip(empty, pieces, strict=True)]
        if {r.shape[1] for r in rows} != {width}:
            raise BadData(f"{tree.path}: the parts hold different numbers of labels", "save the same columns for all")
        out["multi"] = np.concatenate(rows)
    else:
        out["labels"] = _column(tree, data, labels, "labels")
    return out, list(tags.values())


def _tags(tree: Tree, kind: type[Modality], data: dict[str, npy.Array], arrays: dict[str, npy.Array]) -> Callable[[int], Raw | None]:
    """The reader of the tags of item i, None where its part has none."""
    places: list[tuple[np.ndarray, int, tuple[int, ...]] | None] = []
    for array, piece in zip(data.values(), _pieces(tree, data, arrays, "tags"), strict=True):
        n, shape = array.shape[0], shapes.extent(kind, array.shape[1:])
        values = None if piece is None else shapes.tags_of(piece, f"{tree.path}: labels")
        places += [None] * n if values is None else [(values, i, shape) for i in range(n)]

    def read(i: int) -> Raw | None:
        place = places[i]
        return None if place is None else np.asarray(place[0][place[1]]).reshape(place[2])

    return read


def _pieces(tree: Tree, data: dict[str, npy.Array], arrays: dict[str, npy.Array], word: str) -> list[np.ndarray | None]:
    """The values for each part of the data, as many as it has items; None where a part has none."""
    if "" in arrays and len(data) > 1:
        raise Asked(f"{tree.path}: the {word} do not say which part they belong to", f"name them {word}_train and {word}_test")
    out: list[np.ndarray | None] = []
    for part, array in data.items():
        if part not in arrays:
            out.append(None)
            continue
        try:
            values = arrays[part].values
        except BadItem as error:
            raise BadData(f"{tree.path}: {word}: {error}", "copy or download it again") from None
        n, found = array.shape[0], len(values) if values.ndim else 0
        if found != n:
            raise BadData(f"{tree.path}: {n} items but {found} {word}" + (f" in {part}" if part else ""), "save one for each item")
        out.append(values)
    return out


def _column(tree: Tree, data: dict[str, npy.Array], arrays: dict[str, npy.Array], word: str) -> list | None:
    """One value an item, in the order of the data; None where a part has none."""
    if not arrays:
        return None
    out: list = []
    for array, piece in zip(data.values(), _pieces(tree, data, arrays, word), strict=True):
        if piece is None:
            out += [None] * array.shape[0]
            continue
        values = piece.reshape(len(piece), -1)
        if values.shape[1] != 1:
            raise Asked(f"{tree.path}: {word} of shape {piece.shape}: one value for each item is understood", "choose one column")
        out += values[:, 0].tolist()
    return out
