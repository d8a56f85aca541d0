"""Batched random changes of sound and of its spectrum, on the device; every draw comes from the generator that is handed in.

Padding lies at the end of an item and stays marked as such.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tacit import spectra
from tacit.augment import interpolation, strangers, uniform
from tacit.layers import unravel
from tacit.reasons import Reason, Strange
from tacit.types import Batch


def _there(batch: Batch) -> Tensor:
    """Which samples or frames exist, bool [B, T]."""
    x = batch.x
    if batch.valid is None:
        return torch.ones(len(x), x.shape[-1], dtype=torch.bool, device=x.device)
    return batch.valid.view(len(x), -1, x.shape[-1])[:, 0]


def known(batch: Batch) -> Batch:
    """The same with padding (NaN at the end) marked and silent."""
    gone = batch.x[:, 0].isnan()
    if batch.valid is None and not bool(gone.any()):
        return batch
    return silenced(replace(batch, valid=~gone if batch.valid is None else batch.valid))


def silenced(batch: Batch) -> Batch:
    """The same with silence where nothing exists, because frames reach beyond the end of an item."""
    x = batch.x.nan_to_num(0.0)
    return replace(batch, x=x if batch.valid is None else x * batch.valid[:, None])


def frames(batch: Batch) -> Tensor:
    """Frames of each item of a spectrum [B, C, F, T], int64 [B], at least 1."""
    return _there(batch).sum(1).clamp(min=1)


def window(batch: Batch, most: int, least: float, generator: torch.Generator) -> Batch:
    """A random part of each item [B, C, T], of at most `most` samples and at least the share `least` of what an item has of them."""
    b, size = len(batch.x), batch.x.shape[-1]
    long = _there(batch).sum(1).clamp(min=1)
    room = long.clamp(max=most)
    n = (room * uniform(generator, (b,), least, 1.0)).ceil().long().clamp(min=1) if least < 1 else room
    start = (uniform(generator, (b,)) * (long - n + 1)).long().clamp(max=size - 1)
    wide = min(most, size)
    steps = torch.arange(wide, device=batch.x.device)
    valid = steps < n[:, None]
    index = (start[:, None] + steps).clamp(max=size - 1)
    x = batch.x.gather(2, index[:, None].expand(-1, batch.x.shape[1], -1)).masked_fill(~valid[:, None], 0.0)
    frame = torch.stack([start / long, wide / long], -1)[:, None]
    return replace(batch, x=x, valid=None if batch.valid is None and least >= 1 else valid, frame=frame)


def _power(x: Tensor, there: Tensor) -> Tensor:
    """Mean power of each item, [B, 1, 1]."""
    return (x.square() * there[:, None]).sum((1, 2), keepdim=True) / (there.sum(1).clamp(min=1)[:, None, None] * x.shape[1])


def at_ratio(x: Tensor, other: Tensor, there: Tensor, decibel: Tensor) -> Tensor:
    """x [B, C, T] with `other` added so that the power of x is above that of `other` by decibel [B]."""
    factor = (_power(x, there) / _power(other, there).clamp(min=1e-12) / 10 ** (decibel[:, None, None] / 10)).sqrt()
    return (x + other * factor) * there[:, None]


def coloured(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise [B, C, T] whose power falls by 0 to 6 dB an octave: white to brown."""
    b, t = shape[0], shape[-1]
    white = torch.randn(shape, generator=generator, device=generator.device)
    slope = uniform(generator, (b, 1, 1), 0.0, 1.0)
    z = torch.fft.rfft(white)
    f = torch.arange(z.shape[-1], device=z.device).clamp(min=1).float()
    return torch.fft.irfft(z * f**-slope, t)


