"""Compare settings on training folds: four fifths of the training split learn and label, one fifth scores; the test split is not touched.

    python benchmarks/tune.py DATA [--seconds 60] [--image-size 32] [--draws 5] [--tiles 0,2,3] [method=NAME] [part.name=value ...]

The budget is processor time of one thread, so that it means the same on a busy machine. The tables of docs/decisions.md come from here.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tacit.assemble import info_of, make_method, make_modality
from tacit.config import parse_overrides
from tacit.data import dataset
from tacit.embedding.model import Model
from tacit.evaluation.labels import plan_levels
from tacit.evaluation.probes.knn import KNN
from tacit.evaluation.probes.linear import Linear
from tacit.evaluation.readers import standardise
from tacit.training.loader import Loader
from tacit.training.loop import Loop, make_fabric
from tacit.training.plan import make_plan


def learn(data: dataset.Dataset, rows: np.ndarray, seconds: float, method: str | None, words: list[str]) -> tuple[Model, int]:
    """A model after this much processor time, and its number of steps."""
    config, _ = make_plan(data, len(rows), steps=10**6, method=method, overrides=parse_overrides(words))
    modality = make_modality(data.spec, config.modality)
    built = make_method(modality, config.method, config.backbone, info_of(modality, len(rows)), 0)
    fabric = make_fabric(config)
    loop = Loop.build(fabric, built, Loader(data, rows, modality, fabric.device), modality, config)
    saved = {k: v.clone() for k, v in loop.trainee.state_dict().items()}
    for _ in range(3):
        loop.advance()
    begin = time.process_time()
    for _ in range(8):
        loop.advance()
    steps = max(10, int(seconds * 8 / (time.process_time() - begin)))
    loop.trainee.load_state_dict(saved)
    loop.optimizer.state.clear()
    loop.step, loop.config = 0, replace(config, train=replace(config.train, steps=steps))
    while loop.step < steps:
        loop.advance()
    model = Model(built.deploy(), modality, {})
    model.precision = config.precision
    return model, steps


def score(z: np.ndarray, held: np.ndarray, y: np.ndarray, truth: np.ndarray, classes: int, draws: int = 5) -> dict[str, float]:
    """Accuracy in % of the linear probe at 1, 5, 10, 50 labels a class (mean of the draws), with all, and of kNN-20 with all."""
    s, t = standardise(z, held, "columns")
    out: dict[str, Any] = {}
    for p in plan_levels(y, classes, (1, 5, 10, 50), draws, 0):
        right = [(Linear().fit(s[d.rows], y[d.rows], classes, small=p.small).predict(t) == truth).mean() for d in p.draws]
        out[str(p.level)] = round(100 * float(np.mean(right)), 1) if right else None
    out["all"] = round(100 * float((Linear(c=0.01).fit(s, y, classes, small=False).predict(t) == truth).mean()), 1)
    out["knn"] = round(100 * float((KNN(k=20).fit(z, y, classes, small=False).predict(held) == truth).mean()), 1)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--draws", type=int, default=5, help="label draws")
    parser.add_argument("--tiles", default="", help="read the same trained model with each of these numbers of tiles a side")
    asked = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    chosen = next((w.split("=")[1] for w in asked.words if w.startswith("method=")), None)
    opened = dataset.open(asked.data, limit=asked.image_size)
    assert opened.labels is not None
    shuffled = np.random.default_rng(7).permutation(opened.train)
    cut = int(0.8 * len(shuffled))
    fit, held_out = np.sort(shuffled[:cut]), np.sort(shuffled[cut:])
    model, steps = learn(opened, fit, asked.seconds, chosen, [w for w in asked.words if not w.startswith("method=")])
    for tiles in asked.tiles.split(",") if asked.tiles else [model.modality.tiles]:
        model.modality.tiles = int(tiles)
        parts = [model.vectors(opened.x[r], None if opened.lengths is None else opened.lengths[r]) for r in (fit, held_out)]
        scored = score(*parts, opened.labels[fit], opened.labels[held_out], len(opened.classes), asked.draws)
        print(steps, "steps, tiles", tiles, scored, flush=True)
