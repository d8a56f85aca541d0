from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tacit.encoder import Encoder
from tacit.layers import over_cells
from tacit.losses import smooth_l1
from tacit.masking import random_mask
from tacit.method import Method
from tacit.predictors import Predictor
from tacit.schedules import cosine
from tacit.teacher import Teacher
from tacit.types import Batch, Cells, Context, Count, Info, Share, Step, Views


class IJEPA(Method):
    """See a part of an item and predict, from their places alone, what a slow teacher makes of several hidden blocks.

    No augmentation and no pixels: it predicts features. blocks: hidden blocks an item. share: of the cells that one block covers.
    depth, width: of the predictor. momentum: the teacher's decay, which rises to 1 and is less in the first steps.
    """

    family = "distillation"
    when = "the network is a transformer, items are large, and augmentations would erase what matters"
    source = (
        "Assran et al. 2023, arXiv:2301.08243; blocks have the shape of the item; what they leave is the context; one prediction for all "
        "of them, with a smooth L1 loss; the goal is also normalised over an item's cells, or small networks predict places only"
    )
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"drop", "tokens"})

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        blocks: Annotated[int, Field(ge=1)] = 4,
        share: Share = 0.17,
        depth: Count = 2,
        width: Count = 128,
        momentum: Share = 0.99,
    ) -> None:
        super().__init__(encoder, info)
        self.predictor = Predictor(encoder.dim, encoder.layout, width=width, depth=depth)
        self.head = nn.Linear(width, encoder.dim)
        self.teacher = Teacher(encoder)
        self.blocks, self.share, self.momentum = blocks, share, momentum

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        hidden = self._hidden(cells, ctx.generator)
        seen = self.encoder(x, mask=hidden, drop=True)
        guess = self.head(self.predictor(seen, cells, full=x.valid is None)[hidden])
        whole = self.teacher(x)
        goal = F.layer_norm(over_cells(whole.tokens, whole.valid), (self.encoder.dim,))[hidden]
        return Step(smooth_l1(guess, goal), seen.pooled.detach())

    def _hidden(self, cells: Cells, generator: torch.Generator) -> Tensor:
        """The union of the blocks, bool [B, N]; a row that would hide nothing or everything hides half of its cells at random."""
        rank, rows, device = len(cells.grid), len(cells.valid), cells.valid.device
        sides = [max(1, round(n * self.share ** (1 / rank))) for n in cells.grid]
        axes = torch.stack(torch.meshgrid(*[torch.arange(n, device=device) for n in cells.grid], indexing="ij"), -1)
        mask = torch.zeros(rows, *cells.grid, dtype=torch.bool, device=device)
        side = torch.tensor(sides, device=device)
        for _ in range(self.blocks):
            corner = [
                torch.randint(0, n - s + 1, (rows,), generator=generator, device=device) for n, s in zip(cells.grid, sides, strict=True)
            ]
            start = torch.stack(corner, -1).view(rows, *[1] * rank, rank)
            mask |= ((axes >= start) & (axes < start + side)).all(-1)
        flat = mask.flatten(1) & cells.valid
        fine = flat.any(1, keepdim=True) & (cells.valid & ~flat).any(1, keepdim=True)
        return torch.where(fine, flat, random_mask(cells, 0.5, generator))

    def after_step(self, ctx: Context) -> None:
        self.teacher.follow(self.encoder, cosine(self.momentum, 1.0, ctx.progress))

    def deploy(self) -> Encoder:
        return self.teacher.module  # type: ignore[return-value]
