"""Ridge on frozen features: for numbers, and as a classifier for wide features such as MiniRocket's."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.labels import own_groups
from tacit.evaluation.rowspace import row_space
from tacit.threads import few_threads

ALPHAS = tuple(float(a) for a in 10 ** np.linspace(-3, 6, 10))


class Ridge:
    """Ridge regression, or a ridge classifier on targets -1 and 1, as MiniRocket's authors do; alpha by leave-one-out in closed form.

    Nothing is held out: the leave-one-out error (leave-one-group-out with groups) of every alpha follows exactly from one
    decomposition. A classifier with few
    labels takes a fixed alpha, because one row left out is then a large part of its class.
    """

    standardised: ClassVar[bool] = True
    regression: ClassVar[bool] = True

    def __init__(self, *, alphas: tuple[float, ...] = ALPHAS, few: float = 0.1) -> None:
        """alphas: weights of the squared norm to choose from. few: alpha of a classifier with few labels, times the width D."""
        self.alphas, self.few = alphas, few

    def fit(self, z: np.ndarray, y: np.ndarray, classes: int, *, small: bool, seed: int = 0, groups: np.ndarray | None = None) -> Ridge:
        """z: features [n, D], standardised. y: int64 [n] in 0..classes-1, or float [n] when classes = 0. small: few labels.

        groups: int64 [n], left out as a whole, -1 = unknown.
        """
        z = np.asarray(z)
        z = z.astype(np.float64 if z.size <= 20_000_000 else np.float32, copy=False)
        self._classes = classes
        self._present = np.unique(y) if classes else np.zeros(1, dtype=np.int64)
        target = np.where(np.asarray(y)[:, None] == self._present, 1.0, -1.0) if classes else np.asarray(y, dtype=np.float64)[:, None]
        mean = target.mean(0)
        with few_threads(z.size):
            space = row_space(z)
            x = space(z).astype(np.float64)
        square = space.norms.astype(np.float64) ** 2
        kept = square > square.max(initial=0.0) * 1e-12
        x, square = x[:, kept], square[kept]
        inner = x.T @ (target - mean)  # [r, K]
        share = x**2 / square  # [n, r]: how much of each axis is this row
        best = np.inf
        codes = own_groups(groups)
        for alpha in (self.few * z.shape[1],) if small and classes else self.alphas:
            weight = inner / (square + alpha)[:, None]
            residual = target - mean - x @ weight
            shrink = square / (square + alpha)
            if codes is None:
                residual /= np.maximum(1 - share @ shrink - 1 / len(x), 1e-10)[:, None]
            else:
                _leave_out(residual, x * np.sqrt(shrink / square), codes)
            error = float((residual**2).mean())
            if error < best:
                best, self.chosen, solution = error, alpha, weight
        self._weight = space.basis[:, kept] @ solution
        self._bias = mean - space.mean @ self._weight
        return self

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight [D, 1] and bias [1] of a regression."""
        return self._weight, np.atleast_1d(self._bias)

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Distances from the boundaries [n, classes] (-inf: a class without a training row), or predicted numbers [n]."""
        value = np.asarray(z, dtype=self._weight.dtype) @ self._weight + self._bias
        if not self._classes:
            return value[:, 0]
        out = np.full((len(z), self._classes), -np.inf)
        out[:, self._present] = value
        return out

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Class of each row, int64 [n], or its number, float64 [n]."""
        value = self.scores(z)
        return value.argmax(1) if self._classes else value


def _leave_out(residual: np.ndarray, root: np.ndarray, groups: np.ndarray) -> None:
    """Residuals [n, K] of the fit become those of rows whose group was left out, in place; root @ root.T + 1/n is the hat matrix."""
    root = np.concatenate([root, np.full((len(root), 1), len(root) ** -0.5)], axis=1)
    least = 1 + 1e-9  # a direction that only this group has would divide by 0
    for rows in np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1]):
        a, r = root[rows], residual[rows]
        if len(rows) <= a.shape[1]:
            residual[rows] = np.linalg.solve(least * np.eye(len(rows)) - a @ a.T, r)
        else:  # the same by Woodbury's identity, in the smaller dimension
            residual[rows] = (r + a @ np.linalg.solve(least * np.eye(a.shape[1]) - a.T @ a, a.T @ r)) / least
