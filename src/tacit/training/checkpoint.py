"""Checkpoints: safetensors and JSON, written beside and renamed, the last two kept. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tacit.errors import TacitError

KEEP = 2


def save(folder: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, meta: dict[str, Any]) -> Path:
    """Write checkpoints/<step>/ so that it is either whole or absent, then drop all but the last two.

    Raises TacitError when the disk is full or the folder cannot be written.
    """
    final = folder / f"{step:08d}"
    if final.is_dir():  # the same step of the same run: the same to the bit
        return final
    beside = folder / f".{step:08d}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        _write(beside / "model.safetensors", dict(module.state_dict()))
        tensors, plain = _flatten(optimizer)
        _write(beside / "optimizer.safetensors", tensors)
        (beside / "meta.json").write_text(json.dumps({"step": step, "optimizer": plain, **meta}), encoding="utf-8")
        for file in beside.iterdir():
            _flush(file)
        os.replace(beside, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise TacitError(f"the checkpoint cannot be written to {folder}: {error}", "free some space, then add --resume") from error
    for old in _all(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    for left in folder.glob(".*"):
        shutil.rmtree(left, ignore_errors=True)
    return final


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, None if there is none."""
    found = _all(folder)
    return found[-1] if found else None


def restore(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> dict[str, Any]:
    """Load a checkpoint into module and optimizer; returns its meta. Raises TacitError if it does not fit or is damaged."""
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        weights = load_file(path / "model.safetensors", device=str(device))
        if differ := sorted(weights.keys() ^ module.state_dict().keys()):
            said = f"{path} cannot be resumed: it holds another method's or version's state ({', '.join(differ[:3])})"
            way = (
                f"resume with the version of tacit that run.json names; if {path} alone is damaged, remove it to resume from the one before"
            )
            raise TacitError(said, way)
        module.load_state_dict(weights)
        tensors = load_file(path / "optimizer.safetensors", device=str(device))
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            index, name = key.split("/", 1)
            # AdamW keeps its step counters on the CPU, whatever the device
            state.setdefault(int(index), {})[name] = value.cpu() if name == "step" else value
        optimizer.load_state_dict({"state": state, "param_groups": meta["optimizer"]})
        for parameter, moments in optimizer.state.items():  # AdamW in one pass takes them to lie in memory as the parameter does
            for name, value in moments.items():
                if value.shape == parameter.shape and value.stride() != parameter.stride():
                    moments[name] = torch.empty_like(parameter).copy_(value)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise TacitError(f"{path} cannot be resumed: {error}", f"remove {path} to resume from the one before") from error
    return meta


def _all(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("[0-9]*") if (p / "meta.json").is_file()) if folder.is_dir() else []


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    state = optimizer.state_dict()
    tensors = {f"{i}/{name}": value for i, entry in state["state"].items() for name, value in entry.items() if isinstance(value, Tensor)}
    return tensors, state["param_groups"]


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    # channels-last kernels share no storage but are not contiguous, which safetensors refuses
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path)


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
