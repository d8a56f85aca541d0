"""What is explained: one number of an item, as the encoder sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.embedding.model import Model
from tacit.encoder import join
from tacit.errors import Asked
from tacit.finetuning.network import Network, Scaled
from tacit.head import Head
from tacit.method import Method
from tacit.modality import Modality
from tacit.recommending.ranker import Ranker
from tacit.types import Batch, Context, Tokens

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
    return model.centred(model.encoder(view, tokens=tokens).pooled.float())


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

    def of(b: Batch, t: Tokens | None) -> Tensor:
        f = network.model.read(b) if network.cuts else network.sees(b, t)
        assert isinstance(network.layer, Scaled)
        out: Tensor = network.layer(f)
        if not exclusive:
            return out[:, k]
        return out[:, k] - torch.cat([out[:, :k], out[:, k + 1 :]], 1).logsumexp(1)

    return Value(of, said, single=not network.cuts)


def named(head: Head, k: int, exclusive: bool, about: Mapping[str, Any]) -> str:
    """What output k of a head is called."""
    word = f"the log-odds of {head.classes[k]}" if exclusive else f"the evidence for {head.classes[k]}" if head.classes else "the number"
    return f"{word} that {about.get('target') or 'the model'} is decided by"


def following(ranker: Ranker, k: int, said: str) -> Value:
    """Log-odds that item k comes next in a sequence of events, by a ranking that was learned."""
    ranking, encoder = ranker.ranking, ranker.model.encoder
    assert ranking is not None

    def of(b: Batch, t: Tokens | None) -> Tensor:
        f = encoder(b, tokens=t)
        tokens, last = f.tokens.float(), (f.valid.sum(1) - 1).clamp(min=0)
        steps = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)[:, None]
        both = torch.cat([tokens, tokens.cumsum(1) / steps], -1)
        out = ranking(both[torch.arange(len(both), device=both.device), last])
        return out[:, k] - torch.cat([out[:, :k], out[:, k + 1 :]], 1).logsumexp(1)

    return Value(of, said)


PASSES = 2  # draws of the views that a pretext task is judged by


def pretext(method: Method, modality: Modality, context: Batch, seed: int) -> Value:
    """How well the pretext task is solved: minus its loss on the item among others, with the same random views for every copy.

    method: as it was trained, with all its parts. context: other items as they are stored. What the method keeps in mind (queues,
    running means) stays as it was.
    """
    device = context.x.device
    buffers = [(b, b.clone()) for b in method.buffers()]

    def of(b: Batch, t: Tokens | None) -> Tensor:
        out = []
        for k in range(len(b.x)):
            batch, losses = beside(row_of(b, k), context), []
            for draw in range(PASSES):
                g = torch.Generator(device).manual_seed(1000 * seed + draw)
                views = modality.views(batch, method.views, g, method.encoder.cell)
                losses.append(method(views, Context(g, 1.0)).loss.float())
                with torch.no_grad():
                    for buffer, before in buffers:
                        if not torch.equal(buffer, before):
                            buffer.copy_(before)
            out.append(-torch.stack(losses).mean())
        return torch.stack(out)

    return Value(of, "how well the pretext task is solved with it", single=False)


def beside(item: Batch, context: Batch) -> Batch:
    """One item and others as one batch, the item first; of unequal lengths with padding."""
    parts = [item, context]
    if item.valid is not None and context.valid is not None:
        size = max(p.x.shape[-1] for p in parts)
        parts = [
            replace(p, x=F.pad(p.x, (0, size - p.x.shape[-1]), value=torch.nan), valid=F.pad(p.valid, (0, size - p.x.shape[-1])))
            for p in parts
            if p.valid is not None
        ]
    joined = join([replace(p, frame=None, stream=item.stream) for p in parts])
    return replace(joined, ids=torch.arange(len(joined.x), device=joined.x.device))


def row_of(view: Batch, row: int) -> Batch:
    """One item of a batch."""
    names = ("x", "ids", "valid", "frame")
    return replace(view, **{k: v[row : row + 1] for k in names if (v := getattr(view, k)) is not None})
