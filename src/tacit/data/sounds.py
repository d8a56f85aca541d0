"""What stands in recordings: levels, clipping, silence, constant offsets, and copies that were encoded anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tacit.data.listing import few
from tacit.later import later
from tacit.sound import FULL

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F

    from tacit import spectra
    from tacit.data.dataset import Dataset
else:
    torch, F, spectra = later("torch"), later("torch.nn.functional"), later("tacit.spectra")

LOOKED = 20_000  # recordings that are looked into; of more, every n-th
CLIPPED, RUN, STEPS = 0.98, 4, 1.5  # of full scale, and of the peak; samples in a row that differ by so many steps of 16 bits at most
SILENT = 1e-3  # of full scale: -60 dB
OFFSET = 0.02  # of full scale
GRID = (16, 24)  # bands and moments by which copies are found
ALIKE, AS_LONG = 0.995, 0.03  # cosine of these, and difference of the lengths, up to which two recordings are the same


def survey(dataset: Dataset) -> dict[str, Any]:
    """What `inspect` says of recordings, plain JSON."""
    step = max(1, -(-len(dataset) // LOOKED))
    rows = np.arange(0, len(dataset), step)
    names, rate = dataset.names, int(dataset.spec.extra["rate"])
    levels, prints, lengths = [], [], []
    clipped, silent, offset = [], [], []  # type: list[str], list[str], list[str]
    for i in rows.tolist():
        x = np.asarray(dataset.x.item(i), np.float32) / FULL
        levels.append(float(np.sqrt((x**2).mean())))
        lengths.append(len(x))
        clipped += [names[i]] if _clipped(x) else []
        silent += [names[i]] if float(np.abs(x).max(initial=0.0)) < SILENT else []
        offset += [names[i]] if abs(float(x.mean())) > OFFSET else []
        prints.append(_print(x, dataset.spec.extra))
    near = _near(np.stack(prints), np.array(lengths), dataset.hashes[rows])
    pairs = [(names[rows[a]], names[rows[b]]) for a, b in near]
    across = [p for p, (a, b) in zip(pairs, near, strict=True) if {int(dataset.split[rows[a]]), int(dataset.split[rows[b]])} == {0, 1}]
    seconds = dataset.lengths if dataset.lengths is not None else np.array(lengths)
    loud = 20 * np.log10(np.maximum(np.quantile(levels, [0.05, 0.5, 0.95]), 1e-6))
    return {
        "looked": len(rows),
        "rate": rate,
        "rates": dict(dataset.spec.extra.get("rates", {})),
        "hours": float(seconds.sum()) / rate / 3600,
        "seconds": [float(v) / rate for v in (seconds.min(), np.median(seconds), seconds.max())],
        "level_db": [round(float(v), 1) for v in loud],
        "clipped": {"count": len(clipped), "names": clipped[:5]},
        "silent": {"count": len(silent), "names": silent[:5]},
        "offset": {"count": len(offset), "names": offset[:5]},
        "near": {
            "count": len(pairs),
            "pairs": [list(p) for p in pairs[:5]],
            "across": [list(p) for p in across[:5]],
            "across_count": len(across),
        },
    }


def prints(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Coarse spectra of unit length [n, P], and samples of each recording [n]; of the first 20,000."""
    waves = [np.asarray(dataset.x.item(i), np.float32) / FULL for i in range(min(len(dataset), LOOKED))]
    return np.stack([_print(w, dataset.spec.extra) for w in waves]), np.array([len(w) for w in waves])


def lines(found: dict[str, Any]) -> list[str]:
    """The survey for the terminal."""
    low, middle, high = found["seconds"]
    sizes = f"{low:.2g} to {high:.3g} s, median {middle:.2g}, {found['hours']:.2g} hours"
    out = [f"sound      {sizes}; stored at {found['rate']:,} samples a second"]
    out.append("level      {:.0f} dB, nine of ten between {:.0f} and {:.0f}".format(*(found["level_db"][k] for k in (1, 0, 2))))
    for key, words in (("clipped", "clipped: their peaks are cut off"), ("silent", "silent"), ("offset", "with a constant offset")):
        if count := found[key]["count"]:
            out.append(f"{key:<10} {count:,} of {found['looked']:,} recordings are {words}: {few(found[key]['names'])}")
    if count := found["near"]["count"]:
        shown = "; ".join(" = ".join(p) for p in found["near"]["pairs"][:2])
        out.append(f"near       {count:,} recordings are copies of an earlier one, encoded anew: {shown}")
    return out


def _clipped(x: np.ndarray) -> bool:
    """Whether the highest values come in flat runs at full scale."""
    peak = float(np.abs(x).max(initial=0.0))
    if peak < CLIPPED:
        return False
    flat = (np.abs(x[1:]) >= CLIPPED * peak) & (np.abs(np.diff(x)) <= STEPS / FULL)
    return int((np.convolve(flat, np.ones(RUN), "valid") >= RUN).sum()) >= 3


def _print(x: np.ndarray, extra: dict[str, Any] | Any) -> np.ndarray:
    """Coarse log-mel bands [product of GRID], without their mean and at length 1: encoding anew changes them little."""
    wave = torch.from_numpy(x[: 30 * int(extra["rate"])])[None, None]
    p = spectra.power(wave, int(extra["fft"]), int(extra["window"]), int(extra["hop"]))
    logs = spectra.log_bands(p, spectra.mel_filters(p.shape[-2], int(extra["rate"]), GRID[0]))
    grid = F.interpolate((logs + 12).clamp(min=0), GRID, mode="area").flatten()
    grid = grid - grid.mean()
    return np.asarray(grid / grid.norm().clamp(min=1e-6))


def _near(z: np.ndarray, lengths: np.ndarray, hashes: np.ndarray) -> list[tuple[int, int]]:
    """Rows that are alike and as long as an earlier one, and not the very same: (earlier, later)."""
    out = []
    for start in range(0, len(z), 1024):
        likeness = z[start : start + 1024] @ z[: start + 1024].T
        for k, row in enumerate(likeness):
            i = start + k
            j = np.flatnonzero(row[:i] >= ALIKE)
            j = j[(np.abs(lengths[j] - lengths[i]) <= AS_LONG * lengths[i]) & (hashes[j] != hashes[i])]
            out += [(int(j[0]), i)] if len(j) else []
    return out
