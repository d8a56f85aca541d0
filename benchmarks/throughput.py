"""Where a step's time goes: the share outside the encoder's forward and backward, what bf16 brings, and augmentation alone.

    python benchmarks/throughput.py [--quick] [--json FILE]

Every number is a ratio or a rate of one run on one machine; nothing here is asserted by a test.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tacit  # noqa: F401  before torch, because it says how threads wait

import torch  # isort: skip

from tacit.assemble import make_method, make_modality
from tacit.config import OptimConfig, RunConfig, TrainConfig
from tacit.data.dataset import from_arrays
from tacit.runtime import choose_precision, rng
from tacit.training.loader import Loader, order
from tacit.training.loop import Loop, deterministic, make_fabric
from tacit.types import Context, Info, Views

CASES = [
    ("resnet", "image", (3, 32, 32), 64, "simclr"),
    ("convnet", "image", (3, 32, 32), 256, "simclr"),
    ("transformer", "image", (3, 32, 32), 64, "simclr"),
    ("transformer", "series", (3, 256), 64, "simclr"),
    ("conv1d", "series", (3, 256), 8, "ts2vec"),
]


def loop_of(backbone: str, kind: str, shape: tuple[int, ...], batch: int, method: str, precision: str) -> Loop:
    """A loop on random data of this shape."""
    g = np.random.default_rng(0)
    x = (g.random((4 * batch, *shape)) * 255).astype(np.uint8) if kind == "image" else g.normal(size=(4 * batch, *shape)).astype(np.float32)
    data = from_arrays(x).whole()
    modality = make_modality(data.spec, {})
    config = RunConfig(
        data={}, modality={}, method={"name": method}, backbone={"name": backbone}, optim=OptimConfig(),
        train=TrainConfig(steps=100_000, batch=batch), precision=precision,
    )  # fmt: skip
    built = make_method(modality, config.method, config.backbone, Info(len(x), 0, dict(modality.tasks)), 0)
    fabric = make_fabric(config)
    return Loop.build(fabric, built, Loader(data, data.train, modality, fabric.device), modality, config)


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Median seconds of a call, after two calls to warm up."""
    times = []
    for i in range(repeats + 2):
        begin = time.perf_counter()
        work()
        if i >= 2:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def share(case: tuple[str, str, tuple[int, ...], int, str], precision: str, repeats: int, contiguous: bool = False) -> dict[str, Any]:
    """Seconds of a whole step, and of forward and backward alone on the very views of that step, drawn before the clock starts."""
    loop = loop_of(*case, precision=precision)
    if contiguous:
        loop.method.to(memory_format=torch.contiguous_format)
    backbone, kind, _, batch, method = case
    about = {"backbone": backbone, "data": kind, "method": method, "batch": batch, "precision": precision}
    return {**about, **share_of(loop, batch, repeats), "repeats": repeats}


def share_of(loop: Loop, batch: int, repeats: int, method: bool = False) -> dict[str, Any]:
    """The same of any loop, with its items a second. method: forward and backward of the whole method, where what it puts on top of the
    encoder is the larger part."""
    device, seed = loop.fabric.device, loop.config.train.seed
    alone, whole = [], []
    with deterministic():
        for i in range(repeats + 2):
            t = loop.step
            items = loop.loader.batch(order(seed, len(loop.loader.rows), batch, t))
            views = loop.modality.views(items, loop.method.views, rng(seed, "augment/0", t, device), loop.method.encoder.cell)
            begin = time.perf_counter()
            with loop.fabric.autocast():
                if method:
                    loss = loop.method(views, Context(rng(seed, "method/0", t, device), 0.0)).loss
                else:
                    loss = torch.stack([f.pooled.float().square().mean() for f in loop.method.encoder.each(views)]).sum()
            loss.backward()
            middle = time.perf_counter()
            loop.optimizer.zero_grad(set_to_none=True)
            then = time.perf_counter()
            loop.advance()
            if i >= 2:
                alone.append(middle - begin)
                whole.append(time.perf_counter() - then)
    outside = statistics.median(1 - a / w for a, w in zip(alone, whole, strict=True))
    step, bare = statistics.median(whole), statistics.median(alone)
    return {"step_s": step, "forward_backward_s": bare, "outside": outside, "items_per_s": batch / step}


def augmentation(size: int, batch: int, repeats: int) -> dict[str, Any]:
    """SimCLR views a second of colour images of this size."""
    x = (np.random.default_rng(0).random((batch, 3, size, size)) * 255).astype(np.uint8)
    data = from_arrays(x, size=size).whole()
    modality = make_modality(data.spec, {})
    loader = Loader(data, data.train, modality, torch.device("cpu"))
    items, g = loader.batch(np.arange(batch)), rng(0, "a")
    seconds = timed(lambda: modality.views(items, Views(global_=2), g, (1, 1)), repeats)
    return {"size": size, "views_per_s": 2 * batch / seconds}


def measure(quick: bool) -> dict[str, Any]:
    """All of it; quick: fewer repeats and no 224-pixel step."""
    repeats = 3 if quick else 15
    best = choose_precision("cpu").value
    out: dict[str, Any] = {"threads": torch.get_num_threads(), "shares": [], "precision": [], "augmentation": []}
    for case in CASES:
        if quick and case[0] == "resnet":
            continue
        row = share(case, best, repeats)
        out["shares"].append(row)
        if not quick and best != "32-true":
            for contiguous in (False, True) if case[1] == "image" and case[0] != "transformer" else (False,):
                plain = share(case, "32-true", max(3, repeats // 3), contiguous)
                against = "without channels_last" if contiguous else "in the same memory layout"
                out["precision"].append(
                    {"backbone": case[0], "data": case[1], "against": against, "speed_up": plain["step_s"] / row["step_s"]}
                )
    out["augmentation"] = [augmentation(32, 256, repeats), augmentation(224, 32, max(2, repeats // 3))]
    if not quick:
        row = share(("resnet", "image", (3, 224, 224), 16, "simclr"), best, 3)
        views = out["augmentation"][1]["views_per_s"]
        out["large"] = {"augmentation_share": (2 * 16 / views) / row["step_s"], **row}
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    result = measure(asked.quick)
    text = json.dumps(result, indent=1)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")
    print(text)
