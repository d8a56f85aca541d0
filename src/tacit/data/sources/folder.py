"""A folder (or zip) of image files; subfolders are classes, train/ and test/ are parts."""

from __future__ import annotations

import re
from collections import Counter

from tacit.data.listing import Listing, ending, few, no_columns, split_name
from tacit.data.tree import Tree
from tacit.errors import Asked

ENDINGS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .gif .ppm .pgm .pnm".split())


class Folder:
    """Image files in a folder, in class subfolders, or in train/ and test/."""

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.6 if there are image files, 0.5 for one image file."""
        return (0.5 if tree.single else 0.6) if any(ending(n) in ENDINGS for n in tree.names) else 0.0

    @staticmethod
    def read(tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None) -> Listing:
        """List the images; the class is the first folder below the part."""
        if modality not in (None, "image"):
            raise Asked(f"{tree.path} holds image files, which are not {modality} data", "leave --modality out")
        no_columns(tree.path, "a folder without metadata.csv", target=target, group=group, split=split)
        names = [n for n in tree.names if ending(n) in ENDINGS]
        notes = list(tree.notes)
        others = Counter(ending(n) or "no ending" for n in tree.names if ending(n) not in ENDINGS)
        if others:
            notes.append(f"left out {sum(others.values())} files that are not images: {few(f'{e} ({k})' for e, k in others.most_common())}")
        folders = [n.split("/")[:-1] for n in names]
        splits, folders = _parts(folders)
        labels, rule = _classes(folders)
        if labels is not None and len(names) > 1 and len(set(labels)) == len(labels):
            labels, rule = None, "every folder holds one image: folder names are not taken as classes"
        if rule:
            notes.append(rule)
        count = Counter(ending(n) for n in names)
        why = f"{len(names)} image files ({', '.join(f'{k} {e}' for e, k in count.most_common())})"
        return Listing("image", why, names, labels, None, splits, lambda i: tree.raw(names[i]), list(tree.bad), notes)


def _parts(folders: list[list[str]]) -> tuple[list[str] | None, list[list[str]]]:
    """The part of each item if the outermost folder that tells items apart says train, test or val; and what remains of the path."""
    skip = 0
    while folders and all(len(f) > skip + 1 for f in folders) and len({f[skip] for f in folders}) == 1 and not split_name(folders[0][skip]):
        skip += 1
    cut = [f[skip:] for f in folders]
    if cut and all(f and split_name(f[0]) for f in cut) and {split_name(f[0]) for f in cut} & {"train", "test"}:
        return [split_name(f[0]) for f in cut], [f[1:] for f in cut]
    return None, cut


def _classes(folders: list[list[str]]) -> tuple[list[str | None] | None, str]:
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
