"""The doctor tells what is there, never dies of it, and its numerical check can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tacit import doctor
from tacit.doctor import Finding, diagnose, lines


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return diagnose()


def named(findings: list[Finding], name: str) -> Finding:
    return next(f for f in findings if f.name == name)


def test_looks_at_everything(findings: list[Finding]) -> None:
    names = {f.name for f in findings}
    assert {"python", "torch", "device", "threads", "bfloat16", "numbers", "repeats"} <= names
    assert {"memory", "disk here", "disk of cache", "cache"} <= names
    assert all(f.words and "could not be checked" not in f.words for f in findings)


def test_numbers_are_right_here(findings: list[Finding]) -> None:
    assert named(findings, "numbers").ok
    assert "right" in named(findings, "numbers").words


def test_each_extra_has_its_install_line(findings: list[Finding], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "extra [series]" in {f.name for f in findings}
    monkeypatch.setattr(doctor, "_version", lambda package: "")
    absent = {f.name: f for f in doctor._extras()}
    assert absent["extra [series]"].hint == "pip install 'tacit[series]'"
    assert absent["extra [series]"].ok, "an absent extra is no fault"
    assert "extra [dev]" not in absent


def test_unwritable_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "deep" / "cache"))
    assert next(iter(doctor._cache())).ok
    assert not (tmp_path / "deep").exists(), "looking leaves nothing behind"
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = next(iter(doctor._cache()))
    assert not found.ok and "Permission denied" in found.words and "TACIT_CACHE" in found.hint


def test_cache_size_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path))
    assert next(iter(doctor._cache())).words.startswith("3 MB")


def test_bytecode_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert [f.ok for f in doctor._bytecode()] == [False]
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    assert list(doctor._bytecode()) == []


def test_low_memory_and_disk_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_free_memory", lambda: 10**8)
    assert [f.ok for f in doctor._memory()] == [False]
    monkeypatch.setattr(doctor, "LOW_DISK", 2**62)
    assert [f.ok for f in doctor._disk()] == [False, False]


def test_wrong_numbers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    honest = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, w, **k: honest(x, w, **k) * (1 if x.dtype == torch.float64 else 1.5))
    assert not named(list(doctor._numbers()), "numbers").ok


def test_random_numbers_do_not_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    honest = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, w, **k: honest(x, w, **k) + 1e-3 * torch.rand(()).to(x.dtype))
    assert "not the same bits" in named(list(doctor._numbers()), "repeats").words


def test_a_check_that_dies_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> list[Finding]:
        raise RuntimeError("boom")

    for name in ("_torch", "_numbers", "_disk"):
        monkeypatch.setattr(doctor, name, die)
    failed = [f for f in diagnose() if not f.ok and "boom" in f.words]
    assert [f.name for f in failed] == ["torch", "disk", "numbers"]


def test_lines_sum_up() -> None:
    shown = lines([Finding("a", True, "fine"), Finding("long", False, "broken", "mend it")])
    assert shown == ["ok  a     fine", "!!  long  broken", "          mend it", "1 of 2 checks need attention: long"]
    assert lines([Finding("a", True, "fine")])[-1] == "all 1 checks passed"


def test_import_is_light() -> None:
    code = "import sys, tacit.doctor; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
