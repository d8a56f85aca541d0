"""Tables: rows of numbers, categories, booleans and dates, one token a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tacit.later import later
from tacit.reasons import Reason, Strange
from tacit.tabular import Tabular, said, words_of
from tacit.types import Count, Fraction, Spec
from tacit.unordered import Unordered

if TYPE_CHECKING:
    from tacit import tabletokens
    from tacit.encoder import Tokenizer
else:
    tabletokens = later("tacit.tabletokens")


class Table(Tabular, Unordered):
    """Rows with a column for each property: numbers, categories, yes or no, dates; values may be missing.

    swap: share of columns that a global view takes from another row (SCARF, arXiv:2106.15147). width: numbers of a token.
    """

    # longer training makes columns that say nothing as loud as the others: docs/decisions.md
    preset = {**Unordered.preset, "steps": 100}
    tuned = "plain"
    probe_scale, probe_c = "whole", 0.01  # many columns say nothing of the label: docs/decisions.md

    def __init__(self, spec: Spec, *, swap: Fraction = 0.3, width: Count = 16) -> None:
        super().__init__(spec, swap=swap)
        self.width = width

    @classmethod
    def example(cls) -> Spec:
        """Five numbers, two categories, and yes or no."""
        numbers = [{"name": f"number {i}", "kind": "number", "why": "numbers"} for i in range(5)]
        words = [{"name": w, "kind": "category", "why": "words", "values": list("abc")} for w in ("colour", "place")]
        spec = cls.described([*numbers, *words, {"name": "open", "kind": "boolean", "why": "yes or no", "values": ["no", "yes"]}], [])
        rng = np.random.default_rng(0)
        x = np.concatenate([rng.normal(size=(200, 5)), rng.integers(0, 3, (200, 2)), rng.integers(0, 2, (200, 1))], 1)
        return cls.finish(spec, x.astype(np.float32))

    def cells(self, row: Sequence[float]) -> list[str]:
        return words_of(self.spec, row)

    def reasons(self, item: Strange, most: int) -> list[Reason]:
        return [((f,), said(self.spec, f, item)) for f in item.strongest(most)]

    def tokenizer(self, dense: bool) -> Tokenizer:
        return tabletokens.TableTokenizer(self.spec.extra["measured"], self.spec.mean, self.spec.std, dim=self.width)
