"""How alike two items are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tacit import calibration, conformal
from tacit.head import Decided
from tacit.quantities import Quantity


class Similarity(Quantity):
    """How alike two items are: a number that is learned from pairs with one, such as 0 and 1, or 0 to 5.

    It reads the product and the distance of the two embeddings, so that the order of the pair does not matter.
    """

    source = "features of a pair: Conneau et al. 2017, arXiv:1705.02364, without the concatenation, which is not symmetric"
    level = "pair"
    metrics = ("spearman", "rmse")

    def calibrate(self, out: np.ndarray, y: np.ndarray, alpha: float) -> dict[str, Any]:
        half = conformal.width(np.abs(self.values(out) - y), alpha)
        found: dict[str, Any] = {"half": half if np.isfinite(half) else None, "alpha": alpha, "n": len(y)}
        if set(np.unique(y)) == {0.0, 1.0}:  # pairs that match or do not
            logits = (self.values(out) - 0.5)[:, None] * np.array([[-1.0, 1.0]])
            found["temperature"] = calibration.temperature(logits, y.astype(np.int64))
        return found

    def decide(self, out: np.ndarray, calibration_: Mapping[str, Any], lengths: np.ndarray | None = None) -> Decided:
        value = self.values(out)
        columns: dict[str, Any] = {"prediction": value}
        if "temperature" in calibration_:
            columns["probability"] = calibration.sigmoid(2 * (value - 0.5) / calibration_["temperature"])
        promise = "no interval: too few pairs to calibrate with"
        if calibration_.get("half") is not None:
            columns |= {"low": value - calibration_["half"], "high": value + calibration_["half"]}
            promise = f"the interval holds the true number for {1 - calibration_['alpha']:.0%} of pairs like those calibrated with"
        return Decided(columns, np.zeros(len(value), bool), [""] * len(value), promise)

    def scores(self, out: np.ndarray, y: np.ndarray, calibration_: Mapping[str, Any]) -> dict[str, float]:
        from scipy.stats import spearmanr

        value = self.values(out)
        varied = np.ptp(value) > 0 and np.ptp(y) > 0
        found = {"spearman": float(spearmanr(value, y).statistic) if varied else float("nan")}
        found["rmse"] = float(((value - y) ** 2).mean() ** 0.5)
        if calibration_.get("half") is not None:
            found["coverage"] = float((np.abs(value - y) <= calibration_["half"]).mean())
        return found
