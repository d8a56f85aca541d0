from __future__ import annotations

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import covariance, mse, variance
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, NonNegative, Step, Views


class VICReg(Method):
    """Make two views agree while every dimension keeps its variance and no two dimensions say the same.

    hidden, out: widths of the three-layer projector. invariance, variance, covariance: weights of the three terms.
    """

    family = "decorrelation"
    when = "a decorrelated embedding is wanted, or the two views are of different kinds"
    source = "Bardes et al. 2021, arXiv:2105.04906; the projector is 1024 wide instead of 8192"
    views = Views(global_=2)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        hidden: Count = 1024,
        out: Count = 1024,
        invariance: NonNegative = 25.0,
        variance: NonNegative = 25.0,
        covariance: NonNegative = 1.0,
    ) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out, depth=3)
        self.weights = (invariance, variance, covariance)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        first, second = self.encoder.each(views)
        a, b = self.projector(first.pooled), self.projector(second.pooled)
        parts = (mse(a, b), (variance(a) + variance(b)) / 2, covariance(a) + covariance(b))
        inv, var, cov = (w * p for w, p in zip(self.weights, parts, strict=True))
        log = {"invariance": inv.detach(), "variance": var.detach(), "covariance": cov.detach()}
        return Step(inv + var + cov, first.pooled.detach(), log)
