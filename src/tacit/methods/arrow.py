from __future__ import annotations

from torch import nn

from tacit.encoder import Encoder
from tacit.method import Method
from tacit.types import Batch, Context, Info, Step, Views


class Arrow(Method):
    """Tell whether an item runs forward or backward in time."""

    family = "transformation"
    decomposes = True
    when = "time has a direction in the data, as in movements and decays"
    source = "Misra et al. 2016, arXiv:1603.08561; Wei et al. 2018 (arrow of time)"
    views = Views(task="reverse")

    def __init__(self, encoder: Encoder, info: Info) -> None:
        super().__init__(encoder, info)
        self.head = nn.Linear(encoder.dim, info.answers["reverse"])

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        f = self.encoder(x)
        return self.recognised(self.head(f.pooled), x.answer, f.pooled)
