from __future__ import annotations

import torch
from torch import nn

from tacit.encoder import Encoder
from tacit.errors import CannotPair
from tacit.layers import Block, Place
from tacit.masking import random_mask
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Share, Step, Views


class TSDAE(Method):
    """Leave out most of an item, squeeze the rest into one vector, and tell the item again from that vector, cell after cell.

    ratio: share of the cells that are left out. depth, width: of the decoder, which sees the vector and the cells it has told before.
    """

    family = "generative"
    decomposes = True
    when = "sentences of a domain, to be compared with each other"
    source = "Wang et al. 2021, arXiv:2104.06979; ours leaves cells out without closing the gap, and adds the code to each input"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"drop", "order"})

    def __init__(self, encoder: Encoder, info: Info, *, ratio: Share = 0.6, depth: Count = 1, width: Count = 128) -> None:
        super().__init__(encoder, info)
        self.ratio = ratio
        self.inward, self.known = nn.Linear(encoder.dim, width), nn.Linear(encoder.tokenizer.dim, width)
        self.place = Place(width, encoder.layout)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 32)) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), encoder.head(width)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        if cells.valid.shape[1] < 2:
            raise CannotPair("these items have a single cell, so none can be left out", "use a smaller modality.patch, or simclr")
        f = self.encoder(x, mask=random_mask(cells, self.ratio, ctx.generator), drop=True)
        told = self.known(self.encoder.tokenizer(x).x)
        told = torch.cat([torch.zeros_like(told[:, :1]), told[:, :-1]], 1)  # what came before
        h = told + self.inward(f.pooled)[:, None]
        h = h + self.place(torch.arange(h.shape[1], device=h.device).expand(h.shape[:2]), cells.grid).to(h.dtype)
        for block in self.blocks:
            h = block(h, cells.valid, causal=True)
        guess = self.head(self.norm(h)[cells.valid])
        return Step(self.encoder.target(x, raw=True).distance(guess, cells.valid), f.pooled.detach(), chance=1.0)
