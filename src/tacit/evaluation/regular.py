"""Series with gaps or unequal lengths as a full array, for classics that need one."""

from __future__ import annotations

import numpy as np

from tacit.types import Spec


def lengths(x: np.ndarray, spec: Spec) -> np.ndarray:
    """Time steps of each series [N, C, T], trailing all-NaN steps left out when the data is ragged; at least 1."""
    if not spec.ragged:
        return np.full(len(x), x.shape[-1])
    seen = np.isfinite(x).any(1)
    return np.where(seen.any(1), x.shape[-1] - seen[:, ::-1].argmax(1), 1)


def regular(x: np.ndarray, spec: Spec, *, stretch: bool = True) -> np.ndarray:
    """Series [N, C, T] without NaN, float32: gaps are bridged by straight lines, ends by the nearest value, an empty channel is 0.

    stretch: bring shorter series of ragged data to the full length by linear interpolation; otherwise their padding is filled.
    """
    x = np.asarray(x, dtype=np.float32)
    ends = lengths(x, spec)
    if np.isfinite(x).all():
        return x
    out = x.copy()
    steps = np.arange(x.shape[-1])
    for i in np.flatnonzero(~np.isfinite(x).all((1, 2))):
        places = np.linspace(0, ends[i] - 1, x.shape[-1]) if stretch else steps
        for c in range(x.shape[1]):
            known = np.isfinite(x[i, c])
            out[i, c] = np.interp(places, steps[known], x[i, c][known]) if known.any() else 0.0
    return out
