"""What a method is: one idea, that names no modality, no backbone, no device and no epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from tacit.encoder import Encoder
from tacit.losses import cross_entropy
from tacit.types import Batch, Context, Info, Step, Views


class Method(nn.Module):
    """Base of all methods. Subclasses take `(encoder, info, *, hyperparameters)` and implement `forward`.

    views: what they want to see. needs: capabilities of the backbone, plus "labels" (items without one are left out) or "some
    labels" (they stay). family: what the method is compared with. when: to use it. source: the paper. preset: batch, lr,
    weight_decay and optim where they differ from the modality's.
    surveys: passes over all training items in a run; each is handed to `survey`. Both views and needs may be set on the instance.
    decomposes: the loss is a mean of terms of single items, none of which looks at another item: what privacy needs.
    keeps: names of its modules that are stored beside the encoder, because they can be used afterwards.
    """

    views: Views = Views(global_=2)
    needs: frozenset[str] = frozenset()
    family: ClassVar[str] = ""
    when: ClassVar[str] = ""
    preset: ClassVar[Mapping[str, Any]] = {}
    source: ClassVar[str] = ""
    experimental: ClassVar[str] = ""
    decomposes: ClassVar[bool] = False
    keeps: ClassVar[tuple[str, ...]] = ()
    surveys: int = 0

    def __init__(self, encoder: Encoder, info: Info) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def wants(cls, knobs: Mapping[str, Any]) -> frozenset[str]:
        """The needs with these hyperparameters, known before an encoder is built."""
        return cls.needs

    @classmethod
    def shows(cls, knobs: Mapping[str, Any]) -> Views:
        """The views with these hyperparameters, as far as they are known before an encoder is built."""
        return cls.views

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        raise NotImplementedError

    def after_step(self, ctx: Context) -> None:
        """Called after every optimizer step: teachers move here."""

    def pace(self, name: str) -> float:
        """Learning rate of a parameter as a share of the run's (AdamW only)."""
        return 1.0

    def survey(self, z: Tensor, ctx: Context) -> None:
        """Embeddings of all training items [items, D], in the order of their ids."""

    def recognised(self, logits: Tensor, answer: Tensor | None, embedding: Tensor) -> Step:
        """The step of a method that recognises how an item was changed: logits [B, answers], answer int64 [B], embedding [B, D]."""
        assert answer is not None
        right = (logits.detach().argmax(1) == answer).float().mean()
        return Step(cross_entropy(logits, answer), embedding.detach(), {"accuracy": right}, chance=math.log(max(2, logits.shape[1])))

    def deploy(self) -> Encoder:
        """The encoder that is kept: the teacher's, for methods that have one."""
        return self.encoder
