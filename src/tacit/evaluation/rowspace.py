"""Rotation onto the principal axes of some rows: exact for every L2-penalised linear model, and cheap when D is large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowSpace:
    """mean: [D]. basis: [D, r], orthonormal columns. norms: [r], lengths of the columns of the rotated rows."""

    mean: np.ndarray
    basis: np.ndarray
    norms: np.ndarray

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """z [n, D] in the rotated coordinates, [n, r]."""
        return (z - self.mean) @ self.basis


def row_space(z: np.ndarray) -> RowSpace:
    """Principal axes of the rows of z [n, D], at most min(n, D) of them.

    A penalised weight vector never leaves the span of the rows, and the penalty does not see a rotation: fitting in
    these coordinates gives the same model. The axes are uncorrelated, so a diagonal preconditioner is nearly Newton's.
    """
    from scipy.linalg import eigh

    mean = z.mean(0, dtype=np.float64).astype(z.dtype)
    centred = z - mean
    n, d = z.shape
    if d <= n:
        values, basis = eigh(centred.T @ centred, driver="evd", overwrite_a=True, check_finite=False)
    else:
        # In float64, because here small eigenvalues are divided by.
        wide = centred.astype(np.float64)
        values, vectors = eigh(wide @ wide.T, driver="evd", overwrite_a=True, check_finite=False)
        kept = values > max(values[-1], 0.0) * n * np.finfo(np.float64).eps * 10
        values = values[kept]
        basis = (wide.T @ vectors[:, kept]) / np.sqrt(values)
    return RowSpace(mean, np.ascontiguousarray(basis, dtype=z.dtype), np.sqrt(np.maximum(values, 0.0)))
