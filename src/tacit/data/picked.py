"""Names of the items that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tacit.data import labels


class Picked(Sequence[str]):
    """Some of many names, made when asked for."""

    def __init__(self, names: Sequence[str], rows: np.ndarray) -> None:
        self.names, self.rows = names, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [labels.writable(self.names[k]) for k in self.rows[i].tolist()]
        return labels.writable(self.names[int(self.rows[i])])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def names(names: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """Names of the items that were kept; of very many only when asked for."""
    few_enough = isinstance(names, list) or len(rows) <= 200_000
    return tuple(labels.writable(names[i]) for i in rows.tolist()) if few_enough else Picked(names, rows)
