"""Pretraining in memory, without a run folder: for the scikit-learn transformer and for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tacit import registry
from tacit.assemble import info_of, make_method, make_modality, needs_before, needs_of
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.training.loader import Loader, rows_of
from tacit.training.loop import Loop, deterministic, make_fabric
from tacit.training.plan import make_plan, preset_steps
from tacit.types import LABELS


def learn(data: Dataset, *, steps: int | None = None, **asked: Any) -> Model:
    """A model of the training rows of `data` after this many steps, None = as many as suit such data. asked: as for `make_plan`."""
    wanted = asked.get("method") or registry.find("modalities", data.modality).suggest(data.spec, len(data.train), None)[0]
    rows = rows_of(data, needs_before({**(asked.get("overrides") or {}).get("method", {}), "name": wanted}))
    config, _ = make_plan(data, len(rows), steps=steps, **asked)
    if steps is None:
        preset = registry.find("modalities", data.modality).settings(str(config.method["name"]), data.spec)
        config = replace(config, train=replace(config.train, steps=preset_steps(preset, data.spec, len(rows), config.train.batch)))
    modality = make_modality(data.spec, config.modality)
    named = bool(needs_before(config.method) & LABELS)
    info = info_of(modality, len(rows), len(data.classes) if named else 0, named and data.task == "regression")
    method = make_method(modality, config.method, config.backbone, info, config.train.seed)
    fabric = make_fabric(config)
    loop = Loop.build(fabric, method, Loader(data, rows, modality, fabric.device, bool(method.needs & LABELS)), modality, config)
    with deterministic():
        while loop.step < loop.total:
            loop.advance()
    model = Model(
        method.deploy(),
        modality,
        {
            "backbone": dict(config.backbone),
            "modality": dict(config.modality),
            "needs": sorted(needs_of(method) - LABELS),
            "labels_seen": bool(method.needs & LABELS),
        },
    )
    model.precision = config.precision
    return model.eval()
