"""A map as a picture: over an image or a spectrum, under a series, on words, as bars."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tacit.pieces import Pieces

FOR, AGAINST, INK, PAPER, FAINT = (208, 74, 20), (33, 102, 172), (30, 30, 30), (255, 255, 255), (130, 130, 130)
SIDE = 320  # pixels of the longer side of a drawn item
ROWS = 12  # bars


def colour(share: float) -> tuple[int, int, int, int]:
    """Of a part that adds this share of the largest, -1 to 1: orange speaks for, blue against; the weaker, the fainter."""
    r, g, b = FOR if share > 0 else AGAINST
    return r, g, b, round(200 * min(1.0, abs(share)) ** 0.8)


def shares(each: Sequence[float]) -> np.ndarray:
    """Attributions in units of the largest."""
    x = np.asarray(each, np.float64)
    return np.asarray(x / max(float(np.abs(x).max(initial=0)), 1e-12))


def png(image: Image.Image) -> bytes:
    """A picture as PNG."""
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG", optimize=True)
    return out.getvalue()


def over(x: np.ndarray, pieces: Pieces, each: Sequence[float]) -> Image.Image:
    """An image or a spectrum [C, H, W], any range, and beside it the same with its parts coloured."""
    lows, highs = np.nanquantile(x, 0.01), np.nanquantile(x, 0.99)
    scaled = (255 * ((np.nan_to_num(x, nan=lows) - lows) / max(highs - lows, 1e-9)).clip(0, 1)).astype(np.uint8)
    plain = Image.fromarray(scaled.transpose(1, 2, 0)) if len(x) == 3 else Image.fromarray(scaled[0])
    h, w = x.shape[1:]
    zoom = SIDE / max(h, w)
    size = (max(40, round(w * zoom)), max(40, round(h * zoom)))
    plain = plain.convert("RGB").resize(size, Image.Resampling.NEAREST)
    grey = Image.blend(plain.convert("L").convert("RGB"), Image.new("RGB", size, PAPER), 0.6)
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for box, share in zip(pieces.boxes, shares(each), strict=True):
        (top, bottom), (left, right) = box
        area = (round(left * size[0]), round(top * size[1]), round(right * size[0]) - 1, round(bottom * size[1]) - 1)
        pen.rectangle((*area[:2], max(area[0], area[2]), max(area[1], area[3])), fill=colour(float(share)))
    marked = Image.alpha_composite(grey.convert("RGBA"), layer).convert("RGB")
    out = Image.new("RGB", (2 * size[0] + 8, size[1]), PAPER)
    out.paste(plain, (0, 0))
    out.paste(marked, (size[0] + 8, 0))
    return out


def under(x: np.ndarray, pieces: Pieces, each: Sequence[float]) -> Image.Image:
    """A series [C, T] on a ground whose colour says what each stretch adds."""
    width, height = 2 * SIDE, SIDE // 2
    out = Image.new("RGBA", (width, height), PAPER)
    layer = Image.new("RGBA", out.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for box, share in zip(pieces.boxes, shares(each), strict=True):
        ((left, right),) = box
        start = round(left * width)
        pen.rectangle((start, 0, max(start, round(right * width) - 1), height), fill=colour(float(share)))
    out = Image.alpha_composite(out, layer)
    pen = ImageDraw.Draw(out)
    step = max(1, x.shape[1] // (2 * width))
    for channel in x[:6]:
        low, high = np.nanmin(channel), np.nanmax(channel)
        y = (height - 8) * (1 - (channel - low) / max(float(high - low), 1e-9)) + 4
        points = [(round((t + 0.5) / x.shape[1] * width), round(float(y[t]))) for t in range(0, x.shape[1], step) if y[t] == y[t]]
        if len(points) > 1:
            pen.line(points, fill=INK, width=2)
    return out


def written(pieces: Pieces, each: Sequence[float]) -> Image.Image:
    """Words in their order, each on its colour."""
    font = ImageFont.load_default(15)
    width, line, gap = 2 * SIDE, 26, 5
    places, x, y = [], 6, 6
    for word in pieces.names:
        long = round(font.getlength(word)) + 6
        if x + long > width - 6 and x > 6:
            x, y = 6, y + line
        places.append((x, y, long))
        x += long + gap
    out = Image.new("RGBA", (width, y + line + 6), PAPER)
    layer = Image.new("RGBA", out.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for (a, b, long), share in zip(places, shares(each), strict=True):
        pen.rectangle((a, b, a + long, b + line - 5), fill=colour(float(share)))
    out = Image.alpha_composite(out, layer)
    pen = ImageDraw.Draw(out)
    for (a, b, _), word in zip(places, pieces.names, strict=True):
        pen.text((a + 3, b + 1), word, fill=INK, font=font)
    return out


def bars(pieces: Pieces, each: Sequence[float], doubt: Sequence[float] | None = None) -> Image.Image:
    """The strongest parts as bars to the right (for) and to the left (against), with their standard error."""
    font = ImageFont.load_default(14)
    order = np.argsort(-np.abs(np.asarray(each)), kind="stable")[:ROWS]
    line, width, label = 24, 2 * SIDE, 300
    out = Image.new("RGB", (width, line * len(order) + 10), PAPER)
    pen = ImageDraw.Draw(out)
    largest = max(float(np.abs(np.asarray(each)).max(initial=0)), 1e-12)
    middle, reach = label + (width - label) // 2, (width - label) // 2 - 12
    for row, i in enumerate(order.tolist()):
        y = 6 + row * line
        pen.text((6, y), _cut(pieces.names[i], font, label - 12), fill=INK, font=font)
        end = middle + round(each[i] / largest * reach)
        pen.rectangle((min(middle, end), y + 2, max(middle, end), y + line - 8), fill=FOR if each[i] > 0 else AGAINST)
        if doubt is not None:
            half = round(min(doubt[i] / largest, 1.0) * reach)
            pen.line((end - half, y + 8, end + half, y + 8), fill=INK, width=1)
    pen.line((middle, 2, middle, out.height - 4), fill=FAINT, width=1)
    return out


def drawn(x: np.ndarray, pieces: Pieces, each: Sequence[float], doubt: Sequence[float] | None = None) -> Image.Image:
    """The picture that suits what the parts are; x: what the encoder sees of the item [C, *S]."""
    if pieces.boxes and len(pieces.boxes[0]) == 2:
        if pieces.kind == "cell":  # low bands below
            turned = tuple((((1 - b, 1 - a), across)) for (a, b), across in pieces.boxes)
            return over(x[:, ::-1], Pieces(pieces.of, pieces.names, pieces.kind, turned), each)
        return over(x, pieces, each)
    if pieces.boxes:
        return under(x, pieces, each)
    return written(pieces, each) if pieces.kind == "word" else bars(pieces, each, doubt)


def picture(x: np.ndarray, pieces: Pieces, each: Sequence[float], doubt: Sequence[float] | None = None) -> bytes:
    """`drawn` as PNG."""
    return png(drawn(x, pieces, each, doubt))


def sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]], width: int = 220, most: int = 120) -> bytes:
    """Rows of small pictures under their captions, as PNG. width, most: pixels of a picture, across and down."""
    font = ImageFont.load_default(14)
    line, gap, placed, y = 20, 8, [], 8
    for words, pictures in rows:
        small = []
        for image in pictures:
            zoom = min(width / image.width, most / image.height)
            small.append(image.convert("RGB").resize((max(1, round(zoom * image.width)), max(1, round(zoom * image.height)))))
        placed.append((words, small, y))
        y += line + max((i.height for i in small), default=0) + gap
    columns = max((len(small) for _, small, _ in placed), default=1)
    out = Image.new("RGB", (columns * (width + gap) + gap, y), PAPER)
    pen = ImageDraw.Draw(out)
    for words, small, top in placed:
        pen.text((gap, top), _cut(words, font, out.width - 2 * gap), fill=INK, font=font)
        for k, image in enumerate(small):
            out.paste(image, (gap + k * (width + gap), top + line))
    return png(out)


def _cut(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(words) > 4 and font.getlength(words) > width:
        words = words[:-4] + "..." if not words.endswith("...") else words[:-6] + "..."
    return words
