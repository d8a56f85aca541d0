from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tacit.corruption import others
from tacit.encoder import Encoder
from tacit.masking import unit_mask
from tacit.method import Method
from tacit.types import Batch, Context, Fraction, Info, Share, Step, Tokens, Views


class MLM(Method):
    """Hide some cells, of text whole words, and say what they were from all that is left.

    ratio: share of cells that are predicted. swapped: share of those that show another item's cell instead of the mask token.
    kept: share of those that are shown as they are. whole: the cells of a unit (a word) are hidden together.
    """

    family = "generative"
    decomposes = True
    when = "language: a word means what it can be replaced by; of joined translations (TLM) in two languages at once"
    source = (
        "Devlin et al. 2018, arXiv:1810.04805; masks are drawn anew at each step (Liu et al. 2019, arXiv:1907.11692); "
        "parallel lines joined: Lample & Conneau 2019, arXiv:1901.07291"
    )
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"mask", "tokens"})
    keeps = ("head",)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        ratio: Share = 0.15,
        swapped: Fraction = 0.1,
        kept: Fraction = 0.1,
        whole: bool = True,
    ) -> None:
        super().__init__(encoder, info)
        self.head = encoder.head()
        self.ratio, self.swapped, self.kept, self.whole = ratio, swapped, kept, whole

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells, generator = self.encoder.cells(x), ctx.generator
        mask = unit_mask(cells, self.encoder.tokenizer.units(x) if self.whole else None, self.ratio, generator)
        fate = torch.rand(mask.shape, generator=generator, device=mask.device)
        hidden, swapped = mask & (fate >= self.swapped + self.kept), mask & (fate < self.swapped)
        f = self.encoder(x, mask=hidden, tokens=self._swapped(x, swapped, cells.valid, generator) if swapped.any() else None)
        return Step(self.encoder.target(x).distance(self.head(f.tokens[mask]), mask), f.pooled.detach(), chance=1.0)

    def _swapped(self, x: Batch, where: Tensor, valid: Tensor, generator: torch.Generator) -> Tokens:
        """Tokens of which some are those that another item has in that place."""
        tokens = self.encoder.tokenizer(x)
        if tokens.x.shape[1] != where.shape[1]:  # a feature covers several tokens: nothing is swapped
            return tokens
        giver = others(valid, generator)
        other = tokens.x.gather(0, giver[..., None].expand_as(tokens.x))
        return replace(tokens, x=torch.where(where[..., None], other, tokens.x))
