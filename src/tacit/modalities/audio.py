"""Sound: speech, music, machines, animals; stored as samples of one channel, seen as log-mel bands over time, or as samples."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from tacit import nuisances, registry, sound
from tacit.errors import CannotPair
from tacit.grid import PARTS, Grid, permutations
from tacit.later import later
from tacit.modality import RECIPE, BadItem, Raw
from tacit.reasons import Reason, Strange
from tacit.types import Batch, Count, Fraction, Layout, NonNegative, Spec, Views

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tacit import augment, hearing, layers, patches, pieces, publishedwaves, spectra, wavetokens
    from tacit.encoder import Tokenizer
else:
    torch, augment, hearing, layers = later("torch"), later("tacit.augment"), later("tacit.hearing"), later("tacit.layers")
    patches, publishedwaves = later("tacit.patches"), later("tacit.publishedwaves")
    spectra, wavetokens = later("tacit.spectra"), later("tacit.wavetokens")

RATES = 16_000  # samples a second at most, unless asked otherwise: speech has little above 8 kHz
LEAST, VIEW = 0.25, 1.0  # seconds that training looks at, at least and at most, unless asked otherwise
LONGEST = 30.0  # seconds of an item

Front = Annotated[str, Field(pattern="^(logmel|mfcc|stft|waveform)$")]


class Audio(Grid):
    """Recordings: speech, music, machines, animals, of any rate, mixed to one channel.

    front: what the network sees: logmel, mfcc, stft (log power of every frequency) or waveform. crop: smallest length of what a global view
    shows, as a share of the training length; it is stretched to that length, which changes the speed. bands: smallest share of the bands
    that it shows; stretched too, which changes the pitch. mix: another sound is mixed into a view at up to this share of the amplitude.
    fade: largest change of level at either end of the time, in units of natural log power. tilt: the same at either end of the bands, as
    of another microphone. noise: probability of noise, of a random colour. background: probability of another item as background. snr:
    lowest ratio of both, in dB, up to 30 above it. speed: largest change of speed and pitch together, 0.1 = 10 %. reverb: probability of a
    synthetic room. hide: largest share of the time, and of the bands, that is silenced. patch, tall: frames and bands of a token for
    transformers, tall 0 = all bands. convolutions: the configuration of the published network whose convolutions make the tokens, as JSON
    text; `--init hf:NAME` fills it in.
    """

    unit, reads_files, tagged = "recordings", True, "frames"
    item_bytes: ClassVar[int] = 2
    flat, piece = True, "cell"
    at_once: ClassVar[int] = 2**22
    tuned, plainly = "weak", "mfcc"
    strengths = {
        "crop": (1.0, 0.6, 0.3),
        "bands": (1.0, 0.6),
        "mix": (0.0, 0.4),
        "fade": (0.0, 1.0, 4.0),
        "tilt": (0.0, 2.0),
        "noise": (0.0, 0.5),
        "speed": (0.0, 0.1),
        "reverb": (0.0, 0.5),
        "hide": (0.0, 0.2),
    }
    preset = {"method": "simclr", "batch": 64, "lr": 2e-3, "weight_decay": 0.05, "passes": 100, "optim": {"kind": "muon"}}
    carried = {"method": "wav2vec2", "optim": {"kind": "adamw", "lr": 1e-4, "weight_decay": 0.01, "clip": 1.0}}

    def __init__(
        self,
        spec: Spec,
        *,
        front: Front = "logmel",
        crop: Fraction = 0.6,
        bands: Fraction = 0.6,
        mix: Fraction = 0.0,
        fade: NonNegative = 4.0,
        tilt: NonNegative = 0.0,
        noise: Fraction = 0.5,
        background: Fraction = 0.0,
        snr: float = 5.0,
        speed: Fraction = 0.0,
        reverb: Fraction = 0.0,
        hide: Fraction = 0.0,
        patch: Count = 8,
        tall: Annotated[int, Field(ge=0)] = 16,
        convolutions: str = "",
    ) -> None:
        super().__init__(spec)
        if convolutions and front != "waveform":
            raise CannotPair("a published network of sound reads samples", "leave out modality.front")
        self.convolutions = convolutions
        self.front, self.rate = front, int(spec.extra["rate"])
        self.size, self.hop, self.fft = (int(spec.extra[k]) for k in ("window", "hop", "fft"))
        self.mels = int(spec.extra["mels"])
        self.lowest, self.bands, self.mix, self.fade, self.tilt = max(crop, 1e-3), max(bands, 1e-3), mix, fade, tilt
        self.noise, self.background, self.snr, self.speed, self.reverb, self.hide = noise, background, snr, speed, reverb, hide
        self.length = spec.sizes[0]  # samples that training looks at
        if front == "waveform":
            self.layout, self.sizes = Layout(1), (self.length,)
        else:
            high = {"logmel": self.mels, "mfcc": min(40, self.mels), "stft": self.fft // 2 + 1}[front]
            self.layout, self.sizes = Layout(2), (high, -(-self.length // self.hop))
        self.patch, self.tall = min(patch, self.sizes[-1]), min(tall or self.sizes[0], self.sizes[0])
        # parts and order are of time: a band stays where it is
        self.parts = PARTS
        self.tasks = {"permute": len(permutations(PARTS)), "relation": PARTS - 1, "reverse": 2, "noise": spec.channels}
        said = [f"which {self.lowest:.0%} to 100 % of {self.length / self.rate:.2g} s is heard"]
        said += ["at which speed"] if front != "waveform" else []
        said += ["level"] if fade and front != "mfcc" else []
        said += ["pitch"] if self.bands < 1 and front != "waveform" else []
        said += [f"other sounds at up to {mix:.0%}"] if mix and front in ("logmel", "waveform") else []
        said += [word for word, on in (("noise", noise), ("background", background), ("speed", speed), ("the room", reverb)) if on]
        self.ignores = ", ".join(said)

    # ---- left of the line ----

    @classmethod
    def plan(
        cls,
        sample: Sequence[Raw],
        *,
        size: int | None = None,
        limit: int = 224,
        rate: int = 0,
        seconds: NonNegative = 0.0,
        mels: int = 64,
        frame: NonNegative = 0.025,
        hop: NonNegative = 0.01,
    ) -> Spec:
        """Choose the rate and the length of what training looks at.

        size: that length in samples, None = see seconds. limit: not used. rate: samples a second that are stored, 0 = the most frequent
        one, at most 16,000. seconds: that training looks at, 0 = what nine of ten items fit in, at most 1. mels: bands. frame, hop: of the
        short-time spectrum, in seconds.
        """
        heads, reason = [], ""
        for i in np.unique(np.linspace(0, len(sample) - 1, min(len(sample), 1000)).astype(int)).tolist():
            try:
                heads.append(sound.length_of(sample[i], rate, RATES))
            except BadItem as error:
                reason = reason or str(error)
        if not heads:
            raise BadItem(f"no recording can be read; the first one: {reason or 'there is none'}")
        rates = [r for r, _ in heads]
        most = max(sorted(set(rates)), key=rates.count)
        chosen = rate or min(most, RATES)
        if not 1000 <= chosen <= 384_000:
            raise BadItem(f"a rate of {chosen} samples a second is not possible")
        long = np.array([s for _, s in heads])
        view = seconds or float(np.clip(np.quantile(long, 0.9), LEAST, VIEW))
        extra: dict[str, Any] = {"rate": chosen, "mels": mels, **_frames(frame * chosen, hop * chosen)}
        stored = size or max(extra["hop"], round(view * chosen))
        extra["rates"] = {str(r): rates.count(r) for r in sorted(set(rates))}
        extra["seconds"] = [float(long.min()), float(np.median(long)), float(long.max())]
        return Spec("audio", 1, (stored,), ragged=True, extra=extra)

    @classmethod
    def at_rate(cls, spec: Spec, rate: int) -> Spec:
        """The spec of the same recordings at another rate; what was measured stays until it is measured anew."""
        e, ratio = spec.extra, rate / spec.extra["rate"]
        if ratio == 1:
            return spec
        extra = {**e, "rate": rate, **_frames(e["window"] * ratio, e["hop"] * ratio), "longest": round(e.get("longest", 0) * ratio)}
        return replace(spec, sizes=(max(extra["hop"], round(spec.sizes[0] * ratio)),), extra=extra)

    @classmethod
    def known(cls, sample: Sequence[Raw]) -> Spec:
        return Spec("audio", 1, (1,), ragged=True)

    @classmethod
    def step_of(cls, spec: Spec) -> int:
        return int(spec.extra["hop"])

    @classmethod
    def decode_many(cls, block: Sequence[Any], spec: Spec) -> Iterator[np.ndarray | BadItem]:
        """Samples of recordings, int16 [T] each; what cannot be read stays a BadItem."""
        rate = int(spec.extra["rate"])

        def decoded(raw: Any) -> np.ndarray | BadItem:
            try:
                return sound.samples_of(raw, rate, LONGEST)
            except BadItem as error:
                return error

        if not any(isinstance(raw, (sound.Clip, Path, bytes)) for raw in block):
            yield from map(decoded, block)
            return
        with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
            for start in range(0, len(block), 32):  # what is decoded and not yet taken stays small
                yield from pool.map(decoded, block[start : start + 32])

    @classmethod
    def example(cls) -> Spec:
        """Tones of a second, at 8,000 samples a second."""
        t = np.arange(8000) / 8000
        tones: list[Any] = [(0.3 * np.sin(2 * np.pi * f * t)).astype(np.float32) for f in (200, 400, 800, 1600)]
        spec = cls.plan(tones, rate=8000)
        return cls.finish(spec, list(cls.decode_many(tones, spec)))

    @classmethod
    def finish(cls, spec: Spec, x: Any) -> Spec:
        """Measure what each front end gives on training recordings, int16 [T] each."""
        rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), 300)).astype(int)).tolist()
        made = {f: cls(replace(spec, extra={**spec.extra, "measured": {}}), front=f) for f in ("waveform", "stft", "logmel", "mfcc")}
        total = {f: np.zeros(3) for f in made}
        longest = max((len(item) for item in x), default=1)
        for i in rows:
            item = x[i] if isinstance(x, list) else x.item(i)
            wave = torch.from_numpy(item[: 5 * int(spec.extra["rate"])].astype(np.float32))[None, None] / sound.FULL
            for f, kind in made.items():
                v = kind.seen(wave).double()
                total[f] += np.array([v.numel(), float(v.sum()), float(v.square().sum())])
        measured: dict[str, list[float]] = {}
        for f, (n, first, second) in total.items():
            middle = first / max(1.0, n)
            measured[f] = [middle, float(np.sqrt(max(0.0, second / max(1.0, n) - middle**2))) or 1.0]
        mean, std = measured["logmel"]
        return replace(spec, mean=(mean,), std=(std,), extra={**spec.extra, "measured": measured, "longest": longest})

    @classmethod
    def notes(cls, spec: Spec) -> list[str]:
        e = spec.extra
        out = []
        if len(e.get("rates", {})) > 1:
            out.append(f"rates of {', '.join(f'{r} ({n})' for r, n in e['rates'].items())} samples a second, stored at {e['rate']:,}")
        elif e.get("rates") and str(e["rate"]) not in e["rates"]:
            out.append(f"{next(iter(e['rates']))} samples a second, stored at {e['rate']:,} (data.rate otherwise)")
        if e.get("seconds") and e["seconds"][2] > 1.01 * spec.sizes[0] / e["rate"]:
            longer = f"recordings last up to {e['seconds'][2]:.3g} s: training sees windows of {spec.sizes[0] / e['rate']:.3g} s"
            out.append(f"{longer}, an embedding is of the whole (data.seconds otherwise)")
        return out

    @classmethod
    def prefer(cls, spec: Spec, device: str) -> tuple[str, str]:
        return "spectral", "convolutions over time and frequency that keep which band is which"

    @classmethod
    def suggest(cls, spec: Spec, items: int, seconds: float | None) -> tuple[str, str]:
        return "simclr", "spoken digits with 10 labels each: 69.6 %, untrained 34.8, MFCC 45.6 (docs/audio.md)"

    @classmethod
    def settings(cls, method: str, spec: Spec) -> Mapping[str, Any]:
        """Speech methods read the samples themselves, and what reads in order reads whole frames."""
        found = super().settings(method, spec)
        needs = registry.find("methods", method).needs
        if method == "wav2vec2":
            return {**found, "modality": {"front": "waveform"}}
        return {**found, "modality": {"tall": 0, "patch": 4}} if needs & {"causal", "order", "values"} else found

    @classmethod
    def picture(cls, x: np.ndarray, spec: Spec, size: int = 32) -> bytes | None:
        """A small PNG of the log-mel bands of one recording [1, T], low bands below, three times as wide as high."""
        from PIL import Image

        there = x[0][~np.isnan(x[0])] if x.dtype.kind == "f" else x[0]
        made = cls(spec)
        wave = torch.from_numpy(np.asarray(there[: 30 * made.rate], np.float32))[None, None] / sound.FULL
        logs = made.seen(wave)[0, 0].flip(0).numpy()
        low, high = float(np.quantile(logs, 0.05)), float(logs.max())
        grey = (255 * (1 - ((logs - low) / max(high - low, 1e-6)).clip(0, 1))).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(grey).resize((3 * size, size), Image.Resampling.BILINEAR).save(out, "PNG")
        return out.getvalue()

    @classmethod
    def nuisances(cls, x: Any, lengths: np.ndarray | None, spec: Spec) -> dict[str, np.ndarray]:
        return nuisances.of_sounds(np.asarray(w, np.float32).ravel() / sound.FULL for w in x)

    @classmethod
    def played(cls, x: np.ndarray, spec: Spec) -> bytes | None:
        """The first half minute of one recording [1, T], 16 bit."""
        there = x[0][~np.isnan(x[0])] if x.dtype.kind == "f" else x[0]
        return sound.wav(there[: 30 * spec.extra["rate"]].astype(np.float32) / sound.FULL, spec.extra["rate"])

    # ---- right of the line ----

    def load(self, x: Tensor) -> Tensor:
        return x.float() / sound.FULL

    @property
    def most(self) -> tuple[int, ...]:
        longest = int(self.spec.extra["longest"])
        return (longest,) if self.front == "waveform" else (self.sizes[0], -(-longest // self.hop))

    def samples_of(self, cell: Sequence[int]) -> int:
        return cell[-1] * (1 if self.front == "waveform" else self.hop)

    def seen(self, wave: Tensor) -> Tensor:
        """What the network sees of samples [B, 1, T]: [B, 1, bands, frames], or the samples."""
        if self.front == "waveform":
            return wave
        p = spectra.power(wave.float(), self.fft, self.size, self.hop)
        if self.front == "stft":
            return (p + spectra.FLOOR).log()
        logs = spectra.log_bands(p, spectra.mel_filters(p.shape[-2], self.rate, self.mels))
        return spectra.cepstrum(logs, self.sizes[0]) if self.front == "mfcc" else logs

    def heard(self, batch: Batch) -> Batch:
        """A batch of samples as what the network sees of it."""
        batch = hearing.silenced(batch)
        if self.front == "waveform":
            return batch
        x, valid = self.seen(batch.x), None
        if batch.valid is not None:
            there = batch.valid[:, :: self.hop]  # frame j stands for the samples from j * hop on
            valid = there[:, None].expand(-1, x.shape[-2], -1).flatten(1)
        frame = None if batch.frame is None else torch.cat([batch.frame.new_tensor([0.0, 1.0]).expand_as(batch.frame), batch.frame], 1)
        return replace(batch, x=x, valid=valid, frame=frame)

    def views(self, batch: Batch, want: Views, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """Global, local and crop views of an item are of one window of it, as in BYOL-A; every weak view has a window of its own (COLA)."""
        if layers.exporting():
            return [self.heard(batch)]
        if batch.x.ndim > 3:  # a view, which is looked at as it is
            return [batch]
        batch = hearing.known(batch)
        out: list[Batch] = []
        part = self.window(batch, generator) if want.global_ or want.local or want.crop or want.task else batch
        clean = self.heard(part) if (want.global_ or want.local) and not self.loud else None
        for kind in ("global_", "local"):
            for _ in range(getattr(want, kind)):
                out.append(self.changed(part, clean, kind, generator, cell, want))
        for _ in range(want.weak):
            out.append(self.heard(self.window(batch, generator, 0.7)))
        out += [self.heard(batch) for _ in range(want.plain)]
        if want.crop:
            out += self.crops(self.heard(part), want.crop, generator, cell)
        return out + (self.pretext(want.task, part, generator, cell) if want.task else [])

    def augment(self, batch: Batch, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views = RECIPE) -> Batch:
        asked: dict[str, Any] = {kind: 1}
        return self.views(batch, Views(**asked, lowest=want.lowest, strength=want.strength), generator, cell)[0]

    @property
    def loud(self) -> bool:
        """Whether views are changed as sound, before there are bands."""
        return self.front in ("waveform", "mfcc") or max(self.background, self.speed, self.reverb) > 0

    def window(self, batch: Batch, generator: torch.Generator, least: float = 1.0) -> Batch:
        """A random part of every item, at most as long as training looks at; at least this share of a shorter item."""
        return hearing.window(batch, self.length, least, generator)

    def changed(self, part: Batch, clean: Batch | None, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views) -> Batch:
        """One global or local view of the window `part`; clean: what the network sees of it, where sound itself is not changed."""
        s = want.strength
        if clean is None:
            noise = self.noise * s if self.front in ("waveform", "mfcc") else 0.0
            part = hearing.disturbed(
                part, generator, noise=noise, background=self.background * s, snr=self.snr, speed=self.speed * s,
                reverb=self.reverb * s, rate=self.rate,
            )  # fmt: skip
            if self.front == "waveform":
                size = self.length if kind == "global_" else max(1, self.length // 2)
                view = hearing.window(hearing.levelled(part, self.fade * s, generator), size, want.lowest or self.lowest, generator)
                return hearing.mixed_waves(view, self.mix * s, generator)
            clean = self.heard(part)
        least = want.lowest or self.lowest
        low, high = (least, 1.5) if kind == "global_" else (least / 2, least)
        frames = self.sizes[1] if kind == "global_" else self.local_sizes(cell)[1]
        view = hearing.boxed(clean, self.sizes[1], frames, (low, high), self.bands if s else 1.0, generator)
        if self.noise and self.front != "mfcc":
            view = hearing.hissed(view, self.noise * s, self.snr, generator)
        if self.front == "logmel" and self.mix:
            view = hearing.mixed(view, self.mix * s, generator)
        if (self.fade or self.tilt) and self.front != "mfcc":
            view = hearing.faded(view, self.fade * s, self.tilt * s, generator)
        return hearing.hidden(view, self.hide * s, generator, self.spec.extra["measured"][self.front][0]) if self.hide else view

    def local_sizes(self, cell: Sequence[int]) -> tuple[int, ...]:
        """Half of the training length, in whole cells, and all bands."""
        long = max(1, round(self.sizes[-1] / 2 / cell[-1])) * cell[-1]
        return (*self.sizes[:-1], long)

    def pretext(self, task: str, batch: Batch, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """noise: the item with noise or another item in the background, the answer is what is seen of the item itself. reverse: forward or
        backward in time. permute: its parts in time in one of some orders. relation: its middle part and a neighbour in time."""
        b, device = len(batch.x), generator.device
        if task == "noise":
            loud = hearing.disturbed(batch, generator, noise=0.8, background=0.3, snr=-5.0, speed=0.0, reverb=0.0, rate=self.rate)
            heard = self.heard(loud)
            mean, std = self.spec.extra["measured"][self.front]
            return [replace(heard, answer=(self.heard(batch).x - mean) / std)]
        heard = self.heard(batch)
        if task == "reverse":
            back = augment.uniform(generator, (b,)) < 0.5
            return [replace(hearing.reversed_(heard, back), frame=None, answer=back.long())]
        long = hearing.frames(heard)
        size = self.local_sizes(cell)[-1]
        side = long / PARTS

        def part(which: Tensor) -> Batch:
            loose = augment.uniform(generator, (b,)) * 0.15
            return replace(hearing.cut(heard, (which + loose) * side, 0.85 * side, size), frame=None)

        if task == "permute":
            orders = torch.tensor(permutations(PARTS), device=device)
            answer = (augment.uniform(generator, (b,)) * len(orders)).long().clamp(max=len(orders) - 1)
            parts = [part(orders[answer, i]) for i in range(PARTS)]
            return [*parts[:-1], replace(parts[-1], answer=answer)]
        answer = (augment.uniform(generator, (b,)) * (PARTS - 1)).long().clamp(max=PARTS - 2)
        middle = PARTS // 2
        return [part(torch.full_like(answer, middle)), replace(part(answer + (answer >= middle)), answer=answer)]

    def placed(self, box: pieces.Box, sizes: tuple[int, ...]) -> str:
        return hearing.placed(box, sizes, self)

    def emptied(self, x: Tensor) -> Tensor:
        """Silence: of a spectrum the level that a tenth of the recording lies below. Of cepstra, which have no silence, their means."""
        if self.front == "mfcc":
            return x.nanmean(-1, keepdim=True)
        return x.new_zeros(1) if self.front == "waveform" else x.flatten().nanquantile(0.1)

    def reasons(self, item: Strange, most: int) -> list[Reason]:
        return hearing.reasons(item, most, self)

    def tokenizer(self, dense: bool) -> Tokenizer:
        mean, std = self.spec.extra["measured"][self.front]
        if self.front == "waveform":
            if self.convolutions:
                return publishedwaves.PublishedWaves(mean, std, self.convolutions)
            return wavetokens.WaveTokenizer(mean, std, self.rate)
        return patches.GridTokenizer((mean,), (std,), (1, 1) if dense else (self.tall, self.patch), normalise_target=False)


def _frames(frame: float, hop: float) -> dict[str, int]:
    """Samples of the short-time spectrum: its window, its step, its transform."""
    step = max(1, round(hop))
    width = max(-(-3 * step // 2), round(frame))  # frames overlap, or no sound comes back from its spectrum
    return {"window": width, "hop": step, "fft": 1 << (2 * width - 1).bit_length()}
