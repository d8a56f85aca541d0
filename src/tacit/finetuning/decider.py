"""A fine-tuned model: a network with the knowledge to decide, as a folder of plain files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tacit.data.dataset import Dataset
from tacit.deciding import Knowledge, Predictions
from tacit.embedding.model import Model, load
from tacit.errors import TacitError
from tacit.finetuning.moments import Moments
from tacit.finetuning.network import Network, Scaled
from tacit.finetuning.prototypes import Bank
from tacit.head import together
from tacit.predictions import decided
from tacit.types import Batch, Embeddings, Spec


class Decider:
    """What `tacit finetune` leaves behind: it embeds, decides, and knows when it does not know.

    network: decides. pretrained: gives the embedding, by which strange items are told and evidence is found; fine-tuning makes an embedding
    blind to what is new (arXiv:2603.11269), so the pretrained one is kept.
    """

    def __init__(self, network: Network, pretrained: Model, knowledge: Knowledge) -> None:
        self.network, self.pretrained, self.knowledge = network, pretrained, knowledge
        self.network.eval()

    @property
    def spec(self) -> Spec:
        return self.pretrained.spec

    @property
    def config(self) -> dict[str, Any]:
        """How the pretrained encoder was trained."""
        return self.pretrained.config

    def outputs(self, x: np.ndarray, lengths: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(pretrained embedding [N, D], outputs of the network [N, ...]) of decoded items."""
        z = self.pretrained.vectors(x, lengths)
        cast, parts = self.network.model.precision.startswith("bf16"), []
        with torch.no_grad():
            for batch in self.network.model.batches(x, lengths):
                parts.append(self.decide(batch, cast).cpu().numpy())
        return z, together(parts) if parts else np.zeros((0, self.network.head.outputs), np.float32)

    def decide(self, batch: Batch, cast: bool = False) -> Tensor:
        """The network's outputs for a batch."""
        return self.network.decide(batch, cast)

    def embed(self, data: Any) -> Embeddings:
        """Pretrained vectors with ids, labels and groups, in the order of the data."""
        return self.pretrained.embed(data)

    def prepare(self, data: Any) -> Dataset:
        """Any data as a Dataset decoded the way this model was trained."""
        return self.pretrained.prepare(data)

    def predict(self, data: Any, pairs: np.ndarray | None = None) -> Predictions:
        """Decisions for all items, in the order of the data; pairs: int64 [R, 2] of rows, for a head that compares."""
        return decided(self, self.prepare(data), pairs)

    def save(self, folder: Path) -> Path:
        """Write model/, pretrained/ (where it differs), head.safetensors, decider.json and reference.npz."""
        changed = self.network.model is not self.pretrained
        (folder / "decider.json").unlink(missing_ok=True)  # written last: a save that is cut short leaves no mixture
        self.network.model.save(folder / "model")
        if changed:
            self.pretrained.save(folder / "pretrained")
        parts = {part: m for part in ("layer", "inner", "bank") if (m := getattr(self.network, part)) is not None}
        tensors = {k: v for part, m in parts.items() for k, v in _named(part, m)}
        beside = folder / f".head.safetensors.{os.getpid()}"
        try:
            save_file(tensors, beside)
            beside.replace(folder / "head.safetensors")
        except (OSError, SafetensorError) as error:
            raise TacitError(f"the model cannot be written to {folder}: {error}", "free some space or choose another folder") from error
        about = {**self.knowledge.about, "tiles": self.network.tiles, "changed": changed}
        replace(self.knowledge, about=about).write(folder)
        return folder

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu", *, trust: bool = False) -> Decider:
        """Read a folder that `save` wrote. Raises Asked where there is none, TacitError where it is damaged."""
        folder = Path(folder)
        knowledge = Knowledge.read(folder)
        model = load(folder / "model", device, trust=trust)
        pretrained = load(folder / "pretrained", device, trust=trust) if knowledge.about.get("changed") else model
        network = Network(model, knowledge.head, bool(knowledge.about.get("tiles", True)))
        try:
            tensors = load_file(folder / "head.safetensors")
            for part in ("layer", "inner"):
                mine = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
                if mine:
                    kind = Moments if part == "layer" and knowledge.head.level == "sequence" else Scaled
                    made = kind(mine["mean"].numpy(), mine["scale"].numpy(), len(mine["linear.bias"]))
                    made.load_state_dict(mine)
                    setattr(network, part, made.to(device))
            if "bank.rows" in tensors:
                network.bank = Bank(tensors["bank.rows"].numpy(), tensors["bank.mean"].numpy()).to(device)
                network.prototypes = list(knowledge.about.get("prototypes", []))
            if network.layer is None:
                raise ValueError("head.safetensors holds no layer")
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise TacitError(f"the model in {folder} is damaged: {error}", "copy it again, or fine-tune anew") from error
        return cls(network, pretrained, knowledge)


def _named(part: str, module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(f"{part}.{k}", v.detach().cpu().contiguous().clone()) for k, v in module.state_dict().items()]


def is_decider(path: str | Path) -> bool:
    """Whether a folder holds a fine-tuned model."""
    return (Path(path) / "decider.json").is_file() and (Path(path) / "head.safetensors").is_file()
