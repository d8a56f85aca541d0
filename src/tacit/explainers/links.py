"""Which part of one item goes with which part of another: an exact division of their cosine, where embeddings are means of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.embedding.model import Model
from tacit.grid import Grid
from tacit.pieces import Pieces
from tacit.types import Batch, Features


@torch.no_grad()
def links(model: Model, a: Batch, b: Batch, of_a: Pieces, of_b: Pieces) -> tuple[np.ndarray, list[str], list[str]] | None:
    """What every pair of parts adds to the cosine of two items, float64 [P, Q], and what the parts are called. They sum to the cosine.

    a, b: items as the encoder sees them. of_a, of_b: their parts, of which those are told together that one token covers. None = the
    embedding is no mean of tokens.
    source: as Eberle et al. 2020, arXiv:2003.05386 (BiLRP), divide a similarity; ours is exact from the last layer on, and says nothing of
    what mixed the tokens before.
    """
    if model.encoder.backbone.pool != "mean":
        return None
    sides = []
    for view, pieces in ((a, of_a), (b, of_b)):
        tokens = model.encoder.tokenizer(view)
        f = model.encoder(view, tokens=tokens)
        n = len(f.valid[0])
        weight = tokens.weight[0] if tokens.weight is not None and tokens.weight.shape[1] == n else torch.ones(n, device=f.valid.device)
        weight = weight * f.valid[0]
        weight = weight / weight.sum().clamp(min=1e-12)
        each, expected = f.tokens[0].cpu().double(), f.pooled[0].cpu().double()
        if model.centre is not None:
            each, expected = each - model.centre.cpu(), expected - model.centre.cpu()
        each = weight.cpu().double()[:, None] * each
        if not torch.allclose(each.sum(0), expected, atol=1e-3 * float(expected.norm())):
            return None
        names, group = _grouped(model, f, view, pieces)
        total = torch.zeros(len(names), each.shape[1], dtype=torch.float64).index_add(0, group, each)
        sides.append((total, names, expected.norm()))
    (p, own, long), (q, others, longer) = sides
    return np.asarray((p @ q.T / (long * longer).clamp(min=1e-12)).numpy()), own, others


def _grouped(model: Model, f: Features, view: Batch, pieces: Pieces) -> tuple[list[str], Tensor]:
    """What the tokens are called, and the name of each [N]: where the token lies, or the part that it belongs to."""
    size, grid = pieces.of.shape, f.grid
    at = [((f.position[0] // int(np.prod(grid[k + 1 :]))) % g).cpu().numpy() for k, g in enumerate(grid)]
    edges = [(p * c, np.minimum((p + 1) * c, s)) for p, c, s in zip(at, model.encoder.cell, size, strict=True)]
    kind = model.modality
    if pieces.boxes and isinstance(kind, Grid):
        boxes = [tuple((float(lo[i] / s), float(hi[i] / s)) for (lo, hi), s in zip(edges, size, strict=True)) for i in range(len(at[0]))]
        names = [kind.placed(box, tuple(view.x.shape[2:])) for box in boxes]
    else:
        middle = [np.minimum((lo + hi) // 2, s - 1) for (lo, hi), s in zip(edges, size, strict=True)]
        part = pieces.of.cpu().numpy()[tuple(middle)]
        names = [pieces.names[p] if p >= 0 else "" for p in part]
    known = list(dict.fromkeys(names))
    return known, torch.tensor([known.index(n) for n in names])


def strongest(each: np.ndarray, own: Sequence[str], others: Sequence[str], count: int = 8) -> list[dict[str, Any]]:
    """The pairs of parts that add or take away most, as plain JSON; each: [P, Q]."""
    order = np.argsort(-np.abs(each), axis=None, kind="stable")[:count]
    at = [np.unravel_index(i, each.shape) for i in order]
    return [{"part": own[i], "with": others[j], "adds": float(each[i, j])} for i, j in at]
