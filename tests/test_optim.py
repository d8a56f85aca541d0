"""Muon: orthogonal steps on matrices, AdamW on the rest, and a state that survives a checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tacit.optim import Muon, muon, orthogonal, parameter_groups


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5), (1, 7)])
def test_a_step_has_the_directions_of_the_matrix_and_equal_lengths(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    got = orthogonal(matrix[None])[0]
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    along = u.T @ got @ vh.T  # diagonal in the matrix's own directions
    assert torch.allclose(along, torch.diag(along.diagonal()), atol=1e-4)
    assert (along.diagonal()[s > 0.05 * s.max()] > 0.6).all() and (along.diagonal() < 1.3).all()


def test_matrices_of_one_shape_are_treated_alone() -> None:
    stack = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1))
    together = orthogonal(stack)
    for one, got in zip(stack, together, strict=True):
        assert torch.allclose(orthogonal(one[None])[0], got, atol=1e-6)
    assert torch.allclose(orthogonal(stack * 50), together, atol=1e-4), "the size of a gradient does not matter"
    assert orthogonal(torch.zeros(1, 3, 3)).abs().sum() == 0
    assert (orthogonal(stack, torch.bfloat16) - together).abs().max() < 0.1


def test_a_step_of_the_optimizer_is_that_of_its_parts() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 3, 5), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(12, 4))
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimizer = muon(net, 0.01, 0.1)
    net(torch.randn(6, 2, 8)).square().mean().backward()
    optimizer.step()
    kernel = net[0].weight
    assert kernel.grad is not None
    want = orthogonal((kernel.grad * (1 + Muon.MOMENTUM)).flatten(1)[None])[0].view_as(kernel)
    assert torch.allclose(kernel, before["0.weight"] * (1 - 0.01 * 0.1) - 10 * 0.01 * want, atol=1e-6)
    bias = net[3].bias  # AdamW's first step has the length of the rate
    assert torch.allclose((bias - before["3.bias"]).abs(), torch.full((4,), 0.01), atol=1e-4)
    assert [g["matrix"] for g in parameter_groups(net, 0.1)] == [True, False, False]


def test_wide_matrices_of_a_projector_get_adamw() -> None:
    net = nn.ModuleDict({"encoder": nn.Linear(600, 600), "projector": nn.Linear(600, 600), "narrow": nn.Linear(600, 512)})
    inner, wide, stays = parameter_groups(net, 0.1)
    assert [len(g["params"]) for g in (inner, wide, stays)] == [2, 1, 3] and wide["params"][0] is net["projector"].weight
    assert wide["weight_decay"] == 0.1 and stays["weight_decay"] == 0.0


def test_it_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 6)

    def some(net: nn.Module, optimizer: Muon, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (net(x) - x[:, :4]).square().mean().backward()
            optimizer.step()

    first = nn.Linear(6, 4)
    one = muon(first, 0.01, 0.0)
    some(first, one, 3)
    second = nn.Linear(6, 4)
    second.load_state_dict(first.state_dict())
    two = muon(second, 0.01, 0.0)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    some(first, one, 3)
    some(second, two, 3)
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
    some(first, one, 100)
    assert (first(x) - x[:, :4]).square().mean() < 0.05
