"""The whole way on scikit-learn's 1,797 digits: inspect, pretrain, evaluate, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tacit import api
from tacit.data import inspect as inspection
from tacit.training.run import fresh_path

STEPS = 400
LEVELS = (1, 10, "all")  # fewer than usual: training from scratch at each of them is what takes the time


def demo(out: Path | None, say: Callable[[str], None], show: Callable[[Any], None]) -> dict[str, Any]:
    """Run it; returns the evaluation with the run folder and the report's path. out: run folder, None = a fresh one in runs/."""
    begin = time.perf_counter()
    data = api.opened("builtin:digits")
    say("\n".join(["1/5 inspect", *(f"  {line}" for line in inspection.lines(inspection.inspect(data)))]))
    say("2/5 pretrain, without labels")
    path = out or fresh_path(Path("runs"), "demo", "digits")
    # steps and not a budget, so that the verdict does not depend on what else the machine is doing; 40 seconds on two idle cores
    command = f"tacit pretrain builtin:digits --steps {STEPS} --out {path}"
    run = api.pretrain(data, out=path, steps=STEPS, command=command, say=say, show=show)
    vectors = api.embed(run, data, path / "embeddings" / "digits.parquet")
    say(f"3/5 embed: {len(vectors)} vectors of {vectors.shape[1]} numbers in {path / 'embeddings' / 'digits.parquet'}")
    say("4/5 evaluate: was it worth it?")
    done = api.evaluate(run, data, levels=LEVELS, say=say)
    say("5/5 report")
    report = api.report(path)
    return {**done.to_json(), "run": str(path), "report": str(report), "seconds": round(time.perf_counter() - begin, 1)}
