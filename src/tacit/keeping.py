"""What a run left beside its encoder, and what it says of itself."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tacit.errors import TacitError
from tacit.training.pretrain import HEADS


def folder_of(path: Path) -> Path:
    """The model folder of a run folder, or of itself."""
    return path / "model" if (path / "model" / "model.json").is_file() else path


def digest_of(path: Path) -> str:
    """Hash of the model of a run, or of a model folder."""
    return hashlib.blake2b((folder_of(path) / "model.safetensors").read_bytes(), digest_size=16).hexdigest()


def method_of(path: Path) -> str:
    """The name of the run's method, "" if it does not say."""
    try:
        return str(tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))["method"]["name"])
    except (OSError, ValueError, KeyError):
        return ""


def filled(head: nn.Module, path: Path) -> nn.Module:
    """A head with the weights that the run kept of it. Raises TacitError where they are damaged or do not fit."""
    file = folder_of(path) / HEADS
    try:
        held = load_file(file)
        head.load_state_dict({k.removeprefix("head."): v for k, v in held.items() if k.startswith("head.")})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TacitError(f"{file} is damaged: {error}", "copy it again, or train anew") from error
    return head.eval()
