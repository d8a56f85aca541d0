"""A model: an encoder with its own preprocessing, as plain files that are never unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tacit import registry
from tacit.assemble import make_encoder, make_modality
from tacit.data.dataset import Dataset
from tacit.data.flat import Flat
from tacit.embedding.prepare import named, prepare
from tacit.encoder import Encoder, join
from tacit.errors import Asked, TacitError
from tacit.layers import exporting
from tacit.modality import Modality
from tacit.runtime import choose_precision
from tacit.types import Batch, Embeddings, Spec, Views

FORMAT, ERASED = 1, 2  # of a model that takes an attribute out of its embeddings: older versions would not
ERASER = "eraser."  # beginning of the names of their tensors


class Model(nn.Module):
    """What a run leaves behind: `embed` turns data into vectors.

    config: {"backbone", "modality", "needs"} as they were trained; source: of whose weights these are, if they are not ours.
    """

    def __init__(self, encoder: Encoder, modality: Modality, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder, self.modality, self.config = encoder, modality, dict(config)
        self.precision = "32-true"
        self.register_buffer("centre", None, persistent=False)
        self.erasers: dict[int, tuple[Tensor, Tensor]] = {}  # width -> (matrix [D, D], bias [D]): what takes attributes out of embeddings

    def settle(self, x: Any, lengths: np.ndarray | None = None, most: int = 5000) -> Model:
        """Take the mean of training items as the point from which embeddings are directions, where such data wants it (text).

        x, lengths: decoded training items; of more than `most` every n-th is looked at.
        """
        if self.modality.directions:
            self.centre = None
            rows = np.arange(0, len(x), max(1, -(-len(x) // most)))
            mean = self.vectors(x[rows], None if lengths is None else lengths[rows]).mean(0)
            self.centre = torch.from_numpy(mean).to(next(self.parameters()).device)
        return self

    @property
    def spec(self) -> Spec:
        return self.modality.spec

    @property
    def dim(self) -> int:
        """Width of the embedding: of the whole item, and of mean and deviation over its tiles where the modality has any."""
        return self.encoder.dim * (3 if self.modality.tiles else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Stored values (uint8 or float32 [B, C, *S]) -> embeddings [B, D]."""
        batch = Batch(self.modality.load(x), torch.arange(len(x), device=x.device))
        return self.read(batch)

    def read(self, batch: Batch, tiles: bool = True, cast: bool = False) -> Tensor:
        """Embeddings float32 [B, D]; tiles: False = of the whole item alone, [B, dim of the encoder]. cast: run the network in bfloat16.

        source: mean over crops, Chen et al. 2022, arXiv:2206.08954; ours adds the deviation and keeps the whole."""
        views = [self.plain(batch), *(self.modality.tiles_of(batch) if tiles and self.modality.tiles else [])]
        # as in training, only the network runs in bfloat16: resampling raw values in it would lose small differences
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=cast):
            if exporting():  # in one pass, so that the graph holds every weight once
                each = list(self.encoder(join(views)).pooled.float().unflatten(0, (len(views), -1)).unbind())
            else:
                each = [self.encoder(view).pooled.float() for view in views]
        if len(each) == 1:
            return self.centred(each[0])
        whole, parts = each[0], torch.stack(each[1:])
        spread = (parts.var(0, correction=0) + 1e-12).sqrt()  # a root of zero has no gradient
        return self.erased(torch.cat([whole, parts.mean(0), spread], 1))

    def centred(self, z: Tensor) -> Tensor:
        """Embeddings of whole items [B, D] as directions from the mean of the training items, of data that wants it."""
        return self.erased(z if self.centre is None else F.normalize(z - self.centre, dim=1) * self.encoder.dim**0.5)

    def erased(self, z: Tensor) -> Tensor:
        """Embeddings [B, D] without the attributes that were erased from this model, if any."""
        if (own := self.erasers.get(z.shape[1])) is None:
            return z
        with torch.autocast(z.device.type, enabled=False):
            return z.float() @ own[0].to(z.device) + own[1].to(z.device)

    def plain(self, batch: Batch) -> Batch:
        """Every item as the encoder sees it when nothing is random."""
        generator = torch.Generator(batch.x.device)
        return self.modality.views(batch, Views(plain=1), generator, self.encoder.cell)[0]

    @torch.no_grad()
    def vectors(self, x: np.ndarray, lengths: np.ndarray | None = None, batch: int = 256, tiles: bool = True) -> np.ndarray:
        """Embeddings float32 [N, D] of decoded items; lengths: of ragged items, in samples. tiles: False = of the whole item alone."""
        was = self.training
        self.eval()
        cast = self.precision.startswith("bf16")
        rows, out = [], []
        for at, part in self.bundles(x, lengths, batch):
            rows.append(at)
            out.append(self.read(part, tiles, cast).cpu().numpy())
        self.train(was)
        return np.concatenate(out)[np.argsort(np.concatenate(rows))] if out else np.zeros((0, self.dim), np.float32)

    def bundles(self, x: np.ndarray, lengths: np.ndarray | None = None, batch: int = 256) -> Iterator[tuple[np.ndarray, Batch]]:
        """All items as batches on the model's device, with the rows of each; texts of about one length together."""
        order = x.bundles(self.modality.at_once, batch) if isinstance(x, Flat) else [np.arange(len(x))]
        for rows in order:
            part = np.asarray(x[rows]) if isinstance(x, Flat) else x
            done = 0
            for found in self.batches(part, None if lengths is None else lengths[rows], batch):
                yield rows[done : done + len(found.ids)], found
                done += len(found.ids)

    def batches(self, x: np.ndarray, lengths: np.ndarray | None = None, batch: int = 256) -> Iterator[Batch]:
        """Decoded items as batches on the model's device; lengths: of ragged items, in samples."""
        device = next(self.parameters()).device
        # a fixed number of values a batch keeps long series and large images within memory
        batch = max(1, min(batch, 2**24 // max(1, int(np.prod(x.shape[1:])))))
        for i in range(0, len(x), batch):
            part = torch.from_numpy(np.array(x[i : i + batch])).to(device)  # a copy, because a memory map is read-only
            valid = None
            if lengths is not None:
                valid = torch.arange(part.shape[-1], device=device) < torch.from_numpy(lengths[i : i + batch]).to(device)[:, None]
            yield Batch(self.modality.load(part), torch.arange(len(part), device=device), valid)

    def embed(self, data: Any) -> Embeddings:
        """Vectors with ids, labels and the groups' names, in the order of the data; None (in numbers: NaN) = unlabelled, no group.

        data: a Dataset, a path, a list of file paths, or an array of decoded items. Raises Asked when it is of another modality.
        """
        data = self.prepare(data)
        return named(data, self.vectors(data.x, data.lengths))

    def prepare(self, data: Any) -> Dataset:
        """Any data as a Dataset decoded the way this model was trained; labels, groups and split are kept."""
        return prepare(data, self.spec)

    def save(self, path: str | Path) -> Path:
        """Write model.safetensors and model.json into a folder."""
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            tensors = {k: v.detach().cpu().contiguous().clone() for k, v in self.encoder.state_dict().items()}
            for width, pair in self.erasers.items():
                tensors |= {f"{ERASER}{width}.{k}": v.cpu().contiguous() for k, v in zip(("matrix", "bias"), pair, strict=True)}
            beside = path / f".model.safetensors.{os.getpid()}"
            save_file(tensors, beside)
            beside.replace(path / "model.safetensors")
            spec = {**asdict(self.spec), "extra": dict(self.spec.extra)}
            about = {
                "format": ERASED if self.erasers else FORMAT,
                "dim": self.dim,
                "precision": self.precision,
                "ignores": self.modality.ignores,
                "spec": spec,
                **({} if self.centre is None else {"centre": self.centre.tolist()}),
                **self.config,
            }
            beside = path / f".model.json.{os.getpid()}"
            beside.write_text(json.dumps(about, indent=1), encoding="utf-8")
            beside.replace(path / "model.json")
        except (OSError, SafetensorError) as error:
            raise TacitError(f"the model cannot be written to {path}: {error}", "free some space or choose another folder") from error
        return path


def load(path: str | Path, device: str = "cpu", *, trust: bool = False) -> Model:
    """Read a model from a model folder or a run folder. No code that the folder names is run.

    device: where the weights go. trust: run the backbone or modality that the model names even if it is a file (path/to/file.py:Class).
    Raises Asked when there is no model or it names code, TacitError when it is damaged.
    """
    path = Path(path)
    folder = path / "model" if (path / "model" / "model.json").is_file() else path
    if not (folder / "model.json").is_file():
        if (path / "config.toml").is_file():
            raise Asked(f"the run in {path} has not finished", "go on with it: the command of its start with --resume, see its run.json")
        raise Asked(f"{path} holds no model", "give a run folder or a folder written by model.save")
    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if int(about["format"]) > ERASED:
            written = f"the model in {folder} has format {about['format']}, and this version of tacit reads up to {ERASED}"
            raise TacitError(written, "pip install --upgrade tacit")
        precision = {"32-true": "32-true", "bf16-mixed": "bf16-mixed"}[about["precision"]]
        config = {**{k: about[k] for k in ("backbone", "modality", "needs")}, "labels_seen": about.get("labels_seen")}
        config |= {k: about[k] for k in ("ignores", "source", "erased") if about.get(k)}
        raw = about["spec"]
        spec = Spec(
            raw["modality"],
            int(raw["channels"]),
            tuple(raw["sizes"]),
            tuple(raw["mean"]),
            tuple(raw["std"]),
            bool(raw["ragged"]),
            raw["extra"],
        )
        if not trust:  # before anything is imported
            registry.check_stored("modalities", spec.modality, folder / "model.json")
            registry.check_stored("backbones", about["backbone"]["name"], folder / "model.json")
        modality = make_modality(spec, about["modality"])
        encoder = make_encoder(modality, about["backbone"], frozenset(about["needs"]))
        tensors = load_file(folder / "model.safetensors")
        erasers = {k.removeprefix(ERASER): tensors.pop(k) for k in list(tensors) if k.startswith(ERASER)}
        encoder.load_state_dict(tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        said = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
        raise TacitError(f"the model in {folder} is damaged: {said}", "copy it again, or train anew") from error
    model = Model(encoder, modality, config)
    for width in {int(k.partition(".")[0]) for k in erasers}:
        model.erasers[width] = erasers[f"{width}.matrix"], erasers[f"{width}.bias"]
    if about.get("centre") is not None:
        model.centre = torch.tensor(about["centre"], dtype=torch.float32)
    if model.dim != about["dim"]:
        said = f"the model in {folder} was written for vectors of {about['dim']} numbers, this version makes {model.dim}"
        raise TacitError(said, "train anew")
    model.precision = precision if precision == choose_precision(device).value else "32-true"
    return model.to(device).eval()
