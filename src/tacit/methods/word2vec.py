from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.encoder import Encoder
from tacit.losses import full_precision
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Positive, Step, Views, Whole


class Word2vec(Method):
    """Give every token a vector that tells its neighbours from tokens drawn at random.

    mode: cbow (the mean of the neighbours predicts the token) or skipgram (a token predicts each neighbour). window: neighbours on each
    side, near ones counting more, as the paper's random windows make them; 0 = all tokens of the view alike. negatives: drawn tokens for
    each real one. shared: how many different ones a batch draws. frequent: share from which on a token counts less (subsampling).
    """

    family = "generative"
    when = "language, and little of it: codes of words and pairs of words need the least data and time"
    source = (
        "Mikolov et al. 2013, arXiv:1310.4546; whole views and pairs of tokens as in Sent2Vec, Pagliardini et al. 2018, arXiv:1703.02507; "
        "ours weights frequent tokens by what subsampling keeps, shares the negatives, and adds their log to the log-odds"
    )
    preset = {"batch": 64}
    views, needs = Views(weak=1), frozenset({"tokens", "apart"})

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        mode: Literal["cbow", "skipgram"] = "cbow",
        window: Whole = 0,
        negatives: Count = 5,
        shared: Count = 64,
        frequent: Positive = 1e-5,
    ) -> None:
        super().__init__(encoder, info)
        self.context = encoder.tokenizer.alone()
        self.mode, self.window, self.negatives, self.shared, self.frequent = mode, window, negatives, shared, frequent

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        f, other = self.encoder(x), self.context(x).x
        common, kept = self.encoder.tokenizer.commonness(x), f.valid.float()
        rarity = kept
        if common is not None:
            kept = kept * (self.frequent / common).sqrt().clamp(max=1)
            rarity = f.valid * common.clamp(min=1e-9) ** -0.25  # so that tokens are drawn by the 0.75th power of their shares
        drawn = other.flatten(0, 1)[_drawn(rarity, self.shared, ctx.generator)]
        own = f.tokens
        if self.mode == "cbow":
            own, much = self._mean_of_others(own, kept)
            loss = _loss((own * other).sum(-1), much, own @ drawn.T, much, self.negatives)
        else:
            weight = self._near(own.shape[1], kept.device) * kept[:, :, None] * kept[:, None]
            loss = _loss(own @ other.transpose(1, 2), weight, own @ drawn.T, weight.sum(2), self.negatives)
        return Step(loss, f.pooled.detach(), chance=math.log1p(self.negatives) + self.negatives * math.log1p(1 / self.negatives))

    def _mean_of_others(self, own: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """For each token the mean [B, N, D] of its neighbours, and how much it counts [B, N]."""
        if self.window:
            weight = self._near(own.shape[1], kept.device) * kept[:, None]
            n = weight.sum(2)
            return (weight / n[..., None].clamp(min=1e-6)).to(own.dtype) @ own, kept * (n > 0)
        mine = own * kept[..., None].to(own.dtype)
        sums, n = mine.sum(1, keepdim=True) - mine, kept.sum(1, keepdim=True) - kept
        for k in range(1, self.encoder.tokenizer.reach + 1):  # what shows the token itself
            sums, n = sums - F.pad(mine[:, k:], (0, 0, 0, k)), n - F.pad(kept[:, k:], (0, k))
        return sums / n[..., None].clamp(min=1e-2).to(own.dtype), kept * (n > 1e-2)

    def _near(self, n: int, device: torch.device) -> Tensor:
        """How much the second of two tokens is a neighbour of the first, by their distance [n, n]."""
        place = torch.arange(n, device=device)
        after = place - place[:, None]
        apart = after.abs()
        near = (self.window + 1 - apart).clamp(min=0) / self.window if self.window else torch.ones_like(apart, dtype=torch.float32)
        shown = self.encoder.tokenizer.reach  # a token after the first shows it, and one before it is shown by it
        hidden = (after > 0) & (after <= shown) if self.mode == "cbow" else (after < 0) & (-after <= shown)
        return near * (apart > 0) * ~hidden


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

    real: log-odds of what is real, with its weight, of one shape. made: [B, N, M], of each token with M drawn ones; much: [B, N], the
    weight of all that is real for it.
    """
    odds = math.log(negatives)  # what makes log-odds of nought mean "as often as by chance"
    found = (weight * F.softplus(odds - real)).sum() + negatives * (much * F.softplus(made - odds).mean(-1)).sum()
    return found / weight.sum().clamp(min=1e-6)
