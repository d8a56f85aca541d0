"""One class of several for every item."""

from __future__ import annotations

from tacit.categories import Category


class Classification(Category):
    """One class of several, with its probability and the set of classes that cannot be ruled out.

    weights: "balanced" lets every class count as much as any other, however rare it is. smoothing: label smoothing of the fine-tuning.
    sets: how the sets are formed, "lac" (smallest on average) or "aps" (as good on hard items as on easy ones).
    """

    mixes = True
