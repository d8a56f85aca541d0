from __future__ import annotations

import math

from torch import nn

from tacit.encoder import Encoder
from tacit.errors import Asked
from tacit.losses import cross_entropy, masked_mse
from tacit.method import Method
from tacit.types import Batch, Context, Fraction, Info, Step, Views


class Supervised(Method):
    """Learn from labels alone, from scratch: the comparison that tells whether self-supervision was worth it.

    smoothing: label smoothing, in 0..1; not used when the label is a number.
    """

    family = "labels"
    when = "labels are many; otherwise as the comparison that tells whether self-supervision was worth it"
    source = "the baseline; label smoothing from Szegedy et al. 2016, arXiv:1512.00567"
    views, needs = Views(global_=1), frozenset({"labels"})

    def __init__(self, encoder: Encoder, info: Info, *, smoothing: Fraction = 0.1) -> None:
        super().__init__(encoder, info)
        if not info.classes and not info.regression:
            raise Asked("supervised training needs labels, and this data has none", "name them with --target")
        self.smoothing, self.regression, self.classes = smoothing, info.regression, info.classes
        self.head = nn.Linear(encoder.dim, 1 if info.regression else info.classes)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        assert x.label is not None
        f = self.encoder(x)
        out = self.head(f.pooled)
        if self.regression:
            known = ~x.label.isnan()
            return Step(masked_mse(out[:, 0], x.label.nan_to_num(), known), f.pooled.detach())
        loss = cross_entropy(out, x.label, self.smoothing)
        return Step(loss, f.pooled.detach(), chance=math.log(max(2, self.classes)))
