from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.clusters import spherical_kmeans
from tacit.encoder import Encoder
from tacit.errors import Asked
from tacit.losses import cross_entropy
from tacit.method import Method
from tacit.types import Batch, Context, Count, Fraction, Info, Share, Step, Views


class SelfTraining(Method):
    """Guess labels, train on the guesses that are sure, guess again, until the guesses settle.

    start: "kmeans" guesses from clusters of the untrained embedding, "labels" from the few labels there are (they are read then,
    and always kept). clusters: classes to start from, for kmeans. confidence: probability from which a guess is trained on.
    rounds: of guessing in a run. settled: share of changed guesses below which they are final. smoothing: of the labels, in 0..1.
    """

    family = "clustering"
    when = "a few labels are there and much is not labelled, or clusters are already nearly right"
    source = "Yarowsky 1995; Lee 2013 (pseudo-label); with augmented views as in Xie et al. 2019, arXiv:1911.04252"
    views = Views(global_=2)
    labels: Tensor
    final: Tensor
    begun: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        start: Literal["kmeans", "labels"] = "kmeans",
        clusters: Annotated[int, Field(ge=2)] = 32,
        confidence: Share = 0.5,
        rounds: Count = 10,
        settled: Fraction = 0.01,
        smoothing: Fraction = 0.1,
    ) -> None:
        super().__init__(encoder, info)
        self.start, self.needs, self.surveys = start, self.wants({"start": start}), rounds
        if start == "labels" and not info.classes:
            why = "this data's label is a number" if info.regression else "this data has none"
            hint = "name a column of classes with --target, or start from kmeans"
            raise Asked(f"method.start=labels needs classes, and {why}", hint)
        self.k = info.classes if start == "labels" else max(2, min(clusters, info.items // 2))
        self.confidence, self.settled, self.smoothing = confidence, settled, smoothing
        self.head = nn.Linear(encoder.dim, self.k)
        self.register_buffer("labels", torch.full((info.items,), -1, dtype=torch.int64))
        self.register_buffer("final", torch.zeros((), dtype=torch.bool))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    @classmethod
    def wants(cls, knobs: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"some labels"}) if knobs.get("start") == "labels" else frozenset()

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        features = [f.pooled for f in self.encoder.each(views)]
        goal = [self._goal(v) for v in views]
        loss = torch.stack([cross_entropy(self.head(h), y, self.smoothing) for h, y in zip(features, goal, strict=True)]).mean()
        log = {"labelled": (self.labels >= 0).float().mean(), "settled": self.final.float()}
        return Step(loss, features[0].detach(), log, chance=math.log(self.k))

    def _goal(self, view: Batch) -> Tensor:
        """The label where one is given and asked for, otherwise the guess, -1 where there is none."""
        guess = self.labels[view.ids]
        return guess if self.start != "labels" or view.label is None else torch.where(view.label >= 0, view.label, guess)

    def survey(self, z: Tensor, ctx: Context) -> None:
        if bool(self.final):
            return
        if self.start == "kmeans" and not bool(self.begun):
            self.labels.copy_(spherical_kmeans(z - z.mean(0), self.k, ctx.generator)[1])
        elif bool(self.begun):
            sure, guess = self.head(z).float().softmax(1).max(1)
            guess = torch.where(sure >= self.confidence, guess, -1)
            if len(guess[guess >= 0].unique()) > 1:  # one class for all would teach nothing
                self.final.fill_(bool((guess != self.labels).float().mean() < self.settled))
                self.labels.copy_(guess)
        self.begun.fill_(True)
