"""Items that are rows of columns without an order: what vectors and tables have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tacit.later import later
from tacit.modality import RECIPE, BadItem, Modality, Raw
from tacit.reasons import number
from tacit.types import Batch, Fraction, Layout, Spec, Views

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tacit import augment, pieces
    from tacit.encoder import Tokenizer
else:
    torch, augment, pieces = later("torch"), later("tacit.augment"), later("tacit.pieces")


class Unordered(Modality):
    """Base of modalities whose items are rows [F]. swap: share of columns that a global view takes from another item of the batch.

    source: Bahri et al. 2021, arXiv:2106.15147 (SCARF).
    """

    unit, explained = "rows", "shapley"
    strengths = {"swap": (0.1, 0.3, 0.6)}
    ignores = "which values a part of the columns took (they are swapped with other items')"
    preset = {"method": "vicreg", "batch": 256, "lr": 1e-3, "weight_decay": 0.01, "passes": 200}

    def __init__(self, spec: Spec, *, swap: Fraction = 0.3) -> None:
        super().__init__(spec)
        self.layout, self.sizes, self.swap = Layout(1, ordered=False, count=spec.channels), (spec.channels,), swap

    @classmethod
    def decode(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """One row of numbers as float32 [F]; infinite values count as missing (NaN)."""
        if not isinstance(raw, np.ndarray) or raw.dtype.kind not in "buif":
            raise BadItem("not a row of numbers")
        if raw.shape != (spec.channels,):
            raise BadItem(f"shape {tuple(raw.shape)} where the others have {spec.channels} columns")
        with np.errstate(over="ignore"):
            x = raw.astype(np.float32)
        x[~np.isfinite(x)] = np.nan
        if np.isnan(x).all():
            raise BadItem("every value is missing")
        return x

    @classmethod
    def prefer(cls, spec: Spec, device: str) -> tuple[str, str]:
        return "mlp", "columns have no neighbourhood that another network could use"

    def cut_up(self, view: Batch, tokenizer: Tokenizer, most: int) -> pieces.Pieces:
        """The columns; neighbouring ones together where there are more than `most`."""
        of = pieces.runs(torch.arange(view.x.shape[1], device=view.x.device), most)
        names = self.cells(view.x[0].tolist())
        joined = (", ".join(n for n, p in zip(names, of.tolist(), strict=True) if p == k) for k in range(int(of.max()) + 1))
        return pieces.Pieces(of, tuple(joined), "column")

    def without(self, view: Batch, parts: pieces.Pieces, keep: Tensor, background: Tensor | None) -> Batch:
        """The values of other items stand where a column is gone."""
        assert background is not None
        return pieces.exchanged(view, parts, keep, background)

    def cells(self, row: Sequence[float]) -> list[str]:
        """The cells of a row, in words."""
        return [f"column {i + 1} = {number(v)}" for i, v in enumerate(row)]

    def augment(self, batch: Batch, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views = RECIPE) -> Batch:
        if kind == "plain":
            return batch
        share = {"global_": min(1.0, self.swap * want.strength), "local": min(1.0, 0.6 * want.strength), "weak": 0.1}[kind]
        b, f = batch.x.shape
        row = (augment.uniform(generator, (b, f)) * b).long().clamp(max=b - 1)
        swapped: Tensor = augment.uniform(generator, (b, f)) < share
        return replace(batch, x=torch.where(swapped, batch.x.gather(0, row), batch.x))
