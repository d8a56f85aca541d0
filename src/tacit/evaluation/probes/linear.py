"""Logistic regression on frozen features, its strength of regularisation chosen on training labels only."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tacit.evaluation.labels import fold
from tacit.evaluation.rowspace import RowSpace, row_space
from tacit.threads import few_threads

GRID = tuple(float(c) for c in 10 ** np.linspace(-6, 5, 9))


class Linear:
    """Logistic regression on standardised features; C is one of nine values, chosen on a tenth of the labels, then refitted on all.

    With few labels C is 1: of the powers of ten the best on training folds of ten data sets (1, 5 and 10 labels a class).
    The objective is scikit-learn's: C x (sum of cross-entropies) + half the squared norm of the weights; the bias is free.
    """

    standardised: ClassVar[bool] = True
    regression: ClassVar[bool] = False

    def __init__(self, *, cs: tuple[float, ...] = GRID, few: float = 1.0, c: float = 0.0, by: str = "accuracy") -> None:
        """cs: values of C to choose from. few: the fixed C when labels are few. c: fixed C at any number of labels, 0 = choose.

        by: what the choice looks at, "accuracy", or "likelihood" where one class is so common that accuracy asks for nothing else.
        """
        self.cs, self.few, self.c, self.by = tuple(sorted(cs)), few, c, by

    def fit(self, z: np.ndarray, y: np.ndarray, classes: int, *, small: bool, seed: int = 0, groups: np.ndarray | None = None) -> Linear:
        """z: features [n, D], standardised. y: int64 [n]. small: too few labels to hold some out. seed: of the held-out tenth.

        groups: int64 [n], held out as a whole, -1 = unknown.
        """
        y = np.asarray(y, dtype=np.int64)
        z = np.asarray(z)
        # float64 costs nothing while the problem is small.
        z = z.astype(np.float64 if z.size <= 4_000_000 else np.float32, copy=False)
        self._classes = classes
        self._present, code = np.unique(y, return_inverse=True)
        if len(self._present) == 1:
            self.chosen, self._weight, self._bias = 0.0, np.zeros((z.shape[1], 1)), np.zeros(1)
            return self
        with few_threads(z.size):
            space = row_space(z)
            x = space(z)
            self.chosen = self.c or self.few
            start = None
            if not self.c and not small:
                kept, held = fold(y, classes, seed, groups=groups)
                if len(held):
                    self.chosen, start = self._choose(x, code, kept, held, space)
            weight, bias = _minimise(x, code, len(self._present), self.chosen, space.norms, start, exact=z.size <= 1_000_000)
        self._weight = space.basis @ weight.astype(z.dtype)
        self._bias = bias - (space.mean @ self._weight)
        return self

    def _choose(self, x: np.ndarray, y: np.ndarray, kept: np.ndarray, held: np.ndarray, space: RowSpace) -> tuple[float, tuple]:
        """The C that reads the held-out rows best, the smallest of equals; and its solution, to start the refit from."""
        from scipy.special import logsumexp

        best, chosen, solution = -np.inf, self.cs[0], None
        path = None
        inside, outside = x[kept], x[held]
        for c in self.cs:
            path = _minimise(inside, y[kept], len(self._present), c, space.norms, path)
            out = (outside @ path[0].astype(x.dtype) + path[1]).astype(np.float64)
            if self.by == "likelihood":
                right = float((out[np.arange(len(held)), y[held]] - logsumexp(out, 1)).sum())
            else:
                right = int((out.argmax(1) == y[held]).sum())
            if right > best:
                best, chosen, solution = right, c, path
        assert solution is not None
        return chosen, solution

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight float64 [D, classes] and bias [classes]; 0 and -inf for a class without a training row."""
        weight, bias = np.zeros((len(self._weight), self._classes)), np.full(self._classes, -np.inf)
        weight[:, self._present], bias[self._present] = self._weight, self._bias
        return weight, bias

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Log-odds [n, classes]; -inf for a class without a training row."""
        out = np.full((len(z), self._classes), -np.inf)
        out[:, self._present] = np.asarray(z, dtype=self._weight.dtype) @ self._weight + self._bias
        return out

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Class of each row, int64 [n]."""
        return self.scores(z).argmax(1)


def _minimise(
    x: np.ndarray,
    y: np.ndarray,
    classes: int,
    c: float,
    norms: np.ndarray,
    start: tuple[np.ndarray, np.ndarray] | None,
    exact: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [r, K] and bias [K] of penalised softmax regression on rotated features, by preconditioned L-BFGS.

    norms: [r], lengths of the columns of x. start: weights and bias to begin from. exact: converge to the last digits.
    """
    from scipy.optimize import minimize

    n, r = x.shape
    if classes == 2:
        c = c / 2  # two softmax columns share the penalty that scikit-learn's single logistic column pays
    curve = (classes - 1) / classes**2
    scale = 1 / np.sqrt(curve * norms**2 + 1 / c)
    free = 1 / np.sqrt(curve * n)
    target = np.arange(n), y
    penalty = scale[:, None] ** 2 / c

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        v = flat.reshape(r + 1, classes)
        logits = (x @ (v[:-1] * scale[:, None]).astype(x.dtype)).astype(np.float64) + v[-1] * free
        logits -= logits.max(1, keepdims=True)
        p = np.exp(logits)
        total = p.sum(1, keepdims=True)
        value = np.log(total).sum() - logits[target].sum() + 0.5 * (penalty * v[:-1] ** 2).sum()
        p /= total
        p[target] -= 1
        grad = np.empty_like(v)
        grad[:-1] = (x.T @ p.astype(x.dtype)) * scale[:, None] + penalty * v[:-1]
        grad[-1] = p.sum(0) * free
        return value / n, grad.ravel() / n

    first = np.zeros((r + 1, classes))
    if start is not None:
        first[:-1], first[-1] = start[0] / scale[:, None], start[1] / free
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9} if exact else {"maxiter": 150, "ftol": 1e-7, "gtol": 1e-6}
    v = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options | {"maxcor": 20}).x.reshape(r + 1, classes)
    return v[:-1] * scale[:, None], v[-1] * free
