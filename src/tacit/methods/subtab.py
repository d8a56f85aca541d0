from __future__ import annotations

import itertools
import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tacit.corruption import swapped
from tacit.encoder import Encoder, join
from tacit.errors import CannotPair
from tacit.gather import world
from tacit.layers import mlp
from tacit.losses import full_precision, info_nce
from tacit.method import Method
from tacit.predictors import Decoder
from tacit.types import Batch, Cells, Context, Count, Fraction, Info, NonNegative, Positive, Step, Views


class SubTab(Method):
    """See a part of an item's cells at a time: draw all of them from each part, and give the parts of one item the same vector.

    The embedding that is kept is that of the whole item. subsets: parts of an item. overlap: of a part with the next one, as a share of
    the cells that each part would have without. noise: share of the seen cells that hold other items' values, in 0..1. contrast, distance:
    weights of telling the parts of one item from other items', and of how far they are apart, beside the drawing. hidden, out: widths of
    the projector. temperature: softmax temperature, > 0. depth, width: of the decoder.
    """

    family = "generative"
    when = "every part of an item says much about the rest of it, as the columns of a wide sheet do"
    source = (
        "Ucar et al. 2021, arXiv:2110.04361, its three losses; the parts are drawn anew at every step, their other cells are hidden, and "
        "the whole item is embedded at the end instead of averaging its parts"
    )
    preset = {"batch": 64}  # a step decodes each item once for every part
    views, needs = Views(plain=1), frozenset({"mask"})

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        subsets: Annotated[int, Field(ge=2)] = 4,
        overlap: Annotated[float, Field(ge=0, lt=1)] = 0.75,
        noise: Fraction = 0.0,
        contrast: NonNegative = 1.0,
        distance: NonNegative = 1.0,
        hidden: Count = 512,
        out: Count = 128,
        temperature: Positive = 0.1,
        depth: Count = 1,
        width: Count = 128,
    ) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out)
        self.decoder = Decoder(encoder.dim, encoder.layout, width=width, depth=depth)
        self.head = encoder.head(width)
        self.subsets, self.overlap, self.noise = subsets, overlap, noise
        self.weights, self.temperature = (contrast, distance), temperature

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        seen = self._seen(cells, ctx.generator)
        shown = [self._noisy(x, cells, s, ctx.generator) for s in seen]
        h = self.encoder(join(shown), mask=(cells.valid & ~seen).flatten(0, 1)).pooled
        every = Cells(cells.grid, cells.valid.repeat(self.subsets, 1))
        made = self.decoder(h, every, full=x.valid is None).chunk(self.subsets)
        target = self.encoder.target(x, raw=True)
        error = torch.stack([target.distance(self.head(m[cells.valid]), cells.valid) for m in made]).mean()
        pairs = list(itertools.combinations(self.projector(h).chunk(self.subsets), 2))
        told = torch.stack([info_nce(torch.cat(pair), x.ids.repeat(2), self.temperature) for pair in pairs]).mean()
        apart = torch.stack([squared_distance(a, b) for a, b in pairs]).mean()
        loss = error + self.weights[0] * told + self.weights[1] * apart
        log = {"error": error.detach(), "contrast": told.detach(), "distance": apart.detach()}
        chance = 1.0 + self.weights[0] * math.log(max(2, 2 * len(x.ids) * world() - 1))
        return Step(loss, h.detach()[: len(x.ids)], log, chance=chance)

    def _seen(self, cells: Cells, generator: torch.Generator) -> Tensor:
        """Which cells each part shows, bool [subsets, B, N]: equal shares of the row's cells in a random order, each wider by the overlap.

        The order is the same for all items, or which cells are hidden would tell whose part it is.
        """
        valid = cells.valid
        if valid.shape[1] < 2:
            raise CannotPair("these items have a single cell, which has no parts", "use a smaller modality.patch, or simclr")
        key = torch.rand(1, valid.shape[1], generator=generator, device=valid.device).masked_fill(~valid, 2.0)
        count = valid.sum(1, keepdim=True).clamp(min=1)
        place = (key.argsort(1).argsort(1) + 0.5) / count  # 0..1 along the row's cells; the last part goes on at the first cell
        start = torch.arange(self.subsets, device=valid.device).view(-1, 1, 1) / self.subsets
        seen = ((place - start) % 1 < (1 + self.overlap) / self.subsets) & valid
        return torch.where(seen.any(2, keepdim=True), seen, valid)  # rows with fewer cells than parts

    def _noisy(self, x: Batch, cells: Cells, seen: Tensor, generator: torch.Generator) -> Batch:
        """The items with some of the cells that are seen, bool [B, N], taken from others."""
        if not self.noise:
            return x
        mask = seen & (torch.rand(seen.shape, generator=generator, device=seen.device) < self.noise)
        return swapped(x, cells, self.encoder.cell, mask, generator)[0]


@full_precision
def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance of the directions of a and b [B, D]; two that say nothing are as one."""
    return (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean()
