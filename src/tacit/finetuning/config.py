"""How a model is fine-tuned: every setting with its default, the same for all data sets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from tacit import registry
from tacit.errors import Asked
from tacit.types import Count, Fraction, NonNegative, Positive

STRATEGIES = ("probe", "lp-ft", "full", "last-N", "lora", "setfit", "prototypes")
FROZEN = ("probe", "prototypes")  # which leave the encoder as it is


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """lr: peak learning rate of the head; layer i of L below it learns at decay^(L + 1 - i) of that. weight_decay: on matrices.

    batch: items a step, 0 = 64, or as many as pretraining shows where items are long. passes: over the labelled items, but at least
    `least` and at most `most` steps. patience: stop when the held-out labels were not read better over this share of the steps, 0 = never.
    mixup: parameter of the Beta distribution that mixes two items, 0 = off. l2sp: pull of every weight towards the pretrained one.
    freeze: names of parameters that stay as they are, as shell patterns with commas between ("tokenizer*,*norm*"). rank: of the
    low-rank adapters of `lora`. view: what a training step shows of an item: "weak" (almost whole), "global" (as in pretraining), "plain",
    or "auto", what suits the kind of data. norms: "train" lets batch norm see the new data, "frozen" keeps the pretrained statistics.
    tiles: read whole and parts, as the embedding does, where the data has parts; the whole alone trains four times as fast, and is what
    "auto" does where labels are many. prototypes: parts of training items that stand for each class, of the strategy of that name.
    """

    lr: Positive = 3e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    weight_decay: NonNegative = 0.05
    batch: Annotated[int, Field(ge=0)] = 0
    passes: Positive = 20.0
    least: Count = 100
    most: Count = 2000
    patience: Fraction = 0.5
    mixup: NonNegative = 0.0
    l2sp: NonNegative = 0.0
    freeze: str = ""
    rank: Count = 8
    view: Literal["auto", "weak", "global", "plain"] = "auto"
    norms: Literal["train", "frozen"] = "frozen"
    tiles: Literal["auto", "yes", "no"] = "auto"
    prototypes: Count = 10


def settings(given: dict[str, Any]) -> FinetuneConfig:
    """The defaults with what was asked for. Raises Asked for a name or value that does not exist."""
    return FinetuneConfig(**registry.check_knobs(FinetuneConfig, given, "finetune"))


def strategy(name: str) -> tuple[str, int]:
    """("last", 2) for last-2, (name, 0) for the others. Raises Asked for an unknown one."""
    if found := re.fullmatch(r"last-(\d+)", name):
        if int(found[1]) < 1:
            raise Asked(f"--strategy {name}: at least one layer has to learn", "last-1, or probe to change none")
        return "last", int(found[1])
    if name in STRATEGIES and name != "last-N":
        return name, 0
    raise Asked(f"there is no strategy {name!r}", f"known: {', '.join(STRATEGIES)} (last-2 lets the last two layers learn)")
