"""Batched random transformations on the device; every draw comes from the generator that is handed in.

Cropping, resizing, flipping and blurring are products with one small matrix an axis and item, so that the result is
antialiased at any scale, works on grids of any rank, and costs two batched matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tacit.layers import exporting


def uniform(generator: torch.Generator, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform draws of this shape in low..high, on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device) * (high - low) + low


def strangers(count: int, generator: torch.Generator) -> Tensor:
    """For each of so many rows another one, int64 [count]: a ring in random order, so that nobody gets its own."""
    order = torch.rand(count, generator=generator, device=generator.device).argsort()
    return torch.empty_like(order).scatter(0, order, order.roll(1))


def interpolation(start: Tensor, extent: Tensor, size_in: Tensor | int, reach: int, size_out: int) -> Tensor:
    """Matrix [B, out, reach] that resamples one axis with a triangle filter as wide as the reduction needs.

    start, extent: [B], share of the item; a negative extent flips. size_in: samples of the item, one number or [B].
    reach: number of stored samples. Rows sum to 1. source: the antialiased bilinear filter of Pillow's `resize`.
    """
    size = torch.as_tensor(size_in, device=start.device, dtype=start.dtype)
    step = (torch.arange(size_out, device=start.device) + 0.5) / size_out
    centre = (start[:, None] + step * extent[:, None]) * size[..., None] - 0.5
    centre = torch.minimum(centre.clamp(min=0), size[..., None] - 1)
    width = (extent.abs() * size / size_out).clamp(min=1)[:, None, None]
    distance = (torch.arange(reach, device=start.device) - centre[..., None]).abs()
    weight = (1 - distance / width).clamp(min=0)
    if size.ndim:
        weight = weight * (torch.arange(reach, device=start.device) < size[:, None])[:, None]
    return weight / weight.sum(-1, keepdim=True)


def gaussian(sigma: Tensor, size: int) -> Tensor:
    """Matrix [B, size, size] that blurs one axis; sigma [B] in samples, 0 = leave as is."""
    distance = torch.arange(size, device=sigma.device)
    square = (distance[:, None] - distance).square()
    weight = torch.exp(-square / (2 * sigma.clamp(min=1e-3).square())[:, None, None])
    return weight / weight.sum(-1, keepdim=True)


def apply_axes(x: Tensor, matrices: Sequence[Tensor], gaps: bool = True) -> Tensor:
    """Multiply each spatial axis of x [B, C, *S] with its matrix [B, out, in]; NaN = missing stays missing. gaps: there may be any."""
    missing = x.isnan() if gaps and x.is_floating_point() else None
    if missing is not None and (exporting() or bool(missing.any())):
        value = _product(x.nan_to_num(), matrices)
        known = _product((~missing).to(x.dtype), matrices)
        return torch.where(known >= 0.5, value / known.clamp(min=1e-6), torch.nan)
    return _product(x, matrices)


def _product(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    if len(matrices) == 1:
        return x @ matrices[0].transpose(1, 2)
    if len(matrices) == 2:
        rows, columns = matrices
        b, c, h, w = x.shape
        x = torch.bmm(x.reshape(b, c * h, w), columns.transpose(1, 2)).view(b, c, h, -1)
        return torch.matmul(rows[:, None], x)
    for axis, matrix in enumerate(matrices):
        x = torch.einsum("boi,bi...->bo...", matrix, x.movedim(2 + axis, 1)).movedim(1, 2 + axis)
    return x


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate images [B, C, H, W] by angle [B] in radians about their centre, borders repeated."""
    cos, sin = angle.cos(), angle.sin()
    aspect = x.shape[-1] / x.shape[-2]
    zero = torch.zeros_like(cos)
    theta = torch.stack([torch.stack([cos, -sin / aspect, zero], 1), torch.stack([sin * aspect, cos, zero], 1)], 1)
    grid = torch.nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def luma_chroma(x: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness Y [B, 1, H, W] and chroma I, Q [B, 2, H, W] of images [B, 3, H, W] in 0..1."""
    yiq = torch.einsum("kc,bchw->bkhw", _YIQ.to(x.device), x)
    return yiq[:, :1], yiq[:, 1:]


def jitter_colour(
    x: Tensor, generator: torch.Generator, *, brightness: float, contrast: float, saturation: float, hue: float, grey: float, share: float
) -> Tensor:
    """Random brightness, contrast, saturation, hue and greyscale of images [B, C, H, W] in 0..1, as one affine map an item.

    brightness, contrast, saturation: factors are drawn from 1 - v .. 1 + v. hue: rotation in turns, drawn from -v..v, about
    the grey axis of YIQ space. grey: probability of losing all colour. share: probability that an item is jittered at all.
    Images of other than 3 channels get brightness and contrast only. source: the colour jitter of Chen et al. 2020,
    appendix A; ours multiplies the maps first and clamps once.
    """
    b, c = x.shape[:2]
    on = (uniform(generator, (b,)) < share).to(x.dtype)

    def factor(v: float) -> Tensor:
        return 1 + (uniform(generator, (b,), -v, v)) * on

    bright, con, sat = factor(brightness), factor(contrast), factor(saturation)
    turn = uniform(generator, (b,), -hue, hue) * on * 2 * math.pi
    lost = uniform(generator, (b,)) < grey
    gain = bright * con
    if c == 3:
        yiq = _YIQ.to(x.device)
        sat = torch.where(lost, torch.zeros_like(sat), sat)
        chroma = torch.zeros(b, 3, 3, device=x.device)
        chroma[:, 0, 0] = 1
        chroma[:, 1, 1] = chroma[:, 2, 2] = sat * turn.cos()
        chroma[:, 1, 2], chroma[:, 2, 1] = -sat * turn.sin(), sat * turn.sin()
        matrix = torch.linalg.inv(yiq) @ chroma @ yiq * gain[:, None, None]
        centre = (x.mean((2, 3)) @ yiq[0])[:, None, None]
        flat = torch.bmm(matrix, x.flatten(2)) + (bright[:, None, None] - gain[:, None, None]) * centre
        return flat.clamp_(0, 1).view_as(x)
    shape = (b, 1, 1, 1)
    centre = x.mean((1, 2, 3)).view(shape)
    return (x * gain.view(shape) + (bright - gain).view(shape) * centre).clamp_(0, 1)