def disturbed(
    batch: Batch,
    generator: torch.Generator,
    *,
    noise: float,
    background: float,
    snr: float,
    speed: float,
    reverb: float,
    rate: int,
) -> Batch:
    """Sound [B, C, T] at another speed, in a synthetic room, with noise and other items in the background.

    noise, background, reverb: probabilities. snr: lowest ratio in dB; it is drawn from snr to snr + 30. speed: largest change.
    """
    x, there = batch.x, _there(batch)
    b = len(x)
    if speed:
        x, there = _sped(x, there, torch.exp(uniform(generator, (b,), -speed, speed)))
    if reverb:
        room = uniform(generator, (b,)) < reverb
        x = torch.where(room[:, None, None], reverberated(x, rate, generator), x) * there[:, None]
    if background:
        on = uniform(generator, (b,)) < background
        stranger = strangers(b, generator)
        loud = at_ratio(x, x[stranger], there, uniform(generator, (b,), snr, snr + 30))
        x = torch.where(on[:, None, None], loud, x)
    if noise:
        on = uniform(generator, (b,)) < noise
        loud = at_ratio(x, coloured(tuple(x.shape), generator), there, uniform(generator, (b,), snr, snr + 30))
        x = torch.where(on[:, None, None], loud, x)
    return replace(batch, x=x, valid=None if batch.valid is None and not speed else there)


