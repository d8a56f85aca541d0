from __future__ import annotations

import torch
from torch import nn

from tacit.encoder import Encoder
from tacit.layers import Block, Place
from tacit.masking import block_mask
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, Share, Step, Views


class Spans(Method):
    """Take spans out of an item, and let a decoder tell them from what is left, cell after cell.

    ratio: share of the cells that is taken out. block: length of a span, in cells. depth, width: of the decoder.
    """

    family = "generative"
    when = "language: the encoder of an encoder-decoder, as for translation and summaries"
    source = "Raffel et al. 2019, arXiv:1910.10683 (T5, span corruption); ours marks a span by its positions, in the place of sentinels"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"drop", "tokens", "order"})

    def __init__(
        self, encoder: Encoder, info: Info, *, ratio: Share = 0.15, block: Count = 3, depth: Count = 1, width: Count = 128
    ) -> None:
        super().__init__(encoder, info)
        self.ratio, self.block = ratio, block
        self.inward, self.known = nn.Linear(encoder.dim, width), nn.Linear(encoder.tokenizer.dim, width)
        self.begin = nn.Parameter(torch.randn(width) * 0.02)
        self.place = Place(width, encoder.layout)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 32)) for _ in range(depth + 1))
        self.norm, self.head = nn.LayerNorm(width), encoder.head(width)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        mask = block_mask(cells, self.ratio, self.block, ctx.generator)
        f = self.encoder(x, mask=mask, drop=True)
        # what a decoder reads: the features of what is left, then the cells of the spans in their order, each as the one before it
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(mask.sum(1).max())]
        there = mask.gather(1, order)
        told = self.known(self.encoder.tokenizer(x).x)
        before = (order - 1).clamp(min=0)
        went_on = mask.gather(1, before) & (order > 0)
        told = told.gather(1, before[..., None].expand(-1, -1, told.shape[-1]))
        told = torch.where(went_on[..., None], told, self.begin.to(told.dtype))
        told = told + self.place(order, cells.grid).to(told.dtype)
        left = self.inward(f.tokens) + self.place(f.position, cells.grid).to(told.dtype)
        h, valid = torch.cat([left, told], 1), torch.cat([f.valid, there], 1)
        for block in self.blocks:
            h = block(h, valid, causal=True)
        h = self.norm(h[:, left.shape[1] :])
        # back to the order of the cells, in which the target is asked
        flat = torch.zeros(*mask.shape, h.shape[-1], device=h.device, dtype=h.dtype)
        flat = flat.scatter(1, order[..., None].expand_as(h), torch.where(there[..., None], h, torch.zeros_like(h)))
        return Step(self.encoder.target(x).distance(self.head(flat[mask]), mask), f.pooled.detach(), chance=1.0)
