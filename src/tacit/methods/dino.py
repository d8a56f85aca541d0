from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.clusters import sinkhorn
from tacit.encoder import Encoder
from tacit.gather import everyone, mean_over_everyone, own_rows
from tacit.layers import mlp
from tacit.losses import soft_cross_entropy
from tacit.method import Method
from tacit.predictors import Prototypes
from tacit.schedules import cosine
from tacit.teacher import Teacher
from tacit.types import Batch, Context, Count, Info, Positive, Share, Step, Views


class DINO(Method):
    """Agree with a slow teacher, which sees large views only, on which of many soft classes an item belongs to.

    The teacher's classes are balanced, so that none takes all, and sharpened, so that they do not all become equal.

    prototypes: soft classes (65,536 in the paper; a few thousand items cannot fill so many). hidden, out: widths of the head.
    local: small views an item. temperature: of the student, > 0. teacher_temperature: the teacher's, at the end. warm_temperature: the
    teacher's at the start, from which it moves there over the first third. momentum: the teacher's decay, which rises to 1 and is less
    in the first steps.
    balance: "centre" subtracts the teacher's running mean; "sinkhorn" uses all classes equally in every batch. centring: memory of the
    centre.
    """

    family = "distillation"
    when = "local views carry the class, and there is time for long training"
    source = (
        "Caron et al. 2021, arXiv:2104.14294; balanced by Sinkhorn as in DINOv2 (arXiv:2304.07193), because a running mean of small "
        "batches swings; 0.99 and 1,024 prototypes instead of 0.996 and 65,536; batch norm in the head, whose last layer learns from the "
        "start"
    )
    views = Views(global_=2)
    center: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        prototypes: Count = 1024,
        hidden: Count = 512,
        out: Count = 128,
        local: Annotated[int, Field(ge=0)] = 0,
        temperature: Positive = 0.1,
        teacher_temperature: Positive = 0.04,
        warm_temperature: Positive = 0.04,
        momentum: Share = 0.99,
        balance: Literal["centre", "sinkhorn"] = "sinkhorn",
        centring: Share = 0.9,
    ) -> None:
        super().__init__(encoder, info)
        self.views = Views(global_=2, local=local)
        self.head = nn.Sequential(mlp(encoder.dim, hidden, out, depth=3), Prototypes(out, prototypes))
        self.teacher, self.teacher_head = Teacher(encoder), Teacher(self.head)
        self.temperatures = (temperature, warm_temperature, teacher_temperature)
        self.momentum, self.balance, self.centring = momentum, balance, centring
        self.register_buffer("center", torch.zeros(prototypes))

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        student, warm, end = self.temperatures
        temperature = warm + (end - warm) * min(1.0, 3 * ctx.progress)
        features = [f.pooled for f in self.encoder.each(views)]
        logits = [self.head(h) / student for h in features]
        seen = [self.teacher_head(f.pooled) for f in self.teacher.each(views[:2])]
        goals = [self._goal(s, temperature) for s in seen]
        pairs = [soft_cross_entropy(z, q) for i, q in enumerate(goals) for k, z in enumerate(logits) if i != k]
        loss = torch.stack(pairs).mean()
        if self.training and self.balance == "centre":
            self.center.lerp_(mean_over_everyone(torch.cat(seen).mean(0)), 1 - self.centring)
        sure = torch.cat(goals)
        entropy = -(sure * sure.clamp(min=1e-12).log()).sum(1).mean()
        return Step(loss, features[0].detach(), {"teacher_entropy": entropy}, chance=math.log(self.center.numel()))

    def _goal(self, scores: Tensor, temperature: float) -> Tensor:
        """The teacher's probabilities [B, prototypes]."""
        if self.balance == "centre":
            return ((scores - self.center) / temperature).softmax(1)
        return own_rows(sinkhorn(everyone(scores), temperature))

    def after_step(self, ctx: Context) -> None:
        momentum = cosine(self.momentum, 1.0, ctx.progress)
        self.teacher.follow(self.encoder, momentum)
        self.teacher_head.follow(self.head, momentum)

    def deploy(self) -> Encoder:
        return self.teacher.module  # type: ignore[return-value]
