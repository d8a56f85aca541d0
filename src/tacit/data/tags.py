"""The classes of the positions of items: masks of images, segments of series. Decoded when somebody first looks at them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from tacit.data.listing import Problem
from tacit.errors import BadData
from tacit.modality import BadItem, Modality, Raw
from tacit.types import Spec

MOST = 1000  # different values; more are measurements, not classes


class Marks:
    """A class for every position of the items of a data set; pretraining never looks, so nothing is read before somebody asks.

    kind, spec: how the items are decoded. names: of the N items.
    """

    def __init__(self, kind: type[Modality], spec: Spec, names: Sequence[str]) -> None:
        self.kind, self.spec, self.names = kind, spec, names

    def __len__(self) -> int:
        return len(self.names)

    @property
    def values(self) -> np.ndarray:
        """int16 [N, *S], index into `classes`, -1 = unknown or padding."""
        return self._found[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that occur."""
        return self._found[1]

    @property
    def bad(self) -> list[Problem]:
        """Items whose tags cannot be used, and which count as unlabelled."""
        return self._found[2]

    @property
    def notes(self) -> list[str]:
        """How they were read."""
        return self._found[3]

    @cached_property
    def _found(self) -> tuple[np.ndarray, tuple[str, ...], list[Problem], list[str]]:
        return self._read()

    def _read(self) -> tuple[np.ndarray, tuple[str, ...], list[Problem], list[str]]:
        """values, classes, bad and notes."""
        raise NotImplementedError


class Tags(Marks):
    """Masks of images, tags of segments. read: raw tags of item i, None = unlabelled."""

    def __init__(self, kind: type[Modality], spec: Spec, names: Sequence[str], read: Callable[[int], Raw | None]) -> None:
        super().__init__(kind, spec, names)
        self.read = read

    def _read(self) -> tuple[np.ndarray, tuple[str, ...], list[Problem], list[str]]:
        values = np.full((len(self), *self.spec.sizes), -1, np.int16)

        def fill(i: int) -> set[int] | str:
            try:
                if (raw := self.read(i)) is not None:
                    values[i] = self.kind.tags(raw, self.spec)
            except BadItem as error:
                return str(error)
            return set(np.flatnonzero(np.bincount(values[i][values[i] >= 0])).tolist())

        with ThreadPoolExecutor(max(1, min(16, os.cpu_count() or 1))) as pool:
            done = list(pool.map(fill, range(len(self))))
        bad = [Problem(name, said) for name, said in zip(self.names, done, strict=True) if isinstance(said, str)]
        seen = set().union(*(said for said in done if not isinstance(said, str)))
        if len(seen) > MOST:
            raise BadData(
                f"the {self.kind.tagged} carry {len(seen):,} different numbers, which are no classes", f"at most {MOST:,} are understood"
            )
        unknown, notes = self.kind.untagged, []
        if seen == {0, unknown}:
            notes.append(f"the masks hold 0 and {unknown} only: {unknown} is a class, not unknown")
        elif unknown in seen and max(seen) == unknown:
            seen.discard(unknown)
        index = np.full(np.iinfo(np.int16).max + 2, -1, np.int16)  # its last entry is that of -1
        index[sorted(seen)] = np.arange(len(seen))
        for i in range(len(values)):
            values[i] = index[values[i]]
        return values, tuple(map(str, sorted(seen))), bad, notes
