from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tacit.encoder import Encoder
from tacit.errors import CannotPair
from tacit.gather import world
from tacit.layers import mlp
from tacit.losses import paired
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views


class CPC(Method):
    """From what was seen so far, tell what comes next from what comes elsewhere and in other items.

    ahead: windows that are predicted ahead. windows: into how many an item is divided, at most. anchors: places an item that predict in a
    step. hidden, out: widths of the network that reads a window. temperature: softmax temperature, > 0.
    """

    family = "contrastive"
    when = "order matters and nothing but the data's own future is to be predicted"
    source = "van den Oord et al. 2018, arXiv:1807.03748; windows are means over cells, and likeness is a cosine"
    experimental = "23.0 % against 22.5 untrained on cifar10_subset, -0.8 to +1.8 points; on CricketX it learns, +5.5 to +11.1"
    preset = {"batch": 64}  # many small steps, as a transformer sees few items a second
    views, needs = Views(weak=1), frozenset({"causal", "tokens"})

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        ahead: Count = 3,
        windows: Annotated[int, Field(ge=2)] = 16,
        anchors: Count = 4,
        hidden: Count = 128,
        out: Count = 128,
        temperature: Positive = 0.1,
    ) -> None:
        super().__init__(encoder, info)
        self.local = mlp(encoder.tokenizer.dim, hidden, out, norm=False)
        self.ahead = nn.ModuleList(nn.Linear(encoder.dim, out) for _ in range(ahead))
        self.windows, self.anchors, self.temperature = windows, anchors, temperature

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        tokens = self.encoder.tokenizer(x)
        f = self.encoder(x, tokens=tokens)
        n = f.tokens.shape[1]
        if n < 2:
            raise CannotPair("these items have a single cell, so nothing comes next", "use a smaller modality.patch, or simclr")
        wide = -(-n // self.windows)
        z, there = _windows(self.local(tokens.x), tokens.valid, wide)  # [B, W, out]
        count = z.shape[1]
        # the context at the last cell of a window has seen all of it and nothing later
        c = f.tokens[:, [min((j + 1) * wide, n) - 1 for j in range(count)]]
        losses = []
        for k, step in enumerate(self.ahead[: max(1, count - 1)], 1):
            places = torch.randperm(count - k, generator=ctx.generator, device=z.device)[: self.anchors]
            known = (there[:, places] & there[:, places + k]).flatten()
            query, key = step(c[:, places]).flatten(0, 1), z[:, places + k].flatten(0, 1)
            losses.append(paired(query, key, known, self.temperature))
        loss = torch.stack(losses).mean()
        # steps that reach beyond a short item take part with weight zero, so that every parameter has a gradient
        unused = sum((p.sum() * 0.0 for step in self.ahead[len(losses) :] for p in step.parameters()), loss.new_zeros(()))
        return Step(loss + unused, f.pooled.detach(), chance=math.log(max(2, len(x.ids) * world() * min(self.anchors, max(1, count - 1)))))


def _windows(z: Tensor, valid: Tensor, wide: int) -> tuple[Tensor, Tensor]:
    """Means of z [B, N, D] over windows of cells that exist, [B, W, D], and which windows have any."""
    pad = -z.shape[1] % wide
    weight = F.pad(valid, [0, pad]).unflatten(1, (-1, wide)).to(z.dtype)[..., None]
    total = (F.pad(z, [0, 0, 0, pad]).unflatten(1, (-1, wide)) * weight).sum(2)
    return total / weight.sum(2).clamp(min=1), weight.sum((2, 3)) > 0
