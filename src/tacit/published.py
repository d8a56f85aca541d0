"""The configuration of a network of the package transformers, as plain JSON that fetches and runs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tacit.errors import Asked, MissingExtra

# names of classes, and what would fetch or run code from elsewhere
DROPPED = (
    "id2label",
    "label2id",
    "auto_map",
    "quantization_config",
    "attn_implementation",
    "_attn_implementation",
    "transformers_version",
)


def plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without names of classes, and without what would fetch or run code from elsewhere."""
    return {k: v for k, v in about.items() if k not in DROPPED}


def configured(text: str, read: Callable[[Mapping[str, Any]], Mapping[str, Any]] = plain, what: str = "a network") -> Any:
    """The configuration object of a JSON text. read: what of it counts.

    Raises Asked for a text that is none, MissingExtra without transformers.
    """
    try:
        from transformers import CONFIG_MAPPING
    except ImportError:
        raise MissingExtra("transformers", "hf", what) from None
    try:
        about = read(json.loads(text))
        return CONFIG_MAPPING[about["model_type"]].from_dict(dict(about))
    except Exception as error:  # every configuration is checked in its own way
        said = f"backbone.config is no configuration of {what}: {type(error).__name__} {error}".split("\n")[0]
        raise Asked(said, "name a checkpoint that has one: --init hf:NAME") from error


def built(found: Any) -> Any:
    """The network of a configuration, untrained. Raises Asked where transformers cannot build it."""
    import torch
    from transformers import AutoModel

    try:
        return AutoModel.from_config(found, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:
        raise Asked(f"transformers cannot build {found.model_type}: {str(error).strip()}".split("\n")[0]) from error


def trial(net: Any, run: Callable[[], Any]) -> Any:
    """What an untrained network gives in a trial run. Parameters that none of it depends on are frozen: they would never get a gradient."""
    import torch

    learning = [p for p in net.parameters() if p.requires_grad]
    with torch.enable_grad():
        found = run()
        gradients = torch.autograd.grad(found.sum(), learning, allow_unused=True)
    for parameter, gradient in zip(learning, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    return found
