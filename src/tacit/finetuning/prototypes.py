"""A decision by looks: how much the parts of an item are like parts of training items that were chosen to stand for their class."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.errors import CannotPair

MOST = 5000  # tokens of a class that prototypes are chosen from
TOKENS = 200_000  # of all items, that are held at once
TRIED = 8  # candidates for each prototype
CANDIDATES = 2000  # of all classes, unless more prototypes are asked for


class Bank(nn.Module):
    """Parts of training items, and how near an item comes to each of them.

    rows: unit directions of the chosen tokens from `mean`, [P, D].
    source: the decision of Chen et al. 2019, arXiv:1806.10574 (ProtoPNet); ours takes real tokens of a frozen encoder that tell the
    classes, and their cosine, so that nothing has to be projected back and the encoder stays the one that was tested.
    """

    rows: Tensor
    mean: Tensor

    def __init__(self, rows: np.ndarray, mean: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("rows", torch.as_tensor(rows, dtype=torch.float32))
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))

    def near(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Cosine of every token to every prototype [B, M, P]; -1 where there is no token."""
        with torch.autocast(tokens.device.type, enabled=False):
            cosine = F.normalize(tokens.float() - self.mean, dim=-1) @ self.rows.T
        return torch.where(valid[..., None], cosine, -torch.ones_like(cosine))

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """How near the nearest token comes to each prototype [B, P]; tokens [B, M, D], valid bool [B, M]."""
        return self.near(tokens, valid).amax(1)


def choose(tokens: np.ndarray, of: np.ndarray, each: int, seed: int) -> tuple[Bank, np.ndarray]:
    """Prototypes among tokens [T, D]: of every class those next to its centres, and which tokens they are.

    of: int64 [T], class of the token's item, -1 = of all together. each: prototypes a class.
    """
    from sklearn.cluster import MiniBatchKMeans

    mean = tokens.mean(0)
    unit = tokens - mean
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    rng, chosen = np.random.default_rng([seed, 616]), dict[int, None]()
    for k in np.unique(of):
        rows = np.flatnonzero(of == k)
        rows = np.sort(rng.choice(rows, MOST, replace=False)) if len(rows) > MOST else rows
        count = min(each, len(rows))
        centres = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=1024).fit(unit[rows]).cluster_centers_
        chosen |= dict.fromkeys(rows[(unit[rows] @ centres.T).argmax(0)].tolist())
    at = np.array(list(chosen), dtype=np.int64)
    return Bank(unit[at], mean), at


def telling(f: np.ndarray, y: np.ndarray, of: np.ndarray, each: int) -> np.ndarray:
    """Which candidates together tell their class best from the others, at most `each` a class, one after the other by what is not yet told.

    f: how near items come to the candidates [n, C]. y: classes of the items. of: class that each candidate stands for.
    source: orthogonal matching pursuit, Pati et al. 1993, 10.1109/ACSSC.1993.342465.
    """
    scaled = (f - f.mean(0)) / np.maximum(f.std(0), 1e-9)
    chosen: list[int] = []
    for k in np.unique(of):
        rows = np.flatnonzero(of == k)
        x, left, picked = scaled[:, rows], (y == k) - (y == k).mean(), list[int]()
        target = left
        while len(picked) < min(each, len(rows)):
            gain = np.abs(x.T @ left)
            gain[picked] = -1.0
            picked.append(int(gain.argmax()))
            left = target - x[:, picked] @ np.linalg.lstsq(x[:, picked], target, rcond=1e-6)[0]
        chosen += rows[picked].tolist()
    return np.array(chosen, dtype=np.int64)


def check(level: str, can: Collection[str]) -> None:
    """Raise CannotPair where a network gives no parts to compare, or a head decides about parts or pairs. level: the head's."""
    if level != "item" or "tokens" not in can:
        why = "this network gives no feature for each part" if level == "item" else "this head decides about more than whole items"
        raise CannotPair(f"--strategy prototypes looks at the parts of an item: {why}", "use --strategy probe")


def prototyped(network: Any, data: Any, where: np.ndarray, y: np.ndarray, each: int, **how: Any) -> Any:
    """The network with a decision by prototypes, chosen among the parts of some rows of the data, with answers y. how: for the probe."""
    from tacit.finetuning.network import Scaled

    head = network.head
    x, lengths = data.x[where], None if data.lengths is None else data.lengths[where]
    tokens, item, cell = [], [], []
    most, draw = max(1, TOKENS // len(where)), np.random.default_rng([how["seed"], 626])
    network.eval()
    with torch.no_grad():
        for rows, batch in network.model.bundles(x, lengths):
            view = network.model.plain(batch)
            f = network.model.encoder(view)
            size = np.array(view.x.shape[-f.at.shape[-1] :])
            for row, t, at, valid in zip(rows, f.tokens.float().cpu().numpy(), f.at.cpu().numpy(), f.valid.cpu().numpy(), strict=True):
                kept = np.flatnonzero(valid)
                kept = np.sort(draw.choice(kept, most, replace=False)) if len(kept) > most else kept
                tokens.append(t[kept])
                cell.append(at[kept] * size)  # in samples: a share would be of the padding, too
                item.append(np.full(len(kept), row))
    found, of, at = np.concatenate(tokens), np.concatenate(item), np.concatenate(cell)
    classes = y[of] if y.ndim == 1 and y.dtype.kind in "iu" else np.full(len(of), -1)
    single = classes.max(initial=-1) >= 0
    device = next(network.model.parameters()).device
    tried = max(each, min(TRIED * each, CANDIDATES // max(1, head.outputs))) if single else each * max(2, head.outputs)
    bank, chosen = choose(found, classes, tried, how["seed"])
    network.bank = bank.to(device)
    f = network.features(x, lengths)
    if single:
        best = telling(f, y, classes[chosen], each)
        f, chosen = f[:, best], chosen[best]
        network.bank = Bank(bank.rows.cpu().numpy()[best], bank.mean.cpu().numpy()).to(device)
    names = [str(data.names[where[of[i]]]) for i in chosen]
    labels = [head.classes[classes[i]] if classes[i] >= 0 else "" for i in chosen]
    network.prototypes = [
        {"id": n, "label": c, "row": int(where[of[i]]), "at": at[i].tolist()} for n, c, i in zip(names, labels, chosen, strict=True)
    ]
    mean, scale = f.mean(0), np.maximum(f.std(0), 1e-6)
    weight, bias = head.probe((f - mean) / scale, y, **how)
    network.layer = Scaled(mean, scale, head.outputs)
    network.layer.set(weight, bias)
    return network.to(device)
