"""Every loss against the slowest clear version of itself in float64, and against closed forms."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tacit import losses
from tacit.losses import (
    cosine_distance,
    covariance,
    cross_entropy,
    full_precision,
    info_nce,
    instance_contrast,
    masked_mse,
    mse,
    time_contrast,
    variance,
)
from tacit.methods import ts2vec


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def close(a: Tensor, b: float, tolerance: float = 1e-5) -> None:
    assert a.dtype == torch.float32 and a.ndim == 0
    assert float(a) == pytest.approx(b, rel=tolerance, abs=tolerance)


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def log_softmax_at(scores: dict[int, float], chosen: int) -> float:
    top = max(scores.values())
    return scores[chosen] - top - math.log(sum(math.exp(s - top) for s in scores.values()))


# ---- contrast within a batch ----


def slow_info_nce(z: Tensor, ids: list[int], temperature: float, stream: list[int] | None = None) -> float:
    rows = [[v / math.sqrt(dot(r, r)) for v in r] for r in z.double().tolist()]
    n, terms = len(rows), []
    for i in range(n):
        others = [j for j in range(n) if (j != i if stream is None else stream[j] != stream[i])]
        scores = {j: dot(rows[i], rows[j]) / temperature for j in others}
        positives = [j for j in others if ids[j] == ids[i]]
        if positives:
            terms.append(-sum(log_softmax_at(scores, j) for j in positives) / len(positives))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("ids", [[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 2], [0, 0, 1, 2, 3, 4]])
@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_info_nce_is_the_loop(ids: list[int], temperature: float) -> None:
    z = draw(6, 5)
    close(info_nce(z, torch.tensor(ids), temperature), slow_info_nce(z, ids, temperature))


def test_info_nce_across_streams_is_the_loop() -> None:
    z, ids, stream = draw(8, 5), [0, 1, 2, 3, 0, 1, 2, 3], [0] * 4 + [1] * 4
    close(info_nce(z, torch.tensor(ids), 0.1, torch.tensor(stream)), slow_info_nce(z, ids, 0.1, stream))


def test_info_nce_closed_forms() -> None:
    ids = torch.arange(4).repeat(2)
    same = torch.ones(8, 6)
    close(info_nce(same, ids, 0.2), math.log(7))  # guessing among the 2B - 1 candidates
    orthogonal = torch.eye(4, 6).repeat(2, 1) * 5  # the length of a vector does not matter
    t = 0.5
    close(info_nce(orthogonal, ids, t), -math.log(math.exp(1 / t) / (math.exp(1 / t) + 6)))
    close(info_nce(orthogonal, ids, t, torch.tensor([0] * 4 + [1] * 4)), -math.log(math.exp(1 / t) / (math.exp(1 / t) + 3)))
    close(info_nce(draw(8, 6), ids, 1e6), math.log(7), 1e-4)  # infinite temperature: guessing again


# ---- agreement, variance, covariance ----


def test_variance_is_the_loop() -> None:
    z = draw(7, 4, scale=0.8)
    columns = list(zip(*z.double().tolist(), strict=True))
    want = 0.0
    for c in columns:
        m = sum(c) / len(c)
        want += max(0.0, 1 - math.sqrt(sum((v - m) ** 2 for v in c) / (len(c) - 1) + 1e-4)) / len(columns)
    close(variance(z), want)
    close(variance(torch.ones(5, 3)), 1 - math.sqrt(1e-4))
    close(variance(torch.tensor([[10.0], [-10.0]])), 0.0)
    two = torch.tensor([[0.3], [-0.3]])  # variance 0.18 of two points with Bessel's correction
    close(variance(two), 1 - math.sqrt(0.18 + 1e-4))


def test_covariance_is_the_loop() -> None:
    z = draw(9, 4)
    rows = z.double().tolist()
    n, d = len(rows), len(rows[0])
    mean = [sum(r[k] for r in rows) / n for k in range(d)]
    want = 0.0
    for i in range(d):
        for j in range(d):
            if i != j:
                want += (sum((r[i] - mean[i]) * (r[j] - mean[j]) for r in rows) / (n - 1)) ** 2 / d
    close(covariance(z), want)
    x = draw(50, 1)
    var = float(x.double().var())
    close(covariance(torch.cat([x, x], 1)), 2 * var**2 / 2)  # two copies: both off-diagonal entries are the variance
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    close(covariance(corners), 0.0)


def test_distances() -> None:
    a, b = draw(6, 5), draw(6, 5, seed=1)
    rows = list(zip(a.double().tolist(), b.double().tolist(), strict=True))
    close(cosine_distance(a, b), sum(2 - 2 * dot(x, y) / math.sqrt(dot(x, x) * dot(y, y)) for x, y in rows) / 6)
    close(cosine_distance(a, a * 3), 0.0)
    close(cosine_distance(a, -a), 4.0)
    close(cosine_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])), 2.0)
    close(mse(a, b), sum((u - v) ** 2 for x, y in rows for u, v in zip(x, y, strict=True)) / 30)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_the_loop(smoothing: float) -> None:
    logits, answer = draw(6, 4), [0, 1, 2, 3, 0, 1]
    want = 0.0
    for row, k in zip(logits.double().tolist(), answer, strict=True):
        scores = dict(enumerate(row))
        for j in scores:
            want -= ((1 - smoothing) * (j == k) + smoothing / 4) * log_softmax_at(scores, j) / 6
    close(cross_entropy(logits, torch.tensor(answer), smoothing), want)
    close(cross_entropy(torch.zeros(5, 8), torch.arange(5)), math.log(8))


def test_masked_mse_counts_only_what_exists() -> None:
    a, b, seen = draw(3, 4), draw(3, 4, seed=1), torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    terms = [float(a[i, j] - b[i, j]) ** 2 for i in range(3) for j in range(4) if seen[i, j]]
    close(masked_mse(a, b, seen), sum(terms) / 6)
    close(masked_mse(a, b, torch.zeros_like(seen)), 0.0)
    close(masked_mse(a[:0], b[:0], seen[:0]), 0.0)


# ---- contrast at cells ----


def slow_contrast(a: Tensor, b: Tensor, ok: Tensor, across: str) -> float:
    """TS2Vec's two losses: every cell of a view, its twin in the other view against all cells that compete with it."""
    z = [a.double().tolist(), b.double().tolist()]
    size, n = len(z[0]), len(z[0][0])
    total, count = 0.0, 0
    for i in range(size):
        for t in range(n):
            if not ok[i, t]:
                continue
            count += 1
            for view in (0, 1):
                if across == "items":
                    rivals = [(v, j, t) for v in (0, 1) for j in range(size) if ok[j, t] and (v, j) != (view, i)]
                else:
                    rivals = [(v, i, s) for v in (0, 1) for s in range(n) if ok[i, s] and (v, s) != (view, t)]
                scores = {k: dot(z[view][i][t], z[v][j][s]) for k, (v, j, s) in enumerate(rivals)}
                total -= log_softmax_at(scores, rivals.index((1 - view, i, t))) / 2
    return total / max(1, count)


