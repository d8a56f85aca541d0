"""Supervised training from scratch on a few labelled rows: the comparison behind the verdict, without a run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from tacit.assemble import make_method, make_modality
from tacit.config import OptimConfig, RunConfig, TrainConfig
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked
from tacit.method import Method
from tacit.runtime import choose_device, choose_precision
from tacit.training.loader import Loader
from tacit.training.loop import Loop, deterministic, make_fabric
from tacit.types import Info

PASSES, LEAST, MOST = 30, 150, 6000


def fitter(
    data: Dataset, like: RunConfig, train: np.ndarray, test_data: Dataset, test: np.ndarray
) -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    """A function of (positions in `train`, seed) that trains from scratch and scores all train and test rows.

    Same architecture, augmentations and optimizer as the run `like`; 30 passes over the labels, but 150 to 6,000 steps, in
    batches of at most 64. data, train: the labelled data and its training rows. test_data, test: likewise for the test.
    """
    regression = data.task == "regression"
    assert data.labels is not None
    labels = data.labels
    centre = float(np.nanmean(labels[train])) if regression else 0.0
    scale = float(np.nanstd(labels[train])) or 1.0 if regression else 1.0

    try:
        choose_device(like.device)
    except Asked:  # trained elsewhere, evaluated here
        device = choose_device().value
        like = replace(like, device=device, precision=choose_precision(device).value)

    def fit(chosen: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rows = train[chosen]
        # a batch of one has no batch statistics; at least two items, drawn twice if need be
        rows = np.tile(rows, -(-2 // len(rows))) if len(rows) < 2 else rows
        batch = min(64, len(rows))
        steps = int(np.clip(PASSES * len(rows) / batch, LEAST, MOST))
        config = replace(
            like,
            method={"name": "supervised"},
            # the preset's schedule may suit weight averaging alone: supervised training gets warm-up and cosine
            optim=OptimConfig(lr=min(like.optim.lr, OptimConfig().lr), weight_decay=like.optim.weight_decay),
            train=TrainConfig(steps=steps, batch=batch, seed=seed),
        )
        modality = make_modality(data.spec, config.modality)
        info = Info(len(rows), len(data.classes), {}, regression)
        method = make_method(modality, config.method, config.backbone, info, seed)
        fabric = make_fabric(config)
        scaled = data if not regression else replace(data, labels=((labels - centre) / scale).astype(np.float32))
        loop = Loop.build(fabric, method, Loader(scaled, rows, modality, fabric.device, labels=True), modality, config)
        with deterministic():
            for _ in range(steps):
                loop.advance()
        model = Model(method.encoder, modality, {})
        model.precision = config.precision
        out = []
        for part, where in ((data, train), (test_data, test)):
            z = model.vectors(part.x[where], None if part.lengths is None else part.lengths[where], tiles=False)
            with torch.no_grad():
                s = _head(method, torch.from_numpy(z).to(fabric.device))
            out.append(s[:, 0] * scale + centre if regression else s)
        return out[0], out[1]

    return fit


def _head(method: Method, z: torch.Tensor) -> np.ndarray:
    head = method.get_submodule("head")
    return head(z).float().cpu().numpy()
