"""Training with differential privacy: what a single item adds to a step is bounded, and drowned in noise.

Every item of a step is passed through the network alone, so that its gradient is its own for any method whose loss falls apart into one
term an item; it is clipped to a length of `clip`, the sum gets Gaussian noise of `noise` times that, and the optimizer does the rest. Items
of a step are drawn independently (Poisson), as the accountant assumes. Draws and noise come from a secret key that lives in the run folder
only while it trains: whoever knew it could take the noise away again.
source: Abadi et al. 2016, arXiv:1607.00133; opacus computes noise and epsilon (Rényi accountant, Mironov 2017).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tacit import registry
from tacit.config import PrivateConfig, RunConfig
from tacit.errors import Asked, CannotPair, Diverged, MissingExtra, TacitError
from tacit.method import Method
from tacit.runtime import rng, seed_globally
from tacit.schedules import warmup_cosine
from tacit.types import Context, Step

if TYPE_CHECKING:
    from tacit.training.loop import Loop

KEY = "private.key"
COVERS = (
    "the weights in model/, and nothing else: the curves, evaluations and embeddings of the run, and what was measured on the data before "
    "(mean and deviation, vocabulary, quantiles), are not private"
)


@dataclass(frozen=True)
class Private:
    """noise: deviation of the noise in units of `clip`. rate: chance of an item to be drawn in a step. key: secret."""

    noise: float
    clip: float
    rate: float
    key: bytes

    def generator(self, name: str, step: int) -> np.random.Generator:
        """Random numbers that only who has the key can draw again; NumPy's, because torch's start from 32 bits of a seed."""
        whole = hashlib.blake2b(f"{name} {step}".encode(), key=self.key, digest_size=32).digest()
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(whole, "little"))))


def check(method: type[Method] | Method, name: str, config: PrivateConfig) -> None:
    """Raise CannotPair for a method whose loss couples items, Asked for a budget that cannot be meant, MissingExtra without opacus."""
    if not method.decomposes:
        able = [n for n, m in registry.every("methods").items() if m.decomposes]
        said = f"{name} compares the items of a batch: what one of them adds to a step cannot be bounded"
        raise CannotPair(f"--epsilon: {said}", f"methods whose loss is one term an item: {', '.join(able)}")
    if config.delta >= 1:
        raise Asked(f"private.delta={config.delta:g} promises nothing", "well below one over the number of items")
    try:
        import opacus  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra("opacus", "privacy", "training with differential privacy") from error


def alone(config: RunConfig, devices: int, nodes: int, surveys: int) -> None:
    """Raise Asked for options that a private step has no place for."""
    train = config.train
    asked = {
        "--devices and --nodes": devices * nodes > 1, "train.positives=group": train.positives != "item",
        "train.deep": train.deep != "none",
        "train.patience": train.patience > 0, "looks at all items": surveys > 0,
    }  # fmt: skip
    if wrong := [k for k, v in asked.items() if v]:
        raise Asked(f"--epsilon bounds what one item adds to a step, and {wrong[0]} would let it add more", "leave it out")


def beyond(seen: np.ndarray | None, hashes: np.ndarray, init: str) -> None:
    """Raise Asked where the run that training starts from saw some of these items without privacy. seen: hashes, None = unknown."""
    both = 0 if seen is None else int(np.isin(hashes, seen).sum())
    if both:
        said = f"--epsilon: {init} has learned from {both:,} of these items already, and no noise takes that back"
        raise Asked(said, "start from public data, or from nothing")


def settled(config: RunConfig, items: int) -> RunConfig:
    """The configuration with delta and the noise that keeps to epsilon over all its steps. Raises Asked where no noise does, or that which
    was named does not."""
    own, rate = config.private, min(1.0, config.train.batch / items)
    delta = own.delta or 1 / (10 * items)
    noise = own.noise or noise_for(own.epsilon, delta, rate, config.train.steps)
    if own.noise and not (found := spent(noise, rate, config.train.steps, delta)) <= own.epsilon:
        said = (
            f"private.noise={own.noise:g} gives away epsilon {found:.3g} in {config.train.steps} steps, and {own.epsilon:g} was asked for"
        )
        raise Asked(said, "leave it out, and the noise is chosen")
    return replace(config, private=replace(own, delta=delta, noise=noise))


def noise_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """The least noise that keeps to epsilon; raises Asked where even the largest does not."""
    import warnings

    from opacus.accountants.utils import get_noise_multiplier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = get_noise_multiplier(target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps, accountant="rdp")
        except ValueError as error:
            raise Asked(
                f"no noise keeps to epsilon {epsilon:g} at delta {delta:g}: {error}", "a larger --epsilon, or fewer steps"
            ) from None
    return float(found)


def spent(noise: float, rate: float, steps: int, delta: float) -> float:
    """Epsilon after so many steps."""
    import warnings

    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))


def key_of(run: Path, resumed: bool) -> bytes:
    """The run's secret, drawn at its start. Raises TacitError where a run that goes on has lost it."""
    file = run / KEY
    if file.is_file():
        return bytes.fromhex(file.read_text(encoding="ascii").strip())
    if resumed:
        raise TacitError(f"{file} is gone: the noise of this run cannot be drawn as it was", "start a new run")
    key = secrets.token_bytes(32)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(key.hex())
        out.flush()
        os.fsync(out.fileno())
    return key


