"""Slow versions of every method's loss in float64, over what its networks say; and small methods at work to compare them with."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from conftest import small
from tacit.assemble import info_of, make_method, make_modality
from tacit.clusters import kmeans
from tacit.corruption import others, swapped
from tacit.masking import block_mask, random_mask, unit_mask
from tacit.method import Method
from tacit.modality import Modality
from tacit.types import LABELS, Batch, Context
from test_losses import dot, log_softmax_at, slow_cross_correlation, slow_gaussianity, slow_info_nce, slow_triplet
from test_tools import slow_sinkhorn

ITEMS, ROWS = 40, 6
Rows = list[list[float]]


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(
    name: str,
    kind: str = "image",
    backbone: str = "transformer",
    numbers: bool = False,
    patch: int = 0,
    knobs: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Any, Modality]:
    """A method in training whose weights, those of teachers too, are all different; and the modality. numbers: the label is one.

    knobs: of the modality."""
    mod = make_modality(small(kind).spec, knobs or ({"patch": patch} if patch else {}))
    info = info_of(mod, ITEMS, 0 if numbers else 3, numbers)
    method = make_method(mod, {"name": name, **options}, {"name": backbone, "size": "tiny"}, info, 0).train()
    with torch.no_grad():
        for i, p in enumerate(method.parameters()):
            p += 0.05 * torch.randn(p.shape, generator=gen(i))
    return method, mod


def items(kind: str, start: int = 0, rows: int = ROWS) -> Batch:
    """Some items of the small data as they are, with a label for two thirds of them."""
    data, ids = small(kind), torch.arange(start, start + rows)
    x = make_modality(data.spec, {}).load(torch.from_numpy(np.asarray(data.x[start : start + rows])))
    valid = None if data.lengths is None else torch.arange(x.shape[-1]) < torch.from_numpy(data.lengths[start : start + rows])[:, None]
    return Batch(x, ids, valid, label=torch.tensor([(7 * int(i)) % 3 if i % 3 else -1 for i in ids]))


def looked_at(m: Method, mod: Modality, batch: Batch, raw: bool = False) -> list[Batch]:
    """What the method sees of these items. raw: the items themselves, also in place of a weak view, which has no padding."""
    batch = batch if m.needs & LABELS else replace(batch, label=None)
    assert not raw or m.views.weak or m.views.plain
    return [batch] if raw else mod.views(batch, m.views, gen(1), m.encoder.cell)


# ---- what the loops are made of ----


def rows(x: Tensor) -> Rows:
    return x.detach().double().tolist()


def mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def entropy_of(logits: list[float], answer: int, smoothing: float = 0.0) -> float:
    """Cross entropy of one row."""
    scores = dict(enumerate(logits))
    share = [(1 - smoothing) * (k == answer) + smoothing / len(logits) for k in scores]
    return -sum(s * log_softmax_at(scores, k) for k, s in enumerate(share))


def soft_entropy(logits: list[float], goal: list[float]) -> float:
    return -sum(g * log_softmax_at(dict(enumerate(logits)), k) for k, g in enumerate(goal))


def softmax(scores: list[float]) -> list[float]:
    return [math.exp(log_softmax_at(dict(enumerate(scores)), k)) for k in range(len(scores))]


def huber(a: list[float], b: list[float], beta: float) -> list[float]:
    return [d * d / (2 * beta) if (d := abs(x - y)) < beta else d - beta / 2 for x, y in zip(a, b, strict=True)]


def standardised(values: list[float], eps: float) -> list[float]:
    middle = mean(values)
    spread = math.sqrt(mean((v - middle) ** 2 for v in values) + eps)
    return [(v - middle) / spread for v in values]


def held(m: Method, mod: Modality, x: Batch, raw: bool) -> list[list[list[float | None]]]:
    """What each cell of each item held, standardised: values [B][N][P], None where there is none.

    raw: not cell by cell too, as series never are.
    """
    sizes, cell, out = x.x.shape[2:], m.encoder.cell, []
    there = torch.ones(len(x.ids), *sizes, dtype=torch.bool) if x.valid is None else x.valid.view(-1, *sizes)
    for b, item in enumerate(x.x.double()):
        cells: list[list[float | None]] = []
        for corner in itertools.product(*[range(0, s, c) for s, c in zip(sizes, cell, strict=True)]):
            values: list[float | None] = []
            for channel, inner in itertools.product(range(len(item)), itertools.product(*map(range, cell))):
                at = tuple(a + i for a, i in zip(corner, inner, strict=True))
                exists = all(a < s for a, s in zip(at, sizes, strict=True)) and bool(there[b][at])
                v = (float(item[(channel, *at)]) - mod.spec.mean[channel]) / mod.spec.std[channel] if exists else math.nan
                values.append(None if math.isnan(v) else v)
            known = [v for v in values if v is not None]
            if not raw and known and math.prod(cell) > 1 and mod.spec.modality == "image":
                again = iter(standardised(known, 1e-2))
                values = [None if v is None else next(again) for v in values]
            cells.append(values)
        out.append(cells)
    return out


def error(m: Method, mod: Modality, x: Batch, where: Tensor, guess: Tensor, raw: bool = False) -> float:
    """Mean squared error of guess [K, P] at the True cells of where [B, N], over the values that exist."""
    truth, terms = held(m, mod, x, raw), []
    for (b, n), row in zip(where.nonzero().tolist(), rows(guess), strict=True):
        terms += [(g - v) ** 2 for g, v in zip(row, truth[b][n], strict=True) if v is not None]
    return mean(terms)


# ---- the loops: of a method, its modality, views and context, with the random numbers drawn anew ----


def pooled(m: Any, views: list[Batch]) -> list[Tensor]:
    return [f.pooled for f in m.encoder.each(views)]


def slow_simclr(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    return slow_info_nce(m.projector(torch.cat(pooled(m, views))), views[0].ids.tolist() * 2, m.temperature)


def slow_supcon(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    label, ids = views[0].label.tolist(), views[0].ids.tolist()
    whose: Any = [("class", y) if y >= 0 else ("item", i) for y, i in zip(label, ids, strict=True)] * 2
    return slow_info_nce(m.projector(torch.cat(pooled(m, views))), whose, m.temperature)


def slow_triplet_method(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    return float(slow_triplet(m.projector(torch.cat(pooled(m, views))).double(), views[0].ids.repeat(2), m.margin))


def slow_moco(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    queries = [rows(m.predictor(m.projector(h))) for h in pooled(m, views)]
    keys = [rows(m.teacher_projector.module(f.pooled)) for f in m.teacher.module.each(views)]
    past = [] if m.queue is None else list(zip(rows(m.queue.rows), m.queue.ids.tolist(), strict=True))[: int(m.queue.pushed)]
    terms = []
    for i, (b, own) in itertools.product((0, 1), enumerate(views[0].ids.tolist())):
        scores = {j: cosine(queries[i][b], key) / m.temperature for j, key in enumerate(keys[1 - i])}
        scores |= {-1 - j: cosine(queries[i][b], key) / m.temperature for j, (key, who) in enumerate(past) if who != own}
        terms.append(-2 * m.temperature * log_softmax_at(scores, b))
    return mean(terms)


def slow_nnclr(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    z = [m.projector(h) for h in pooled(m, views)]
    count = int(m.queue.pushed)
    guesses, past, terms = [rows(m.predictor(v)) for v in z], list(zip(rows(m.queue.rows[:count]), m.queue.ids.tolist(), strict=False)), []
    for i, b in itertools.product((0, 1), range(len(z[0]))):
        others = [row for row, item in past if item != int(views[i].ids[b])]
        near = max(others, key=lambda p: cosine(p, rows(z[i])[b])) if others else rows(z[i])[b]
        terms.append(-log_softmax_at({j: cosine(near, g) / m.temperature for j, g in enumerate(guesses[1 - i])}, b))
    return mean(terms)


def slow_byol(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    guesses = [rows(m.predictor(m.projector(h))) for h in pooled(m, views)]
    goals = [rows(m.teacher_projector.module(m.teacher.module(v).pooled)) for v in views]
    return mean(2 - 2 * cosine(a, b) for i in (0, 1) for a, b in zip(guesses[i], goals[1 - i], strict=True))


def slow_simsiam(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    z = [m.projector(h) for h in pooled(m, views)]
    return mean(2 - 2 * cosine(a, b) for i in (0, 1) for a, b in zip(rows(m.predictor(z[i])), rows(z[1 - i]), strict=True))


def slow_dino(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    student, warm, end = m.temperatures
    sharp, centre = warm + (end - warm) * min(1.0, 3 * ctx.progress), rows(m.center)
    said = [rows(m.head(h)) for h in pooled(m, views)]
    seen = [m.teacher_head.module(f.pooled) for f in m.teacher.module.each(views[:2])]
    if m.balance == "centre":
        goals = [[softmax([(v - c) / sharp for v, c in zip(q, centre, strict=True)]) for q in rows(s)] for s in seen]
    else:
        goals = [rows(slow_sinkhorn(s, sharp, 3)) for s in seen]
    pairs = [(goals[i], said[k]) for i, k in itertools.product(range(2), range(len(views))) if i != k]
    return mean(soft_entropy([v / student for v in p], q) for goal, view in pairs for q, p in zip(goal, view, strict=True))


def slow_data2vec(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    mask = block_mask(cells, m.ratio, m.block, ctx.generator)
    guesses, upper = rows(m.head(m.encoder(x, mask=mask).tokens)), m.teacher.module(x, layers=m.layers).layers
    terms = []
    for b, n in mask.nonzero().tolist():
        total = [0.0] * m.encoder.dim
        for layer in upper:
            there = rows(layer[b][cells.valid[b]])
            at = int(cells.valid[b, :n].sum())
            for d, column in enumerate(zip(*there, strict=True)):
                total[d] += standardised(list(column), 1e-5)[at]
        terms += huber(guesses[b][n], standardised(total, 1e-5), m.beta)
    return mean(terms)


def slow_ijepa(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    hidden = m._hidden(cells, ctx.generator)
    made = rows(m.head(m.predictor(m.encoder(x, mask=hidden, drop=True), cells)))
    seen, terms = m.teacher.module(x), []
    for b, n in hidden.nonzero().tolist():
        at = int(cells.valid[b, :n].sum())
        goal = [standardised(list(column), 1e-5)[at] for column in zip(*rows(seen.tokens[b][cells.valid[b]]), strict=True)]
        terms += huber(made[b][n], standardised(goal, 1e-5), 1.0)
    return mean(terms)


def slow_lejepa(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    z = [m.projector(h).double() for h in pooled(m, views)]
    along = torch.nn.functional.normalize(torch.randn(m.out, m.directions, generator=ctx.generator), dim=0).double()
    middle = [[(p + q) / 2 for p, q in zip(a, b, strict=True)] for a, b in zip(rows(z[0]), rows(z[1]), strict=True)]
    agree = mean((p - q) ** 2 for v in z for a, b in zip(rows(v), middle, strict=True) for p, q in zip(a, b, strict=True))
    return (1 - m.gaussian) * agree + m.gaussian * mean(float(slow_gaussianity(v, along)) for v in z)


def slow_barlow(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    c = rows(slow_cross_correlation(*[m.projector(h).double() for h in pooled(m, views)]))
    price = [(1 - v) ** 2 if i == j else m.redundancy * v**2 for i, row in enumerate(c) for j, v in enumerate(row)]
    return sum(price) / len(c)


def slow_vicreg(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    z = [rows(m.projector(h)) for h in pooled(m, views)]
    n, d = len(z[0]), len(z[0][0])
    terms = [m.weights[0] * mean((p - q) ** 2 for a, b in zip(*z, strict=True) for p, q in zip(a, b, strict=True))]
    for v in z:
        columns = [[x - mean(c) for x in c] for c in zip(*v, strict=True)]
        terms.append(m.weights[1] / 2 * mean(max(0.0, 1 - math.sqrt(dot(c, c) / (n - 1) + 1e-4)) for c in columns))
        terms += [m.weights[2] / d * (dot(columns[i], columns[j]) / (n - 1)) ** 2 for i in range(d) for j in range(d) if i != j]
    return sum(terms)


def slow_swav(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    z = [m.projector(h) for h in pooled(m, views)]
    clusters = rows(m.prototypes.weight)
    scores = [[[cosine(r, c) for c in clusters] for r in rows(v)] for v in z]
    past = [] if m.queue is None or ctx.progress < m.wait else rows(m.queue.rows[: int(m.queue.pushed)])
    behind, terms = [[cosine(r, c) for c in clusters] for r in past], []
    for i in range(2):
        goals = rows(slow_sinkhorn(torch.tensor(scores[i] + behind, dtype=torch.float64), m.smoothness, 3))
        for k in (k for k in range(len(views)) if k != i):
            terms += [soft_entropy([v / m.temperature for v in s], q) for s, q in zip(scores[k], goals[: len(z[0])], strict=True)]
    return mean(terms)


def slow_deepcluster(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    terms, centres = [], rows(m.centres)
    for h, v in zip(pooled(m, views), views, strict=True):
        for row, i in zip(rows(m.projector(h)), v.ids.tolist(), strict=True):
            terms.append(entropy_of([cosine(row, c) / m.temperature for c in centres], int(m.labels[i])))
    return mean(terms)


def slow_selftraining(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    each = []
    for h, v in zip(pooled(m, views), views, strict=True):
        given = v.label.tolist() if v.label is not None else [-1] * len(v.ids)
        goal = [y if y >= 0 else int(m.labels[i]) for y, i in zip(given, v.ids.tolist(), strict=True)]
        each.append(mean(entropy_of(s, y, m.smoothing) for s, y in zip(rows(m.head(h)), goal, strict=True) if y >= 0))
    return mean(each)


def slow_autoencoder(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    return error(m, mod, x, cells.valid, m.head(m.decoder(m.encoder(x).pooled, cells))[cells.valid], raw=True)


def slow_denoising(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    noise, drawn = torch.randn(x.x.shape, generator=ctx.generator), torch.rand(x.x.shape, generator=ctx.generator)
    spoiled = x.x.clone()
    for c in range(x.x.shape[1]):
        known = x.x[:, c][~x.x[:, c].isnan()].double()
        middle, spread = float(known.mean()), float(known.std(correction=0))
        for at in (~x.x[:, c].isnan()).nonzero().tolist():
            here = (at[0], c, *at[1:])
            spoiled[here] = middle if drawn[here] < m.holes else x.x[here] + noise[here] * spread * m.noise
    guess = m.head(m.decoder(m.encoder(replace(x, x=spoiled)).pooled, cells))
    return error(m, mod, x, cells.valid, guess[cells.valid], raw=True)


def slow_vae(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    h = m.encoder(x).pooled
    centre, spread = m.mean(h), m.log_variance(h)
    code = centre + (spread / 2).exp() * torch.randn(centre.shape, generator=ctx.generator)
    far = mean(
        sum((c * c + math.exp(s) - 1 - s) / 2 for c, s in zip(*row, strict=True)) for row in zip(rows(centre), rows(spread), strict=True)
    )
    drawn = error(m, mod, x, cells.valid, m.head(m.decoder(code, cells))[cells.valid], raw=True)
    return drawn + m.beta * 2 * far / x.x[0].numel()


def slow_sparse(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), f = views, m.encoder(views[0])
    weight, codes = rows(m.dictionary.weight), m.code(f.tokens[f.valid]).clamp(min=0)
    lengths = [math.sqrt(sum(row[a] ** 2 for row in weight) / len(weight)) for a in range(codes.shape[1])]
    return error(m, mod, x, f.valid, m.dictionary(codes), raw=True) + m.sparsity * mean(dot(c, lengths) for c in rows(codes))


def slow_inpainting(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,) = views
    mask = block_mask(m.encoder.cells(x), m.ratio, m.block, ctx.generator)
    guess = m.head(m.encoder(x, mask=mask).tokens[mask])
    total = error(m, mod, x, mask, guess)
    if m.critic is not None:
        truth = held(m, mod, x, raw=False)
        real = torch.tensor([[v or 0.0 for v in truth[b][n]] for b, n in mask.nonzero().tolist()])
        yes, no = rows(m.critic(real)), rows(m.critic(guess))
        total += m.adversarial / 2 * (mean(math.log1p(math.exp(-v)) for (v,) in yes) + mean(math.log1p(math.exp(v)) for (v,) in no))
    return total


def nats(m: Any, x: Batch, where: Tensor, guess: Tensor) -> float:
    """Mean cross entropy of the symbols at the True cells of where [B, N], in units of guessing by their shares."""
    tokenizer, total = m.encoder.tokenizer, []
    share, vectors = rows(tokenizer.share), rows(tokenizer.vectors)
    for (b, n), row in zip(where.nonzero().tolist(), rows(guess), strict=True):
        logits = [dot(row, v) + math.log(s) for v, s in zip(vectors, share, strict=True)]
        total.append(entropy_of(logits, int(x.x[b, 0, n])))
    counts = rows(tokenizer.counts)
    return mean(total) / -sum(c / sum(counts) * math.log(s) for c, s in zip(counts, share, strict=True))


def slow_mlm(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    mask = unit_mask(cells, m.encoder.tokenizer.units(x) if m.whole else None, m.ratio, ctx.generator)
    fate, ring = torch.rand(mask.shape, generator=ctx.generator), others(cells.valid, ctx.generator)
    tokens = m.encoder.tokenizer(x)
    content = tokens.x.clone()
    for b, n in mask.nonzero().tolist():
        if fate[b, n] < m.swapped:
            content[b, n] = tokens.x[ring[b, n], n]
    hidden = mask & torch.tensor([[bool(u >= m.swapped + m.kept) for u in row] for row in fate])
    f = m.encoder(x, mask=hidden, tokens=replace(tokens, x=content))
    return nats(m, x, mask, m.head(f.tokens[mask]))


def slow_simcse(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    for module in m.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the step and its loop would draw different ones
    return slow_info_nce(torch.cat(pooled(m, views)), torch.cat([v.ids for v in views]), m.temperature)


def slow_electra(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), tokenizer, n = views, m.encoder.tokenizer, views[0].x.shape[-1]
    mask = unit_mask(m.encoder.cells(x), None, m.ratio, ctx.generator)
    h = torch.stack([torch.stack([m.hidden if mask[b, k] else m.inward(row[k]) for k in range(n)]) for b, row in enumerate(tokenizer(x).x)])
    h = h + m.place(torch.arange(n).expand(mask.shape), (n,))
    for block in m.blocks:
        h = block(h, x.valid)
    guess, u = m.guess(h[mask]), torch.rand(mask.shape, generator=ctx.generator)
    made = x.x.clone()
    for (b, k), row in zip(mask.nonzero().tolist(), guess, strict=True):
        share, symbol = softmax(rows(tokenizer.log_odds(row[None]))[0]), 0
        left = float(u[b, k])
        while symbol < len(share) - 1 and left > share[symbol]:
            left, symbol = left - share[symbol], symbol + 1
        made[b, 0, k] = symbol
    f, told = m.encoder(replace(x, x=made)), []
    for b, k in f.valid.nonzero().tolist():
        odds = float(m.judge(f.tokens[b, k]))
        told.append(math.log1p(math.exp(-odds if made[b, 0, k] != x.x[b, 0, k] else odds)))
    return nats(m, x, mask, guess) + m.weight * mean(told)


def slow_tsdae(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    code = m.encoder(x, mask=random_mask(cells, m.ratio, ctx.generator), drop=True).pooled
    known, guess = m.known(m.encoder.tokenizer(x).x), []
    for b, row in enumerate(cells.valid):
        n = int(row.sum())
        before = torch.stack([known[b, k - 1] if k else torch.zeros_like(known[b, 0]) for k in range(n)])
        h = (before + m.inward(code[b]) + m.place(torch.arange(n), cells.grid))[None]
        for block in m.blocks:
            h = block(h, None, causal=True)
        guess.append(m.head(m.norm(h[0])))
    return nats(m, x, cells.valid, torch.cat(guess))


def slow_spans(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    mask = block_mask(cells, m.ratio, m.block, ctx.generator)
    f = m.encoder(x, mask=mask, drop=True)
    known, guess = m.known(m.encoder.tokenizer(x).x), []
    for b, row in enumerate(mask.tolist()):
        hidden = [k for k, out in enumerate(row) if out]
        left = [m.inward(f.tokens[b, j]) + m.place(f.position[b, j : j + 1], cells.grid)[0] for j in range(int(f.valid[b].sum()))]
        told = [(known[b, k - 1] if k and row[k - 1] else m.begin) + m.place(torch.tensor([k]), cells.grid)[0] for k in hidden]
        h = torch.stack([*left, *told])[None]
        for block in m.blocks:
            h = block(h, None, causal=True)
        guess.append(m.head(m.norm(h[0, len(left) :])))
    return nats(m, x, mask, torch.cat(guess))


def slow_word2vec(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), valid = views, m.encoder.cells(views[0]).valid
    own, other, share = rows(m.encoder(x).tokens), rows(m.context(x).x), rows(m.encoder.tokenizer.commonness(x))
    b, n = valid.shape
    kept = [[min(1.0, math.sqrt(m.frequent / share[i][k])) * bool(valid[i, k]) for k in range(n)] for i in range(b)]
    u, drawn = torch.rand(b, -(-m.shared // b), generator=ctx.generator), []
    for i in range(b):
        weight = [share[i][k] ** -0.25 * bool(valid[i, k]) for k in range(n)]
        for at in (u[i].double() * sum(weight)).tolist():
            k = 0
            while k < n - 1 and at > weight[k]:
                at, k = at - weight[k], k + 1
            drawn.append(other[i][k])
    reach = m.encoder.tokenizer.reach

    def near(i: int, j: int) -> float:
        shown = 0 < j - i <= reach if m.mode == "cbow" else 0 < i - j <= reach
        return 0.0 if i == j or shown else max(0, m.window + 1 - abs(i - j)) / m.window if m.window else 1.0

    total = weight_of_all = 0.0
    for i in range(b):
        for k in range(n):
            pairs = [(near(k, j) * kept[i][j], j) for j in range(n)]
            if m.mode == "skipgram":
                parts = [(w * kept[i][k], own[i][k], other[i][j]) for w, j in pairs]
            elif (n_near := sum(w for w, _ in pairs)) > 1e-2:
                middle = [sum(w * own[i][j][d] for w, j in pairs) / n_near for d in range(len(own[i][k]))]
                parts = [(kept[i][k], middle, other[i][k])]
            else:
                parts = []
            for w, a, c in parts:
                made = mean(math.log1p(math.exp(dot(a, v)) / m.negatives) for v in drawn)
                total += w * (math.log1p(m.negatives * math.exp(-dot(a, c))) + m.negatives * made)
                weight_of_all += w
    return total / weight_of_all


def slow_mae(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    mask = random_mask(cells, m.ratio, ctx.generator)
    return error(m, mod, x, mask, m.head(m.predictor(m.encoder(x, mask=mask, drop=True), cells))[mask])


def slow_autoregressive(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), f = views, m.encoder(views[0])
    where = torch.tensor([[n > 0 and bool(v) for n, v in enumerate(row)] for row in f.valid])
    return error(m, mod, x, where, torch.stack([m.head(f.tokens[b, n - 1]) for b, n in where.nonzero().tolist()]))


def slow_cpc(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), f, tokens = views, m.encoder(views[0]), m.encoder.tokenizer(views[0])
    n, local = f.tokens.shape[1], rows(m.local(tokens.x))
    wide = math.ceil(n / m.windows)
    spans = [range(s, min(s + wide, n)) for s in range(0, n, wide)]
    each = []
    for k, step in enumerate(m.ahead[: len(spans) - 1], 1):
        places = torch.randperm(len(spans) - k, generator=ctx.generator)[: m.anchors].tolist()
        here, queries, keys = [], [], []
        for b, w in itertools.product(range(len(x.ids)), places):
            now, then = ([j for j in spans[w + d] if tokens.valid[b, j]] for d in (0, k))
            if now and then:
                here.append(len(here))
                queries.append(rows(step(f.tokens[b, spans[w][-1]])))
                keys.append([mean(column) for column in zip(*[local[b][j] for j in then], strict=True)])
        each.append(mean(-log_softmax_at({j: cosine(queries[i], key) / m.temperature for j, key in enumerate(keys)}, i) for i in here))
    return mean(each)


def slow_task(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    """The task's views are read together, in their order."""
    said = rows(m.head(torch.cat(pooled(m, views), 1)))
    return mean(entropy_of(s, y) for s, y in zip(said, views[-1].answer.tolist(), strict=True))