def _sped(x: Tensor, there: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Read [B, C, T] at another speed, factor [B], by straight lines between samples; what becomes longer is cut."""
    size = x.shape[-1]
    place = torch.arange(size, device=x.device) * factor[:, None]
    left = place.long().clamp(max=size - 1)
    share = (place - left)[:, None]

    def at(i: Tensor) -> Tensor:
        return x.gather(2, i[:, None].expand(-1, x.shape[1], -1))

    n = (there.sum(1) / factor).ceil().clamp(max=size)
    valid = torch.arange(size, device=x.device) < n[:, None]
    return (at(left) * (1 - share) + at((left + 1).clamp(max=size - 1)) * share) * valid[:, None], valid


def reverberated(x: Tensor, rate: int, generator: torch.Generator) -> Tensor:
    """Sound [B, C, T] in a room of its own each: the direct sound and a tail of noise that decays by 60 dB within 0.1 to 0.6 s."""
    b, _, t = x.shape
    n = min(t, round(0.4 * rate))
    decay = uniform(generator, (b, 1), 0.1, 0.6)
    time = torch.arange(n, device=x.device) / rate
    tail = torch.randn(b, n, generator=generator, device=generator.device) * torch.exp(-6.9 * time / decay)
    tail = tail / tail.square().sum(1, keepdim=True).sqrt()
    tail[:, : max(1, round(0.003 * rate))] = 0
    tail = tail * uniform(generator, (b, 1), 0.2, 0.8)
    tail[:, 0] = 1.0
    size = 1 << (t + n - 1).bit_length()
    return torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(tail[:, None], size), size)[..., :t]


def levelled(batch: Batch, fade: float, generator: torch.Generator) -> Batch:
    """Sound [B, C, T] louder or softer; fade: largest change in units of natural log power."""
    if not fade:
        return batch
    return replace(batch, x=batch.x * torch.exp(uniform(generator, (len(batch.x), 1, 1), -fade, fade) / 2))


def mixed_waves(batch: Batch, most: float, generator: torch.Generator) -> Batch:
    """Another item of the batch mixed into each sound [B, C, T], at up to this share of the amplitude."""
    b = len(batch.x)
    if not most or b < 2:
        return batch
    stranger = strangers(b, generator)
    share = uniform(generator, (b, 1, 1), 0.0, most)
    return replace(batch, x=((1 - share) * batch.x + share * batch.x[stranger]) * _there(batch)[:, None])


def cut(batch: Batch, start: Tensor, extent: Tensor, size: int) -> Batch:
    """Parts of spectra [B, C, F, T], start and extent [B] in frames, stretched to `size` frames; beyond an item's end is padding."""
    x, n = batch.x, frames(batch).float()
    matrix = interpolation(start / n, extent / n, n, x.shape[-1], size)
    place = start[:, None] + (torch.arange(size, device=x.device) + 0.5) / size * extent[:, None]
    valid = place < n[:, None]
    valid[:, 0] = True
    x = torch.matmul(x, matrix[:, None].transpose(-1, -2).to(x.dtype)) * valid[:, None, None]
    return replace(batch, x=x, valid=valid[:, None].expand(-1, x.shape[-2], -1).flatten(1))


def boxed(batch: Batch, unit: int, size: int, share: tuple[float, float], bands: float, generator: torch.Generator) -> Batch:
    """A random box of each spectrum [B, C, F, T] stretched to [B, C, F, size]: other speed, other pitch.

    unit: frames that training looks at; share: smallest and largest part of them that a box spans. bands: smallest share of the bands.
    source: Niizumi et al. 2021, arXiv:2103.06695 (random resize crop); ours marks what lies beyond the item as padding.
    """
    b, tall = len(batch.x), batch.x.shape[-2]
    n = frames(batch).float()
    extent = unit * uniform(generator, (b,), *share)
    start = uniform(generator, (b,)) * (n - extent).clamp(min=0)
    out = cut(batch, start, extent, size)
    high = uniform(generator, (b,), bands, 1.5 if bands < 1 else 1.0).clamp(max=1.0)
    low = uniform(generator, (b,)) * (1 - high)
    if bands < 1:
        matrix = interpolation(low, high, tall, tall, tall)
        out = replace(out, x=torch.matmul(matrix[:, None].to(out.x.dtype), out.x))
    across = torch.stack([low, high], -1)
    return replace(out, frame=torch.stack([across, torch.stack([start / n, extent / n], -1)], 1))


def mixed(batch: Batch, most: float, generator: torch.Generator) -> Batch:
    """Another item mixed into each log-mel spectrum [B, C, F, T], in power. most: its largest share.

    source: Niizumi et al. 2021, arXiv:2103.06695 (mixup for audio); ours takes other items of the batch instead of a memory of past ones.
    """
    b = len(batch.x)
    if b < 2:
        return batch
    stranger = strangers(b, generator)
    share = uniform(generator, (b, 1, 1, 1), 0.0, most)
    there = _there(batch)[:, None, None]
    other = batch.x[stranger].masked_fill(~there[stranger], -math.inf)
    both = torch.logaddexp(batch.x + torch.log1p(-share), other + share.clamp(min=1e-9).log())
    return replace(batch, x=both * there)


def hissed(batch: Batch, share: float, snr: float, generator: torch.Generator) -> Batch:
    """Noise of a random colour added to log spectra [B, C, F, T], in power: as noise in the sound, at a fraction of its cost.

    share: probability. snr: lowest ratio in dB; it is drawn from snr to snr + 30.
    """
    x = batch.x
    b, tall = len(x), x.shape[-2]
    there = _there(batch)[:, None, None]
    loud = torch.logsumexp(x.masked_fill(~there, -math.inf), (1, 2, 3), keepdim=True) - (frames(batch)[:, None, None, None] * tall).log()
    level = loud - uniform(generator, (b, 1, 1, 1), snr, snr + 30) * (math.log(10) / 10)
    slope = uniform(generator, (b, 1, 1, 1), -3.0, 1.0) * torch.linspace(-0.5, 0.5, tall, device=x.device)[:, None]
    # the power of noise in a band fluctuates, less in wider bands
    swing = torch.randn(x.shape, generator=generator, device=generator.device) * 0.5
    on = uniform(generator, (b, 1, 1, 1)) < share
    return replace(batch, x=torch.where(on & there, torch.logaddexp(x, level + slope + swing), x))


def faded(batch: Batch, most: float, tilt: float, generator: torch.Generator) -> Batch:
    """A level that changes evenly over time, and one that changes evenly over the bands, added to spectra [B, C, F, T].

    most, tilt: largest change at either end of the time, and of the bands. source: Niizumi et al. 2022, arXiv:2204.07402 (random linear
    fader); that over the bands, as another microphone would, is ours.
    """
    b, tall, t = len(batch.x), batch.x.shape[-2], batch.x.shape[-1]
    ends = uniform(generator, (b, 2, 1, 1), -most, most)
    ramp = torch.linspace(0, 1, t, device=batch.x.device)
    level = ends[:, :1] * (1 - ramp) + ends[:, 1:] * ramp
    if tilt:
        ends = uniform(generator, (b, 2, 1, 1), -tilt, tilt)
        ramp = torch.linspace(0, 1, tall, device=batch.x.device)[:, None]
        level = level + ends[:, :1] * (1 - ramp) + ends[:, 1:] * ramp
    return replace(batch, x=(batch.x + level) * _there(batch)[:, None, None])


def hidden(batch: Batch, most: float, generator: torch.Generator, fill: float) -> Batch:
    """One stretch of time and one of the bands of each spectrum set to `fill`. most: largest share of either.

    source: Park et al. 2019, arXiv:1904.08779 (SpecAugment).
    """
    x = batch.x
    b, tall, t = len(x), x.shape[-2], x.shape[-1]

    def stretch(n: Tensor) -> tuple[Tensor, Tensor]:
        wide = n * uniform(generator, (b,), 0.0, most)
        start = uniform(generator, (b,)) * (n - wide)
        return start[:, None], (start + wide)[:, None]

    first, last = stretch(frames(batch).float())
    place = torch.arange(t, device=x.device) + 0.5
    gone = ((place > first) & (place < last))[:, None, None]
    low, high = stretch(torch.full((b,), float(tall), device=x.device))
    place = torch.arange(tall, device=x.device) + 0.5
    gone = gone | ((place > low) & (place < high))[:, None, :, None]
    return replace(batch, x=torch.where(gone & _there(batch)[:, None, None], fill, x))


def reversed_(batch: Batch, back: Tensor) -> Batch:
    """Items where back [B] is True run backward in time; padding stays at the end."""
    x, t = batch.x, batch.x.shape[-1]
    n = _there(batch).sum(1).clamp(min=1)
    index = (n[:, None] - 1 - torch.arange(t, device=x.device)).clamp(min=0)
    shape = (len(x), *[1] * (x.ndim - 2), t)
    turned = x.gather(x.ndim - 1, index.view(shape).expand_as(x))
    there = _there(batch).view(shape)
    return replace(batch, x=torch.where(back.view(-1, *[1] * (x.ndim - 1)), turned * there, x))


def placed(box: tuple[tuple[float, float], ...], sizes: tuple[int, ...], modality: Any) -> str:
    """Where a box of a spectrum, or a stretch of samples, lies: seconds, and Hz where there are bands."""
    second = modality.samples_of([1]) / modality.rate * sizes[-1]
    begin, end = (v * second for v in box[-1])
    said = f"{begin:.2f} to {end:.2f} s"
    if len(box) < 2 or modality.front == "mfcc":
        return said if len(box) < 2 else f"{said}, coefficients {round(box[0][0] * sizes[0])} to {round(box[0][1] * sizes[0]) - 1}"
    low, high = (round(v * sizes[0]) for v in box[0])
    if modality.front == "stft":
        hz = [v / (sizes[0] - 1) * modality.rate / 2 for v in (low, high - 1)]
    else:
        edge = spectra.corners(modality.rate, modality.mels)
        hz = [float(edge[low]), float(edge[high + 1])]
    return f"{said}, {hz[0]:,.0f} to {hz[1]:,.0f} Hz"


def reasons(item: Strange, most: int, modality: Any) -> list[Reason]:
    """Seconds and bands that are not as the rest of the recording lets expect."""
    out: list[Reason] = []
    taken: set[int] = set()
    second = modality.samples_of([1]) / modality.rate
    mean, std = modality.spec.extra["measured"][modality.front]
    tall = item.grid[0] * item.cell[0] if len(item.grid) == 2 else 0
    corners = spectra.corners(modality.rate, modality.mels)
    length = item.x.shape[-1] / modality.rate
    for first in item.strongest(len(item.evidence)):
        if first in taken or len(out) == most:
            continue
        where = item.around(first)
        taken |= set(where)
        at = unravel(torch.tensor(where), item.grid).tolist()
        begin = min(a[-1] for a in at) * item.cell[-1] * second
        end = min(length, (max(a[-1] for a in at) + 1) * item.cell[-1] * second)
        words = f"{begin:.2f} to {end:.2f} s"
        if tall and modality.front == "logmel":
            low = min(a[0] for a in at) * item.cell[0]
            high = min(modality.mels, (max(a[0] for a in at) + 1) * item.cell[0])
            words += f", {float(corners[low]):,.0f} to {float(corners[high + 1]):,.0f} Hz"
            guess = float(torch.as_tensor(item.guess[where]).float().mean()) * std + mean
            seen = modality.seen(modality.load(torch.as_tensor(item.x)).nan_to_num(0.0)[None])[0, 0]
            left = round(begin / second)
            observed = float(seen[low:high, left : max(left + 1, round(end / second))].mean())
            words += f": expected {_decibel(guess)}, observed {_decibel(observed)}"
        else:
            words += ": not as the rest lets expect"
        out.append((tuple(where), words))
    return out


def _decibel(log_power: float) -> str:
    return f"{10 * log_power / math.log(10):.0f} dB"
