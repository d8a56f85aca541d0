"""What convolutional bodies share: layers of any rank, and padding that stays zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.types import Tokens


def conv(rank: int, width: int, out: int, kernel: int, stride: int = 1) -> nn.Module:
    """A convolution of this rank without bias; the output has ceil(input / stride) samples."""
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    return layer(width, out, kernel, stride, padding=kernel // 2, bias=False)


def norm(rank: int, width: int) -> nn.Module:
    """Batch normalisation of this rank."""
    return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1](width)


def halved(x: Tensor) -> Tensor:
    """The maximum of three samples at every second place of a map [B, C, *grid], along every axis."""
    if x.ndim == 3:  # pooling over one axis would fix the length of a graph that is written down
        return F.max_pool2d(x[..., None], (3, 1), (2, 1), (1, 0))[..., 0]
    return (F.max_pool2d, F.max_pool3d)[x.ndim - 4](x, 3, 2, 1)


class Padding:
    """Re-zeroes positions that do not exist after every layer, at whatever stride the layers have reached.

    valid: bool [B, N] over `grid`, None = all exist.
    """

    def __init__(self, valid: Tensor | None, grid: Sequence[int]) -> None:
        self.there = None if valid is None else valid.view(-1, 1, *grid).float()

    def __call__(self, x: Tensor, stride: int = 1) -> Tensor:
        """x [B, C, *grid]; stride: of what was done to x since the last call."""
        if self.there is None:
            return x
        if stride > 1:
            for axis in range(2, x.ndim):  # what does not exist lies at the end, so a cell is there if its first sample is
                self.there = self.there[(slice(None),) * axis + (slice(None, None, stride),)]
        return x * self.there.to(x.dtype)


def as_map(tokens: Tokens, full: bool) -> tuple[Tensor, Padding]:
    """Tokens [B, N, C] as a map [B, C, *grid], without a copy: this is the channels-last layout."""
    padding = Padding(None if full else tokens.valid, tokens.grid)
    b, _, c = tokens.x.shape
    x = tokens.x.view(b, *tokens.grid, c).movedim(-1, 1)
    return padding(x), padding


def as_tokens(x: Tensor) -> Tensor:
    """A map [B, C, *grid] as features [B, N, C]."""
    return x.flatten(2).transpose(1, 2)
