from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tacit.errors import Asked, MissingExtra
from tacit.types import Layout
from tacit.wrapped import Wrapped

# of a configuration: names of classes, and what would fetch or run code from elsewhere
_DROPPED = (
    "id2label",
    "label2id",
    "auto_map",
    "quantization_config",
    "attn_implementation",
    "_attn_implementation",
    "transformers_version",
)
_SAME = {"vit_mae": "vit"}  # as the class of masked autoencoders hides patches at random
_CONVNEXT = {"model_type": "convnext", "num_stages": 2, "depths": [1, 1], "hidden_sizes": [16, 32]}
_LARGER = {"num_stages": 3, "depths": [2, 2, 4], "hidden_sizes": [48, 96, 192]}


def plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration builds the part that reads images, as plain JSON."""
    found = dict(about.get("vision_config") or about)
    return {**{k: v for k, v in found.items() if k not in _DROPPED}, "model_type": _SAME.get(name := found.get("model_type", ""), name)}


def configured(text: str, channels: int) -> Any:
    """The configuration object of a JSON text; channels: of the images, where the text does not say.

    Raises Asked for a text that is none, MissingExtra without transformers.
    """
    try:
        from transformers import CONFIG_MAPPING
    except ImportError:
        raise MissingExtra("transformers", "hf", "the backbone hf") from None
    try:
        about = {"num_channels": channels, **plain(json.loads(text))}
        return CONFIG_MAPPING[about["model_type"]].from_dict(about)
    except Exception as error:  # every configuration is checked in its own way
        said = f"backbone.config is no configuration of an image network: {type(error).__name__} {error}".split("\n")[0]
        raise Asked(said, "name a checkpoint that has one: --init hf:NAME") from error


class HF(Wrapped):
    """An image network of the package transformers, such as ViT, DINOv2, ConvNeXt or ResNet.

    config: the network's configuration as JSON text, with its model_type; `--init hf:NAME` fills it in.
    """

    package = "transformers"
    presets = {
        "tiny": {"config": json.dumps(_CONVNEXT)},
        "small": {"config": json.dumps(_CONVNEXT | _LARGER)},
        "base": {"config": json.dumps({"model_type": "convnext"})},
    }

    def __init__(self, width: int, layout: Layout, grid: tuple[int, ...], *, config: str = presets["small"]["config"]) -> None:
        found = configured(config, width)
        from transformers import AutoModel

        try:
            net = AutoModel.from_config(found, dtype=torch.float32, trust_remote_code=False)
        except Exception as error:
            raise Asked(f"transformers cannot build {found.model_type}: {str(error).strip()}".split("\n")[0]) from error
        side = getattr(found, "image_size", None) or 224
        anywhere = "interpolate_pos_encoding" in inspect.signature(net.forward).parameters
        read = partial(_read, options={"interpolate_pos_encoding": True} if anywhere else {})
        super().__init__(width, layout, grid, net, read, found.num_channels, side if isinstance(side, int) else min(side))


def _read(net: nn.Module, x: Tensor, options: Mapping[str, Any]) -> Tensor:
    return net(pixel_values=x, **options).last_hidden_state
