"""What heads that give a number share: it is learned in units of the answers' own deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tacit.evaluation.probes.ridge import Ridge
from tacit.head import Head
from tacit.later import later

if TYPE_CHECKING:
    from torch import Tensor

    from tacit import losses
else:
    losses = later("tacit.losses")


class Quantity(Head):
    """A head with one output, a number."""

    def prepare(self, y: np.ndarray) -> None:
        known = y[np.isfinite(y)].astype(np.float64)
        self.centre = float(known.mean()) if len(known) else 0.0
        self.unit = (float(known.std()) or 1.0) if len(known) else 1.0

    def probe(self, f: np.ndarray, y: np.ndarray, *, small: bool, seed: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return Ridge().fit(f, (y - self.centre) / self.unit, 0, small=small, seed=seed, groups=groups).coefficients()

    def loss(self, out: Tensor, answer: Tensor) -> Tensor:
        return losses.masked_mse(out[..., 0], (answer.nan_to_num() - self.centre) / self.unit, answer.isfinite())

    def values(self, out: np.ndarray) -> np.ndarray:
        return out[..., 0].astype(np.float64) * self.unit + self.centre
