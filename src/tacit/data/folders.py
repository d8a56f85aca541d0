"""What the folders that an image lies in say about it: its part and its class."""

from __future__ import annotations

import re

from tacit.data.listing import split_name

ENDINGS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .gif .ppm .pgm .pnm".split())


def parts(folders: list[list[str]]) -> tuple[list[str] | None, list[list[str]]]:
    """The part of each item if the outermost folder that tells items apart says train, test or val; and what remains of the path."""
    skip = 0
    while folders and all(len(f) > skip + 1 for f in folders) and len({f[skip] for f in folders}) == 1 and not split_name(folders[0][skip]):
        skip += 1
    cut = [f[skip:] for f in folders]
    if cut and all(f and split_name(f[0]) for f in cut) and {split_name(f[0]) for f in cut} & {"train", "test"}:
        return [split_name(f[0]) for f in cut], [f[1:] for f in cut]
    return None, cut


def classes(folders: list[list[str]]) -> tuple[list[str | None] | None, str]:
    """The class of each item, and the rule in words."""
    if not any(folders):
        return None, ""
    labels: list[str | None] = [f[0] if f else None for f in folders]
    deep = any(len(f) > 1 for f in folders)
    if deep and all(len(f) > 1 for f in folders):
        inner = {f[-1] for f in folders}
        outer = {f[0] for f in folders}
        repeated = len({(f[0], f[-1]) for f in folders}) > len(inner)
        if len(outer) == 1 and len(inner) > 1 and not repeated:
            return [f[-1] for f in folders], "class = innermost folder"
    dates = all(re.fullmatch(r"[\d_.-]{6,}", f[0]) for f in folders if f)
    if dates:
        return None, "folders look like dates: not taken as classes"
    loose = sum(not f for f in folders)
    rule = "class = outermost folder" + (", deeper folders are ignored" if deep else "")
    return labels, rule + (f"; {loose} images outside any folder are unlabelled" if loose else "")
