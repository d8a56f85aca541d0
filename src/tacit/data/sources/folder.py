"""A folder (or zip) of image files; subfolders are classes, train/ and test/ are parts, masks/ beside images/ tags their pixels."""

from __future__ import annotations

from collections import Counter

from tacit.data import masks
from tacit.data.folders import ENDINGS, classes, parts
from tacit.data.listing import Listing, ending, few, no_columns
from tacit.data.tree import Tree
from tacit.errors import Asked


class Folder:
    """Image files in a folder, in class subfolders, or in train/ and test/; masks/a.png tags the pixels of images/a.jpg."""

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
        found = masks.pairs([n for n in tree.names if ending(n) in ENDINGS])
        wrong = masks.differing(found.masks, tree.raw)
        left_out = {p.name for p in wrong}
        kept = [k for k, n in enumerate(found.items) if n not in left_out]
        names, folders = [found.items[k] for k in kept], [found.folders[k] for k in kept]
        notes = [*tree.notes, *found.notes]
        others = Counter(ending(n) or "no ending" for n in tree.names if ending(n) not in ENDINGS)
        if others:
            notes.append(f"left out {sum(others.values())} files that are not images: {few(f'{e} ({k})' for e, k in others.most_common())}")
        splits, folders = parts(folders)
        labels, rule = classes(folders)
        if labels is not None and len(names) > 1 and len(set(labels)) == len(labels):
            labels, rule = None, "every folder holds one image: folder names are not taken as classes"
        if rule:
            notes.append(rule)
        count = Counter(ending(n) for n in names)
        why = f"{len(names)} image files ({', '.join(f'{k} {e}' for e, k in count.most_common())})"
        return Listing(
            "image",
            why,
            names,
            labels,
            None,
            splits,
            lambda i: tree.raw(names[i]),
            [*tree.bad, *wrong],
            notes,
            tree=tree.only(names),
            tags=masks.reader(names, found.masks, tree.raw),
        )
