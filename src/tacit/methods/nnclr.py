from __future__ import annotations

import math

import torch
from torch import Tensor

from tacit.encoder import Encoder
from tacit.gather import everyone, world
from tacit.layers import mlp
from tacit.losses import contrast, likeness
from tacit.method import Method
from tacit.queue import Queue
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


class NNCLR(Method):
    """Pull a view towards the nearest neighbour that its item's other view has among past items.

    The neighbour is a natural variation that no augmentation could make. hidden, out: widths of projector and predictor.
    temperature: softmax temperature, > 0. queue: past items among which the neighbour is sought (98,304 in the paper; ours suits thousands
    of items).
    """

    family = "contrastive"
    when = "augmentations are too weak to make an item look like its neighbours"
    source = "Dwibedi et al. 2021, arXiv:2104.14548"
    views = Views(global_=2)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        hidden: Count = 512,
        out: Count = 128,
        temperature: Positive = 0.1,
        queue: Count = 4096,
    ) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out)
        self.predictor = mlp(out, hidden, out)
        self.temperature = temperature
        self.queue = Queue(queue, out)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        h = [f.pooled for f in self.encoder.each(views)]
        z = [self.projector(x) for x in h]
        guesses = [self.predictor(x) for x in z]
        ids = [v.ids for v in views]
        neighbours = [self._neighbour(x.detach().float(), own) for x, own in zip(z, ids, strict=True)]
        pairs = [
            contrast(neighbours[i], everyone(guesses[1 - i]), ids[i][:, None] == everyone(ids[1 - i])[None], self.temperature)
            for i in (0, 1)
        ]
        loss = (pairs[0] + pairs[1]) / 2
        if self.training:
            self.queue.push(z[0], ids[0])
        return Step(loss, h[0].detach(), chance=math.log(max(2, len(ids[0]) * world())))

    def _neighbour(self, z: Tensor, ids: Tensor) -> Tensor:
        """The nearest past row of another item for each row of z [B, D]; the row itself while there is none."""
        others = self.queue.filled[None] & (ids[:, None] != self.queue.ids[None])
        best, index = likeness(z, self.queue.rows).masked_fill(~others, -2.0).max(1)
        return torch.where((best > -2.0)[:, None], self.queue.rows[index], z)
