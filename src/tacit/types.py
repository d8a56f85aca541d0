"""The types that cross file borders. Letters: B batch, N cells, M kept cells, D width, C channels, S sizes, r rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import numpy as np
from pydantic import Field

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
# needs of a method that no backbone has to meet: a label for every item, or for as many as there are
LABELS = frozenset({"labels", "some labels"})
# needs that the data has to meet: cells in an order, cells that hold symbols, which can be drawn, or numbers of one kind
OF_DATA = frozenset({"order", "symbols", "values"})


@dataclass(frozen=True)
class Layout:
    """How the cells of an item are arranged: a grid of `rank` dimensions, or an unordered set of `count` columns."""

    rank: int
    ordered: bool = True
    count: int = 0


@dataclass(frozen=True)
class Batch:
    """One stream of one batch, decoded, on the device.

    x: image [B, C, H, W] in 0..1, series [B, C, T], vector and table [B, F], events [B, F, T], text [B, 1, T] (numbers of symbols); NaN =
    missing.
    ids: int64 [B], rows 0..n-1 of the training split; equal ids are views of one item.
    valid: bool [B, *S], False where the position does not exist (padding); None = all exist.
    frame: [B, r, 2], start and extent of this view inside the item (item = 0..1, negative extent = flipped); None = the item.
    answer: what a pretext task asks for: int64 [B], or dense float [B, K, *S]; None outside pretext tasks.
    label: int64 [B] (-1 = none) or float [B] (NaN = none); only for methods whose needs name "labels" or "some labels".
    group: int64 [B]; rows that belong together (patient, session); None = unknown.
    stream: which part of a pair this is.
    """

    x: Tensor
    ids: Tensor
    valid: Tensor | None = None
    frame: Tensor | None = None
    answer: Tensor | None = None
    label: Tensor | None = None
    group: Tensor | None = None
    stream: str = "main"


@dataclass(frozen=True)
class Cells:
    """Where features will be, known before computing them: grid of any rank, valid bool [B, N]."""

    grid: tuple[int, ...]
    valid: Tensor


@dataclass(frozen=True)
class Tokens:
    """Content only, no position: x [B, N, D], valid bool [B, N], grid with product N (or (F,) for a set).

    weight: how much each token counts in the mean over the item [B, N], None = all alike.
    """

    x: Tensor
    valid: Tensor
    grid: tuple[int, ...]
    weight: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """What an encoder returns.

    tokens: [B, M, D]; pooled: [B, D], mean over valid cells; position: int64 [B, M], flat cell of `grid`;
    at: [B, M, r], cell centres in the item's frame; valid: bool [B, M]; layers: the last k of [B, M, D].
    """

    tokens: Tensor
    pooled: Tensor
    position: Tensor
    at: Tensor
    valid: Tensor
    grid: tuple[int, ...]
    layers: tuple[Tensor, ...] = ()


class Target(Protocol):
    """What the cells of a batch held, and how far a prediction is from it."""

    def distance(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Mean distance, a float32 scalar >= 0; predicted is packed [K, ...] = head(tokens[where]), where bool [B, N]."""
        ...

    def each(self, predicted: Tensor, where: Tensor) -> Tensor:
        """How surprising every single cell is, float32 [K], in units of its kind of data; NaN where nothing was observed."""
        ...

    def doubt(self, predicted: Tensor, where: Tensor) -> Tensor:
        """How surprising the cell would be on average if the prediction were right, [K]; 0 where predictions do not say."""
        ...


@dataclass(frozen=True)
class Views:
    """How many views of each kind a method asks for; they arrive in the order of these fields.

    task: a pretext task of the modality, whose views come last. lowest: smallest share of the item that a global view keeps,
    in 0..1, 0 = the modality's own. strength: of everything but cropping and mirroring in global and local views, 1 = the modality's own.
    """

    global_: int = 0
    local: int = 0
    weak: int = 0
    plain: int = 0
    crop: int = 0
    task: str = ""
    lowest: float = 0.0
    strength: float = 1.0


@dataclass(frozen=True)
class Context:
    """generator: this step's random numbers, on the device. progress: share of training done, in 0..1."""

    generator: torch.Generator
    progress: float


@dataclass(frozen=True)
class Info:
    """What a method may know of the data without naming it.

    items: number of training items. classes: number of label classes, 0 = none or a number is predicted. parts: views of the task
    that cuts an item into parts and shuffles them.
    answers: pretext task -> number of answers (of a dense answer: its channels). regression: the label is a number.
    """

    items: int
    classes: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)
    regression: bool = False
    parts: int = 0


@dataclass(frozen=True)
class Step:
    """One training step's result.

    loss: float32 scalar. embedding: [B, D] detached, what the health line looks at.
    log: named scalars. chance: the loss of guessing, where one is known.
    """

    loss: Tensor
    embedding: Tensor
    log: Mapping[str, Tensor] = field(default_factory=dict)
    chance: float | None = None


@dataclass(frozen=True)
class Spec:
    """What was measured on the data once, and travels with the model (all plain JSON).

    modality: name of the modality file. channels: C. sizes: the stored size of an item, S.
    mean, std: one number a channel, of the training split, NaN and padding left out.
    ragged: items differ in length and are padded. extra: what only that modality understands.
    """

    modality: str
    channels: int
    sizes: tuple[int, ...]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    ragged: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Embeddings:
    """Vectors with what belongs to them, in the order of the data.

    vectors: float32 [N, D]; ids: the items' names; labels: class names or numbers, None = unlabelled; groups likewise.
    """

    vectors: np.ndarray
    ids: tuple[str, ...]
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Vectors of some items, as NumPy indexes rows."""
        return np.asarray(self.vectors[rows])

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return self.vectors.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D), so that scikit-learn takes this as it is."""
        return self.vectors.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.vectors, dtype, copy=copy)


@dataclass(frozen=True)
class Chosen:
    """An automatic (or given) choice with its reason; both reach the screen and the run."""

    name: str
    value: Any
    reason: str
