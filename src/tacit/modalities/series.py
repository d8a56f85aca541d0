"""Time series: channels by time, float32, NaN where a value is missing."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit.grid import PARTS, Grid, Size, no_larger, permutations
from tacit.later import later
from tacit.modality import RECIPE, BadItem, Raw, class_numbers
from tacit.reasons import Reason, Strange, segments
from tacit.types import Batch, NonNegative, Share, Spec, Views

if TYPE_CHECKING:
    import torch

    from tacit import augment, patches, pieces
    from tacit.encoder import Tokenizer
else:
    torch, augment, patches, pieces = later("torch"), later("tacit.augment"), later("tacit.patches"), later("tacit.pieces")


def _steps(spec: Spec, items: int) -> int:
    """As many steps as TS2Vec's authors take: 200 up to 100,000 values, else 600."""
    return 200 if items * spec.channels * spec.sizes[0] <= 100_000 else 600


SAMPLES = 8192  # of time in a batch: with 128 series of 300 samples a CPU takes too few steps


class Series(Grid):
    """Measurements over time: one or several channels, equal or unequal lengths, gaps allowed.

    crop: smallest share of the length that a global view keeps. scale: spread of the random factor on each channel.
    noise: added Gaussian noise, in standard deviations of the channel. local: length of a
    local view in samples, 0 = half. patch: samples of a token for transformers, 0 = from the length.
    """

    unit, axes, tagged = "series", 3, "samples"
    piece, explained, plainly = "segment", "integrated", "raw"
    tuned = "plain"  # stretched windows cost more than they teach: docs/decisions.md
    strengths = {"crop": (0.8, 0.5, 0.25), "scale": (0.0, 0.2, 0.5), "noise": (0.0, 0.1, 0.3)}
    tasks = {"permute": len(permutations(PARTS)), "relation": PARTS - 1, "reverse": 2}
    # TS2Vec averages the weights of all steps, so nothing is gained by steps that become small
    preset = {
        "method": "ts2vec",
        "batch": 8,
        "lr": 1e-3,
        "weight_decay": 0.01,
        "steps": _steps,
        "optim": {"warmup": 0.0, "floor": 1.0, "beta2": 0.999, "clip": 0.0},
    }

    def __init__(
        self, spec: Spec, *, crop: Share = 0.5, scale: NonNegative = 0.2, noise: NonNegative = 0.1, patch: int = 0, local: Size = 0
    ) -> None:
        super().__init__(spec)
        self.sizes = (int(spec.extra.get("length", spec.sizes[0])),)
        self.shortened = bool(spec.extra.get("shortened", False))
        self.lowest, self.scale, self.noise, self.local = crop, scale, noise, no_larger(local, self.sizes)
        self.patch = patch or min(64, 1 << max(0, (self.sizes[0] // 24).bit_length() - 1))
        self.unit_std = torch.tensor(spec.std, dtype=torch.float32)[None, :, None]
        self.ignores = f"which part was recorded (down to {crop:.0%} of the length), speed, amplitude and slight noise"

    @classmethod
    def suggest(cls, spec: Spec, items: int, seconds: float | None) -> tuple[str, str]:
        return "ts2vec", "87.6 % on 34 UCR sets, 83.4 untrained, 90.0 of MiniRocket (docs/benchmarks.md)"

    @classmethod
    def settings(cls, method: str, spec: Spec) -> Mapping[str, Any]:
        """A batch of long series is smaller: a power of two that holds about SAMPLES samples, at least 16 series."""
        found = super().settings(method, spec)
        length = int(spec.extra.get("length", spec.sizes[0]))
        fit = max(16, 1 << max(0, round(math.log2(SAMPLES / length))))
        return {**found, "batch": min(fit, found["batch"])}

    @classmethod
    def prefer(cls, spec: Spec, device: str) -> tuple[str, str]:
        return "conv1d", "dilated convolutions see long series at full resolution"

    def augment(self, batch: Batch, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views = RECIPE) -> Batch:
        if kind == "plain":
            return self.whole(batch)
        b, c = batch.x.shape[:2]
        size = self.sizes if kind != "local" else self.local_sizes(cell)
        view = self.resample(batch, *self.place(b, self.shares(kind, want), generator), size)
        x = view.x
        if kind != "weak":
            unit = self.unit_std.to(x.device)
            factor = torch.exp(torch.randn(b, c, 1, generator=generator, device=generator.device) * (self.scale * want.strength))
            x = x * factor + torch.randn(x.shape, generator=generator, device=generator.device) * (self.noise * want.strength * unit)
        return replace(view, x=x)

    def whole(self, batch: Batch) -> Batch:
        """The item at its own length, padded; resampled only where a shorter training length was asked for.

        A series longer than those of the training stays as it is, so that no vector depends on what else is in the file.
        """
        return self.scaled(batch) if self.shortened else batch

    def pretext(self, task: str, batch: Batch, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """reverse: forward or backward in time; the answer is 1 for backward."""
        if task != "reverse":
            return super().pretext(task, batch, generator, cell)
        view = self.resample(batch, *self.place(len(batch.x), (self.weakest, 1.0), generator), self.sizes)
        back = augment.uniform(generator, (len(batch.x),)) < 0.5
        return [replace(view, x=torch.where(back[:, None, None], view.x.flip(-1), view.x), frame=None, answer=back.long())]

    def placed(self, box: pieces.Box, sizes: tuple[int, ...]) -> str:
        return f"samples {super().placed(box, sizes)}"

    def reasons(self, item: Strange, most: int) -> list[Reason]:
        return segments(item, most)

    def tokenizer(self, dense: bool) -> Tokenizer:
        return patches.GridTokenizer(self.spec.mean, self.spec.std, (1 if dense else self.patch,), flag=True, normalise_target=False)

    @classmethod
    def plan(cls, sample: Sequence[Raw], *, size: int | None = None, limit: int = 224) -> Spec:
        """Choose the channels (the most frequent number) and the stored length (the longest series).

        size: training length in samples, None = the stored length. limit: not used, series are stored whole.
        """
        shapes: list[tuple[int, int]] = []
        reason = ""
        for i in range(len(sample)):
            try:
                shapes.append(_two_dimensional(sample[i]).shape)
            except BadItem as error:
                reason = reason or str(error)
        if not shapes:
            raise BadItem(f"no series can be read; the first one: {reason or 'there is none'}")
        counts = [c for c, _ in shapes]
        channels = max(sorted(set(counts)), key=counts.count)
        lengths = {t for c, t in shapes if c == channels}
        longest = max(lengths)
        length = min(size, longest) if size else longest
        extra = {"length": length, "shortened": length < longest}
        return Spec("series", channels, (longest,), ragged=len(lengths) > 1, extra=extra)

    @classmethod
    def decode(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """One series as float32 [C, T]; infinite values count as missing (NaN). Shorter than stored only if spec.ragged."""
        x = _two_dimensional(raw)
        if x.shape[0] != spec.channels:
            raise BadItem(f"{x.shape[0]} channels where the others have {spec.channels}")
        if x.shape[1] > spec.sizes[0] or (x.shape[1] < spec.sizes[0] and not spec.ragged):
            raise BadItem(f"{x.shape[1]} samples long where the others have {spec.sizes[0]}")
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        x[~np.isfinite(x)] = np.nan
        if np.isnan(x).all():
            raise BadItem("every value is missing")
        return x

    @classmethod
    def extent(cls, raw: Raw) -> tuple[int, ...]:
        """Samples of one series."""
        return _two_dimensional(raw).shape[1:]

    @classmethod
    def tags(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """A class number for each sample, int16 [T]; -1 = unknown, and where the series has ended."""
        x = _two_dimensional(raw)
        if len(x) != 1:
            raise BadItem(f"tags of shape {tuple(x.shape)}: one for each sample is understood")
        if x.shape[1] > spec.sizes[0] or (x.shape[1] < spec.sizes[0] and not spec.ragged):
            raise BadItem(f"{x.shape[1]} tags for {spec.sizes[0]} samples")
        return np.pad(class_numbers(x[0]), (0, spec.sizes[0] - x.shape[1]), constant_values=-1)

    @classmethod
    def example(cls) -> Spec:
        """One channel of 128 samples."""
        return Spec("series", 1, (128,))

    @classmethod
    def finish(cls, spec: Spec, x: np.ndarray) -> Spec:
        """Measure mean and std of each channel without missing values and padding; a constant channel gets std 1.

        x: float32 [n, C, T], training series.
        """
        mean, std = [], []
        for c in range(spec.channels):
            values = np.asarray(x[:, c], dtype=np.float64)
            values = values[np.isfinite(values)]
            mean.append(float(values.mean()) if values.size else 0.0)
            deviation = float(values.std()) if values.size else 0.0
            std.append(deviation if deviation > 1e-12 * max(1.0, abs(mean[-1])) else 1.0)
        return replace(spec, mean=tuple(mean), std=tuple(std))

    @classmethod
    def like(cls, planned: Spec, trained: Spec) -> Spec:
        """As trained, at whatever lengths the further data has."""
        if planned.channels != trained.channels:
            raise BadItem(f"{planned.channels} channels where the model was trained on {trained.channels}")
        return replace(trained, sizes=planned.sizes, ragged=planned.ragged)

    @classmethod
    def picture(cls, x: np.ndarray, spec: Spec, size: int = 32) -> bytes:
        """A small PNG of one stored series [C, T] as lines, three times as wide as high; size: pixels of the height."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (3 * size, size), "white")
        draw = ImageDraw.Draw(image)
        known = np.isfinite(x)
        length = int(known.any(0).nonzero()[0].max(initial=0)) + 1
        for c in range(min(len(x), len(COLOURS))):
            values = x[c, known[c]]
            if not values.size:
                continue
            low, span = float(values.min()), float(np.ptp(values)) or 1.0
            across = known[c].nonzero()[0] / max(1, length - 1) * (3 * size - 3) + 1
            down = (size - 2) - (values - low) / span * (size - 4)
            points = [(float(a), float(d)) for a, d in zip(across, down, strict=True)]
            draw.line(points if len(points) > 1 else [*points, *points], fill=COLOURS[c])
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()


COLOURS = ("#2f6db3", "#d9822b", "#3d9970", "#b5446e", "#7d6bb3", "#8a6d3b")


def _two_dimensional(raw: Raw) -> np.ndarray:
    """[T] or [C, T] of numbers. Raises BadItem."""
    if not isinstance(raw, np.ndarray):
        raise BadItem("a file is not a series")
    if raw.dtype.kind not in "buif":
        raise BadItem(f"values of type {raw.dtype} are not numbers")
    x = raw[None] if raw.ndim == 1 else raw
    if x.ndim != 2 or 0 in x.shape:
        raise BadItem(f"shape {tuple(raw.shape)} is not a series: expected time, or channels x time")
    return x
