from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import Encoder
from tacit.layers import over_cells
from tacit.losses import smooth_l1
from tacit.masking import block_mask
from tacit.method import Method
from tacit.schedules import cosine
from tacit.teacher import Teacher
from tacit.types import Batch, Context, Count, Info, Positive, Share, Step, Views


class Data2Vec(Method):
    """Hide blocks of cells and predict what a slow teacher, who sees everything, makes of them in its upper layers.

    The goal is in context: it is the same for pixels, words and sounds. ratio: share of cells hidden. block: side of a hidden
    block, in cells. layers: the teacher's last layers whose mean, each normalised over the item's cells, is predicted. beta: where the
    loss turns from squared to absolute. momentum: the teacher's decay, which rises to 1 and is less in the first steps.
    """

    family = "distillation"
    when = "the network is a transformer and no augmentation is known for the data"
    source = "Baevski et al. 2022, arXiv:2202.03555; layers are normalised over an item's cells whatever it is, and their mean once more"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"mask", "layers", "tokens"})

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        ratio: Share = 0.6,
        block: Count = 2,
        layers: Count = 3,
        beta: Positive = 2.0,
        momentum: Share = 0.99,
    ) -> None:
        super().__init__(encoder, info)
        self.head = nn.Linear(encoder.dim, encoder.dim)
        self.teacher = Teacher(encoder)
        self.ratio, self.block, self.layers, self.beta, self.momentum = ratio, block, layers, beta, momentum

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        mask = block_mask(cells, self.ratio, self.block, ctx.generator)
        f = self.encoder(x, mask=mask)
        goal = self._goal(x, mask)
        guess = self.head(f.tokens[mask])
        return Step(smooth_l1(guess, goal, self.beta), f.pooled.detach())

    @torch.no_grad()
    def _goal(self, x: Batch, mask: Tensor) -> Tensor:
        """What the teacher makes of the hidden cells [K, D]."""
        seen = self.teacher(x, layers=self.layers)
        # layers whose width differs cannot be averaged
        alike = [h for h in seen.layers if h.shape[-1] == seen.layers[-1].shape[-1]]
        total = torch.stack([over_cells(h, seen.valid) for h in alike]).sum(0)
        return F.layer_norm(total, total.shape[-1:])[mask]

    def after_step(self, ctx: Context) -> None:
        self.teacher.follow(self.encoder, cosine(self.momentum, 1.0, ctx.progress))

    def deploy(self) -> Encoder:
        return self.teacher.module  # type: ignore[return-value]
