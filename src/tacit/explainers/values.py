"""What is explained: one number of an item, as the encoder sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.embedding.model import Model
from tacit.errors import Asked
from tacit.finetuning.network import Network, Scaled
from tacit.types import Batch, Tokens

NEAREST = 5  # training items that the distance of a strange item is measured to
BANK = 5000


@dataclass(frozen=True)
class Value:
    """of: a batch of views, and tokens made of it before or None -> the number of each item, float32 [K]. said: what it is, in words.
    single: the network sees the item once, and not also in parts."""

    of: Callable[[Batch, Tokens | None], Tensor]
    said: str
    single: bool = True


def vector(model: Model, view: Batch, tokens: Tokens | None = None) -> Tensor:
    """Embeddings [K, D] of views that were made already: of whole items, without the parts that an image is also read in."""
    z = model.encoder(view, tokens=tokens).pooled.float()
    return z if model.centre is None else F.normalize(z - model.centre, dim=1) * model.encoder.dim**0.5


def itself(model: Model, view: Batch) -> Value:
    """How much the embedding of what is left points where that of the whole item points.

    source: Crabbe & van der Schaar 2022, arXiv:2203.01928 (label-free importance); ours takes the cosine and not the product, so that a
    longer vector is no better one.
    """
    with torch.no_grad():
        whole = F.normalize(vector(model, view), dim=1)
    return Value(lambda b, t: F.normalize(vector(model, b, t), dim=1) @ whole[0], "the embedding itself")


def contrast(model: Model, these: np.ndarray, those: np.ndarray, said: str) -> Value:
    """Mean cosine to some items minus that to others; these, those: their embeddings [n, D] of whole items.

    source: Lin et al. 2023, arXiv:2210.00107 (COCOA, contrastive corpus similarity). Raises Asked where both are the same.
    """
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (these, those))
    difference = a.mean(0) - b.mean(0)
    if not len(these) or not len(those) or np.abs(difference).max() < 1e-9:
        raise Asked("the items and those that they are held against are the same", "name two different sets")
    device = next(model.parameters()).device
    toward = torch.from_numpy(difference.astype(np.float32)).to(device)
    return Value(lambda v, t: F.normalize(vector(model, v, t), dim=1) @ toward, said)


def pair(model: Model, other: Batch, said: str) -> Value:
    """Cosine to the embedding of another item."""
    with torch.no_grad():
        z = F.normalize(vector(model, other), dim=1)
    return Value(lambda b, t: F.normalize(vector(model, b, t), dim=1) @ z[0], said)


def strangeness(model: Model, known: np.ndarray) -> Value:
    """How far an item lies from the nearest of known items, every feature in units of its deviation; known: embeddings [n, D]."""
    if not len(known):
        raise Asked("there is no training item that this one could be unlike")
    rows = np.arange(0, len(known), max(1, -(-len(known) // BANK)))
    device = next(model.parameters()).device
    mean, std = known.mean(0), known.std(0)
    std = np.where(std > 1e-6, std, 1.0)
    bank = torch.from_numpy(((known[rows] - mean) / std).astype(np.float32)).to(device)
    m, s = (torch.from_numpy(v.astype(np.float32)).to(device) for v in (mean, std))
    k = min(NEAREST, len(bank))

    def of(b: Batch, t: Tokens | None) -> Tensor:
        z = (vector(model, b, t) - m) / s
        return torch.cdist(z, bank).topk(k, largest=False).values.mean(1)

    return Value(of, f"how far it lies from the {k} nearest training items")


def decision(network: Network, k: int, exclusive: bool, said: str) -> Value:
    """What a fine-tuned network says for output k; where classes exclude one another (exclusive), its log-odds against all others.

    A network that also reads parts of an image takes items as they are stored, and cuts them itself.
    """
    tiles = network.tiles and bool(network.model.modality.tiles)

    def of(b: Batch, t: Tokens | None) -> Tensor:
        f = network.model.read(b) if tiles else vector(network.model, b, t)
        assert isinstance(network.layer, Scaled)
        out: Tensor = network.layer(f)
        if not exclusive:
            return out[:, k]
        return out[:, k] - torch.cat([out[:, :k], out[:, k + 1 :]], 1).logsumexp(1)

    return Value(of, said, single=not tiles)


def row_of(view: Batch, row: int) -> Batch:
    """One item of a batch."""
    names = ("x", "ids", "valid", "frame")
    return replace(view, **{k: v[row : row + 1] for k in names if (v := getattr(view, k)) is not None})
