from __future__ import annotations

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import cross_correlation
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


class Barlow(Method):
    """Make each dimension agree with itself across two views, and with no other dimension.

    hidden, out: widths of the three-layer projector. redundancy: weight of the off-diagonal correlations, > 0.
    """

    family = "decorrelation"
    when = "a decorrelated embedding is wanted and batches are small"
    source = "Zbontar et al. 2021, arXiv:2103.03230; the projector is 1024 wide instead of 8192"
    views = Views(global_=2)

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 1024, out: Count = 1024, redundancy: Positive = 0.005) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out, depth=3)
        self.redundancy = redundancy

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        first, second = self.encoder.each(views)
        c = cross_correlation(self.projector(first.pooled), self.projector(second.pooled))
        same = (1 - c.diagonal()).square().sum()
        other = c.square().sum() - c.diagonal().square().sum()
        log = {"same": same.detach(), "other": other.detach()}
        # divided by the width, so that the gradient clip and the learning rate mean the same for any projector
        return Step((same + self.redundancy * other) / len(c), first.pooled.detach(), log)
