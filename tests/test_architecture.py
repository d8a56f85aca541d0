"""The floors hold: imports go down, plug-ins do not know each other, and the doors open fast.

`assemble` stands between ideas (3) and doing (4): it builds a method around an encoder and knows nothing of data on disk.
The package's own `__init__` counts as floor 0: it imports nothing when it runs, and only names the version.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tacit import registry

SRC = Path(__file__).parent.parent / "src"
FLOORS: dict[str, float] = {
    **dict.fromkeys(("", "types", "errors", "registry", "config", "runtime", "later"), 0),
    **dict.fromkeys(
        (
            "losses",
            "masking",
            "layers",
            "predictors",
            "teacher",
            "schedules",
            "optim",
            "statistics",
            "augment",
            "threads",
            "gather",
            "clusters",
            "corruption",
            "queue",
            "deep",
            "measured",
            "calibration",
            "conformal",
            "outliers",
            "costs",
            "celltypes",
            "reasons",
            "wording",
            "personal",
            "likeness",
            "tongues",
            "spectra",
            "hearing",
            "codes",
            "pieces",
            "nuisances",
        ),
        1,
    ),
    **dict.fromkeys(
        (
            "encoder",
            "convolution",
            "patches",
            "wrapped",
            "published",
            "columns",
            "tabletokens",
            "eventtokens",
            "texttokens",
            "wavetokens",
            "publishedwaves",
            "sound",
            "slices",
            "modality",
            "grid",
            "unordered",
            "tabular",
            "pictures",
            "backbones",
            "modalities",
        ),
        2,
    ),
    **dict.fromkeys(("method", "methods", "head"), 3),
    "assemble": 3.5,
    **dict.fromkeys(("data", "training", "embedding", "foreign"), 4),
    **dict.fromkeys(("evaluation", "sides"), 5),
    **dict.fromkeys(("heads", "deciding", "quantities", "categories", "predictions"), 5.2),
    **dict.fromkeys(("finetuning", "detecting", "recommending"), 5.5),
    "explainers": 5.6,
    "auditors": 5.6,
    **dict.fromkeys(("report", "tournament", "operate"), 6),
    **dict.fromkeys(("halving", "matrix"), 6.2),
    "augmentation": 6.4,
    **dict.fromkeys(
        (
            "api",
            "tuning",
            "cli",
            "options",
            "choosing",
            "deciders",
            "exporting",
            "alarms",
            "following",
            "speaking",
            "listening",
            "keeping",
            "cleaning",
            "verification",
            "looking",
            "origin",
            "recommendation",
            "language",
            "retrieval",
            "detection",
            "explanation",
            "explaining",
            "overviews",
            "atlas",
            "concepts",
            "pretext",
            "subject",
            "questions",
            "evidence",
            "mapping",
            "judged",
            "mitigating",
            "asking",
            "auditing",
            "checking",
            "erasing",
            "forgetting",
            "terminal",
            "doctor",
            "demo",
            "sklearn",
            "__main__",
        ),
        7,
    ),
}
PLUGINS = {"tacit." + registry.FOLDERS.get(kind, kind).replace("/", ".") for kind in registry.KINDS}
LONGEST = 450


def modules(src: Path) -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module under src/tacit."""
    for path in sorted((src / "tacit").rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name: str, path: Path, known: set[str]) -> Iterator[tuple[str, int]]:
    """(module of ours, line) for every import of a file, inside functions too, but not under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(inner) for part in node.body for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
                base = ".".join([*here[: len(here) - node.level + 1], *([node.module] if node.module else [])])
            # `from tacit.training import loop` imports a module, `from tacit.types import Batch` a name of one
            found = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
        else:
            continue
        for target in found:
            if target == "tacit" or target.startswith("tacit."):
                yield target, node.lineno


def part(module: str) -> str:
    return [*module.split("."), ""][1]


def violations(src: Path) -> list[str]:
    """Every broken rule as `file:line: what`."""
    files = dict(modules(src))
    wrong = []
    for name, path in files.items():
        if part(name) not in FLOORS:
            wrong.append(f"{path}:1: {part(name)} has no floor; give it one in {Path(__file__).name}")
            continue
        for target, line in imports(name, path, set(files)):
            at = f"{path}:{line}"
            if FLOORS.get(part(target), 99) > FLOORS[part(name)]:
                wrong.append(f"{at}: {name} imports {target} from a higher floor")
            folder = name.rpartition(".")[0]
            if folder in PLUGINS and target.startswith(folder + ".") and target != name:
                wrong.append(f"{at}: the plug-in {name} imports its sibling {target}")
            if part(name) == "evaluation" and part(target) == "training":
                wrong.append(f"{at}: evaluation imports training")
            if part(name) == "methods" and part(target) not in ("encoder", "method") and FLOORS.get(part(target), 99) > 1:
                wrong.append(f"{at}: the method {name} imports {target}; methods see words, tools, Encoder and Method only")
        if part(name) == "methods" and name != "tacit.methods":
            wrong += [f"{path}:{line}: a method names the modality {word!r}" for word, line in named_modalities(path)]
    return wrong


def named_modalities(path: Path) -> list[tuple[str, int]]:
    """Modalities that the code of a file names: as identifiers or in text that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    word = re.compile(r"\b(" + "|".join(registry.names("modalities")) + r")s?\b", re.IGNORECASE)
    found = []
    for node in ast.walk(tree):
        text = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            text = node.value
        if isinstance(text, str) and (hit := word.search(text)):
            found.append((hit[0], getattr(node, "lineno", 1)))
    return found


