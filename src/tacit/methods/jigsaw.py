from __future__ import annotations

import math

import torch

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import cross_entropy
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Step, Views


class Jigsaw(Method):
    """Cut an item into parts, shuffle them, and recognise the order.

    Each part is encoded by itself; the head sees all of them. hidden: width of the head.
    """

    family = "transformation"
    when = "the arrangement of parts tells the classes apart"
    source = "Noroozi & Favaro 2016, arXiv:1603.09246"
    views = Views(task="permute")

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512) -> None:
        super().__init__(encoder, info)
        self.hidden, self.answers = hidden, info.answers["permute"]
        self.head = mlp(encoder.dim * info.parts, hidden, self.answers)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        answer = views[-1].answer
        assert answer is not None
        h = [f.pooled for f in self.encoder.each(views)]
        logits = self.head(torch.cat(h, 1))
        right = (logits.detach().argmax(1) == answer).float().mean()
        return Step(cross_entropy(logits, answer), h[0].detach(), {"accuracy": right}, chance=math.log(self.answers))