def burn(run: Path) -> None:
    """Forget the secret; from now on nobody can take the noise away."""
    (run / KEY).unlink(missing_ok=True)


def told(config: RunConfig, items: int, steps: int) -> dict[str, Any]:
    """What a run says of its privacy."""
    import opacus

    own, rate = config.private, min(1.0, config.train.batch / items)
    return {
        "epsilon": round(spent(own.noise, rate, steps, own.delta), 4), "delta": own.delta, "noise": own.noise, "clip": own.clip,
        "sample_rate": rate, "steps": steps, "items": items, "accountant": f"RDP, opacus {opacus.__version__}", "covers": COVERS,
    }  # fmt: skip


def advance(loop: Loop, private: Private) -> Step:
    """One private step. The step's own loss and embedding are those of its items, for the eyes of whoever trains.

    Every item has random numbers of its own, which do not depend on who else was drawn: otherwise one item would move the gradients of all.
    """
    t, c, n = loop.step, loop.config, len(loop.loader.rows)
    device = loop.fabric.device
    rows = np.flatnonzero(private.generator("items", t).random(n) < private.rate)
    held = [p for p in loop.trainee.parameters() if p.requires_grad]
    total = [torch.zeros_like(p, dtype=torch.float32) for p in held]
    rate = c.optim.lr * warmup_cosine((t + 1) / loop.total, c.optim.warmup, c.optim.floor)
    for group in loop.optimizer.param_groups:
        group["lr"] = rate * group.get("pace", 1.0)
    losses, embeddings = [], []
    chance = None
    for row in rows.tolist():
        step = _one(loop, row, t)
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in held]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.float()) for g in grads]))
        if torch.isfinite(norm):  # a gradient that is no number adds nothing, which keeps to the bound too
            scale = (private.clip / norm.clamp(min=1e-12)).clamp(max=1.0)
            torch._foreach_add_(total, [g.float() * scale for g in grads])
        loop.optimizer.zero_grad(set_to_none=True)
        if torch.isfinite(step.loss.detach()):
            losses.append(step.loss.detach().float())
        embeddings.append(step.embedding.float())
        chance = step.chance
    noise, size = private.generator("noise", t), private.noise * private.clip
    expected = private.rate * n
    for p, s in zip(held, total, strict=True):
        drawn = torch.from_numpy(noise.standard_normal(tuple(s.shape), np.float32)).to(device)
        p.grad = ((s + size * drawn) / expected).to(p.dtype)
    loop.optimizer.step()
    loop.optimizer.zero_grad(set_to_none=True)
    loop.method.after_step(Context(rng(c.train.seed, "method/0", t, device), t / loop.total))
    loop.step += 1
    if losses:
        loop.told = float(torch.stack(losses).mean())
    elif embeddings:
        raise Diverged(f"no loss is a finite number at step {loop.step}", "start a new run with a smaller optim.lr")
    seen = torch.cat(embeddings) if embeddings else torch.zeros(0, loop.method.encoder.dim, device=device)
    return Step(torch.tensor(loop.told, device=device), seen, {}, chance)  # a step without items tells what the last one told


def _one(loop: Loop, row: int, t: int) -> Step:
    from tacit.training.loop import _Box

    seed, device = loop.config.train.seed, loop.fabric.device
    seed_globally(seed, t, row)
    generator, draws = rng(seed, f"augment/{row}", t, device), rng(seed, f"method/{row}", t, device)
    with torch.no_grad():
        views = loop.modality.views(loop.loader.batch(np.array([row])), loop.method.views, generator, loop.method.encoder.cell)
    box = _Box(views, Context(draws, t / loop.total))
    loss: Tensor = loop.trainee(box)
    loop.fabric.backward(loss)
    assert box.step is not None
    return box.step
