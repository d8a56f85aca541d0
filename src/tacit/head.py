"""What a head is: it turns features into a decision, and knows how that decision is learned, calibrated, said and scored.

Everything here but `loss` works without torch, so that an exported model decides with NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Decided:
    """Decisions about N items (or pairs).

    columns: name -> one entry an item, in plain Python or NumPy. unsure: bool [N], where the head itself abstains. why: in words, for
    those. promise: what the sets or intervals hold, in words.
    """

    columns: dict[str, Any]
    unsure: np.ndarray
    why: list[str] = field(default_factory=list)
    promise: str = ""


class Head:
    """Base of all heads. Subclasses take `(classes, *, hyperparameters)`; the file is the registration.

    level: "item" (one output an item), "token" (one for each feature of its grid), "sequence" (one for each moment, read in order) or
    "pair" (one for two items). metrics: names of what `scores` returns, the one that decides first; all but those in `errors` are better
    when larger. mixes: whether two items with two answers may be mixed (mixup). ordered: of pairs, whether the first item differs from
    the second. classes: names of the classes or labels, empty for numbers. calibrates: labels are set aside to find out how sure outputs
    are. least: steps of fine-tuning, at least. batch: items a step, at most; 0 = any number.
    """

    level: ClassVar[str] = "item"
    metrics: tuple[str, ...] = ()
    errors: ClassVar[frozenset[str]] = frozenset({"rmse", "mae", "nll", "brier", "ece", "cer", "wer"})
    source: ClassVar[str] = ""
    mixes: ClassVar[bool] = False
    ordered: ClassVar[bool] = False
    calibrates: ClassVar[bool] = True
    least: ClassVar[int] = 0
    batch: ClassVar[int] = 0

    def __init__(self, classes: Sequence[str] = ()) -> None:
        self.classes = tuple(classes)
        self.few = 1.0  # C of the linear probe where labels are few; the kind of data says which
        self.centre, self.unit = 0.0, 1.0  # numbers are learned in units of their own deviation

    @property
    def outputs(self) -> int:
        """Numbers that the head gives for an item, a token or a pair."""
        return max(1, len(self.classes))

    def state(self) -> dict[str, Any]:
        """What `restore` needs beside classes and hyperparameters, plain JSON."""
        return {"centre": self.centre, "unit": self.unit}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.centre, self.unit = float(state["centre"]), float(state["unit"])

    def known(self, y: np.ndarray) -> np.ndarray:
        """bool [N]: items with an answer that can be learned from or scored."""
        return y >= 0 if y.dtype.kind in "iu" else np.isfinite(y)

    def prepare(self, y: np.ndarray) -> None:
        """Look at the answers that will be learned from."""

    def strata(self, y: np.ndarray) -> np.ndarray | None:
        """int64 [N] classes that splits should be balanced in, None where there are none."""
        return None

    def probe(self, f: np.ndarray, y: np.ndarray, *, small: bool, seed: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Weight [D, outputs] and bias [outputs] of the best linear reading of standardised features f [N, D] (tokens: [N, M, D])."""
        raise NotImplementedError

    def learn(self, layer: Any, f: np.ndarray, y: np.ndarray, seed: int) -> None:
        """Train `layer`, which reads moments in their order, on features f [N, M, D], NaN = no such moment; of sequences only."""
        raise NotImplementedError

    def loss(self, out: Tensor, answer: Tensor) -> Tensor:
        """Mean loss of outputs [B, outputs] (tokens: [B, M, outputs]) against answers; unknown answers count for nothing."""
        raise NotImplementedError

    def values(self, out: np.ndarray) -> np.ndarray:
        """Outputs in the data's own units."""
        return out

    def calibrate(self, out: np.ndarray, y: np.ndarray, alpha: float) -> dict[str, Any]:
        """What `decide` needs to know of outputs for items that were not learned from, plain JSON; alpha: share of misses allowed."""
        return {}

    def decide(self, out: np.ndarray, calibration: Mapping[str, Any], lengths: np.ndarray | None = None) -> Decided:
        """What outputs mean; lengths: of ragged items, for heads of places."""
        raise NotImplementedError

    def scores(self, out: np.ndarray, y: np.ndarray, calibration: Mapping[str, Any]) -> dict[str, float]:
        """Every metric on items with known answers; NaN where one is not defined."""
        raise NotImplementedError


def at_places(out: np.ndarray, grid: Sequence[int], cell: Sequence[int], size: Sequence[int], places: Sequence[int]) -> np.ndarray:
    """Outputs [N, M, K] on the grid of features, brought to every place of the item by straight lines: [N, *places, K].

    cell: samples that one feature covers. size: samples of the item as the encoder saw it. places: samples of the item itself.
    """
    x = out.reshape(len(out), *grid, out.shape[-1])
    for axis, (g, c, s, p) in enumerate(zip(grid, cell, size, places, strict=True)):
        at = np.clip((np.arange(p) + 0.5) / p * s / c - 0.5, 0, g - 1)
        left = np.minimum(at.astype(np.int64), max(0, g - 2))
        share = (at - left).astype(np.float32).reshape(-1, *[1] * (x.ndim - axis - 2))
        right = np.minimum(left + 1, g - 1)
        x = np.take(x, left, 1 + axis) * (1 - share) + np.take(x, right, 1 + axis) * share
    return x


ABSENT = 1e4  # first output of a moment that does not exist


def together(parts: Sequence[np.ndarray], places: int = 0, fill: float = 0.0) -> np.ndarray:
    """Outputs of several batches as one array; of tokens [B, M, K], whose M may differ, with `fill` up to the largest M or `places`."""
    if parts and parts[0].ndim == 3:
        wide = max(places, *(p.shape[1] for p in parts))
        parts = [np.pad(p, ((0, 0), (0, wide - p.shape[1]), (0, 0)), constant_values=fill) if p.shape[1] < wide else p for p in parts]
    return np.concatenate(parts)


def of_pair(a: np.ndarray, b: np.ndarray, ordered: bool = False) -> np.ndarray:
    """What is read of two embeddings [N, D]: their distance and their product, feature by feature, at unit length: [N, 2 D].

    ordered: both themselves, too [N, 4 D], or nothing could tell which is the first.
    """
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (a, b))
    return np.concatenate([np.abs(a - b), a * b, *((a, b) if ordered else ())], 1)
