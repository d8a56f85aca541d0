"""`tacit doctor`: does this machine work, what has it got, and what would make it faster."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

LOW_MEMORY = 2 * 2**30
LOW_DISK = 5 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    name: what. ok: False = something does not work or will hurt; True = fine, or only worth knowing. words: what was found.
    hint: what to do about it, '' = nothing.
    """

    name: str
    ok: bool
    words: str
    hint: str = ""


def diagnose() -> list[Finding]:
    """Look at Python, torch, the device, memory, disk, cache and extras, and train nothing. Takes a few seconds."""
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("python", _python),
        ("bytecode", _bytecode),
        ("torch", _torch),
        ("memory", _memory),
        ("disk", _disk),
        ("cache", _cache),
        ("extras", _extras),
        ("numbers", _numbers),
    )
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += check()
        except Exception as error:  # a doctor that dies of what it should report helps nobody
            found.append(Finding(name, False, f"could not be checked: {type(error).__name__}: {error}", "please report this"))
    return found


def lines(findings: Iterable[Finding]) -> list[str]:
    """The findings for a terminal, hints indented below their line, and a last line that sums up."""
    findings = list(findings)
    width = max((len(f.name) for f in findings), default=0)
    shown = []
    for f in findings:
        shown.append(f"{'ok' if f.ok else '!!'}  {f.name.ljust(width)}  {f.words}")
        if f.hint:
            shown.append(f"{'':{width + 6}}{f.hint}")
    bad = [f.name for f in findings if not f.ok]
    total = f"{len(bad)} of {len(findings)} checks need attention: {', '.join(bad)}" if bad else f"all {len(findings)} checks passed"
    return [*shown, total]


def _python() -> Iterable[Finding]:
    new = sys.version_info >= (3, 11)
    words = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("python", new, words, "" if new else "Tacit needs Python 3.11 or later")
    try:
        yield Finding("tacit", True, importlib.metadata.version("tacit"))
    except importlib.metadata.PackageNotFoundError:
        yield Finding("tacit", True, "runs from its sources, not installed", "pip install -e . (from the checkout)")


def _bytecode() -> Iterable[Finding]:
    if sys.dont_write_bytecode or os.environ.get("PYTHONDONTWRITEBYTECODE"):
        words = "Python keeps no compiled modules, so that every start compiles torch anew and takes about twice as long"
        yield Finding("bytecode", False, words, "unset PYTHONDONTWRITEBYTECODE")


def _torch() -> Iterable[Finding]:
    import torch

    from tacit.runtime import choose_device, choose_precision, cpu_has_bf16

    kind = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}" if torch.version.hip else "CPU only"
    if torch.backends.mps.is_built():
        kind = "Apple MPS"
    yield Finding("torch", True, f"{torch.__version__} ({kind})")
    device = choose_device()
    hint = ""
    if device.value == "cpu" and shutil.which("nvidia-smi"):
        hint = "this machine has NVIDIA tools, but torch cannot use a GPU: see https://pytorch.org/get-started/locally"
    yield Finding("device", not hint, f"{device.value}: {device.reason}", hint)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    few = threads < cores / 2 and device.value == "cpu"
    yield Finding("threads", not few, f"torch uses {threads} of {cores} processors", "unset OMP_NUM_THREADS" if few else "")
    flags = [name for name, known in (("AVX512-BF16", "avx512_bf16"), ("AMX", "amx_bf16")) if known in _cpu_flags()]
    has = f"the processor has it ({', '.join(flags)})" if cpu_has_bf16() else "the processor does not have it"
    precision = choose_precision(str(device.value))
    yield Finding("bfloat16", True, f"{has}; training here uses {precision.value}: {precision.reason}")


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return set()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def _memory() -> Iterable[Finding]:
    free = _free_memory()
    if free is None:
        yield Finding("memory", True, "how much is free is not known on this system")
    else:
        low = free < LOW_MEMORY
        yield Finding("memory", not low, f"{_size(free)} free", "close other programs, or train with a smaller --batch-size" if low else "")


