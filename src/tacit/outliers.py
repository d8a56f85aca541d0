"""Is this item like those that the encoder knew? Distances to known features, calibrated on held-out ones, and how well they detect.

Use the features of the pretrained encoder: fine-tuning on labels makes distances blind to what the labels do not ask about
(arXiv:2603.11269). Scoring needs NumPy alone; fitting needs scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tacit.conformal import fewest
from tacit.errors import Asked, BadData, nearest
from tacit.statistics import interval

KEPT = 1001  # quantiles of each score on held-out items
CHUNK = 4_000_000  # numbers in the largest array of one step
CONVENTION = (
    "higher scores are stranger; fpr95: outside is the positive class, share of inside items flagged where 95 % of outside "
    "items are caught (OpenOOD); fpr95_in: inside is the positive class, share of outside items accepted where 95 % of inside items are "
    "accepted (ODIN)"
)


@dataclass(frozen=True, eq=False)
class Reference:
    """What known items look like, as plain arrays; made by `fit`.

    bank: directions of known items, float32 [m, D], of length 1. rows: int64 [m], which rows of the data they were. k: neighbours that
    the kNN score looks at. mean: float32 [D]. whiten: float32 [D, D], (z - mean) @ whiten has unit covariance. centres: float32 [C, D],
    class means whitened by whiten_within, the same for the covariance inside classes; both have no rows without labels.
    held: number of items it was calibrated on, 0 = it was not. quantiles: of each score on these, ascending.
    """

    bank: np.ndarray
    rows: np.ndarray
    k: int
    mean: np.ndarray
    whiten: np.ndarray
    centres: np.ndarray
    whiten_within: np.ndarray
    held: int = 0
    quantiles: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def fit(cls, z: np.ndarray, labels: np.ndarray | None = None, *, most: int = 20_000, seed: int = 0) -> Reference:
        """z: features of known items [n, D]. labels: int64 [n], -1 = none; with two classes or more there is a "relative" score.

        most: items that are kept, drawn without replacement by the seed where there are more. The kNN score takes min(50, sqrt(n))
        neighbours. Raises BadData where there is no item or a value is not finite.
        """
        z = _features(z)
        if not len(z):
            raise BadData("there is no known item to compare with", "fit the reference on the items the encoder was trained on")
        rows = np.arange(len(z))
        if len(z) > most:
            rows = np.sort(np.random.default_rng(seed).choice(len(z), most, replace=False))
        z = z[rows].astype(np.float64)
        mean = z.mean(0)
        whiten = _whitening(z - mean)
        own = np.full(len(z), -1) if labels is None else np.asarray(labels)[rows]
        centres, whiten_within = _classes(z - mean, own, whiten)
        return cls(
            bank=_unit(z),
            rows=rows.astype(np.int64),
            k=min(50, math.isqrt(len(z))),
            mean=mean.astype(np.float32),
            whiten=whiten.astype(np.float32),
            centres=centres.astype(np.float32),
            whiten_within=whiten_within.astype(np.float32),
        )

    def score(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """How strange items are by each score, float64 [n]; larger = stranger. An item that was fitted on is its own nearest neighbour.

        "knn": distance on the unit sphere to the k-th nearest known item (Sun et al. 2022, arXiv:2204.06507).
        "mahalanobis": squared, to the one Gaussian of all known items, its covariance shrunk by Ledoit and Wolf.
        "relative", with labels: squared distance to the nearest class, all sharing the covariance inside classes, minus "mahalanobis"
        (Ren et al. 2021, arXiv:2106.09022).

        z: features [n, D].
        """
        z = _features(z, self.bank.shape[1])
        found: dict[str, np.ndarray] = {name: np.empty(len(z)) for name in self.names}
        found["knn"] = np.sqrt(self._nearest(z, self.k)[1][:, -1])
        for part in _chunks(len(z), max(z.shape[1], len(self.centres))):
            centred = z[part] - self.mean.astype(np.float64)
            found["mahalanobis"][part] = ((centred @ self.whiten) ** 2).sum(1)
            if len(self.centres):
                within, centres = centred @ self.whiten_within, self.centres.astype(np.float64)
                squared = (within**2).sum(1)[:, None] - 2 * within @ centres.T + (centres**2).sum(1)
                found["relative"][part] = squared.min(1) - found["mahalanobis"][part]
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The scores that there are."""
        return ("knn", "mahalanobis", "relative") if len(self.centres) else ("knn", "mahalanobis")

    def neighbours(self, z: np.ndarray, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The known items most like each of z [n, D], nearest first: (rows of the data int64 [n, k], cosine float64 [n, k]).

        Exact. k: how many; fewer where fewer are known.
        """
        z = _features(z, self.bank.shape[1])
        near, squared = self._nearest(z, min(k, len(self.bank)))
        lengths = np.asarray(z.any(1), dtype=np.float64)[:, None] + np.asarray(self.bank.any(1))[near]  # 1 + 1, unless one is all zeros
        return self.rows[near], (lengths - squared) / 2

    def calibrated(self, z: np.ndarray) -> Reference:
        """The same reference that knows how its scores are spread on items that it was not fitted on, but that are of the same kind.

        z: their features [n, D]; n > 0.
        """
        scores = self.score(z)
        n = len(z)
        if not n:
            raise BadData("there is no held-out item to calibrate on", "hold some items out of the fit")
        kept = min(n, KEPT)
        # Order statistics, not interpolated: at least a share (i + 1) / kept of the items lies at or below the i-th
        place = -(-(np.arange(kept) + 1) * n // kept) - 1
        return replace(self, held=n, quantiles={name: np.sort(values)[place] for name, values in scores.items()})

    def rank(self, name: str, values: np.ndarray) -> np.ndarray:
        """Share of held-out items of the known kind that are less strange than values [n] of the score `name`; float64 [n], 0..1."""
        quantiles = self._quantiles(name)
        return np.searchsorted(quantiles, values, side="left") / len(quantiles)

    def strange(self, z: np.ndarray, false_alarm: float = 0.05, *, by: str = "knn") -> np.ndarray:
        """Which items are too strange to be of the known kind, bool [n]; never any where fewer than 1 / false_alarm - 1 were held out.

        z: features [n, D]. false_alarm: at most this share of items of the known kind is called strange, on average. by: the score.
        """
        quantiles = self._quantiles(by)
        if self.held < fewest(false_alarm):
            return np.zeros(len(z), dtype=bool)
        place = math.ceil((self.held + 1) * (1 - false_alarm) - 1e-9)
        bound = quantiles[-(-place * len(quantiles) // self.held) - 1]
        above: np.ndarray = self.score(z)[by] > bound
        return above

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, for an .npz file; `from_arrays` reads it back, with the same scores to the bit."""
        plain = {name: np.asarray(getattr(self, name)) for name in PLAIN}
        return plain | {f"quantiles.{name}": values for name, values in self.quantiles.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Reference:
        """arrays: from `arrays`, or an open .npz file. Raises BadData where something is missing."""
        if missing := [name for name in PLAIN if name not in arrays]:
            raise BadData(f"the reference of known items lacks {', '.join(missing)}", "another version wrote it; make it anew")
        plain: dict[str, Any] = {name: np.asarray(arrays[name]) for name in PLAIN}
        quantiles = {name.removeprefix("quantiles."): np.asarray(arrays[name]) for name in arrays if name.startswith("quantiles.")}
        return cls(**plain | {"k": int(plain["k"]), "held": int(plain["held"])}, quantiles=quantiles)

    def _nearest(self, z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of the bank: places int64 [n, k], and squared distances float64 [n, k], ascending."""
        near, squared = np.empty((len(z), k), dtype=np.int64), np.empty((len(z), k))
        # Seen from their middle: where all directions are almost the same, float32 would see no difference between cosines
        middle = self.bank.mean(0, dtype=np.float64)
        bank = (self.bank - middle).astype(np.float32)
        length = (bank**2).sum(1) / 2
        for part in _chunks(len(z), max(len(self.bank), k * z.shape[1])):
            unit = _unit(z[part]).astype(np.float64)
            farness = length - (unit - middle).astype(np.float32) @ bank.T
            most = np.argpartition(farness, k - 1, axis=1)[:, :k]
            exact = ((unit[:, None] - self.bank[most]) ** 2).sum(2)
            order = np.lexsort((most, exact))
            near[part], squared[part] = np.take_along_axis(most, order, axis=1), np.take_along_axis(exact, order, axis=1)
        return near, squared

    def _quantiles(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise Asked(f"there is no score {name!r} of strangeness", nearest(name, self.names))
        if name not in self.quantiles:
            raise Asked("this reference was not calibrated", "call calibrated(z) with items that it was not fitted on")
        return self.quantiles[name]


PLAIN = ("bank", "rows", "k", "mean", "whiten", "centres", "whiten_within", "held")


def detection(inside: np.ndarray, outside: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """How well a score tells known items from strange ones.

    auroc: chance that an outside item scores higher than an inside one, ties count half; low, high: its 95 % interval by bootstrap over
    both; aupr_out, aupr_in: average precision with outside, or inside, as what is looked for; fpr95, fpr95_in: see convention; n_in, n_out.

    inside, outside: scores of strangeness [n], [m]. resamples: bootstrap draws. Raises BadData where one is empty or not a number.
    """
    inside, outside = np.asarray(inside, dtype=np.float64), np.asarray(outside, dtype=np.float64)
    if not len(inside) or not len(outside) or np.isnan(inside).any() or np.isnan(outside).any():
        raise BadData("detection needs scores of both known and strange items, all of them numbers", "check what was embedded")
    values, place = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    n, m = len(inside), len(outside)
    a, b = (np.bincount(part, minlength=len(values)) for part in (place[:n], place[n:]))
    rng = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for i in range(resamples):
        again = (np.bincount(part[rng.integers(0, len(part), len(part))], minlength=len(values)) for part in (place[:n], place[n:]))
        draws[i] = _auroc(*again)
    low, high = interval(draws)
    return {
        "auroc": _auroc(a, b),
        "low": low,
        "high": high,
        "aupr_out": _precision(b[::-1], a[::-1]),
        "aupr_in": _precision(a, b),
        "fpr95": _false_positives(b[::-1], a[::-1]),
        "fpr95_in": _false_positives(a, b),
        "n_in": n,
        "n_out": m,
        "convention": CONVENTION,
    }


# a, b: how many inside and outside items have each value, ascending; wanted, other: the same with the wanted class's end first
def _auroc(a: np.ndarray, b: np.ndarray) -> float:
    below = a.cumsum() - a / 2
    return float((below * b).sum() / (a.sum() * b.sum()))


def _precision(wanted: np.ndarray, other: np.ndarray) -> float:
    """Average precision: precision at every value, weighted by the recall that it adds."""
    found = wanted.cumsum()
    return float((wanted * (found / np.maximum(found + other.cumsum(), 1))).sum() / wanted.sum())


def _false_positives(wanted: np.ndarray, other: np.ndarray, recall: float = 0.95) -> float:
    first = np.argmax(wanted.cumsum() >= recall * wanted.sum() - 1e-9)
    return float(other.cumsum()[first] / other.sum())


def _classes(centred: np.ndarray, labels: np.ndarray, whiten: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class means [C, D] whitened by the second, which whitens the deviations from them; nothing where there are no two classes."""
    known, own = np.unique(labels[labels >= 0], return_inverse=True)
    if len(known) < 2:
        return np.empty((0, len(whiten))), np.empty((0, len(whiten)))
    z = centred[labels >= 0]
    means = np.zeros((len(known), len(whiten)))
    np.add.at(means, own, z)
    means /= np.bincount(own)[:, None]
    freedom = len(z) - len(known)
    # As many means were estimated as there are classes; with one item in each there is nothing left to estimate a spread from
    within = _whitening((z - means[own]) * np.sqrt(len(z) / freedom)) if freedom else whiten
    return means @ within, within


def _whitening(centred: np.ndarray) -> np.ndarray:
    """The matrix [D, D] after which rows of this kind [n, D] have unit covariance, by Ledoit and Wolf's estimate."""
    from sklearn.covariance import ledoit_wolf

    if not centred.any():  # one item, or identical ones: the plain distance is all there is
        return np.eye(centred.shape[1])
    values, axes = np.linalg.eigh(ledoit_wolf(centred, assume_centered=True)[0])
    return axes / np.sqrt(np.maximum(values, values[-1] * 1e-8))


def _features(z: np.ndarray, width: int = 0) -> np.ndarray:
    z = np.asarray(z)
    if z.ndim != 2 or (width and z.shape[1] != width):
        raise BadData(f"features have the shape {z.shape}, not [n, {width or 'D'}]", "use the encoder that the reference was fitted with")
    if not np.isfinite(z).all():
        raise BadData("a feature is not a finite number", "the model has diverged, or its input held missing values")
    return z


def _unit(z: np.ndarray) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    return (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float64).tiny)).astype(np.float32)


def _chunks(n: int, wide: int) -> Iterator[slice]:
    step = max(1, CHUNK // max(wide, 1))
    yield from (slice(start, start + step) for start in range(0, n, step))
