"""Vectors: rows of plain numbers without an order, as scikit-learn's X."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tacit.later import later
from tacit.modality import RECIPE, BadItem, Modality, Raw
from tacit.types import Batch, Fraction, Layout, Spec, Views

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tacit import augment, columns
    from tacit.encoder import Tokenizer
else:
    torch, augment, columns = later("torch"), later("tacit.augment"), later("tacit.columns")


class Vector(Modality):
    """Rows of numbers that were computed elsewhere: features, embeddings, a 2-D array.

    swap: share of columns that a global view takes from another item of the batch (SCARF, arXiv:2106.15147).
    """

    unit, axes = "rows", 2
    strengths = {"swap": (0.1, 0.3, 0.6)}
    ignores = "which values a part of the columns took (they are swapped with other items')"
    preset = {"method": "vicreg", "batch": 256, "lr": 1e-3, "weight_decay": 0.01, "passes": 200}

    def __init__(self, spec: Spec, *, swap: Fraction = 0.3) -> None:
        super().__init__(spec)
        self.layout, self.sizes, self.swap = Layout(1, ordered=False, count=spec.channels), (spec.channels,), swap

    @classmethod
    def plan(cls, sample: Sequence[Raw], *, size: int | None = None, limit: int = 224) -> Spec:
        """One channel a column, no other axis. size, limit: not used."""
        if not len(sample):
            raise BadItem("there is no row")
        return Spec("vector", int(np.asarray(sample[0]).shape[-1]), ())

    @classmethod
    def decode(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """One row as float32 [F]; infinite values count as missing (NaN)."""
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
    def example(cls) -> Spec:
        """Eight columns."""
        return Spec("vector", 8, (), (0.0,) * 8, (1.0,) * 8)

    @classmethod
    def finish(cls, spec: Spec, x: np.ndarray) -> Spec:
        """Measure mean and std of each column without missing values; a constant column gets std 1. x: float32 [n, F]."""
        known = np.isfinite(x)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, x, 0).sum(0, dtype=np.float64) / count
        std = np.sqrt((np.where(known, x - mean, 0) ** 2).sum(0) / count)
        std = np.where(std > 1e-12 * np.maximum(1, np.abs(mean)), std, 1.0)
        return replace(spec, mean=tuple(map(float, mean)), std=tuple(map(float, std)))

    @classmethod
    def prefer(cls, spec: Spec, device: str) -> tuple[str, str]:
        return "mlp", "plain vectors have no neighbourhood that another network could use"

    def augment(self, batch: Batch, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views = RECIPE) -> Batch:
        if kind == "plain":
            return batch
        share = {"global_": min(1.0, self.swap * want.strength), "local": min(1.0, 0.6 * want.strength), "weak": 0.1}[kind]
        b, f = batch.x.shape
        row = (augment.uniform(generator, (b, f)) * b).long().clamp(max=b - 1)
        swapped: Tensor = augment.uniform(generator, (b, f)) < share
        return replace(batch, x=torch.where(swapped, batch.x.gather(0, row), batch.x))

    def tokenizer(self, dense: bool) -> Tokenizer:
        return columns.VectorTokenizer(self.spec.mean, self.spec.std)
