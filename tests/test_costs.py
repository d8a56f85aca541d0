"""What a model costs: operations by hand, latency, memory, and energy with its method in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tacit import costs


class Net(nn.Module):
    """A convolution of one channel to four, kernel 3, and a linear layer; what it saw is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv1d(1, 4, 3), nn.Linear(4, 5)
        self.seen: list[tuple[int, int | None]] = []

    def run(self, x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        self.seen.append((len(x), None if lengths is None else len(lengths)))
        with torch.no_grad():
            return self.linear(self.conv(torch.from_numpy(x)).mean(2)).numpy()


def test_operations_and_parameters_by_hand() -> None:
    net, x = Net(), np.zeros((3, 1, 10), np.float32)
    found = costs.measure(net, net.run, x, np.array([10, 9, 8]), seconds=0.01)
    assert found["parameters"] == (4 * 3 + 4) + (4 * 5 + 5)
    assert found["flops"] == 2 * (8 * 4 * 3) + 2 * (4 * 5), "a multiply-add is two"
    assert {n for n, _ in net.seen} == {1, 64} and all(n == lengths for n, lengths in net.seen)
    assert [row["batch"] for row in found["latency"]] == [1, 64]
    for row in found["latency"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"] and 1 <= row["n"] <= costs.REPEATS
    assert found["peak_memory_mb"] > 50 and "whole process" in found["peak_memory_of"] and "cpu" in found["latency_of"]
    json.dumps(found, allow_nan=False)


def test_a_batch_that_takes_too_long_is_run_once_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = Net(), np.zeros((3, 1, 10), np.float32)
    assert [row["n"] for row in costs.measure(net, net.run, x, seconds=0.0)["latency"]] == [1, 1]
    monkeypatch.setattr(costs, "SLOW", 0.0)
    one, many = costs.measure(net, net.run, x, seconds=0.01)["latency"]
    assert one["n"] and many["p50_ms"] is None and many["n"] == 0 and "would take about" in many["reason"]


def test_nothing_that_can_be_counted_is_unknown_and_not_zero() -> None:
    net = nn.PReLU()
    assert costs.measure(net, lambda x, lengths: x + 1, np.zeros((1, 1, 4), np.float32), seconds=0.0)["flops"] is None


def test_energy_without_a_meter_is_assumed_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(costs, "METERS", tmp_path)
    threads = torch.get_num_threads()
    found = costs.energy(3600, "cpu", costs.meters(), processes=2)
    assert found["watts"] == pytest.approx(20 * threads) and found["kwh"] == pytest.approx(0.02 * threads)
    assert "assumed 10 W" in found["method"] and "estimate" in found["method"]


def test_energy_by_the_processors_own_meters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(costs, "METERS", tmp_path)

    def read(first: float, second: float, at: float) -> dict[str, float]:
        for name, joules in (("intel-rapl:0", first), ("intel-rapl:1", second), ("intel-rapl:0:0", 1e9)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")
            (tmp_path / name / "max_energy_range_uj").write_text("1000000000\n")
        monkeypatch.setattr(costs.time, "monotonic", lambda: at)
        return costs.meters()

    begin = read(100, 990, 0.0)
    read(400, 90, 10.0)  # the second one began anew at 1000 J
    found = costs.energy(100, "cpu", begin)
    assert found["watts"] == pytest.approx((300 + 100) / 10) and found["kwh"] == pytest.approx(40 * 100 / 3.6e6)
    assert "RAPL" in found["method"] and "assumed" not in found["method"]
    assert "assumed" in costs.energy(100, "cpu", {})["method"], "nothing was read at the beginning"


def test_the_gpu_is_added_or_said_to_be_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(costs, "METERS", tmp_path)
    base = costs.energy(1, "cpu")["watts"]
    monkeypatch.setattr(costs, "_gpu", lambda device: 250.0)
    found = costs.energy(3600, "cuda:0", processes=1)
    assert found["watts"] == pytest.approx(base + 250) and "250 W reported by nvidia-smi" in found["method"]
    monkeypatch.setattr(costs, "_gpu", lambda device: None)
    assert "not known and not counted" in costs.energy(1, "cuda")["method"] and "mps" in costs.energy(1, "mps")["method"]


def test_a_run_knows_what_it_cost(trained: Path) -> None:
    cost = json.loads((trained / "run.json").read_text())["cost"]
    assert cost["parameters"] > 1000 and cost["flops"] > 1000 and len(cost["latency"]) == 2
    assert cost["energy"]["kwh"] > 0 and cost["energy"]["method"] and cost["seconds"] > 0
