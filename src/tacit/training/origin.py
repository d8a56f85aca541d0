"""What a run starts from: the same request and data when it is resumed, another run's encoder when it is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.config import RunConfig
from tacit.data.dataset import Dataset
from tacit.embedding.model import load
from tacit.errors import Asked
from tacit.foreign import MEASURED, READERS, Checkpoint, fetched, is_foreign, look_up, shown_by
from tacit.method import Method
from tacit.teacher import Teacher
from tacit.training.run import Run
from tacit.types import Spec

# where an option of the command line stands in a stored configuration
PLACES = {
    "method": ("method", "name"),
    "backbone": ("backbone", "name"),
    "size": ("backbone", "size"),
    "batch_size": ("train", "batch"),
    "steps": ("train", "steps"),
    "seed": ("train", "seed"),
}


def same_request(
    config: RunConfig, before: Mapping[str, Any], asked: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]]
) -> None:
    """A resumed run keeps its plan: raise Asked when something else is asked for than what is stored.

    before: what was asked for when the run was started. asked: now; None = left out. overrides: {part: {name: value}}.
    """
    stored = {part: dict(values) for part, values in asdict(config).items() if isinstance(values, Mapping)}
    stored["top"] = {"device": config.device, "precision": config.precision}
    for name, value in asked.items():
        part, key = PLACES.get(name, ("top", name))
        if value is not None and value != before.get(name) and value != stored[part].get(key):
            raise _other(name, stored[part].get(key, before.get(name)), value)
    for part, values in overrides.items():
        for key, value in values.items():
            if key not in stored[part] or stored[part][key] != value:
                raise _other(f"{part}.{key}", stored[part].get(key), value)


def _other(name: str, before: Any, now: Any) -> Asked:
    was = "the default" if before is None else before
    return Asked(f"the run was started with {name}={was}, not {now}", "resume without it, or start a new run in another --out")


def training_digest(data: Dataset, labels: bool) -> str:
    """Changes when other items are trained on, or the same ones in another form; labels: they are trained on too."""
    spec = {**asdict(data.spec), "extra": dict(data.spec.extra)}
    whole = hashlib.blake2b(json.dumps(spec, sort_keys=True).encode(), digest_size=16)
    whole.update(data.train.tobytes())
    whole.update(np.ascontiguousarray(data.hashes[data.train]).tobytes())
    if labels and data.labels is not None:
        whole.update(np.ascontiguousarray(data.labels[data.train]).tobytes() + "\0".join(data.classes).encode())
    return whole.hexdigest()


@dataclass(frozen=True)
class Inherited:
    """What comes along with another run's encoder: whether labels were read, and the hashes of the items it saw (None = unknown)."""

    labels_seen: bool | None = False
    seen: np.ndarray | None = field(default_factory=lambda: np.zeros(0, np.uint64))


def read_for(found: Checkpoint, data: Dataset) -> Dataset:
    """The data as a checkpoint reads it: texts in its tokens, sound at its rate; what is measured on them is measured anew."""
    return _anew(data, shown_by(found, data.spec)) if data.modality in READERS else data


def as_before(path: Path, data: Dataset) -> Dataset:
    """The data as the run in this folder read it for a checkpoint that may be gone by now."""
    info = Run(path).info()
    if data.modality not in READERS or not is_foreign(str(info.get("init") or "")):
        return data
    stored = json.loads((path / "data.json").read_text(encoding="utf-8"))["spec"]["extra"]
    if data.modality == "audio":
        return _anew(data, registry.find("modalities", "audio").at_rate(data.spec, stored["rate"]))
    kept = {k: v for k, v in data.spec.extra.items() if k not in MEASURED}
    return _anew(data, replace(data.spec, extra={**kept, **{k: stored[k] for k in ("tokenizer", "kind", "why", "vocabulary")}}))


def _anew(data: Dataset, wanted: Spec) -> Dataset:
    """The items decoded in another form, which is measured."""
    again = data.decoded_for(wanted)
    if again.x is data.x:
        return data
    kind = registry.find("modalities", data.modality)
    return replace(again, spec=kind.finish(again.spec, again.x[again.train]))


def built_as(
    init: str, checkpoint: Checkpoint, backbone: str | None, given: Mapping[str, Mapping[str, Any]], carried: Mapping[str, Any]
) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """The backbone that hf:NAME or timm:NAME needs: its name, and hyperparameters {part: {name: value}} that build it.

    checkpoint: what it says of itself. backbone, given: what was asked for. carried: of the modality. Raises Asked where another
    backbone was asked for.
    """
    found = dict(checkpoint.backbone)
    name = found.pop("name")
    if checkpoint.modality:
        given = {**given, "modality": {**checkpoint.modality, **given.get("modality", {})}}
        given["optim"] = {**carried.get("optim", {}), **given.get("optim", {})}
    if backbone not in (None, name) or set(found) & set(given.get("backbone", {})):
        raise Asked(f"--init {init} brings its own network", "leave out --backbone and its hyperparameters")
    return name, {**given, "backbone": {**found, **given.get("backbone", {})}}


def start_from(method: Method, init: str, spec: Spec) -> Inherited:
    """Copy the encoder of a run or of a checkpoint into a method, teachers included. Raises Asked when it does not fit.

    spec: of the data.
    """
    model = fetched(look_up(init, spec.modality), init, spec) if is_foreign(init) else load(init)
    if getattr(model, "erasers", None):
        said = f"from {init} {', '.join(model.config.get('erased', []))} was erased, behind the network: training on would bring it back"
        raise Asked(said, "start from the run that it was made from, and erase afterwards")
    source = model.encoder.state_dict()
    targets = [method.encoder, *(t.module for t in method.modules() if isinstance(t, Teacher) and hasattr(t.module, "tokenizer"))]
    for encoder in targets:
        mine = encoder.state_dict()
        fits = {k: v for k, v in source.items() if k in mine and mine[k].shape == v.shape}
        if set(mine) - set(fits) - {"mask_token"}:
            raise Asked(f"{init} has another architecture than this run", "use its backbone and size, see its config.toml")
        encoder.load_state_dict({**mine, **fits})
    near = (Path(init) / "seen.npy", Path(init).resolve().parent / "seen.npy")  # a run folder, or the model folder inside one
    seen = next((np.load(p, allow_pickle=False) for p in near if p.is_file()), None)
    return Inherited(model.config.get("labels_seen"), seen)
