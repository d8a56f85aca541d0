"""What a model costs: parameters, operations, time, memory, and an estimate of the energy that says how it was made."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

BATCHES = (1, 64)
REPEATS = 50  # of one batch; fewer where they fill the time
SLOW = 30.0  # seconds; a batch that would take longer is not tried
WATTS = 10.0  # a busy core of a processor without a power meter, assumed
METERS = Path("/sys/class/powercap")
COUNTED = "matrix products, convolutions and attention of one item, 2 for each multiply-add; everything else is small and not counted"
TIMED = "from decoded items in memory to results, preparation included, reading files not"

Run = Callable[[np.ndarray, np.ndarray | None], Any]


def measure(model: nn.Module, run: Run, x: np.ndarray, lengths: np.ndarray | None = None, *, seconds: float = 0.5) -> dict[str, Any]:
    """Parameters, operations, latency at batches of 1 and 64, and peak memory, as plain JSON.

    model: whose parameters are counted. run: what it does with decoded items and their lengths, such as `Model.vectors`. x: some decoded
    items [n, C, *S], repeated where a batch holds more. lengths: of ragged items. seconds: of timing, for each size of batch.
    """
    device = next(model.parameters()).device

    def batch(n: int) -> Callable[[], Any]:
        rows = np.resize(np.arange(len(x)), n)
        items, cut = np.asarray(x[rows]), None if lengths is None else lengths[rows]
        return lambda: run(items, cut)

    flops = _operations(batch(1))
    latency: list[dict[str, Any]] = []
    for n in BATCHES:
        likely = n * latency[0]["p50_ms"] / 1000 if latency else 0.0
        if likely > SLOW:
            latency.append({"batch": n, "p50_ms": None, "p95_ms": None, "n": 0, "reason": f"would take about {likely:.0f} s"})
            continue
        times = 1000 * np.array(_times(batch(n), seconds, device))
        p50, p95 = (float(np.quantile(times, q, method="inverted_cdf")) for q in (0.5, 0.95))
        latency.append({"batch": n, "p50_ms": p50, "p95_ms": p95, "n": len(times)})
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops": flops,
        "flops_of": COUNTED,
        "latency": latency,
        "latency_of": f"{TIMED}, {_named(device)}",
        **_memory(device),
    }


def meters() -> dict[str, float]:
    """Joules that the processors' own meters have counted so far, with the time of reading; {} where they cannot be read."""
    found: dict[str, float] = {}
    for file in sorted(METERS.glob("intel-rapl:*/energy_uj")):
        if file.parent.name.count(":") == 1:  # a whole processor; its parts are counted in it
            try:
                found[file.parent.name] = float(file.read_text()) / 1e6
                found[f"{file.parent.name} most"] = float((file.parent / "max_energy_range_uj").read_text()) / 1e6
            except (OSError, ValueError):
                continue
    return {**found, "at": time.monotonic()} if found else {}


def energy(seconds: float, device: str | torch.device = "cpu", begin: dict[str, float] | None = None, processes: int = 1) -> dict[str, Any]:
    """What so many seconds of work took: {"kwh", "watts", "method"}; the method says in words what was measured and what assumed.

    Processors: by their meters since `begin` (from `meters`), otherwise an assumed 10 W for each thread. A GPU: the power that it reports
    now, so ask directly after the work. processes: that worked alike, each on its own threads and GPU.
    """
    watts, method = _processors(begin or {}, processes)
    kind = torch.device(device)
    if kind.type == "cuda":
        drawn = _gpu(kind)
        if drawn is None:
            method += "; the power of the GPU is not known and not counted"
        else:
            watts += processes * drawn
            method += f"; GPU: {drawn:.0f} W reported by nvidia-smi at the end{f', times {processes}' if processes > 1 else ''}"
    elif kind.type != "cpu":
        method += f"; the power of the {kind.type} device is not counted"
    return {"kwh": watts * seconds / 3.6e6, "watts": watts, "method": f"an estimate: {method}; not counted: memory, cooling, power supply"}


def _processors(begin: dict[str, float], processes: int) -> tuple[float, str]:
    now = meters()
    elapsed = now.get("at", 0.0) - begin.get("at", 0.0)
    if now and begin and elapsed > 0:
        joules = 0.0
        for name in (k for k in now if f"{k} most" in now and k in begin):
            used = now[name] - begin[name]
            joules += used if used >= 0 else used + now[f"{name} most"]  # the counter begins anew at its largest value
        return joules / elapsed, f"processors: {joules / elapsed:.0f} W by their own meters (RAPL), other programs included"
    threads = torch.get_num_threads() * processes
    return WATTS * threads, f"processors: assumed {WATTS:.0f} W a thread for {threads} of them, because no meter can be read"


def _gpu(device: torch.device) -> float | None:
    """Watts that a GPU draws, None where it does not say."""
    if not shutil.which("nvidia-smi"):
        return None
    asked = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", f"--id=GPU-{_uuid(device)}"]
    try:
        return float(subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _uuid(device: torch.device) -> str:
    return str(getattr(torch.cuda.get_device_properties(device), "uuid", "")).removeprefix("GPU-")


def _operations(once: Callable[[], Any]) -> int | None:
    """Floating point operations of one call, None where none of them is of a kind that can be counted."""
    counter = FlopCounterMode(display=False)
    with counter:
        once()
    return counter.get_total_flops() or None


def _times(once: Callable[[], Any], seconds: float, device: torch.device) -> list[float]:
    """Seconds of each repeat; the first one only warms up, unless it takes all the time there is."""

    def timed() -> float:
        begin = time.perf_counter()
        once()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    first = timed()
    if first > seconds:
        return [first]
    taken: list[float] = []
    while len(taken) < REPEATS and sum(taken) < seconds:
        taken.append(timed())
    return taken


def _memory(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"peak_memory_mb": torch.cuda.max_memory_allocated(device) / 1e6, "peak_memory_of": "tensors on the GPU"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_mb": peak * (1 if sys.platform == "darwin" else 1024) / 1e6, "peak_memory_of": "the whole process, data included"}


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return f"on {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"on the {device.type}" + (f" with {threads} thread{'' if threads == 1 else 's'}" if device.type == "cpu" else "")
