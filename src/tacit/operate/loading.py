"""Whatever can embed, from its folder: an exported model without torch, a fine-tuned model, or a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.errors import Asked
from tacit.later import later
from tacit.operate.artefact import ABOUT, Artefact
from tacit.runtime import choose_device

if TYPE_CHECKING:
    from tacit.embedding import model as models
    from tacit.finetuning import decider as deciders
else:
    models, deciders = later("tacit.embedding.model"), later("tacit.finetuning.decider")


def load(path: str | Path, device: str | None = "cpu", *, trust: bool = False) -> Any:
    """An exported model, a fine-tuned model, or the model of a run or a model folder. No code that the folder names is run.

    Returns an Artefact, a Decider or a Model: all embed. device: where the weights go, None = the best there is; an exported model runs
    on the CPU. trust: run the plug-ins that the model names even if they are files (path/to/file.py:Class).
    Raises Asked when there is no model or it names code, TacitError when it is damaged.
    """
    path = Path(path)
    if (path / ABOUT).is_file():
        return Artefact.open(path)
    if not path.exists():
        raise Asked(f"{path} holds no model: it does not exist", "give a run folder, a folder written by model.save, or an exported one")
    device = device or choose_device().value
    if (path / "decider.json").is_file():
        return deciders.Decider.load(path, device, trust=trust)
    return models.load(path, device, trust=trust)
