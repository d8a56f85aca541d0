"""One class of several for two items in their order: what follows from what, which question the answer is of."""

from __future__ import annotations

from tacit.categories import Category


class Pairs(Category):
    """One class for an ordered pair of items, such as entailment, contradiction or neither, with its probability and set of classes.

    weights: "balanced" lets every class count as much as any other, however rare it is. smoothing: label smoothing of the fine-tuning.
    sets: how the sets are formed, "lac" (smallest on average) or "aps" (as good on hard pairs as on easy ones).
    """

    source = "features of a pair: Conneau et al. 2017, arXiv:1705.02364 (both, their distance and their product)"
    level = "pair"
    ordered = True
