"""What an array of labels says by its shape: one label an item, tags of its positions, or several yes-or-no labels."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tacit.errors import Asked
from tacit.modality import BadItem, Modality

HINT = "one value for each item, one for each position (tags, masks), or columns of 0 and 1 (several labels) are understood"


def form(kind: type[Modality], item: tuple[int, ...], y: tuple[int, ...]) -> str:
    """ "one", "tags", "several", or "" for none of these.

    item: shape of one raw item. y: shape of the labels of all items, [N, ...].
    """
    if math.prod(y[1:]) == 1:
        return "one"
    if plain(y[1:]) == plain(extent(kind, item)):
        return "tags"
    return "several" if len(plain(y[1:])) == 1 and y[1:].count(0) == 0 else ""


def extent(kind: type[Modality], item: tuple[int, ...]) -> tuple[int, ...]:
    """The positions [*S] of a raw item of this shape."""
    with contextlib.suppress(BadItem):
        return kind.extent(np.broadcast_to(np.uint8(0), item))
    return ()


def plain(shape: Sequence[int]) -> list[int]:
    """A shape without its axes of one."""
    return [s for s in shape if s != 1]


def tags_of(values: np.ndarray, where: str) -> np.ndarray:
    """Labels of positions, unchanged. Raises Asked unless they are whole numbers (NaN = unknown)."""
    if values.dtype.kind == "f":
        known = values[~np.isnan(values)]
        if (known != np.rint(known)).any():
            raise Asked(
                f"{where} holds a number for each position, such as {known[known != np.rint(known)][0]:g}: whole numbers are tags", HINT
            )
    if values.dtype.kind not in "buif":
        raise Asked(f"{where} of type {values.dtype} are no tags of positions: whole numbers are", HINT)
    return values


def several_of(values: np.ndarray, where: str) -> np.ndarray:
    """Yes-or-no labels float32 [N, K], NaN = unknown. Raises Asked for another value than 0, 1 and NaN."""
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if values.dtype.kind not in "buif" or not np.isin(known, (0, 1)).all():
        raise Asked(f"{where} of shape {values.shape}: one value for each item is understood", f"choose one column; {HINT}")
    return values.reshape(len(values), -1).astype(np.float32)


def given(kind: type[Modality], x: Sequence[Any] | np.ndarray, y: Any) -> dict[str, Any]:
    """What a Listing holds of labels in memory: "labels" (list), "tags" (reader) or "multi" (array). Raises Asked for another shape.

    x: the N raw items. y: N labels, N arrays of tags (None = unlabelled), or [N, K] of 0, 1 and NaN.
    """
    y = np.asarray(y) if hasattr(y, "__array__") else y
    if not isinstance(y, np.ndarray) and any(np.ndim(v) for v in y):
        arrays = [None if v is None else np.asarray(v) for v in y]
        whole = [v for v in arrays if v is not None]
        if len(whole) < len(arrays) or len({v.shape for v in whole}) > 1:
            return {"tags": _each(kind, x, arrays)}
        y = np.stack(whole)
    if np.ndim(y) < 2:
        return {"labels": np.asarray(y).tolist()}
    said = form(kind, np.shape(x[0]), y.shape)
    if said == "one":
        return {"labels": y.reshape(-1).tolist()}
    if said == "tags":
        return {"tags": _each(kind, x, list(tags_of(y, "y")))}
    if said == "several":
        return {"multi": several_of(y, "y")}
    raise Asked(f"labels of shape {y.shape} for items of shape {np.shape(x[0])}", HINT)


def _each(kind: type[Modality], x: Sequence[Any] | np.ndarray, y: Sequence[np.ndarray | None]) -> Callable[[int], np.ndarray | None]:
    """The reader of tags that lie in memory. Raises Asked for an item whose tags do not fit it."""
    shapes = [extent(kind, np.shape(item)) for item in x]
    for i, (shape, tags) in enumerate(zip(shapes, y, strict=True)):
        if tags is not None and plain(tags.shape) != plain(shape):
            raise Asked(f"item {i} has labels of shape {tags.shape} and {' x '.join(map(str, shape)) or 'no'} positions", HINT)

    def read(i: int) -> np.ndarray | None:
        found = y[i]
        return None if found is None else tags_of(found, f"y[{i}]").reshape(shapes[i])

    return read
