from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import Encoder
from tacit.losses import full_precision
from tacit.method import Method
from tacit.types import Batch, Context, Info, Step, Views


class Enhancement(Method):
    """Hear an item with noise in it and give back what it was without, cell by cell, as a correction of what is heard."""

    family = "transformation"
    when = "recordings are noisy, and the clean sound itself is wanted (tacit enhance)"
    source = "Xu et al. 2015 (regression of log spectra); noise is drawn anew in every step, and the correction is what is predicted"
    preset = {"batch": 64}
    views, needs = Views(task="noise"), frozenset({"tokens"})
    keeps = ("head",)

    def __init__(self, encoder: Encoder, info: Info) -> None:
        super().__init__(encoder, info)
        self.head = nn.Linear(encoder.dim, info.answers["noise"] * math.prod(encoder.cell))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        assert x.answer is not None
        f = self.encoder(x)
        heard = self.encoder.tokenizer.normalised(x.x)  # type: ignore[operator]
        wanted = self.encoder.cut(x.answer - heard, max(self.encoder.cell)).flatten(2)
        return Step(_distance(self.head(f.tokens), wanted, f.valid), f.pooled.detach())


@full_precision
def _distance(guess: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """Mean Huber distance over the cells that exist."""
    each = F.smooth_l1_loss(guess, wanted, reduction="none").mean(-1)
    return (each * valid).sum() / valid.sum().clamp(min=1)
