from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.corruption import swapped
from tacit.encoder import Encoder
from tacit.losses import full_precision
from tacit.masking import random_mask
from tacit.method import Method
from tacit.predictors import Decoder
from tacit.types import Batch, Context, Count, Info, NonNegative, Share, Step, Views


class VIME(Method):
    """Tell from one vector which of an item's cells hold other items' values, and what they held before.

    corruption: share of cells replaced, in 0..1. alpha: weight of the values, in units of the mask's cross entropy. depth, width: of the
    decoder.
    """

    family = "generative"
    when = "columns depend on each other, so that a value which does not belong can be found and mended"
    source = (
        "Yoon et al. 2020 (VIME, NeurIPS), its self-supervised part; the same number of cells of each item is replaced, and both "
        "estimators share a decoder"
    )
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views = Views(plain=1)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        corruption: Share = 0.3,
        alpha: NonNegative = 2.0,
        depth: Count = 2,
        width: Count = 128,
    ) -> None:
        super().__init__(encoder, info)
        self.decoder = Decoder(encoder.dim, encoder.layout, width=width, depth=depth)
        self.head, self.mask = encoder.head(width), nn.Linear(width, 1)
        self.corruption, self.alpha = corruption, alpha

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        other, changed = swapped(x, cells, self.encoder.cell, random_mask(cells, self.corruption, ctx.generator), ctx.generator)
        f = self.encoder(other)
        made = self.decoder(f.pooled, cells, full=x.valid is None)[cells.valid]
        found = told(self.mask(made)[:, 0], changed[cells.valid])
        error = self.encoder.target(x, raw=True).distance(self.head(made), cells.valid)
        log = {"mask": found.detach(), "error": error.detach()}
        return Step(found + self.alpha * error, f.pooled.detach(), log, chance=math.log(2) + self.alpha)


@full_precision
def told(logits: Tensor, changed: Tensor) -> Tensor:
    """Cross entropy of logits [K] with whether a cell has changed, bool [K]."""
    return F.binary_cross_entropy_with_logits(logits, changed.to(logits.dtype))
