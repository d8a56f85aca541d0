from __future__ import annotations

import json
from typing import Any

from torch import Tensor, nn

from tacit.errors import Asked, MissingExtra, nearest
from tacit.types import Layout
from tacit.wrapped import Wrapped

# of an architecture's arguments: what would fetch or unpickle weights, and the classifier
_DROPPED = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "num_classes")


class Timm(Wrapped):
    """An image network of the package timm, such as its ResNets, ConvNeXts and ViTs.

    config: the name of the architecture and its arguments as JSON text, such as {"architecture": "resnet50"}; `--init timm:NAME` fills
    it in.
    """

    package = "timm"
    presets = {
        "tiny": {"config": '{"architecture": "convnext_atto", "output_stride": 8}'},
        "small": {"config": '{"architecture": "convnext_femto", "output_stride": 16}'},
        "base": {"config": '{"architecture": "convnext_tiny"}'},
    }

    def __init__(self, width: int, layout: Layout, grid: tuple[int, ...], *, config: str = presets["small"]["config"]) -> None:
        try:
            about = {"in_chans": width, **{k: v for k, v in json.loads(config).items() if k not in _DROPPED}}
            net = _made(str(about.pop("architecture")), about)
        except (ValueError, AttributeError, KeyError) as error:
            said = f"backbone.config is no JSON object that names an architecture: {type(error).__name__} {error}"
            raise Asked(said, 'write it like {"architecture": "resnet50"}') from error
        usual = (getattr(net, "pretrained_cfg", None) or {}).get("input_size") or (3, 224, 224)
        size = about.get("img_size") or usual[1:]
        super().__init__(width, layout, grid, net, _read, about["in_chans"], size if isinstance(size, int) else min(size))


def _made(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """The network without its classifier, for images of any size where the architecture allows it."""
    try:
        import timm
    except ImportError:
        raise MissingExtra("timm", "timm", "the backbone timm") from None
    if not timm.is_model(architecture):
        raise Asked(f"timm has no architecture {architecture!r}", nearest(architecture, timm.list_models()))
    try:
        try:
            return timm.create_model(architecture, pretrained=False, num_classes=0, **{"dynamic_img_size": True, **arguments})
        except TypeError:  # convolutions take any size without being told
            return timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
    except Exception as error:  # each architecture checks its arguments in its own way
        raise Asked(f"timm cannot build {architecture}: {str(error).strip()}".split("\n")[0], "see backbone.config") from error


def _read(net: Any, x: Tensor) -> Tensor:
    out = net.forward_features(x)
    return out.movedim(-1, 1) if getattr(net, "output_fmt", "NCHW") == "NHWC" else out
