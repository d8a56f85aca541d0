"""Games whose right attribution is known in closed form, before the same code that explains networks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tacit import pieces
from tacit.explainers.problem import Problem
from tacit.explainers.values import Value
from tacit.types import Batch, Layout


class Row(SimpleNamespace):
    """A row of numbers on a grid whose hidden places are 0."""

    layout, smooth, flat = Layout(1), True, False

    def cut_up(self, view: Batch, tokenizer: Any, most: int) -> pieces.Pieces:
        return pieces.blocks(torch.ones(view.x.shape[2:], dtype=torch.bool), (1,), most, "place", lambda box: f"{box[0][0]:.2f}")

    def without(self, view: Batch, parts: pieces.Pieces, keep: torch.Tensor, background: Any) -> Batch:
        return pieces.filled(view, parts, keep, torch.zeros_like(view.x))


def game(x: np.ndarray, f: Callable[[torch.Tensor], torch.Tensor]) -> Problem:
    """The problem of a row x [N] under f: [K, N] -> [K]."""
    model: Any = SimpleNamespace(modality=Row(), encoder=SimpleNamespace(tokenizer=SimpleNamespace(patch=(1,)), mask_token=None))
    view = Batch(torch.tensor(x, dtype=torch.float64)[None, None], torch.zeros(1, dtype=torch.int64))
    return Problem(model, view, Value(lambda b, t: f(b.x[:, 0]), "f"))


def closed(n: int, seed: int = 0) -> tuple[Problem, torch.Tensor]:
    """A linear encoder's product with its own embedding, and what every place adds to it."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=n), torch.tensor(rng.normal(size=(4, n)))
    toward = w.T @ (w @ torch.tensor(x))
    return game(x, lambda v: v.double() @ toward), torch.tensor(x) * toward


def curved(n: int, seed: int = 0) -> Problem:
    """A game that is no sum of its places."""
    rng = np.random.default_rng(seed)
    w = torch.tensor(rng.normal(size=n))
    return game(rng.normal(size=n), lambda v: torch.tanh(v.double() @ w) + v[:, 0].double() * v[:, 3].double())
