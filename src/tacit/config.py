"""What a run was asked to do, resolved: plain TOML that gives the same run when it is read back."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tacit import registry
from tacit.errors import Asked, nearest
from tacit.types import Count, Fraction, NonNegative, Positive, Share

NAMED = {"method": "methods", "backbone": "backbones", "modality": "modalities"}  # the parts that are plug-ins, and of which kind


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimizer and schedule: warm-up and cosine.

    kind: "adamw", or "muon" for matrices beside it. lr: peak learning rate. weight_decay: on matrices only. warmup: share of the steps.
    clip: largest gradient norm, 0 = off. floor: share of lr that is left at the end, 1 = constant. beta2: memory of the squared gradient.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    lr: Positive = 2e-3
    weight_decay: NonNegative = 0.05
    warmup: Fraction = 0.05
    clip: NonNegative = 3.0
    floor: Fraction = 0.0
    beta2: Share = 0.95


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """steps: of the optimizer. batch: items a step. seed: of everything random. checkpoint: seconds between checkpoints.

    patience: stop when the loss did not improve over this share of the steps; 0 = off. positives: "group" shows, as every second
    view, another item of the same group (multi-instance learning: Azizi et al. 2021, arXiv:2101.05224). chunk: items that pass the
    network at once, 0 = the whole batch; the loss still sees the whole batch. deep: Deep Augmentation after layer deep_layer
    (0 = the first), dropping the share deep_rate of the activations, or of their principal components.
    """

    steps: Count = 1000
    batch: Count = 256
    seed: int = 0
    checkpoint: Positive = 60.0
    patience: Fraction = 0.0
    positives: Literal["item", "group"] = "item"
    chunk: Annotated[int, Field(ge=0)] = 0
    deep: Literal["none", "dropout", "pca"] = "none"
    deep_layer: Annotated[int, Field(ge=0)] = 1
    deep_rate: Share = 0.5


@dataclass(frozen=True, kw_only=True)
class PrivateConfig:
    """Differential privacy. epsilon: what may be given away of an item at most, 0 = off. delta: chance that more is, 0 = one over ten times
    the items. clip: length of an item's gradient, at most. noise: in units of clip; 0 = as epsilon asks for."""

    epsilon: NonNegative = 0.0
    delta: Fraction = 0.0
    clip: Positive = 1.0
    noise: NonNegative = 0.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole run. method, backbone, modality: {"name": ..., hyperparameters}; data: {"path", "fingerprint", ...}."""

    data: Mapping[str, Any]
    modality: Mapping[str, Any]
    method: Mapping[str, Any]
    backbone: Mapping[str, Any]
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    private: PrivateConfig = field(default_factory=PrivateConfig)
    device: str = "cpu"
    precision: str = "32-true"

    def to_toml(self) -> str:
        import tomli_w

        return tomli_w.dumps(_without_none(asdict(self)))

    @classmethod
    def read(cls, path: Path, *, named: Collection[str | None] = (), runs: Collection[str] = NAMED) -> RunConfig:
        """The configuration in a file.

        named: plug-ins that the user named himself in this call. runs: the parts that the caller is going to build.
        Raises Asked when the file is not a config of ours, and when one of these parts is code that only the file names.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
            optim = OptimConfig(**registry.check_knobs(OptimConfig, raw.pop("optim", {}), "optim"))
            train = TrainConfig(**registry.check_knobs(TrainConfig, raw.pop("train", {}), "train"))
            private = PrivateConfig(**registry.check_knobs(PrivateConfig, raw.pop("private", {}), "private"))
            config = cls(**raw, optim=optim, train=train, private=private)
            for part, key in (("data", "fingerprint"), *((part, "name") for part in NAMED)):
                if not isinstance(getattr(config, part)[key], str):
                    raise TypeError(f"{part}.{key} is no text")
            if not (isinstance(config.device, str) and isinstance(config.precision, str)):
                raise TypeError("device and precision are texts")
        except (OSError, ValueError, TypeError, AttributeError, KeyError, Asked) as error:
            said = error.message if isinstance(error, Asked) else f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise Asked(f"{path} is not a readable run configuration: {said}", "is this a run folder?") from error
        for part, kind in NAMED.items():
            if part in runs:
                registry.check_stored(kind, getattr(config, part)["name"], path, named)
        return config


PARTS = ("method", "backbone", "modality", "optim", "train", "private")


def parse_overrides(words: Iterable[str], parts: Collection[str] = PARTS) -> dict[str, dict[str, Any]]:
    """`part.name=value` words as {part: {name: value}}; values are read as TOML, and as text where that fails.

    parts: those that may be named. Raises Asked for a word of another form and for an unknown part.
    """
    out: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for word in words:
        found = re.fullmatch(r"([A-Za-z]+)\.([A-Za-z_]\w*)=(.*)", word, re.DOTALL)
        if not found:
            raise Asked(f"cannot read {word!r}", "hyperparameters are written part.name=value, such as method.temperature=0.2")
        part, name, text = found.groups()
        if part not in out:
            raise Asked(f"there is no part {part!r} in {word!r}", nearest(part, parts))
        try:
            out[part][name] = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            out[part][name] = text
    return out


def _without_none(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {k: _without_none(v) for k, v in tree.items() if v is not None}
    return list(tree) if isinstance(tree, tuple) else tree
