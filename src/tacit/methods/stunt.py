from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tacit.clusters import kmeans
from tacit.corruption import cell_of, swapped
from tacit.encoder import Encoder
from tacit.errors import Asked
from tacit.losses import cross_entropy, full_precision
from tacit.masking import random_mask
from tacit.method import Method
from tacit.types import Batch, Cells, Context, Count, Info, Share, Step, Views


class STUNT(Method):
    """Make a few-shot task of some of the cells: their values say which class an item is in, and the other cells must tell.

    At every step k-means over a random part of the cells divides the batch into classes, these cells get other items' values, and each item
    is to be nearest to the mean of a few examples of its class. ways: classes of a task, as many as the batch has rows for. shots: examples
    of a class. least, most: share of cells that make the task, in 0..1.
    """

    family = "clustering"
    when = "few labels will follow, one to ten a class, and items are rows of columns or other values in fixed places"
    source = (
        "Nam et al. 2023, arXiv:2303.00918, with prototypical networks (Snell et al. 2017, arXiv:1703.05175); the classes are those of the "
        "batch instead of all items, all its other items are queries, and values are compared as tokens"
    )
    preset = {"batch": 256}  # it is also all there is to find classes in
    views = Views(plain=1)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        ways: Annotated[int, Field(ge=2)] = 10,
        shots: Count = 1,
        least: Share = 0.2,
        most: Share = 0.5,
    ) -> None:
        super().__init__(encoder, info)
        if least > most:
            raise Asked(f"method.least={least:g} is more than method.most={most:g}")
        self.ways, self.shots, self.shares = ways, shots, (least, most)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        low, high = self.shares
        ratio = low + (high - low) * float(torch.rand((), generator=ctx.generator, device=x.x.device))
        chosen = random_mask(Cells(cells.grid, cells.valid.any(0, keepdim=True)), ratio, ctx.generator)  # [1, N], of all items the same
        ways = max(2, min(self.ways, len(x.ids) // (self.shots + 1)))
        _, classes = kmeans(self._values(x, chosen[0]), ways, ctx.generator)
        support = examples(classes, self.shots, ctx.generator)
        hidden, _ = swapped(x, cells, self.encoder.cell, chosen.expand_as(cells.valid), ctx.generator)
        h = self.encoder(hidden).pooled
        logits = nearness(h, classes, support, ways)
        answer = classes.masked_fill(support, -1)
        right = ((logits.detach().argmax(1) == classes) & ~support).sum() / (~support).sum().clamp(min=1)
        return Step(cross_entropy(logits, answer), h.detach(), {"accuracy": right}, chance=math.log(max(2, len(classes.unique()))))

    @torch.no_grad()
    def _values(self, x: Batch, chosen: Tensor) -> Tensor:
        """Tokens of the chosen cells, bool [N], as one row an item [B, D]: each centred and scaled by its spread over the batch."""
        tokens = self.encoder.tokenizer(x)
        stride = self.encoder.strides
        own = chosen[cell_of(tokens.grid, stride, self.encoder.cells(x).grid, chosen.device)]
        there = tokens.valid[:, own, None]
        t, count = tokens.x[:, own].float() * there, there.sum(0).clamp(min=1)
        t = (t - t.sum(0) / count) * there
        # one number a token, because its own directions need not count alike
        spread = (t.square().sum(0) / count).sum(1, keepdim=True).sqrt()
        return (t / spread.clamp(min=1e-6)).flatten(1)


def examples(classes: Tensor, shots: int, generator: torch.Generator) -> Tensor:
    """Some rows of each class [B] at random, bool [B]: as many as `shots`, or all where there are fewer."""
    draw = torch.rand(classes.shape, generator=generator, device=classes.device)
    before = (classes[:, None] == classes[None]) & (draw[None] < draw[:, None])
    return before.sum(1) < shots


@full_precision
def nearness(h: Tensor, classes: Tensor, support: Tensor, ways: int) -> Tensor:
    """Minus the squared distance of rows h [B, D] to the mean of each class' examples: [B, ways]; source: Snell et al. 2017, equation 2."""
    member = (F.one_hot(classes, ways) * support[:, None]).to(h.dtype)
    count = member.sum(0)
    centres = member.T @ h / count.clamp(min=1)[:, None]
    away = (h[:, None] - centres[None]).square().sum(2)
    return -away.masked_fill(count == 0, 1e9)
