"""How often would a score this large come up among normal items?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

KEPT = 501
FROM = 0.9  # share of held-out values from where the tail is an exponential


@dataclass(frozen=True, eq=False)
class Tails:
    """Held-out values of several scores: quantiles float64 [S, KEPT], the mean excess over their share FROM [S], and how many there were.

    source: the exponential is the generalised Pareto distribution with shape 0 (Pickands 1975), which every thin tail comes close to.
    """

    quantiles: np.ndarray
    excess: np.ndarray
    n: int

    @classmethod
    def fit(cls, values: np.ndarray, least: float = 0.0) -> Tails:
        """values: held-out scores [n, S], NaN = none. least: mean excess that the tails have at least."""
        values = np.asarray(values, dtype=np.float64)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of scores that never exceed
            known = np.where(np.isnan(values).all(0), 0.0, values)
            quantiles = np.nanquantile(known, np.linspace(0, 1, KEPT), axis=0).T
            top = np.nanquantile(known, FROM, axis=0)
            over = np.where(known > top, known - top, np.nan)
            excess = np.where(np.isnan(over).all(0), 0.0, np.nanmean(over, 0))
        spread = np.maximum(np.ptp(quantiles, axis=1), 1e-12)
        return cls(quantiles, np.maximum(excess, np.maximum(1e-3 * spread, least)), len(values))

    def shared(self, other: Tails, where: np.ndarray) -> Tails:
        """The same with the tail of `other`, which has one, for the scores where bool [S] is True."""
        quantiles = np.where(where[:, None], other.quantiles, self.quantiles)
        return Tails(quantiles, np.where(where, other.excess, self.excess), self.n)

    def evidence(self, values: np.ndarray) -> np.ndarray:
        """-log10 of the share of normal items with such a score or a larger one, [n, S] of values [n, S]; 0 where there is none."""
        out = np.zeros(values.shape)
        top = self.quantiles[:, round(FROM * (KEPT - 1))]
        for s in range(values.shape[1]):
            v = values[:, s]
            below = np.searchsorted(self.quantiles[s], v, "right") / KEPT
            far = -math.log10(1 - FROM) + (v - top[s]) / self.excess[s] / math.log(10)
            out[:, s] = np.where(v > top[s], far, -np.log10(np.maximum(1 - below, 1 - FROM)))
        return np.where(np.isnan(values), 0.0, out)

    def threshold(self, share: float) -> np.ndarray:
        """Values [S] that this share of normal items exceeds, at most; as many as were held out must allow for it."""
        place = min(KEPT - 1, math.ceil((1 - share) * (KEPT - 1)))
        return np.asarray(self.quantiles[:, place])

    def arrays(self) -> dict[str, np.ndarray]:
        """As plain arrays."""
        return {"quantiles": self.quantiles, "excess": self.excess, "n": np.array(self.n)}

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Tails:
        """The inverse of `arrays`."""
        return cls(np.asarray(arrays["quantiles"]), np.asarray(arrays["excess"]), int(arrays["n"]))
