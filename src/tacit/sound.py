"""Sound files: what their head says, and any part of them as samples of one channel at one rate; no file is ever read as a whole."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tacit.modality import BadItem

ENDINGS = frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 .rf64".split())
OTHERS = frozenset(".m4a .aac .mp4 .wma .amr .ac3 .ape .wv .ra .mka .webm .3gp".split())  # sound, but no library of ours reads it
PIECE = 2**16  # frames that are read at once, so that 32 channels of 192 kHz stay small
MARGIN = 0.05  # seconds beyond a part that resampling looks at
DENSEST = 20_000  # frames that a byte of a compressed file may stand for; silence in FLAC is far below
MOST = 10_000 * 3600  # seconds of one file that are believed
RATES = (1_000, 384_000)  # samples a second that are believed
FULL = 32_767  # of a stored sample
LOUD = 4.0  # peak of samples up to which a file with values beyond 1 was merely recorded too loud
Raw = Path | bytes


@dataclass(frozen=True)
class Head:
    """What a file says of itself. rate: samples a second. frames: samples of each channel. kind: format and coding, in its own words."""

    rate: int
    frames: int
    channels: int
    kind: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.rate


@dataclass(frozen=True)
class Clip:
    """A part of a sound file. file: gives its path, or its bytes. start, stop: in seconds; None = to the end."""

    file: Callable[[], Raw]
    start: float = 0.0
    stop: float | None = None


def head(raw: Raw) -> Head:
    """What the file says of itself; only its head is read. Raises BadItem."""
    with _opened(raw) as file:
        return _head(file, raw)


def read(clip: Clip, rate: int, longest: float) -> np.ndarray:
    """The mean of all channels, float32 [T] in -1..1 at `rate`. longest: seconds of a part, at most. Raises BadItem."""
    raw = clip.file()
    with _opened(raw) as file:
        about = _head(file, raw)
        start, stop = clip.start, about.seconds if clip.stop is None else min(clip.stop, about.seconds)
        if start >= stop:
            raise BadItem(f"nothing is left between {start:g} and {stop:g} seconds: the file has {about.seconds:.3g}")
        if stop - start > longest * 1.001:
            raise BadItem(f"{stop - start:.0f} seconds are more than the {longest:g} of an item: open the file by its path, to have it cut")
        first, last = round(start * about.rate), round(stop * about.rate)
        if last <= first:
            raise BadItem(f"nothing is left between {start:g} and {stop:g} seconds: not one sample")
        other = 0 if rate == about.rate else round(MARGIN * about.rate)
        before, end = max(0, first - other), min(about.frames, last + other)
        x = _mono(file, before, end - before)
    if len(x) < 0.99 * (end - before):
        raise BadItem(f"truncated: {(before + len(x)) / about.rate:.3g} of {about.seconds:.3g} seconds can be read")
    if not np.isfinite(x).all():
        raise BadItem(f"{int((~np.isfinite(x)).sum()):,} samples are not finite numbers")
    peak = float(np.abs(x).max(initial=0.0))
    if peak > 40_000:
        raise BadItem(f"samples of up to {peak:.3g} are no sound: -1 to 1 is expected")
    if peak > LOUD:  # whole numbers that were stored as they are
        x = x / np.float32(32_768)
    if rate != about.rate:
        import soxr

        x = np.asarray(soxr.resample(x, about.rate, rate), np.float32)
        skip = round((first - before) / about.rate * rate)
        x = x[skip : skip + max(1, round((last - first) / about.rate * rate))]
    return x.clip(-1, 1)


def _mono(file: Any, start: int, count: int) -> np.ndarray:
    """`count` frames from `start` on as the mean of the channels, fewer where the file ends early. Raises BadItem."""
    parts = []
    try:
        file.seek(start)
        while count > 0:
            part = file.read(min(PIECE * 8 // max(8, file.channels), count), dtype="float32", always_2d=True)
            if not len(part):
                break
            parts.append(part.mean(1))
            count -= len(part)
    except Exception as error:  # libsndfile's own errors, and what its reader of bytes raises
        if not parts:
            raise BadItem(f"truncated or damaged: {_said(error)}") from None
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _head(file: Any, raw: Raw) -> Head:
    size = len(raw) if isinstance(raw, bytes) else raw.stat().st_size
    found = Head(int(file.samplerate), int(file.frames), int(file.channels), f"{file.format} {file.subtype}")
    if found.frames <= 0:
        raise BadItem("a head without any sample")
    if not RATES[0] <= found.rate <= RATES[1]:
        raise BadItem(f"claims {found.rate:,} samples a second")
    if found.seconds > MOST or found.frames > DENSEST * size:
        raise BadItem(f"claims {found.seconds / 3600:,.0f} hours in {size:,} bytes")
    return found


@contextmanager
def _opened(raw: Raw) -> Iterator[Any]:
    import soundfile

    if isinstance(raw, Path):
        try:
            size = raw.stat().st_size
        except PermissionError:
            raise BadItem("no permission to read it") from None
        except OSError:
            raise BadItem("the file is gone") from None
    else:
        size = len(raw)
    if not size:
        raise BadItem("the file is empty")
    try:
        file = soundfile.SoundFile(io.BytesIO(raw) if isinstance(raw, bytes) else str(raw))
    except PermissionError:
        raise BadItem("no permission to read it") from None
    except Exception as error:
        raise BadItem(_unreadable(error, raw)) from None
    with file:
        yield file


def _unreadable(error: Exception, raw: Raw) -> str:
    """Why no library reads this, and what to do."""
    import soundfile

    if isinstance(raw, Path) and not raw.is_file():
        return "the file is gone"
    start = raw[:12] if isinstance(raw, bytes) else _first(raw)
    if start[:3] == b"ID3" or start[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        if "MP3" not in soundfile.available_formats():
            return f"libsndfile {soundfile.__libsndfile_version__} reads no MP3: pip install --upgrade soundfile"
        return f"a damaged MP3: {_said(error)}"
    if start[4:8] == b"ftyp":
        return "AAC or ALAC (MP4) is not read: convert it, for example with ffmpeg -i a.m4a a.flac"
    if start[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM"):
        return f"damaged, or in a coding that is not read ({_said(error)}): convert it, for example with ffmpeg -i a.wav b.flac"
    if "No such file" in str(error) or "System error" in str(error):
        return "it cannot be opened"
    return "the content is no sound that is read here (WAV, FLAC, OGG, MP3, AIFF, AU)"


def _first(raw: Path) -> bytes:
    try:
        with raw.open("rb") as file:
            return file.read(12)
    except OSError:
        return b""


def _said(error: Exception) -> str:
    """libsndfile's own words, without the path."""
    return (str(error).splitlines() or [type(error).__name__])[0].rpartition(": ")[2][:120] or type(error).__name__


