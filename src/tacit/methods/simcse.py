from __future__ import annotations

import math

import torch

from tacit.encoder import Encoder
from tacit.gather import world
from tacit.losses import info_nce
from tacit.method import Method
from tacit.types import Batch, Context, Info, Positive, Step, Views


class SimCSE(Method):
    """Read each item twice with another dropout, and tell the two readings from those of all other items.

    temperature: softmax temperature, > 0.
    """

    family = "contrastive"
    when = "sentences, after a first pretraining (--init RUN): it spreads embeddings whose directions are all alike"
    source = "Gao et al. 2021, arXiv:2104.08821; without its projector, which small networks do not need"
    views, needs = Views(weak=2), frozenset({"dropout"})

    def __init__(self, encoder: Encoder, info: Info, *, temperature: Positive = 0.05) -> None:
        super().__init__(encoder, info)
        self.temperature = temperature

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        h = torch.cat([f.pooled for f in self.encoder.each(views)])
        ids = torch.cat([v.ids for v in views])
        loss = info_nce(h, ids, self.temperature)
        return Step(loss, h.detach()[: len(views[0].ids)], chance=math.log(max(2, len(ids) * world() - 1)))
