"""What a fine-tuned decision rests on, by example: the parts that it compares with, and the training items that moved it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.api import Say
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked
from tacit.explainers import draw
from tacit.finetuning.decider import Decider
from tacit.finetuning.network import Network
from tacit.origin import as_read, label_of
from tacit.pretext import last_of
from tacit.runtime import choose_device
from tacit.subject import about_of, known_to, row_named, seen, stored
from tacit.training.run import finite, write_json

SHOWN, PARTS = 6, 64


def evidence(
    model: str | Path, data: Any, *, item: int | str = 0, train: Any = None, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Which parts of training items a decision by prototypes compares an item with, and what each adds. Plain JSON and a picture.

    model: folder of a fine-tuned model, made with --strategy prototypes. Of one class of several, a part adds to its output beyond the mean
    of the other classes; all together and the bias are, exactly, what the output is ahead by. Raises Asked where there are no prototypes.
    """
    say = say or (lambda words: None)
    path = Path(model)
    decider = Decider.load(path, choose_device().value)
    network, head = decider.network, decider.knowledge.head
    if head.level != "item" or decider.knowledge.name not in ("classification", "regression"):
        raise Asked(f"{path} decides about {decider.knowledge.name}", "evidence is shown for one class or one number")
    if network.bank is None:
        raise Asked(f"{path} decides by the whole embedding, not by parts", "make one with `tacit finetune RUN DATA --strategy prototypes`")
    items = as_read(network.model, path, data, dict(options or {}), say)
    row = row_named(items, item)
    view = seen(network.model, items, row)
    with torch.no_grad():
        f = network.model.encoder(view)
        near = network.bank.near(f.tokens, f.valid)[0]  # [M, P]
        mean, scale, weight, bias = (t.cpu().double() for t in network.reading())
        closest, at = (t.cpu() for t in near.max(0))
        each = ((closest.double() - mean) / scale)[None] * weight  # [outputs, P]
        out = each.sum(1) + bias
    k = int(out.argmax()) if head.classes else 0
    against = [i for i in range(len(out)) if i != k] if decider.knowledge.name == "classification" else []

    def beyond(v: Tensor) -> Tensor:
        return v[k] - v[against].mean(0) if against else v[k]

    unit = 1.0 if head.classes else head.unit  # numbers in units of their own
    adds = unit * beyond(each)
    order = torch.argsort(-adds.abs())[:SHOWN].tolist()
    try:
        known: Dataset | None = known_to(network.model, path, data, items, train, dict(options or {}), say)
    except Asked as error:
        say(f"note: {error.message}: the prototypes are named and not drawn")
        known = None
    told, pictures = [], []
    for p in order:
        one = network.prototypes[p]
        place = tuple((f.at[0, int(at[p])].cpu() * torch.tensor(view.x.shape[-f.at.shape[-1] :])).tolist())
        own, own_each, own_name = part_of(network.model, items, row, place)
        entry = {
            "adds": float(adds[p]),
            "cosine": float(closest[p]),
            "usual": float(mean[p]),
            "part": own_name,
            "like": one["id"],
            "label": one["label"] or None,
        }
        image = draw.drawn(view.x[0].cpu().numpy(), own, own_each.tolist())
        cells = [image]
        if known is not None and one["row"] < len(known) and str(known.names[one["row"]]) == one["id"]:
            other, other_each, entry["part_of_it"] = part_of(network.model, known, one["row"], tuple(one["at"]))
            cells.append(draw.drawn(seen(network.model, known, one["row"]).x[0].cpu().numpy(), other, other_each.tolist()))
        told.append(entry)
        word = "like" if closest[p] > mean[p] else "unlike"
        pictures.append((f"{adds[p]:+.2f}: {word} {one['id']} ({one['label'] or 'no class'}), cosine {closest[p]:.2f}", cells))
    result = about_of(path, items) | {
        "item": str(items.names[row]),
        "row": row,
        "label": label_of(items, row),
        "decides": head.classes[k] if head.classes else float(out[0] * head.unit + head.centre),
        "ahead": unit * float(beyond(out)),
        "bias": unit * float(beyond(bias)),
        "prototypes": told,
        "rest": float(adds.sum() - sum(float(adds[p]) for p in order)),
        "seed": seed,
    }
    write_json(path / "explain" / f"evidence-{row}.json", finite(result))
    (path / "explain" / f"evidence-{row}.png").write_bytes(draw.sheet(pictures))
    return result


