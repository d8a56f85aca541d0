from __future__ import annotations

import math

import torch

from tacit.corruption import swapped
from tacit.encoder import Encoder
from tacit.gather import world
from tacit.layers import mlp
from tacit.losses import paired
from tacit.masking import random_mask
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Share, Step, Views


class SCARF(Method):
    """Recognise an item, among all of the batch, from a copy in which most of its cells hold other items' values.

    It needs no augmentation: what other items hold in the same place is the noise. corruption: share of cells replaced, in 0..1.
    hidden, out: widths of the projector. temperature: softmax temperature, > 0.
    """

    family = "contrastive"
    when = "items are rows of columns or other values in fixed places, and nobody can say which augmentation would leave them the same"
    source = "Bahri et al. 2021, arXiv:2106.15147, algorithm 1; values come from other items of the batch instead of the whole data"
    views = Views(plain=1)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        corruption: Share = 0.6,
        hidden: Count = 256,
        out: Count = 256,
        temperature: Positive = 1.0,
    ) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out, norm=False)
        self.corruption, self.temperature = corruption, temperature

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        mask = random_mask(cells, self.corruption, ctx.generator)
        other, _ = swapped(x, cells, self.encoder.cell, mask, ctx.generator)
        anchor, positive = (f.pooled for f in self.encoder.each([x, other]))
        every = torch.ones_like(x.ids, dtype=torch.bool)
        loss = paired(self.projector(anchor), self.projector(positive), every, self.temperature)
        return Step(loss, anchor.detach(), chance=math.log(max(2, len(x.ids) * world())))
