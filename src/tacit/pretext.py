"""What a pretraining taught: which changes it ignores, what its layers hold, which items stay hard, and which items moved it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tacit.api import Say, untrained
from tacit.assemble import info_of, make_method, make_modality, needs_before
from tacit.config import RunConfig
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.encoder import join
from tacit.errors import Asked, CannotPair
from tacit.evaluation.readers import standardise
from tacit.explainers import values
from tacit.layers import grouped
from tacit.method import Method
from tacit.modality import Modality
from tacit.origin import held, label_of, opened_run
from tacit.registry import find
from tacit.subject import about_of
from tacit.training import checkpoint
from tacit.training.run import finite, write_json
from tacit.types import LABELS, Batch, Views

ITEMS, DRAWS = 256, 2  # that changes are measured on, and views of each
READ = 1000  # items that layers are read on
HARD, SHOWN = 1000, 10
CONTEXT = 7  # other items that the pretext task is solved among


def taught(
    run: str | Path, data: Any, *, seed: int = 0, options: Mapping[str, Any] | None = None, say: Say | None = None
) -> dict[str, Any]:
    """What the pretraining of a run taught its encoder, beside the same network with random weights. Plain JSON, kept in
    RUN/explain/pretraining.json: `ignores` (how far an embedding moves by each transformation and strength), `layers` (what can be read
    linearly where), `hardest` (training items that their own views do not find again)."""
    say = say or (lambda words: None)
    path, net, items = opened_run(run, data, options, say)
    learn = items.train if len(items.train) else np.arange(len(items))
    fresh = untrained(net, seed).eval()
    some = learn[:: max(1, -(-len(learn) // READ))]
    fresh.settle(*held(items, some))
    if len(learn) < 8:
        raise Asked(f"{items.path} has {len(learn)} training items, too few to say what was taught")
    say("changing items\r")
    moved = [moves(m, items, learn, seed) for m in (net, fresh)]
    ignores = [{**a, "untrained": b["moves"]} for a, b in zip(*moved, strict=True)]
    say("reading layers\r")
    layers = [read_layers(m, items, seed) for m in (net, fresh)]
    say("looking for hard items\r")
    out = about_of(path, items) | {
        "seed": seed,
        "ignores": ignores,
        "layers": [{**a, "untrained": b["reads"]} for a, b in zip(*layers, strict=True)],
        "hardest": hardest(net, items, learn, seed),
    }
    write_json(path / "explain" / "pretraining.json", finite(out))
    return out


def moves(net: Model, items: Dataset, learn: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """How far embeddings move by each transformation and strength, all others as weak as they can be: the mean of 1 - cosine to the plain
    item, in units of that between two items (0 = ignored, 1 = like another item)."""
    if "global_" not in net.modality.gives:
        return []
    rows = np.sort(np.random.default_rng([seed, 21]).permutation(learn)[:ITEMS])
    batches = [b for _, b in net.bundles(*held(items, rows), 64)]
    plain = _unit(torch.cat([_vector(net, net.plain(b)) for b in batches]))
    apart = 1 - (plain @ plain.T).mean().item() * len(plain) / (len(plain) - 1) + 1 / (len(plain) - 1)
    knobs = {k: v for k, v in net.config["modality"].items() if k != "name"}
    off = {name: tried[0] for name, tried in net.modality.strengths.items()}
    out = []
    for name, tried in (net.modality.strengths or {"all views": ("as trained",)}).items():
        for strength in tried:
            kind = make_modality(net.spec, {**knobs, **off, name: strength}) if off else net.modality
            far = []
            for draw in range(DRAWS):
                g = torch.Generator(plain.device).manual_seed(1000 * seed + draw)
                seen = [kind.views(b, Views(global_=1), g, net.encoder.cell)[0] for b in batches]
                far.append(1 - (_unit(torch.cat([_vector(net, v) for v in seen])) * plain).sum(1))
            out.append({"name": name, "strength": strength, "moves": float(torch.stack(far).mean() / max(apart, 1e-9)), "n": len(rows)})
    return out


def read_layers(net: Model, items: Dataset, seed: int) -> list[dict[str, Any]]:
    """What a linear reading finds in each layer's mean over an item: the label on held-out items (accuracy, or R2), and how bright, varied
    and long an item is (R2 on a random half)."""
    rows = np.arange(0, len(items), max(1, -(-len(items) // READ)))
    x, lengths = held(items, rows)
    if "layers" in net.encoder.backbone.can:
        found: list[list[np.ndarray]] = []
        order = []
        with torch.no_grad():
            for at, batch in net.bundles(x, lengths):
                f = net.encoder(net.plain(batch), layers=1000)
                weight = f.valid[..., None].float()
                found.append([((t.float() * weight).sum(1) / weight.sum(1).clamp(min=1)).cpu().numpy() for t in f.layers])
                order.append(at)
        back = np.argsort(np.concatenate(order))
        layers = [np.concatenate([f[k] for f in found])[back] for k in range(len(found[0]))]
    else:
        layers = [net.vectors(x, lengths, tiles=False)]
    asked = _asked(items, rows, seed)
    names = [f"layer {k + 1} of {len(layers)}" for k in range(len(layers))] if len(layers) > 1 else ["the embedding"]
    return [{"layer": name, "reads": {a: _readable(z, *how) for a, how in asked.items()}} for name, z in zip(names, layers, strict=True)]


def _asked(items: Dataset, rows: np.ndarray, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What may be readable: name -> (answers [n], rows to learn from, held-out rows)."""
    out: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    every = np.random.default_rng([seed, 31]).permutation(len(rows))
    half = (every[: len(rows) // 2], every[len(rows) // 2 :])
    if items.labels is not None:
        y = items.labels[rows]
        known = y >= 0 if items.classes else ~np.isnan(y)
        fit, held = (np.flatnonzero(known & np.isin(rows, part)) for part in (items.train, items.test))
        if len(fit) >= 10 and len(held) >= 10:
            out["label"] = (y, fit, held)
    if items.spec.modality not in ("text", "table", "events"):
        told = np.array([(np.nanmean(v), np.nanstd(v)) if np.isfinite(v).any() else (0.0, 0.0) for v in (items[int(r)] for r in rows)])
        out["level"], out["variation"] = ((told[:, k].astype(np.float64), *half) for k in range(2))
    if items.lengths is not None and len(np.unique(items.lengths[rows])) > 2:
        out["length"] = (np.log(items.lengths[rows]), *half)
    return {k: v for k, v in out.items() if len(np.unique(v[0][v[1]])) > 1}


def _readable(z: np.ndarray, y: np.ndarray, fit: np.ndarray, held: np.ndarray) -> float:
    """Accuracy of a linear reading of classes, R2 of numbers, on the held-out rows."""
    a, b = standardise(z[fit], z[held])
    if y.dtype.kind in "iu":
        classes = int(y.max()) + 1
        guess = find("probes", "linear")().fit(a, y[fit], classes, small=False, seed=0, groups=None).predict(b)
        return float((guess == y[held]).mean())
    from sklearn.linear_model import RidgeCV

    guess = RidgeCV(10.0 ** np.arange(-2, 5)).fit(a, y[fit]).predict(b)
    return float(1 - ((guess - y[held]) ** 2).sum() / max(float(((y[held] - y[held].mean()) ** 2).sum()), 1e-12))


def hardest(net: Model, items: Dataset, learn: np.ndarray, seed: int) -> dict[str, Any]:
    """Training items whose own views are nearer to other items: the share of others that are nearer, mean over draws; {} = no views."""
    if "global_" not in net.modality.gives:
        return {}
    rows = np.sort(np.random.default_rng([seed, 41]).permutation(learn)[:HARD])
    order, plain, shares = [], [], []
    bundles = list(net.bundles(*held(items, rows), 64))
    for at, batch in bundles:
        order.append(at)
        plain.append(_vector(net, net.plain(batch)))
    bank = _unit(torch.cat(plain))
    for draw in range(DRAWS):
        g = torch.Generator(bank.device).manual_seed(1000 * seed + draw)
        seen = [net.modality.views(b, Views(global_=1), g, net.encoder.cell)[0] for _, b in bundles]
        cosine = _unit(torch.cat([_vector(net, v) for v in seen])) @ bank.T
        shares.append(((cosine >= cosine.diagonal()[:, None]).float().sum(1) - 1) / (len(rows) - 1))
    share = torch.stack(shares).mean(0).cpu().numpy()
    at = rows[np.concatenate(order)]
    worst = np.argsort(-share, kind="stable")[:SHOWN]
    told = [{"id": str(items.names[at[i]]), "label": label_of(items, int(at[i])), "nearer": float(share[i])} for i in worst]
    return {"n": len(rows), "found": float((share == 0).mean()), "median": float(np.median(share)), "items": told}


def restored(path: Path, data: Dataset, seed: int | None = None, device: str = "cpu") -> tuple[Method, Modality]:
    """The method of a run with all its parts as they were at its last checkpoint, to be asked for its loss; seed: fresh ones instead.

    data: what it learned from. Raises CannotPair where it learned from labels, Asked where no checkpoint is left.
    """
    if not (path / "config.toml").is_file():
        raise Asked(f"{path} is no run folder, and only a run knows its pretext task", "give the folder of `tacit pretrain`")
    config = RunConfig.read(path / "config.toml")
    if needs_before(config.method) & LABELS:
        raise CannotPair(f"{config.method['name']} learned from labels: it has no pretext task", "ask for a class with --class")
    modality = make_modality(data.spec, config.modality)
    info = info_of(modality, len(data.train))
    method = make_method(modality, config.method, config.backbone, info, config.train.seed if seed is None else 7919 + seed)
    if config.private.epsilon:
        grouped(method)
    if seed is None:
        newest = checkpoint.latest(path / "checkpoints")
        if newest is None:
            raise Asked(f"{path} has no checkpoint left, and the pretext task's own parts are nowhere else", "pretrain again")
        try:
            held = {k.removeprefix("method."): v for k, v in load_file(newest / "model.safetensors").items()}
            method.load_state_dict(held)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise Asked(f"{newest} cannot be read: {error}", "pretrain again") from None
    return method.to(device).eval(), modality


def solved(path: Path, net: Model, items: Dataset, known: Dataset, row: int, seed: int) -> Any:
    """Of any network of a run's kind, how well its pretext task is solved on an item; that of another one is of a fresh method."""
    (own,) = net.batches(*items.some(np.array([row])))
    if net.plain(own).x.ndim != own.x.ndim:
        raise CannotPair(
            "the parts of such an item are cut where the network sees it, and the pretext task begins before", "explain the embedding"
        )
    device = next(net.parameters()).device
    rows = known.train if len(known.train) else np.arange(len(known))
    rows = rows[rows != row] if known.fingerprint == items.fingerprint else rows
    if not len(rows):
        raise Asked(f"{known.path} has no other item that the task could be solved among", "name the data with --train")
    rows = np.sort(np.random.default_rng([seed, 51]).choice(rows, min(CONTEXT, len(rows)), replace=False))
    context = join(list(net.batches(*known.some(rows))))
    made = partial(restored, path, known, device=str(device))

    def of(m: Model) -> values.Value:
        method, modality = made() if m is net else made(seed=seed)
        return values.pretext(method, modality, context, seed)

    return of


def influence(
    run: str | Path, data: Any, *, item: int | str = 0, most: int = 200, train: Any = None, seed: int = 0,
    options: Mapping[str, Any] | None = None, say: Say | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Training items whose own step would help most, or hurt most, to solve the pretext task on an item, more than an average item's step
    does. Plain JSON; `helps` in units of the largest.

    most: training items that are tried. source: Pruthi et al. 2020, arXiv:2002.08484 (TracIn), at the last checkpoint and on the last
    layers; ours takes away the mean slope, which is that of the other items of a batch.
    """
    from tacit.subject import known_to, row_named, stored

    say = say or (lambda words: None)
    path, net, items = opened_run(run, data, options, say)
    row = row_named(items, item)
    known = known_to(net, path, data, items, train, dict(options or {}), say)
    method, modality = restored(path, known, device=str(next(net.parameters()).device))
    rows = known.train if len(known.train) else np.arange(len(known))
    rows = rows[rows != row] if known.fingerprint == items.fingerprint else rows
    if len(rows) < CONTEXT + 2:
        raise Asked(f"{known.path} has {len(rows)} other items, too few to say which of them helped", "name the data with --train")
    rows = np.random.default_rng([seed, 61]).permutation(rows)[: most + CONTEXT]
    context = join(list(net.batches(*known.some(np.sort(rows[:CONTEXT])))))
    rows = np.sort(rows[CONTEXT:])
    value = values.pretext(method, modality, context, seed)
    last = last_of(method)

    def slope(batch: Batch) -> Tensor:
        # cuDNN's recurrent networks have a way back in training only
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            grads = torch.autograd.grad(value.of(batch, None).sum(), last, allow_unused=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(last, grads, strict=True)])

    slopes = []
    for i, r in enumerate(rows):
        if i % 20 == 0:
            say(f"training item {i + 1} of {len(rows)}\r")
        slopes.append(slope(stored(net, known, int(r))))
    every = torch.stack(slopes)
    mean = every.mean(0)  # what all have in common is the step of the others, and of any item
    own = slope(stored(net, items, row)) - mean
    adds = ((every - mean) @ own).tolist()
    scale = float(np.abs(adds).max()) or 1.0
    order = np.argsort(-np.array(adds), kind="stable")

    def told(i: int) -> dict[str, Any]:
        return {"id": str(known.names[rows[i]]), "label": label_of(known, int(rows[i])), "helps": adds[i] / scale}

    out = about_of(path, items) | {"item": str(items.names[row]), "label": label_of(items, row), "tried": len(rows), "seed": seed}
    out |= {"helped": [told(int(i)) for i in order[:5] if adds[i] > 0], "hurt": [told(int(i)) for i in order[::-1][:5] if adds[i] < 0]}
    write_json(path / "explain" / f"influence-{row}.json", finite(out))
    return out


def last_of(method: nn.Module, most: int = 200_000) -> list[Tensor]:
    """The parameters nearest to the loss that can learn, at most so many numbers; where even one has more, the smallest alone."""
    out: list[Tensor] = []
    free = [p for p in method.parameters() if p.requires_grad]
    if min(free[-1].numel(), free[-2].numel() if len(free) > 1 else most + 1) > most:
        return [min(free, key=lambda p: p.numel())]
    for p in reversed(free):
        if sum(q.numel() for q in out) + p.numel() > most:
            break
        out.append(p)
    return out


def _unit(z: Tensor) -> Tensor:
    return F.normalize(z.float(), dim=1)


@torch.no_grad()
def _vector(net: Model, view: Batch) -> Tensor:
    return values.vector(net, view)