def part_of(net: Model, items: Dataset, row: int, at: tuple[float, ...]) -> tuple[Any, np.ndarray, str]:
    """The parts of an item, 1 for those that the feature around a place (in samples) covers, and the name of the middle one."""
    view = seen(net, items, row)
    pieces = net.modality.cut_up(view, net.encoder.tokenizer, PARTS).on("cpu")
    size, each = pieces.of.shape, np.zeros(len(pieces))
    middle = tuple(min(int(a), s - 1) for a, s in zip(at, size, strict=True))
    area = tuple(
        slice(max(0, int(a * s - c / 2 + 0.5)), max(1, int(a * s + c / 2 + 0.5)))
        for a, s, c in zip(at, size, net.encoder.cell, strict=True)
    )
    inside = pieces.of[area].flatten()
    each[inside[inside >= 0].unique().numpy()] = 1.0
    there = int(pieces.of[middle])
    return pieces, each, pieces.names[there] if there >= 0 and len(pieces) > 1 else "the whole item"


def influence(
    model: str | Path, data: Any, *, item: int | str = 0, most: int = 200, train: Any = None, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Labelled training items whose own step would move a fine-tuned decision most toward what it says of an item, or away. Plain JSON.

    `helps`: in units of the largest. source: Pruthi et al. 2020, arXiv:2002.08484 (TracIn), at the last checkpoint and on the last layers.
    """
    say = say or (lambda words: None)
    path = Path(model)
    decider = Decider.load(path, choose_device().value)
    network, head = decider.network, decider.knowledge.head
    if head.level != "item" or not head.classes or decider.knowledge.name != "classification":
        raise Asked(f"{path} gives no single class of an item", "influence is of decisions for a class")
    items = as_read(network.model, path, data, dict(options or {}), say)
    row = row_named(items, item)
    known = known_to(network.model, path, data, items, train, dict(options or {}), say)
    if known.labels is None or not known.classes:
        raise Asked(f"{known.path} has no classes", "name their column with --target")
    label = np.array([head.classes.index(c) if c in head.classes else -1 for c in known.classes])
    rows = known.train if len(known.train) else np.arange(len(known))
    rows = rows[known.labels[rows] >= 0]
    rows = rows[label[known.labels[rows]] >= 0]
    rows = rows[rows != row] if known.fingerprint == items.fingerprint else rows
    rows = np.sort(np.random.default_rng([seed, 71]).permutation(rows)[:most])
    if not len(rows):
        raise Asked(f"{known.path} has no labelled training item of a class that is decided", "name the data with --train")
    network.requires_grad_(True)
    last = last_of(network)

    def slope(items_: Dataset, r: int, answer: int) -> Tensor:
        return _slope(network, stored(network.model, items_, r), answer, last)

    with torch.no_grad():
        best = int(network.decide(stored(network.model, items, row))[0].argmax())
    own = slope(items, row, best)
    adds = np.array([float(slope(known, int(r), int(label[known.labels[r]])) @ own) for r in rows])
    scale = float(np.abs(adds).max()) or 1.0
    order = np.argsort(-adds, kind="stable")

    def told(i: int) -> dict[str, Any]:
        return {"id": str(known.names[rows[i]]), "label": label_of(known, int(rows[i])), "helps": float(adds[i] / scale)}

    out = about_of(path, items) | {"item": str(items.names[row]), "label": label_of(items, row), "decides": head.classes[best]}
    out |= {"tried": len(rows), "seed": seed}
    out |= {"helped": [told(int(i)) for i in order[:5] if adds[i] > 0], "hurt": [told(int(i)) for i in order[::-1][:5] if adds[i] < 0]}
    write_json(path / "explain" / f"influence-{row}.json", finite(out))
    return out


def _slope(network: Network, batch: Any, answer: int, last: list[Tensor]) -> Tensor:
    """Gradient of the log-loss of one item for an answer, by the last parameters."""
    # cuDNN's recurrent networks have a way back in training only
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        out = network.decide(batch)
        loss = F.cross_entropy(out.float(), torch.tensor([answer], device=out.device))
        grads = torch.autograd.grad(loss, last, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(last, grads, strict=True)])
