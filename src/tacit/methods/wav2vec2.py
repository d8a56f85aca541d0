from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.codes import Gumbel, per_cell, perplexity
from tacit.encoder import Encoder
from tacit.losses import full_precision
from tacit.masking import block_mask
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, NonNegative, Positive, Share, Step, Views


class Wav2Vec2(Method):
    """Hide spans of cells and tell which of several codes each of them had; the codes are learned along.

    ratio: share of cells hidden. span: length of a hidden span, in cells. groups, entries: of the codebooks. out: width of codes.
    distractors: other hidden cells of the item that the right one is told from. temperature: of that choice, > 0. first, last: temperature
    of the draw of codes at the beginning and at the end. diversity: weight of the use of all entries.
    """

    family = "contrastive"
    when = "much speech is there, hundreds of hours, and recognition is wanted; it is known to be unstable on less"
    source = "Baevski et al. 2020, arXiv:2006.11477; spans are drawn until a share is hidden, codebooks are smaller, no penalty on features"
    preset = {"batch": 32}
    views, needs = Views(weak=1), frozenset({"mask", "tokens", "order"})

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        ratio: Share = 0.5,
        span: Count = 4,
        groups: Count = 2,
        entries: Count = 64,
        out: Count = 128,
        distractors: Count = 50,
        temperature: Positive = 0.1,
        first: Positive = 2.0,
        last: Positive = 0.5,
        diversity: NonNegative = 0.1,
    ) -> None:
        super().__init__(encoder, info)
        self.norm = nn.LayerNorm(encoder.tokenizer.dim)
        self.quantizer = Gumbel(encoder.tokenizer.dim, groups, entries, out)
        self.project = nn.Linear(encoder.dim, out)
        self.ratio, self.span, self.distractors, self.temperature = ratio, span, distractors, temperature
        self.first, self.last, self.diversity = first, last, diversity

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells, tokens = self.encoder.cells(x), self.encoder.tokenizer(x)
        mask = block_mask(cells, self.ratio, self.span, ctx.generator)
        f = self.encoder(x, mask=mask, tokens=tokens)
        warm = self.first * (self.last / self.first) ** ctx.progress
        # every cell draws its own numbers, so that the order of the batch does not matter
        noise = torch.rand(*mask.shape, *self.quantizer.shape, generator=ctx.generator, device=mask.device)[mask]
        draws = torch.rand(*mask.shape, self.distractors, generator=ctx.generator, device=mask.device)[mask]
        codes, use, taken = self.quantizer(self.norm(per_cell(tokens, cells, self.encoder.strides)[mask]), warm, noise)
        others, known = rivals(mask, draws)
        loss = chosen(self.project(f.tokens[mask]), codes, others, known, taken, self.temperature)
        spread = perplexity(use) / (self.quantizer.groups * self.quantizer.entries)
        return Step(
            loss + self.diversity * (1 - spread),
            f.pooled.detach(),
            {"codes": perplexity(use).detach()},
            chance=math.log(1 + self.distractors) + self.diversity,
        )


def rivals(mask: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Other hidden cells of the item of each hidden cell of mask [B, N], by draws [K, R] in 0..1: int64 [K, R]; and whether it has any."""
    n = mask.sum(1)
    own = n.repeat_interleave(n)  # [K], hidden cells of its item
    start = (n.cumsum(0) - n).repeat_interleave(n)
    place = torch.arange(len(own), device=mask.device) - start
    step = (draws * (own - 1)[:, None]).long().clamp(min=0)
    other = start[:, None] + (place[:, None] + 1 + step) % own[:, None].clamp(min=1)
    return other, own > 1


@full_precision
def chosen(guess: Tensor, codes: Tensor, others: Tensor, known: Tensor, taken: Tensor, temperature: float) -> Tensor:
    """Cross entropy of the own code among those of the others, guess and codes [K, D]; others with the same code are left out."""
    guess, codes = F.normalize(guess, dim=1), F.normalize(codes, dim=1)
    right = (guess * codes).sum(1, keepdim=True)
    wrong = torch.einsum("kd,kcd->kc", guess, codes[others])
    same = (taken[others] == taken[:, None]).all(-1)
    logits = torch.cat([right, wrong.masked_fill(same, -torch.inf)], 1) / temperature
    each = -logits.log_softmax(1)[:, 0]
    return (each * known).sum() / known.sum().clamp(min=1)
