"""What self-supervision is for: with five labels a class, learned embeddings beat untrained ones and the raw values.

Margins are in points of accuracy, well below what was measured when the test was written, which stands beside each.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tacit.assemble import make_encoder
from tacit.data.dataset import Dataset, from_arrays
from tacit.data.dataset import open as opened
from tacit.embedding.model import Model
from tacit.training.memory import learn

pytestmark = pytest.mark.slow
DRAWS = 10


def score(z: np.ndarray, data: Dataset, labels: int = 5) -> float:
    """Accuracy in % of a logistic regression on so many labels a class, mean over ten draws, tested on the held-out items."""
    assert data.labels is not None
    y, train, test, scores = data.labels, data.train, data.test, []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.choice(train[y[train] == c], labels, replace=False) for c in range(len(data.classes))])
        scaler = StandardScaler().fit(z[train])
        probe = LogisticRegression(C=0.1, max_iter=500).fit(scaler.transform(z[rows]), y[rows])
        scores.append(probe.score(scaler.transform(z[test]), y[test]))
    return 100 * float(np.mean(scores))


def untrained(model: Model) -> Model:
    torch.manual_seed(1)
    fresh = copy.copy(model)
    fresh.encoder = make_encoder(model.modality, model.config["backbone"], frozenset(model.config["needs"]))
    return fresh.eval()


def scores(data: Dataset, steps: int, labels: int = 5, **asked: Any) -> dict[str, float]:
    """Accuracies of the learned, the untrained and the raw representation."""
    model = learn(data, steps=steps, **asked)
    raw = np.nan_to_num(data.x.reshape(len(data.x), -1).astype(np.float32))
    return {
        "learned": score(model.vectors(data.x, data.lengths), data, labels),
        "untrained": score(untrained(model).vectors(data.x, data.lengths), data, labels),
        "raw": score(raw, data, labels),
    }


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return opened("builtin:digits")


@pytest.fixture(scope="module")
def waves() -> Dataset:
    """Four classes that differ in two frequencies; phase, amplitude and noise hide them from the raw values."""
    rng, t = np.random.default_rng(0), np.arange(100)
    y = np.arange(400) % 4
    low, high = np.array([0.25, 0.25, 0.4, 0.4])[y], np.array([0.9, 1.3, 0.9, 1.3])[y]
    phase = rng.random((2, 400, 1)) * 2 * np.pi
    size = rng.uniform(0.7, 1.3, (2, 400, 1))
    tones = [a * np.sin(f[:, None] * t + p) for a, f, p in zip(size, (low, high), phase, strict=True)]
    x = tones[0] + 0.7 * tones[1] + 0.3 * rng.normal(size=(400, 100))
    return from_arrays(x[:, None].astype(np.float32), y=y)


@pytest.mark.parametrize(
    ("method", "steps", "over_untrained", "over_raw", "asked"),
    [
        ("simclr", 200, 8, 2, {}),  # 89.2 against 73.6 and 82.9
        ("vicreg", 200, 8, 2, {}),  # 89.9 against 73.6 and 82.9
        ("byol", 300, 4, None, {}),  # 82.9 against 73.6
        ("mae", 300, 8, None, {"backbone": "transformer", "batch_size": 64}),  # 62.4 against 44.1
    ],
)
def test_digits(method: str, steps: int, over_untrained: float, over_raw: float | None, asked: dict[str, Any], digits: Dataset) -> None:
    found = scores(digits, steps, method=method, size="tiny", **asked)
    assert found["learned"] > found["untrained"] + over_untrained, found
    assert over_raw is None or found["learned"] > found["raw"] + over_raw, found


@pytest.fixture(scope="module")
def columns() -> Dataset:
    """Digits as 64 numbers without an order."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return from_arrays(x.astype(np.float32), y=y)


@pytest.mark.parametrize(
    ("method", "steps", "over_untrained", "over_raw", "labels"),
    [
        ("scarf", 300, 15, None, 5),  # 81.8 against 52.3 and 81.8
        ("scarf", 300, 20, 4, 1),  # 67.9 against 29.1 and 57.3
        ("stunt", 300, 10, None, 5),  # 73.9 against 52.3
        ("subtab", 100, 15, None, 5),  # 79.6 against 52.3
        ("vime", 200, 5, None, 5),  # 63.2 against 52.3
    ],
)
def test_columns(method: str, steps: int, over_untrained: float, over_raw: float | None, labels: int, columns: Dataset) -> None:
    found = scores(columns, steps, labels, method=method, size="tiny")
    assert found["learned"] > found["untrained"] + over_untrained, found
    assert over_raw is None or found["learned"] > found["raw"] + over_raw, found


def test_series(waves: Dataset) -> None:
    found = scores(waves, 150, method="ts2vec", size="tiny")  # 93.2 against 75.3 and 31.0
    assert found["learned"] > found["untrained"] + 8 and found["learned"] > found["raw"] + 30, found


def test_turned_photographs() -> None:
    """Turns teach something where there is an upright: on photographs, not on digits (63 there, against 77 untrained)."""
    place = Path(os.environ.get("TACIT_DATA") or Path(__file__).parents[2] / "shared" / "data") / "cifar10_subset"
    if not place.is_dir():
        pytest.skip("the photographs are not here")
    found = scores(opened(place, size=32), 300, labels=50, method="rotation", size="tiny", batch_size=128)
    assert found["learned"] > found["untrained"] + 2, found
