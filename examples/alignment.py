"""Alignment and uniformity as a plug-in: one file, from outside the package.

tacit pretrain photos/ --method examples/alignment.py:AlignmentUniformity method.spread=2
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import full_precision
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


@full_precision
def uniformity(z: Tensor) -> Tensor:
    """How crowded unit vectors [B, D] are: the logarithm of their mean Gaussian kernel, 0 = all in one place."""
    return torch.pdist(z).square().mul(-2).exp().mean().log()


class AlignmentUniformity(Method):
    """Pull the two views of an item together, and push all items apart over the sphere.

    hidden, out: widths of the projector. spread: weight of the uniformity, > 0.
    """

    source = "Wang & Isola 2020, arXiv:2005.10242"
    views = Views(global_=2)

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512, out: Count = 128, spread: Positive = 1.0) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out)
        self.spread = spread

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        features = [f.pooled for f in self.encoder.each(views)]
        a, b = (F.normalize(self.projector(h).float(), dim=1) for h in features)
        apart = (a - b).square().sum(1).mean()
        crowded = (uniformity(a) + uniformity(b)) / 2
        return Step(apart + self.spread * crowded, features[0].detach(), {"apart": apart.detach(), "crowded": crowded.detach()})
