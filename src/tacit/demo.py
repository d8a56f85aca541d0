"""The whole way on scikit-learn's 1,797 digits: inspect, pretrain, evaluate, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tacit import api
from tacit.training.run import fresh_path


def demo(out: Path | None, say: Callable[[str], None], show: Callable[[Any], None]) -> dict[str, Any]:
    """Run it; returns the evaluation with the run folder and the report's path. out: run folder, None = a fresh one in runs/."""
    begin = time.perf_counter()
    data = api.opened("builtin:digits")
    say(f"1/4 inspect: {len(data)} {data.modality}s, {len(data.train)} to learn from, {len(data.test)} held out; labels are not read yet")
    say("2/4 pretrain, without labels")
    path = out or fresh_path(Path("runs"), "demo", "digits")
    command = f"tacit pretrain builtin:digits --budget 40s --out {path}"
    run = api.pretrain(data, out=path, budget="40s", command=command, say=say, show=show)
    say("3/4 evaluate: was it worth it?")
    done = api.evaluate(run, data, say=say)
    say("4/4 report")
    report = api.report(path)
    return {**done.to_json(), "run": str(path), "report": str(report), "seconds": round(time.perf_counter() - begin, 1)}
