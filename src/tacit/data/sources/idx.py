"""IDX files as MNIST has them: train-images-idx3-ubyte and its labels, also gzipped."""

from __future__ import annotations

import math
import os
import re

import numpy as np

from tacit.data.listing import Listing, Problem, no_columns, split_name
from tacit.data.npy import Array
from tacit.data.tree import Tree, beside
from tacit.errors import Asked, BadData
from tacit.modality import BadItem

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
NAME = re.compile(r"idx\d?([-.]?ubyte)?(\.gz)?$|ubyte(\.gz)?$", re.IGNORECASE)


class Idx:
    """MNIST-style IDX files (also gzipped): train-images..., train-labels..., t10k-images..., t10k-labels..."""

    source = "LeCun, Cortes and Burges, the MNIST database"

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.9 if file names end like train-images-idx3-ubyte.gz."""
        return 0.9 if any(NAME.search(n) for n in tree.names) else 0.0

    @staticmethod
    def read(tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None) -> Listing:
        """List the images of all parts, with the labels that lie beside them."""
        no_columns(tree.path, "an IDX file", target=target, group=group, split=split)
        whole = beside(tree, [n for n in os.listdir(tree.root) if NAME.search(n)]) if tree.single else tree
        files = [n for n in whole.names if NAME.search(n)]
        data: dict[str, Array] = {}
        labels: dict[str, Array] = {}
        for name in files:
            array = _header(whole, name)
            part = next((split_name(w) for w in re.split(r"[-_./]", name.lower()) if split_name(w)), "")
            into = labels if len(array.shape) == 1 else data
            if part in into:
                raise Asked(f"{tree.path} holds two IDX files of the same part, {name} is one", "keep one data set in a folder")
            into[part] = array
        if not data:
            raise BadData(f"{tree.path} holds labels, but no IDX file with images", "put train-images-idx3-ubyte beside it")
        order = {"train": 0, "test": 1, "val": 2, "": 3}
        names, splits, found, places = [], [], [], []
        for part, array in sorted(data.items(), key=lambda item: order[item[0]]):
            n = array.shape[0]
            values: list[str | None] = [None] * n
            if part in labels:
                if labels[part].shape[0] != n:
                    raise BadData(
                        f"{tree.path}: {n} images but {labels[part].shape[0]} labels ({part or 'no part named'})", "download both again"
                    )
                values = [str(v) for v in _values(labels[part], f"labels of {part}").tolist()]
            names += [f"{part or 'row'}:{i}" for i in range(n)]
            splits += [part] * n
            found += values
            places += [(array, i) for i in range(n)]
        first = places[0][0] if places else next(iter(data.values()))
        kind = modality or ("image" if len(first.shape) > 2 else "series")
        why = f"IDX files, {' x '.join(map(str, first.shape))} of {first.dtype.name}"
        bad = [Problem(p.name, p.reason) for p in whole.bad if NAME.search(p.name)]
        missing = [f"no labels beside the {p or 'only'} part" for p in data if p not in labels]

        def read(i: int) -> np.ndarray:
            array, row = places[i]
            return np.asarray(array.values[row])

        return Listing(kind, why, names, found, None, splits, read, bad, missing, tree=whole.only(files))


def _header(tree: Tree, name: str) -> Array:
    try:
        head = tree.data(name, 4 + 4 * 255)
        rank = head[3] if len(head) > 3 else 0
        if len(head) < 4 + 4 * rank or head[:2] != b"\0\0" or head[2] not in TYPES or not rank:
            raise BadItem("it does not begin like an IDX file")
    except BadItem as error:
        raise BadData(f"{name}: {error}", "copy or download it again") from None
    shape = tuple(int(v) for v in np.frombuffer(head, ">u4", rank, 4))
    dtype = np.dtype(TYPES[head[2]])
    wanted = 4 + 4 * rank + math.prod(shape) * dtype.itemsize
    # counted before a single item is named: a header may promise billions
    try:
        found = tree.size(name, most=wanted + 1)
    except BadItem as error:
        raise BadData(f"{name}: {error}", "copy or download it again") from None
    if 0 in shape[1:]:
        raise BadData(f"{name}: its items are empty: {' x '.join(map(str, shape))}", "copy or download it again")
    if found != wanted:
        many = "more" if found > wanted else f"{found}"
        raise BadData(f"{name}: truncated or damaged: its header promises {wanted} bytes, it has {many}", "copy or download it again")

    def load() -> np.ndarray:
        data = tree.data(name)
        if len(data) != wanted:
            raise ValueError(f"{len(data)} bytes where its header promises {wanted}")
        return np.frombuffer(data, dtype, offset=4 + 4 * rank).reshape(shape).astype(dtype.newbyteorder("="))

    return Array(shape, dtype, load)


def _values(array: Array, what: str) -> np.ndarray:
    try:
        return array.values
    except BadItem as error:
        raise BadData(f"{what}: {error}", "copy or download it again") from None
