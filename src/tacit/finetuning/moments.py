"""A reading of moments in their order: what stands before and after a moment says what it means."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, DEPTH = 192, 2
DROP, HIDE, SPAN = 0.5, 0.3, 3  # in training: share of features and of moments that are left out, moments of a span


class Moments(nn.Module):
    """Features with mean 0 and deviation 1, recurrent layers in both directions, then a linear layer.

    mean, scale: of the features in the training data, [D]. outputs: numbers a moment.
    source: the recogniser on frozen features of Yang et al. 2021, arXiv:2105.01051 (SUPERB); ours is a fifth as wide, with gated recurrent
    units, and leaves out whole features and spans of moments in training.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: np.ndarray, scale: np.ndarray, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        widths = [len(mean), *[2 * WIDTH] * (DEPTH - 1)]
        self.onward = nn.ModuleList(nn.GRU(w, WIDTH, batch_first=True) for w in widths)
        self.backward_ = nn.ModuleList(nn.GRU(w, WIDTH, batch_first=True) for w in widths)
        self.linear = nn.Linear(2 * WIDTH, outputs)

    def reset(self, seed: int) -> None:
        """Begin anew, by this seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for part in (*self.onward, *self.backward_, self.linear):
                part.reset_parameters()

    def forward(self, f: Tensor, there: Tensor) -> Tensor:
        """f [B, M, D], there bool [B, M], which moments exist; they come first -> [B, M, outputs]."""
        with torch.autocast(f.device.type, enabled=False):
            x = (f.float() - self.mean) / self.scale * there[..., None]
            if self.training:
                x = F.dropout1d(x.transpose(1, 2), DROP).transpose(1, 2) * self._shown(there)[..., None]
            # reading from the end begins at the item's own end, not in its padding
            place = torch.arange(f.shape[1], device=f.device).expand(there.shape)
            turned = torch.where(there, there.sum(1, keepdim=True) - 1 - place, place)[..., None]
            for onward, back in zip(self.onward, self.backward_, strict=True):
                index = turned.expand(-1, -1, x.shape[2])
                a, b = onward(x)[0], back(x.gather(1, index))[0]
                x = torch.cat([a, b.gather(1, turned.expand(-1, -1, b.shape[2]))], 2)
            out: Tensor = self.linear(x)
            return out

    def _shown(self, there: Tensor) -> Tensor:
        """Which moments are not left out, float [B, M]."""
        begin = torch.rand(there.shape, device=there.device) < HIDE / SPAN
        return 1 - F.max_pool1d(F.pad(begin.float()[:, None], (SPAN - 1, 0)), SPAN, 1)[:, 0]
