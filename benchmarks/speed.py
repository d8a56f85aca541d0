"""What each method costs: images a second, and the step against the bare passes through the network that it needs.

    python benchmarks/speed.py [--quick] [--methods NAMES] [--device cpu|cuda] [--json FILE]

Same data, size and batch for all, and two backbones: the transformer, which can what any method needs, and the preset's for those that
it suits. Methods with small views are also measured with four of them. The ceiling is forward and backward of the very passes of a step
(views, masks, teachers without gradient), on batches that lie ready.
Every number is a rate or a ratio of one run on one machine; nothing here is asserted by a test.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import tacit  # noqa: F401  before torch, because it says how threads wait

import torch  # isort: skip

from tacit import registry
from tacit.assemble import info_of, make_method, make_modality
from tacit.config import OptimConfig, RunConfig, TrainConfig
from tacit.data.dataset import from_arrays
from tacit.encoder import Encoder
from tacit.errors import CannotPair
from tacit.runtime import choose_device, choose_precision
from tacit.teacher import Teacher
from tacit.training.loader import Loader
from tacit.training.loop import Loop, deterministic, make_fabric

SHAPE, BATCH, LOCAL = (3, 32, 32), 128, 4


def loop_of(method: str, backbone: str, local: int, device: str, batch: int) -> Loop:
    """A loop on random pictures. local: small views, 0 = the method's default. Raises CannotPair where pictures or backbone do not do."""
    g = np.random.default_rng(0)
    data = from_arrays((g.random((4 * batch, *SHAPE)) * 255).astype(np.uint8), y=np.arange(4 * batch) % 10).whole()
    modality = make_modality(data.spec, {})
    size = registry.find("backbones", backbone).on_cpu if device == "cpu" else "small"
    config = RunConfig(
        data={}, modality={}, method={"name": method, **({"local": local} if local else {})}, backbone={"name": backbone, "size": size},
        optim=OptimConfig(kind="muon"), train=TrainConfig(steps=100_000, batch=batch), device=device,
        precision=choose_precision(device).value,
    )  # fmt: skip
    built = make_method(modality, config.method, config.backbone, info_of(modality, len(data.x), 10), 0)
    fabric = make_fabric(config)
    return Loop.build(fabric, built, Loader(data, data.train, modality, fabric.device, labels=True), modality, config)


@contextmanager
def recorded(calls: list[tuple[Encoder, tuple[Any, ...], dict[str, Any], bool]]) -> Iterator[None]:
    """Every pass through an encoder: which, of what, and whether its gradient is asked for."""
    real = Encoder.forward

    def forward(self: Encoder, *args: Any, **options: Any) -> Any:
        if options.get("tokens") is not None:  # made before, with a graph that is gone
            options = {**options, "tokens": None}
        calls.append((self, args, options, torch.is_grad_enabled()))
        return real(self, *args, **options)

    Encoder.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        Encoder.forward = real  # type: ignore[method-assign]


def row(method: str, backbone: str, local: int, device: str, batch: int, repeats: int) -> dict[str, Any]:
    """One method's speed."""
    loop = loop_of(method, backbone, local, device, batch)
    whole, bare, follow = [], [], []

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    with deterministic():
        for i in range(repeats + 2):
            begin = now()
            loop.advance()
            middle = now()
            calls: list[tuple[Encoder, tuple[Any, ...], dict[str, Any], bool]] = []
            with recorded(calls):
                loop.advance()
            ready = now()
            with loop.fabric.autocast():
                losses = []
                for encoder, args, options, grad in calls:
                    with torch.set_grad_enabled(grad):
                        f = encoder(*args, **options)
                    if grad:
                        losses.append(f.pooled.float().square().mean())
            torch.stack(losses).sum().backward()
            end = now()
            loop.optimizer.zero_grad(set_to_none=True)
            loop.method.after_step(context(loop))
            last = now()
            loop.optimizer.zero_grad(set_to_none=True)
            if i >= 2:
                whole.append(middle - begin)
                bare.append(end - ready)
                follow.append(last - end)
    step = statistics.median(whole)
    begin = now()
    if loop.method.surveys:
        loop.survey(0)
    survey = now() - begin
    teachers = sum(p.numel() for m in loop.method.modules() if isinstance(m, Teacher) for p in m.parameters())
    return {
        "method": f"{method}, {local} small views" if local else method, "backbone": backbone, "batch": batch, "passes": len(calls), "items_per_s": batch / step,
        "of_ceiling": statistics.median(b / w for b, w in zip(bare, whole, strict=True)), "teacher_parameters": teachers,
        "survey_s_per_1000_items": 1000 * survey / len(loop.loader.rows) if loop.method.surveys else 0.0,
        "after_step": statistics.median(f / w for f, w in zip(follow, whole, strict=True)), "repeats": repeats,
    }  # fmt: skip


def context(loop: Loop) -> Any:
    """What `after_step` is handed."""
    from tacit.runtime import rng
    from tacit.types import Context

    return Context(rng(0, "speed", 0, loop.fabric.device), 0.5)


def measure(methods: list[str], device: str, quick: bool) -> list[dict[str, Any]]:
    """A row for each backbone and method that pictures do for."""
    out = []
    preferred = registry.find("modalities", "image").prefer(registry.find("modalities", "image").example(), device)[0]
    several = [(m, n) for m in methods for n in (0, LOCAL) if not n or "local" in registry.knobs(registry.find("methods", m))]
    for backbone, (method, local) in itertools.product(dict.fromkeys(["transformer", preferred]), several):
        try:
            out.append(row(method, backbone, local, device, 64 if quick else BATCH, 2 if quick else 7))
        except CannotPair:
            continue
        r = out[-1]
        print(
            f"{r['method']:<28} {r['backbone']:<12} {r['items_per_s']:>8,.0f} items/s  {100 * r['of_ceiling']:>4.0f} % of the ceiling of its "
            f"{r['passes']} passes, after the step {100 * r['after_step']:.1f} %"
            + (f", {r['survey_s_per_1000_items']:.2f} s a survey of 1,000 items" if r["survey_s_per_1000_items"] else ""),
            flush=True,
        )
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--methods", default=",".join(registry.names("methods")))
    parser.add_argument("--device", default=None)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    where = choose_device(asked.device).value
    result = {"device": where, "threads": torch.get_num_threads(), "rows": measure(asked.methods.split(","), where, asked.quick)}
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
