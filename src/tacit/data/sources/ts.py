"""The .ts format of the UEA archive, aeon and sktime: several channels, unequal lengths, missing values."""

from __future__ import annotations

from typing import Any

import numpy as np

from tacit.data.listing import Listing, Problem, ending, no_columns
from tacit.data.pairs import parts
from tacit.data.text import decode_text, numbers
from tacit.data.tree import Tree
from tacit.errors import Asked, BadData
from tacit.modality import BadItem


class Ts:
    """.ts files (also gzipped): channels between colons, '?' is missing, the class or value last; _TRAIN and _TEST are parts."""

    source = "Bagnall et al. 2018, the UEA multivariate time series archive, arXiv:1811.00075"

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.9 if there is a .ts file that begins with a comment or an @ line."""
        found = [n for n in tree.names if ending(n) == ".ts"]
        try:
            head = decode_text(tree.data(found[0], 100))[0].lstrip() if found else ""  # .ts is video and TypeScript, too
            return 0.9 if head.startswith(("#", "@")) else 0.0
        except BadItem:
            return 0.3

    @staticmethod
    def read(tree: Tree, *, modality: str | None, target: str | None, group: str | None, split: str | None) -> Listing:
        """List the series of the pair."""
        no_columns(tree.path, "a .ts file", target=target, group=group, split=split)
        if modality not in (None, "series"):
            raise Asked(f"{tree.path} holds series, which are not {modality} data", "leave --modality out")
        tree, files = parts(tree, lambda name: ending(name) == ".ts")
        names, labels, splits, rows = [], [], [], []
        bad, notes = list(tree.bad), list(tree.notes)
        for name, part in files.items():
            try:
                text, note = decode_text(tree.data(name))
            except BadItem as error:
                raise BadData(f"{name}: {error}", "copy or download it again") from None
            notes += [f"{name}: {note}"] if note else []
            head, lines = _head(text)
            if head.get("timestamps") == "true":
                raise BadData(
                    f"{name} holds a time for every value (@timeStamps true), which is not understood", "write evenly sampled values"
                )
            last = head.get("classlabel", "false").split()[0] == "true"
            value = head.get("targetlabel", "false").split()[0] == "true"
            for k, line in lines:
                try:
                    channels = line.split(":")
                    label: Any = channels.pop().strip() if last or value else None
                    item = [numbers(c.split(",")) for c in channels]
                    if not item:
                        raise ValueError("no values on this line")
                    label = float(label) if value else None if label in ("?", "") else label
                except ValueError as error:
                    bad.append(Problem(f"{name}:{k}", str(error)))
                    continue
                x = np.full((len(item), max(map(len, item))), np.nan, np.float32)
                for c, values in enumerate(item):
                    x[c, : len(values)] = values
                names.append(f"{name}:{k}")
                labels.append(label)
                splits.append(part)
                rows.append(x)
        return Listing("series", f".ts files ({', '.join(files)})", names, labels, None, splits, rows.__getitem__, bad, notes, tree=tree)


def _head(text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """The @ lines, in lower case, and the data lines with their numbers."""
    head: dict[str, str] = {}
    lines: list[tuple[int, str]] = []
    for k, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            word, _, rest = line[1:].partition(" ")
            head[word.lower()] = rest.strip().lower() or "true"
        else:
            lines.append((k, line))
    return head, lines
