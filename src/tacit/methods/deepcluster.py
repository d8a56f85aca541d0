from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tacit.clusters import spherical_kmeans
from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import cross_entropy, likeness
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


class DeepCluster(Method):
    """Cluster all items every so often, and learn to tell from any view which cluster its item is in.

    clusters: k of the k-means, at most half of the items (3,000 in the paper). hidden, out: widths of the projector. local: small
    views an item. temperature: softmax temperature, > 0. rounds: how often all items are clustered anew in a run.
    """

    family = "clustering"
    when = "the data has clusters and fits into memory, as all of it is embedded every so often"
    source = "Caron et al. 2018, arXiv:1807.05520, version 2 of arXiv:2006.09882, appendix D; one clustering instead of three"
    views = Views(global_=2)
    labels: Tensor
    centres: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        clusters: Annotated[int, Field(ge=2)] = 256,
        hidden: Count = 512,
        out: Count = 128,
        local: Annotated[int, Field(ge=0)] = 0,
        temperature: Positive = 0.1,
        rounds: Count = 20,
    ) -> None:
        super().__init__(encoder, info)
        self.views, self.surveys = Views(global_=2, local=local), rounds
        self.projector = mlp(encoder.dim, hidden, out)
        self.temperature, self.k = temperature, max(2, min(clusters, info.items // 2))
        self.register_buffer("labels", torch.full((info.items,), -1, dtype=torch.int64))
        self.register_buffer("centres", torch.zeros(self.k, out))

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        features = [f.pooled for f in self.encoder.each(views)]
        logits = [likeness(self.projector(h), self.centres) / self.temperature for h in features]
        loss = torch.stack([cross_entropy(x, self.labels[v.ids]) for x, v in zip(logits, views, strict=True)]).mean()
        return Step(loss, features[0].detach(), chance=math.log(self.k))

    def survey(self, z: Tensor, ctx: Context) -> None:
        centres, labels = spherical_kmeans(self.projector(z), self.k, ctx.generator)
        self.centres.copy_(centres)
        self.labels.copy_(labels)
