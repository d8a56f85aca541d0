"""What a source found on disk, before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.celltypes import MISSING as MISSING
from tacit.errors import Asked
from tacit.errors import few as few
from tacit.modality import Raw

if TYPE_CHECKING:
    import numpy as np

    from tacit.data.sequences import Sequences
    from tacit.data.tree import Tree

SPLITS = {
    "train": "train", "training": "train", "tr": "train",
    "test": "test", "testing": "test", "te": "test", "t10k": "test",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "target", "class", "y")
GROUP_COLUMNS = ("group", "group_id", "patient", "patient_id", "subject", "subject_id", "speaker", "speaker_id", "session", "session_id")
ALONE = "recording "  # how a group is called that stands for the parts of one file of which no group is known
SPLIT_COLUMNS = ("split", "part", "subset")


@dataclass(frozen=True)
class Problem:
    """One item that cannot be used. name: which one. reason: why, in words."""

    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a source found, nothing decoded yet.

    modality: name of the kind of data. why: how that was decided, in words.
    names: stable ids of the items (relative path, or file:row).
    labels: a word or whole-word class (str), a number (float), or None for an unlabelled item; None = no labels at all.
    groups: items that belong together. splits: "train", "test", "val" or "" where it is not said.
    read: raw content of item i, read when asked for. bad: what could not even be listed. notes: what the user should know.
    variant: what besides the files' content decides the items (chosen columns); part of the cache's key.
    tree: the files that the items come from, if they are not exactly those that the user named.
    tags: raw class numbers of the positions of item i (its mask), read when asked for, None = unlabelled; None = no tags at all.
    blocks: reads all items (of sequences: all rows) again, many at once, for what `Modality.decode_block` takes; then `read` is not used.
    sequences: which rows are one item, and in which order; None = each row is one.
    about: what a trained model has to know to read other data the same way (plain JSON).
    multi: float32 [n, K], 0 or 1 for each of several labels, NaN = unknown; multi_names: their K names.
    """

    modality: str
    why: str
    names: Sequence[str]
    labels: list[Any] | None
    groups: list[str] | None
    splits: list[str] | None
    read: Callable[[int], Raw]
    bad: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    variant: str = ""
    tree: Tree | None = None
    tags: Callable[[int], Raw | None] | None = None
    multi: np.ndarray | None = None
    multi_names: tuple[str, ...] = ()
    blocks: Callable[[], Iterator[Any]] | None = None
    sequences: Sequences | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def split_name(word: str) -> str:
    """ "train", "test" or "val" for a folder, file part or cell that means it, else ""."""
    return SPLITS.get(word.strip().lower(), "")


def parts_said(cells: Iterable[Any], column: str, asked: bool) -> tuple[list[str] | None, str]:
    """The part that each cell says ("" where it is empty) and a note; no parts if a column that was only guessed says none.

    column: its name, for messages. asked: the user named this column; then a word that is no part raises Asked.
    """
    words = ["" if c is None else c.decode("utf-8", "replace") if isinstance(c, bytes) else str(c).strip() for c in cells]
    found = ["" if w.lower() in MISSING else split_name(w) for w in words]
    strange = sorted({w for w, part in zip(words, found, strict=True) if not part and w.lower() not in MISSING})
    if not strange:
        return found if any(found) or asked else None, ""
    said = f"{column!r} says {few(map(repr, strange), 5)} where a part is expected"
    if asked:
        raise Asked(said, f"understood: {', '.join(SPLITS)}")
    return (found, f"{said}: these items count as training") if any(found) else (None, f"{said}: not taken as the split")


def size_in_words(count: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def stem(name: str) -> str:
    """File name without its folder, .gz and ending."""
    base = Path(name).name
    base = base[:-3] if base.lower().endswith(".gz") else base
    return base.rsplit(".", 1)[0] if "." in base else base


def ending(name: str) -> str:
    """The ending of a file name in lower case, without .gz."""
    base = Path(name).name.lower()
    base = base[:-3] if base.endswith(".gz") else base
    return "." + base.rsplit(".", 1)[1] if "." in base else ""


def no_columns(path: Path, layout: str, **named: str | None) -> None:
    """Refuse --target, --group and --split where there is no column to name."""
    for option, column in named.items():
        if column is not None:
            raise Asked(f"{path} is {layout} and has no column {column!r}", f"leave --{option} out, or add a metadata.csv with file_name")
