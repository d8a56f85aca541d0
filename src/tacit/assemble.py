"""From names and hyperparameters to a modality, an encoder and a method: where the parts meet and are checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tacit import registry
from tacit.encoder import Encoder, build
from tacit.layers import grouped
from tacit.method import Method
from tacit.modality import Modality
from tacit.runtime import seed_globally
from tacit.types import Info, Spec, Views


def make_modality(spec: Spec, knobs: Mapping[str, Any]) -> Modality:
    """The modality of a spec. Raises Asked for hyperparameters that it does not have."""
    cls = registry.find("modalities", spec.modality)
    return cls(spec, **registry.check_knobs(cls, {k: v for k, v in knobs.items() if k != "name"}, "modality"))


def make_encoder(modality: Modality, backbone: Mapping[str, Any], needs: frozenset[str]) -> Encoder:
    """A fresh encoder. backbone: {"name", "size", hyperparameters}; size is tiny, small or base.

    "norm": "group" normalises over groups of channels where the backbone would over the batch.
    Raises Asked for what does not exist and CannotPair for what does not fit.
    """
    cls = registry.find("backbones", backbone["name"])
    given = {k: v for k, v in backbone.items() if k not in ("name", "size", "norm")}
    knobs = {**cls.presets.get(backbone.get("size", "small"), {}), **registry.check_knobs(cls, given, "backbone")}
    ragged = frozenset({"ragged"}) if modality.spec.ragged else frozenset()
    built = build(modality.tokenizer, cls, modality.layout, modality.sizes, needs | ragged, knobs)
    if backbone.get("norm") == "group":  # of a network that was trained item by item
        grouped(built)
    return built


def needs_of(method: Method) -> frozenset[str]:
    """What a method needs, that of its views included."""
    return method.needs | (_resizing(method.views) if method.encoder.layout.ordered else frozenset())


def needs_before(method: Mapping[str, Any], ordered: bool = True) -> frozenset[str]:
    """What {"name", hyperparameters} will need, that of its views included, before it is built. ordered: as its data's layout."""
    cls, knobs = registry.find("methods", str(method["name"])), {k: v for k, v in method.items() if k != "name"}
    return frozenset(cls.wants(knobs)) | (_resizing(cls.shows(knobs)) if ordered else frozenset())


def _resizing(views: Views) -> frozenset[str]:
    return frozenset({"resize"}) if views.local or views.crop or views.task in ("permute", "relation") else frozenset()


def info_of(modality: Modality, items: int, classes: int = 0, regression: bool = False) -> Info:
    """What a method may know of data of this modality. classes, regression: of the labels, for methods that read them."""
    return Info(items, classes, dict(modality.tasks), regression, modality.parts)


def make_method(modality: Modality, method: Mapping[str, Any], backbone: Mapping[str, Any], info: Info, seed: int) -> Method:
    """A fresh method around a fresh encoder, initialised from the seed alone; every pair is checked here."""
    cls = registry.find("methods", method["name"])
    knobs = registry.check_knobs(cls, {k: v for k, v in method.items() if k != "name"}, "method")
    modality.check(cls.shows(knobs))
    seed_globally(seed, 0)
    early = needs_before(method, modality.layout.ordered)
    encoder = make_encoder(modality, backbone, early)
    built: Method = cls(encoder, info, **knobs)
    late = needs_of(built) - early
    if late:
        seed_globally(seed, 0)
        built = cls(make_encoder(modality, backbone, early | late), info, **knobs)
    modality.check(built.views)
    return built


def parameters(module: torch.nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
