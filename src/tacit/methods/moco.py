from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field

from tacit.encoder import Encoder
from tacit.gather import everyone, world
from tacit.layers import mlp
from tacit.losses import contrast
from tacit.method import Method
from tacit.queue import Queue
from tacit.schedules import cosine
from tacit.teacher import Teacher
from tacit.types import Batch, Context, Count, Info, Positive, Share, Step, Views


class MoCo(Method):
    """Find an item's other view, as a slow teacher sees it, among those of all other items.

    The teacher's keys are steady, so a queue of past ones adds negatives at no cost.

    hidden, out: widths of projector and predictor. temperature: softmax temperature, > 0. momentum: the teacher's decay (0.99 as in the
    paper), which rises to 1 and is less in the first steps. queue: keys of past steps that are compared with too, 0 = none (version 3).
    """

    family = "contrastive"
    when = "batches must be small, or the queue's negatives are cheap beside the network"
    source = (
        "Chen et al. 2021, arXiv:2104.02057 (version 3); the mean of both directions; the queue is that of He et al. 2019, arXiv:1911.05722"
    )
    views = Views(global_=2)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        hidden: Count = 512,
        out: Count = 128,
        temperature: Positive = 0.2,
        momentum: Share = 0.99,
        queue: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out)
        self.predictor = mlp(out, hidden, out)
        self.teacher, self.teacher_projector = Teacher(encoder), Teacher(self.projector)
        self.temperature, self.momentum = temperature, momentum
        self.queue = Queue(queue, out) if queue else None

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        students = [f.pooled for f in self.encoder.each(views)]
        queries = [self.predictor(self.projector(h)) for h in students]
        keys = [self.teacher_projector(f.pooled).float() for f in self.teacher.each(views)]
        loss = torch.stack([self._loss(queries[i], keys[1 - i], views[i].ids, views[1 - i].ids) for i in (0, 1)]).mean()
        if self.queue is not None and self.training:
            self.queue.push(torch.cat(keys), torch.cat([v.ids for v in views]))
        count = len(views[0].ids) * world() + (len(self.queue.rows) if self.queue is not None else 0)
        return Step(loss, students[0].detach(), chance=2 * self.temperature * math.log(max(2, count)))

    def _loss(self, query: torch.Tensor, key: torch.Tensor, ids: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        key, others = everyone(key), everyone(others)
        positive = ids[:, None] == others[None]
        counts = torch.ones_like(positive)
        if self.queue is not None:
            key = torch.cat([key, self.queue.rows])
            past = self.queue.filled & (ids[:, None] != self.queue.ids[None])  # the item itself is no negative
            positive, counts = torch.cat([positive, torch.zeros_like(past)], 1), torch.cat([counts, past], 1)
        # the factor keeps the gradient's size whatever the temperature is
        return 2 * self.temperature * contrast(query, key, positive, self.temperature, counts)

    def after_step(self, ctx: Context) -> None:
        momentum = cosine(self.momentum, 1.0, ctx.progress)
        self.teacher.follow(self.encoder, momentum)
        self.teacher_projector.follow(self.projector, momentum)
