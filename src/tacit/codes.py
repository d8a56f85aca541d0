"""Numbers for what cells hold: learned codebooks, random ones, and means of cells that are coarser than tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.corruption import cell_of
from tacit.losses import full_precision
from tacit.types import Cells, Tokens


def per_cell(tokens: Tokens, cells: Cells, strides: tuple[int, ...]) -> Tensor:
    """Mean of the tokens in each cell [B, N, D]; the tokens themselves where a cell holds one."""
    if set(strides) == {1}:
        return tokens.x
    where = cell_of(tokens.grid, strides, cells.grid, tokens.x.device)
    there = tokens.valid[..., None].to(tokens.x.dtype)
    shape = (len(tokens.x), cells.valid.shape[1])
    total = tokens.x.new_zeros(*shape, tokens.x.shape[-1]).index_add(1, where, tokens.x * there)
    return total / there.new_zeros(*shape, 1).index_add(1, where, there).clamp(min=1)


class Gumbel(nn.Module):
    """A product of learned codebooks: every group gives one of its entries, drawn by Gumbel softmax; straight through on the way back.

    dim: of what is quantised. groups, entries: of the codebooks. out: width of the result.
    source: Baevski et al. 2020, arXiv:2006.11477, section 2 (quantization module).
    """

    def __init__(self, dim: int, groups: int, entries: int, out: int) -> None:
        super().__init__()
        self.groups, self.entries = groups, entries
        wide = max(1, out // groups)
        self.scores = nn.Linear(dim, groups * entries)
        self.book = nn.Parameter(torch.rand(groups, entries, wide))
        self.outward = nn.Linear(groups * wide, out)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the uniform draws that each row needs."""
        return self.groups, self.entries

    @full_precision
    def _drawn(self, logits: Tensor, temperature: float, draws: Tensor) -> Tensor:
        u = draws.clamp(1e-9, 1 - 1e-7)
        soft = ((logits - (-u.log()).log()) / temperature).softmax(-1)
        hard = F.one_hot(soft.argmax(-1), self.entries).to(soft)
        return hard + soft - soft.detach()

    def forward(self, x: Tensor, temperature: float, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [K, dim] -> codes [K, out], the mean use of every entry [groups, entries], and which were taken, int64 [K, groups].

        draws: [K, groups, entries], uniform in 0..1.
        """
        logits = self.scores(x).float().unflatten(-1, (self.groups, self.entries))
        one = self._drawn(logits, temperature, draws) if self.training else F.one_hot(logits.argmax(-1), self.entries).to(logits)
        taken = torch.einsum("kge,ged->kgd", one, self.book).flatten(1)
        return self.outward(taken), logits.softmax(-1).mean(0), one.argmax(-1)


def perplexity(use: Tensor) -> Tensor:
    """exp of the entropy of how entries are used [groups, entries], summed over groups: as many entries as are really in use."""
    return (-(use * (use + 1e-9).log()).sum(-1)).exp().sum()


@torch.no_grad()
def nearest(x: Tensor, centres: Tensor) -> Tensor:
    """Number of the nearest centre [K, D] of each row [..., D], int64 [...]."""
    x = x.float()
    return (centres.square().sum(1) - 2 * x @ centres.T).argmin(-1)


def held(target: Any) -> Tensor:
    """What cells hold as numbers [B, N, P]; only of tokenizers that are `valued`."""
    values: Tensor = target.values
    return values.float()


def in_use(codes: Tensor, entries: int) -> Tensor:
    """As many of the entries as are really in use among codes int64 [K]."""
    count = codes.bincount(minlength=entries).float()
    return perplexity((count / count.sum().clamp(min=1))[None])
