from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field

from tacit.encoder import Encoder
from tacit.gather import everyone
from tacit.layers import mlp
from tacit.losses import gaussianity, mse
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Share, Step, Views


class LeJEPA(Method):
    """Make all views of an item agree while the embeddings of all items together look like a round Gaussian cloud.

    No teacher, no stop-gradient, no negatives: one weight. local: small views an item. hidden, out: widths of the projector.
    gaussian: weight of the shape against the agreement (0.02 to 0.1 in the paper). directions: random ones
    along which the shape is tested in a step.
    """

    family = "decorrelation"
    when = "no schedule, teacher or temperature is to be tuned"
    source = "Balestriero & LeCun 2025, arXiv:2511.08544"
    views = Views(global_=2)

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        local: Annotated[int, Field(ge=0)] = 0,
        hidden: Count = 512,
        out: Count = 64,
        gaussian: Share = 0.05,
        directions: Count = 256,
    ) -> None:
        super().__init__(encoder, info)
        self.views = Views(global_=2, local=local)
        self.projector = mlp(encoder.dim, hidden, out, depth=3)
        self.gaussian, self.directions, self.out = gaussian, directions, out

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        features = [f.pooled for f in self.encoder.each(views)]
        z = [self.projector(h).float() for h in features]
        drawn = torch.randn(self.out, self.directions, generator=ctx.generator, device=z[0].device)
        along = F.normalize(everyone(drawn)[: self.out], dim=0)  # the same for all views and processes
        middle = torch.stack(z[:2]).mean(0)
        agreement = torch.stack([mse(v, middle) for v in z]).mean()
        shape = torch.stack([gaussianity(v, along) for v in z]).mean()
        loss = (1 - self.gaussian) * agreement + self.gaussian * shape
        return Step(loss, features[0].detach(), {"agreement": agreement.detach(), "shape": shape.detach()})
