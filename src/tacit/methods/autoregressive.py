from __future__ import annotations

from tacit.encoder import Encoder
from tacit.errors import CannotPair
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Step, Views


class Autoregressive(Method):
    """Predict every cell from those before it, as a language model predicts the next word.

    Cells of an image come row by row. The encoder that is kept reads in that order too. ahead: which cell is predicted, 1 = the next one;
    more where neighbours are so alike that the next one is no task (autoregressive predictive coding of speech).
    """

    family = "generative"
    decomposes = True
    when = "items are sequences, and the next step is what will be asked for"
    source = "Radford et al. 2018 (GPT); Chen et al. 2020 (iGPT), with continuous cells; Chung et al. 2019, arXiv:1904.03240 (ahead)"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"causal", "tokens"})
    keeps = ("head",)

    def __init__(self, encoder: Encoder, info: Info, *, ahead: Count = 1) -> None:
        super().__init__(encoder, info)
        self.head, self.ahead = encoder.head(), ahead

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        f = self.encoder(x)
        if f.tokens.shape[1] < 2:
            raise CannotPair("these items have a single cell, so there is no next one", "use a smaller modality.patch, or simclr")
        ahead = min(self.ahead, f.tokens.shape[1] - 1)
        nxt = f.valid.clone()
        nxt[:, :ahead] = False
        guess = self.head(f.tokens[:, :-ahead][nxt[:, ahead:]])
        return Step(self.encoder.target(x).distance(guess, nxt), f.pooled.detach(), chance=1.0)
