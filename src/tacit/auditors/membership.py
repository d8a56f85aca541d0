"""Membership inference: what an encoder does with an item that it learned from, and with one that it never saw."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.auditors.rates import auc
from tacit.statistics import interval

TIMES, RARE = 500, 5000


@dataclass(frozen=True)
class Attack:
    """auc with its 95 % interval; tpr: share of members caught at 1 % false alarms, with its interval; tpr_rare: at 0.1 %, None with fewer
    than 5,000 others. tested: positions of the items that the attack did not learn from; member: bool of them; score: higher = rather a
    member; bound: the score at 1 % false alarms. n: items tested."""

    auc: float
    low: float
    high: float
    tpr: float
    tpr_low: float
    tpr_high: float
    tpr_rare: float | None
    balanced: float
    n: int
    tested: np.ndarray
    member: np.ndarray
    score: np.ndarray
    bound: float

    def plain(self) -> dict[str, Any]:
        """Plain JSON without the single items."""
        return {k: getattr(self, k) for k in ("auc", "low", "high", "tpr", "tpr_low", "tpr_high", "tpr_rare", "balanced", "n")}


def signs(asks: Mapping[str, Callable[..., Any]], rows: np.ndarray, draws: int, which: str = "") -> dict[str, np.ndarray]:
    """What gives members away, attack -> float64 [n, k]; which: "" or "control ", for whose answers to ask."""
    z = asks[f"{which}views"](rows, draws)  # [n, draws, D]
    unit = z / np.maximum(np.linalg.norm(z, axis=2, keepdims=True), 1e-12)
    alike = np.einsum("nad,nbd->nab", unit, unit)[:, *np.triu_indices(draws, 1)]
    out = {"consistency": np.stack([alike.mean(1), alike.std(1), alike.min(1), np.linalg.norm(z, axis=2).mean(1)], 1)}
    if f"{which}parts" in asks and (parts := asks[f"{which}parts"](rows, draws)) is not None:
        out["parts"] = parts
    if f"{which}losses" in asks and (loss := asks[f"{which}losses"](rows)) is not None:
        out["loss"] = loss[:, None]
    return {k: np.nan_to_num(np.asarray(v, np.float64)) for k, v in out.items()}


def attack(found: Mapping[str, np.ndarray], inside: np.ndarray, seed: int = 0) -> dict[str, Attack]:
    """Attack -> how well it tells members; "all" uses every sign. found: attack -> [n, k]. inside: bool [n], the members."""
    rng = np.random.default_rng([seed, 818])
    order = np.concatenate([rng.permutation(np.flatnonzero(inside == side)) for side in (True, False)])
    learn = np.zeros(len(inside), bool)
    for side in (True, False):
        at = order[inside[order] == side]
        learn[at[: len(at) // 2]] = True
    every = {**found, **({"all": np.concatenate(list(found.values()), 1)} if len(found) > 1 else {})}
    return {name: _attack(x, inside, learn, rng) for name, x in every.items()}


def _attack(x: np.ndarray, inside: np.ndarray, learn: np.ndarray, rng: np.random.Generator) -> Attack:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=500)).fit(x[learn], inside[learn])
    tested = np.flatnonzero(~learn)
    score, member = fitted.decision_function(x[tested]), inside[tested]
    first = score - score.mean()  # a constant score is a guess
    score = np.where(np.abs(first) < 1e-12, 0.0, first)
    draws, caught = [], []
    yes, no = np.flatnonzero(member), np.flatnonzero(~member)
    for _ in range(TIMES):
        a, b = score[rng.choice(yes, len(yes))], score[rng.choice(no, len(no))]
        draws.append(auc(np.concatenate([a, b]), np.arange(len(a) + len(b)) < len(a)))
        caught.append(float((a > np.quantile(b, 0.99, method="higher")).mean()))
    bound = float(np.quantile(score[~member], 0.99, method="higher"))
    rare = None
    if len(no) >= RARE:
        rare = float((score[member] > np.quantile(score[~member], 0.999, method="higher")).mean())
    half = ((score[member] > 0).mean() + (score[~member] <= 0).mean()) / 2
    return Attack(
        auc(score, member), *interval(np.array(draws)), float((score[member] > bound).mean()), *interval(np.array(caught)), rare,
        float(half), len(tested), tested, member, score, bound,
    )  # fmt: skip