def length_of(raw: Any, rate: int, usual: int) -> tuple[int, float]:
    """Rate and seconds of a raw recording: a Clip, a file, or samples, which have the given rate, 0 = the usual one. Raises BadItem."""
    if isinstance(raw, np.ndarray):
        return rate or usual, max(raw.shape, default=0) / (rate or usual)
    clip = raw if isinstance(raw, Clip) else Clip(lambda: raw)
    about = head(clip.file())
    stop = about.seconds if clip.stop is None else min(clip.stop, about.seconds)
    return about.rate, max(0.0, stop - clip.start)


def samples_of(raw: Any, rate: int, longest: float) -> np.ndarray:
    """A raw recording as int16 [T] at a rate; longest: seconds, at most. Raises BadItem."""
    if isinstance(raw, BadItem):
        raise raw
    if isinstance(raw, np.ndarray):
        x = raw.reshape(-1) if raw.ndim < 2 or raw.shape[0] == 1 else raw.mean(0)
        if x.ndim != 1 or not x.size or x.dtype.kind not in "if":
            raise BadItem(f"shape {raw.shape} of {raw.dtype} is no recording: samples [T] are")
        if x.dtype == np.int16:
            return x
        x = x.astype(np.float32) / np.float32(1.0 if raw.dtype.kind == "f" else np.iinfo(raw.dtype).max)
        x = x[: len(x) - int(np.isnan(x)[::-1].argmin())] if np.isnan(x).any() else x  # padding
        if not np.isfinite(x).all():
            raise BadItem(f"{int((~np.isfinite(x)).sum()):,} samples are not finite numbers")
    else:
        clip = raw if isinstance(raw, Clip) else Clip(lambda: raw)
        x = read(clip, rate, longest)
    return np.rint(x.clip(-1, 1) * FULL).astype(np.int16)


def wav(samples: np.ndarray, rate: int) -> bytes:
    """Samples [T] from -1 to 1 as a WAV file of 16 bit."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV", subtype="PCM_16")
    return out.getvalue()