OK = torch.tensor([[1, 1, 1, 0, 1], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)


@pytest.mark.parametrize("ok", [torch.ones(4, 5, dtype=torch.bool), OK])
def test_cell_contrasts_are_the_loop(ok: Tensor) -> None:
    a, b = draw(4, 5, 3), draw(4, 5, 3, seed=1)
    close(instance_contrast(a, b, ok), slow_contrast(a, b, ok, "items"))
    close(time_contrast(a, b, ok), slow_contrast(a, b, ok, "times"))


def test_cell_contrasts_ignore_what_is_not_there() -> None:
    a, b = draw(4, 5, 3), draw(4, 5, 3, seed=1)
    other = torch.where(OK[..., None], a, a + 1000), torch.where(OK[..., None], b, b - 1000)
    for loss in (instance_contrast, time_contrast):
        assert torch.equal(loss(a, b, OK), loss(*other, OK))
        close(loss(a, b, torch.zeros_like(OK)), 0.0)


def test_cell_contrast_closed_forms() -> None:
    same, ok = torch.ones(4, 5, 3), torch.ones(4, 5, dtype=torch.bool)
    close(instance_contrast(same, same, ok), math.log(7))
    close(time_contrast(same, same, ok), math.log(9))
    close(instance_contrast(same[:1], same[:1], ok[:1]), 0.0)  # nobody to compare with
    close(time_contrast(same[:, :1], same[:, :1], ok[:, :1]), 0.0)


def slow_pool(x: list[list[list[float]]], ok: list[list[bool]]) -> tuple[list[list[list[float]]], list[list[bool]]]:
    """Halve the time axis: the maximum of the pairs, over what exists."""
    out, there = [], []
    for row, known in zip(x, ok, strict=True):
        pairs = [range(t, min(t + 2, len(row))) for t in range(0, len(row), 2)]
        found = [[row[t] for t in pair if known[t]] for pair in pairs]
        out.append([[max(c) for c in zip(*f, strict=True)] if f else [0.0] * len(row[0]) for f in found])
        there.append([bool(f) for f in found])
    return out, there


@pytest.mark.parametrize("length", [1, 2, 7, 8])
@pytest.mark.parametrize("ragged", [False, True])
def test_ts2vec_is_the_loop_over_scales(length: int, ragged: bool) -> None:
    """The whole hierarchy: instance and temporal contrast at every scale, averaged (Yue et al. 2022, algorithm 1)."""
    a, b, alpha = draw(3, length, 4), draw(3, length, 4, seed=1), 0.3
    ok = torch.ones(3, length, dtype=torch.bool)
    if ragged:
        ok[1, length // 2 :] = False
    want, scales, x, y, there = 0.0, 0, a.double().tolist(), b.double().tolist(), ok.tolist()
    while True:
        args = torch.tensor(x), torch.tensor(y), torch.tensor(there)
        within = slow_contrast(*args, "times") if len(x[0]) > 1 else 0.0
        want += alpha * slow_contrast(*args, "items") + (1 - alpha) * within
        scales += 1
        if len(x[0]) == 1:
            break
        (x, after), (y, _) = slow_pool(x, there), slow_pool(y, there)
        there = after
    close(hierarchy(a, b, ok, alpha, (length,)), want / scales)


@pytest.mark.parametrize("grid", [(5, 6), (4, 4), (3, 1, 2)])
def test_coarser_scales_on_any_rank_are_max_pooling(grid: tuple[int, ...]) -> None:
    x, n = draw(2, math.prod(grid), 3), math.prod(grid)
    pool = {2: torch.nn.functional.max_pool2d, 3: torch.nn.functional.max_pool3d}[len(grid)]
    want = pool(x.transpose(1, 2).reshape(2, 3, *grid), 2, ceil_mode=True).flatten(2).transpose(1, 2)
    assert torch.equal(ts2vec._coarser(x, torch.ones(2, n, dtype=torch.bool), grid), want)
    one = torch.zeros(2, n, dtype=torch.bool)
    one[:, 0] = True
    assert ts2vec._any(one, grid).sum() == 2 and ts2vec._any(one, grid)[:, 0].all()


def hierarchy(a: Tensor, b: Tensor, ok: Tensor, alpha: float, grid: tuple[int, ...]) -> Tensor:
    """TS2Vec's loss on given features: an encoder that returns them, and views that match cell by cell."""
    from tacit.types import Cells, Context, Features, Info

    n = a.shape[1]
    at = torch.stack([(torch.arange(n) + 0.5) / n] * len(grid), -1).expand(len(a), n, len(grid))
    features = [Features(z, z.mean(1), torch.arange(n).expand(len(a), n), at, ok, grid) for z in (a, b)]

    class Fixed(torch.nn.Module):
        dim = a.shape[-1]

        def cells(self, view: int) -> Cells:
            return Cells(grid, ok)

        def forward(self, view: int, mask: Tensor) -> Features:
            return features[view]

    method = ts2vec.TS2Vec(Fixed(), Info(len(a)), alpha=alpha)  # type: ignore[arg-type]
    return method([0, 1], Context(torch.Generator(), 0.0)).loss  # type: ignore[list-item]


# ---- precision and gradients ----


def cases() -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...], tuple[object, ...]]]:
    """Every loss: function, arguments that are cast, other arguments."""
    a, b = draw(6, 5), draw(6, 5, seed=1)
    c, d, ok = draw(3, 4, 5), draw(3, 4, 5, seed=1), torch.ones(3, 4, dtype=torch.bool)
    return {
        "info_nce": (info_nce, (a,), (torch.tensor([0, 1, 2, 0, 1, 2]), 0.1)),
        "variance": (variance, (a * 0.3,), ()),
        "covariance": (covariance, (a,), ()),
        "mse": (mse, (a, b), ()),
        "cosine_distance": (cosine_distance, (a, b), ()),
        "cross_entropy": (cross_entropy, (a,), (torch.tensor([0, 1, 2, 3, 4, 0]),)),
        "masked_mse": (masked_mse, (a, b), (torch.ones(6, 5, dtype=torch.bool),)),
        "instance_contrast": (instance_contrast, (c, d), (ok,)),
        "time_contrast": (time_contrast, (c, d), (ok,)),
    }