def test_imports_go_down() -> None:
    wrong = violations(SRC)
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("losses.py", "from tacit.encoder import Encoder", "higher floor"),
        ("losses.py", "def f():\n    import tacit.training.loop", "higher floor"),
        ("data/x.py", "from tacit import api", "higher floor"),
        ("methods/a.py", "from tacit.methods.b import B", "sibling"),
        ("methods/a.py", "from .b import B", "sibling"),
        ("evaluation/probes/a.py", "from tacit.evaluation.probes import b", "sibling"),
        ("evaluation/x.py", "from tacit.training import loop", "evaluation imports training"),
        ("methods/a.py", "from tacit.patches import patches", "methods see"),
        ("methods/a.py", "if info.kind == 'image': pass", "names the modality"),
        ("methods/a.py", "x = batch.series", "names the modality"),
        ("strange.py", "import os", "has no floor"),
    ],
)
def test_broken_rules_are_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    root = tmp_path / "tacit"
    names = "api encoder losses patches training/loop methods/a methods/b evaluation/probes/a evaluation/probes/b"
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).with_suffix(".py").write_text("")
    assert not violations(tmp_path)
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(line)
    (only,) = violations(tmp_path)[:1]
    assert complaint in only and f"{file}:" in only


def test_imports_for_types_only_are_free(tmp_path: Path) -> None:
    (tmp_path / "tacit").mkdir()
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tacit.encoder import Encoder\n"
    (tmp_path / "tacit" / "losses.py").write_text(guarded)
    (tmp_path / "tacit" / "encoder.py").write_text("")
    assert not violations(tmp_path)


def test_modules_stay_readable() -> None:
    long = [f"{p}: {n} lines" for _, p in modules(SRC) if (n := len(p.read_text(encoding="utf-8").splitlines())) > LONGEST]
    assert not long, "\n".join(long)


def test_nothing_is_unpickled() -> None:
    wrong = []
    for _, path in modules(SRC):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            at = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                if {n.split(".")[0] for n in names} & {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve"}:
                    wrong.append(f"{at}: {ast.unparse(node)}")
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("torch.load", "torch.save", "torch.jit.load", "eval", "exec"):
                    wrong.append(f"{at}: {called}")
                for keyword in node.keywords:
                    if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                        wrong.append(f"{at}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


LIGHT = """
import sys, io, contextlib
import tacit
assert dir(tacit)
from tacit import errors, registry
from tacit.cli import main
verbs = ["inspect", "pretrain", "embed", "evaluate", "report", "list", "doctor", "demo"]
for words in [["--help"], ["--version"], ["list"], ["list", "methods", "--json"], *([v, "--help"] for v in verbs)]:
    sys.argv = ["tacit", *words]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as stop:
        assert not stop.code, words
    heavy = {"torch", "sklearn", "scipy", "pandas", "pyarrow", "lightning_fabric", "PIL", "numpy"} & set(sys.modules)
    assert not heavy, f"tacit {words} imports {heavy}"
"""


def test_help_and_listing_need_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
