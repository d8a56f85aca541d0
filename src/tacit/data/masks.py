"""Masks that lie beside their images: masks/a.png is that of images/a.jpg."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tacit import registry
from tacit.data import npy
from tacit.data.listing import Problem, ending, few, stem
from tacit.errors import BadData
from tacit.modality import BadItem, Raw

IMAGES = frozenset("images image imgs img".split())
MASKS = frozenset("masks mask labels label annotations annotation segmentations segmentation".split())
COLUMNS = ("mask", "masks", "mask_file", "mask_name", "mask_path", "segmentation", "segments", "tags")
OUTSIDE = "points outside the folder: refused"
SUFFIX = re.compile(r"[ _-](masks?|seg|segmentation|labels?|gt)$", re.IGNORECASE)
Place = tuple[tuple[str, ...], bool, str]  # the folder that holds images/ and masks/, whether this is a mask, and its name below


@dataclass(frozen=True)
class Pairs:
    """items: the images, in their order. folders: where each lies, without the images/ folder. masks: image -> mask."""

    items: list[str]
    folders: list[list[str]]
    masks: dict[str, str]
    notes: list[str]


def pairs(names: Sequence[str]) -> Pairs:
    """Image files told apart from their masks: folders images/ and masks/ of one parent that have at least one name in common."""
    exact, loose = defaultdict(list), defaultdict(list)  # type: dict[tuple[tuple[str, ...], str], list[str]], dict[tuple[tuple[str, ...], str], list[str]]
    for name in names:
        for parent, is_mask, rest in _places(name):
            if is_mask:
                exact[parent, rest].append(name)
                loose[parent, SUFFIX.sub("", rest)].append(name)
    paired = {p for name in names for p, is_mask, rest in _places(name) if not is_mask and ((p, rest) in exact or (p, rest) in loose)}
    items, folders, masks, used = [], [], {}, set()  # type: list[str], list[list[str]], dict[str, str], set[str]
    left, lost, several = [], [], []  # type: list[str], list[str], list[str]
    for name in names:
        place = next((found for found in _places(name) if found[0] in paired), None)
        folder = name.split("/")[:-1]
        if place is not None and place[1]:
            left.append(name)
            continue
        items.append(name)
        folders.append(folder if place is None else folder[: len(place[0])] + folder[len(place[0]) + 1 :])
        if place is None:
            continue
        mine = exact.get((place[0], place[2])) or loose.get((place[0], place[2]), [])
        used.update(mine)
        if len(mine) == 1:
            masks[name] = mine[0]
        else:
            (several if mine else lost).append(name)
    left = [n for n in left if n not in used]
    said = [f"{len(masks)} of {len(items)} images have a mask in a folder beside them"] if paired else []
    for words, which in (
        ("images have no mask and stay unlabelled", lost),
        ("images have several masks and stay unlabelled", several),
        ("masks belong to no image", left),
    ):
        said += [f"{len(which)} {words}: {few(which)}"] if which else []
    return Pairs(items, folders, masks, said)


def differing(masks: Mapping[str, str], raw: Callable[[str], Raw]) -> list[Problem]:
    """The images whose mask is of another size. raw: the content of a file by its name."""
    kind, bad = registry.find("modalities", "image"), []
    for image, mask in masks.items():
        try:
            sizes = [kind.extent(raw(name)) for name in (image, mask)]
        except BadItem:  # decoding will say what is wrong with it
            continue
        if sizes[0] != sizes[1]:
            size, other = (" x ".join(map(str, s)) for s in sizes)
            bad.append(Problem(image, f"its mask {mask} is {other} pixels, the image {size}"))
    return bad


def named(cell: str, table: str, exists: Callable[[str], bool]) -> tuple[str, str]:
    """The file that a cell of a table means, from the table's folder or from the root, or "" and the reason in words.

    table: name of the table's file. exists: whether there is a file of this name; never asked about what lies outside.
    """
    cell = cell.strip().replace("\\", "/")
    for file in (posixpath.normpath(posixpath.join(posixpath.dirname(table), cell)), posixpath.normpath(cell)):
        if not file.startswith(("/", "..")) and exists(file):
            return file, ""
    return "", OUTSIDE if cell.startswith("/") or ".." in cell.split("/") else "there is no such file"


def reader(names: Sequence[str], masks: Mapping[str, str], raw: Callable[[str], Path | bytes]) -> Callable[[int], Raw | None] | None:
    """What a Listing of these images reads masks with, None where there is no mask. raw: the content of a file by its name."""
    return (lambda i: content(raw(masks[names[i]]), masks[names[i]]) if names[i] in masks else None) if masks else None


def content(raw: Path | bytes, name: str) -> Raw:
    """The content of a file of tags: the array of a .npy file, or what a picture decodes from. Raises BadItem."""
    if ending(name) != ".npy":
        return raw
    try:
        return npy.one(raw, name).values
    except BadData as error:
        raise BadItem(error.message) from None


def _places(name: str) -> Iterator[Place]:
    """Every way to see a file as an image or a mask in such a folder, the outermost first."""
    *folders, base = name.split("/")
    for k, folder in enumerate(folders):
        if folder.lower() in IMAGES | MASKS:
            yield tuple(folders[:k]), folder.lower() in MASKS, "/".join([*folders[k + 1 :], stem(base)])
