"""The same rows seen by all processes of a distributed run, with gradients: what makes negatives and batch statistics global."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """Number of processes of this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def everyone(x: Tensor) -> Tensor:
    """Rows [B, ...] of all processes in the order of their ranks, [world * B, ...]; the same tensor where there is one process.

    Every process must call it with as many rows. Gradients flow back to the process that a row came from, summed over
    processes, so that the mean over processes which distributed training takes is the gradient of the loss over all rows.
    """
    if world() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)
    return gathered


def mean_over_everyone(x: Tensor) -> Tensor:
    """The mean of a tensor over all processes, without gradient: for centres and other statistics that all must share."""
    if world() == 1:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world()


def own_rows(x: Tensor) -> Tensor:
    """Of rows [world * B, ...] in the order of the ranks, those of this process."""
    rows = len(x) // world()
    return x if world() == 1 else x[dist.get_rank() * rows :][:rows]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.rows
        return total[start : start + ctx.rows]
