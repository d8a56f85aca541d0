from __future__ import annotations

from tacit.encoder import Encoder
from tacit.errors import CannotPair
from tacit.method import Method
from tacit.types import Batch, Context, Info, Step, Views


class Autoregressive(Method):
    """Predict every cell from those before it, as a language model predicts the next word.

    Cells of an image come row by row. The encoder that is kept reads in that order too.
    """

    family = "generative"
    when = "items are sequences, and the next step is what will be asked for"
    source = "Radford et al. 2018 (GPT); Chen et al. 2020 (iGPT), with continuous cells instead of a palette"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"causal", "tokens"})
    keeps = ("head",)

    def __init__(self, encoder: Encoder, info: Info) -> None:
        super().__init__(encoder, info)
        self.head = encoder.head()

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        f = self.encoder(x)
        if f.tokens.shape[1] < 2:
            raise CannotPair("these items have a single cell, so there is no next one", "use a smaller modality.patch, or simclr")
        nxt = f.valid.clone()
        nxt[:, 0] = False
        guess = self.head(f.tokens[:, :-1][nxt[:, 1:]])
        return Step(self.encoder.target(x).distance(guess, nxt), f.pooled.detach(), chance=1.0)
