"""What an audit is handed: data, groups, embeddings and decisions, as far as there are any; and what a check of it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from tacit import registry
from tacit.auditors.attributes import Attribute
from tacit.auditors.finding import Finding
from tacit.auditors.rates import Decisions
from tacit.data.dataset import Dataset

SECTIONS = ("data", "shortcuts", "fairness", "representation", "privacy")
LACKING = {  # what a check may need -> why it is not there, with what to do
    "classes": "there are no classes: name the column of labels with --target",
    "attributes": "no groups were named: --groups sex,race",
    "decisions": "there are no decisions: a RUN and labels, a fine-tuned MODEL, or --predictions COLUMN",
    "vectors": "there are no embeddings: give a RUN before the DATA",
    "table": "the items are no rows of a table",
    "files": "the items are no files of their own",
    "again": "only a model that can be asked again tells: give a RUN",
    "views": "there is no network with random views here: give a RUN, not an exported model",
    "learned": "it is not known which of these items the encoder learned from: audit the data of the RUN",
}
MOST = 10_000  # items that expensive checks look at


@dataclass
class Case:
    """vectors: float32 [N, D] of every item. decisions: about some items. learned: int64 rows that the encoder learned from, None =
    unknown. unseen: rows that it has never seen, None = held-out ones that are not among `learned`. asks: what a network can be asked, by
    name: "again" (items, lengths -> decisions), "views" (rows, draws -> embeddings [n, draws, D]), "parts" (rows, draws -> responses
    [n, k] or None), "losses" (rows -> [n] or None); with "control " before it, of the same network with random weights."""

    data: Dataset
    attributes: tuple[Attribute, ...] = ()
    decisions: Decisions | None = None
    vectors: np.ndarray | None = field(default=None, repr=False)
    learned: np.ndarray | None = field(default=None, repr=False)
    asks: Mapping[str, Callable[..., Any]] = field(default_factory=dict, repr=False)
    seed: int = 0
    say: Callable[[str], None] = lambda words: None
    unseen: np.ndarray | None = field(default=None, repr=False)

    def lacks(self, needs: tuple[str, ...]) -> str:
        """Why a check cannot be made, "" = it can."""
        there = {
            "classes": self.labels is not None,
            "attributes": bool(self.attributes),
            "decisions": self.decisions is not None,
            "vectors": self.vectors is not None,
            "table": self.data.modality == "table",
            "files": self._files,
            "learned": self.learned is not None and len(self.learned) > 0,
            **{name: name in self.asks for name in ("again", "views")},
        }
        return next((LACKING[n] for n in needs if not there[n]), "")

    @property
    def kind(self) -> Any:
        """The modality of the data."""
        return registry.find("modalities", self.data.modality)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of a table as they are stored, [] of other data."""
        return [str(c["name"]) for c in self.data.spec.extra["columns"]] if self.data.modality == "table" else []

    @property
    def labels(self) -> np.ndarray | None:
        """Class numbers of all items, -1 = unlabelled; None where there are no classes."""
        return self.data.labels if self.data.classes else None

    @cached_property
    def plain(self) -> np.ndarray:
        """What stands in the items without a network, float32 [N, P], by the classic of this kind of data."""
        self.say(f"looking at the {self.kind.unit}\r")
        classic = registry.find("classics", self.kind.plainly)()
        x = self.data.x if len(self.data) and self.kind.flat else np.asarray(self.data.x)
        train = self.data.train if len(self.data.train) > 1 else np.arange(len(self.data))
        classic.fit(x[train], self.data.spec)
        return np.asarray(classic.transform(x), np.float32)

    @property
    def z(self) -> np.ndarray:
        """Embeddings, or what stands in their place."""
        return self.plain if self.vectors is None else self.vectors

    @cached_property
    def _files(self) -> bool:
        from tacit.data import listed

        raw = next(listed.raws(self.data, [0])) if "path" in self.data.opened else None
        return raw is not None and not isinstance(raw, (np.ndarray, str, list))

    def names(self, rows: np.ndarray) -> tuple[str, ...]:
        """Names of the first of these items."""
        return tuple(str(self.data.names[int(r)]) for r in rows[:5])

    def some(self, rows: np.ndarray, most: int = MOST) -> np.ndarray:
        """These rows, or so many of them, drawn by the seed."""
        if len(rows) <= most:
            return rows
        return np.sort(np.random.default_rng([self.seed, 303]).choice(rows, most, replace=False))


class Check:
    """Base of all checks: `look` yields findings. Hyperparameters are keyword-only arguments of the constructor.

    section: of SECTIONS. needs: what of LACKING has to be there. slow: takes minutes, and is made only when it is asked for.
    """

    section: ClassVar[str] = "data"
    needs: ClassVar[tuple[str, ...]] = ()
    slow: ClassVar[bool] = False
    source: ClassVar[str] = ""

    def look(self, case: Case) -> Iterator[Finding]:
        """What there is to say; "fine" findings say what was looked at. Raises TacitError where it cannot be told."""
        raise NotImplementedError
