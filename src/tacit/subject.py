"""Who is explained: a run, a fine-tuned model, an exported one or an open model, and the items that it learned from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit.api import Pretrained, Say, digest, untrained
from tacit.data.dataset import Dataset
from tacit.deciding import Knowledge
from tacit.embedding.model import Model, load
from tacit.errors import Asked
from tacit.explainers import outside
from tacit.explainers.outside import Outside
from tacit.explainers.values import row_of
from tacit.finetuning.decider import Decider, is_decider
from tacit.operate.artefact import ABOUT, Artefact
from tacit.origin import as_read, training_data
from tacit.runtime import choose_device, commit
from tacit.types import Batch

BACKGROUND = 16  # other items whose values stand in for a part that is gone
CENTRE = 500  # items that settle the directions of a network with random weights


@dataclass(frozen=True)
class Subject:
    """path: its folder, None = an open model. net: embeds. decider: of a fine-tuned model. held: of an exported one."""

    path: Path | None
    net: Any
    decider: Decider | None = None
    held: Any = None

    @classmethod
    def open(cls, run: Any) -> Subject:
        """From a folder, or a model that is open already."""
        if isinstance(run, Pretrained):
            run = run.path
        if isinstance(run, Model):
            return cls(None, run.eval())
        path = Path(run)
        if (path / ABOUT).is_file():
            held = Artefact.open(path)
            return cls(path, Outside(held.spec, held.config, lambda x, n: held.vectors(x, n)), held=held)
        if is_decider(path):
            decider = Decider.load(path, choose_device().value)
            return cls(path, decider.network.model, decider)
        return cls(path, load(path, choose_device().value))

    @property
    def decides(self) -> bool:
        """Whether it decides something, and does not only embed."""
        return self.decider is not None or (self.held is not None and self.held.knowledge is not None)

    @property
    def name(self) -> str:
        """How it is called in sentences."""
        return "the model" if self.path is None else str(self.path)

    def items(self, data: Any, options: Mapping[str, Any], say: Say) -> Dataset:
        """Any data decoded for it."""
        found: Dataset = self.net.prepare(data) if self.path is None else as_read(self.net, self.path, data, options, say)
        return found

    def fresh(self, items: Dataset) -> Callable[[int], Any] | None:
        """The same with random weights, by a seed; None = there is no such thing of a decision that left as a graph."""
        if isinstance(self.net, Outside):
            return None if self.decides else partial(outside.untrained_like, self.net, items, CENTRE)
        return partial(untrained_like, self.net, items)

    def about(self, items: Dataset) -> dict[str, Any]:
        """What was read: the model and the data, with their hashes, and our code."""
        if self.path is not None and self.held is None:
            return about_of(self.path, items)
        own = {"run": self.name, "data": items.path, "fingerprint": items.fingerprint, "commit": commit()}
        return {**own, "model": self.held.about["hash"] if self.held is not None else None}

    def known(self, data: Any, items: Dataset, train: Any, options: Mapping[str, Any], say: Say) -> Dataset:
        """The items that it learned from; where nobody knows, the training part of the explained ones."""
        if self.path is not None and self.held is None:
            return known_to(self.net, self.path, data, items, train, options, say)
        return items if train is None else self.items(train, options, say)


def untrained_like(net: Model, items: Dataset, seed: int) -> Model:
    """The network with random weights; by some of the items its directions are settled, where such data has any."""
    some = np.arange(0, len(items), max(1, len(items) // CENTRE))
    return untrained(net, seed).eval().settle(items.x[some], None if items.lengths is None else items.lengths[some])


def about_of(path: Path, items: Dataset) -> dict[str, Any]:
    """What was read: the model and the data, with their hashes, and our code."""
    return {"run": str(path), "data": items.path, "fingerprint": items.fingerprint, "model": digest(path), "commit": commit()}


def known_to(net: Model, path: Path, data: Any, items: Dataset, train: Any, options: Mapping[str, Any], say: Say) -> Dataset:
    """The items that a run or a fine-tuned model learned from; where nobody knows, the training part of the explained ones.

    Raises Asked where the data of a path is asked for, and what the run learned from is gone.
    """
    if train is None and is_decider(path):
        about = Knowledge.read(path).about
        train = about.get("place") or (about.get("data") if str(about.get("data")).startswith("builtin:") else None)
        options = {**about.get("options", {}), **options}
    try:
        return training_data(net, path, train, options, say)
    except Asked as error:
        if isinstance(data, (str, Path)):
            raise
        say(f"note: {error.message}: the training part of the explained data stands in")
        return items


def others(known: Dataset, items: Dataset, row: int) -> np.ndarray:
    """Training rows of the known items (all of them, where none is for training) without the explained one."""
    rows = known.train if len(known.train) else np.arange(len(known))
    return rows[rows != row] if known.fingerprint == items.fingerprint else rows


def row_named(items: Dataset, asked: int | str) -> int:
    """The row of an item by its number or name. Raises Asked."""
    names = items.names
    if isinstance(asked, str) and asked in names:  # names may be numbers
        return list(names).index(asked)
    if isinstance(asked, (int, np.integer)) or re.fullmatch(r"-?[0-9]+", asked):
        row = int(asked)
        if not 0 <= row < len(items):
            raise Asked(f"there is no item {row}: {items.path} has items 0 to {len(items) - 1}")
        return row
    near = difflib.get_close_matches(str(asked), [str(n) for n in names[:20_000]], 1)
    way = f"did you mean {near[0]!r}?" if near else f"a number from 0 to {len(items) - 1}, or a name"
    raise Asked(f"there is no item {asked!r}", way)


def seen(net: Model, items: Dataset, row: int) -> Batch:
    """One item as the encoder sees it."""
    with torch.no_grad():
        return row_of(net.plain(stored(net, items, row)), 0)


def stored(net: Model, items: Dataset, row: int) -> Batch:
    """One item as it is stored."""
    at = np.array([row])
    (batch,) = net.batches(items.x[at], None if items.lengths is None else items.lengths[at])
    return batch


def background_of(net: Model, known: Dataset, rows: np.ndarray, seed: int) -> torch.Tensor:
    """Some of these rows as the encoder sees them. Raises Asked where there is none."""
    if not len(rows):
        raise Asked(f"{known.path} has no other item whose values could stand in", "name the data that was learned from: --train DATA")
    rows = np.sort(np.random.default_rng([seed, 808]).choice(rows, min(BACKGROUND, len(rows)), replace=False))
    (batch,) = net.batches(known.x[rows], None)
    return net.plain(batch).x
