from __future__ import annotations

from tacit.encoder import Encoder
from tacit.method import Method
from tacit.predictors import Decoder
from tacit.types import Batch, Context, Count, Info, Step, Views


class Autoencoder(Method):
    """Squeeze an item into one vector and draw it again from that vector alone.

    depth, width: of the decoder.
    """

    family = "generative"
    decomposes = True
    when = "a plain non-linear compression is wanted as a baseline"
    source = "Hinton & Salakhutdinov 2006; the code is the embedding itself, decoded from positions"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views = Views(weak=1)

    def __init__(self, encoder: Encoder, info: Info, *, depth: Count = 2, width: Count = 128) -> None:
        super().__init__(encoder, info)
        self.decoder = Decoder(encoder.dim, encoder.layout, width=width, depth=depth)
        self.head = encoder.head(width)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells, f = self.encoder.cells(x), self.encoder(x)
        guess = self.head(self.decoder(f.pooled, cells, full=x.valid is None)[cells.valid])
        return Step(self.encoder.target(x, raw=True).distance(guess, cells.valid), f.pooled.detach(), chance=1.0)
