"""Images: decoded once to uint8 at a stored size, so that training only crops, scales and colours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from PIL import Image as Pillow
from pydantic import Field

from tacit import nuisances, pictures
from tacit.grid import PARTS, Grid, Size, no_larger, permutations, stretch
from tacit.later import later
from tacit.modality import RECIPE, BadItem, Raw, class_numbers
from tacit.reasons import Reason, Strange, regions
from tacit.types import Batch, Fraction, NonNegative, Share, Spec, Views

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F

    from tacit import augment, patches, pieces
    from tacit.encoder import Tokenizer
else:
    torch, F, augment, patches = later("torch"), later("torch.nn.functional"), later("tacit.augment"), later("tacit.patches")
    pieces = later("tacit.pieces")

SAMPLE = 512
CHROMA = 0.25  # of I and Q that counts as full colour; few pixels have more
MIRRORED = 1.15  # from this strangeness on, mirroring would teach the model to confuse different things

Tiles = Annotated[int, Field(ge=0, le=8)]


class Image(Grid):
    """Photos, scans and drawings, in grey or colour.

    crop: smallest share of the area that a global view keeps. flip: mirror half of the views; "auto" does so unless mirrored
    images lie measurably outside the data (digits, letters, shoes that all point left). colour: strength of brightness,
    contrast and, on colour images, saturation and hue. grey: probability of dropping all colour. blur: probability of a blur
    of up to a twentieth of the side. turn: largest rotation in degrees. patch: side of a token for transformers, 0 = from the size.
    local: side of a local view in pixels, 0 = half.
    tiles: overlapping parts a side whose mean and deviation the embedding holds beside the whole image, 0 = the whole image alone.
    """

    unit, item_bytes, axes, reads_files, tagged, untagged = "images", 1, 4, True, "pixels", 255
    explained, plainly = "integrated", "hog"
    strengths = {
        "crop": (0.7, 0.3, 0.1),
        "flip": (False, True),
        "colour": (0.0, 0.4, 0.8),
        "grey": (0.0, 0.2),
        "blur": (0.0, 0.2, 0.5),
        "turn": (0.0, 15.0),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        crop: Share = 0.3,
        flip: Annotated[str | bool, Field(union_mode="left_to_right")] = "auto",
        colour: NonNegative = 0.4,
        grey: Fraction = 0.2,
        blur: Fraction = 0.2,
        turn: NonNegative = 0.0,
        patch: int = 0,
        tiles: Tiles = 2,
        local: Size = 0,
    ) -> None:
        super().__init__(spec)
        self.tiles, self.local = tiles, no_larger(local, self.sizes)
        self.tasks = {"turn": 4, "permute": len(permutations(PARTS**2)), "relation": PARTS**2 - 1}
        if spec.channels == 3:
            self.tasks["colour"] = 2
        else:
            self.strengths = {k: v for k, v in self.strengths.items() if k != "grey"}
            self.missing = {"colour": "these images are grey, so there is no colour to predict"}
        self.lowest, self.colour, self.grey, self.blur, self.turn = crop, colour, grey, blur, turn
        strange = float(spec.extra.get("mirror", 1.0))
        self.flip = strange < MIRRORED if flip == "auto" else str(flip).lower() in ("true", "1", "yes")
        self.patch = patch or min(16, 1 << max(0, (min(self.sizes) // 7).bit_length() - 1))
        how = f"mirrored images are {strange:.2f} times as far from the data as the data from itself" if flip == "auto" else "as asked"
        self.ignores = (
            f"position and scale (down to {crop:.0%} of the area), "
            + (f"mirroring ({how}), " if self.flip else "")
            + ("colour, " if spec.channels == 3 and colour else "")
            + ("brightness and contrast, " if colour else "")
            + (f"rotation up to {turn:g} degrees, " if turn else "")
            + ("slight blur" if blur else "shape (aspect ratio)")
            + ("" if self.flip else f"; not mirroring ({how})")
        )

    @classmethod
    def prefer(cls, spec: Spec, device: str) -> tuple[str, str]:
        if device == "cpu":
            return "convnet", "on a CPU a small strided network sees thirty times more images in the same time than a ResNet-18"
        return "resnet", "a GPU has the speed for a ResNet-18"

    def load(self, x: Tensor) -> Tensor:
        return x.float() / 255

    def augment(self, batch: Batch, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views = RECIPE) -> Batch:
        if kind == "plain":
            return self.whole(batch)
        b = len(batch.x)
        size = self.sizes if kind != "local" else self.local_sizes(cell)
        start, extent = self.place(b, self.shares(kind, want), generator, self.stretch if kind != "weak" else 1.0)
        if self.flip:
            mirrored = augment.uniform(generator, (b,)) < 0.5
            start = torch.stack([start[:, 0], torch.where(mirrored, start[:, 1] + extent[:, 1], start[:, 1])], 1)
            extent = torch.stack([extent[:, 0], torch.where(mirrored, -extent[:, 1], extent[:, 1])], 1)
        blurs = None
        if self.blur and kind != "weak":
            sigma = augment.uniform(generator, (b,), 0.0, min(size) / 20) * (augment.uniform(generator, (b,)) < self.blur * want.strength)
            blurs = [augment.gaussian(sigma, s) for s in size]
        view = self.resample(batch, start, extent, size, blurs)
        x = view.x
        if self.turn and kind != "weak":
            x = augment.rotate(x, augment.uniform(generator, (b,), -self.turn, self.turn) * (want.strength * torch.pi / 180))
        if self.colour and kind != "weak":
            v = min(1.0, self.colour * want.strength)
            grey = min(1.0, self.grey * want.strength) if x.shape[1] == 3 else 0.0
            x = augment.jitter_colour(x, generator, brightness=v, contrast=v, saturation=v, hue=v / 4, grey=grey, share=0.8)
        return replace(view, x=x)

    def pretext(self, task: str, batch: Batch, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """turn: a square view turned by 0, 90, 180 or 270 degrees; the answer is the number of quarter turns.

        colour: a view without colour; the answer is its chroma (I and Q of YIQ) in -1..1, [B, 2, H, W].
        """
        if task == "colour":
            view = self.resample(batch, *self.place(len(batch.x), (self.weakest, 1.0), generator, self.stretch), self.sizes)
            y, chroma = augment.luma_chroma(view.x)
            return [replace(view, x=y.expand_as(view.x), frame=None, answer=(chroma / CHROMA).clamp(-1, 1))]
        if task != "turn":
            return super().pretext(task, batch, generator, cell)
        b, side = len(batch.x), min(self.sizes)
        start, extent = self.place(b, (self.weakest, 1.0), generator)
        view = self.resample(batch, start, extent, (side, side))
        quarter = (augment.uniform(generator, (b,)) * 4).long().clamp(max=3)
        turned = torch.stack([view.x.rot90(k, (2, 3)) for k in range(4)])
        x = turned[quarter, torch.arange(b, device=quarter.device)]
        if self.sizes != (side, side):
            zero = torch.zeros(b, device=x.device)
            x = augment.apply_axes(x, [augment.interpolation(zero, zero + 1, side, side, s) for s in self.sizes])
        return [replace(view, x=x, frame=None, answer=quarter)]

    def placed(self, box: pieces.Box, sizes: tuple[int, ...]) -> str:
        down, across = (stretch(a, b, n) for (a, b), n in zip(box, sizes, strict=True))
        return f"pixels {across} across, {down} down"

    def reasons(self, item: Strange, most: int) -> list[Reason]:
        return regions(item, most)

    def tokenizer(self, dense: bool) -> Tokenizer:
        side = 1 if dense else self.patch
        return patches.GridTokenizer(self.spec.mean, self.spec.std, (side, side))

    @classmethod
    def plan(
        cls, sample: Sequence[Raw], *, size: int | None = None, limit: int = 224, fit: Literal["crop", "squash", "pad"] = "crop"
    ) -> Spec:
        """Choose channels and stored size from up to 512 evenly spaced images (unreadable ones are left out).

        size: training size in pixels, None = the median short side, but at most `limit`.
        limit: largest training size that suits this machine, in pixels.
        fit: how a picture of another shape becomes the stored square: cut to its centre, squashed, or padded with black.
        """
        shapes, grey, high, low, whole, reason = [], True, 0.0, 0.0, True, ""
        for i in _spread(len(sample), SAMPLE):
            try:
                if isinstance(raw := sample[i], np.ndarray):
                    x = pictures.channels_last(raw)
                    shapes.append(x.shape[:2])
                    grey &= x.shape[2] == 1
                    deep = None if raw.dtype in (np.uint8, np.bool_) else x
                else:
                    with pictures.opened(raw) as image:
                        turned = pictures.orientation(image) in (5, 6, 7, 8)
                        shapes.append(image.size if turned else image.size[::-1])
                        grey &= image.mode in ("1", "L", "LA", *pictures.DEEP)
                        deep = np.asarray(image) if image.mode in pictures.DEEP else None
            except Exception as error:  # decode will report this item
                reason = reason or (str(error) if isinstance(error, BadItem) else pictures.reason(error))
                continue
            if deep is not None:
                whole &= deep.dtype.kind in "iu"
                deep = deep[np.isfinite(deep)] if deep.dtype.kind == "f" else deep
                if deep.size:
                    low, high = min(low, float(deep.min())), max(high, float(deep.max()))
        if not shapes:
            raise BadItem(f"no image can be read; the first one: {reason or 'there is none'}")
        short = int(median(min(s) for s in shapes))
        chosen = size or max(1, min(short, limit))
        alike = len(set(shapes)) == 1
        square = len(set(shapes[0])) == 1
        if alike and (square or fit == "crop") and min(shapes[0]) <= 1.25 * chosen:
            stored = shapes[0]
            train = tuple(max(1, round(s * chosen / min(stored))) for s in stored)
        else:
            stored = (max(1, min(round(1.25 * chosen), short)),) * 2
            train = (chosen, chosen)
        extra = {"size": list(train), "fit": fit, "scale": pictures.ceiling(low, high, whole), "grey": grey}
        ranked = sorted(shapes, key=lambda s: s[0] * s[1])
        extra["original"] = [list(map(int, ranked[k])) for k in (0, len(ranked) // 2, -1)]
        return Spec("image", 1 if grey else 3, tuple(int(s) for s in stored), extra=extra)

    @classmethod
    def decode(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """One image as uint8 [C, H, W]: upright, on white where transparent, at the stored size."""
        height, width = spec.sizes
        if isinstance(raw, np.ndarray):
            x = pictures.eight_bit(pictures.channels_last(raw), spec.extra["scale"])
            if x.shape == (height, width, spec.channels):
                return np.ascontiguousarray(x.transpose(2, 0, 1))
            image = Pillow.fromarray(x[:, :, 0] if x.shape[2] == 1 else x)
            return pictures.array(pictures.fitted(image, spec), spec)
        with pictures.opened(raw) as image, pictures.explained(image):
            if image.format in ("JPEG", "MPO"):  # decodes at 1/2, 1/4 or 1/8 of the size, never below twice the stored one
                shrink = 2 * max(height, width) / min(image.size)
                image.draft(None, (round(image.width * shrink) + 1, round(image.height * shrink) + 1))
            image.load()
            return pictures.array(pictures.fitted(pictures.turned(pictures.simple(image, spec), image), spec), spec)

    @classmethod
    def extent(cls, raw: Raw) -> tuple[int, ...]:
        """Height and width of one upright image."""
        if isinstance(raw, np.ndarray):
            return pictures.channels_last(np.broadcast_to(np.uint8(0), raw.shape)).shape[:2]
        with pictures.opened(raw) as image:
            return image.size if pictures.orientation(image) in (5, 6, 7, 8) else image.size[::-1]

    @classmethod
    def tags(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """One mask as int16 [H, W], cut and scaled as its image without blending values; -1 = unknown, and beyond the image.

        255 stays as it is: only all masks together say whether it stands for "unknown".
        """
        found = raw if isinstance(raw, np.ndarray) else pictures.palette(raw)
        x = pictures.channels_last(class_numbers(found))
        if x.shape[2] != 1:
            raise BadItem(f"shape {tuple(found.shape)} is not a mask: one value for each pixel is")
        part = np.asarray(pictures.scaled(Pillow.fromarray(x[:, :, 0].astype(np.int32)), spec, Pillow.Resampling.NEAREST))
        out = np.full(spec.sizes, -1, np.int16)
        top, left = ((whole - inner) // 2 for whole, inner in zip(out.shape, part.shape, strict=True))
        out[top : top + part.shape[0], left : left + part.shape[1]] = part
        return out

    @classmethod
    def example(cls) -> Spec:
        """Small photos."""
        extra = {"size": [32, 32], "fit": "crop", "scale": [0, 255], "grey": False}
        return Spec("image", 3, (32, 32), (0.5,) * 3, (0.25,) * 3, extra=extra)

    @classmethod
    def finish(cls, spec: Spec, x: np.ndarray) -> Spec:
        """Measure mean and std in 0..1 for each channel, and how out of place a mirrored or upside-down image is.

        x: uint8 [n, C, H, W], training images.
        extra["mirror"], extra["upside"]: 1 = flipped images look like the others, 2 = twice as far from them as real ones.
        """
        mean, std = [], []
        for c in range(spec.channels):
            # in pieces, because bincount takes 8 bytes a pixel
            pieces = [np.bincount(x[i : i + 64, c].reshape(-1), minlength=256) for i in range(0, len(x), 64)]
            count = np.sum(pieces, 0) / max(1, x[:, c].size) if pieces else np.zeros(256)
            level = np.arange(256) / 255
            mean.append(float(count @ level))
            std.append(float(np.sqrt(max(0.0, count @ (level - mean[-1]) ** 2))) or 1.0)
        few = torch.from_numpy(np.ascontiguousarray(x[_spread(len(x), 1000)]))
        least = (min(16, few.shape[2]), min(16, few.shape[3]))
        small = torch.cat([F.adaptive_avg_pool2d(part.float(), least) for part in few.split(64)]) if len(few) else few
        measured = {"mirror": _strangeness(small, 3), "upside": _strangeness(small, 2)}
        return replace(spec, mean=tuple(mean), std=tuple(std), extra={**spec.extra, **measured})

    @classmethod
    def nuisances(cls, x: Any, lengths: np.ndarray | None, spec: Spec) -> dict[str, np.ndarray]:
        return nuisances.of_images(x)

    @classmethod
    def prints(cls, x: Any, spec: Spec) -> np.ndarray | None:
        return nuisances.prints_of_images(x)

    @classmethod
    def apart(cls, x: Any, pairs: np.ndarray) -> np.ndarray | None:
        return nuisances.apart(x, pairs)

    @classmethod
    def picture(cls, x: np.ndarray, spec: Spec, size: int = 32) -> bytes:
        """A small PNG of one stored image [C, H, W]; size: pixels of the short side."""
        image = Pillow.fromarray(x[0] if x.shape[0] == 1 else np.ascontiguousarray(x.transpose(1, 2, 0)))
        ratio = size / min(image.size)
        image = image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), Pillow.Resampling.BICUBIC)
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()


def _spread(n: int, most: int) -> list[int]:
    """At most `most` evenly spaced indices of n."""
    return list(range(n)) if n <= most else [i * n // most for i in range(most)]


def _strangeness(x: Tensor, axis: int) -> float:
    """Median ratio: distance of the flipped image to the nearest OTHER image, over the image's own distance to it."""
    if len(x) < 3:
        return 1.0
    flat, flipped = x.double().flatten(1), x.double().flip(axis).flatten(1)  # float32 would lose small distances
    itself = torch.eye(len(x), dtype=torch.bool)
    own = torch.cdist(flat, flat).masked_fill(itself, torch.inf).amin(1)
    other = torch.cdist(flipped, flat).masked_fill(itself, torch.inf).amin(1)
    known = own > 1e-3
    return round(float((other[known] / own[known]).median()), 3) if bool(known.any()) else 1.0
