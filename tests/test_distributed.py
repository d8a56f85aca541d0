"""Two processes on one machine compute what a single one does with all their rows: values, gradients, queues."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from tacit.gather import everyone, mean_over_everyone, own_rows, world
from tacit.losses import contrast, covariance, cross_correlation, gaussianity, info_nce, paired, triplet, variance
from tacit.queue import Queue

WORLD, ROWS, WIDTH, OUT = 2, 6, 7, 4  # processes, rows of each, in, out


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, IDS = draw(WORLD * ROWS, 2, WIDTH), torch.tensor([0, 1, 2, 3, 0, 4, 5, 1, 6, 7, 8, 6])  # groups reach across processes
DIRECTIONS = F.normalize(draw(OUT, 5, seed=3), dim=0)


def decorrelate(a: Tensor, b: Tensor) -> Tensor:
    return (cross_correlation(a, b) - torch.eye(OUT)).square().sum()


# of two views' embeddings a, b [B, OUT] and ids [B]
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "info_nce": lambda a, b, ids: info_nce(torch.cat([a, b]), ids.repeat(2), 0.3),
    "info_nce across streams": lambda a, b, ids: info_nce(torch.cat([a, b]), ids.repeat(2), 0.3, torch.arange(2).repeat_interleave(len(a))),
    "keys of everyone": lambda a, b, ids: contrast(a, everyone(b), ids[:, None] == everyone(ids), 0.3),
    "paired": lambda a, b, ids: paired(a, b, ids > -1, 0.3),
    "variance": lambda a, b, ids: variance(a * 0.2) + variance(b * 0.2),
    "covariance": lambda a, b, ids: covariance(a) + covariance(b),
    "cross_correlation": lambda a, b, ids: decorrelate(a, b),
    "gaussianity": lambda a, b, ids: gaussianity(a, DIRECTIONS) + gaussianity(b, DIRECTIONS),
    "triplet": lambda a, b, ids: triplet(torch.cat([a, b]), ids.repeat(2), 0.5),
}


def encoder() -> nn.Linear:
    """Without batch norm, whose statistics stay those of a process."""
    layer = nn.Linear(WIDTH, OUT)
    with torch.no_grad():
        layer.weight.copy_(draw(OUT, WIDTH, seed=1))
        layer.bias.copy_(draw(OUT, seed=2))
    return layer


def learned(model: nn.Module, loss: Callable[[Tensor, Tensor, Tensor], Tensor], rows: slice) -> tuple[Tensor, Tensor]:
    """The loss of some rows, and its gradient with respect to all parameters as one vector."""
    model.zero_grad()
    x = X[rows]
    z = model(x.flatten(0, 1)).view(len(x), 2, OUT)
    value = loss(z[:, 0], z[:, 1], IDS[rows])
    value.backward()
    return value.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def work(rank: int) -> dict[str, Any]:
    """What one of the processes finds."""
    rows, out = slice(rank * ROWS, (rank + 1) * ROWS), {}
    out["world"] = world()
    x = (X[rows, 0] + 0).requires_grad_()
    seen = everyone(x)
    out["seen"], out["ids"], out["mask"] = seen.detach(), everyone(IDS[rows]), everyone(IDS[rows] > 3)
    out["own"] = own_rows(seen).detach()
    out["mean"] = mean_over_everyone(x)
    # processes that want different things of the same rows: the sum of what they want goes back to the row's owner
    (seen * draw(WORLD * ROWS, WIDTH, seed=10 + rank)).sum().backward()
    out["gradient"] = x.grad
    out["twice"] = _twice(rank)
    ddp = nn.parallel.DistributedDataParallel(encoder())
    out["losses"] = {name: learned(ddp, loss, rows) for name, loss in LOSSES.items()}
    queue = Queue(15, OUT)
    pushes = []
    for step in range(3):
        z = draw(ROWS, OUT, seed=100 + 10 * step + rank)
        queue.push(z, torch.arange(ROWS) + 1000 * step + 100 * rank)
        pushes.append(z)
    out["queue"], out["pushed"] = queue.state_dict(), pushes
    return out


def _twice(rank: int) -> Tensor:
    """The gradient of rows that are gathered, used, and gathered again."""
    x = (X[rank * ROWS : (rank + 1) * ROWS, 1] + 0).requires_grad_()
    y = x - everyone(x).mean(0)
    everyone(y.square()).mean().backward()
    assert x.grad is not None
    return x.grad


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    # only this machine is talked to
    os.environ["GLOO_SOCKET_IFNAME"] = {"darwin": "lo0"}.get(sys.platform, "lo")
    options: dict[str, Any] = {"timeout": timedelta(seconds=60)}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD, **options)
    try:
        torch.save(work(rank), f"{folder}/{rank}.pt")
        dist.barrier()  # one that leaves early can take the other's threads down with it
    except BaseException:
        Path(f"{folder}/error").write_text(traceback.format_exc())
        raise
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    spawn(process, (str(folder),), nprocs=WORLD, join=True)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def test_rows_arrive_in_the_order_of_the_ranks(both: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(both):
        assert found["world"] == WORLD
        assert torch.equal(found["seen"], X[:, 0]) and torch.equal(found["ids"], IDS) and torch.equal(found["mask"], IDS > 3)
        assert torch.equal(found["own"], X[rank * ROWS : (rank + 1) * ROWS, 0])
        assert torch.allclose(found["mean"], (X[:ROWS, 0] + X[ROWS:, 0]) / 2) and not found["mean"].requires_grad


def test_gradients_flow_back_to_the_owner_of_a_row(both: list[dict[str, Any]]) -> None:
    wanted = sum(draw(WORLD * ROWS, WIDTH, seed=10 + rank) for rank in range(WORLD))
    assert torch.allclose(torch.cat([found["gradient"] for found in both]), wanted, atol=1e-6)
    x = X[:, 1].clone().requires_grad_()
    (x - x.mean(0)).square().mean().backward()
    # every process adds up what all of them want; the mean over processes is then the gradient of one loss
    assert torch.allclose(torch.cat([found["twice"] for found in both]) / WORLD, x.grad, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_learn_what_one_learns_from_all_rows(name: str, both: list[dict[str, Any]]) -> None:
    """DDP's mean over processes of the gradients is the gradient of the loss over the whole batch."""
    value, gradient = learned(encoder(), LOSSES[name], slice(None))
    assert value > 0.01 and gradient.norm() > 0.01
    halves = [learned(encoder(), LOSSES[name], slice(r * ROWS, (r + 1) * ROWS))[1] for r in range(WORLD)]
    assert (sum(halves) / WORLD - gradient).norm() > 0.01 * gradient.norm(), "halves by themselves would learn something else"
    for found in both:
        assert torch.allclose(found["losses"][name][1], gradient, rtol=1e-4, atol=1e-5 * float(gradient.norm()))
    values = torch.stack([found["losses"][name][0] for found in both])
    assert torch.allclose(values.mean(), value, rtol=1e-5)
    if name not in ("keys of everyone", "paired"):  # there each process has questions of its own
        assert torch.allclose(values, value.expand(WORLD), rtol=1e-5)


def test_queues_are_the_same_everywhere(both: list[dict[str, Any]]) -> None:
    first, second = (found["queue"] for found in both)
    assert first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())
    rows = torch.cat([torch.cat([found["pushed"][step] for found in both]) for step in range(3)])
    ids = torch.cat([torch.arange(ROWS) + 1000 * step + 100 * rank for step in range(3) for rank in range(WORLD)])
    order = first["ids"].argsort()
    assert first["ids"][order].tolist() == ids[-15:].tolist() and torch.equal(first["rows"][order], rows[-15:])
    assert int(first["pushed"]) == 3 * WORLD * ROWS
