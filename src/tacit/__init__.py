"""Tacit: self-supervised learning on any kind of data, with a verdict on whether it was worth it.

data = tacit.open("photos/"); run = tacit.pretrain(data, budget="10min"); score = tacit.evaluate(run.model, data)
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Waiting threads (of GNU OpenMP, which torch's Linux wheels use) spin for some microseconds, then sleep: spinning on starves whatever
# else uses the cores, and sleeping at once costs a fifth of the speed. It must be set before torch is loaded; whoever set the policy
# already keeps their choice.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

_PUBLIC = {
    "open": "tacit.data.dataset",
    "pretrain": "tacit.api",
    "embed": "tacit.operate.embed",
    "evaluate": "tacit.api",
    "inspect": "tacit.api",
    "compare": "tacit.api",
    "tune_augmentation": "tacit.api",
    "finetune": "tacit.tuning",
    "detect": "tacit.detection",
    "predict": "tacit.operate.predict",
    "recommend": "tacit.recommendation",
    "explain": "tacit.explanation",
    "audit": "tacit.auditing",
    "erase": "tacit.erasing",
    "export": "tacit.operate.export",
    "forget": "tacit.forgetting",
    "generate": "tacit.language",
    "fill": "tacit.language",
    "similar": "tacit.language",
    "search": "tacit.retrieval",
    "verify": "tacit.verification",
    "enhance": "tacit.cleaning",
    "load": "tacit.operate.loading",
}
__all__ = [
    "__version__",
    "audit",
    "compare",
    "detect",
    "embed",
    "enhance",
    "erase",
    "evaluate",
    "explain",
    "export",
    "fill",
    "finetune",
    "forget",
    "generate",
    "inspect",
    "load",
    "open",
    "predict",
    "pretrain",
    "recommend",
    "search",
    "similar",
    "tune_augmentation",
    "verify",
]

if TYPE_CHECKING:
    from tacit.api import compare, evaluate, inspect, pretrain, tune_augmentation
    from tacit.auditing import audit
    from tacit.cleaning import enhance
    from tacit.data.dataset import open
    from tacit.detection import detect
    from tacit.erasing import erase
    from tacit.explanation import explain
    from tacit.forgetting import forget
    from tacit.language import fill, generate, similar
    from tacit.operate.embed import embed
    from tacit.operate.export import export
    from tacit.operate.loading import load
    from tacit.operate.predict import predict
    from tacit.recommendation import recommend
    from tacit.retrieval import search
    from tacit.tuning import finetune
    from tacit.verification import verify


def __getattr__(name: str) -> Any:
    # lazily, so that `import tacit` does not import torch
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tacit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
