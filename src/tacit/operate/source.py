"""What is exported: a run, a model or a fine-tuned model, read as one graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tacit.deciding import Knowledge
from tacit.embedding.model import load
from tacit.finetuning.decider import Decider, is_decider
from tacit.finetuning.network import Network
from tacit.operate.graph import Graph
from tacit.types import Batch


@dataclass(frozen=True)
class Source:
    """A model to be exported.

    graph: what it computes, in float32. knowledge: what turns outputs into decisions, None = it only embeds. save: writes it into a folder
    that `read` takes. config: how the encoder was trained.
    """

    graph: Graph
    knowledge: Knowledge | None
    save: Callable[[Path], Any]
    config: Mapping[str, Any]


class Decide(nn.Module):
    """The outputs of a fine-tuned network as a part of a graph."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        return self.network.decide(batch)


def read(path: str | Path, *, trust: bool = False) -> Source:
    """A run, a model, a fine-tuned model, or the same inside of an artefact. Raises Asked where there is none.

    trust: run the plug-ins that it names even if they are files.
    """
    path = Path(path)
    if is_decider(path):
        decider = Decider.load(path, trust=trust)
        decider.pretrained.precision = decider.network.model.precision = "32-true"  # what is exported is exact everywhere
        return Source(Graph(decider.pretrained, Decide(decider.network)), decider.knowledge, decider.save, decider.config)
    model = load(path, trust=trust)
    model.precision = "32-true"
    return Source(Graph(model), None, lambda folder: model.save(folder / "model"), model.config)
