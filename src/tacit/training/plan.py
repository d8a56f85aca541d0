"""The planner: from a data set, a machine and a time budget to a resolved configuration, every value with its reason."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from tacit import registry
from tacit.assemble import make_modality, needs_before
from tacit.config import OptimConfig, PrivateConfig, RunConfig, TrainConfig
from tacit.data.dataset import Dataset
from tacit.errors import Asked, BadData
from tacit.runtime import choose_device, choose_precision
from tacit.training import private as hide
from tacit.types import LABELS, OF_DATA, Chosen, Spec

DEFAULT_BUDGET = 300.0


def seconds(text: str | float) -> float:
    """'10min', '90s', '1h30min' or plain seconds, as seconds. Raises Asked for anything else."""
    if isinstance(text, (int, float)):
        value = float(text)
    else:
        units = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0, "": 1.0}
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*(h|min|m|s|)(?![a-z])", text.strip().lower())
        bare = len(parts) > 1 and any(not unit for _, unit in parts)  # 1h30 could be minutes or seconds
        if not parts or bare or re.sub(r"[\d.\s]|h|min|m|s", "", text.strip().lower()):
            raise Asked(f"cannot read the budget {text!r}", "write it like 10min, 90s or 1h30min")
        value = sum(float(n) * units[u] for n, u in parts)
    if not (value > 0 and math.isfinite(value)):
        raise Asked(f"the budget {text!r} is not a positive time", "write it like 10min, 90s or 1h30min")
    return value


def make_plan(
    data: Dataset,
    rows: int,
    *,
    method: str | None = None,
    backbone: str | None = None,
    size: str | None = None,
    budget: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[RunConfig, list[Chosen]]:
    """Resolve everything but the number of steps under a budget, which the loop calibrates (config.train.steps is 1 then).

    rows: training items. budget: seconds, None = the default or steps. Raises Asked for what cannot be meant, BadData when there is
    too little to learn from.
    """
    given = {part: dict(values) for part, values in (overrides or {}).items()}
    chosen: list[Chosen] = []
    if rows < 2:
        raise BadData(f"{rows} training item(s): nothing can be learned from so few", "give a folder with more items")

    def choose(name: str, asked: Any, value: Any, reason: str) -> Any:
        chosen.append(Chosen(name, asked if asked is not None else value, "asked for" if asked is not None else reason))
        return chosen[-1].value

    if size not in (None, "tiny", "small", "base"):
        raise Asked(f"--size {size}: there are tiny, small and base")
    backbone, given = _with_depth(backbone, given)
    modality = registry.find("modalities", data.modality)
    chunked = given.get("train", {}).get("chunk", 0)
    where = choose_device(device)
    how = choose_precision(where.value, precision)
    chosen += [where, how]
    private = PrivateConfig(**registry.check_knobs(PrivateConfig, given.get("private", {}), "private"))
    suits = modality.suggest(data.spec, rows, budget)
    if private.epsilon and method is None and not registry.find("methods", suits[0]).decomposes:
        suits = ("inpainting", "its loss is one term an item, which privacy needs")
    wanted = choose("method", method, *suits)
    preset = dict(modality.settings(wanted, data.spec))
    if private.epsilon:  # noise has no direction that an orthogonal step could keep
        hide.check(registry.find("methods", wanted), wanted, private)
        preset["optim"] = {**preset.get("optim", {}), "kind": "adamw"}
        chosen.append(Chosen("private.epsilon", private.epsilon, "asked for"))
    cls = registry.find("methods", wanted)
    preferred, why = modality.prefer(data.spec, where.value.split(":")[0])
    for name, value in preset.get("modality", {}).items():
        if name not in given.setdefault("modality", {}):
            given["modality"][name] = value
            chosen.append(Chosen(f"modality.{name}", value, f"the preset for {wanted} on {data.modality} data"))
    ordered = make_modality(data.spec, given.get("modality", {})).layout.ordered
    needs = needs_before({"name": wanted, **given.get("method", {})}, ordered) | (frozenset({"chunk"}) if chunked else frozenset())
    needs = (needs - LABELS - OF_DATA) | (frozenset({"ragged"}) if data.spec.ragged else frozenset())
    if backbone is None and not needs <= registry.find("backbones", preferred).can:
        fits = [n for n, b in registry.every("backbones").items() if needs <= b.can]
        if fits:
            preferred = modality.second if modality.second in fits else fits[0]
            why = f"{wanted} needs {', '.join(sorted(needs))}"
    if "size" in data.spec.extra:
        pixels = " x ".join(map(str, data.spec.extra["size"]))
        chosen.append(Chosen("image size", pixels, "stored size, at most what suits this device (--image-size overrides it)"))
    body = choose("backbone", backbone, preferred, why)
    usual = registry.find("backbones", body).on_cpu if where.value == "cpu" else "small"
    reason = f"a CPU shows a larger {body} too few items" if usual != "small" else "the default; tiny and base are the other sizes"
    if "size" in preset and body == preferred:
        usual, reason = preset["size"], f"the preset for {wanted} on {data.modality} data"
    scale = choose("size", size, usual, reason)
    for part, found in (("method", cls), ("backbone", registry.find("backbones", body)), ("modality", modality)):
        registry.check_knobs(found, given.get(part, {}), part)
    train = registry.check_knobs(TrainConfig, given.get("train", {}), "train")
    steps, batch_size = train.pop("steps", steps), train.pop("batch", batch_size)
    batch = _batch(batch_size, preset, rows, choose)
    optim = {
        "lr": preset["lr"],
        "weight_decay": preset["weight_decay"],
        **preset.get("optim", {}),
        **registry.check_knobs(OptimConfig, given.get("optim", {}), "optim"),
    }
    settings = f"the preset for {wanted} on {data.modality} data"
    for name, value in optim.items():
        chosen.append(Chosen(f"optim.{name}", value, "asked for" if name in given.get("optim", {}) else settings))
    if steps is not None and epochs is not None:
        raise Asked("--steps and --epochs exclude each other", "give one of them, or --budget")
    if epochs is not None:
        if not (epochs > 0 and math.isfinite(epochs)):
            raise Asked(f"--epochs {epochs:g} is not a positive number of passes", "write it like 10 or 0.5")
        steps = max(1, round(epochs * max(1, rows // batch)))
        chosen.append(Chosen("steps", steps, f"{epochs:g} passes over {rows} items in batches of {batch}"))
    elif steps is not None:
        chosen.append(Chosen("steps", steps, "asked for"))
    if steps is not None and steps < 1:
        raise Asked(f"--steps {steps}: at least one step is needed")
    config = RunConfig(
        data={"path": data.path, "fingerprint": data.fingerprint},
        modality={"name": data.modality, **given.get("modality", {})},
        method={"name": wanted, **given.get("method", {})},
        backbone={"name": body, "size": scale, **given.get("backbone", {}), **({"norm": "group"} if private.epsilon else {})},
        optim=OptimConfig(**optim),
        train=TrainConfig(**{"steps": steps or 1, "batch": batch, "seed": seed or 0, **train}),
        private=private,
        device=where.value,
        precision=how.value,
    )
    return config, chosen


def _with_depth(backbone: str | None, given: dict[str, dict[str, Any]]) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """A name such as resnet18 as the field says it: the backbone resnet with depth 18."""
    said = re.fullmatch(r"([a-z]+)(\d+)", backbone or "")
    names = registry.names("backbones")
    if not said or said[0] in names or said[1] not in names or "depth" not in registry.knobs(registry.find("backbones", said[1])):
        return backbone, given
    return said[1], {**given, "backbone": {"depth": int(said[2]), **given.get("backbone", {})}}


def preset_steps(preset: Mapping[str, Any], spec: Spec, rows: int, batch: int) -> int:
    """Steps when neither budget, steps nor epochs were given."""
    if "steps" in preset:
        steps = preset["steps"]
        return int(steps(spec, rows) if callable(steps) else steps)
    return max(200, int(preset["passes"]) * max(1, rows // batch))


def _batch(asked: int | None, preset: Mapping[str, Any], rows: int, choose: Any) -> int:
    if asked is not None:
        if asked < 2:
            raise Asked(f"--batch-size {asked}: at least 2 items are needed", "items learn by comparison with each other")
        if asked > rows:
            raise Asked(f"--batch-size {asked} is more than the {rows} training items", f"use at most {rows}, or leave it out")
        return choose("batch", asked, None, "")
    batch, reason = int(preset["batch"]), "the preset"
    if batch > rows // 2:
        batch = max(2, 1 << int(math.log2(max(2, rows // 2))))
        reason = f"the largest power of two that gives two batches of {rows} items"
    return choose("batch", None, min(batch, rows), reason)
