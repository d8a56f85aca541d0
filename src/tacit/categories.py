"""What heads that give a class share: its probability, and the set of classes that cannot be ruled out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tacit import calibration, conformal
from tacit.evaluation.probes.linear import Linear
from tacit.head import Decided, Head
from tacit.later import later
from tacit.types import Fraction

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tacit import losses
else:
    torch, losses = later("torch"), later("tacit.losses")

ABSENT = -30.0  # log-odds of a class that was never seen: as good as none, and finite


class Category(Head):
    """A head with one class of several as its answer.

    weights: "balanced" lets every class count as much as any other, however rare it is. smoothing: label smoothing of the fine-tuning.
    sets: how the sets are formed, "lac" (smallest on average) or "aps" (as good on hard ones as on easy ones).
    """

    source = "temperature: Guo et al. 2017, arXiv:1706.04599; sets: arXiv:1609.00451 (Sadinle), arXiv:2006.02544 (Romano)"
    metrics = ("accuracy", "balanced_accuracy", "nll", "brier", "ece")

    def __init__(
        self,
        classes: tuple[str, ...] = (),
        *,
        weights: Literal["none", "balanced"] = "none",
        smoothing: Fraction = 0.0,
        sets: Literal["lac", "aps"] = "lac",
    ) -> None:
        super().__init__(classes)
        self.weights, self.smoothing, self.kind = weights, smoothing, sets
        self.share: np.ndarray | None = None

    def prepare(self, y: np.ndarray) -> None:
        count = np.bincount(y[y >= 0], minlength=len(self.classes)).astype(np.float64)
        present = count > 0
        self.share = np.where(present, count.sum() / np.maximum(count, 1) / max(1, present.sum()), 0.0)

    def strata(self, y: np.ndarray) -> np.ndarray | None:
        return y

    def probe(self, f: np.ndarray, y: np.ndarray, *, small: bool, seed: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        fitted = Linear(few=self.few).fit(f, y, len(self.classes), small=small, seed=seed, groups=groups)
        weight, bias = fitted.coefficients()
        bias = np.where(np.isfinite(bias), bias, ABSENT)
        if self.weights == "balanced" and len(np.unique(y)) > 1:
            from sklearn.linear_model import LogisticRegression

            again = LogisticRegression(C=fitted.chosen, class_weight="balanced", max_iter=1000).fit(f, y)
            rows = again.coef_ if len(again.classes_) > 2 else np.concatenate([-again.coef_, again.coef_]) / 2
            lift = again.intercept_ if len(again.classes_) > 2 else np.concatenate([-again.intercept_, again.intercept_]) / 2
            weight[:, again.classes_], bias[again.classes_] = rows.T, lift
        return weight, bias

    def loss(self, out: Tensor, answer: Tensor) -> Tensor:
        if self.weights == "none" or self.share is None:
            return losses.cross_entropy(out, answer, self.smoothing)
        each = torch.nn.functional.cross_entropy(out.float(), answer.clamp(min=0), label_smoothing=self.smoothing, reduction="none")
        weight = torch.as_tensor(self.share, dtype=torch.float32, device=out.device)[answer.clamp(min=0)] * (answer >= 0)
        return (each * weight).sum() / weight.sum().clamp(min=1e-12)

    def calibrate(self, out: np.ndarray, y: np.ndarray, alpha: float) -> dict[str, Any]:
        t = calibration.temperature(out, y)
        # without the temperature, which has seen these answers
        limit = conformal.threshold(calibration.softmax(out), y, alpha, self.kind)
        return {"temperature": t, "sets": self.kind, "threshold": limit if np.isfinite(limit) else None, "alpha": alpha, "n": len(y)}

    def decide(self, out: np.ndarray, calibration_: Mapping[str, Any], lengths: np.ndarray | None = None) -> Decided:
        p = calibration.softmax(out, calibration_.get("temperature", 1.0))
        best = p.argmax(1)
        columns: dict[str, Any] = {"prediction": [self.classes[k] for k in best], "probability": p[np.arange(len(p)), best]}
        if "alpha" not in calibration_:
            return Decided(columns, np.zeros(len(p), bool), [""] * len(p), "no set of possible classes: too few labels to calibrate with")
        held = self._sets(out, calibration_)
        held[np.arange(len(p)), best] = True  # exact sets may be empty where a model is right more often than promised; shown ones are not
        columns["set"] = [[self.classes[k] for k in np.flatnonzero(row)] for row in held]
        size = held.sum(1)
        why = ["" if n == 1 else f"{n} classes are possible" for n in size]
        about = "about" if calibration_.get("crossed") else "at least"
        promise = f"the set holds the true class for {about} {1 - calibration_['alpha']:.0%} of items like those calibrated with"
        return Decided(columns, size != 1, why, promise)

    def _sets(self, out: np.ndarray, calibration_: Mapping[str, Any]) -> np.ndarray:
        limit = calibration_["threshold"]
        return conformal.sets(calibration.softmax(out), np.inf if limit is None else limit, calibration_.get("sets", self.kind))

    def scores(self, out: np.ndarray, y: np.ndarray, calibration_: Mapping[str, Any]) -> dict[str, float]:
        p = calibration.softmax(out, calibration_.get("temperature", 1.0))
        guess = p.argmax(1)
        right = guess == y
        recall = [float(right[y == k].mean()) for k in np.unique(y)]
        found = {"accuracy": float(right.mean()), "balanced_accuracy": float(np.mean(recall))}
        found |= {"nll": calibration.nll(p, y), "brier": calibration.brier(p, y), "ece": calibration.ece(p.max(1), right)}
        plain = calibration.softmax(out)
        found["ece_before"] = calibration.ece(plain.max(1), right)
        if "alpha" in calibration_:
            held = self._sets(out, calibration_)
            found["coverage"] = conformal.coverage(held, y)
            held[np.arange(len(p)), guess] = True
            found |= {"coverage_shown": conformal.coverage(held, y), "set_size": conformal.size(held)}
        return found
