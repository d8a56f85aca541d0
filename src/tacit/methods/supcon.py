from __future__ import annotations

import math

import torch

from tacit.encoder import Encoder
from tacit.errors import Asked
from tacit.gather import world
from tacit.layers import mlp
from tacit.losses import info_nce
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


class SupCon(Method):
    """Pull all items of a class together and push the other classes away: contrastive learning that reads the labels.

    Items without a label are pulled towards their own views only. hidden, out: widths of the projector.
    temperature: softmax temperature, > 0 (0.1 as in the paper).
    """

    family = "labels"
    when = "many items carry a label and the embedding should follow the classes"
    source = "Khosla et al. 2020, arXiv:2004.11362, equation 2 (L_out)"
    views, needs = Views(global_=2), frozenset({"some labels"})

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512, out: Count = 128, temperature: Positive = 0.1) -> None:
        super().__init__(encoder, info)
        if not info.classes:
            why = "this data's label is a number" if info.regression else "this data has none"
            raise Asked(f"supcon compares classes, and {why}", "name a column of classes with --target, or use simclr")
        self.projector = mlp(encoder.dim, hidden, out)
        self.temperature = temperature

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        h = torch.cat([f.pooled for f in self.encoder.each(views)])
        label = [v.label if v.label is not None else torch.full_like(v.ids, -1) for v in views]
        same = torch.cat([torch.where(y >= 0, -1 - y, v.ids) for y, v in zip(label, views, strict=True)])  # classes count down from -1
        loss = info_nce(self.projector(h), same, self.temperature)
        return Step(loss, h.detach()[: len(views[0].ids)], chance=math.log(max(2, len(same) * world() - 1)))
