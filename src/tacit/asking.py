"""What an audit may ask a network: random views of items, how parts answer to the whole, how well its pretext task is solved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import TacitError
from tacit.explainers import values
from tacit.origin import held
from tacit.pretext import restored
from tacit.types import Batch, Views

CONTEXT = 7  # other items that the pretext task is solved among
SHARP = 0.1  # temperature of the responses of parts


def kind_of_view(net: Model) -> str:
    """The random view that suits best, "" = there is none."""
    return next((k for k in ("global_", "crop", "weak", "local") if k in net.modality.gives), "")


def asks(net: Model, data: Dataset, seed: int = 0) -> dict[str, Callable[..., Any]]:
    """What can be asked of this network: "views" and "parts", as `auditors.case` says."""
    kind = kind_of_view(net)
    if not kind:
        return {}

    @torch.no_grad()
    def views(rows: np.ndarray, draws: int) -> np.ndarray:
        """Embeddings of random views, float32 [n, draws, D]."""
        out, order = [], []
        for at, batch in net.bundles(*held(data, rows), 128):
            order.append(at)
            each = [values.vector(net, view).cpu().numpy() for view in _views(net, batch, kind, draws, seed)]
            out.append(np.stack(each, 1))
        return np.concatenate(out)[np.argsort(np.concatenate(order))]

    @torch.no_grad()
    def parts(rows: np.ndarray, draws: int) -> np.ndarray | None:
        """How sharply the tokens of the whole item answer to views of its parts: mean and deviation over draws of four numbers, [n, 8]."""
        if "tokens" not in net.encoder.can:
            return None
        part = "local" if "local" in net.modality.gives else kind
        out, order = [], []
        for at, batch in net.bundles(*held(data, rows), 128):
            order.append(at)
            whole = net.encoder(net.plain(batch))
            tokens, there = F.normalize(whole.tokens.float(), dim=2), whole.valid
            told = []
            for view in _views(net, batch, part, draws, seed + 1):
                query = F.normalize(net.encoder(view).pooled.float(), dim=1)
                r = torch.einsum("bmd,bd->bm", tokens, query).masked_fill(~there, -1e4)
                p = torch.softmax(r / SHARP, 1)
                known = torch.where(there, r, torch.zeros_like(r))
                n = there.sum(1).clamp(min=1)
                mean = known.sum(1) / n
                std = (((known - mean[:, None]) * there) ** 2).sum(1).div(n).sqrt()
                entropy = -(p * p.clamp(min=1e-12).log()).sum(1)
                told.append(torch.stack([r.amax(1), mean, std, entropy], 1))
            each = torch.stack(told, 1)
            out.append(torch.cat([each.mean(1), each.std(1, correction=0)], 1).cpu().numpy())
        return np.concatenate(out)[np.argsort(np.concatenate(order))]

    return {"views": views, "parts": parts}


def _views(net: Model, batch: Batch, kind: str, draws: int, seed: int) -> list[Batch]:
    g = torch.Generator(batch.x.device)
    out = []
    for k in range(draws):
        g.manual_seed(100_000 * seed + 7919 * k + int(batch.x.shape[0]))
        out.append(net.modality.views(batch, Views(**{kind: 1}), g, net.encoder.cell)[0])  # type: ignore[arg-type]
    return out


def losses(
    path: Path, net: Model, data: Dataset, seed: int, note: Callable[[str], None], fresh: bool = False
) -> Callable[[np.ndarray], np.ndarray | None]:
    """How badly the pretext task of a run is solved on each item, among others of the training part; fresh: with random weights. Where one
    item cannot be asked about alone the answer is None, and `note` is told why."""

    def each(rows: np.ndarray) -> np.ndarray | None:
        device = next(net.parameters()).device
        try:
            method, modality = restored(path, data, seed=seed if fresh else None, device=str(device))
            pool = data.train if len(data.train) else np.arange(len(data))
            some = np.sort(np.random.default_rng([seed, 52]).choice(pool, min(CONTEXT, len(pool)), replace=False))
            (context,) = net.batches(*data.some(some))
            value = values.pretext(method, modality, context, seed)
            out = np.full(len(rows), np.nan)
            with torch.no_grad():
                for k, row in enumerate(rows.tolist()):
                    (own,) = net.batches(*data.some(np.array([row])))
                    out[k] = -float(value.of(own, None))
        except (TacitError, RuntimeError, ValueError) as error:  # not every task can be asked about one item
            why = next(iter(str(error).splitlines()), type(error).__name__)[:200]
            note(f"how well the pretext task is solved on single items is not known: {why}")
            return None
        return out

    return each
