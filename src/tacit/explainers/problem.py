"""One item, its parts, and the number that is to be attributed to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tacit.embedding.model import Model
from tacit.errors import CannotPair
from tacit.explainers.values import Value
from tacit.layers import watching
from tacit.pieces import Pieces, imputed, repeated
from tacit.types import Batch, Tokens

AT_ONCE = 2**21  # values of copies that pass the network together


class Problem:
    """The game that an attribution divides: which parts are left in, and what the number is then.

    view: one item as the encoder sees it. background: other items [R, ...] whose values stand in for parts that are gone, None = the kind
    of data fills the place. evaluations: copies of the item that passed the network so far.
    """

    def __init__(self, model: Model, view: Batch, value: Value, most: int = 64, background: Tensor | None = None) -> None:
        self.model, self.view, self.value, self.background = model, view, value, background
        self.pieces: Pieces = model.modality.cut_up(view, model.encoder.tokenizer, most)
        self.evaluations = 0
        ends = torch.tensor([[True], [False]], device=view.x.device).expand(2, len(self.pieces))
        self.all, self.none = (float(v) for v in self.values(ends))

    @property
    def count(self) -> int:
        """Parts."""
        return len(self.pieces)

    @property
    def limit(self) -> int:
        """Values of copies that pass the network together."""
        kind = self.model.modality
        return kind.at_once if kind.flat else AT_ONCE

    @torch.no_grad()
    def values(self, keep: Tensor) -> Tensor:
        """The number for each set of parts that stay, bool [K, P] -> float64 [K] on the CPU."""
        rows = 1 if self.background is None else len(self.background)
        step = max(1, min(self.limit // max(1, self.view.x.numel() * rows), 512 // rows))
        out = []
        for part in keep.to(self.view.x.device).split(step):
            batch = self.model.modality.without(self.view, self.pieces, part, self.background)
            self.evaluations += len(batch.x)
            out.append(self.value.of(batch, None).cpu().double().view(len(part), -1).mean(1))
        return torch.cat(out)

    @property
    def pictured(self) -> bool:
        """Whether it is an image, whose missing places neighbours may fill."""
        kind = self.model.modality
        return kind.smooth and kind.layout.ordered and kind.layout.rank == 2 and self.pieces.kind == "patch" and self.value.single

    @torch.no_grad()
    def refilled(self, keep: Tensor, seed: int) -> Tensor:
        """The number for each set of parts of an image that stay [K, P], where neighbours fill what is gone: float64 [K]."""
        g, out = torch.Generator().manual_seed(seed), []
        for part in keep.to(self.view.x.device).split(16):
            x = imputed(self.view.x, self.pieces.kept(part)[:, None], g)
            self.evaluations += len(part)
            out.append(self.value.of(repeated(replace(self.view, x=x), len(part)), None).cpu().double())
        return torch.cat(out)

    # ---- for what follows gradients ----

    def ends(self) -> tuple[Tensor, Tensor]:
        """Where a path from nothing to the item begins and ends: values of the item itself [1, C, *S], or its tokens [1, N, D]."""
        gone = torch.zeros(1, self.count, dtype=torch.bool, device=self.view.x.device)
        if self.model.modality.smooth:
            empty = self.model.modality.without(self.view, self.pieces, gone, self.background)
            return empty.x.nan_to_num(0.0), self.view.x.nan_to_num(0.0)
        encoder = self.model.encoder
        with torch.no_grad():
            end = encoder.tokenizer(self.view).x
            if self.background is not None:  # the mean of other items
                empty = self.model.modality.without(self.view, self.pieces, gone, self.background)
                return encoder.tokenizer(empty).x.mean(0, keepdim=True), end
            start = torch.zeros_like(end) if encoder.mask_token is None else encoder.mask_token.to(end.dtype).expand_as(end).clone()
        return start, end

    def at(self, places: Tensor) -> Tensor:
        """The number [K] at values or tokens such as `ends` gives [K, ...], with a gradient."""
        batch = repeated(self.view, len(places))
        self.evaluations += len(places)
        if self.model.modality.smooth:  # what is missing stays so
            return self.value.of(replace(batch, x=torch.where(self.view.x.isnan(), self.view.x, places)), None)
        with torch.no_grad():
            own = self.model.encoder.tokenizer(self.view)
        weight = None if own.weight is None else own.weight.expand(len(places), -1)
        return self.value.of(batch, Tokens(places, own.valid.expand(len(places), -1), own.grid, weight))

    @torch.no_grad()
    def along(self, start: Tensor, end: Tensor) -> float:
        """How much the number changes from one place to another."""
        first, last = self.at(torch.cat([start, end])).cpu().double().tolist()
        return float(last - first)

    def gradients(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers [K] and their gradients at places [K, ...]."""
        values, found = [], []
        for part in places.split(max(1, min(16, self.limit // max(1, self.view.x.numel())))):
            leaf = part.detach().requires_grad_(True)
            # cuDNN's recurrent networks have a way back in training only
            with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
                value = self.at(leaf)
                (gradient,) = torch.autograd.grad(value.sum(), leaf)
            values.append(value.detach())
            found.append(gradient)
        return torch.cat(values), torch.cat(found)

    def per_piece(self, each: Tensor) -> Tensor:
        """Attributions of values [1, C, *S] or tokens [1, N, D], summed over every part: float64 [P]."""
        total = self.pieces.on("cpu").total
        if self.model.modality.smooth:
            return total(each[0].cpu().double().sum(0))
        return total(each[0].cpu().double().sum(-1).view(self.pieces.of.shape))

    def of_tokens(self, each: Tensor) -> Tensor:
        """Attributions [N] of the tokens, shared out over the positions that each covers and summed over every part: float64 [P]."""
        shape, patch = self.pieces.of.shape, self.model.encoder.tokenizer.patch
        grid = [-(-s // p) for s, p in zip(shape, patch, strict=True)]
        wide = each.cpu().double().view(grid)
        for axis, (size, side) in enumerate(zip(shape, patch, strict=True)):
            wide = wide.repeat_interleave(side, axis).narrow(axis, 0, size) / side
        return self.pieces.on("cpu").total(wide)

    def attention(self) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Of every layer the attention weights [H, N, N] and the gradient of the number by them; and which tokens exist, bool [N].

        Raises CannotPair where there is no attention, or not one pass over the whole item.
        """
        if not self.value.single:
            raise CannotPair("this model also reads the item in parts, and attention in each of them is another", "--how occlusion")
        with torch.enable_grad(), watching() as seen:
            value = self.value.of(self.view, None)
            if not seen:
                raise CannotPair("this network has no attention that could be looked at", "--how occlusion or shapley")
            if any(w.shape[0] != 1 for w in seen):
                raise CannotPair("the item is longer than the network looks at in one go", "--how occlusion or shapley")
            gradients = torch.autograd.grad(value.sum(), seen, allow_unused=True)
        self.evaluations += 1
        with torch.no_grad():
            there = self.model.encoder.tokenizer(self.view).valid[0]
        return [(w[0].detach(), torch.zeros_like(w[0]) if g is None else g[0]) for w, g in zip(seen, gradients, strict=True)], there

    def change(self) -> Tensor:
        """How much hiding each part changes what goes in, whatever the network makes of it: [P], for comparison."""
        start, end = self.ends()
        return self.per_piece((end - start).abs())


def one_by_one(order: Sequence[int], count: int) -> Tensor:
    """The first 0, 1, ... of parts in an order, bool [len + 1, P]."""
    out = torch.zeros(len(order) + 1, count, dtype=torch.bool)
    for i, p in enumerate(order):
        out[i + 1 :, p] = True
    return out
