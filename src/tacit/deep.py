"""Deep Augmentation: change the activations between two layers, instead of or beside the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Deep:
    """What a backbone's activations go through after one layer, in training only.

    The second half of the rows is changed, behind a stop-gradient: the first half, the other views, teaches the layers below.

    kind: "dropout" sets each activation to zero at random; "pca" drops, for every item, directions of the batch's principal
    components at random. layer: 0 = after the first. rate: share that is dropped, in 0..1.
    source: Brüel-Gabrielsson et al. 2023, arXiv:2303.14537; ours draws the dropped components for each item, and scales up what stays.
    """

    def __init__(self, kind: str, layer: int, rate: float) -> None:
        self.kind, self.layer, self.rate = kind, layer, rate
        self.layers = 0  # that the backbone has, known once it has run

    def __call__(self, layer: int, x: Tensor, axis: int) -> Tensor:
        """x: [B, ...] with the channels on `axis`."""
        self.layers = max(self.layers, layer + 1)
        if layer != self.layer:
            return x
        half = len(x) // 2
        return torch.cat([x[:half], self._changed(x[half:].detach(), axis)])

    def _changed(self, x: Tensor, axis: int) -> Tensor:
        return F.dropout(x, self.rate) if self.kind == "dropout" else _drop_components(x.movedim(axis, -1), self.rate).movedim(-1, axis)


def _drop_components(x: Tensor, rate: float) -> Tensor:
    """[B, ..., C] with random principal components of the channels removed, others than the mean, for each item."""
    with torch.autocast(x.device.type, enabled=False):
        flat = x.detach().float().flatten(0, -2).nan_to_num()  # of a diverged network, the loop says it
        mean = flat.mean(0)
        # the components are a fixed basis: no gradient flows through the decomposition
        basis = torch.linalg.eigh((flat - mean).T @ (flat - mean) / max(1, len(flat) - 1))[1]  # [C, C]
        kept = (torch.rand(len(x), *[1] * (x.ndim - 2), x.shape[-1], device=x.device) >= rate) / (1 - rate)
        return (((x.float() - mean) @ basis * kept) @ basis.T + mean).to(x.dtype)
