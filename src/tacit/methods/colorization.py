from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.encoder import Encoder, parts_of
from tacit.losses import cross_entropy
from tacit.method import Method
from tacit.types import Batch, Context, Info, Step, Views


class Colorization(Method):
    """See a picture without colour and tell which colour each of its parts has.

    bins: classes along each of the two colour axes; a class instead of a number keeps the answer from being grey.
    """

    family = "transformation"
    decomposes = True
    when = "colour follows from what a thing is"
    source = "Zhang et al. 2016, arXiv:1603.08511; 25 bins of YIQ chroma instead of 313 of Lab, and no rebalancing"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(task="colour"), frozenset({"tokens"})

    def __init__(self, encoder: Encoder, info: Info, *, bins: Annotated[int, Field(ge=2, le=16)] = 5) -> None:
        super().__init__(encoder, info)
        self.bins, self.classes = bins, bins ** info.answers["colour"]
        self.parts = math.prod(parts_of(encoder.cell))
        self.head = nn.Linear(encoder.dim, self.parts * self.classes)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        assert x.answer is not None
        f = self.encoder(x)
        logits = self.head(f.tokens).unflatten(-1, (self.parts, self.classes))
        there = self.encoder.cut(torch.ones_like(x.answer[:, :1]))[..., 0] > 0  # cells reach beyond sizes that they do not divide
        answer = torch.where(there, self._bin(self.encoder.cut(x.answer)), -1)
        loss = cross_entropy(logits.flatten(0, -2), answer.flatten())
        return Step(loss, f.pooled.detach(), chance=math.log(self.classes))

    def _bin(self, chroma: Tensor) -> Tensor:
        """The class of chroma [..., axes] in -1..1; bins are narrower near grey, where most colours are."""
        spread = chroma.sign() * chroma.abs().sqrt()
        place = ((spread + 1) / 2 * self.bins).long().clamp(0, self.bins - 1)
        index = place[..., 0]
        for axis in range(1, place.shape[-1]):
            index = index * self.bins + place[..., axis]
        return index
