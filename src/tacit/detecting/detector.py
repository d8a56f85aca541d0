"""What is unusual, and why: surprise of a network that fills in and distances in the embedding, calibrated on held-out normal items."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tacit.data.dataset import Dataset
from tacit.detecting.distances import Distances
from tacit.detecting.filler import Filler, wide
from tacit.detecting.tails import Tails
from tacit.embedding.model import Model
from tacit.errors import Asked, BadData, TacitError
from tacit.reasons import Strange

FORMAT = 2
SCORES = ("surprise", "cell", "knn", "mahalanobis")
WEIGHTS = (1, 2, 1, 1)  # the others hardly see a single wrong cell among many: docs/decisions.md
PLACES = 500  # held-out items from which on every place of a grid has tails of its own
LEAST = 20  # held-out normal items that a false-alarm rate can be read from
CHUNK = 4096  # items at once
SUSPECTS = 6  # cells that may be the one that is wrong
MOST = 20_000  # normal items that are held out to calibrate, at most


@dataclass
class Detector:
    """Scores items and says why they are flagged.

    model: the run's. filler: fills in hidden cells. reference: what normal items look like in the embedding. cells: tails of the
    surprise of each cell. tails: of SCORES. final: of the score that decides. about: what a person may want to know, plain JSON.
    """

    model: Model
    filler: Filler
    reference: Distances
    cells: Tails
    tails: Tails
    final: Tails
    about: dict[str, Any]

    @classmethod
    def fit(
        cls,
        model: Model,
        data: Dataset,
        rows: np.ndarray,
        held: np.ndarray,
        *,
        steps: int = 0,
        seed: int = 0,
        say: Callable[[str], None] | None = None,
    ) -> Detector:
        """Learn what is normal.

        rows: normal items to learn from (a few strange ones among them do little harm). held: normal items to calibrate on. steps: of
        the network that fills in, 0 = by the number of items. Raises BadData with too few items.
        """
        say = say or (lambda words: None)
        if len(held) < LEAST or len(rows) < LEAST:
            raise BadData(
                f"{len(rows)} normal items to learn from and {len(held)} to calibrate on are too few",
                f"at least {LEAST} of each are needed; give more data, or another --split",
            )
        if len(held) > MOST:
            held = np.sort(np.random.default_rng([seed, 909]).choice(held, MOST, replace=False))
        filler = Filler.fresh(model, seed)
        say(f"learning what stands where in {len(rows):,} {model.modality.unit}")
        seconds = filler.learn(
            data, rows, steps=steps, seed=seed, show=lambda step, total, loss: say(f"step {step}/{total}  loss {loss:.3f}\r")
        )
        reference = Distances.fit(model.vectors(*data.some(rows[:: max(1, len(rows) // MOST)])))
        say(f"calibrating on {len(held):,} held-out {model.modality.unit}")
        per_cell = wide([filler.surprise(*data.some(part)) for part in _chunks(held)], np.nan)
        # what has probability p comes up that often: the tail of a surprise in nats is no thinner than an exponential with mean 1
        least = 1.0 if filler.encoder.tokenizer.nats else 0.0
        cells = Tails.fit(per_cell, least)
        if model.modality.layout.ordered:  # places with too few values of their own have those of all together
            cells = cells.shared(Tails.fit(per_cell.reshape(-1, 1), least), (~np.isnan(per_cell)).sum(0) < PLACES)
        z = np.concatenate([model.vectors(*data.some(part)) for part in _chunks(held)])
        raw = _scores(per_cell, cells, *reference.score(z))
        tails = Tails.fit(raw)
        final = Tails.fit(combined(tails.evidence(raw))[:, None])
        about = {"rows": len(rows), "held": len(held), "seconds": round(seconds, 1), "seed": seed, "steps": steps}
        return cls(model, filler, reference, cells, tails, final, about)

    def score(self, x: np.ndarray, lengths: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Each of SCORES, "score" (what decides: larger is stranger) and "rate": how many normal items of one would be as strange.

        x: decoded items [n, ...]; lengths: of ragged items.
        """
        raw = np.zeros((len(x), len(SCORES)))
        for i in range(0, len(x), CHUNK):
            part, long = x[i : i + CHUNK], None if lengths is None else lengths[i : i + CHUNK]
            away = self.reference.score(self.model.vectors(part, long))
            raw[i : i + CHUNK] = _scores(self.filler.surprise(part, long), self.cells, *away)
        total = combined(self.tails.evidence(raw))
        rate = 10.0 ** -self.final.evidence(total[:, None])[:, 0]
        # nothing is known of what comes up less often than once in ten times the held-out items
        rate = np.clip(rate, 0.1 / max(1, self.final.n), 1.0)
        return {**{name: raw[:, i] for i, name in enumerate(SCORES)}, "score": total, "rate": rate}

    def threshold(self, false_alarms: float) -> float:
        """The score that this share of normal items exceeds."""
        return float(self.final.threshold(false_alarms)[0])

    def reasons(self, x: np.ndarray, lengths: np.ndarray | None = None, most: int = 3) -> list[list[str]]:
        """Why items [n, ...] are strange, the strangest part first, in the data's own terms; at most so many reasons each."""
        return [[words for _, words in found] for found in self.parts(x, lengths, most)]

    def parts(self, x: np.ndarray, lengths: np.ndarray | None = None, most: int = 3) -> list[list[tuple[tuple[int, ...], str]]]:
        """The same with the cells that each reason is about."""
        if not len(x):
            return []
        surprise, guess = self.filler.expected(x, lengths)
        evidence = _evidence(self.cells, surprise)
        if not self.model.modality.layout.ordered and evidence.shape[1] > 2:
            evidence = self._culprits(x, evidence)
        grid = self.filler.grid(x)
        modality, tokenizer, cell = self.model.modality, self.filler.encoder.tokenizer, self.filler.encoder.cell
        return [modality.reasons(Strange(np.asarray(x[i]), guess[i], evidence[i], grid, cell, tokenizer), most) for i in range(len(x))]

    def _culprits(self, x: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """The same evidence, with the one cell first that, hidden, leaves the least surprise in the others, and these as they are then.

        A wrong value makes the right ones around it look wrong, often more than itself.
        """
        n = np.arange(len(x))
        first = np.argsort(-evidence, axis=1)[:, :SUSPECTS]
        left = np.full(first.shape, np.inf)
        for k in range(first.shape[1]):
            without = np.zeros(evidence.shape, bool)
            without[n, first[:, k]] = True
            excess = np.nan_to_num(self.filler.surprise(x, None, without, excess=True))
            left[:, k] = np.where(without, 0.0, np.maximum(excess, 0.0)).sum(1)
        culprit = first[n, left.argmin(1)]
        without = np.zeros(evidence.shape, bool)
        without[n, culprit] = True
        rest = np.where(without, 0.0, _evidence(self.cells, self.filler.surprise(x, None, without, excess=True)))
        rest[n, culprit] = np.maximum(evidence[n, culprit], rest.max(1) + 1e-6)
        return np.asarray(rest)

    def save(self, folder: Path) -> None:
        """Write plain files, atomically one by one; detector.json last."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            state = {f"encoder.{k}": v for k, v in self.filler.encoder.state_dict().items()}
            state |= {f"head.{k}": v for k, v in self.filler.head.state_dict().items()}
            beside = folder / f".filler.{os.getpid()}"
            save_file({k: v.detach().cpu().contiguous().clone() for k, v in state.items()}, beside)
            beside.replace(folder / "filler.safetensors")
            arrays = {f"reference.{k}": v for k, v in self.reference.arrays().items()}
            for name in ("cells", "tails", "final"):
                arrays |= {f"{name}.{k}": v for k, v in getattr(self, name).arrays().items()}
            beside = folder / f".detector.{os.getpid()}.npz"
            np.savez(beside, **arrays)  # type: ignore[arg-type]
            beside.replace(folder / "detector.npz")
            beside = folder / f".detector.{os.getpid()}.json"
            beside.write_text(json.dumps({"format": FORMAT, **self.about}, indent=1), encoding="utf-8")
            beside.replace(folder / "detector.json")
        except (OSError, SafetensorError) as error:
            raise TacitError(f"the detector cannot be written to {folder}: {error}", "free some space") from error

    @classmethod
    def load(cls, folder: Path, model: Model) -> Detector:
        """The inverse of `save`. Raises Asked where there is none, TacitError where it is damaged."""
        if not (folder / "detector.json").is_file():
            raise Asked(f"{folder} holds no detector")
        try:
            about = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
            if about.pop("format") != FORMAT:
                raise TacitError(f"the detector in {folder} was written by another version", "remove the folder: it is learned again")
            with np.load(folder / "detector.npz", allow_pickle=False) as stored:
                arrays = {k: stored[k] for k in stored.files}
            filler = Filler.fresh(model)
            state = load_file(folder / "filler.safetensors")
            filler.encoder.load_state_dict(_under(state, "encoder."))
            filler.head.load_state_dict(_under(state, "head."))
            device = next(model.parameters()).device
            filler.encoder.to(device)
            filler.head.to(device)
            cells, tails, final = (Tails.of(_under(arrays, f"{name}.")) for name in ("cells", "tails", "final"))
            return cls(model, filler, Distances.of(_under(arrays, "reference.")), cells, tails, final, about)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise TacitError(f"the detector in {folder} is damaged: {error}", "remove the folder: it is learned again") from error


def combined(evidence: np.ndarray) -> np.ndarray:
    """The score that decides, of evidence [n, S]: its mean, as independent tests are joined (Fisher 1925), by WEIGHTS."""
    return np.asarray(np.average(evidence, axis=1, weights=WEIGHTS))


def _evidence(cells: Tails, surprise: np.ndarray) -> np.ndarray:
    """Evidence of each cell [n, cells]; longer items than those that were calibrated on have cells beyond, which are left out."""
    return cells.evidence(surprise[:, : cells.quantiles.shape[0]])


def _scores(surprise: np.ndarray, cells: Tails, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """SCORES [n, S] of items, by the surprise of their cells [n, cells] and their distances [n]."""
    there = ~np.isnan(surprise)
    mean = np.where(there, surprise, 0).sum(1) / np.maximum(there.sum(1), 1)
    return np.stack([mean, _evidence(cells, surprise).max(1), near, far], 1)


def _under(held: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
