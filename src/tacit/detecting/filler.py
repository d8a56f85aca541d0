"""What should stand here? A network that fills hidden cells of an item from the others, and how surprised it is by what stands there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tacit import registry
from tacit.config import OptimConfig, RunConfig, TrainConfig
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.encoder import Encoder, build
from tacit.errors import Asked
from tacit.masking import random_mask
from tacit.method import Method
from tacit.runtime import rng, seed_globally
from tacit.training.loader import Loader
from tacit.training.loop import Loop, deterministic, make_fabric
from tacit.types import Batch, Context, Info, Step, Views

BACKBONE = {"name": "transformer", "size": "tiny"}
PASSES, LEAST, MOST = 40, 400, 3000
CELLS = 1024  # of an item, at most: every cell looks at every other one
ROOM = 2**25  # pairs of cells that are held at once
GROUPS = 16  # times that an item is shown with some of its cells hidden, at most


class Filling(Method):
    """Hide a random share of the cells and predict what they held."""

    source = "Devlin et al. 2018, arXiv:1810.04805 (masked prediction); the share that is hidden is drawn anew for every step"
    views, needs = Views(plain=1), frozenset({"mask"})

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__(encoder, Info(items=0))
        self.head = head

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        share = float(torch.rand((), generator=ctx.generator, device=ctx.generator.device)) * 0.5
        mask = random_mask(cells, share, ctx.generator)
        f = self.encoder(x, mask=mask)
        return Step(self.encoder.target(x, raw=True).distance(self.head(f.tokens[mask]), mask), f.pooled.detach())


@dataclass
class Filler:
    """A trained network that fills in. model: the run's, for its preprocessing."""

    model: Model
    encoder: Encoder
    head: nn.Module
    precision: str = "32-true"

    @classmethod
    def fresh(cls, model: Model, seed: int = 0) -> Filler:
        """An untrained one, on a small transformer whatever the run's network is. Raises Asked for items of too many cells."""
        seed_globally(seed, 0)
        modality = model.modality
        body = registry.find("backbones", str(BACKBONE["name"]))
        needs = frozenset({"mask", "ragged"} if model.spec.ragged else {"mask"})
        # a token that shows the one before it, too, would give hidden ones away
        encoder = build(
            lambda dense: modality.tokenizer(dense).alone(), body, modality.layout, modality.sizes, needs, body.presets[BACKBONE["size"]]
        )
        found = cls(model, encoder, encoder.head(), model.precision)
        if found.count > CELLS:
            raise Asked(
                f"{model.modality.unit} of {found.count:,} cells are too many to look for what is strange: {CELLS:,} at most",
                "leave columns out (--columns NAME:text), or pretrain with a larger modality.patch or data.documents=passages",
            )
        return found

    @property
    def count(self) -> int:
        """Cells of an item; where items differ, of the longest one that was learned from."""
        return math.prod(-(-s // c) for s, c in zip(self.model.modality.most, self.encoder.cell, strict=True))

    @property
    def room(self) -> int:
        """Items that fit at once."""
        return max(2, ROOM // self.count**2)

    def learn(
        self, data: Dataset, rows: np.ndarray, *, steps: int = 0, seed: int = 0, show: Callable[[int, int, float], None] | None = None
    ) -> float:
        """Train on these rows; returns seconds. steps: 0 = PASSES over them, at least LEAST and at most MOST."""
        model = self.model
        batch = max(2, min(128 if len(model.spec.sizes) < 2 else 64, len(rows), self.room))
        total = steps or int(np.clip(PASSES * len(rows) // batch, LEAST, MOST))
        config = RunConfig(
            data={},
            modality=dict(model.config["modality"]),
            method={"name": "filling"},
            backbone=dict(BACKBONE),
            optim=OptimConfig(kind="adamw", lr=2e-3, weight_decay=0.01, warmup=0.05, clip=1.0, beta2=0.99),
            train=TrainConfig(steps=total, batch=batch, seed=seed),
            device=str(next(model.parameters()).device),
            precision=self.precision,
        )
        fabric = make_fabric(config)
        method = Filling(self.encoder, self.head)
        loader = Loader(data, rows if len(rows) > 1 else np.tile(rows, 2), model.modality, fabric.device)
        loop = Loop.build(fabric, method, loader, model.modality, config)
        begin = time.perf_counter()
        method.train()
        with deterministic():
            while loop.step < loop.total:
                step = loop.advance()
                if show is not None and (loop.step % max(1, total // 20) == 0):
                    show(loop.step, total, float(step.loss.detach()))
        method.eval()
        return time.perf_counter() - begin

    def parts(self, count: int) -> Tensor:
        """Which cells are hidden together: bool [groups, cells], every cell once, always the same ones."""
        groups = min(GROUPS, count) if not self.model.modality.layout.ordered else min(4, count)
        where = torch.randperm(count, generator=rng(0, "hidden", count)) % groups
        return torch.arange(groups)[:, None] == where

    @torch.no_grad()
    def surprise(
        self, x: np.ndarray, lengths: np.ndarray | None = None, without: np.ndarray | None = None, excess: bool = False
    ) -> np.ndarray:
        """How surprising each cell of decoded items [n, ...] is given all but its group, float32 [n, cells]; NaN = nothing there.

        without: bool [n, cells], cells that are never shown. excess: beyond what the network itself doubts.
        """
        parts = self._views(x, lengths)
        ends = np.cumsum([0, *(len(v.ids) for v in parts)])
        extra = [None if without is None else torch.from_numpy(without[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        out = [self._pass(view, False, e, excess)[0] for view, e in zip(parts, extra, strict=True)]
        return wide(out, np.nan)

    @torch.no_grad()
    def expected(self, x: np.ndarray, lengths: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The same with what was expected: (surprise [n, cells], the head's outputs [n, cells, P]); for few items."""
        both = [self._pass(view, True) for view in self._views(x, lengths)]
        return wide([b[0] for b in both], np.nan), wide([b[1] for b in both], 0.0)

    def grid(self, x: np.ndarray) -> tuple[int, ...]:
        """How the cells of these items are arranged."""
        (view,) = self._views(x[:1], None)
        return self.encoder.cells(view).grid

    def _views(self, x: np.ndarray, lengths: np.ndarray | None) -> list[Batch]:
        self.encoder.eval()
        self.head.eval()
        return [self.model.plain(b) for b in self.model.batches(x, lengths, min(512, self.room))]

    def _pass(self, view: Batch, outputs: bool, without: Tensor | None = None, excess: bool = False) -> tuple[np.ndarray, np.ndarray]:
        cells = self.encoder.cells(view)
        found = torch.full(cells.valid.shape, torch.nan, device=view.x.device)
        made: Tensor | None = None
        target = self.encoder.target(view, raw=True)
        cast = self.precision.startswith("bf16")
        for hidden in self.parts(cells.valid.shape[1]).to(view.x.device):
            mask = hidden.expand_as(cells.valid) & cells.valid
            if not mask.any():
                continue
            hide = mask if without is None else mask | without.to(mask.device)
            with torch.autocast(view.x.device.type, torch.bfloat16, enabled=cast):
                guess = self.head(self.encoder(view, mask=hide).tokens[mask])
            guess = guess.float()
            found[mask] = target.each(guess, mask) - (target.doubt(guess, mask) if excess else 0.0)
            if outputs:
                made = torch.zeros(*mask.shape, guess.shape[1], device=guess.device) if made is None else made
                made[mask] = guess
        return found.cpu().numpy(), np.zeros((len(found), 0, 0), np.float32) if made is None else made.cpu().numpy()


def wide(parts: Sequence[np.ndarray], value: float) -> np.ndarray:
    """Arrays [n, cells, ...] one below the other, those with fewer cells filled up: sequences are only as wide as their batch."""
    width = max((p.shape[1] for p in parts), default=0)
    return np.concatenate([np.pad(p, [(0, 0), (0, width - p.shape[1]), *[(0, 0)] * (p.ndim - 2)], constant_values=value) for p in parts])
