from __future__ import annotations

import math

from torch import nn

from tacit.encoder import Encoder
from tacit.errors import CannotPair
from tacit.losses import cross_entropy
from tacit.method import Method
from tacit.types import Batch, Context, Info, Step, Views


class Transformation(Method):
    """Recognise how an item was transformed: images by how much they were rotated, series by the order of their segments.

    source: Gidaris et al. 2018 for images; Noroozi & Favaro 2016 for the order of parts.
    """

    source = "Gidaris et al. 2018, arXiv:1803.07728"
    experimental = "63 against 77 of the untrained encoder on builtin:digits at 5 labels a class; it helps on CIFAR-10, 33 against 26 at 50"
    views = Views(task="transform")

    def __init__(self, encoder: Encoder, info: Info) -> None:
        super().__init__(encoder, info)
        if "transform" not in info.answers:
            raise CannotPair("this kind of data has no transformation to recognise", "try method simclr")
        self.answers = info.answers["transform"]
        self.head = nn.Linear(encoder.dim, self.answers)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        assert x.answer is not None
        f = self.encoder(x)
        logits = self.head(f.pooled)
        right = (logits.detach().argmax(1) == x.answer).float().mean()
        return Step(cross_entropy(logits, x.answer), f.pooled.detach(), {"accuracy": right}, chance=math.log(self.answers))
