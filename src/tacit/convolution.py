"""What convolutional bodies share: layers of any rank, and padding that stays zero."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tacit.encoder import pool_valid
from tacit.types import Tokens


def conv(rank: int, width: int, out: int, kernel: int, stride: int = 1) -> nn.Module:
    """A convolution of this rank without bias; the output has ceil(input / stride) samples."""
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    return layer(width, out, kernel, stride, padding=kernel // 2, bias=False)


def norm(rank: int, width: int) -> nn.Module:
    """Batch normalisation of this rank."""
    return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1](width)


class Padding:
    """Re-zeroes positions that do not exist after every layer, at whatever stride the layer has reached."""

    def __init__(self, valid: Tensor | None, grid: Sequence[int]) -> None:
        self.valid, self.grid = valid, tuple(grid)

    def __call__(self, x: Tensor) -> Tensor:
        if self.valid is None:
            return x
        now = tuple(x.shape[2:])
        mask = self.valid
        if now != self.grid:
            cell = tuple(-(-g // n) for g, n in zip(self.grid, now, strict=True))
            mask = pool_valid(self.valid, len(x), self.grid, cell, now, x.device)
        return x * mask.view(len(x), 1, *now).to(x.dtype)


def as_map(tokens: Tokens, full: bool) -> tuple[Tensor, Padding]:
    """Tokens [B, N, C] as a map [B, C, *grid], without a copy: this is the channels-last layout."""
    padding = Padding(None if full else tokens.valid, tokens.grid)
    b, _, c = tokens.x.shape
    x = tokens.x.view(b, *tokens.grid, c).movedim(-1, 1)
    return padding(x), padding


def as_tokens(x: Tensor) -> Tensor:
    """A map [B, C, *grid] as features [B, N, C]."""
    return x.flatten(2).transpose(1, 2)
