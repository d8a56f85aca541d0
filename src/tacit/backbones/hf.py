from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from tacit import published
from tacit.types import Layout
from tacit.wrapped import Wrapped

_SAME = {"vit_mae": "vit"}  # as the class of masked autoencoders hides patches at random
_CONVNEXT = {"model_type": "convnext", "num_stages": 2, "depths": [1, 1], "hidden_sizes": [16, 32]}
_LARGER = {"num_stages": 3, "depths": [2, 2, 4], "hidden_sizes": [48, 96, 192]}


def plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration builds the part that reads images, as plain JSON."""
    found = dict(about.get("vision_config") or about)
    return {**published.plain(found), "model_type": _SAME.get(name := found.get("model_type", ""), name)}


def configured(text: str, channels: int) -> Any:
    """The configuration object of a JSON text; channels: of the images, where the text does not say.

    Raises Asked for a text that is none, MissingExtra without transformers.
    """
    return published.configured(text, lambda about: {"num_channels": channels, **plain(about)}, "an image network")


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
        net = published.built(found)
        side = getattr(found, "image_size", None) or 224
        anywhere = "interpolate_pos_encoding" in inspect.signature(net.forward).parameters
        read = partial(_read, options={"interpolate_pos_encoding": True} if anywhere else {})
        super().__init__(width, layout, grid, net, read, found.num_channels, side if isinstance(side, int) else min(side))


def _read(net: nn.Module, x: Tensor, options: Mapping[str, Any]) -> Tensor:
    return net(pixel_values=x, **options).last_hidden_state
