from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.codes import held, in_use, nearest
from tacit.encoder import Encoder
from tacit.losses import cross_entropy
from tacit.masking import block_mask
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Share, Step, Views


class BestRQ(Method):
    """Hide spans of cells and tell the number that a random, never trained codebook gives to what they held.

    ratio: share of cells hidden. span: length of a hidden span, in cells. entries, width: of the codebook.
    """

    family = "generative"
    when = "codes are wanted that cannot collapse; wav2vec 2.0 without its difficulties"
    source = "Chiu et al. 2022, arXiv:2202.01855; hidden cells become the mask token instead of noise, and the codebook is smaller"
    preset = {"batch": 32}
    views, needs = Views(weak=1), frozenset({"mask", "tokens", "values"})
    codebook: Tensor
    projection: Tensor

    def __init__(
        self, encoder: Encoder, info: Info, *, ratio: Share = 0.5, span: Count = 4, entries: Count = 256, width: Count = 16
    ) -> None:
        super().__init__(encoder, info)
        size = math.prod(encoder.cell) * int(encoder.tokenizer.channels)  # type: ignore[arg-type]
        self.register_buffer("projection", nn.init.xavier_uniform_(torch.empty(size, width)))
        self.register_buffer("codebook", F.normalize(torch.randn(entries, width), dim=1))
        self.head = nn.Linear(encoder.dim, entries)
        self.ratio, self.span = ratio, span

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        mask = block_mask(self.encoder.cells(x), self.ratio, self.span, ctx.generator)
        f = self.encoder(x, mask=mask)
        values = held(self.encoder.target(x, raw=True))[mask]
        values = (values - values.mean(0)) / values.std(0, correction=0).clamp(min=1e-5)
        answer = nearest(F.normalize(values @ self.projection, dim=1), self.codebook)
        logits = self.head(f.tokens[mask])
        log = {"codes": in_use(answer, len(self.codebook))}
        return Step(cross_entropy(logits, answer), f.pooled.detach(), log, chance=math.log(len(self.codebook)))
