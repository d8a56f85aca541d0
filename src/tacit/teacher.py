"""A frozen copy that follows: the target network of distillation methods, and weight averaging."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """A copy of a module that gets no gradient and moves towards it by `follow`."""

    steps: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.module = copy.deepcopy(module).requires_grad_(False)
        for part in self.module.modules():
            if isinstance(part, nn.Dropout):  # a goal is no place for noise; batch norm stays that of the batch, as in the papers
                part.p = 0.0
        self.count: int | None = None  # of steps, so that a GPU need not be asked; None = ask the buffer

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def each(self, views: Sequence[Any]) -> list[Any]:
        """What the copy of an encoder makes of several views, one pass for each distinct shape."""
        features: list[Any] = self.module.each(views)  # type: ignore[operator]
        return features

    @torch.no_grad()
    def follow(self, student: nn.Module, momentum: float, warm: bool = True) -> None:
        """teacher = momentum * teacher + (1 - momentum) * student; buffers such as batch-norm statistics are copied.

        warm: remember at most about a tenth of the steps so far, so that a short run's teacher is not its untrained beginning.
        """
        self.count = (int(self.steps) if self.count is None else self.count) + 1
        self.steps.fill_(self.count)
        if warm:
            momentum = min(momentum, self.count / (10 + self.count))
        mine: list[Tensor] = list(self.module.parameters())
        theirs = [p.detach() for p in student.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - momentum)
        for a, b in zip(self.module.buffers(), student.buffers(), strict=True):
            a.copy_(b)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.count = None
