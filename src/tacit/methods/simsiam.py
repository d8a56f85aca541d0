from __future__ import annotations

from torch import nn

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import cosine_distance
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Step, Views


class SimSiam(Method):
    """Predict the projection of an item's other view, which gets no gradient: no negatives, no teacher, no queue.

    The simplest of all, and the quickest to collapse: watch the health line. hidden: of the projector. out: its width.
    bottleneck: hidden width of the predictor, a quarter of out as in the paper.
    """

    family = "distillation"
    when = "a baseline without negatives and without a teacher is wanted; it needs long training"
    source = "Chen & He 2020, arXiv:2011.10566; the projector is 512 wide instead of 2048"
    views = Views(global_=2)

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512, out: Count = 512, bottleneck: Count = 128) -> None:
        super().__init__(encoder, info)
        self.projector = nn.Sequential(mlp(encoder.dim, hidden, out, depth=3), nn.BatchNorm1d(out, affine=False))
        self.predictor = mlp(out, bottleneck, out)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        first, second = self.encoder.each(views)
        a, b = self.projector(first.pooled), self.projector(second.pooled)
        loss = (cosine_distance(self.predictor(a), b.detach()) + cosine_distance(self.predictor(b), a.detach())) / 2
        return Step(loss, first.pooled.detach(), chance=2.0)
