"""Interpolated Kneser-Ney n-gram models over whole numbers: the classic of language modelling. source: Chen & Goodman 1999, section 4.1.6."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

DISCOUNT = 0.75
BEGIN = -1  # stands before a document


class KneserNey:
    """order: tokens in an n-gram. vocabulary: number of tokens, among which what was never seen shares what is left."""

    def __init__(self, order: int, vocabulary: int) -> None:
        self.order, self.vocabulary = order, vocabulary
        # for each length of context: context -> token -> count; of shorter contexts, in how many ways they were reached
        self.counts: list[dict[tuple[int, ...], dict[int, int]]] = [defaultdict(lambda: defaultdict(int)) for _ in range(order)]
        self.totals: list[dict[tuple[int, ...], int]] = [{} for _ in range(order)]

    def fit(self, documents: Sequence[Sequence[int]]) -> KneserNey:
        """Count the n-grams of documents."""
        seen: list[set[tuple[int, ...]]] = [set() for _ in range(self.order)]
        for document in documents:
            padded = [BEGIN] * (self.order - 1) + list(document)
            for i in range(self.order - 1, len(padded)):
                for n in range(self.order):
                    gram = tuple(padded[i - n : i + 1])
                    if n == self.order - 1:
                        self.counts[n][gram[:-1]][gram[-1]] += 1
                    elif (longer := tuple(padded[i - n - 1 : i + 1])) not in seen[n]:
                        seen[n].add(longer)
                        self.counts[n][gram[:-1]][gram[-1]] += 1
        self.totals = [{context: sum(after.values()) for context, after in level.items()} for level in self.counts]
        return self

    def probability(self, context: Sequence[int], token: int) -> float:
        """Of a token after a context, of which the last order - 1 tokens count."""
        found = 1 / self.vocabulary
        for n in range(self.order):
            key = tuple(context[len(context) - n :]) if n else ()
            total = self.totals[n].get(key, 0)
            if not total:
                break  # a longer context was not seen either
            after = self.counts[n][key]
            found = (max(0.0, after.get(token, 0) - DISCOUNT) + DISCOUNT * len(after) * found) / total
        return found

    def nats(self, documents: Sequence[Sequence[int]]) -> float:
        """Minus the log-probability of documents, all tokens together."""
        total = 0.0
        for document in documents:
            padded = [BEGIN] * (self.order - 1) + list(document)
            for i in range(self.order - 1, len(padded)):
                total -= math.log(self.probability(padded[i - self.order + 1 : i], padded[i]))
        return total
