"""A number for every item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tacit import conformal
from tacit.head import Decided
from tacit.quantities import Quantity


class Regression(Quantity):
    """A number, with an interval that holds the true one as often as promised."""

    source = "intervals: Lei et al. 2018, arXiv:1604.04173"
    metrics = ("r2", "rmse", "mae")

    def calibrate(self, out: np.ndarray, y: np.ndarray, alpha: float) -> dict[str, Any]:
        half = conformal.width(np.abs(self.values(out) - y), alpha)
        return {"half": half if np.isfinite(half) else None, "alpha": alpha, "n": len(y)}

    def decide(self, out: np.ndarray, calibration: Mapping[str, Any], lengths: np.ndarray | None = None) -> Decided:
        value = self.values(out)
        columns: dict[str, Any] = {"prediction": value}
        known = "alpha" in calibration and calibration["half"] is not None
        if known:
            columns |= {"low": value - calibration["half"], "high": value + calibration["half"]}
            promise = f"the interval holds the true number for {1 - calibration['alpha']:.0%} of items like those calibrated with"
        else:
            promise = "no interval: too few labels to calibrate with"
        return Decided(columns, np.zeros(len(value), bool), [""] * len(value), promise)

    def scores(self, out: np.ndarray, y: np.ndarray, calibration: Mapping[str, Any]) -> dict[str, float]:
        value, y = self.values(out), y.astype(np.float64)
        error = (value - y) / self.unit
        spread = float((((y - y.mean()) / self.unit) ** 2).mean())
        square = float((error**2).mean())
        found = {"r2": 1 - square / spread if spread else float("nan"), "rmse": square**0.5 * self.unit}
        found["mae"] = float(np.abs(error).mean()) * self.unit
        if calibration.get("half") is not None:
            found["coverage"] = float((np.abs(value - y) <= calibration["half"]).mean())
        return found
