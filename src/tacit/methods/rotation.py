from __future__ import annotations

from torch import nn

from tacit.encoder import Encoder
from tacit.method import Method
from tacit.types import Batch, Context, Info, Step, Views


class Rotation(Method):
    """Recognise by how many quarter turns an item was rotated.

    It learns what is upright, so it needs things that have an up and a down.
    """

    family = "transformation"
    decomposes = True
    when = "things have an upright, and classes differ in shape rather than texture"
    source = "Gidaris et al. 2018, arXiv:1803.07728; one turn an item and step instead of all four"
    views = Views(task="turn")

    def __init__(self, encoder: Encoder, info: Info) -> None:
        super().__init__(encoder, info)
        self.head = nn.Linear(encoder.dim, info.answers["turn"])

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        f = self.encoder(x)
        return self.recognised(self.head(f.pooled), x.answer, f.pooled)
