"""Barlow Twins as a plug-in: one file, from outside the package.

tacit pretrain photos/ --method examples/barlow.py:BarlowTwins method.redundancy=0.01
"""

from __future__ import annotations

from torch import Tensor

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import full_precision
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


@full_precision
def cross_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlations [D, D] over the batch between the dimensions of two views [B, D]."""
    a = (a - a.mean(0)) / (a.std(0) + 1e-4)
    b = (b - b.mean(0)) / (b.std(0) + 1e-4)
    return a.T @ b / len(a)


class BarlowTwins(Method):
    """Make each dimension agree with itself across two views, and with no other dimension.

    hidden, out: widths of the projector. redundancy: weight of the off-diagonal correlations, > 0.
    """

    source = "Zbontar et al. 2021, arXiv:2103.03230"
    views = Views(global_=2)

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512, out: Count = 512, redundancy: Positive = 0.005) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out, depth=3)
        self.redundancy = redundancy

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        first, second = self.encoder.each(views)
        c = cross_correlation(self.projector(first.pooled), self.projector(second.pooled))
        same = (1 - c.diagonal()).square().sum()
        other = c.square().sum() - c.diagonal().square().sum()
        return Step(same + self.redundancy * other, first.pooled.detach(), {"same": same.detach(), "other": other.detach()})
