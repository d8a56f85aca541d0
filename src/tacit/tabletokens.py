"""Tokens and targets of a table's columns: numbers in bins, categories by their names, both with "missing" and "never seen"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoder import Tokenizer
from tacit.losses import full_precision
from tacit.types import Batch, Tokens

SMALL = 32  # categories up to which columns are predicted together
LEAST = 0.3  # nats: a column that hardly varies counts no more than one that varies so much


class TableTokenizer(Tokenizer):
    """One token a column.

    A number is written in the bins between its quantiles (each bin 0 below, 1 above, straight in between), and once as it is, on a
    logarithmic scale, so that a far value stays far. A category has a vector of its own; rare and unseen ones share one.

    measured: of each column; `edges`, `share_of_bins` and `tails` of numbers and dates, `share` of categories in the training split and
    `rare`, below which one counts as unseen; `gone`, the share that is missing. mean, std: of numbers. dim: width of a token.
    source: Gorishniy et al. 2022, arXiv:2203.05556, section 3.2 (piecewise linear encoding); the bins end at the outermost quantiles.
    """

    nats = True
    mean: Tensor
    std: Tensor
    low: Tensor
    wide: Tensor
    prior: Tensor
    numeric: Tensor
    tails: Tensor
    missing: Tensor
    offset: Tensor
    index: Tensor
    size: Tensor
    chance: Tensor

    def __init__(
        self,
        measured: Sequence[Mapping[str, Any]],
        mean: Sequence[float],
        std: Sequence[float],
        *,
        dim: int,
    ) -> None:
        super().__init__()
        self.patch, self.dim = (1,), dim
        count = len(measured)
        numeric = torch.tensor(["share" not in m for m in measured], dtype=torch.bool)
        self.bins = max([2, *(len(m["edges"]) - 1 for m in measured if "edges" in m)])
        low, wide = torch.zeros(count, self.bins), torch.zeros(count, self.bins)
        prior = torch.full((count, self.bins), -30.0)  # as good as impossible, and finite
        for f, m in enumerate(measured):
            edges = torch.tensor(m.get("edges", []), dtype=torch.float64)
            k = len(edges) - 1
            if k > 0:
                low[f, :k], wide[f, :k] = edges[:-1].float(), edges.diff().float()
                prior[f, :k] = torch.tensor(m["share_of_bins"], dtype=torch.float32).clamp(min=1e-4).log()
            elif "edges" in m:
                prior[f, 0] = 0.0
        long = max([2, *(len(m["tails"][0]) for m in measured if "tails" in m)])
        vocabulary, index, sizes, log_share = 0, [], [], []
        offset = torch.zeros(count, dtype=torch.long)
        most = max([1, *(len(m["share"]) for m in measured if "share" in m)])
        for f, m in enumerate(measured):
            place = torch.zeros(most, dtype=torch.long)
            share, own_words = m.get("share", []), kept(m)
            place[own_words] = torch.arange(1, len(own_words) + 1)
            if "share" in m:
                offset[f] = vocabulary
                own = [max(1e-4, 1 - sum(share[i] for i in own_words)), *(share[i] for i in own_words)]
                log_share.append(torch.tensor(own).log())
                vocabulary += len(own)
            index.append(place)
            sizes.append(len(own_words) + 1 if "share" in m else 0)
        for name, value in (
            ("mean", torch.tensor(mean, dtype=torch.float32)),
            ("std", torch.tensor(std, dtype=torch.float32)),
            ("low", low),
            ("wide", wide),
            ("prior", prior),
            ("numeric", numeric),
            ("tails", torch.tensor([m.get("tails", [[0.0] * long] * 2) for m in measured], dtype=torch.float32)),
            ("missing", torch.tensor([m.get("gone", 0.0) for m in measured])),
            ("offset", offset),
            ("index", torch.stack(index)),
            ("size", torch.tensor(sizes)),
            ("chance", torch.cat(log_share) if log_share else torch.zeros(1)),
        ):
            self.register_buffer(name, value)
        self.weight = nn.Parameter(torch.randn(count, self.bins + 1, dim) * (self.bins + 1) ** -0.5)
        self.bias = nn.Parameter(torch.randn(count, dim) * 0.1)
        self.gone = nn.Parameter(torch.randn(count, dim) * 0.1)
        self.words = nn.Parameter(torch.randn(max(1, vocabulary), dim) * 0.5)
        self.sizes = sizes

    def codes(self, x: Tensor) -> Tensor:
        """Rows of `words` for cells x [B, F]; of numbers the first row of all."""
        code = x.nan_to_num(-1).round().long()
        known = (code >= 0) & (code < self.index.shape[1])
        place = self.index[torch.arange(x.shape[1], device=x.device), code.clamp(0, self.index.shape[1] - 1)]
        return self.offset + torch.where(known, place, 0)

    def bin(self, x: Tensor) -> Tensor:
        """The bin of numbers x [B, F], int64."""
        inner = (x.nan_to_num()[..., None] >= self.low[:, 1:]) & (self.wide[:, 1:] > 0)
        return inner.sum(-1)

    def forward(self, batch: Batch) -> Tokens:
        x = batch.x
        known = x.nan_to_num()
        part = ((known[..., None] - self.low) / self.wide.clamp(min=1e-30)).clamp(0, 1) * (self.wide > 0)
        far = torch.asinh((known - self.mean) / self.std)
        number = torch.einsum("bft,ftd->bfd", torch.cat([part, far[..., None]], -1).to(self.weight.dtype), self.weight) + self.bias
        word = self.words[self.codes(x)] + self.bias
        tokens = torch.where(self.numeric[:, None], number, word)
        return Tokens(
            torch.where(x.isnan()[..., None], self.gone.to(tokens.dtype), tokens), torch.ones_like(x, dtype=torch.bool), (x.shape[1],)
        )

    def target(self, batch: Batch, cell: Sequence[int], *, raw: bool = False) -> ColumnTarget:
        return self.held(batch.x)

    def held(self, x: Tensor) -> ColumnTarget:
        """What rows x [B, F] hold."""
        return ColumnTarget(self, torch.where(self.numeric, self.bin(x), self.codes(x) - self.offset), ~x.isnan(), x)

    def farther(self, x: Tensor) -> Tensor:
        """Nats that numbers x [B, F] are more surprising than the bin at their end: by the share of its training values farther out,
        and beyond all of them by one for each deviation. 0 inside, and of categories."""
        low, high = self.tails.unbind(1)
        steps = low.shape[1]
        out = torch.maximum((x[..., None] > high).sum(-1), (x[..., None] < low).sum(-1)) / steps
        beyond = ((x - high[:, -1]).clamp(min=0) + (low[:, 0] - x).clamp(min=0)) / self.std
        return (beyond - (1 - out.clamp(max=1 - 0.5 / steps)).log()).nan_to_num() * self.numeric

    def spoil(self, x: Tensor, noise: float, holes: float, generator: torch.Generator) -> Tensor:
        """Noise on the numbers, and holes that hold the value of another row: the mean of categories is none."""
        order = torch.rand(x.shape, generator=generator, device=x.device).argsort(0)
        others = torch.empty_like(x).scatter(0, order, x.gather(0, order.roll(1, 0)))  # each row has the value of the one before it
        swapped = torch.rand(x.shape, generator=generator, device=x.device) < holes
        far = torch.randn(x.shape, generator=generator, device=x.device) * (noise * self.std * self.numeric)
        return torch.where(swapped, others, x + far)

    def head(self, dim: int, cell: Sequence[int]) -> ColumnHead:
        return ColumnHead(dim, self.bins, self.dim)


def kept(measured: Mapping[str, Any]) -> list[int]:
    """The categories that have a vector of their own."""
    return [i for i, s in enumerate(measured.get("share", [])) if s > measured.get("rare", 0.0)]


class ColumnHead(nn.Linear):
    """From features [K, dim] to logits of bins [K, bins] and a vector to compare with those of categories [K, width], side by side."""

    def __init__(self, dim: int, bins: int, width: int) -> None:
        super().__init__(dim, bins + width)


@dataclass(frozen=True)
class ColumnTarget:
    """What each cell held, the bin of a number or the category: int64 [B, F]; seen: bool [B, F], False where it is missing."""

    tokenizer: TableTokenizer
    answer: Tensor
    seen: Tensor
    x: Tensor

    def each(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Nats of each cell [K]: minus the log-probability of its value, more for numbers far out; of a missing one, that of missing."""
        column = where.nonzero()[:, 1]
        cost = surprise(self.tokenizer, predicted, column, self.answer[where]) + self.tokenizer.farther(self.x)[where]
        missing = -self.tokenizer.missing.clamp(min=1e-4).log()[column]
        return torch.where(self.seen[where], cost, missing)

    def doubt(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Entropy of the prediction, nats [K]; of columns with many categories, that of their shares."""
        column = where.nonzero()[:, 1]
        large = self.tokenizer.size[column] > SMALL
        log = logits_of(self.tokenizer, predicted, column).masked_fill(large[:, None], 0.0).log_softmax(1)
        own = -(log.exp() * log.clamp(min=-30)).sum(1)
        return torch.where(large, chances(self.tokenizer)[column], own)

    def distance(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Mean cross entropy of predicted [K, P] at the True cells of where [B, F], each in units of a guess by shares."""
        column = where.nonzero()[:, 1]
        cost = surprise(self.tokenizer, predicted, column, self.answer[where])
        cost = cost / chances(self.tokenizer)[column]
        seen = self.seen[where]
        return (cost * seen).sum() / seen.sum().clamp(min=1)


def chances(tokenizer: TableTokenizer) -> Tensor:
    """Nats that guessing by the shares in the training split costs, for each column [F], at least LEAST."""
    p = tokenizer.prior.exp()
    bins = -(p * tokenizer.prior).sum(-1) / p.sum(-1).clamp(min=1e-9)
    chance = tokenizer.chance
    parts = torch.split(chance, [n for n in tokenizer.sizes if n]) if any(tokenizer.sizes) else ()
    words = [-(c.exp() * c).sum() for c in parts]
    out = bins.clone()
    if words:
        out[~tokenizer.numeric] = torch.stack(words).to(out.dtype)
    return out.clamp(min=LEAST)


@full_precision
def logits_of(tokenizer: TableTokenizer, predicted: Tensor, column: Tensor) -> Tensor:
    """Log-odds [K, most] of the answers of cells in these columns [K]: bins, or the first SMALL categories; -inf where there is none."""
    bins = predicted[:, : tokenizer.bins] + tokenizer.prior[column]
    most = min(SMALL, max([1, *tokenizer.sizes]))
    steps = torch.arange(most, device=predicted.device)
    there = steps < tokenizer.size[column][:, None]
    row = torch.where(there, tokenizer.offset[column][:, None] + steps, 0)
    chance = tokenizer.chance
    words = torch.einsum("kd,kcd->kc", predicted[:, tokenizer.bins :], tokenizer.words[row].float())
    words = (words + chance[row]).masked_fill(~there, -torch.inf)
    width = max(tokenizer.bins, most)
    both = [F.pad(part, (0, width - part.shape[1]), value=-torch.inf) for part in (bins, words)]
    return torch.where(tokenizer.numeric[column][:, None], both[0], both[1])


@full_precision
def surprise(tokenizer: TableTokenizer, predicted: Tensor, column: Tensor, answer: Tensor) -> Tensor:
    """Minus the log-probability of the answers [K] of cells in these columns [K], in nats."""
    out = logits_of(tokenizer, predicted, column)
    large = tokenizer.size[column] > SMALL
    log = out.masked_fill(large[:, None], 0.0).log_softmax(1)
    cost = -log.gather(1, answer.clamp(max=out.shape[1] - 1)[:, None])[:, 0]
    chance = tokenizer.chance
    for f in [f for f, s in enumerate(tokenizer.sizes) if s > SMALL]:
        rows = (column == f).nonzero()[:, 0]
        start, end = int(tokenizer.offset[f]), int(tokenizer.offset[f]) + tokenizer.sizes[f]
        own = predicted[rows, tokenizer.bins :] @ tokenizer.words[start:end].float().T + chance[start:end]
        cost = cost.index_put((rows,), F.cross_entropy(own, answer[rows], reduction="none"))
    return cost


@torch.no_grad()
def odds(tokenizer: TableTokenizer, predicted: Tensor, column: int) -> Tensor:
    """Probabilities of the bins, or of the kept categories (the first is all others), of one cell predicted [P]."""
    if tokenizer.numeric[column]:
        return (predicted[: tokenizer.bins] + tokenizer.prior[column].cpu()).softmax(0)
    start = int(tokenizer.offset[column])
    rows = slice(start, start + tokenizer.sizes[column])
    return (tokenizer.words[rows].cpu().float() @ predicted[tokenizer.bins :] + tokenizer.chance[rows].cpu()).softmax(0)


def likely(p: Sequence[float], edges: Sequence[float], share: float = 0.9, most: int = 2) -> list[tuple[float, float]]:
    """The smallest stretches between edges [k + 1] that hold this share of the probabilities p [k] of bins, at most so many."""
    order = sorted(range(len(p)), key=lambda k: -p[k])
    chosen: list[int] = []
    held = 0.0
    for k in order:
        chosen.append(k)
        held += p[k]
        if held >= share * sum(p):
            break
    pieces: list[list[int]] = []
    for k in sorted(chosen):
        if pieces and pieces[-1][-1] == k - 1:
            pieces[-1].append(k)
        else:
            pieces.append([k])
    best = sorted(sorted(pieces, key=lambda piece: -sum(p[k] for k in piece))[:most])
    return [(float(edges[piece[0]]), float(edges[piece[-1] + 1])) for piece in best]
