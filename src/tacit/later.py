"""Modules that are loaded when they are first used: decoding, and models that were exported, work where torch is not installed."""

from __future__ import annotations

import importlib
from typing import Any

from tacit.errors import TacitError


class Later:
    """Stands for a module; its first use imports it. Raises TacitError where torch is what is missing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):  # asked by tools that look around
            raise AttributeError(key)
        try:
            return getattr(importlib.import_module(self._name), key)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise TacitError("this needs torch, which is not installed here", "pip install torch") from error


def later(name: str) -> Any:
    """The module of this name, imported at its first use."""
    return Later(name)
