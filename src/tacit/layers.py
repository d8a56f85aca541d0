"""Small modules that several bodies and heads share: positions, attention blocks, perceptrons."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.types import Layout


def exporting() -> bool:
    """Whether a graph is being written down for all inputs: what happens may then depend neither on values nor on a length."""
    asked: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch 2.6 has the latter alone
    return asked()


def unravel(position: Tensor, grid: Sequence[int]) -> Tensor:
    """Flat cell numbers [...] as coordinates [..., r] in a grid of any rank."""
    out = []
    for size in reversed(grid[1:]):
        rows = torch.div(position, size, rounding_mode="floor")
        out.append(position - rows * size)  # a graph that is written down has no remainder by a size that is free
        position = rows
    return torch.stack([position, *out[::-1]], -1)


def sincos(coordinate: Tensor, dim: int, period: float = 10_000.0) -> Tensor:
    """Sine-cosine codes [..., dim] of coordinates [..., r]; every axis gets an equal share of the width.

    source: Vaswani et al. 2017, section 3.5; several axes side by side as in MAE.
    """
    r = coordinate.shape[-1]
    k = dim // (2 * r)
    frequency = period ** -(torch.arange(k, device=coordinate.device) / max(k, 1))
    angle = (coordinate[..., None] * frequency).flatten(-2)
    return F.pad(torch.cat([angle.sin(), angle.cos()], -1), (0, dim - 2 * r * k))


class Place(nn.Module):
    """Adds what a cell's position means: a sine-cosine code if cells are ordered, a learned row per column if not."""

    def __init__(self, dim: int, layout: Layout) -> None:
        super().__init__()
        self.dim = dim
        self.table = None if layout.ordered else nn.Parameter(torch.randn(layout.count, dim) * 0.02)

    def forward(self, position: Tensor, grid: Sequence[int]) -> Tensor:
        """position int64 [B, M], flat cells of `grid` -> [B, M, dim]."""
        return sincos(unravel(position, grid).float(), self.dim) if self.table is None else self.table[position]


SHORT = 512  # tokens up to which attention as plain products is faster


_seen: list[Tensor] | None = None  # where the attention of every layer is kept while somebody looks at it


@contextlib.contextmanager
def watching() -> Iterator[list[Tensor]]:
    """A list that attention weights [B, H, N, N] are added to, layer by layer, while this lasts."""
    global _seen
    before, _seen = _seen, []
    try:
        yield _seen
    finally:
        _seen = before


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Scaled dot-product attention [B, H, N, D].

    A CPU's fused kernel is five times slower on the way back in half precision than plain products, for short sequences.
    """
    n = q.shape[-2]
    if _seen is not None:
        own = (torch.ones(n, n, dtype=torch.bool, device=q.device).tril() if causal else None) if mask is None else mask
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        weights = (logits if own is None else logits.masked_fill(~own, -torch.inf)).float().softmax(-1)
        _seen.append(weights)
        return weights.to(v.dtype) @ v
    if q.device.type != "cpu" or q.dtype not in (torch.bfloat16, torch.float16) or n > SHORT or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if causal:
        mask = torch.ones(n, n, dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.float().softmax(-1).to(v.dtype) @ v


class Block(nn.Module):
    """Pre-norm transformer block; source: Dosovitskiy et al. 2020, arXiv:2010.11929."""

    def __init__(self, dim: int, heads: int, ratio: float = 4.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        hidden = int(dim * ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor, valid: Tensor | None, causal: bool = False) -> Tensor:
        """x [B, N, D]; valid bool [B, N], None = all."""
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mask = None
        if valid is not None:
            # a row without any valid key would be NaN, so every cell may look at itself
            mask = valid[:, None, None, :] | torch.eye(n, dtype=torch.bool, device=x.device)
            if causal:
                mask = mask & torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        a = attend(q, k, v, mask, causal and mask is None)
        x = x + self.out(a.transpose(1, 2).reshape(b, n, d))
        return x + self.mlp(self.norm2(x))


def in_windows(size: int, *values: Tensor) -> list[Tensor]:
    """Sequences [B, N, ...] cut into windows [B * W, size, ...], the last one filled up with zeros."""
    out = []
    for v in values:
        filled = F.pad(v, (*(0, 0) * (v.ndim - 2), 0, -v.shape[1] % size))
        out.append(filled.unflatten(1, (-1, size)).flatten(0, 1))
    return out


def of_windows(rows: int, length: int, *values: Tensor) -> list[Tensor]:
    """The inverse: windows [B * W, size, ...] as sequences [B, N, ...]."""
    return [v.unflatten(0, (rows, -1)).flatten(1, 2)[:, :length] for v in values]


def over_cells(tokens: Tensor, valid: Tensor) -> Tensor:
    """Every feature of tokens [B, N, D] with mean 0 and variance 1 over the item's cells that exist, bool [B, N]."""
    there = valid[..., None]
    h = tokens.float() * there
    count = there.sum(1, keepdim=True).clamp(min=1)
    mean = h.sum(1, keepdim=True) / count
    std = (((h - mean).square() * there).sum(1, keepdim=True) / count + 1e-5).sqrt()
    return (h - mean) / std


def mlp(dim: int, hidden: int, out: int, *, depth: int = 2, norm: bool = True) -> nn.Sequential:
    """A projector: `depth` linear layers with batch norm (if `norm`) and ReLU between."""
    layers: list[nn.Module] = []
    for i in range(depth - 1):
        layers += [nn.Linear(dim if i == 0 else hidden, hidden, bias=not norm)]
        layers += [nn.BatchNorm1d(hidden)] if norm else []
        layers += [nn.ReLU(inplace=True)]
    layers += [nn.Linear(hidden if depth > 1 else dim, out)]
    return nn.Sequential(*layers)


def grouped(module: nn.Module) -> nn.Module:
    """Replace every normalisation over the batch by one over groups of the channels of each item, in place, as opacus does."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            c = child.num_features
            groups = 1 if isinstance(child, nn.BatchNorm1d) else math.gcd(32, c)  # of a vector each group would be one number
            setattr(module, name, nn.GroupNorm(groups, c, affine=child.affine))
        else:
            grouped(child)
    return module


def over_batch(module: nn.Module) -> bool:
    """Whether anything in it normalises over the batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())
