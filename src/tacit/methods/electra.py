from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import Encoder, pool_valid
from tacit.layers import Block, Place
from tacit.losses import full_precision
from tacit.masking import unit_mask
from tacit.method import Method
from tacit.types import Batch, Cells, Context, Count, Info, Positive, Share, Step, Views


class Electra(Method):
    """Tell which tokens a small second network has replaced by likely ones.

    ratio: share of cells that are replaced. weight: of telling them, against the small network's own task of guessing what is hidden.
    width, depth: of the small network.
    """

    family = "generative"
    when = "language: every token teaches, not only the hidden ones"
    source = "Clark et al. 2020, arXiv:2003.10555"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"tokens", "symbols"})

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        ratio: Share = 0.15,
        weight: Positive = 50.0,
        width: Count = 64,
        depth: Count = 2,
    ) -> None:
        super().__init__(encoder, info)
        self.ratio, self.weight = ratio, weight
        self.inward, self.place = nn.Linear(encoder.tokenizer.dim, width), Place(width, encoder.layout)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 32)) for _ in range(depth))
        self.guess = encoder.head(width)
        self.judge = nn.Linear(encoder.dim, 1)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        tokenizer = self.encoder.tokenizer
        tokens = tokenizer(x)
        cells = Cells(tokens.grid, tokens.valid)
        mask = unit_mask(cells, None, self.ratio, ctx.generator)
        h = self.inward(tokens.x)
        h = torch.where(mask[..., None], self.hidden.to(h.dtype), h)
        h = h + self.place(torch.arange(h.shape[1], device=h.device).expand(h.shape[:2]), cells.grid).to(h.dtype)
        for block in self.blocks:
            h = block(h, cells.valid)
        guess = self.guess(h[mask])
        target = tokenizer.target(x, tokenizer.patch)
        with torch.no_grad():
            made = tokenizer.drawn(x, guess, mask, ctx.generator)
            wrong = (made.x != x.x).any(1) & cells.valid
            # a feature of a convolution may cover several tokens
            wrong = pool_valid(wrong, len(wrong), tokens.grid, self.encoder.cell, self.encoder.cells(x).grid, wrong.device)
        f = self.encoder(made)
        guessed = target.distance(guess, mask)
        told = _told(self.judge(f.tokens)[..., 0][f.valid], wrong[f.valid])
        log = {"guessed": guessed.detach(), "told": told.detach()}
        return Step(guessed + self.weight * told, f.pooled.detach(), log)


@full_precision
def _told(logits: Tensor, wrong: Tensor) -> Tensor:
    """Cross entropy of telling replaced tokens, log-odds [K]."""
    return F.binary_cross_entropy_with_logits(logits, wrong.to(logits.dtype))
