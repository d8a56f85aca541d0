from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import Encoder
from tacit.errors import CannotPair
from tacit.layers import mlp
from tacit.losses import full_precision
from tacit.masking import block_mask
from tacit.method import Method
from tacit.predictors import Reverse
from tacit.types import Batch, Context, Count, Info, NonNegative, Share, Step, Views


class Inpainting(Method):
    """Cut blocks out of an item and fill them in from what surrounds them.

    ratio: share of cells cut out. block: side of a block, in cells. adversarial: weight of a second network that tells fillings from real
    cells and that the filling tries to deceive, 0 = none (0.001 in the paper).
    """

    family = "generative"
    decomposes = True
    when = "local structure matters and the network is convolutional"
    source = "Pathak et al. 2016, arXiv:1604.07379; both networks learn in one loss, through a reversed gradient"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"mask", "tokens"})

    def __init__(self, encoder: Encoder, info: Info, *, ratio: Share = 0.4, block: Count = 2, adversarial: NonNegative = 0.0) -> None:
        super().__init__(encoder, info)
        self.head = encoder.head()
        self.ratio, self.block, self.adversarial = ratio, block, adversarial
        self.critic = None
        if adversarial:
            if type(self.head) is not nn.Linear:
                raise CannotPair("method.adversarial compares values, and these cells are predicted as classes", "leave it out")
            self.critic = mlp(self.head.out_features, 128, 1, norm=False)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        mask = block_mask(self.encoder.cells(x), self.ratio, self.block, ctx.generator)
        f = self.encoder(x, mask=mask)
        guess, target = self.head(f.tokens[mask]), self.encoder.target(x)
        error = target.distance(guess, mask)
        if self.critic is None:
            return Step(error, f.pooled.detach(), chance=1.0)
        real: Tensor = target.values[mask]  # type: ignore[attr-defined]
        deceived = _told_apart(self.critic(real), self.critic(Reverse.apply(guess)))
        return Step(error + self.adversarial * deceived, f.pooled.detach(), {"error": error.detach(), "critic": deceived.detach()})


@full_precision
def _told_apart(real: Tensor, made: Tensor) -> Tensor:
    """Cross entropy of telling real cells from made ones, logits [K, 1] each."""
    yes, no = torch.ones_like(real), torch.zeros_like(made)
    return (F.binary_cross_entropy_with_logits(real, yes) + F.binary_cross_entropy_with_logits(made, no)) / 2
