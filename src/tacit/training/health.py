"""Health in words while training: what is wrong, why, and what usually cures it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch

from tacit.errors import Collapsed
from tacit.statistics import rankme, spread
from tacit.threads import few_threads


@dataclass(frozen=True)
class Health:
    """state: healthy, warning or collapsed. words: one sentence. cause, cure: for what is not healthy.

    spread: 1 = embeddings point everywhere, 0 = all the same. rank: effective rank (RankMe) of the embeddings seen last.
    """

    state: str
    words: str
    cause: str = ""
    cure: str = ""
    spread: float = math.nan
    rank: float = math.nan


ENOUGH = 64  # rows below which a rank says little, as right after a resume


class Watch:
    """Looks at the embeddings and losses of a run; keeps the last rows so that the rank is not bounded by a small batch.

    width: of the embedding. keep: rows kept. source of the rank: Garrido et al. 2023, arXiv:2210.02885, on the centred embedding.
    """

    gone = 1e-3  # spread below which all items have the same embedding, up to rounding
    low = 0.02

    def __init__(self, width: int, keep: int = 2048) -> None:
        self.width, self.keep = width, keep
        self.rows: deque[np.ndarray] = deque()
        self.strikes = 0
        self.first_loss = math.nan

    def see(self, z: torch.Tensor) -> None:
        """Keep the embeddings [B, D] of one step."""
        self.rows.append(z.float().cpu().numpy())
        while sum(map(len, self.rows)) > self.keep and len(self.rows) > 1:
            self.rows.popleft()

    def judge(self, progress: float, loss: float, chance: float | None, teacher_moves: bool | None) -> Health:
        """The state of the run now. teacher_moves: None where the method has no teacher.

        Raises Collapsed when the embedding has been one point for three looks in a row after a tenth of the training.
        """
        z = np.concatenate(self.rows)
        with few_threads(z.size):
            s, r = spread(z), rankme(z, centre=True)
        best = min(len(z) - 1, self.width)
        if math.isnan(self.first_loss):
            self.first_loss = loss
        self.strikes = self.strikes + 1 if s < self.gone and progress >= 0.1 else 0
        if self.strikes >= 3:
            raise Collapsed(
                f"the embedding has collapsed: every item has the same vector (spread {s:.1e})",
                "use a larger batch or a smaller optim.lr, or a method that cannot collapse this way, such as vicreg",
            )
        if s < self.low:
            return Health(
                "collapsed" if s < self.gone else "warning",
                f"embeddings are nearly one point (spread {s:.3f})",
                "views have become indistinguishable from one another",
                "larger batch, smaller optim.lr, or method vicreg",
                s,
                r,
            )
        if progress > 0.2 and len(z) >= ENOUGH and r < min(4.0, best / 2):
            return Health(
                "warning",
                f"few dimensions are used: effective rank {r:.1f} of {best}",
                "dimensional collapse",
                "stronger augmentation, or a method with a decorrelation term (vicreg)",
                s,
                r,
            )
        if chance is not None and progress > 0.2 and loss > 0.99 * chance:
            return Health(
                "warning",
                f"loss {loss:.3f} is that of guessing ({chance:.3f})",
                "the task cannot be solved from these views, or the learning rate does not suit it",
                "milder augmentation, or another optim.lr",
                s,
                r,
            )
        if teacher_moves is False:
            return Health("warning", "the teacher does not move", "its momentum is 1, or steps are too few", "lower method.momentum", s, r)
        if progress > 0.1 and loss > 3 * abs(self.first_loss) + 1:
            return Health("warning", f"loss grew from {self.first_loss:.3f} to {loss:.3f}", "divergence", "smaller optim.lr", s, r)
        return Health("healthy", f"spread {s:.2f}, effective rank {r:.0f} of {best}", "", "", s, r)
