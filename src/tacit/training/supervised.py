"""Supervised training from scratch on a few labelled rows: the comparison behind the verdict, without a run folder."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from tacit.assemble import info_of, make_method, make_modality
from tacit.config import OptimConfig, RunConfig, TrainConfig
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked
from tacit.method import Method
from tacit.runtime import choose_device, choose_precision
from tacit.training.loader import Loader
from tacit.training.loop import Loop, deterministic, make_fabric

PASSES, LEAST, MOST = 30, 150, 6000


class FromScratch:
    """Trains from scratch on some labelled rows and scores all training and test rows.

    Same architecture, augmentations and optimizer as the run `like`; 30 passes over the labels, but 150 to 6,000 steps, in
    batches of at most 64. data, train: the labelled data and its training rows. test_data, test: likewise for the test.
    """

    def __init__(self, data: Dataset, like: RunConfig, train: np.ndarray, test_data: Dataset, test: np.ndarray) -> None:
        self.data, self.rows, self.parts = data, train, ((data, train), (test_data, test))
        self.regression = data.task == "regression"
        self.pace = 0.0
        try:
            choose_device(like.device)
        except Asked:  # trained elsewhere, evaluated here
            device = choose_device().value
            like = replace(like, device=device, precision=choose_precision(device).value)
        self.like = like

    def cost(self, labels: int) -> float:
        """Seconds that training on so many rows would take, by the pace of the last training; 0 before the first."""
        return self.pace * _steps(labels)[0]

    def __call__(self, chosen: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores of all training and all test rows (numbers: the values) after training on these positions in `train`."""
        rows = self.rows[chosen]
        # a batch of one has no batch statistics; at least two items, drawn twice if need be
        rows = np.tile(rows, -(-2 // len(rows))) if len(rows) < 2 else rows
        steps, batch = _steps(len(rows))
        data, centre, scale = self.data, 0.0, 1.0
        assert data.labels is not None
        if self.regression:  # in units of the labels that it is given, not of all
            centre, scale = float(data.labels[rows].mean()), float(data.labels[rows].std()) or 1.0
            data = replace(data, labels=((data.labels - centre) / scale).astype(np.float32))
        own = self.like.optim
        config = replace(
            self.like,
            method={"name": "supervised"},
            # the preset's schedule may suit weight averaging alone: supervised training gets warm-up and cosine
            optim=OptimConfig(kind=own.kind, lr=min(own.lr, OptimConfig().lr), weight_decay=own.weight_decay),
            train=TrainConfig(steps=steps, batch=batch, seed=seed),
        )
        modality = make_modality(self.data.spec, config.modality)
        info = info_of(modality, len(rows), len(self.data.classes), self.regression)
        method = make_method(modality, config.method, config.backbone, info, seed)
        fabric = make_fabric(config)
        loop = Loop.build(fabric, method, Loader(data, rows, modality, fabric.device, labels=True), modality, config)
        begin = time.perf_counter()
        with deterministic():
            for _ in range(steps):
                loop.advance()
        self.pace = (time.perf_counter() - begin) / steps
        model = Model(method.encoder, modality, {})
        model.precision = config.precision
        out = []
        for part, where in self.parts:
            z = model.vectors(part.x[where], None if part.lengths is None else part.lengths[where], tiles=False)
            with torch.no_grad():
                s = _head(method, torch.from_numpy(z).to(fabric.device))
            out.append(s[:, 0] * scale + centre if self.regression else s)
        return out[0], out[1]


def _steps(labels: int) -> tuple[int, int]:
    """(steps, batch size) for so many labelled rows."""
    batch = min(64, labels)
    return int(np.clip(PASSES * labels / batch, LEAST, MOST)), batch


def _head(method: Method, z: torch.Tensor) -> np.ndarray:
    head = method.get_submodule("head")
    return head(z).float().cpu().numpy()
