"""Concepts that nobody named: directions of which a few make up a token, learned without labels, kept where other seeds find them too."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from tacit.errors import Asked

SEEDS = 3
SURE = 0.7  # cosine with its match by other seeds, below which an atom is dropped
ACTIVE = 4  # atoms that make up a token
STEPS, BATCH, RATE = 1500, 1024, 3e-3


@dataclass(frozen=True)
class Atoms:
    """directions: unit rows float32 [K, D]. stable: mean cosine of each with its match by the other seeds [K]. explained: share of the
    tokens' variance that the atoms make up. encode: tokens [N, D] -> how active each atom is, >= 0 [N, K]. kept: atoms that are stable."""

    directions: np.ndarray
    stable: np.ndarray
    explained: float
    encode: Callable[[np.ndarray], np.ndarray]

    @property
    def kept(self) -> np.ndarray:
        """Numbers of the atoms that are found again by other seeds."""
        return np.flatnonzero(self.stable >= SURE)


def learned(tokens: np.ndarray, count: int, how: str = "sae", seed: int = 0) -> Atoms:
    """Atoms of tokens [N, D], learned with three seeds; those of the first are told, the others say which are stable.

    how: sae (a sparse autoencoder) or nmf (non-negative matrix factorisation). Raises Asked where there are too few tokens, or all are
    the same.
    """
    ways: dict[str, Callable[[np.ndarray, int, int], _Found]] = {"sae": sparse, "nmf": factors}
    if how not in ways:
        raise Asked(f"{how} is no way of finding concepts", f"one of {', '.join(ways)}")
    if len(tokens) < 2 * count:
        raise Asked(f"{len(tokens)} tokens are too few for {count} concepts", "ask for fewer, or give more items")
    mean = tokens.mean(0)
    scale = float(np.sqrt(((tokens - mean) ** 2).sum(1).mean()))
    if scale <= 1e-9 * float(np.linalg.norm(mean)) or scale == 0:
        raise Asked("all tokens are the same", "there is nothing that could be told apart: see the health of the run")
    x = ((tokens - mean) / scale).astype(np.float32)
    found = [ways[how](x, count, SEEDS * seed + s) for s in range(SEEDS)]
    first, others = found[0], found[1:]
    stable = np.mean([matched(first.directions, o.directions) for o in others], 0)
    code = first.encode(x)
    missed = float(((x - first.decode(code)) ** 2).sum() / (x**2).sum())
    return Atoms(first.directions, stable, 1 - missed, lambda t: first.encode(((t - mean) / scale).astype(np.float32)))


def matched(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each row of a [K, D] with its partner in b [K, D], where the partners together agree as well as they can."""
    from scipy.optimize import linear_sum_assignment

    cosine = _unit(a) @ _unit(b).T
    rows, columns = linear_sum_assignment(-cosine)
    out = np.zeros(len(a))
    out[rows] = cosine[rows, columns]
    return out


@dataclass(frozen=True)
class _Found:
    """directions: unit rows [K, D]. encode: tokens [N, D] -> activity [N, K], and decode back."""

    directions: np.ndarray
    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]


def sparse(x: np.ndarray, count: int, seed: int) -> _Found:
    """A sparse autoencoder of tokens [N, D] that leaves the few strongest of `count` atoms.

    source: Gao et al. 2024, arXiv:2406.04093 (TopK); ours begins at centres of the tokens, drawn by the seed, as Fel et al. 2025,
    arXiv:2502.12892, hold atoms to the data, which makes seeds agree more.
    """
    from sklearn.cluster import MiniBatchKMeans

    few = min(ACTIVE, count)
    centres = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=BATCH).fit(x).cluster_centers_
    generator = torch.Generator().manual_seed(seed)
    data = torch.from_numpy(x)
    start = F.normalize(torch.from_numpy(centres.astype(np.float32)) + 1e-4 * torch.randn(count, x.shape[1], generator=generator), dim=1)
    decoder, encoder = start.clone().requires_grad_(), start.clone().requires_grad_()
    bias, offset = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(count, requires_grad=True)
    adam = torch.optim.Adam([decoder, encoder, bias, offset], lr=RATE)

    def code_of(t: torch.Tensor) -> torch.Tensor:
        pre = (t - bias) @ encoder.T + offset
        top = pre.topk(few, dim=1)
        return torch.zeros_like(pre).scatter(1, top.indices, top.values.clamp(min=0))

    for step in range(STEPS):
        rows = torch.randint(len(data), (min(BATCH, len(data)),), generator=generator)
        for group in adam.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        part = data[rows]
        loss = (code_of(part) @ decoder + bias - part).square().sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            decoder.copy_(F.normalize(decoder, dim=1))
    rows_ = decoder.detach().numpy().copy()

    @torch.no_grad()
    def encode(t: np.ndarray) -> np.ndarray:
        return np.asarray(code_of(torch.from_numpy(t)).numpy())

    return _Found(rows_, encode, lambda c: np.asarray(c @ rows_ + bias.detach().numpy()))


def factors(x: np.ndarray, count: int, seed: int) -> _Found:
    """Non-negative factors of tokens [N, D], whose positive and negative parts stand side by side.

    source: Lee & Seung 1999, 10.1038/44565; on features of networks Fel et al. 2023, arXiv:2211.10154 (CRAFT).
    """
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    def sides(t: np.ndarray) -> np.ndarray:
        return np.concatenate([np.maximum(t, 0), np.maximum(-t, 0)], 1)

    made = NMF(count, init="random", random_state=seed, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        made.fit(sides(x))
    both = made.components_
    half = both.shape[1] // 2
    directions = both[:, :half] - both[:, half:]

    def encode(t: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return np.asarray(made.transform(sides(t)), np.float32)

    return _Found(_unit(directions), encode, lambda c: np.asarray(c @ directions))


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
