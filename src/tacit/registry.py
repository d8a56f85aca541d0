"""The file is the registration and the signature is the schema.

A plug-in is one file in the folder of its kind, an entry point in the group `tacit.<kind>`, or `path/to/file.py:Class`.
Listing parses the files without importing them, so that it needs no torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from tacit.errors import Asked, nearest

KINDS = {
    "methods": "pretext tasks: what the encoder is trained to do",
    "backbones": "networks that turn tokens into features",
    "modalities": "kinds of data",
    "probes": "readers of a frozen embedding",
    "heads": "what decides on top of an encoder: fine-tuning, calibration, prediction",
    "classics": "representations without self-supervision, the bar to beat",
    "sources": "layouts of data on disk",
    "attributions": "ways of finding out which parts of an item matter",
    "checks": "what an audit looks for in data, shortcuts, fairness and privacy",
    "mitigations": "what makes a model treat groups alike, and what that costs",
}
FOLDERS = {
    "probes": "evaluation/probes",
    "classics": "evaluation/classics",
    "sources": "data/sources",
    "attributions": "explainers/attributions",
    "checks": "auditors/checks",
    "mitigations": "auditors/mitigations",
}


@dataclass(frozen=True)
class Entry:
    """One plug-in as a listing shows it."""

    kind: str
    name: str
    summary: str
    source: str
    path: str
    experimental: str = ""
    family: str = ""


def names(kind: str) -> list[str]:
    """Names of the plug-ins of a kind, built in and from entry points."""
    return sorted([*_files(kind), *(e.name for e in entry_points(group=f"tacit.{kind}"))])


def entries(kind: str) -> list[Entry]:
    """What a listing shows, read from the files without importing them."""
    found = [_parse(kind, name, path) for name, path in sorted(_files(kind).items())]
    for point in entry_points(group=f"tacit.{kind}"):
        found.append(Entry(kind, point.name, f"from {point.value}", "", point.value))
    return found


def find(kind: str, name: str) -> Any:
    """The class (or function) of that name.

    Raises Asked for an unknown name (with the nearest known one), a file that does not load, or an ambiguous file.
    """
    if ":" in name or name.endswith(".py"):
        return _from_path(name)
    if name in _files(kind):
        package = FOLDERS.get(kind, kind).replace("/", ".")
        return _public(importlib.import_module(f"tacit.{package}.{name}"))
    for point in entry_points(group=f"tacit.{kind}"):
        if point.name == name:
            try:
                return point.load()
            except Exception as error:
                raise Asked(f"the plug-in {name} ({point.value}) does not load: {type(error).__name__}: {error}") from error
    raise Asked(f"there is no {kind[:-1] if kind != 'modalities' else 'modality'} {name!r}", nearest(name, names(kind)))


def every(kind: str) -> dict[str, Any]:
    """name -> class of all plug-ins of a kind that can be used here; one that does not load is no reason to fail.

    A class that names a `package` which is not installed is left out.
    """
    out = {}
    for name in names(kind):
        try:
            found = find(kind, name)
        except Asked:
            continue
        package = getattr(found, "package", "")
        if not package or importlib.util.find_spec(package) is not None:
            out[name] = found
    return out


def check_stored(kind: str, name: Any, where: Path, named: Collection[str | None] = ()) -> None:
    """Refuse to run code that a file names: what is read from a run or a model may name installed plug-ins only.

    where: the file that names it. named: what the user named himself in this call. TACIT_TRUST=1 switches the check off.
    Raises Asked.
    """
    if not isinstance(name, str):
        raise Asked(f"{where} names no plug-in of the kind {kind}", "is it a file of ours?")
    if name in named or name in names(kind) or os.environ.get("TACIT_TRUST") == "1":
        return
    what = kind[:-1] if kind != "modalities" else "modality"
    if ":" in name or name.endswith(".py"):
        raise Asked(
            f"{where} names the {what} {name!r}: code from outside of what is installed, which is not run",
            f"read that code; to run it, name it yourself with --{what}, or set TACIT_TRUST=1 (in Python: tacit.load(path, trust=True))",
        )
    raise Asked(f"{where} names the {what} {name!r}, which is not installed here", nearest(name, names(kind)))


def knobs(cls: Any) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a plug-in: its hyperparameters, with defaults."""
    target = cls.__init__ if inspect.isclass(cls) else cls
    return {k: p for k, p in inspect.signature(target).parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def check_knobs(cls: Any, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The given hyperparameters, converted to the types that the signature declares.

    where: how the user addresses this part, for example 'method' in `method.temperature=0.2`.
    Raises Asked for an unknown name (with the nearest one) and for a value of the wrong type or out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    known = knobs(cls)
    hints = typing.get_type_hints(cls.__init__ if inspect.isclass(cls) else cls, include_extras=True)
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise Asked(f"{where} {getattr(cls, '__name__', cls)} has no hyperparameter {key!r}", nearest(key, known))
        try:
            checked[key] = TypeAdapter(hints.get(key, Any)).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise Asked(f"{where}.{key}={value}: {reason}", f"the default is {known[key].default!r}") from None
    return checked


def _files(kind: str) -> dict[str, Path]:
    if kind not in KINDS:
        raise Asked(f"there is no kind of plug-in {kind!r}", nearest(kind, KINDS))
    folder = Path(__file__).parent / FOLDERS.get(kind, kind)
    return {p.stem: p for p in folder.glob("*.py") if not p.stem.startswith("_")}


def _parse(kind: str, name: str, path: Path) -> Entry:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = [n for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and not n.name.startswith("_")]
    public = [n for n in own if isinstance(n, ast.ClassDef)] or own  # as `_public` finds it
    said = (ast.get_docstring(public[-1]) if public else None) or ast.get_docstring(tree) or ""
    strings = {"source": "", "experimental": "", "family": ""}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id in strings and isinstance(node.value, ast.Constant):
                strings[target.id] = str(node.value.value)
    return Entry(kind, name, said.split("\n")[0], strings["source"], str(path), strings["experimental"], strings["family"])


def _public(module: ModuleType) -> Any:
    """The plug-in of a module: the last public class (or function) that is defined in it, not imported into it."""
    own = [v for k, v in vars(module).items() if not k.startswith("_") and getattr(v, "__module__", None) == module.__name__]
    classes: list[Any] = [v for v in own if inspect.isclass(v)] or [v for v in own if inspect.isfunction(v)]
    if not classes:
        raise Asked(f"{module.__name__} defines no public class")
    return classes[-1]


def _from_path(name: str) -> Any:
    path, _, wanted = name.rpartition(":") if ":" in name else (name, "", "")
    file = Path(path)
    if not file.is_file():
        raise Asked(f"there is no file {path!r}", "write path/to/file.py:Class")
    spec = importlib.util.spec_from_file_location(f"tacit_plugin_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Asked(f"{path} does not load: {type(error).__name__}: {error}", f"`python {path}` shows where") from error
    if not wanted:
        return _public(module)
    if not hasattr(module, wanted):
        raise Asked(f"{path} has no class {wanted!r}", nearest(wanted, [k for k in vars(module) if k[:1].isupper()]))
    return getattr(module, wanted)
