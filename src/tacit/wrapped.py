"""A network of another library as a backbone: where its features lie is measured, not looked up in a table of names."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.convolution import as_map, as_tokens
from tacit.encoder import Backbone
from tacit.errors import Asked, CannotPair
from tacit.types import Layout, Tokens

MOST_EXTRA = 16  # tokens before those of the cells, such as a class token and registers

Read = Callable[[nn.Module, Tensor], Tensor]
Look = Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Shape:
    """What a network makes of images: stride in pixels, width of its features, extra tokens before those of the cells.

    only: the one side of images that it takes, in pixels, 0 = any.
    """

    stride: int
    dim: int
    extra: int
    only: int


class Wrapped(Backbone):
    """Images in, features of their cells out; tokens that stand for no cell are left out.

    package: what must be installed; where it is not, no loop over all backbones sees this one. Images that the cells do not divide
    are padded with the mean at their end; grey ones are repeated for a network that reads colours.
    """

    package: ClassVar[str] = ""
    wants, can, ranks = "dense", frozenset({"mask", "resize", "tokens"}), frozenset({2})

    def __init__(self, width: int, layout: Layout, grid: tuple[int, ...], net: nn.Module, read: Read, channels: int, side: int) -> None:
        """read: net, images [B, C, H, W] -> features [B, D, h, w] or [B, extra + h * w, D].

        channels: that the network reads. side: of the images that it was made for, in pixels.

        Parameters that no feature depends on, such as those of a head, are frozen: they would never get a gradient.
        Raises Asked for a network that does not read images, CannotPair for one that does not take these.
        """
        super().__init__(width, layout, grid)
        if width not in (1, channels):
            raise CannotPair(f"this network reads {channels} channels, the data have {width}", "give it images as it was made for")
        trial = copy.deepcopy(net).to("meta").eval()  # computes shapes, and no numbers

        def look(height: int, width: int) -> Tensor:
            return _tokens(read(trial, torch.zeros(1, channels, height, width, device="meta")))

        with torch.enable_grad():
            shape, idle = _measured(look, side, dict(trial.named_parameters()))
        for name in idle:
            net.get_parameter(name).requires_grad_(False)
        self.net, self._read, self.channels, self.shape = net, read, channels, shape
        self.stride, self.dim = shape.stride, shape.dim
        height, wide = (-(-g // shape.stride) * shape.stride for g in grid)
        self._check(height, wide)
        count = _count(look, height, wide)
        if count != shape.extra + height * wide // shape.stride**2:
            raise CannotPair(f"this network does not take images of {height} x {wide} pixels", "choose another size with --image-size")

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, _ = as_map(tokens, full)
        x = F.pad(x, (0, -x.shape[3] % self.shape.stride, 0, -x.shape[2] % self.shape.stride))
        self._check(*x.shape[2:])
        x = x.expand(-1, self.channels, -1, -1).contiguous()
        return _tokens(self._read(self.net, x))[:, self.shape.extra :], ()

    def _check(self, height: int, width: int) -> None:
        only = self.shape.only
        if only and (only, only) != (height, width):
            said = f"this network takes images of {only} x {only} pixels alone, not of {height} x {width}"
            raise CannotPair(said, f"--image-size {only}, and a method whose views all have that size, such as simclr")


def _tokens(out: Tensor) -> Tensor:
    return as_tokens(out) if out.ndim == 4 else out


def _measured(look: Look, side: int, parameters: dict[str, nn.Parameter]) -> tuple[Shape, list[str]]:
    """The shape of a network, and the names of the parameters on which no feature depends.

    look: height, width in pixels -> tokens [1, extra + cells, D]. Twice the side has four times the cells and as many extra tokens.
    """
    try:
        out = look(side, side)
    except Exception as error:
        said = str(error).strip().split("\n")[0][:200]
        raise Asked(f"this network does not read images: {said}", "name one that turns pixels into features") from error
    count, larger = out.shape[1], _count(look, 2 * side, 2 * side)
    cells = math.isqrt(count) ** 2 if larger is None else (larger - count) // 3
    stride = side // max(1, math.isqrt(cells))
    if not 0 <= count - cells <= MOST_EXTRA or stride**2 * cells != side**2:
        raise Asked(f"the {count} tokens of this network do not lie on a grid over {side} x {side} pixels", "name another one")
    shape = Shape(stride, out.shape[2], count - cells, side if larger is None else 0)
    learning = {n: p for n, p in parameters.items() if p.requires_grad}
    gradients = torch.autograd.grad(out[:, shape.extra :].sum(), list(learning.values()), allow_unused=True)
    return shape, [n for n, g in zip(learning, gradients, strict=True) if g is None]


def _count(look: Look, height: int, width: int) -> int | None:
    """Tokens of an image of this size, None = the network does not take it."""
    try:
        with torch.no_grad():
            return look(height, width).shape[1]
    except Exception:  # every network says it in its own way
        return None
