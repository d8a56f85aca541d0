"""Sound as a modality: changes of sound against slow versions, padding that stays padding, tasks, tokens of samples, what is said of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import signal

from conftest import small
from tacit import hearing, spectra
from tacit.assemble import make_encoder, make_modality
from tacit.data.dataset import from_arrays
from tacit.modalities.audio import Audio
from tacit.reasons import Strange
from tacit.types import Batch, Views

RATE = 2000


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sounds(lengths: list[int], seed: int = 0) -> Batch:
    x = torch.zeros(len(lengths), 1, max(lengths))
    for i, n in enumerate(lengths):
        x[i, 0, :n] = 0.1 * torch.randn(n, generator=gen(seed + i))
    valid = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Batch(x, torch.arange(len(lengths)), None if len(set(lengths)) == 1 else valid)


def spectra_of(lengths: list[int], tall: int = 6, seed: int = 0) -> Batch:
    x = torch.zeros(len(lengths), 1, tall, max(lengths))
    for i, n in enumerate(lengths):
        x[i, ..., :n] = torch.randn(1, tall, n, generator=gen(seed + i))
    valid = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])[:, None].expand(-1, tall, -1).flatten(1)
    return Batch(x, torch.arange(len(lengths)), valid)


# ---- sound ----


def test_a_window_is_a_part_of_the_item_and_short_items_stay_whole() -> None:
    batch = sounds([500, 120, 80])
    for seed in range(20):
        w = hearing.window(batch, 100, 1.0, gen(seed))
        assert w.x.shape == (3, 1, 100) and w.valid is not None
        assert w.valid.sum(1).tolist() == [100, 100, 80] and (w.x[2, 0, 80:] == 0).all()
        assert torch.equal(w.x[2, 0, :80], batch.x[2, 0, :80])
        item = batch.x[0, 0]
        assert any(torch.equal(w.x[0, 0], item[i : i + 100]) for i in range(401))
    less = hearing.window(batch, 100, 0.5, gen())
    assert less.valid is not None and (less.valid.sum(1) >= torch.tensor([50, 50, 40])).all()


def test_noise_has_the_ratio_that_was_asked_for() -> None:
    batch = sounds([4000, 2500])
    there = batch.valid
    assert there is not None
    noise = hearing.coloured((2, 1, 4000), gen(5))
    out = hearing.at_ratio(batch.x, noise, there, torch.tensor([10.0, 0.0]))
    for i, (n, db) in enumerate(((4000, 10.0), (2500, 0.0))):
        added = (out - batch.x)[i, 0, :n]
        ratio = 10 * math.log10(float(batch.x[i, 0, :n].square().mean() / added.square().mean()))
        assert ratio == pytest.approx(db, abs=1e-3) and (out[i, 0, n:] == 0).all()


def test_noise_falls_with_frequency_by_up_to_six_decibel_an_octave() -> None:
    slopes = []
    x = hearing.coloured((40, 1, 8192), gen())[:, 0].numpy()
    for row in x:
        f, p = signal.welch(row, nperseg=1024)
        slopes.append(np.polyfit(np.log2(f[10:400]), 10 * np.log10(p[10:400]), 1)[0])
    assert min(slopes) < -4.5 and max(slopes) > -1.5 and max(slopes) < 0.7 and min(slopes) > -6.7


def test_a_room_is_a_convolution_with_direct_sound_and_a_tail() -> None:
    click = torch.zeros(2, 1, 1500)
    click[:, 0, 0] = 1
    room = hearing.reverberated(click, RATE, gen(3))[:, 0]
    assert torch.allclose(room[:, 0], torch.ones(2), atol=1e-5)
    x = sounds([1500, 1500], seed=9).x
    wet = hearing.reverberated(x, RATE, gen(3))[:, 0]
    for i in range(2):
        want = np.convolve(x[i, 0].numpy(), room[i].numpy())[:1500]
        assert np.allclose(wet[i].numpy(), want, atol=1e-4)
    early, late = room[:, 10:200].abs().mean(1), room[:, 600:790].abs().mean(1)
    assert (late < early).all()


def test_another_speed_changes_length_and_pitch_together() -> None:
    t = torch.arange(4000) / RATE
    x = torch.sin(2 * math.pi * 100 * t)[None, None].expand(2, 1, -1)
    there = torch.ones(2, 4000, dtype=torch.bool)
    out, valid = hearing._sped(x, there, torch.tensor([2.0, 0.5]))
    assert valid.sum(1).tolist() == [2000, 4000]
    for i, hz in enumerate((200, 50)):
        n = int(valid[i].sum())
        peak = np.abs(np.fft.rfft(out[i, 0, :n].numpy())).argmax() * RATE / n
        assert peak == pytest.approx(hz, abs=2)


# ---- spectra ----


def test_a_cut_part_is_the_slow_interpolation_and_ends_with_the_item() -> None:
    batch = spectra_of([40, 20])
    out = hearing.cut(batch, torch.tensor([5.0, 12.0]), torch.tensor([20.0, 20.0]), 10)
    assert out.valid is not None
    there = out.valid.view(2, 6, 10)[:, 0]
    assert there[0].all() and there[1].tolist() == [True] * 4 + [False] * 6  # 12 + (j + 1/2) * 2 < 20
    for j in range(10):
        centre = 5 + (j + 0.5) * 2 - 0.5  # triangles as wide as the reduction
        weight = np.maximum(0, 1 - np.abs(np.arange(40) - centre) / 2)
        want = (batch.x[0, 0].numpy() * (weight / weight.sum())).sum(1)
        assert np.allclose(out.x[0, 0, :, j].numpy(), want, atol=1e-5)
    assert (out.x[1, 0, :, 4:] == 0).all()


def test_boxes_span_what_was_asked_for_and_say_where_they_lie() -> None:
    batch = spectra_of([40] * 400)
    out = hearing.boxed(batch, 40, 40, (0.5, 1.0), 0.5, gen())
    assert out.frame is not None and out.frame.shape == (400, 2, 2)
    extent = out.frame[..., 1]
    assert 0.5 <= float(extent[:, 1].min()) < 0.55 and 0.95 < float(extent[:, 1].max()) <= 1.0
    assert 0.5 <= float(extent[:, 0].min()) and (extent[:, 0] == 1).float().mean() == pytest.approx(0.5, abs=0.1)
    assert ((out.frame.sum(-1) <= 1.0001) & (out.frame[..., 0] >= 0)).all()
    whole = hearing.boxed(batch, 40, 40, (1.0, 1.0), 1.0, gen())
    assert torch.allclose(whole.x, batch.x, atol=1e-4)


def test_mixing_adds_powers_and_leaves_padding_alone() -> None:
    batch = spectra_of([30, 10, 20])
    out = hearing.mixed(batch, 0.4, gen(1))
    order = (g := gen(1), torch.rand(3, generator=g).argsort())[1]
    stranger = torch.empty_like(order).scatter(0, order, order.roll(1))
    share = torch.rand(3, 1, 1, 1, generator=g) * 0.4
    for i, n in enumerate((30, 10, 20)):
        j = int(stranger[i])
        m = (30, 10, 20)[j]
        power = (1 - share[i]) * batch.x[i, :, :, :n].exp()
        k = min(n, m)
        power[..., :k] += share[i] * batch.x[j, :, :, :k].exp()
        assert torch.allclose(out.x[i, :, :, :n], power.log(), atol=1e-4)
        assert (out.x[i, ..., n:] == 0).all()
    assert sorted(stranger.tolist()) == [0, 1, 2] and (stranger != torch.arange(3)).all()


def test_a_fade_is_a_straight_line_over_time_and_a_tilt_one_over_the_bands() -> None:
    batch = spectra_of([30, 30])
    out = hearing.faded(batch, 3.0, 2.0, gen())
    change = (out.x - batch.x)[0, 0]
    assert torch.allclose(change.diff(dim=1).diff(dim=1), torch.zeros(6, 28), atol=1e-4)
    assert torch.allclose(change.diff(dim=0).diff(dim=0), torch.zeros(4, 30), atol=1e-4)
    assert float(change.abs().max()) <= 5.0 and float(change.std()) > 0.1


def test_hiss_has_a_level_below_the_sound_and_half_of_the_items_have_none() -> None:
    quiet = Batch(torch.full((400, 1, 16, 20), -3.0), torch.arange(400))
    out = hearing.hissed(quiet, 0.5, 5.0, gen())
    changed = (out.x != quiet.x).flatten(1).any(1)
    assert 0.4 < float(changed.float().mean()) < 0.6
    added = (out.x[changed].exp() - quiet.x[changed].exp()).flatten(1).mean(1)
    ratio = 10 * torch.log10(quiet.x[changed].exp().flatten(1).mean(1) / added)
    assert 2.0 < float(ratio.min()) < 8.0 and 30 < float(ratio.max()) < 38


def test_hidden_stretches_are_one_of_the_time_and_one_of_the_bands() -> None:
    batch = spectra_of([40, 20], tall=10)
    out = hearing.hidden(batch, 0.5, gen(2), -9.0)
    for i, n in enumerate((40, 20)):
        gone = out.x[i, 0, :, :n] == -9.0
        rows, columns = gone.all(1), gone.all(0)
        assert torch.equal(gone, rows[:, None] | columns[None])
        assert rows.sum() <= 5 and columns.sum() <= n // 2
        assert rows.int().diff().abs().sum() <= 2 and columns.int().diff().abs().sum() <= 2
    assert (out.x[1, ..., 20:] == 0).all()


def test_backward_in_time_leaves_padding_at_the_end() -> None:
    batch = spectra_of([7, 4])
    out = hearing.reversed_(batch, torch.tensor([True, True]))
    assert torch.equal(out.x[1, ..., :4], batch.x[1, ..., :4].flip(-1)) and (out.x[1, ..., 4:] == 0).all()
    assert torch.equal(hearing.reversed_(batch, torch.tensor([False, False])).x, batch.x)


# ---- the modality ----


def loaded(rows: int = 8) -> tuple[Audio, Batch]:
    data = small("audio")
    mod = make_modality(data.spec, {})
    assert isinstance(mod, Audio) and data.lengths is not None
    x = torch.from_numpy(np.asarray(data.x[:rows]))
    valid = torch.arange(x.shape[-1]) < torch.from_numpy(data.lengths[:rows])[:, None]
    return mod, Batch(mod.load(x), torch.arange(rows), valid)


@pytest.mark.parametrize("front", ["logmel", "mfcc", "stft", "waveform"])
def test_an_item_alone_is_seen_as_beside_longer_ones(front: str) -> None:
    data = small("audio")
    mod = make_modality(data.spec, {"front": front})
    encoder = make_encoder(mod, {"name": "transformer", "size": "tiny"}, frozenset({"ragged"})).eval()
    from tacit.embedding.model import Model

    model = Model(encoder, mod, {})
    assert data.lengths is not None
    together = model.vectors(data.x[:6], data.lengths[:6])
    for i in range(6):
        alone = model.vectors(data.x[np.array([i])], data.lengths[i : i + 1])
        assert np.allclose(alone[0], together[i], atol=1e-4)


def test_every_view_has_the_same_shape_and_is_drawn_from_the_generator_alone() -> None:
    mod, batch = loaded()
    want = Views(global_=2, local=1, weak=1, plain=1)
    a, b, c = (mod.views(batch, want, gen(seed), (16, 4)) for seed in (1, 1, 2))
    assert [v.x.shape for v in a[:2]] == [(8, 1, 16, 40)] * 2 and a[2].x.shape == (8, 1, 16, 20)
    assert all(torch.equal(u.x, v.x) for u, v in zip(a, b, strict=True)) and not torch.equal(a[0].x, c[0].x)
    assert all(v.x.isfinite().all() for v in a)
    again = mod.views(a[0], Views(plain=1), gen(), (16, 4))[0]
    assert again is a[0], "a view is looked at as it is"


def test_frames_of_padding_do_not_exist_and_silence_is_finite() -> None:
    mod, batch = loaded()
    heard = mod.heard(batch)
    assert heard.valid is not None
    frames = heard.valid.view(8, 16, -1)[:, 0].sum(1)
    assert batch.valid is not None and torch.equal(frames, (batch.valid.sum(1) + mod.hop - 1) // mod.hop)
    silent = mod.heard(Batch(torch.zeros(1, 1, 800), torch.zeros(1, dtype=torch.int64)))
    assert silent.x.isfinite().all() and torch.allclose(silent.x, torch.tensor(math.log(spectra.FLOOR)))


@pytest.mark.parametrize("task", ["permute", "relation", "reverse", "noise"])
def test_tasks_have_as_many_answers_as_they_say(task: str) -> None:
    mod, batch = loaded()
    views = mod.views(batch, Views(task=task), gen(), (16, 4))
    answer = views[-1].answer
    assert answer is not None
    if task == "noise":
        assert answer.shape == views[-1].x.shape and mod.tasks[task] == 1
    else:
        assert answer.shape == (8,) and 0 <= int(answer.min()) and int(answer.max()) < mod.tasks[task]
        assert len(views) == {"permute": 3, "relation": 2, "reverse": 1}[task]


def test_tokens_of_samples_are_those_of_the_samples_alone() -> None:
    data = small("audio")
    mod = make_modality(data.spec, {"front": "waveform"})
    tokenizer = mod.tokenizer(False)
    assert tokenizer.patch == (40,)  # 20 ms at 2,000 samples a second
    x = 0.1 * torch.randn(2, 1, 400, generator=gen())
    whole = tokenizer(Batch(x, torch.arange(2)))
    assert whole.x.shape == (2, 10, tokenizer.dim)
    changed = x.clone()
    changed[..., 200:] = 0.3
    other = tokenizer(Batch(changed, torch.arange(2)))
    assert torch.allclose(whole.x[:, :4], other.x[:, :4], atol=1e-6) and not torch.allclose(whole.x[:, 5:], other.x[:, 5:], atol=1e-3)


def test_reasons_name_seconds_and_frequencies() -> None:
    mod, _ = loaded()
    item = np.zeros((1, 800), np.float32)
    item[0, 400:480] = 20_000 * np.sin(2 * np.pi * 500 * np.arange(80) / RATE)
    grid, cell = (1, 10), (16, 4)
    evidence = np.zeros(10)
    evidence[5] = 5.0
    tokenizer = mod.tokenizer(False)
    strange = Strange(item, np.zeros((10, 64), np.float32), evidence, grid, cell, tokenizer)
    (where, words), *_ = mod.reasons(strange, 3)
    assert where == (5,) and "0.20 to 0.24 s" in words and "Hz" in words and "expected" in words and "dB" in words


def test_what_is_measured_is_what_is_seen() -> None:
    data = small("audio")
    mean, std = data.spec.extra["measured"]["logmel"]
    mod = make_modality(data.spec, {})
    assert data.lengths is not None
    values = []
    for i in data.train.tolist():
        wave = torch.from_numpy(data.x.item(i).astype(np.float32))[None, None] / 32_767
        values.append(mod.seen(wave).flatten())  # type: ignore[attr-defined]
    every = torch.cat(values)
    assert mean == pytest.approx(float(every.mean()), abs=1e-3) and std == pytest.approx(float(every.std()), abs=1e-3)


def test_arrays_are_recordings_when_they_are_said_to_be() -> None:
    data = from_arrays(
        [np.zeros(100, np.float32) + 0.5, np.array([32767, -32767] * 50, np.int16)], modality="audio", options={"rate": 1000}
    )
    assert data.x.item(0)[0] == 16384 and data.x.item(1)[:2].tolist() == [32767, -32767]
