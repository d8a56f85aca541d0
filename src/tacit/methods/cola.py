from __future__ import annotations

import math

import torch
from torch import nn

from tacit.encoder import Encoder
from tacit.gather import everyone, world
from tacit.losses import cross_entropy, full_precision
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


class COLA(Method):
    """Tell which two parts come from the same item, by a learned likeness.

    out: width of what is compared. temperature: of the choice, > 0.
    """

    family = "contrastive"
    when = "items are long and alike throughout, such as recordings of a scene, and nothing is known of what may be changed in them"
    source = "Saeed et al. 2020, arXiv:2010.10915 (bilinear similarity); parts are otherwise left as they are"
    views = Views(weak=2)

    def __init__(self, encoder: Encoder, info: Info, *, out: Count = 512, temperature: Positive = 1.0) -> None:
        super().__init__(encoder, info)
        self.project = nn.Sequential(nn.Linear(encoder.dim, out), nn.LayerNorm(out), nn.Tanh())
        self.likeness = nn.Parameter(torch.eye(out) / out**0.5)
        self.temperature = temperature

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        h = [f.pooled for f in self.encoder.each(views)]
        loss = self._loss(self.project(h[0]), everyone(self.project(h[1])), views[0].ids, everyone(views[1].ids))
        return Step(loss, h[0].detach(), chance=math.log(max(2, len(h[0]) * world())))

    @full_precision
    def _loss(self, a: torch.Tensor, b: torch.Tensor, ids: torch.Tensor, every: torch.Tensor) -> torch.Tensor:
        logits = a.float() @ self.likeness @ b.float().T / self.temperature
        same = ids[:, None] == every
        first = same.to(torch.uint8).argmax(1)
        other = same.clone()
        other[torch.arange(len(ids), device=ids.device), first] = False
        return cross_entropy(logits.masked_fill(other, -torch.inf), first)
