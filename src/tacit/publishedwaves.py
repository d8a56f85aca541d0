"""Tokens of sound as the convolutions of a published network make them: wav2vec 2.0, HuBERT, WavLM and their kin."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit import published
from tacit.encoder import pool_valid
from tacit.errors import CannotPair
from tacit.patches import GridTokenizer
from tacit.types import Batch, Tokens

PARTS = ("feature_extractor", "feature_projection", "encoder")
# a run draws its own random numbers, and one feature is one token
PLAIN = {"layerdrop": 0.0, "apply_spec_augment": False, "add_adapter": False}


def network(text: str) -> Any:
    """The network of a configuration, untrained. text: JSON with its model_type.

    Raises Asked for a text that is none, CannotPair for a network that does not read samples through convolutions.
    """
    found = published.configured(text, what="a network of sound")
    for name, value in PLAIN.items():
        setattr(found, name, value)
    net = published.built(found)
    if not all(hasattr(net, part) for part in PARTS) or not hasattr(net.feature_extractor, "conv_layers"):
        raise CannotPair(f"{found.model_type} does not read samples of sound through convolutions", "name a wav2vec2, HuBERT or WavLM")
    return net


class PublishedWaves(GridTokenizer):
    """The convolutions and the projection of a published network of sound.

    mean, std: of the samples. config: the network's configuration as JSON text; with its do_normalize every item gets mean 0 and variance
    1. The last token of an item hears silence behind its end, so that every sample belongs to a token.
    """

    def __init__(self, mean: float, std: float, config: str) -> None:
        about = json.loads(config)
        level = bool(about.pop("do_normalize", True))
        net = network(json.dumps(about))
        kernels, strides = list(net.config.conv_kernel), list(net.config.conv_stride)
        super().__init__((mean,), (std,), (math.prod(strides),), normalise_target=False)
        self.project, self.dim = None, int(net.config.hidden_size)
        self.net = nn.ModuleDict({part: getattr(net, part) for part in PARTS[:2]})
        self.levelled, self.kernels, self.strides = level, kernels, strides
        self.sees = 1 + sum((k - 1) * math.prod(strides[:i]) for i, k in enumerate(kernels))  # samples

    def forward(self, batch: Batch) -> Tokens:
        """batch.x [B, 1, T] -> tokens [B, ceil(T / patch), dim]."""
        x, there = batch.x[:, 0].float(), batch.valid
        step, size = self.patch[0], x.shape[-1]
        grid = (-(-size // step),)
        valid = pool_valid(there, len(x), (size,), self.patch, grid, x.device)
        if self.levelled:
            x = levelled(x, there)
        if there is not None:
            x = x * there
        x = F.pad(x, (0, (grid[0] - 1) * step + self.sees - size))[:, None]
        heard = (valid.sum(1).clamp(min=1) - 1) * step + self.sees  # samples of the item and of the silence behind it
        for i, layer in enumerate(self.net["feature_extractor"].conv_layers):  # type: ignore[union-attr,arg-type]
            own = getattr(layer, "layer_norm", None)
            if i or there is None or not isinstance(own, nn.GroupNorm):
                x = layer(x)
            else:
                frames = (heard - self.kernels[0]) // self.strides[0] + 1
                x = layer.activation(over_time(layer.conv(x), frames, own))
        x = self.net["feature_projection"](x.transpose(1, 2))
        return Tokens(x[0] if isinstance(x, tuple) else x, valid, grid)


def levelled(x: Tensor, there: Tensor | None) -> Tensor:
    """Sounds [B, T] with mean 0 and variance 1 each, over the samples that exist, bool [B, T]."""
    share = torch.ones_like(x) if there is None else there.to(x.dtype)
    share = share / share.sum(1, keepdim=True).clamp(min=1)
    mean = (x * share).sum(1, keepdim=True)
    return (x - mean) / (((x - mean).square() * share).sum(1, keepdim=True) + 1e-7).sqrt()


def over_time(x: Tensor, frames: Tensor, norm: nn.GroupNorm) -> Tensor:
    """A group norm of every channel of x [B, C, T] over the first frames [B] of each row, so that padding changes nothing."""
    there = (torch.arange(x.shape[-1], device=x.device) < frames[:, None])[:, None]
    h = x.float()
    count = frames[:, None, None]
    mean = (h * there).sum(2, keepdim=True) / count
    var = ((h - mean).square() * there).sum(2, keepdim=True) / count
    return (h - mean) * torch.rsqrt(var + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
