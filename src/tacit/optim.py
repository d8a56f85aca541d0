"""AdamW with weight decay off norms, biases and tokens."""

from __future__ import annotations

import torch
from torch import nn


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups: matrices and kernels that decay, and everything of rank below 2 (norms, biases, tokens) that does not."""
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    decays = [p for n, p in trained if p.ndim >= 2 and not n.endswith("table")]
    stays = [p for n, p in trained if p.ndim < 2 or n.endswith("table")]
    return [{"params": decays, "weight_decay": weight_decay}, {"params": stays, "weight_decay": 0.0}]


def adamw(module: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.95)) -> torch.optim.AdamW:
    """AdamW over all trainable parameters; foreach keeps the Python overhead of small networks low."""
    return torch.optim.AdamW(parameter_groups(module, weight_decay), lr=lr, betas=betas, foreach=True)
