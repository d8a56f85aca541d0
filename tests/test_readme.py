"""What the README and the guide say runs as it is written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import call

ROOT = Path(__file__).resolve().parent.parent


def blocks(file: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)


def commands(file: str) -> list[list[str]]:
    lines = [line[2:] for block in blocks(file, "console") for line in block.splitlines() if line.startswith("$ tacit ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_every_command_is_known() -> None:
    assert len(commands("README.md")) == 33 and len(commands("docs/extending.md")) == 2
    for words in commands("README.md") + commands("docs/extending.md"):
        assert call(words[0], "--help").code == 0
        options = {w for w in words if w.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", call(words[0], "--help").out)), words


def test_the_example_trains_from_outside_the_package(tmp_path: Path) -> None:
    file = ROOT / "examples" / "alignment.py"
    assert len(file.read_text().splitlines()) < 60
    said = call(
        "pretrain", "builtin:digits", "--method", f"{file}:AlignmentUniformity", "--steps", 3, "--size", "tiny", "--out", tmp_path / "run"
    )
    assert said.code == 0, said.err
    for block in blocks("docs/extending.md", "python"):
        for line in block.splitlines():
            assert line in file.read_text(), "the guide shows another method than the file holds"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("file", ["README.md", "docs/extending.md"])
def test_the_commands_run_as_written(file: str, tmp_path: Path) -> None:
    for name in ("examples", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    for block in blocks(file, "python"):
        if "writerows" in block:  # makes the table that the commands read
            subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)
    for words in commands(file):
        done = subprocess.run([sys.executable, "-m", "tacit", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_python_runs_as_written(tmp_path: Path) -> None:
    for block in blocks("README.md", "python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
