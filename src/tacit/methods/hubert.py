from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tacit.clusters import kmeans
from tacit.codes import held, in_use, nearest
from tacit.encoder import Encoder
from tacit.losses import cross_entropy
from tacit.masking import block_mask
from tacit.method import Method
from tacit.teacher import Teacher
from tacit.types import Batch, Context, Count, Info, Share, Step, Views


class HuBERT(Method):
    """Hide spans of cells and tell in which cluster each lies; clusters of what cells hold at first, of the network's features later.

    ratio: share of cells hidden. span: length of a hidden span, in cells. entries: number of clusters. iterations: how often they are found
    anew; each is an equal part of the training. rows: cells that they are found on.
    """

    family = "generative"
    when = "speech is there for hours, and recognition is wanted; more stable than wav2vec 2.0"
    source = "Hsu et al. 2021, arXiv:2106.07447; clusters are found on cells of one batch, and assigned on the fly by a frozen copy"
    preset = {"batch": 32}
    views, needs = Views(weak=1), frozenset({"mask", "tokens", "values"})
    first: Tensor
    later: Tensor
    held: Tensor
    state: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        ratio: Share = 0.5,
        span: Count = 4,
        entries: Count = 100,
        iterations: Count = 2,
        rows: Count = 4096,
    ) -> None:
        super().__init__(encoder, info)
        size = math.prod(encoder.cell) * int(encoder.tokenizer.channels)  # type: ignore[arg-type]
        self.register_buffer("first", torch.zeros(entries, size))
        self.register_buffer("later", torch.zeros(entries, encoder.dim))
        self.register_buffer("held", torch.zeros(rows, max(size, encoder.dim)))
        self.register_buffer("state", torch.zeros(3, dtype=torch.int64))  # round, whether its clusters are found, rows that are held
        self.head = nn.Linear(encoder.dim, entries)
        self.teacher = Teacher(encoder)
        self.ratio, self.span, self.entries, self.iterations = ratio, span, entries, iterations

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        cells = self.encoder.cells(x)
        mask = block_mask(cells, self.ratio, self.span, ctx.generator)
        f = self.encoder(x, mask=mask)
        own = self._content(x)
        if self.training:
            self._remember(own[cells.valid], ctx)
        answer = nearest(own[mask], self.first if not int(self.state[0]) else self.later)
        log = {"codes": in_use(answer, self.entries)}
        return Step(cross_entropy(self.head(f.tokens[mask]), answer), f.pooled.detach(), log, chance=math.log(self.entries))

    @torch.no_grad()
    def _content(self, x: Batch) -> Tensor:
        """What is clustered [B, N, P]: what cells hold, later the features of the copy."""
        if not int(self.state[0]):
            return held(self.encoder.target(x, raw=True))
        features: Tensor = self.teacher(x).tokens.float()
        return features

    @torch.no_grad()
    def _remember(self, rows: Tensor, ctx: Context) -> None:
        """Keep some cells of the batch where clusters are to be found."""
        if int(self.state[1]):
            return
        taken = rows[torch.randperm(len(rows), generator=ctx.generator, device=rows.device)[: len(self.held)]]
        self.held[: len(taken), : rows.shape[1]] = taken
        self.state[2] = len(taken)

    @torch.no_grad()
    def after_step(self, ctx: Context) -> None:
        """Find the clusters when a round has begun; until then, for one step, all cells are alike."""
        turn, found, count = self.state.tolist()
        if not found:
            centres = self.later if turn else self.first
            rows = self.held[:count, : centres.shape[1]]
            centres.copy_(kmeans(rows, self.entries, ctx.generator)[0])
            self.state[1] = 1
        now = min(int(ctx.progress * self.iterations), self.iterations - 1)
        if now > turn:
            self.teacher.follow(self.encoder, 0.0, warm=False)
            self.later.zero_()
            self.state.copy_(torch.tensor([now, 0, 0]))
