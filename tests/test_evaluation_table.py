"""The results on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from tacit.terminal import Teller, scores


def row(metric: str, value: float | None) -> dict[str, Any]:
    out = {"representation": "ssl", "probe": "linear", "labels_per_class": 10, "metric": metric, "n_test": 77, "value": value}
    return out | ({"low": None, "high": None} if value is None else {"low": value - 0.0314, "high": value + 0.0314})


def shown(capsys: pytest.CaptureFixture[str], *rows: dict[str, Any]) -> str:
    scores({"results": list(rows), "verdict": {"sentence": "So it is."}, "notes": ["dtw: not measured"]}, Teller(False))
    said = capsys.readouterr()
    assert said.err == "note: dtw: not measured\n"
    return " ".join(said.out.split())


def test_every_number_has_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, row("r2", 0.5), row("rmse", 12.25))
    assert all(number in said for number in ("0.500", "0.469 to 0.531", "12.250", "12.219 to 12.281"))
    assert "r2 on 77 test items, by labels [95 % interval]" in said and "labels a class" not in said
    said = shown(capsys, row("accuracy", 0.5), row("accuracy", None) | {"probe": "knn"})
    assert "50.0" in said and "46.9-53.1" in said and "n/a" in said and "by labels a class" in said and "So it is." in said
