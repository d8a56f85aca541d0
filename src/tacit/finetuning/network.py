"""The network that decides: an encoder, and a linear reading of its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.embedding.model import Model
from tacit.errors import Asked
from tacit.finetuning.moments import Moments
from tacit.finetuning.prototypes import Bank
from tacit.head import ABSENT, Head, at_places, of_pair, together
from tacit.types import Batch, Tokens

PARTS = 4  # along each axis, of a cell whose labels are counted


class Scaled(nn.Module):
    """Features with mean 0 and deviation 1 in the training data, then a linear layer: a probe that can go on learning."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: np.ndarray, scale: np.ndarray, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.linear = nn.Linear(len(mean), outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def set(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Take over a probe's solution: weight [D, outputs], bias [outputs]."""
        with torch.no_grad():
            self.linear.weight.copy_(torch.as_tensor(np.ascontiguousarray(weight.T), dtype=torch.float32))
            self.linear.bias.copy_(torch.as_tensor(bias, dtype=torch.float32))

    def forward(self, f: Tensor) -> Tensor:
        with torch.autocast(f.device.type, enabled=False):
            return self.linear((f.float() - self.mean) / self.scale)


class Network(nn.Module):
    """What is fine-tuned: the encoder of `model`, and on its features the reading `layer` of a head.

    tiles: read items whole and in parts, as their embedding is. A pair's features are those of its items, standardised by `inner` and
    combined.
    """

    def __init__(self, model: Model, head: Head, tiles: bool) -> None:
        super().__init__()
        self.model, self.head, self.tiles = model, head, tiles
        self.layer: Scaled | Moments | None = None
        self.inner: Scaled | None = None
        self.bank: Bank | None = None  # of a decision by prototypes, and what each of them is
        self.prototypes: list[dict[str, Any]] = []

    @property
    def encoder(self) -> nn.Module:
        return self.model.encoder

    @property
    def cuts(self) -> bool:
        """Whether it also reads parts of an item, which it cuts itself."""
        return self.tiles and bool(self.model.modality.tiles) and self.bank is None

    def sees(self, view: Batch, tokens: Tokens | None = None) -> Tensor:
        """What is read of views that were made already [B, D]; tokens: made of them before."""
        f = self.model.encoder(view, tokens=tokens)
        if self.bank is not None:
            near: Tensor = self.bank(f.tokens, f.valid)
            return near
        return self.model.centred(f.pooled.float())

    @property
    def step(self) -> int:
        """Stored values that one tag stands for."""
        return self.model.modality.step_of(self.model.spec)

    @property
    def cell(self) -> tuple[int, ...]:
        """Tags that one feature covers, along each of their axes."""
        return self._of_tags(self.model.encoder.cell)

    def grid(self, view: Batch) -> tuple[int, ...]:
        """How the features of a view are arranged along the axes of its tags."""
        return self._of_tags(self.model.encoder.cells(self.model.plain(view)).grid)

    def _of_tags(self, axes: tuple[int, ...]) -> tuple[int, ...]:
        """Of the axes of the network's grid those that items are stored along: a spectrum has bands that its sound has not."""
        return axes[-max(1, len(self.model.spec.sizes)) :]

    def read(self, batch: Batch, cast: bool = False) -> Tensor:
        """Features of every item [B, D], or of its tokens [B, M, D]; with prototypes how near it comes to each of them [B, P]."""
        if self.bank is not None:
            with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=cast):
                return self.sees(self.model.plain(batch))
        if self.head.level == "sequence":
            f, there = self.moments(batch, cast)
            return f.masked_fill(~there[..., None], torch.nan)
        if self.head.level != "token":
            return self.model.read(batch, self.tiles, cast)
        if self.cell != self.model.encoder.cell:
            return self.moments(batch, cast)[0]
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=cast):
            return self.model.encoder(self.model.plain(batch)).tokens.float()

    def decide(self, batch: Batch, cast: bool = False) -> Tensor:
        """The head's output for every item or token; of pairs the standardised features, which `outcome` combines."""
        f = self.read(batch, cast)
        if self.head.level == "pair":
            assert self.inner is not None
            return (f - self.inner.mean) / self.inner.scale
        if self.head.level == "sequence":
            return self.read_out(f.nan_to_num(0.0), ~f[..., 0].isnan())
        assert isinstance(self.layer, Scaled)
        out: Tensor = self.layer(f)
        return out

    def moments(self, batch: Batch, cast: bool = False) -> tuple[Tensor, Tensor]:
        """Features along the last axis of an item (time), means over its others: [B, M, D], and which of them exist, bool [B, M]."""
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=cast):
            f = self.model.encoder(self.model.plain(batch))
        x, there = f.tokens.float(), f.valid
        if len(f.grid) > 1:
            weight = there.unflatten(1, (-1, f.grid[-1])).float()
            x = (x.unflatten(1, (-1, f.grid[-1])) * weight[..., None]).sum(1) / weight.sum(1).clamp(min=1)[..., None]
            there = weight.sum(1) > 0
        return x, there

    def read_out(self, f: Tensor, there: Tensor) -> Tensor:
        """Outputs [B, M, K] of moments; one that does not exist says so: its first output is ABSENT, the others 0."""
        assert isinstance(self.layer, Moments)
        none = torch.zeros(self.head.outputs, device=f.device)
        none[0] = ABSENT
        return torch.where(there[..., None], self.layer(f, there), none)

    def pairs(self, f: Tensor) -> Tensor:
        """Outputs [B, outputs] for features [2 B, D] whose first half belongs to the second, one by one."""
        assert self.inner is not None and isinstance(self.layer, Scaled)
        a, b = F.normalize((f.float() - self.inner.mean) / self.inner.scale, dim=1).chunk(2)
        return self.layer(torch.cat([(a - b).abs(), a * b, *((a, b) if self.head.ordered else ())], 1))

    @torch.no_grad()
    def features(self, x: np.ndarray, lengths: np.ndarray | None = None, places: int = 0) -> np.ndarray:
        """Features of decoded items, [N, D] or [N, M, D]; lengths: of ragged items. places: tokens M at least, filled up with zeros."""
        was, parts = self.training, []
        self.eval()
        cast = self.model.precision.startswith("bf16")
        for batch in self.model.batches(x, lengths):
            parts.append(self.read(batch, cast).cpu().numpy())
        self.train(was)
        return together(parts, places, np.nan if self.head.level == "sequence" else 0.0)

    def outcome(self, f: np.ndarray, pairs: np.ndarray | None = None) -> np.ndarray:
        """The head's output for features: [N, outputs], [N, M, outputs], or [R, outputs] for pairs [R, 2] of rows."""
        if self.head.level == "sequence":
            return self._read_in_order(f)
        mean, scale, weight, bias = (t.detach().cpu().double().numpy() for t in self.reading())
        if pairs is not None:
            assert self.inner is not None
            f = (f - self.inner.mean.cpu().numpy()) / self.inner.scale.cpu().numpy()
            f = of_pair(f[pairs[:, 0]], f[pairs[:, 1]], self.head.ordered)
        return np.asarray(((f - mean) / scale) @ weight.T + bias)

    @torch.no_grad()
    def _read_in_order(self, f: np.ndarray, at_once: int = 64) -> np.ndarray:
        """The same of moments [N, M, D], NaN where there is none."""
        assert isinstance(self.layer, Moments)
        was, parts = self.layer.training, []
        self.layer.eval()
        for i in range(0, len(f), at_once):
            x = torch.from_numpy(np.asarray(f[i : i + at_once], np.float32)).to(self.layer.mean.device)
            parts.append(self.read_out(x.nan_to_num(0.0), ~x[..., 0].isnan()).cpu().numpy())
        self.layer.train(was)
        return np.concatenate(parts) if parts else np.zeros((0, f.shape[1], self.head.outputs), np.float32)

    def reading(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean, scale, weight and bias of the reading."""
        assert isinstance(self.layer, Scaled)
        return self.layer.mean, self.layer.scale, self.layer.linear.weight, self.layer.linear.bias

    def shares_of(self, y: np.ndarray, at_once: int = 64) -> np.ndarray:
        """Shares of each tag in every cell of items with tags y [N, *S], float32 [N, M, outputs]."""
        parts, spec = [], self.model.spec
        for i in range(0, len(y), at_once):
            label = torch.from_numpy(y[i : i + at_once].astype(np.int64))
            size = [*label.shape[1:-1], label.shape[-1] * self.step]
            view = self.model.plain(Batch(torch.zeros(len(label), spec.channels, *size), torch.arange(len(label))))
            parts.append(shares(label, view, self.grid(view), self.cell, self.head.outputs).numpy())
        return np.concatenate(parts)

    @property
    def seen(self) -> tuple[int, ...] | None:
        """The size to which every item is brought, None where items keep their own."""
        spec, sizes = self.model.spec, self.model.modality.sizes
        if self.model.modality.flat:
            return None
        twice = torch.zeros(1, spec.channels, *[2 * s for s in sizes], device=next(self.parameters()).device)
        shown = self.model.plain(Batch(twice, torch.zeros(1, dtype=torch.int64)))
        return sizes if tuple(shown.x.shape[2:]) == sizes else None

    def spread(self, out: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """Outputs of tokens [N, M, K] at every place of the item: [N, *places, K]."""
        cell, size = self.cell, self.seen or tuple(places)
        grid = tuple(-(-s // c) for s, c in zip(size, cell, strict=True))
        return at_places(out, grid, cell, size, places)


def shares(label: Tensor, view: Batch, grid: Sequence[int], cell: Sequence[int], classes: int) -> Tensor:
    """Share of each label in every cell of a view, float32 [B, M, classes]; label: int64 [B, *S] of the whole item, -1 = unknown.

    The view's frame says which part of the item it shows; a cell that shows nothing known is 0 everywhere.
    """
    b, rank, device = len(label), len(grid), label.device
    size = view.x.shape[-rank:]
    frame = view.frame if view.frame is not None else torch.tensor([[0.0, 1.0]] * rank, device=device).expand(b, rank, 2)
    index, inside = [], []
    for axis in range(rank):
        parts = min(PARTS, cell[axis])
        at = (torch.arange(grid[axis] * parts, device=device) + 0.5) * (cell[axis] / parts) / size[axis]  # in the view
        inside.append(at < 1)
        places = label.shape[1 + axis]
        place = (frame[:, axis, :1] + at * frame[:, axis, 1:]) * places
        index.append(place.long().clamp(0, places - 1))
    picked = label
    for axis, i in enumerate(index):
        shape = [b, *[1] * rank]
        shape[1 + axis] = i.shape[1]
        wide = list(picked.shape)
        wide[1 + axis] = i.shape[1]
        picked = picked.gather(1 + axis, i.view(shape).expand(wide))
        there = inside[axis].view([1, *[-1 if a == axis else 1 for a in range(rank)]])
        picked = torch.where(there, picked, torch.full_like(picked, -1))
    one = F.one_hot(picked.clamp(min=0), classes).float() * (picked >= 0)[..., None]
    for axis in range(rank):
        one = one.unflatten(1 + axis, (grid[axis], -1)).mean(2 + axis)
    return one.flatten(1, rank)


def check_head(head: Head, model: Model) -> None:
    """Raise Asked where this kind of data or network has no places to tag or to read in order."""
    if head.level == "sequence" and not model.encoder.layout.ordered:
        raise Asked("transcription reads an item from its beginning to its end, and these have no order", "leave --head out")
    if model.erasers and head.level in ("token", "sequence"):
        raise Asked("an attribute was erased from whole embeddings, and this head reads their parts", "use the run before")
    if head.level in ("token", "sequence") and "tokens" not in model.encoder.can:
        raise Asked(
            f"{type(head).__name__.lower()} needs a feature for every part of an item, which this backbone does not give",
            "train with another --backbone",
        )