def slow_colorization(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cell = views, m.encoder.cell
    parts, sizes = [max(d for d in (1, 2, 3, 4) if c % d == 0) for c in cell], x.x.shape[2:]
    side, grid = [c // d for c, d in zip(cell, parts, strict=True)], [math.ceil(s / c) for s, c in zip(sizes, cell, strict=True)]
    said, terms = rows(m.head(m.encoder(x).tokens).unflatten(-1, (-1, m.bins**2))), []
    for b, r, c, i, j in itertools.product(range(len(x.ids)), *map(range, grid), *map(range, parts)):
        top, left = r * cell[0] + i * side[0], c * cell[1] + j * side[1]
        if top >= sizes[0] or left >= sizes[1]:  # beyond the edge
            continue
        chroma = x.answer[b, :, top : top + side[0], left : left + side[1]].double().mean((1, 2)).tolist()
        place = [min(m.bins - 1, int((math.copysign(math.sqrt(abs(v)), v) + 1) / 2 * m.bins)) for v in chroma]
        terms.append(entropy_of(said[b][r * grid[1] + c][i * parts[1] + j], place[0] * m.bins + place[1]))
    return mean(terms)


def slow_scarf(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    other, _ = swapped(x, cells, m.encoder.cell, random_mask(cells, m.corruption, ctx.generator), ctx.generator)
    anchor, positive = (rows(m.projector(h)) for h in pooled(m, [x, other]))
    return mean(-log_softmax_at({k: cosine(a, p) / m.temperature for k, p in enumerate(positive)}, i) for i, a in enumerate(anchor))


def slow_vime(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells, cell = views, m.encoder.cells(views[0]), m.encoder.cell
    other, _ = swapped(x, cells, cell, random_mask(cells, m.corruption, ctx.generator), ctx.generator)
    made = m.decoder(m.encoder(other).pooled, cells)
    before, now, terms = held(m, mod, x, True), held(m, mod, other, True), []
    for (b, n), (logit,) in zip(cells.valid.nonzero().tolist(), rows(m.mask(made[cells.valid])), strict=True):
        terms.append(math.log1p(math.exp(-logit if before[b][n] != now[b][n] else logit)))
    return mean(terms) + m.alpha * error(m, mod, x, cells.valid, m.head(made[cells.valid]), raw=True)


def slow_subtab(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells, k = views, m.encoder.cells(views[0]), m.subsets
    key = torch.rand(1, cells.valid.shape[1], generator=ctx.generator)[0].tolist()
    seen = torch.zeros(k, *cells.valid.shape, dtype=torch.bool)
    for b, there in enumerate(cells.valid):
        own = sorted(there.nonzero()[:, 0].tolist(), key=lambda n: key[n])
        for i, (place, n) in itertools.product(range(k), enumerate(own)):
            along = (place + 0.5) / len(own)
            seen[i, b, n] = any(i / k <= a < (i + 1 + m.overlap) / k for a in (along, along + 1))
    h, errors = [], []
    for part in seen:
        shown = x
        if m.noise:
            noisy = part & (torch.rand(part.shape, generator=ctx.generator) < m.noise)
            shown, _ = swapped(x, cells, m.encoder.cell, noisy, ctx.generator)
        h.append(m.encoder(shown, mask=~part).pooled)
        errors.append(error(m, mod, x, cells.valid, m.head(m.decoder(h[-1], cells)[cells.valid]), raw=True))
    z, told, apart = m.projector(torch.cat(h)).chunk(k), [], []
    for a, b in itertools.combinations(z, 2):
        told.append(slow_info_nce(torch.cat([a, b]), x.ids.tolist() * 2, m.temperature))
        apart.append(mean(2 - 2 * cosine(p, q) for p, q in zip(rows(a), rows(b), strict=True)))
    return mean(errors) + m.weights[0] * mean(told) + m.weights[1] * mean(apart)


def slow_stunt(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    (x,), cells = views, m.encoder.cells(views[0])
    low, high = m.shares
    share = low + (high - low) * float(torch.rand((), generator=ctx.generator))
    anywhere = replace(cells, valid=cells.valid.any(0, keepdim=True))
    chosen, tokens = random_mask(anywhere, share, ctx.generator), m.encoder.tokenizer(x)
    values: Rows = [[] for _ in x.ids]
    for n in range(tokens.x.shape[1]):
        at = 0
        for place, size, many in zip(unravel(n, tokens.grid), tokens.grid, cells.grid, strict=True):
            assert many == math.ceil(size / m.encoder.backbone.stride)
            at = at * many + place // m.encoder.backbone.stride
        if not chosen[0, at]:
            continue
        known = [b for b in range(len(x.ids)) if tokens.valid[b, n]]
        columns = [[float(tokens.x[b, n, d]) for b in known] for d in range(tokens.x.shape[2])]
        centred = [[v - mean(c) for v in c] for c in columns] if known else []
        spread = max(1e-6, math.sqrt(sum(mean(v * v for v in c) for c in centred))) if known else 1.0
        for b in range(len(x.ids)):
            values[b] += [c[known.index(b)] / spread if b in known else 0.0 for c in centred]
    ways = max(2, min(m.ways, len(x.ids) // (m.shots + 1)))
    classes = kmeans(torch.tensor(values), ways, ctx.generator)[1].tolist()
    draw, support = torch.rand(len(x.ids), generator=ctx.generator).tolist(), set()
    for c in set(classes):
        support |= set(sorted((b for b, y in enumerate(classes) if y == c), key=lambda b: draw[b])[: m.shots])
    hidden, _ = swapped(x, cells, m.encoder.cell, chosen.expand_as(cells.valid), ctx.generator)
    h, terms = rows(m.encoder(hidden).pooled), []
    middle = {c: [mean(v) for v in zip(*[h[b] for b in support if classes[b] == c], strict=True)] for c in set(classes)}
    for b in set(range(len(h))) - support:
        near = {c: -sum((p - q) ** 2 for p, q in zip(h[b], centre, strict=True)) for c, centre in middle.items()}
        terms.append(-log_softmax_at(near, classes[b]))
    return mean(terms)


def unravel(n: int, grid: tuple[int, ...]) -> list[int]:
    """The place of a flat number in a grid."""
    out = []
    for size in reversed(grid):
        out.append(n % size)
        n //= size
    return out[::-1]


def slow_supervised(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    said = rows(m.head(m.encoder(views[0]).pooled))
    if m.regression:
        return mean((s - y) ** 2 for (s,), y in zip(said, rows(views[0].label), strict=True) if not math.isnan(y))
    return mean(entropy_of(s, y, m.smoothing) for s, y in zip(said, views[0].label.tolist(), strict=True) if y >= 0)


def slow_combine(m: Any, mod: Modality, views: list[Batch], ctx: Context) -> float:
    """Two large views and a turned one are shared out."""
    parts = [(slow_simclr, views[:2], 1), (slow_deepcluster, views[:2], 0.5), (slow_task, views[2:], 2), (slow_supervised, views[:1], 0.25)]
    return sum(w * slow(p, mod, seen, ctx) for p, (slow, seen, w) in zip(m.parts, parts, strict=True))
