from __future__ import annotations

import math

import torch

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import cross_entropy
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Step, Views


class Relative(Method):
    """See the middle part of an item and one of its neighbours, and tell on which side the neighbour lies.

    hidden: width of the head that sees both parts.
    """

    family = "transformation"
    when = "parts are large and have a fixed arrangement"
    source = "Doersch et al. 2015, arXiv:1505.05192"
    views = Views(task="relation")

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512) -> None:
        super().__init__(encoder, info)
        self.answers = info.answers["relation"]
        self.head = mlp(2 * encoder.dim, hidden, self.answers)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        answer = views[-1].answer
        assert answer is not None
        middle, other = (f.pooled for f in self.encoder.each(views))
        logits = self.head(torch.cat([middle, other], 1))
        right = (logits.detach().argmax(1) == answer).float().mean()
        return Step(cross_entropy(logits, answer), middle.detach(), {"accuracy": right}, chance=math.log(max(2, self.answers)))
