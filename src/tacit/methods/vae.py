from __future__ import annotations

import torch
from torch import nn

from tacit.encoder import Encoder
from tacit.losses import gaussian_divergence
from tacit.method import Method
from tacit.predictors import Decoder
from tacit.types import Batch, Context, Count, Info, NonNegative, Step, Views


class VAE(Method):
    """Squeeze an item into a small cloud instead of a point, and draw it again from any point of the cloud.

    code: width of the cloud. beta: weight of keeping the clouds near the origin, which is the noise's variance in units of the data's:
    1 would drown what tells small items apart. depth, width: of the decoder. The embedding is what the cloud is computed from.
    """

    family = "generative"
    decomposes = True
    when = "a smooth space is wanted from which items can be drawn"
    source = "Kingma & Welling 2013, arXiv:1312.6114; beta: Higgins et al. 2017; 0.1 instead of 1"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views = Views(weak=1)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        code: Count = 64,
        beta: NonNegative = 0.1,
        depth: Count = 2,
        width: Count = 128,
    ) -> None:
        super().__init__(encoder, info)
        self.mean, self.log_variance = nn.Linear(encoder.dim, code), nn.Linear(encoder.dim, code)
        self.decoder = Decoder(code, encoder.layout, width=width, depth=depth)
        self.head = encoder.head(width)
        self.beta = beta

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells, f = self.encoder.cells(x), self.encoder(x)
        mean, log_variance = self.mean(f.pooled).float(), self.log_variance(f.pooled).float().clamp(-20, 20)
        drawn = torch.randn(mean.shape, generator=ctx.generator, device=mean.device)
        code = mean + (log_variance / 2).exp() * drawn
        guess = self.head(self.decoder(code, cells, full=x.valid is None)[cells.valid])
        error = self.encoder.target(x, raw=True).distance(guess, cells.valid)
        # the bound, times two over the number of values, so that the error is the mean squared one
        far = gaussian_divergence(mean, log_variance) * 2 / max(1, x.x[0].numel())
        return Step(error + self.beta * far, f.pooled.detach(), {"error": error.detach(), "divergence": far.detach()}, chance=1.0)
