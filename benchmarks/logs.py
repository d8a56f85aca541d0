"""A log of events that is drawn, so that the best possible ranking is known: users follow hidden Markov chains with known rules."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STATES, ITEMS = 8, 200


@dataclass(frozen=True)
class Rules:
    """Two kinds of users, who go through the same hidden states in opposite directions.

    moves: [2, S, S], where a user of each kind goes next. takes: [S, V], which items each state takes; every item belongs to several.
    """

    moves: np.ndarray
    takes: np.ndarray

    @classmethod
    def drawn(cls, seed: int = 0) -> Rules:
        rng = np.random.default_rng(seed)
        stay, on = 0.6, 0.35
        ring = np.stack([np.roll(np.eye(STATES), step, 1) for step in (1, -1)])
        moves = stay * np.eye(STATES) + on * ring + (1 - stay - on) / STATES
        return cls(moves / moves.sum(-1, keepdims=True), rng.dirichlet(np.full(ITEMS, 0.15), STATES))

    def oracle(self, before: list[np.ndarray]) -> np.ndarray:
        """The probability of each item to come next, given the items so far and the rules: the forward algorithm over kind and state."""
        out = np.empty((len(before), ITEMS))
        for i, items in enumerate(before):
            belief = np.full((2, STATES), 1 / (2 * STATES))
            for v in items:
                belief = belief * self.takes[:, v]
                belief = np.einsum("ks,kst->kt", belief / belief.sum(), self.moves)
            out[i] = (belief / belief.sum()).sum(0) @ self.takes
        return out


def write(path: Path, rules: Rules, users: int, seed: int = 1) -> list[str]:
    """A csv with user, time, item, amount (by state) and kind of the user; returns the words of the items in the order of the rules."""
    rng = np.random.default_rng(seed)
    words = [f"item {v:03d}" for v in range(ITEMS)]
    rows = []
    for u in range(users):
        kind, state, day = int(rng.integers(2)), int(rng.integers(STATES)), float(rng.uniform(0, 365))
        for _ in range(int(rng.integers(4, 41))):
            item = int(rng.choice(ITEMS, p=rules.takes[state]))
            rows.append((day, f"user {u}", words[item], round(float(rng.lognormal(state / 4, 0.5)), 2), "forward backward".split()[kind]))
            day += float(rng.exponential(1 + state))
            state = int(rng.choice(STATES, p=rules.moves[kind, state]))
    rows.sort()
    with path.open("w", newline="", encoding="utf-8") as file:
        made = csv.writer(file)
        made.writerow(["user", "day", "item", "amount", "kind"])
        made.writerows((user, f"{day:.4f}", *rest) for day, user, *rest in rows)
    return words
