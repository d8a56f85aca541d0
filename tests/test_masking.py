"""Masks hide the share that was asked for, never all and never none, and padding counts as nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tacit.masking import block_mask, random_mask
from tacit.types import Cells


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whole(rows: int, *grid: int) -> Cells:
    return Cells(grid, torch.ones(rows, math.prod(grid), dtype=torch.bool))


def ragged(counts: list[int], n: int) -> Cells:
    return Cells((n,), torch.arange(n) < torch.tensor(counts)[:, None])


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0])
def test_random_mask_hides_exactly_the_share(ratio: float) -> None:
    cells = whole(16, 5, 8)
    mask = random_mask(cells, ratio, gen())
    assert mask.dtype == torch.bool and mask.shape == (16, 40)
    assert mask.sum(1).tolist() == [min(39, max(1, round(40 * ratio)))] * 16


def test_random_mask_counts_valid_cells_only() -> None:
    counts = [20, 10, 3, 2, 1, 0]
    cells = ragged(counts, 20)
    mask = random_mask(cells, 0.5, gen())
    assert not (mask & ~cells.valid).any()
    assert mask.sum(1).tolist() == [10, 5, 2, 1, 0, 0]  # one cell alone stays seen


def test_random_mask_hides_every_cell_alike() -> None:
    mask = random_mask(whole(4000, 10), 0.3, gen()).float()
    assert torch.allclose(mask.mean(0), torch.full((10,), 0.3), atol=0.03)
    together = mask.T @ mask / 4000  # cells are hidden independently of their neighbours: 0.3 * 2/9 for every pair
    assert torch.allclose(together[~torch.eye(10, dtype=torch.bool)], torch.tensor(0.3 * 2 / 9), atol=0.03)


def boxes(mask: Tensor, grid: tuple[int, ...], block: int) -> Tensor:
    """The cells that lie in some box of side `block` which is hidden as a whole, by trying every box."""
    m = mask.view(-1, *grid)
    covered = torch.zeros_like(m)
    sides = [min(block, n) for n in grid]
    for corner in torch.cartesian_prod(*[torch.arange(n - s + 1) for n, s in zip(grid, sides, strict=True)]).view(-1, len(grid)).tolist():
        box = (slice(None), *(slice(c, c + s) for c, s in zip(corner, sides, strict=True)))
        whole_box = m[box].flatten(1).all(1)
        covered[box] |= whole_box.view(-1, *[1] * len(grid))
    return covered.flatten(1)


@pytest.mark.parametrize(("grid", "block"), [((40,), 5), ((12, 9), 3), ((6, 6, 5), 2), ((3, 20), 6)])
@pytest.mark.parametrize("ratio", [0.15, 0.5])
def test_block_mask_is_made_of_boxes(grid: tuple[int, ...], block: int, ratio: float) -> None:
    cells = whole(64, *grid)
    mask = block_mask(cells, ratio, block, gen())
    assert torch.equal(boxes(mask, grid, block), mask)
    share = mask.float().mean(1)
    one = block ** len(grid) / math.prod(grid)
    assert (share > 0).all() and (share < 1).all() and (share <= ratio + one).all()
    assert share.mean() > ratio / 3


def test_block_mask_never_hides_all_or_none() -> None:
    for block, ratio in ((20, 0.5), (3, 1.0), (1, 0.0), (100, 0.9)):
        mask = block_mask(whole(50, 8), ratio, block, gen())
        assert mask.any(1).all() and not mask.all(1).any()
    counts = [20, 10, 2, 1, 0]
    cells = ragged(counts, 20)
    for seed in range(20):
        mask = block_mask(cells, 0.5, 4, gen(seed))
        assert not (mask & ~cells.valid).any()
        hidden, seen = mask.sum(1), (cells.valid & ~mask).sum(1)
        assert (hidden[:3] > 0).all() and (seen[:4] > 0).all() and hidden[3:].sum() == 0


@pytest.mark.parametrize("name", ["random", "block"])
def test_masks_come_from_the_generator_alone(name: str) -> None:
    cells = whole(8, 30)

    def draw(seed: int) -> Tensor:
        return random_mask(cells, 0.4, gen(seed)) if name == "random" else block_mask(cells, 0.4, 4, gen(seed))

    before = torch.get_rng_state()
    first = draw(1)
    torch.manual_seed(3)
    torch.rand(5)
    assert torch.equal(first, draw(1)) and not torch.equal(first, draw(2))
    torch.set_rng_state(before)
    draw(1)
    assert torch.equal(torch.get_rng_state(), before)
