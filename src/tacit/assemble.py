"""From names and hyperparameters to a modality, an encoder and a method: where the parts meet and are checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tacit import registry
from tacit.encoder import Encoder, build
from tacit.method import Method
from tacit.modality import Modality
from tacit.runtime import seed_globally
from tacit.types import Info, Spec


def make_modality(spec: Spec, knobs: Mapping[str, Any]) -> Modality:
    """The modality of a spec. Raises Asked for hyperparameters that it does not have."""
    cls = registry.find("modalities", spec.modality)
    return cls(spec, **registry.check_knobs(cls, {k: v for k, v in knobs.items() if k != "name"}, "modality"))


def make_encoder(modality: Modality, backbone: Mapping[str, Any], needs: frozenset[str]) -> Encoder:
    """A fresh encoder. backbone: {"name", "size", hyperparameters}; size is tiny, small or base.

    Raises Asked for what does not exist and CannotPair for what does not fit.
    """
    cls = registry.find("backbones", backbone["name"])
    given = {k: v for k, v in backbone.items() if k not in ("name", "size")}
    knobs = {**cls.presets.get(backbone.get("size", "small"), {}), **registry.check_knobs(cls, given, "backbone")}
    ragged = frozenset({"ragged"}) if modality.spec.ragged else frozenset()
    return build(modality.tokenizer, cls, modality.layout, modality.sizes, needs | ragged, knobs)


def needs_of(method: Method | type[Method]) -> frozenset[str]:
    """What a method needs, that of its views included; a class is asked before it is built."""
    views = method.views
    return method.needs | (frozenset({"resize"}) if views.local or views.crop else frozenset())


def make_method(modality: Modality, method: Mapping[str, Any], backbone: Mapping[str, Any], info: Info, seed: int) -> Method:
    """A fresh method around a fresh encoder, initialised from the seed alone; every pair is checked here."""
    cls = registry.find("methods", method["name"])
    knobs = registry.check_knobs(cls, {k: v for k, v in method.items() if k != "name"}, "method")
    modality.check(cls.views)
    seed_globally(seed, 0)
    encoder = make_encoder(modality, backbone, needs_of(cls))
    built: Method = cls(encoder, info, **knobs)
    late = needs_of(built) - needs_of(cls)
    if late:
        seed_globally(seed, 0)
        built = cls(make_encoder(modality, backbone, needs_of(cls) | late), info, **knobs)
    modality.check(built.views)
    return built


def parameters(module: torch.nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
