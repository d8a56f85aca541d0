from __future__ import annotations

import math

import torch

from tacit.encoder import Encoder
from tacit.gather import world
from tacit.layers import mlp
from tacit.losses import info_nce
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


class SimCLR(Method):
    """Pull two views of an item together and push all other items of the batch away.

    hidden: width of the projector's hidden layer. out: width of the contrastive space.
    temperature: softmax temperature, > 0 (the paper tunes it to 0.1 to 0.5; 0.2 serves small batches).
    """

    family = "contrastive"
    when = "augmentations say what does not matter: the first thing to try, in batches of 128 and more"
    source = "Chen et al. 2020, arXiv:2002.05709; ours uses Muon or AdamW instead of LARS"
    views = Views(global_=2)

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512, out: Count = 128, temperature: Positive = 0.2) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out)
        self.temperature = temperature

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        h = torch.cat([f.pooled for f in self.encoder.each(views)])
        ids = torch.cat([v.ids for v in views])
        loss = info_nce(self.projector(h), ids, self.temperature)
        return Step(loss, h.detach()[: len(views[0].ids)], chance=math.log(max(2, len(ids) * world() - 1)))
