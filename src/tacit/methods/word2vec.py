from __future__ import annotations

import copy
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.encoder import Encoder
from tacit.losses import full_precision
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, NonNegative, Positive, Step, Views


class Word2vec(Method):
    """Give every token a vector that tells its neighbours from tokens drawn at random.

    mode: skipgram (a token predicts each neighbour) or cbow (the mean of the neighbours predicts the token). window: neighbours on each
    side; near ones count more, as the paper's random windows make them. far: weight of tokens of the same view beyond the window, 1 = as
    the farthest neighbour. negatives: drawn tokens for each neighbour. shared: how many different ones a batch draws. frequent: share
    from which on a token counts less (subsampling).
    """

    family = "predictive"
    when = "text, and little of it: vectors of words need the least data and time"
    source = "Mikolov et al. 2013, arXiv:1310.4546; ours weights frequent tokens by what subsampling keeps, and shares the negatives"
    preset = {"batch": 64}
    views, needs = Views(weak=1), frozenset({"tokens", "apart"})

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        mode: Literal["skipgram", "cbow"] = "skipgram",
        window: int = 5,
        far: NonNegative = 0.0,
        negatives: Count = 5,
        shared: Count = 64,
        frequent: Positive = 1e-3,
    ) -> None:
        super().__init__(encoder, info)
        self.context = copy.deepcopy(encoder.tokenizer)
        self.mode, self.window, self.far, self.negatives, self.shared, self.frequent = mode, window, far, negatives, shared, frequent

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        f = self.encoder(x)
        other = torch.nn.functional.embedding(self.context.symbols(x.x), self.context.table)
        common = self.encoder.tokenizer.commonness(x)
        kept = f.valid.float()
        rarity = kept
        if common is not None:
            kept = kept * (self.frequent / common).sqrt().clamp(max=1)
            rarity = f.valid * common.clamp(min=1e-9) ** -0.25  # so that tokens are drawn by the 0.75th power of their shares
        drawn = _drawn(rarity, self.shared, ctx.generator)
        own, out = f.tokens, other.flatten(0, 1)[drawn]
        if self.mode == "cbow" and not self.window:
            mine = kept[..., None].to(own.dtype) * own
            n = kept.sum(1, keepdim=True) - kept
            sums = mine.sum(1, keepdim=True) - mine
            if getattr(self.encoder.tokenizer, "pairs", None) is not None:
                late = torch.nn.functional.pad(mine[:, 1:], (0, 0, 0, 1))
                sums, n = sums - late, n - torch.nn.functional.pad(kept[:, 1:], (0, 1))
            own = sums / n[..., None].clamp(min=1).to(own.dtype)
            real, each = (own * other).sum(-1), kept * (n > 0.5)
            loss = _loss(real, each, own @ out.T, each, self.negatives)
            return Step(loss, f.pooled.detach(), chance=(1 + self.negatives) * math.log(2))
        weight = self._near(f.tokens.shape[1], kept.device) * kept[:, :, None] * kept[:, None]
        much = weight.sum(2)  # of each token's neighbours
        if self.mode == "cbow":
            own = (weight / much[..., None].clamp(min=1e-6)).to(own.dtype) @ own
            real, each = (own * other).sum(-1), much
        else:
            real, each = own @ other.transpose(1, 2), weight
        loss = _loss(real, each, own @ out.T, much, self.negatives)
        return Step(loss, f.pooled.detach(), chance=(1 + self.negatives) * math.log(2))

    def _near(self, n: int, device: torch.device) -> Tensor:
        """How much two tokens are neighbours, by their distance [n, n]."""
        place = torch.arange(n, device=device)
        apart = (place[:, None] - place).abs()
        near = ((self.window + 1 - apart).clamp(min=0) / self.window).clamp(min=self.far / self.window)
        near = near * (apart > 0)
        if getattr(self.encoder.tokenizer, "pairs", None) is not None:
            near = near * (place[:, None] - 1 != place)
        return near


def _drawn(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Numbers of about `count` tokens of the flattened batch, as many of each item, drawn by their weights [B, N] with repetition."""
    b, n = weight.shape
    edges = weight.cumsum(1)
    at = torch.rand(b, -(-count // b), generator=generator, device=weight.device) * edges[:, -1:]
    place = torch.searchsorted(edges, at).clamp(max=n - 1)
    return (place + n * torch.arange(b, device=weight.device)[:, None]).flatten()


@full_precision
def _loss(real: Tensor, weight: Tensor, made: Tensor, much: Tensor, negatives: int) -> Tensor:
    """Cross entropy of telling neighbours from drawn tokens.

    real: log-odds of pairs that are neighbours, with their weight, of one shape. made: [K, M] of K tokens with drawn ones, much [K]: the
    weight of all neighbours of each.
    """
    found = (weight * F.softplus(-real)).sum() + negatives * (much * F.softplus(made).mean(-1)).sum()
    return found / weight.sum().clamp(min=1e-6)
