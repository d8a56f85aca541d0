"""Which method runs, learns and leads on which kind of data: built here, and measured by benchmarks/part2.py."""

from __future__ import annotations

import contextlib
from typing import Any

from tacit import registry
from tacit.assemble import info_of, make_method, make_modality
from tacit.errors import Asked, CannotPair
from tacit.measured import measured
from tacit.modality import Modality


def matrix() -> list[dict[str, Any]]:
    """One row a method: {"method", "family", modality: {"runs": backbone or None, "learns", "leads": bool or None (not measured)}}."""
    known, rows = measured(), []
    kinds: dict[str, Modality] = {}
    for name, cls in registry.every("modalities").items():
        with contextlib.suppress(NotImplementedError):  # a plug-in from elsewhere that shows no example of its data
            kinds[name] = make_modality(cls.example(), {})
    for name in registry.names("methods"):
        try:
            family, able = registry.find("methods", name).family, {kind: runs(name, modality) for kind, modality in kinds.items()}
        except Exception as error:  # a plug-in from elsewhere must not hide the others: its fault stands where its family would
            family, able = error.message if isinstance(error, Asked) else f"{type(error).__name__}: {error}", dict.fromkeys(kinds)
        row: dict[str, Any] = {"method": name, "family": family}
        for kind, backbone in able.items():
            found = known.get(name, {}).get(kind, {}) if backbone else {}
            row[kind] = {"runs": backbone, "learns": found.get("learns"), "leads": found.get("leads")}
        rows.append(row)
    return sorted(rows, key=lambda r: (r["family"], r["method"]))


def runs(method: str, modality: Modality) -> str | None:
    """A backbone with which a method runs on this data, the one it prefers if that can; None = no backbone can."""
    preferred = modality.prefer(modality.spec, "cpu")[0]
    for backbone in dict.fromkeys([preferred, "transformer", *registry.every("backbones")]):
        try:
            make_method(modality, {"name": method}, {"name": backbone, "size": "tiny"}, info_of(modality, 64, 2), 0)
        except CannotPair:
            continue
        return backbone
    return None


def mark(cell: dict[str, Any]) -> str:
    """runs, learns or leads, as one word; what was measured and failed is said so."""
    if cell["runs"] is None:
        return "-"
    if cell["leads"]:
        return "leads"
    return {True: "learns", False: "does not learn", None: "runs"}[cell["learns"]]