def test_every_loss_is_tested() -> None:
    public = {k for k, v in vars(losses).items() if inspect.isfunction(v) and v.__module__ == "tacit.losses" and not k.startswith("_")} - {
        "full_precision"
    }
    assert public == set(cases())


@pytest.mark.parametrize("name", cases())
def test_float32_under_autocast(name: str) -> None:
    """bf16 inputs inside autocast give what float32 outside gives for the same numbers, to the bit."""
    loss, floats, rest = cases()[name]
    halved = [f.bfloat16() for f in floats]
    want = loss(*(h.float() for h in halved), *rest)
    with torch.autocast("cpu", torch.bfloat16):
        got = loss(*halved, *rest)
    assert got.dtype == torch.float32 and torch.equal(got, want)
    by_name = list(inspect.signature(loss).parameters)
    with torch.autocast("cpu", torch.bfloat16):
        named = loss(**dict(zip(by_name, [*halved, *rest], strict=False)))
    assert named.dtype == torch.float32 and torch.equal(named, want), "arguments given by name are cast too"


@pytest.mark.parametrize("name", cases())
def test_gradients_are_right(name: str) -> None:
    loss, floats, rest = cases()[name]
    exact = inspect.unwrap(loss)
    inputs = [f.double().requires_grad_() for f in floats]
    assert torch.autograd.gradcheck(lambda *x: exact(*x, *rest), inputs)
    leaves = [f.clone().requires_grad_() for f in floats]
    loss(*leaves, *rest).backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in leaves)


def test_gradients_stay_finite_where_embeddings_coincide() -> None:
    z = torch.ones(6, 5, requires_grad=True)
    (info_nce(z, torch.arange(3).repeat(2), 0.05) + variance(z) + covariance(z) + cosine_distance(z, z)).backward()
    assert z.grad is not None and z.grad.isfinite().all()
    zero = torch.zeros(6, 5, requires_grad=True)
    (info_nce(zero, torch.arange(3).repeat(2), 0.05) + variance(zero) + cosine_distance(zero, zero)).backward()
    assert zero.grad is not None and zero.grad.isfinite().all()


def test_full_precision_leaves_autocast_as_it_was() -> None:
    seen = []

    @full_precision
    def look(x: Tensor) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return (x @ x).sum()

    with torch.autocast("cpu", torch.bfloat16):
        look(torch.eye(2))
        assert torch.is_autocast_enabled("cpu")
    assert seen == [False]
