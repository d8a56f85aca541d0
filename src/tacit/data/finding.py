"""What lies at a path, and which layout fits it."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import Any

from tacit import registry
from tacit.data.listing import ending, few
from tacit.data.tree import Tree, grow
from tacit.errors import Asked, BadData
from tacit.types import Spec


def grown(path: Path) -> Tree:
    """The files at a path. Raises Asked if there is nothing there, naming what comes nearest."""
    path = path.expanduser()
    try:
        there = path.exists()
    except OSError as error:  # a loop of links
        raise Asked(f"{path} cannot be opened: {error.strerror}") from None
    if not there:
        parent = path.parent
        close = difflib.get_close_matches(path.name, [p.name for p in parent.iterdir()] if parent.is_dir() else [], n=1)
        if path.is_symlink():
            raise Asked(f"{path} is a link in a loop, or to nothing", "link it again")
        raise Asked(
            f"there is no file or folder {str(path)!r}",
            f"did you mean {str(parent / close[0])!r}?" if close else "DATA is a file, a folder, or builtin:digits",
        )
    try:
        if not (path.is_dir() or path.is_file()):
            raise Asked(f"{path} is neither a file nor a folder")
        tree = grow(path)
    except PermissionError:
        raise BadData(f"no permission to read {path}") from None
    if not tree.names:
        reasons = "".join(f"\n  {p.name}: {p.reason}" for p in tree.bad[:5])
        raise BadData(f"{path} holds no file to read{reasons}", "" if reasons else "put images or series into it, or name another folder")
    return tree


def source(tree: Tree, modality: str | None) -> tuple[Any, Tree]:
    """The layout that fits the files best; a folder with nothing but one zip stands for that zip."""
    sources = [s for s in registry.every("sources").values() if modality is None or modality in getattr(s, "modalities", (modality,))]
    best, found = max(((s.matches(tree), s) for s in sources), key=lambda pair: pair[0])
    zips = [n for n in tree.names if ending(n) == ".zip"]
    if best <= 0 and len(zips) == 1 and tree.archive is None:
        return source(grow(tree.root / zips[0]), modality)
    if best <= 0:
        count = Counter(ending(n) or "no ending" for n in tree.names)
        kinds = few((f"{e} ({k})" for e, k in count.most_common()), 5)
        raise BadData(
            f"{tree.path} holds no file of a kind that is understood, but {kinds}",
            "understood: image, sound and text files, tables, .npy, .npz, IDX, UCR .tsv, .ts, zips of these, metadata.csv with file_name",
        )
    return found, tree


def sequences_asked(by: str | None, time: str | None, modality: str | None, spec: Spec | None) -> dict[str, Any]:
    """What makes a table's rows sequences, as asked or as a trained model had it, for `rowlist.listing`; empty where rows are items."""
    if by is None and time is None and spec is not None and spec.modality == "events":
        by, time = spec.extra["by"], spec.extra["time"] or None
    if by is None and time is None:
        if modality == "events":
            raise Asked("of events it has to be said which rows are one sequence", "name the column: --sequence-by customer")
        return {}
    if modality not in (None, "events"):
        raise Asked(f"--sequence-by makes events of a table, not {modality} data", "leave --modality out")
    return {"sequence_by": by, "order_by": time, "like": None if spec is None else spec.extra}


def texts_asked(column: str | None, documents: str | None, modality: str | None, spec: Spec | None) -> tuple[dict[str, Any], str | None]:
    """What says which texts are items, as asked and as a trained model had it (`like`), for the sources of text; and the modality."""
    if column is not None and modality not in (None, "text"):
        raise Asked(f"--text-column makes texts of a table, not {modality} data", "leave --modality out")
    like = spec.extra if spec is not None and spec.modality == "text" else {}
    given = {"text_column": column, "documents": documents, "like": like}
    return given, "text" if column is not None or documents is not None else modality


def cut_asked(window: Any, modality: str | None, spec: Spec | None) -> tuple[dict[str, Any], str | None]:
    """Seconds into which longer recordings are cut, as asked or as a trained model had it, for the sources of audio; and the modality."""
    if window is not None and modality not in (None, "audio"):
        raise Asked(f"data.window cuts recordings, and {modality} data has none", "leave it out")
    like = spec.extra.get("cut") if spec is not None and spec.modality == "audio" else None
    try:
        asked = like if window is None else window
        return {"window": None if asked is None else float(asked)}, modality if window is None else "audio"
    except (TypeError, ValueError):
        raise Asked(f"data.window={window} is no number of seconds", "give one such as data.window=10") from None
