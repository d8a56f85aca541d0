"""Device, precision, seeds and provenance: each choice with its reason. The only place that asks the machine."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tacit.errors import Asked
from tacit.later import later
from tacit.types import Chosen

if TYPE_CHECKING:
    import torch
else:
    torch = later("torch")


def rng(seed: int, name: str, counter: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator that depends on (seed, name, counter) alone, so that step 5,000 is the same after a resume."""
    digest = hashlib.blake2b(f"{seed}/{name}/{counter}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)


def seed_globally(seed: int, *counters: int) -> None:
    """Seed the global generator for what takes no generator of its own (dropout, parameter init)."""
    torch.manual_seed(rng(seed, "global/" + "/".join(map(str, counters))).initial_seed() % 2**63)


def choose_device(wanted: str | None = None) -> Chosen:
    """cpu, cuda or mps. Raises Asked when the wanted device is absent."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted:
        kind, _, index = wanted.partition(":")
        there = present.get(kind, False) and (not index or (kind == "cuda" and index.isdigit() and int(index) < torch.cuda.device_count()))
        if not there:
            raise Asked(f"device {wanted!r} is not available", f"available: {', '.join(k for k, v in present.items() if v)}")
        return Chosen("device", wanted, "asked for")
    if present["cuda"]:
        return Chosen("device", "cuda", f"found {torch.cuda.get_device_name()}")
    if present["mps"]:
        return Chosen("device", "mps", "found an Apple GPU")
    return Chosen("device", "cpu", f"no GPU found; {torch.get_num_threads()} threads")


@cache
def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_precision(device: str, wanted: str | None = None) -> Chosen:
    """'bf16-mixed' where the hardware has it, otherwise '32-true'; losses are float32 in both."""
    if wanted:
        known = ("bf16-mixed", "32-true")
        if wanted not in known:
            raise Asked(f"precision {wanted!r} is not offered", f"known: {', '.join(known)}")
        return Chosen("precision", wanted, "asked for")
    if device.startswith("cuda"):
        ok = torch.cuda.is_bf16_supported()
        return Chosen("precision", "bf16-mixed" if ok else "32-true", "the GPU has bfloat16" if ok else "the GPU has no bfloat16")
    if device == "cpu" and cpu_has_bf16():
        return Chosen("precision", "bf16-mixed", "the processor multiplies bfloat16 in hardware")
    return Chosen("precision", "32-true", "no bfloat16 in hardware here")


@cache
def hold_memory() -> bool:
    """Keep freed arrays of up to 1 GiB for the next ones; whether the C library took it (glibc does).

    Batches of different lengths else make it return large arrays to the kernel, which zeroes every page again: a step of word2vec on
    documents took twice as long. Who sets MALLOC_MMAP_THRESHOLD_ decides alone.
    """
    if not sys.platform.startswith("linux") or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    mmap_threshold, trim_threshold = -3, -1  # of malloc.h
    return change is not None and all(change(option, 2**30) or change(option, 2**25) for option in (mmap_threshold, trim_threshold))


def leads() -> bool:
    """Whether this is the process that locks, writes and talks; the others of a distributed run only compute."""
    return not any(int(os.environ.get(name) or 0) for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def commit() -> str:
    """The commit of the source tree that runs, with '+' when it was changed; '' outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5)
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else ""


def cache_root() -> Path:
    """Where decoded data is kept: $TACIT_CACHE, or the user's cache folder."""
    if given := os.environ.get("TACIT_CACHE"):
        return Path(given)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("tacit"))
