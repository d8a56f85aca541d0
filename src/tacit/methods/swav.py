from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tacit.clusters import sinkhorn
from tacit.encoder import Encoder
from tacit.gather import everyone, own_rows
from tacit.layers import mlp
from tacit.losses import soft_cross_entropy
from tacit.method import Method
from tacit.predictors import Prototypes
from tacit.queue import Queue
from tacit.types import Batch, Context, Count, Fraction, Info, Positive, Step, Views


class SwAV(Method):
    """Predict, from one view, the soft cluster of another, where all clusters are used equally.

    Clusters are learned along and compared in place of items, so it bears small batches, the more with a queue.

    prototypes: clusters (3,000 in the paper). hidden, out: widths of the projector. local: small views an item. temperature: of the
    prediction, > 0. smoothness: of the equal assignment, > 0. queue: past items that are assigned along, 0 = none. wait: share of the
    training before the queue is used.
    """

    family = "clustering"
    when = "the data has clusters, and small crops show what an item is"
    source = "Caron et al. 2020, arXiv:2006.09882; 256 prototypes instead of 3,000, for small data; one queue for both views"
    views = Views(global_=2)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        prototypes: Count = 256,
        hidden: Count = 512,
        out: Count = 128,
        local: Annotated[int, Field(ge=0)] = 0,
        temperature: Positive = 0.1,
        smoothness: Positive = 0.05,
        queue: Annotated[int, Field(ge=0)] = 0,
        wait: Fraction = 0.1,
    ) -> None:
        super().__init__(encoder, info)
        self.views = Views(global_=2, local=local)
        self.projector, self.prototypes = mlp(encoder.dim, hidden, out), Prototypes(out, prototypes)
        self.temperature, self.smoothness, self.wait = temperature, smoothness, wait
        self.queue = Queue(queue, out) if queue else None

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        features = [f.pooled for f in self.encoder.each(views)]
        z = [F.normalize(self.projector(h).float(), dim=1) for h in features]
        scores = [self.prototypes(v) for v in z]
        goals = [self._assigned(s, ctx) for s in scores[:2]]
        pairs = [soft_cross_entropy(s / self.temperature, goal) for i, goal in enumerate(goals) for k, s in enumerate(scores) if k != i]
        if self.queue is not None and self.training:
            self.queue.push(z[0], views[0].ids)
        return Step(torch.stack(pairs).mean(), features[0].detach(), chance=math.log(scores[0].shape[1]))

    @torch.no_grad()
    def _assigned(self, scores: Tensor, ctx: Context) -> Tensor:
        """Probabilities [B, prototypes], every prototype equally often among all processes' rows and those of the queue."""
        rows = everyone(scores.detach())
        many = len(rows)
        if self.queue is not None and ctx.progress >= self.wait:
            past = self.queue.rows[: int(self.queue.pushed)]
            rows = torch.cat([rows, self.prototypes(past)]) if len(past) else rows
        return own_rows(sinkhorn(rows, self.smoothness)[:many])
