"""Picture files and arrays of pixels, whatever their depth, colours and orientation, brought to the stored size."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tacit.modality import BadItem
from tacit.types import Spec

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
MOST_PIXELS = 89_478_485  # Pillow's own threshold of suspicion: 256 MiB as RGB
BOMB = f"larger than {MOST_PIXELS // 10**6} megapixels, a possible decompression bomb"
INFINITE = "some pixels are not finite numbers"
TURN = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> Pillow's Transpose
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")

warnings.filterwarnings("error", category=Pillow.DecompressionBombWarning)


def opened(raw: Path | bytes | np.ndarray) -> Pillow.Image:
    """The image with its header read and nothing decoded. Raises BadItem."""
    assert not isinstance(raw, np.ndarray)
    try:
        image = Pillow.open(io.BytesIO(raw) if isinstance(raw, bytes) else raw, formats=FORMATS)
    except Exception as error:
        raise BadItem(reason(error)) from None
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise BadItem(f"{image.width} x {image.height} pixels: {BOMB}")
    return image


def reason(error: Exception) -> str:
    """What went wrong with a file, in words."""
    if isinstance(error, Pillow.DecompressionBombError | Pillow.DecompressionBombWarning):
        return BOMB
    if isinstance(error, Pillow.UnidentifiedImageError):
        return "the content is not an image (JPEG, PNG, WebP, TIFF, BMP, GIF or PPM)"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    text = str(error).split("\n")[0][:200]
    return f"truncated: {text}" if "truncated" in text else f"damaged: {text or type(error).__name__}"


def orientation(image: Pillow.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8."""
    try:
        return int(image.getexif().get(274, 1))
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1


def turned(flat: Pillow.Image, found: Pillow.Image) -> Pillow.Image:
    """The picture upright, as the EXIF data of the file says in which it was found."""
    turn = TURN.get(orientation(found))
    return flat if turn is None else flat.transpose(Pillow.Transpose(turn))


@contextlib.contextmanager
def explained(image: Pillow.Image) -> Iterator[None]:
    """What goes wrong with the pixels of an open image, as BadItem."""
    try:
        yield
    except BadItem:
        raise
    except MemoryError:
        raise BadItem(f"{image.width} x {image.height} pixels do not fit into memory") from None
    except Exception as error:  # Pillow's plug-ins raise OSError, ValueError, SyntaxError, struct.error, zlib.error, ...
        raise BadItem(reason(error)) from None


def palette(raw: Path | bytes) -> np.ndarray:
    """The values of a mask, [H, W]: numbers of grey or of the palette. Raises BadItem for colours and for what blurs values."""
    with opened(raw) as image, explained(image):
        if image.format in ("JPEG", "MPO"):
            raise BadItem("JPEG changes values, so they are no class numbers: save masks as PNG")
        if image.mode not in ("1", "L", "P", *DEEP):
            raise BadItem(f"a picture of colours ({image.mode}) is not a mask: save one class number for each pixel")
        image.load()
        return np.asarray(turned(image, image))


def simple(image: Pillow.Image, spec: Spec) -> Pillow.Image:
    """The image in mode L, RGB, LA or RGBA, 8 bits a channel."""
    if image.mode in DEEP:
        deep = np.asarray(image)
        if deep.dtype.kind == "f" and not np.isfinite(deep).all():
            raise BadItem(INFINITE)
        return Pillow.fromarray(eight_bit(deep, spec.extra["scale"]))
    if image.mode in ("RGBa", "PA", "P", "La") or (image.mode in ("L", "RGB", "1") and "transparency" in image.info):
        return image.convert("LA" if image.mode == "La" else "RGBA" if image.mode != "P" or "transparency" in image.info else "RGB")
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def scaled(image: Pillow.Image, spec: Spec, how: Pillow.Resampling) -> Pillow.Image:
    """The image at the stored size; with fit "pad" only as large as fits into it."""
    height, width = spec.sizes
    if image.size == (width, height):
        return image
    fit, w, h = spec.extra["fit"], image.width, image.height
    scale = max(width / w, height / h) if fit == "crop" else min(width / w, height / h)
    if fit == "crop":
        dx, dy = (w - width / scale) / 2, (h - height / scale) / 2
        box = (max(0.0, dx), max(0.0, dy), min(float(w), w - dx), min(float(h), h - dy))
        return image.resize((width, height), how, box=box, reducing_gap=2.0)
    if fit == "squash":
        return image.resize((width, height), how, reducing_gap=2.0)
    return image.resize((max(1, round(w * scale)), max(1, round(h * scale))), how, reducing_gap=2.0)


def fitted(image: Pillow.Image, spec: Spec) -> Pillow.Image:
    """The image at the stored size, antialiased, on black where it does not fill it."""
    height, width = spec.sizes
    inner = scaled(image, spec, Pillow.Resampling.BICUBIC)
    if inner.size == (width, height):
        return inner
    canvas = Pillow.new("L" if spec.channels == 1 else "RGB", (width, height))
    canvas.paste(on_white(inner, spec), ((width - inner.width) // 2, (height - inner.height) // 2))
    return canvas


def on_white(image: Pillow.Image, spec: Spec) -> Pillow.Image:
    """Without transparency, in the mode of the stored channels."""
    if image.mode in ("LA", "RGBA"):
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("L" if spec.channels == 1 else "RGB")


def array(image: Pillow.Image, spec: Spec) -> np.ndarray:
    """The image as uint8 [C, H, W]."""
    x = np.asarray(on_white(image, spec))
    return x[None].copy() if x.ndim == 2 else np.ascontiguousarray(x.transpose(2, 0, 1))


def channels_last(x: np.ndarray) -> np.ndarray:
    """[H, W], [H, W, C] or [C, H, W] as [H, W, C] with 1, 3 or 4 channels. Raises BadItem."""
    if x.dtype.kind not in "buif":
        raise BadItem(f"values of type {x.dtype} are not pixels")
    if x.ndim == 2:
        x = x[:, :, None]
    elif x.ndim == 3 and x.shape[2] not in (1, 3, 4) and x.shape[0] in (1, 3, 4):
        x = x.transpose(1, 2, 0)
    if x.ndim != 3 or x.shape[2] not in (1, 3, 4) or 0 in x.shape:
        raise BadItem(f"shape {tuple(x.shape)} is not an image: expected height x width with 1, 3 or 4 channels")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise BadItem(INFINITE)
    return x


def ceiling(low: float, high: float, whole: bool) -> list[float]:
    """The values that become 0 and 255, for pixels that are not 8 bits deep.

    Whole numbers: 0 and the next 2^k - 1 (255 at least), so that 12-bit scans keep their brightness.
    Fractions: 0..1, 0..255, or their own range.
    """
    if low < 0:
        return [low, max(high, low + 1e-12)]
    if whole:
        return [0.0, float(max(255, 2 ** int(high).bit_length() - 1))]
    return [0.0, 1.0 if high <= 1 else 255.0 if high <= 255 else high]


def eight_bit(x: np.ndarray, scale: Any) -> np.ndarray:
    """Pixels of any depth as uint8. scale: the values that become 0 and 255."""
    if x.dtype == np.uint8:
        return x
    if x.dtype == np.bool_:
        return x.astype(np.uint8) * 255
    low, high = scale
    return np.clip(np.rint((x.astype(np.float64) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
