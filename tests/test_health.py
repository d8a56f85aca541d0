"""Every sentence of the health line, on embeddings that were made for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tacit.errors import Collapsed
from tacit.training.health import Health, Watch

WIDTH = 32


def judged(
    z: torch.Tensor, progress: float = 0.5, loss: float = 1.0, chance: float | None = None, moves: bool | None = None, first: float = 1.0
) -> Health:
    watch = Watch(z.shape[1])
    watch.first_loss = first
    watch.see(z)
    return watch.judge(progress, loss, chance, moves)


def draw(n: int = 256, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_healthy() -> None:
    h = judged(draw())
    assert h.state == "healthy" and h.cause == h.cure == ""
    assert h.spread > 0.9 and 28 < h.rank <= 32
    assert h.words == f"spread {h.spread:.2f}, effective rank {h.rank:.0f} of 32"
    assert judged(draw(), loss=1.0, chance=2.0, moves=True).state == "healthy"


def test_complete_collapse_stops_after_three_looks() -> None:
    watch, point = Watch(WIDTH), draw(1).expand(64, WIDTH)
    watch.see(point)
    for progress in (0.0, 0.05, 0.09):  # at the start embeddings may lie close together
        assert watch.judge(progress, 1.0, None, None).state == "collapsed"
    for _ in range(2):
        h = watch.judge(0.2, 1.0, None, None)
        assert h.state == "collapsed" and "nearly one point" in h.words and "indistinguishable" in h.cause and "vicreg" in h.cure
    with pytest.raises(Collapsed, match="every item has the same vector") as error:
        watch.judge(0.3, 1.0, None, None)
    assert "vicreg" in error.value.hint and "batch" in error.value.hint


def test_a_recovery_starts_the_count_anew() -> None:
    watch, point = Watch(WIDTH, keep=64), draw(1).expand(64, WIDTH)
    for z, state in [(point, "collapsed"), (point, "collapsed"), (draw(64), "healthy"), (point, "collapsed"), (point, "collapsed")]:
        watch.see(z)
        assert watch.judge(0.5, 1.0, None, None).state == state
    watch.see(point)
    with pytest.raises(Collapsed):
        watch.judge(0.5, 1.0, None, None)


def test_nearly_one_point_warns_and_goes_on() -> None:
    z = draw(1) * 10 + draw() * 0.1
    watch = Watch(WIDTH)
    for _ in range(6):
        watch.see(z)
        h = watch.judge(0.5, 1.0, None, None)
        assert h.state == "warning" and "nearly one point" in h.words and 1e-3 < h.spread < 0.02


def test_dimensional_collapse() -> None:
    z = draw(256, 2) @ draw(2, WIDTH, seed=1)
    h = judged(z)
    assert h.state == "warning" and h.cause == "dimensional collapse" and "effective rank 2.0 of 32" in h.words and "vicreg" in h.cure
    assert judged(z, progress=0.1).state == "healthy", "early in training few dimensions are no alarm"
    assert judged(draw(3, WIDTH)).state == "healthy", "three items cannot span more than two dimensions"
    shifted = draw(256, 2) @ draw(2, WIDTH, seed=1) + 3 * draw(1, WIDTH, seed=2)
    assert judged(shifted).cause == "dimensional collapse", "a common direction hides nothing"


def test_loss_of_guessing() -> None:
    chance = math.log(511)
    h = judged(draw(), loss=chance * 0.995, chance=chance, first=chance)
    assert h.state == "warning" and "that of guessing" in h.words and "learning rate" in h.cause and h.cure
    assert judged(draw(), loss=chance, chance=chance, progress=0.1, first=chance).state == "healthy"
    assert judged(draw(), loss=chance * 0.9, chance=chance, first=chance).state == "healthy"
    assert judged(draw(), loss=chance, chance=None, first=chance).state == "healthy"


def test_divergence() -> None:
    h = judged(draw(), loss=9.0, first=2.0)
    assert h.state == "warning" and h.cause == "divergence" and "from 2.000 to 9.000" in h.words and "optim.lr" in h.cure
    assert judged(draw(), loss=6.0, first=2.0).state == "healthy"
    assert judged(draw(), loss=-5.0, first=-20.0).state == "healthy", "a loss may be negative"


def test_frozen_teacher() -> None:
    h = judged(draw(), moves=False)
    assert h.state == "warning" and h.words == "the teacher does not move" and "momentum" in h.cure


def test_first_loss_is_remembered() -> None:
    watch = Watch(WIDTH)
    watch.see(draw())
    watch.judge(0.0, 1.5, None, None)
    watch.judge(0.1, 0.5, None, None)
    assert watch.first_loss == 1.5


def test_last_rows_are_kept_so_that_small_batches_have_a_rank() -> None:
    watch = Watch(WIDTH, keep=100)
    for i in range(50):
        watch.see(draw(8, seed=i).bfloat16())
    kept = np.concatenate(watch.rows)
    assert 92 < len(kept) <= 100 and kept.dtype == np.float32
    assert np.array_equal(kept[-8:], draw(8, seed=49).bfloat16().float().numpy())
    h = watch.judge(0.5, 1.0, None, None)
    assert h.state == "healthy" and h.rank > 20, "eight rows alone have a rank of 7 at most"
    watch.see(draw(500))
    assert len(watch.rows) == 1, "one batch larger than that is kept whole"
