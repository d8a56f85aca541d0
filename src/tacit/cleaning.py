"""`enhance`: recordings without the noise, by a run that learned to take it away."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from tacit import sound, spectra
from tacit.api import Say
from tacit.embedding.model import Model, load
from tacit.errors import Asked, BadData
from tacit.keeping import filled, method_of
from tacit.modality import BadItem
from tacit.types import Batch

PIECE, OVERLAP = 10.0, 0.5  # seconds that pass the network at once, and in which two pieces are blended
DEEPEST = -23.0  # natural log power that is taken away at most: 100 dB
FLOOR = 0.03  # of the amplitude that is left of any band


@dataclass(frozen=True)
class Enhanced:
    """What was written. result: plain JSON."""

    files: tuple[Path, ...]
    result: dict[str, Any] = field(repr=False)


class Cleaner:
    """A run of the method enhancement, ready to take noise away.

    The network says for every band and moment how much lower the sound without noise would be; the spectrum is scaled by that.
    """

    def __init__(self, run: str | Path) -> None:
        path = Path(run)
        self.net: Model = load(path).eval()
        if self.net.spec.modality != "audio" or method_of(path) != "enhancement":
            raise Asked(f"{path} did not learn to take noise away", "tacit pretrain recordings/ --method enhancement")
        self.mod = cast(Any, self.net.modality)
        if self.mod.front != "logmel":
            raise Asked(f"{path} was trained on {self.mod.front}, and enhancing works on logmel", "train anew without modality.front")
        encoder = self.net.encoder
        self.head = filled(nn.Linear(encoder.dim, self.net.spec.channels * math.prod(encoder.cell)), path)
        self.rate = int(self.net.spec.extra["rate"])

    @torch.no_grad()
    def gain(self, wave: Tensor) -> Tensor:
        """Factor of the amplitude in each mel band, [1, bands, frames], of sound [1, 1, T]."""
        net = self.net
        batch = self.mod.heard(Batch(wave, torch.zeros(1, dtype=torch.int64)))
        f = net.encoder(batch)
        cell, grid = net.encoder.cell, f.grid
        out = self.head(f.tokens.float())[0].view(*grid, *cell).permute(0, 2, 1, 3).reshape(grid[0] * cell[0], grid[1] * cell[1])
        std = net.spec.extra["measured"]["logmel"][1]
        change = (out[: batch.x.shape[2], : batch.x.shape[3]] * std).clamp(DEEPEST, 0.0)
        return (change / 2).exp().clamp(min=FLOOR)[None]

    @torch.no_grad()
    def clean(self, x: np.ndarray) -> np.ndarray:
        """Samples [T] in -1..1 without noise, float32 [T]."""
        mod = self.mod
        wave = torch.from_numpy(np.ascontiguousarray(x, np.float32))[None, None]
        filters = spectra.mel_filters(mod.fft // 2 + 1, mod.rate, mod.mels)
        share = filters / filters.sum(0, keepdim=True).clamp(min=1e-9)
        # bins that no band looks at follow the band next to them
        bare = filters.sum(0) < 1e-9
        share[:, bare] = 0
        share[0, : int((~bare).nonzero()[0])] = 1
        share[-1, int((~bare).nonzero()[-1]) + 1 :] = 1
        z = spectra.stft(wave[0], mod.fft, mod.size, mod.hop)
        factor = torch.einsum("kf,bkt->bft", share, self.gain(wave))
        return spectra.istft(z * factor, mod.fft, mod.size, mod.hop, wave.shape[-1])[0].numpy()


def enhance(run: str | Path, source: str | Path, out: str | Path, *, say: Say | None = None) -> Enhanced:
    """Write recordings without their noise, one channel, 16 bits, at the rate that the run reads.

    run: folder of a run of `enhancement`. source: a sound file, or a folder of them. out: a file, or a folder for several; nothing is
    overwritten. Raises Asked for what is not there or would be overwritten, BadData where no file can be read.
    """
    say = say or (lambda words: None)
    source, out = Path(source), Path(out)
    if not source.exists():
        raise Asked(f"there is no file or folder {str(source)!r}", "name a recording, or a folder of them")
    cleaner = Cleaner(run)
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix.lower() in sound.ENDINGS)
    if not files:
        raise BadData(f"{source} holds no sound file", "understood: .wav .flac .ogg .mp3 .aiff")
    goals = [out if source.is_file() and out.suffix else out / p.name if source.is_file() else out / p.relative_to(source) for p in files]
    goals = [g if g.suffix.lower() in (".wav", ".flac", ".ogg") else g.with_suffix(".wav") for g in goals]
    if len({str(g) for g in goals}) < len(goals):
        twice = next(g for g in goals if goals.count(g) > 1)
        raise Asked(f"several files of {source} would become {twice}", "put those of one name into folders of their own")
    if there := [g for g in goals if g.exists()]:
        raise Asked(f"{there[0]} is there already", "choose another --out")
    written, bad = [], []
    for path, goal in zip(files, goals, strict=True):
        try:
            seconds = sound.head(path).seconds
            goal.parent.mkdir(parents=True, exist_ok=True)
            beside = goal.with_name(f".{goal.stem}-part{goal.suffix}")
            try:
                _whole(cleaner, path, beside, seconds)
                beside.replace(goal)
            finally:
                beside.unlink(missing_ok=True)
        except BadItem as error:
            bad.append({"name": str(path), "reason": str(error)})
            say(f"{path}: {error}: left out")
            continue
        written.append({"file": str(goal), "from": str(path), "seconds": round(seconds, 3)})
        say(f"{path} -> {goal} ({seconds:.1f} s)")
    if not written:
        raise BadData(f"no file of {source} can be read: {bad[0]['reason']}", "look at it with another program")
    return Enhanced(tuple(Path(str(w["file"])) for w in written), {"run": str(run), "rate": cleaner.rate, "written": written, "bad": bad})


def _whole(cleaner: Cleaner, path: Path, goal: Path, seconds: float) -> None:
    """One file, in pieces that overlap, so that hours need no more memory than seconds."""
    import soundfile

    with soundfile.SoundFile(str(goal), "w", cleaner.rate, 1) as file:
        for part in _pieces(cleaner, path, seconds):
            file.write(part.clip(-1, 1))


def _pieces(cleaner: Cleaner, path: Path, seconds: float) -> Iterator[np.ndarray]:
    tail, start = np.zeros(0, np.float32), 0.0
    while True:
        stop = min(seconds, start + PIECE + OVERLAP)
        x = cleaner.clean(sound.read(sound.Clip(lambda: path, start, stop), cleaner.rate, PIECE + 2 * OVERLAP))
        n = min(len(tail), len(x))
        ramp = np.linspace(0, 1, n, dtype=np.float32)
        x[:n] = tail[:n] * (1 - ramp) + x[:n] * ramp
        if stop >= seconds:
            yield x
            return
        keep = round(OVERLAP * cleaner.rate)
        yield x[:-keep]
        tail, start = x[-keep:], stop - OVERLAP


def si_snr(estimate: np.ndarray, clean: np.ndarray) -> float:
    """Scale-invariant signal-to-noise ratio in dB, of sounds [T]. source: Le Roux et al. 2019, arXiv:1811.02508, without the means."""
    s, e = clean - clean.mean(), estimate - estimate.mean()
    part = (e @ s) / max(float(s @ s), 1e-12) * s
    return float(10 * np.log10(max(float(part @ part), 1e-12) / max(float((e - part) @ (e - part)), 1e-12)))
