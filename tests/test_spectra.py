"""Spectra against definitions: mel scales, filters, short-time spectra and back, cepstra, slopes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import fft, signal

from tacit import spectra


def test_the_mel_scales_have_their_published_values() -> None:
    assert np.allclose(spectra.mel_of(np.array([0.0, 200 / 3, 1000.0, 6400.0])), [0.0, 1.0, 15.0, 42.0])
    assert np.allclose(spectra.mel_of(np.array([700.0, 1000.0]), "htk"), [2595 * math.log10(2), 999.9855], atol=1e-3)
    many = np.linspace(0, 20_000, 99)
    for scale in ("slaney", "htk"):
        assert np.allclose(spectra.hz_of(spectra.mel_of(many, scale), scale), many, atol=1e-6)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_filters_are_triangles_between_their_neighbours_centres(scale: str) -> None:
    bins, rate, bands = 513, 16_000, 24
    peak = spectra.mel_filters(bins, rate, bands, 50.0, 7000.0, scale, False)
    area = spectra.mel_filters(bins, rate, bands, 50.0, 7000.0, scale, True)
    ends = spectra.mel_of(np.array([50.0, 7000.0]), scale)
    corners = spectra.hz_of(np.linspace(*ends, bands + 2), scale)
    f = np.linspace(0, rate / 2, bins)
    for k in range(bands):  # slowly, one triangle after the other
        low, mid, high = corners[k : k + 3]
        want = np.interp(f, [low, mid, high], [0, 1, 0], left=0, right=0)
        assert np.allclose(peak[k], want, atol=1e-4)
        assert np.allclose(area[k], want * 2 / (high - low), atol=1e-6)
    assert (peak[:, f < 50] == 0).all() and (peak[:, f > 7000] == 0).all()


def test_the_short_time_spectrum_is_scipys() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1003).astype(np.float32)
    n_fft, size, hop = 256, 200, 80
    z = spectra.stft(torch.from_numpy(x), n_fft, size, hop)
    assert z.shape == (129, 13)
    w = signal.windows.hann(size, sym=False)
    w /= np.sqrt((w**2).sum())
    padded = np.pad(x, ((size - hop) // 2, size))
    for j in range(13):
        want = np.fft.rfft(padded[j * hop : j * hop + size] * w, n_fft)
        assert np.allclose(z[:, j].numpy(), want, atol=1e-4)


def test_power_of_a_tone_does_not_depend_on_the_window_and_lies_in_its_bin() -> None:
    t = torch.arange(16_000) / 16_000
    tone = torch.sin(2 * math.pi * 1000 * t)[None, None]
    for size in (256, 400):
        p = spectra.power(tone, 512, size, 160)[0, 0, :, 20:80].mean(1)
        assert int(p.argmax()) == 32
    noise = torch.randn(1, 1, 160_000, generator=torch.Generator().manual_seed(0))
    assert spectra.power(noise, 512, 400, 160).mean().item() == pytest.approx(1.0, rel=0.02)


def test_back_from_the_spectrum_is_the_sound() -> None:
    x = torch.randn(3, 1237, generator=torch.Generator().manual_seed(0))
    z = spectra.stft(x, 256, 200, 80)
    assert torch.allclose(spectra.istft(z, 256, 200, 80, 1237), x, atol=1e-4)


def test_cepstra_are_an_orthonormal_cosine_transform_of_log_bands() -> None:
    logs = torch.randn(2, 1, 40, 5, generator=torch.Generator().manual_seed(0))
    want = fft.dct(logs.numpy(), type=2, axis=2, norm="ortho")[:, :, :13]
    assert np.allclose(spectra.cepstrum(logs, 13).numpy(), want, atol=1e-5)


def test_slopes_are_a_least_squares_line() -> None:
    x = torch.randn(2, 3, 30, generator=torch.Generator().manual_seed(0))
    d = spectra.deltas(x)
    n = np.arange(-4, 5)
    for t in range(4, 26):
        line = np.polyfit(n, x[0, 1, t - 4 : t + 5].numpy(), 1)[0]
        assert d[0, 1, t].item() == pytest.approx(line, abs=1e-5)
    assert torch.allclose(spectra.deltas(torch.full((1, 2, 6), 3.0)), torch.zeros(1, 2, 6), atol=1e-6)


def test_one_sample_is_one_frame() -> None:
    assert spectra.power(torch.ones(1, 1, 1), 64, 50, 20).shape == (1, 1, 33, 1)
