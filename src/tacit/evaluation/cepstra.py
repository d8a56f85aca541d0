"""Cepstra of recordings as one row each: what the classics of audio stand on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from tacit import spectra
from tacit.sound import FULL
from tacit.types import Spec

KEPT = 200_000  # recordings whose rows are remembered


def items(x: Any) -> Iterator[np.ndarray]:
    """Samples of each recording [T] without padding; x: a Flat of int16, or an array [N, 1, T] with NaN as padding."""
    if isinstance(x, np.ndarray):
        for row in x[:, 0]:
            yield row[~np.isnan(row)] if row.dtype.kind == "f" else row
    else:
        yield from x


def log_mel(item: np.ndarray, spec: Spec, bands: int) -> torch.Tensor:
    """Log-mel bands [1, 1, bands, frames] of one recording, by the frames that the data's spec names."""
    e = spec.extra
    wave = torch.from_numpy(np.asarray(item, np.float32))[None, None] / FULL
    p = spectra.power(wave, int(e["fft"]), int(e["window"]), int(e["hop"]))
    return spectra.log_bands(p, spectra.mel_filters(p.shape[-2], int(e["rate"]), bands))


class Cepstra:
    """Mean and deviation over time of mel-frequency cepstral coefficients, their slopes and the slopes of those.

    coefficients: of 40 mel bands.
    """

    def __init__(self, coefficients: int = 20) -> None:
        self.coefficients = coefficients
        self._known: dict[bytes, np.ndarray] = {}

    def rows(self, x: Any, spec: Spec) -> np.ndarray:
        """float32 [N, 6 * coefficients]; remembered, because the same recordings are read at every level and draw."""
        out = []
        for item in items(x):
            key = hashlib.blake2b(np.asarray(item, np.int16).tobytes(), digest_size=16).digest()
            row = self._known.get(key)
            if row is None:
                row = self._row(item, spec)
                if len(self._known) < KEPT:
                    self._known[key] = row
            out.append(row)
        return np.stack(out) if out else np.zeros((0, 6 * self.coefficients), np.float32)

    def _row(self, item: np.ndarray, spec: Spec) -> np.ndarray:
        c = spectra.cepstrum(log_mel(item, spec, 40), self.coefficients)[0, 0]
        first = spectra.deltas(c)
        every = torch.cat([c, first, spectra.deltas(first)])
        return torch.cat([every.mean(1), every.std(1, correction=0)]).numpy()
