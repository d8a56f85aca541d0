"""Any number of labels for every item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tacit import calibration, conformal
from tacit.evaluation.probes.linear import Linear
from tacit.head import Decided, Head
from tacit.later import later

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = later("torch")

NEVER = -10.0  # log-odds of a label that no item learned from has


class Multilabel(Head):
    """Any number of labels an item, each with its probability; a label may be unknown (NaN) for some items.

    weights: "balanced" lets the items that have a label count as much as those that do not.
    """

    source = "one sigmoid a label; possible labels: a conformal threshold on the items that have it, a label at a time"
    metrics = ("average_precision", "f1", "accuracy", "nll", "brier", "ece")
    mixes = True

    def __init__(self, classes: tuple[str, ...] = (), *, weights: Literal["none", "balanced"] = "none") -> None:
        super().__init__(classes)
        self.weights = weights
        self.lift: np.ndarray | None = None

    def known(self, y: np.ndarray) -> np.ndarray:
        return np.isfinite(y).any(1)

    def prepare(self, y: np.ndarray) -> None:
        have, lack = (y == 1).sum(0), (y == 0).sum(0)
        self.lift = np.where((have > 0) & (lack > 0), lack / np.maximum(have, 1), 1.0)

    def probe(self, f: np.ndarray, y: np.ndarray, *, small: bool, seed: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        weight, bias = np.zeros((f.shape[1], self.outputs)), np.zeros(self.outputs)
        for k in range(self.outputs):
            rows = np.flatnonzero(np.isfinite(y[:, k]))
            have = y[rows, k].astype(np.int64)
            if len(np.unique(have)) < 2:
                bias[k] = -NEVER if len(have) and have[0] else NEVER
                continue
            own = None if groups is None else groups[rows]
            w, b = Linear(few=self.few).fit(f[rows], have, 2, small=small, seed=seed, groups=own).coefficients()
            weight[:, k], bias[k] = w[:, 1] - w[:, 0], b[1] - b[0]
            if self.weights == "balanced" and self.lift is not None:
                bias[k] += np.log(self.lift[k])  # odds as if both were equally frequent (Menon et al. 2021, arXiv:2007.07314)
        return weight, bias

    def loss(self, out: Tensor, answer: Tensor) -> Tensor:
        known = answer.isfinite()
        lift = None
        if self.weights == "balanced" and self.lift is not None:
            lift = torch.as_tensor(self.lift, dtype=torch.float32, device=out.device)
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            out.float(), answer.nan_to_num().float(), pos_weight=lift, reduction="none"
        )
        return (each * known).sum() / known.sum().clamp(min=1)

    def calibrate(self, out: np.ndarray, y: np.ndarray, alpha: float) -> dict[str, Any]:
        t = calibration.temperature(out, y)
        p = calibration.sigmoid(out / t)
        limits = [conformal.quantile(1 - p[y[:, k] == 1, k], alpha) for k in range(self.outputs)]
        return {"temperature": t, "limits": [v if np.isfinite(v) else None for v in limits], "alpha": alpha, "n": len(y)}

    def decide(self, out: np.ndarray, calibration_: Mapping[str, Any], lengths: np.ndarray | None = None) -> Decided:
        p = calibration.sigmoid(out / calibration_.get("temperature", 1.0))
        said = p >= 0.5
        columns: dict[str, Any] = {"prediction": [self._names(row) for row in said]}
        columns |= {f"probability:{name}": p[:, k] for k, name in enumerate(self.classes)}
        if "alpha" not in calibration_:
            return Decided(columns, np.zeros(len(p), bool), [""] * len(p), "no possible labels: too few labels to calibrate with")
        limits = np.array([np.inf if v is None else v for v in calibration_["limits"]])
        possible = 1 - p <= limits
        columns["set"] = [self._names(row) for row in possible]
        promise = f"each label that an item has is in its set with {1 - calibration_['alpha']:.0%} probability"
        return Decided(columns, np.zeros(len(p), bool), [""] * len(p), promise)

    def _names(self, row: np.ndarray) -> list[str]:
        return [self.classes[k] for k in np.flatnonzero(row)]

    def scores(self, out: np.ndarray, y: np.ndarray, calibration_: Mapping[str, Any]) -> dict[str, float]:
        from sklearn.metrics import average_precision_score

        p, known = calibration.sigmoid(out / calibration_.get("temperature", 1.0)), np.isfinite(y)
        precisions, f1 = [], []
        for k in range(self.outputs):
            truth, q = y[known[:, k], k] == 1, p[known[:, k], k]
            if truth.any() and not truth.all():
                precisions.append(float(average_precision_score(truth, q)))
            if truth.any() or (q >= 0.5).any():
                f1.append(float(2 * (truth & (q >= 0.5)).sum() / (truth.sum() + (q >= 0.5).sum())))
        q, truth = p[known], y[known] == 1
        right = (q >= 0.5) == truth
        tiny = np.finfo(np.float64).tiny
        found = {"average_precision": float(np.mean(precisions)) if precisions else float("nan")}
        found |= {"f1": float(np.mean(f1)) if f1 else float("nan"), "accuracy": float(right.mean())}
        found["nll"] = float(-np.log(np.maximum(np.where(truth, q, 1 - q), tiny)).mean())
        found |= {"brier": float(((q - truth) ** 2).mean()), "ece": calibration.ece(np.maximum(q, 1 - q), right)}
        if "alpha" in calibration_:
            limits = np.array([np.inf if v is None else v for v in calibration_["limits"]])
            found["coverage"] = float((1 - p <= limits)[y == 1].mean()) if (y == 1).any() else float("nan")
        return found
