"""Tokens and targets of text: every symbol of the vocabulary has a vector, and predicting one is choosing among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.corruption import others
from tacit.encoder import Tokenizer
from tacit.types import Batch, Tokens

AT_ONCE = 2**25  # logits that are held at a time


class TextTokenizer(Tokenizer):
    """One token a symbol.

    counts: how often each symbol occurs in the training texts [V]. begins: whether it begins a word, bool [V]. dim: width of a vector.
    sif: a of the weights a / (a + p) with which tokens are pooled, p = share of the symbol; 0 = all alike.
    parts: int64 [V, G], pieces of each symbol's spelling whose vectors are added to its own, padded with the last piece; None = none.
    pairs: vectors for pairs of neighbouring tokens (by a hash), which join that of the second; 0 = none.
    source: Arora et al. 2017 (weights); Bojanowski et al. 2017, arXiv:1607.04606 (pieces); Press & Wolf 2017, arXiv:1608.05859 (the
    vectors of the input are those of the prediction, too).
    """

    nats = True
    draws = True

    def __init__(self, counts: Tensor, begins: Tensor, *, dim: int, sif: float = 0.0, parts: Tensor | None = None, pairs: int = 0) -> None:
        super().__init__()
        self.patch, self.dim, self.sif, self.reach = (1,), dim, sif, int(pairs > 0)
        self.counts = counts
        share = (counts.float() + 0.5) / (counts.float() + 0.5).sum()
        self.share: Tensor
        self.begins: Tensor
        self.parts: Tensor
        self.register_buffer("share", share, persistent=False)
        self.register_buffer("begins", begins, persistent=False)
        self.chance = max(0.05, -float((counts / max(1, int(counts.sum())) * share.log()).sum()))
        self.table = nn.Parameter(torch.randn(len(counts), dim) * 0.02)
        self.pairs = nn.Parameter(torch.zeros(pairs, dim)) if pairs else None
        self.pieces: nn.EmbeddingBag | None = None
        if parts is not None:
            self.register_buffer("parts", parts, persistent=False)
            self.pieces = nn.EmbeddingBag(int(parts.max()) + 1, dim, mode="mean", padding_idx=int(parts.max()))
            nn.init.normal_(self.pieces.weight, std=0.02)
            with torch.no_grad():
                self.pieces.weight[-1].zero_()

    @property
    def vectors(self) -> Tensor:
        """The vector of every symbol [V, dim]."""
        return self.table if self.pieces is None else self.table + self.pieces(self.parts)

    def symbols(self, x: Tensor) -> Tensor:
        """Numbers of the symbols, int64 [B, T], of x [B, 1, T]; padding is 0."""
        return x[:, 0].nan_to_num(0).round().long().clamp(0, len(self.table) - 1)

    def forward(self, batch: Batch) -> Tokens:
        symbols = self.symbols(batch.x)
        valid = ~batch.x[:, 0].isnan() if batch.valid is None else batch.valid
        if self.pieces is None:
            x = F.embedding(symbols, self.table)
        else:
            own, place = symbols.unique(return_inverse=True)  # few of all symbols are in a batch
            x = F.embedding(place, F.embedding(own, self.table) + self.pieces(self.parts[own]))
        if self.pairs is not None:
            place = torch.arange(symbols.shape[1], device=symbols.device)  # no slice, whose length a graph would take for fixed
            before = torch.where(place > 0, symbols[:, (place - 1).clamp(min=0)], len(self.table))
            x = x + F.embedding((before * 1_000_003 + symbols * 7919) % len(self.pairs), self.pairs)
        return Tokens(x, valid, (x.shape[1],), self.weights(symbols))

    def weights(self, symbols: Tensor) -> Tensor | None:
        """How much each token counts in the mean over an item, [B, T]; None = all alike."""
        return self.sif / (self.sif + self.share[symbols]) if self.sif else None

    def commonness(self, batch: Batch) -> Tensor:
        """The share of each token's symbol among all of the training data [B, T]."""
        return self.share[self.symbols(batch.x)]

    def units(self, batch: Batch) -> Tensor:
        """The number of the word that each token belongs to, int64 [B, T]."""
        return self.begins[self.symbols(batch.x)].long().cumsum(1)

    def alone(self) -> TextTokenizer:
        """Another tokenizer with the same vocabulary, a vector for each symbol and nothing else."""
        return TextTokenizer(self.counts, self.begins, dim=self.dim)

    def target(self, batch: Batch, cell: Sequence[int], *, raw: bool = False) -> SymbolTarget:
        return SymbolTarget(self, self.symbols(batch.x))

    def spoil(self, x: Tensor, noise: float, holes: float, generator: torch.Generator) -> Tensor:
        """Some tokens are those that another item of the batch has in that place; padding stays."""
        there = ~x[:, 0].isnan()
        other = x[:, 0].gather(0, others(there, generator))
        gone = torch.rand(there.shape, generator=generator, device=x.device) < holes
        return torch.where(gone & there, other, x[:, 0])[:, None]

    def drawn(self, batch: Batch, predicted: Tensor, where: Tensor, generator: torch.Generator) -> Batch:
        """The batch with the tokens at the True cells of where [B, T] drawn from what is predicted there, [K, dim]."""
        at = torch.rand(where.shape, generator=generator, device=where.device)[where]
        step = max(1, AT_ONCE // len(self.table))
        made = [
            (self.log_odds(p).softmax(1).cumsum(1) < u[:, None]).sum(1) for p, u in zip(predicted.split(step), at.split(step), strict=True)
        ]
        x = batch.x.clone()
        x[:, 0][where] = torch.cat(made).clamp(max=len(self.table) - 1).to(x.dtype)
        return replace(batch, x=x)

    def log_odds(self, predicted: Tensor) -> Tensor:
        """Log-odds of all symbols, float32 [K, V], for predictions [K, dim]: without any, their shares in the training data.

        The product itself is as precise as the network: in float32 it would take most of a step.
        """
        return (predicted @ self.vectors.T).float() + self.share.log()

    def head(self, dim: int, cell: Sequence[int]) -> nn.Linear:
        """From features [K, dim] to what is compared with the vectors of the symbols [K, width]."""
        return nn.Linear(dim, self.dim)


@dataclass(frozen=True)
class SymbolTarget:
    """Which symbol each cell held, int64 [B, T]."""

    tokenizer: TextTokenizer
    answer: Tensor

    def each(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Nats of each token [K]: minus the log-probability of its symbol."""
        answer, step = self.answer[where], max(1, AT_ONCE // len(self.tokenizer.table))
        log = [
            F.cross_entropy(self.tokenizer.log_odds(p), a, reduction="none")
            for p, a in zip(predicted.split(step), answer.split(step), strict=True)
        ]
        return torch.cat(log) if log else predicted.new_zeros(0)

    def doubt(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Entropy of the predictions, nats [K]."""
        step = max(1, AT_ONCE // len(self.tokenizer.table))
        log = [self.tokenizer.log_odds(p).log_softmax(1) for p in predicted.split(step)]
        return torch.cat([-(v.exp() * v).sum(1) for v in log]) if log else predicted.new_zeros(0)

    def distance(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Mean cross entropy at the True cells of where [B, T], in units of guessing by the shares of the symbols."""
        return F.cross_entropy(self.tokenizer.log_odds(predicted), self.answer[where]) / self.tokenizer.chance
