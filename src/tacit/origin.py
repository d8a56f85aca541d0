"""The data that a run learned from, opened again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tacit.api import Say, opened
from tacit.data.dataset import Dataset
from tacit.data.remembered import with_list
from tacit.embedding.model import Model, load
from tacit.errors import Asked
from tacit.operate.artefact import ABOUT
from tacit.operate.embed import read
from tacit.runtime import choose_device


def training_data(net: Model, path: Path, train: Any, given: Mapping[str, Any], say: Say) -> Dataset:
    """The data that the run learned from, or other data that was named."""
    if train is not None:
        return as_read(net, path, train, given, say)
    about = path / "data.json"
    try:
        own = json.loads(about.read_text(encoding="utf-8"))
        place = own["place"] or own["path"]
    except (OSError, ValueError, KeyError) as error:
        raise Asked(f"{path} does not say what it learned from ({error})", "name the data to learn from: --train DATA") from None
    if not Path(place).exists() and not str(place).startswith("builtin:"):
        raise Asked(f"what the run learned from is not at {place} any more", "name the data to learn from: --train DATA")
    kept = {k: v for k, v in given.items() if k in ("cache", "max_bad")}
    found = read(net, path, place, {**kept, **with_list(path, own.get("options", {}))}, say)
    if found.fingerprint != own.get("fingerprint"):
        say(f"note: {place} has changed since the run learned from it")
    return net.prepare(found)


def as_read(net: Model, path: Path, data: Any, given: Mapping[str, Any], say: Say) -> Dataset:
    """Any data decoded for the run's model. given: options for opening it; they come too late for what is open already."""
    if isinstance(data, (str, Path)):
        return net.prepare(read(net, path, data, given, say))
    if hasattr(data, "__arrow_c_stream__"):
        return net.prepare(opened(data, **given, spec=net.spec))
    return net.prepare(data)


def opened_run(run: str | Path, data: Any, options: Mapping[str, Any] | None, say: Say) -> tuple[Path, Model, Dataset]:
    """A run's folder, its model on the device of this machine, and data decoded for it."""
    path = Path(run)
    if (path / ABOUT).is_file():
        raise Asked(f"{path} is exported, and only its outputs are known", "give the run or the model that it was made from")
    net = load(path, choose_device().value)
    return path, net, as_read(net, path, data, dict(options or {}), say)


def held(items: Dataset, rows: np.ndarray) -> tuple[Any, np.ndarray | None]:
    """Some decoded items as they are kept (texts one behind the other), and their lengths."""
    return items.x[rows], None if items.lengths is None else items.lengths[rows]


def label_of(data: Dataset, row: int) -> str | None:
    """The class of an item, None = it has none."""
    if data.labels is None or not data.classes or data.labels[row] < 0:
        return None
    return str(data.classes[data.labels[row]])
