"""An exported model (ONNX, int8, torch) as what explanations ask: a number for copies of an item, and no gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit import registry
from tacit.assemble import make_encoder, make_modality
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.embedding.prepare import prepare
from tacit.errors import Asked, CannotPair, few, nearest
from tacit.explainers import values
from tacit.explainers.values import Value
from tacit.types import Batch, Spec

Vectors = Callable[[np.ndarray, "np.ndarray | None"], np.ndarray]


class Outside:
    """What stands in for a Model where only its outputs are known. Items are shown as they are stored, and their parts are cut there.

    spec, config: as the export says. of: stored items [N, C, *S] and their lengths -> embeddings [N, D].
    """

    def __init__(self, spec: Spec, config: dict[str, Any], of: Vectors) -> None:
        self.spec, self.config, self.of = spec, config, of
        self.modality = make_modality(spec, config["modality"])
        dense = registry.find("backbones", config["backbone"]["name"]).wants == "dense"
        self.encoder = Encodes(self, self.modality.tokenizer(dense))
        self.like = np.dtype(np.float32)  # what items are stored in
        self._device = torch.zeros(1)

    def parameters(self) -> Iterator[Tensor]:
        """Something that says where it runs: the CPU."""
        return iter((self._device,))

    def centred(self, z: Tensor) -> Tensor:
        """What comes out is centred already."""
        return z

    def prepare(self, data: Any) -> Dataset:
        """Any data decoded for it."""
        return prepare(data, self.spec)

    def vectors(self, x: Any, lengths: np.ndarray | None = None, batch: int = 256, tiles: bool = True) -> np.ndarray:
        """Embeddings float32 [N, D] of decoded items."""
        return self.of(np.asarray(x), lengths)

    def batches(self, x: Any, lengths: np.ndarray | None = None, batch: int = 256) -> Iterator[Batch]:
        """Decoded items as they are, in float32."""
        raw = np.array(x)
        self.like = raw.dtype
        valid = None if lengths is None else torch.arange(raw.shape[-1]) < torch.from_numpy(lengths)[:, None]
        yield Batch(torch.from_numpy(raw.astype(np.float32)), torch.arange(len(raw)), valid)

    def plain(self, batch: Batch) -> Batch:
        """The item as it is stored. Raises CannotPair where the network would see something with other axes (a spectrum)."""
        if self.modality.layout.ordered and self.modality.layout.rank != batch.x.ndim - 2:
            raise CannotPair(
                "the parts of such an item are cut where the network sees it, which an export does not show", "explain the run"
            )
        return batch

    def stored(self, view: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        """Views as the graph takes them: of the type that items are stored in, and their lengths."""
        x = view.x.numpy()
        if self.like.kind in "iu":
            ends = np.iinfo(np.dtype(self.like.str))  # type: ignore[type-var]
            x = np.clip(np.rint(np.nan_to_num(x)), ends.min, ends.max)
        return x.astype(self.like), None if view.valid is None else view.valid.sum(1).numpy()


class Encodes:
    """The encoder's place: a tokenizer that says where parts are cut, and the embedding of views of stored items."""

    mask_token = None

    def __init__(self, model: Outside, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    def __call__(self, view: Batch, *, tokens: Any = None) -> Any:
        return SimpleNamespace(pooled=torch.from_numpy(np.asarray(self.model.of(*self.model.stored(view)))))


def untrained_like(model: Outside, items: Dataset, most: int, seed: int) -> Outside:
    """The same kind of network with random weights; by some of the items its directions are settled, where such data has any."""
    from tacit.runtime import seed_globally

    seed_globally(seed + 1, 0)
    modality = make_modality(model.spec, model.config["modality"])
    net = Model(make_encoder(modality, model.config["backbone"], frozenset(model.config["needs"])), modality, model.config).eval()
    some = np.arange(0, len(items), max(1, len(items) // most))
    net.settle(items.x[some], None if items.lengths is None else items.lengths[some])
    return Outside(model.spec, model.config, lambda x, n: net.vectors(x, n))


def decision(model: Outside, held: Any, these: str | None, batch: Batch) -> Value:
    """What an exported decision says of an item, for a class or the one that it decides for."""
    knowledge = held.knowledge
    head = knowledge.head
    if head.level != "item":
        raise Asked(f"{knowledge.name} says more than one thing of an item", "explain the run that it was made from")
    if these is not None and these not in head.classes:
        raise Asked(f"there is no class {these!r}", f"{nearest(these, list(head.classes))} of {few(head.classes)}")

    def outputs(view: Batch) -> Tensor:
        return torch.from_numpy(np.asarray(held.outputs(*model.stored(view))[1])).double()

    k = int(outputs(batch)[0].argmax()) if these is None else head.classes.index(these)
    exclusive = knowledge.name == "classification"

    def of(view: Batch, tokens: Any) -> Tensor:
        out = outputs(view)
        return out[:, k] - torch.cat([out[:, :k], out[:, k + 1 :]], 1).logsumexp(1) if exclusive else out[:, k]

    return Value(of, values.named(head, k, exclusive, knowledge.about))
