"""Metrics of predictions on the test items, with intervals; all share one set of bootstrap resamples, so differences are paired."""

from __future__ import annotations

import numpy as np

from tacit.statistics import Resampler, interval, wilson


class Scorer:
    """accuracy for classes; r2 and rmse for numbers. The first metric is the one that the verdict uses."""

    def __init__(self, y_test: np.ndarray, regression: bool, *, resamples: int = 2000, seed: int = 0) -> None:
        """y_test: true classes or numbers [n]. resamples: bootstrap draws. seed: of the draws."""
        self.y, self.regression = y_test, regression
        # numbers are compared in units of their own deviation: squares of very small or large ones leave float32
        self._unit = (float(np.std(y_test)) or 1.0) if regression and len(y_test) else 1.0
        self.metrics = ("r2", "rmse") if regression else ("accuracy",)
        self.n = len(y_test)
        self._sampler = Resampler(self.n, resamples=resamples, seed=seed)
        if regression and self.n:
            # of all test items: that of a resample of few items may be almost nothing, and R2 would have no bounds
            self._variance = float((y_test.astype(np.float64) / self._unit).var())

    def each(self, metric: str, predicted: np.ndarray) -> np.ndarray:
        """The metric of every run: predicted [runs, n] -> [runs]."""
        if metric == "accuracy":
            return (predicted == self.y).mean(1)
        error = self._squares(predicted).mean(1)
        return np.sqrt(error) * self._unit if metric == "rmse" else 1 - error / max(self._variance, 1e-300)

    def draws(self, metric: str, predicted: np.ndarray) -> np.ndarray:
        """The metric of every run on every resample of the test items: [runs, resamples]."""
        if metric == "accuracy":
            return self._sampler.means(predicted == self.y)
        error = self._sampler.means(self._squares(predicted))
        return np.sqrt(error) * self._unit if metric == "rmse" else 1 - error / max(self._variance, 1e-300)

    def _squares(self, predicted: np.ndarray) -> np.ndarray:
        return ((np.asarray(predicted, np.float64) - self.y) / self._unit) ** 2

    def discordant(self, ours: np.ndarray, other: np.ndarray) -> int:
        """Test items on which the two differ over all runs: right more often, or (numbers) nearer."""
        if self.regression:
            return int((self._squares(ours).mean(0) != self._squares(other).mean(0)).sum())
        return int(((ours == self.y).sum(0) != (other == self.y).sum(0)).sum())

    def score(self, metric: str, predicted: np.ndarray) -> tuple[float, float, float]:
        """(value, low, high) of one representation, runs and items resampled; predicted [runs, n]."""
        value = float(self.each(metric, predicted).mean())
        low, high = interval(self._sampler.over_runs(self.draws(metric, predicted)))
        if metric == "accuracy" and low == high:
            low, high = wilson(value, self.n)
        least, most = {"accuracy": (0.0, 1.0), "r2": (-np.inf, 1.0), "rmse": (0.0, np.inf)}[metric]
        return value, max(low, least), min(high, most)

    def difference(self, ours: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
        """(difference, low, high) in the first metric; the same runs (label seeds) of both, [runs, n]."""
        metric = self.metrics[0]
        value = float((self.each(metric, ours) - self.each(metric, other)).mean())
        draws = self._sampler.over_runs(self.draws(metric, ours) - self.draws(metric, other))
        return value, *interval(draws)
