from __future__ import annotations

import torch

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Step, Views


class Jigsaw(Method):
    """Cut an item into parts, shuffle them, and recognise the order.

    Each part is encoded by itself; the head sees all of them. hidden: width of the head.
    """

    family = "transformation"
    decomposes = True
    when = "the arrangement of parts tells the classes apart"
    source = "Noroozi & Favaro 2016, arXiv:1603.09246"
    views = Views(task="permute")

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512) -> None:
        super().__init__(encoder, info)
        self.head = mlp(encoder.dim * info.parts, hidden, info.answers["permute"])

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        h = [f.pooled for f in self.encoder.each(views)]
        return self.recognised(self.head(torch.cat(h, 1)), views[-1].answer, h[0])
