"""From sound to spectra and back, batched on any device: short-time spectra, mel bands, cepstra.

Frame j is centred at sample (j + 1/2) * hop, so that a sound of T samples has ceil(T / hop) frames and frame j stands for the samples
from j * hop to (j + 1) * hop; what lies beyond the ends is silence.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.layers import exporting

FLOOR = 1e-7  # of the power of a band: what 16 bits can just tell from silence
LINEAR = 200 / 3  # Hz of a mel below 1,000 Hz, in Slaney's scale
STEP = math.log(6.4) / 27  # of the logarithm of a mel above


def mel_of(hz: np.ndarray, scale: str = "slaney") -> np.ndarray:
    """Frequencies in mel. scale: "slaney" (Auditory Toolbox 1998: linear below 1,000 Hz) or "htk" (HTK book: 2595 log10(1 + f / 700))."""
    hz = np.asarray(hz, np.float64)
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    return np.where(hz < 1000.0, hz / LINEAR, 15.0 + np.log(np.maximum(hz, 1000.0) / 1000.0) / STEP)


def hz_of(mel: np.ndarray, scale: str = "slaney") -> np.ndarray:
    """The inverse of `mel_of`."""
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    return np.where(mel < 15.0, mel * LINEAR, 1000.0 * np.exp(STEP * (np.maximum(mel, 15.0) - 15.0)))


def corners(rate: int, bands: int, low: float = 0.0, high: float = 0.0, scale: str = "slaney") -> np.ndarray:
    """Where bands begin, peak and end, in Hz: band k reaches from entry k to k + 2, float64 [bands + 2]. high: 0 = rate / 2."""
    ends = mel_of(np.array([low, high or rate / 2]), scale)
    return hz_of(np.linspace(ends[0], ends[1], bands + 2), scale)


def mel_filters(bins: int, rate: int, bands: int, low: float = 0.0, high: float = 0.0, scale: str = "slaney", norm: bool = True) -> Tensor:
    """Triangles over the frequencies 0..rate/2, float32 [bands, bins].

    bins: of the spectrum, n_fft / 2 + 1. low, high: of the bands in Hz, high 0 = rate / 2. norm: each triangle has the area 1 Hz
    (Slaney); otherwise its peak is 1 (HTK).
    """
    return torch.from_numpy(_triangles(bins, rate, bands, low, high, scale, norm))


@lru_cache(maxsize=16)
def _triangles(bins: int, rate: int, bands: int, low: float, high: float, scale: str, norm: bool) -> np.ndarray:
    edge = corners(rate, bands, low, high, scale)
    f = np.linspace(0, rate / 2, bins)
    width = np.diff(edge)
    rising = (f[None] - edge[:-2, None]) / width[:-1, None]
    falling = (edge[2:, None] - f[None]) / width[1:, None]
    out = np.maximum(np.minimum(rising, falling), 0)
    return (out * (2.0 / (edge[2:] - edge[:-2]))[:, None] if norm else out).astype(np.float32)


def window(size: int, device: torch.device | None = None) -> Tensor:
    """A periodic Hann window [size] whose squares sum to 1, so that the power of a tone does not depend on the size."""
    w = torch.hann_window(size, dtype=torch.float64)
    return (w / w.square().sum().sqrt()).float().to(device)


def _framed(x: Tensor, size: int, hop: int) -> Tensor:
    """[..., T] with silence around, so that every frame is whole."""
    left = (size - hop) // 2
    count = -(-x.shape[-1] // hop)
    right = (count - 1) * hop + size - left - x.shape[-1]
    return F.pad(x, (max(0, left), max(0, right)))


def stft(x: Tensor, n_fft: int, size: int, hop: int) -> Tensor:
    """Short-time spectrum of x [..., T], complex [..., n_fft / 2 + 1, ceil(T / hop)]. size: samples of the Hann window, >= hop."""
    frames = _framed(x, size, hop).unfold(-1, size, hop)
    return torch.fft.rfft(frames * window(size, x.device), n_fft).transpose(-1, -2)


def power(x: Tensor, n_fft: int, size: int, hop: int) -> Tensor:
    """Power of the short-time spectrum of x [B, C, T], float32 [B, C, n_fft / 2 + 1, frames]."""
    if not exporting():
        return stft(x, n_fft, size, hop).abs().square()
    b, c, _ = x.shape  # a graph that is written down has convolutions, and no Fourier transform
    angle = 2 * math.pi * torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(size)) / n_fft
    kernel = (torch.cat([angle.cos(), angle.sin()]) * window(size))[:, None].to(x.device)
    left = (size - hop) // 2
    padded = F.pad(x.reshape(b * c, 1, -1), (left, size - hop - left))  # lengths are whole hops here
    both = F.conv1d(padded, kernel, stride=hop).square()
    real, imaginary = both.chunk(2, 1)
    return (real + imaginary).unflatten(0, (b, c))


def istft(z: Tensor, n_fft: int, size: int, hop: int, samples: int) -> Tensor:
    """The sound [..., samples] whose short-time spectrum comes nearest to z [..., n_fft / 2 + 1, frames].

    source: Griffin & Lim 1984 (least squares overlap-add).
    """
    w = window(size, z.device)
    frames = torch.fft.irfft(z.transpose(-1, -2), n_fft)[..., :size] * w
    count = frames.shape[-2]
    total = (count - 1) * hop + size
    flat = frames.reshape(-1, count, size).transpose(1, 2)
    sound = F.fold(flat, (1, total), (1, size), stride=(1, hop))[:, 0, 0]
    weight = F.fold((w.square()[:, None]).expand(1, size, count).contiguous(), (1, total), (1, size), stride=(1, hop))[0, 0, 0]
    left = (size - hop) // 2
    sound = (sound / weight.clamp(min=1e-8))[:, left : left + samples]
    return F.pad(sound, (0, samples - sound.shape[-1])).reshape(*z.shape[:-2], samples)


def log_bands(p: Tensor, filters: Tensor) -> Tensor:
    """Natural logarithm of the power in bands: p [B, C, bins, frames] and filters [bands, bins] -> [B, C, bands, frames]."""
    return (torch.einsum("kf,bcft->bckt", filters.to(p), p) + FLOOR).log()


@lru_cache(maxsize=16)
def cosines(count: int, bands: int) -> Tensor:
    """The first rows of the orthonormal DCT-II, float32 [count, bands]."""
    k, n = torch.arange(count, dtype=torch.float64)[:, None], torch.arange(bands, dtype=torch.float64)
    rows = torch.cos(math.pi / bands * (n + 0.5) * k) * math.sqrt(2 / bands)
    rows[0] /= math.sqrt(2)
    return rows.float()


def cepstrum(logs: Tensor, count: int) -> Tensor:
    """Mel-frequency cepstral coefficients: log bands [B, C, bands, frames] -> [B, C, count, frames]."""
    return torch.einsum("kn,bcnt->bckt", cosines(count, logs.shape[-2]).to(logs), logs)


def deltas(x: Tensor, reach: int = 4) -> Tensor:
    """Slope of each row over 2 * reach + 1 frames, [..., T] -> [..., T]; the ends are repeated. source: HTK book, equation 5.16."""
    n = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    rows = x.reshape(-1, 1, x.shape[-1])
    rows = torch.cat([rows[..., :1].expand(-1, -1, reach), rows, rows[..., -1:].expand(-1, -1, reach)], -1)
    return F.conv1d(rows, (n / n.square().sum())[None, None]).reshape(x.shape)
