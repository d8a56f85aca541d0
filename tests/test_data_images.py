"""Decoding images: against Pillow, and every kind of file that users have."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from tacit.modalities.image import Image
from tacit.modality import BadItem

RNG = np.random.default_rng(0)


def photo(height=40, width=60, channels=3):
    small = RNG.integers(0, 256, (8, 8, channels), dtype=np.uint8)
    image = Pillow.fromarray(small[:, :, 0] if channels == 1 else small)
    return image.resize((width, height), Pillow.Resampling.BICUBIC)


def file(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def one(raw, **options):
    spec = Image.plan([raw], **options)
    return Image.decode(raw, spec), spec


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG", "WEBP"])
def test_native_size_equals_pillow(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    raw = file(photo(), kind, **options)
    x, spec = one(raw)
    assert spec.sizes == (40, 60) and spec.channels == 3 and spec.extra["size"] == [40, 60]
    np.testing.assert_array_equal(x, np.asarray(Pillow.open(io.BytesIO(raw)).convert("RGB")).transpose(2, 0, 1))


def test_grey_has_one_channel_and_one_colour_image_gives_three():
    grey, colour = file(photo(channels=1)), file(photo())
    assert Image.plan([grey, grey]).channels == 1
    spec = Image.plan([grey, colour])
    assert spec.channels == 3
    x = Image.decode(grey, spec)
    assert (x[0] == x[1]).all() and (x[0] == x[2]).all()


def test_transparency_is_composited_on_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = (255, 0, 0, 255)
    x, _ = one(file(Pillow.fromarray(pixels)))
    assert x[:, 0, 0].tolist() == [255, 0, 0] and x[:, 7, 7].tolist() == [255, 255, 255]


def test_palette_with_and_without_transparency():
    image = photo().convert("P", palette=Pillow.Palette.ADAPTIVE)
    x, _ = one(file(image))
    np.testing.assert_array_equal(x, np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    clear = Pillow.new("P", (4, 4), 0)
    clear.putpalette([0, 0, 0, 9, 9, 9])
    x, _ = one(file(clear, "PNG", transparency=0))
    assert (x == 255).all()


def test_exif_orientation_is_undone():
    image = photo(20, 30)
    exif = Pillow.Exif()
    exif[274] = 6
    raw = file(image, "JPEG", exif=exif, quality=95)
    x, spec = one(raw)
    assert spec.sizes == (30, 20)
    plain = np.asarray(Pillow.open(io.BytesIO(raw)).convert("RGB"))
    np.testing.assert_array_equal(x.transpose(1, 2, 0), np.rot90(plain, -1))


def test_sixteen_bits_are_scaled_by_the_ceiling_of_the_sample():
    pixels = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    raw = file(Pillow.fromarray(pixels))
    x, spec = one(raw)
    assert spec.channels == 1 and spec.extra["scale"] == [0.0, 4095.0]
    np.testing.assert_array_equal(x[0], np.rint(pixels * 255.0 / 4095).astype(np.uint8))
    assert Image.plan([pixels]).extra["scale"] == [0.0, 4095.0]


@pytest.mark.parametrize("mode", ["1", "CMYK", "LA", "I", "F"])
def test_rare_modes_decode(mode):
    image = photo().convert("L").convert(mode) if mode in ("1", "I", "F") else photo().convert(mode)
    x, spec = one(file(image, "TIFF"))
    assert x.shape == (spec.channels, 40, 60) and x.max() > x.min()


def test_different_sizes_are_resized_antialiased_and_cropped_to_the_centre():
    raws = [file(photo(100, 200)), file(photo(120, 90))]
    spec = Image.plan(raws, size=32)
    assert spec.sizes == (40, 40) and spec.extra["size"] == [32, 32]
    x = Image.decode(raws[0], spec)
    centre = Pillow.open(io.BytesIO(raws[0])).crop((50, 0, 150, 100)).resize((40, 40), Pillow.Resampling.BICUBIC)
    difference = np.abs(x.transpose(1, 2, 0).astype(int) - np.asarray(centre).astype(int))
    assert difference.mean() < 1.5 and difference.max() < 20


def test_fit_squash_and_pad():
    raw = file(Pillow.new("RGB", (100, 50), "red"))
    spec = Image.plan([raw], size=20, fit="pad")
    x = Image.decode(raw, spec)
    assert spec.sizes == (25, 25) and (x[0, 12] > 200).all() and (x[:, 0] == 0).all() and (x[:, -1] == 0).all()
    spec = Image.plan([raw], size=20, fit="squash")
    assert (Image.decode(raw, spec)[0] > 200).all()


def test_nothing_is_upscaled_beyond_the_median():
    raws = [file(photo(30, 30)), file(photo(30, 30)), file(photo(90, 90))]
    assert Image.plan(raws).sizes == (30, 30)
    assert Image.plan(raws, size=64).sizes == (30, 30)
    assert Image.plan([file(photo(300, 400))]).extra["size"] == [224, 224]


def test_arrays_in_any_order_of_axes():
    pixels = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
    for raw in (pixels, pixels.transpose(2, 0, 1)):
        x, _ = one(raw)
        np.testing.assert_array_equal(x, pixels.transpose(2, 0, 1))
    x, _ = one(pixels / 255.0)
    np.testing.assert_array_equal(x, pixels.transpose(2, 0, 1))


def test_one_pixel():
    x, spec = one(file(Pillow.new("L", (1, 1), 7)))
    assert x.tolist() == [[[7]]] and spec.sizes == (1, 1)


def test_fifty_megapixels_are_decoded_in_reduced_form():
    raw = file(Pillow.new("RGB", (10_000, 5_000), (10, 200, 30)), "JPEG")
    x, spec = one(raw, size=64)
    assert spec.sizes == (80, 80)
    assert np.abs(x.reshape(3, -1).mean(1) - [10, 200, 30]).max() < 3


def bomb(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("size", [10_000, 50_000])
def test_decompression_bombs_are_refused(size):
    spec = Image.plan([file(photo())])
    with pytest.raises(BadItem, match="bomb"):
        Image.decode(bomb(size, size), spec)


def test_truncated_and_foreign_content():
    whole = file(photo(), "JPEG")
    spec = Image.plan([whole])
    with pytest.raises(BadItem, match="truncated"):
        Image.decode(whole[: len(whole) // 2], spec)
    with pytest.raises(BadItem, match="not an image"):
        Image.decode(b"just text", spec)
    with pytest.raises(BadItem, match="not an image"):
        Image.decode(b"", spec)
    with pytest.raises(BadItem, match="not finite"):
        Image.decode(np.full((4, 4), np.nan), spec)
    with pytest.raises(BadItem, match="shape"):
        Image.decode(np.zeros((5, 6, 13), np.uint8), spec)
    with pytest.raises(BadItem, match="first one"):
        Image.plan([b"text"])


def test_finish_measures_mean_std_and_how_strange_a_mirror_image_is():
    spec = Image.plan([np.zeros((16, 16), np.uint8)])
    x = RNG.integers(0, 256, (50, 1, 16, 16), dtype=np.uint8)
    done = Image.finish(spec, x)
    assert done.mean[0] == pytest.approx(x.mean() / 255, abs=1e-9) and done.std[0] == pytest.approx((x / 255).std(), abs=1e-9)
    assert 0.9 < done.extra["mirror"] < 1.1  # noise has no left and right
    ramp = np.broadcast_to(np.arange(16, dtype=np.float64) * 12, (50, 1, 16, 16))
    sided = (ramp + RNG.normal(0, 4, ramp.shape)).clip(0, 255).astype(np.uint8)
    done = Image.finish(spec, sided)
    assert done.extra["mirror"] > 5 and 0.8 < done.extra["upside"] < 1.2


def test_finish_of_a_constant_image_and_picture():
    spec = Image.plan([np.zeros((4, 4), np.uint8)])
    assert Image.finish(spec, np.zeros((5, 1, 4, 4), np.uint8)).std == (1.0,)
    assert Pillow.open(io.BytesIO(Image.picture(np.zeros((3, 8, 16), np.uint8), spec, 32))).size == (64, 32)
