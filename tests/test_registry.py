"""The file is the registration and the signature is the schema."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import typing
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from conftest import small
from tacit import registry
from tacit.errors import Asked
from tacit.training.plan import make_plan

PACKAGE = Path(registry.__file__).parent
ALL = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]


def test_every_file_is_listed() -> None:
    for kind in registry.KINDS:
        folder = PACKAGE / registry.FOLDERS.get(kind, kind)
        assert registry.names(kind) == sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))
    assert {"simclr", "mae", "byol", "vicreg", "ts2vec", "rotation", "supervised"} <= set(registry.names("methods"))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_listing_agrees_with_the_class(kind: str, name: str) -> None:
    entry = next(e for e in registry.entries(kind) if e.name == name)
    found = registry.find(kind, name)
    assert found.__module__.endswith(f".{name}")
    assert len(entry.summary) > 10, f"{entry.path} has no docstring"
    said = found.__doc__ or inspect.getmodule(found).__doc__
    assert entry.summary == inspect.cleandoc(said).split("\n")[0]
    if kind == "methods":
        assert entry.source == found.source and re.search(r"\d{4}|baseline", entry.source), f"{entry.path} names no paper"
        assert entry.experimental == found.experimental


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_hyperparameter_is_typed_documented_and_has_a_valid_default(kind: str, name: str) -> None:
    found = registry.find(kind, name)
    hints = typing.get_type_hints(found.__init__ if inspect.isclass(found) else found, include_extras=True)
    for knob, parameter in registry.knobs(found).items():
        assert knob in hints, f"{kind}/{name}: {knob} has no type"
        assert parameter.default is not inspect.Parameter.empty, f"{kind}/{name}: {knob} has no default"
        TypeAdapter(hints[knob]).validate_python(parameter.default)
        if kind in ("methods", "backbones", "modalities"):
            assert re.search(rf"\b{knob}\b", found.__doc__), f"{kind}/{name}: {knob} is not explained"


def test_unknown_names_are_met_with_the_nearest() -> None:
    with pytest.raises(Asked, match="there is no method 'simcrl'") as error:
        registry.find("methods", "simcrl")
    assert "did you mean 'simclr'?" in error.value.hint
    with pytest.raises(Asked, match="modality 'imagge'") as error:
        registry.find("modalities", "imagge")
    assert "'image'" in error.value.hint
    with pytest.raises(Asked) as error:
        registry.find("methods", "zzzzzz")
    assert "known: arrow" in error.value.hint
    with pytest.raises(Asked, match="kind of plug-in"):
        registry.names("method")


def test_hyperparameters_are_converted_and_checked() -> None:
    simclr = registry.find("methods", "simclr")
    assert registry.check_knobs(simclr, {"temperature": "0.5", "hidden": 64}, "method") == {"temperature": 0.5, "hidden": 64}
    with pytest.raises(Asked, match="no hyperparameter 'temprature'") as error:
        registry.check_knobs(simclr, {"temprature": 0.5}, "method")
    assert "temperature" in error.value.hint
    for bad in (-1, 0, "warm", None):
        with pytest.raises(Asked, match=r"method\.temperature=") as error:
            registry.check_knobs(simclr, {"temperature": bad}, "method")
        assert "default is 0.2" in error.value.hint
    with pytest.raises(Asked, match="no hyperparameter 'encoder'"):
        registry.check_knobs(simclr, {"encoder": 1}, "method")


PLUGIN = '''
from tacit.method import Method
from tacit.methods.simclr import SimCLR


class Mine(Method):
    """First."""


class Other(Method):
    """Second."""

    def __init__(self, encoder, info, *, power: int = 2):
        super().__init__(encoder, info)
'''


def test_a_file_is_a_plugin(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    assert registry.find("methods", f"{file}:Mine").__name__ == "Mine"
    assert registry.find("methods", str(file)).__name__ == "Other", "without a name: the last class that the file defines itself"
    assert list(registry.knobs(registry.find("methods", f"{file}:Other"))) == ["power"]
    with pytest.raises(Asked, match="Absent"):
        registry.find("methods", f"{file}:Absent")
    with pytest.raises(Asked, match="there is no file"):
        registry.find("methods", str(tmp_path / "absent.py") + ":Mine")
    file.write_text("import a_package_that_is_absent")
    with pytest.raises(Asked, match=r"does not load: ModuleNotFoundError"):
        registry.find("methods", str(file))
    file.write_text("x = 1")
    with pytest.raises(Asked, match="no public class"):
        registry.find("methods", str(file))


def test_a_plugin_that_does_not_load_disturbs_only_those_who_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("broken", "a_package_that_is_absent:Net", "tacit.backbones")
    real = registry.entry_points
    monkeypatch.setattr(registry, "entry_points", lambda group: [*real(group=group), *([point] if group == point.group else [])])
    assert "broken" in registry.names("backbones") and "broken" not in registry.every("backbones")
    absent = {n for n in ("hf", "timm") if importlib.util.find_spec(registry.find("backbones", n).package) is None}
    assert set(registry.every("backbones")) == set(registry.names("backbones")) - {"broken"} - absent
    data = small("image")
    assert make_plan(data, len(data.train), method="mae", steps=1)[0].backbone["name"] == "transformer"
    with pytest.raises(Asked, match=r"broken .* does not load: ModuleNotFoundError"):
        registry.find("backbones", "broken")


def test_listing_imports_nothing() -> None:
    tree = ast.parse((PACKAGE / "registry.py").read_text())
    top = {a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names}
    top |= {n.module for n in tree.body if isinstance(n, ast.ImportFrom)}
    assert not top & {"torch", "numpy", "pydantic"}


def test_pages_of_methods_are_those_that_the_generator_writes() -> None:
    """docs/methods.md and docs/methods/ come from docstrings and the learning table: `python benchmarks/pages.py` renews them."""
    import sys

    place = Path(__file__).parent.parent / "benchmarks"
    sys.path.insert(0, str(place))
    try:
        import pages
    finally:
        sys.path.remove(str(place))
    for path, text in pages.contents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is out of date: python benchmarks/pages.py"
    assert {p.stem for p in (place.parent / "docs" / "methods").glob("*.md")} == set(registry.names("methods"))
    for name in registry.names("methods"):
        assert registry.find("methods", name).when and registry.find("methods", name).family in pages.FAMILIES
