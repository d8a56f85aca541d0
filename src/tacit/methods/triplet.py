from __future__ import annotations

import torch

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import triplet
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


class Triplet(Method):
    """Keep an item's views nearer to each other than to any other item, by a margin.

    The oldest contrastive loss: it looks at one negative at a time. hidden, out: widths of the projector. margin: in squared
    distance of unit vectors (0 to 4), > 0.
    """

    family = "contrastive"
    when = "a simple margin is wanted, or classes are few and clear; weaker than a full softmax otherwise"
    source = "Schroff et al. 2015, arXiv:1503.03832; positives are views instead of photos of one person"
    views = Views(global_=2)

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512, out: Count = 128, margin: Positive = 0.2) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out)
        self.margin = margin

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        h = torch.cat([f.pooled for f in self.encoder.each(views)])
        loss = triplet(self.projector(h), torch.cat([v.ids for v in views]), self.margin)
        return Step(loss, h.detach()[: len(views[0].ids)])
