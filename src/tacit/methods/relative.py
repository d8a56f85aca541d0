from __future__ import annotations

import torch

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Step, Views


class Relative(Method):
    """See the middle part of an item and one of its neighbours, and tell on which side the neighbour lies.

    hidden: width of the head that sees both parts.
    """

    family = "transformation"
    decomposes = True
    when = "parts are large and have a fixed arrangement"
    source = "Doersch et al. 2015, arXiv:1505.05192"
    views = Views(task="relation")

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512) -> None:
        super().__init__(encoder, info)
        self.head = mlp(2 * encoder.dim, hidden, info.answers["relation"])

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        middle, other = (f.pooled for f in self.encoder.each(views))
        return self.recognised(self.head(torch.cat([middle, other], 1)), views[-1].answer, middle)
