"""What the tests share: one thread, a cache of their own, small data of every kind, and the command line called in this process."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # also for the processes that tests start
os.environ["TACIT_CACHE"] = tempfile.mkdtemp(prefix="tacit-tests-")

import numpy as np
import pytest
import torch

torch.set_num_threads(1)

KINDS = ("image", "series", "ragged", "vector", "table", "events", "text", "audio")


@cache
def small(kind: str, items: int = 40) -> Any:
    """A small labelled data set: "image" (3 x 16 x 16), "series" (2 x 48), "ragged" (2 x 20 to 48), "vector" (7), "table" (7),
    "events" (4, of 3 to 12 rows), "text" (4 to 16 words) or "audio" (0.2 to 0.6 s at 2,000 Hz)."""
    from tacit.data.dataset import from_arrays, from_table, from_texts

    rng = np.random.default_rng(7)
    y = np.arange(items) % 2
    if kind == "image":
        return from_arrays((rng.random((items, 3, 16, 16)) * 255).astype(np.uint8), y=y)
    if kind == "series":
        return from_arrays(rng.normal(size=(items, 2, 48)).astype(np.float32), y=y)
    if kind == "ragged":
        lengths = [48, 20, *rng.integers(20, 49, items - 2)]
        return from_arrays([rng.normal(size=(2, int(n))).astype(np.float32) for n in lengths], y=y)
    if kind == "table":
        import pyarrow as pa

        columns: dict[str, Any] = {f"n{i}": rng.normal(size=items) for i in range(4)}
        columns |= {f"w{i}": rng.choice(list("abc"), items) for i in range(2)}
        return from_table(pa.table({**columns, "yes": rng.choice(["yes", "no"], items), "label": [f"c{v}" for v in y]}))
    if kind == "audio":
        lengths = [1200, 400, *rng.integers(400, 1201, items - 2)]
        waves = [(0.1 * rng.normal(size=int(n))).astype(np.float32) for n in lengths]
        return from_arrays(waves, y=y, modality="audio", options={"rate": 2000, "mels": 16, "seconds": 0.4})
    if kind == "text":
        words = ["sun", "rain", "wind", "snow", "cloud", "storm", "falls", "shines", "over", "under", "the", "sea"]
        texts = [" ".join(rng.choice(words, n)) for n in (16, 4, *rng.integers(4, 17, items - 2))]
        return from_texts(texts, y=[f"c{v}" for v in y], options={"vocabulary": 300})
    if kind == "events":
        import pyarrow as pa

        lengths = [12, 3, *rng.integers(3, 13, items - 2)]
        user = np.repeat(np.arange(items), lengths)
        n = len(user)
        log = {"user": [f"u{u}" for u in user], "time": rng.random(n), "item": rng.choice(list("abcd"), n), "paid": rng.normal(size=n)}
        log |= {"card": rng.choice(["yes", "no"], n), "label": [f"c{y[u]}" for u in user]}
        return from_table(pa.table(log), sequence_by="user", order_by="time")
    return from_arrays(rng.normal(size=(items, 7)).astype(np.float32), y=y)


@dataclass
class Said:
    """What a call of the command line did."""

    code: int
    out: str
    err: str


def call(*words: Any) -> Said:
    """`tacit words...` in this process, as the entry point runs it."""
    from tacit.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    before = sys.argv
    sys.argv = ["tacit", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:
        sys.argv = before
    return Said(code, out.getvalue(), err.getvalue())


@pytest.fixture
def tacit() -> Callable[..., Said]:
    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps on builtin:digits that many tests read; none may change it."""
    path = tmp_path_factory.mktemp("shared") / "run"
    said = call("pretrain", "builtin:digits", "--steps", 40, "--size", "tiny", "--out", path)
    assert said.code == 0, said.err
    assert said.out.splitlines() == [str(path)]
    return path
