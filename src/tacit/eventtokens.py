"""Tokens and targets of events: the cells of a row, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tacit.encoder import Tokenizer
from tacit.tabletokens import ColumnTarget, TableTokenizer
from tacit.types import Batch, Tokens


class EventTokenizer(Tokenizer):
    """One token an event: what stands for its cells, side by side, through a linear layer. Arguments as of TableTokenizer.

    dim: width of an event's token. width: of a cell's.
    """

    nats = True

    def __init__(self, measured: Sequence[Mapping[str, Any]], mean: Sequence[float], std: Sequence[float], *, dim: int, width: int) -> None:
        super().__init__()
        self.patch, self.dim = (1,), dim
        self.cells = TableTokenizer(measured, mean, std, dim=width)
        self.joined = nn.Linear(len(measured) * width, dim)

    def forward(self, batch: Batch) -> Tokens:
        x = batch.x.transpose(1, 2)  # [B, T, F]
        b, t, f = x.shape
        cells = self.cells(replace(batch, x=x.reshape(b * t, f), valid=None)).x
        there = torch.ones(b, t, dtype=torch.bool, device=x.device) if batch.valid is None else batch.valid
        return Tokens(self.joined(cells.reshape(b, t, -1)), there, (t,))

    def target(self, batch: Batch, cell: Sequence[int], *, raw: bool = False) -> EventTarget:
        return EventTarget(self, batch.x.transpose(1, 2))

    def spoil(self, x: Tensor, noise: float, holes: float, generator: torch.Generator) -> Tensor:
        """Noise on numbers, and cells with the value that another sequence has in that place; padding stays, and no cell gets lost."""
        rows = x.transpose(1, 2)
        out = self.cells.spoil(rows, noise, holes, generator)
        there = ~rows.isnan().all(-1, keepdim=True)
        return torch.where(there & ~out.isnan(), out, rows).transpose(1, 2)

    def head(self, dim: int, cell: Sequence[int]) -> EventHead:
        return EventHead(dim, self.cells.weight.shape[0], self.cells.bins + self.cells.dim)


class EventHead(nn.Linear):
    """From features [K, dim] to what `tabletokens.ColumnHead` gives for each column, one after the other: [K, F * P]."""

    def __init__(self, dim: int, columns: int, each: int) -> None:
        super().__init__(dim, columns * each)


@dataclass(frozen=True)
class EventTarget:
    """What the cells of each event held: x [B, T, F]."""

    tokenizer: EventTokenizer
    x: Tensor

    def each(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Nats of each event [K]: the sum over its columns."""
        x = self.x[where]
        return torch.where(x.isnan().all(-1), torch.nan, each_column(self.tokenizer, predicted, x).sum(-1))

    def doubt(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Entropy of the predictions, nats [K], summed over columns; of columns with many categories, that of their shares."""
        target, guess, every = _columns(self.tokenizer, predicted, self.x[where])
        return target.doubt(guess, every).view(every.shape).sum(-1)

    def distance(self, predicted: Tensor, where: Tensor) -> Tensor:
        """Mean cross entropy over the known cells of the True events of where [B, T], each in units of a guess by shares."""
        target, guess, every = _columns(self.tokenizer, predicted, self.x[where])
        return target.distance(guess, every)


def each_column(tokenizer: EventTokenizer, predicted: Tensor, x: Tensor) -> Tensor:
    """Nats of each cell [K, F] of events x [K, F], predicted [K, F * P]; of a missing one, those of missing."""
    target, guess, every = _columns(tokenizer, predicted, x)
    return target.each(guess, every).view(every.shape)


def _columns(tokenizer: EventTokenizer, predicted: Tensor, x: Tensor) -> tuple[ColumnTarget, Tensor, Tensor]:
    """Events x [K, F] as rows of a table: what they hold, the outputs of each cell [K * F, P], and which cells: all."""
    return tokenizer.cells.held(x), predicted.reshape(x.numel(), -1), torch.ones_like(x, dtype=torch.bool)
