from __future__ import annotations

from tacit.encoder import Encoder
from tacit.masking import random_mask
from tacit.method import Method
from tacit.predictors import Predictor
from tacit.types import Batch, Context, Count, Info, Share, Step, Views


class MAE(Method):
    """Hide most cells, encode only the rest, and predict what the hidden cells held.

    ratio: share of cells hidden. depth, width: of the predictor (the paper's 8 x 512 is for a ViT-Large).
    """

    family = "generative"
    decomposes = True
    when = "the network is a transformer, items are large and training is long; fine-tuning shows its strength more than a linear probe"
    source = "He et al. 2021, arXiv:2111.06377"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"drop"})

    def __init__(self, encoder: Encoder, info: Info, *, ratio: Share = 0.75, depth: Count = 2, width: Count = 128) -> None:
        super().__init__(encoder, info)
        self.predictor = Predictor(encoder.dim, encoder.layout, width=width, depth=depth)
        self.head = encoder.head(width)
        self.ratio = ratio

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        mask = random_mask(cells, self.ratio, ctx.generator)
        seen = self.encoder(x, mask=mask, drop=True)
        guess = self.head(self.predictor(seen, cells, full=x.valid is None)[mask])
        return Step(self.encoder.target(x).distance(guess, mask), seen.pooled.detach())
