from __future__ import annotations

from dataclasses import replace

from tacit.encoder import Encoder
from tacit.method import Method
from tacit.predictors import Decoder
from tacit.types import Batch, Context, Count, Fraction, Info, NonNegative, Step, Views


class Denoising(Method):
    """Draw the clean item from one vector that was computed from a noisy copy with holes.

    noise: added to numbers, in standard deviations of the channel. holes: share of the values that are missing from the copy, or are
    another item's where values are no quantities. depth, width: of the decoder.
    """

    family = "generative"
    decomposes = True
    when = "measurements are noisy or have holes, and a compression should not care"
    source = "Vincent et al. 2008 (denoising autoencoders); the holes are filled with the batch's mean"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views = Views(weak=1)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        noise: NonNegative = 0.5,
        holes: Fraction = 0.25,
        depth: Count = 2,
        width: Count = 128,
    ) -> None:
        super().__init__(encoder, info)
        self.decoder = Decoder(encoder.dim, encoder.layout, width=width, depth=depth)
        self.head = encoder.head(width)
        self.noise, self.holes = noise, holes

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells, f = (
            self.encoder.cells(x),
            self.encoder(replace(x, x=self.encoder.tokenizer.spoil(x.x, self.noise, self.holes, ctx.generator))),
        )
        guess = self.head(self.decoder(f.pooled, cells, full=x.valid is None)[cells.valid])
        return Step(self.encoder.target(x, raw=True).distance(guess, cells.valid), f.pooled.detach(), chance=1.0)