def _free_memory() -> int | None:
    """Free bytes: the smaller of what the system has and what the container allows; None = unknown."""
    found = []
    try:
        held = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        found += [int(held.group(1)) * 1024] if held else []
        group = Path("/sys/fs/cgroup")
        most, used = (group / "memory.max").read_text().strip(), (group / "memory.current").read_text().strip()
        found += [int(most) - int(used)] if most != "max" else []
    except (OSError, ValueError):
        pass
    return max(0, min(found)) if found else None


def _disk() -> Iterable[Finding]:
    from tacit.runtime import cache_root

    for name, folder in (("disk here", Path.cwd()), ("disk of cache", cache_root())):
        free = shutil.disk_usage(_existing(folder)).free
        low = free < LOW_DISK
        hint = "free some space, or set TACIT_CACHE to a larger disk" if low else ""
        yield Finding(name, not low, f"{_size(free)} free at {folder}", hint)


def _cache() -> Iterable[Finding]:
    from tacit.runtime import cache_root

    root = cache_root()
    total = sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) if root.is_dir() else 0
    try:
        with tempfile.TemporaryFile(dir=_existing(root)) as tried:
            tried.write(b"tacit")
    except OSError as error:
        yield Finding("cache", False, f"{root} cannot be written: {error.strerror}", "set TACIT_CACHE to a folder of yours")
    else:
        hint = f"it may be deleted at any time: {root}" if total > 10 * 2**30 else ""
        yield Finding("cache", True, f"{_size(total)} in {root}, writable", hint)


def _extras() -> Iterable[Finding]:
    for extra, packages in sorted(_optional().items()):
        versions = {p: _version(p) for p in packages}
        absent = [p for p, v in versions.items() if not v]
        words = f"absent: {', '.join(absent)} (optional)" if absent else f"present: {', '.join(f'{p} {v}' for p, v in versions.items())}"
        yield Finding(f"extra [{extra}]", True, words, f"pip install 'tacit[{extra}]'" if absent else "")


def _optional() -> dict[str, list[str]]:
    """Extra -> packages, as declared in the installed package, or in pyproject.toml beside the sources."""
    try:
        declared = importlib.metadata.requires("tacit") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        held = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"] if project.is_file() else {}
        declared = [f"{package}; extra == '{extra}'" for extra, packages in held.items() for package in packages]
    found: dict[str, list[str]] = {}
    for line in declared:
        extra, package = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line), re.match(r"[\w.-]+", line)
        if extra and package and extra.group(1) != "dev" and package.group().lower() != "tacit":
            found.setdefault(extra.group(1), []).append(package.group())
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers() -> Iterable[Finding]:
    """A product and a convolution on the device, in the precision of training, against float64 on the CPU, twice."""
    import torch

    from tacit.runtime import choose_device, choose_precision, rng

    device = str(choose_device().value)
    bf16 = str(choose_precision(device).value).startswith("bf16")
    generator = rng(0, "doctor")
    a, b = torch.randn(64, 96, generator=generator), torch.randn(96, 32, generator=generator)
    image, kernel = torch.randn(4, 8, 16, 16, generator=generator), torch.randn(8, 8, 3, 3, generator=generator)

    def once() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weight = kernel.to(device, copy=True).requires_grad_()  # a copy: gradients must not add up over the two times
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            product = a.to(device) @ b.to(device)
            felt = torch.nn.functional.conv2d(image.to(device), weight, padding=1)
        felt.float().square().mean().backward()
        assert weight.grad is not None
        return product.float().cpu(), felt.detach().float().cpu(), weight.grad.float().cpu()

    first, second = once(), once()
    right = (a.double() @ b.double(), torch.nn.functional.conv2d(image.double(), kernel.double(), padding=1))
    error = max(float((x.double() - y).abs().max() / y.abs().max()) for x, y in zip(first, right, strict=False))
    finite = all(bool(x.isfinite().all()) for x in first)
    same = all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    where = f"on {device} in {'bfloat16' if bf16 else 'float32'}"
    good = finite and error < (0.03 if bf16 else 1e-2)
    words = f"product, convolution and gradient {where} are {'right' if good else 'WRONG'} (largest error {error:.1e})"
    yield Finding("numbers", good, words, "" if good else "reinstall torch; do not trust results from this machine")
    outcome = "the same bits" if same else "not the same bits, so that runs repeat only closely"
    yield Finding("repeats", True, f"the same computation twice {where}: {outcome}")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
