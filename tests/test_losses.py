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
    contrast,
    cosine_distance,
    cosines_of_classes,
    covariance,
    cross_correlation,
    cross_entropy,
    full_precision,
    gaussian_divergence,
    gaussianity,
    info_nce,
    instance_contrast,
    likeness,
    masked_mse,
    mse,
    paired,
    smooth_l1,
    soft_cross_entropy,
    time_contrast,
    triplet,
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


# ---- value and gradient against loops that PyTorch differentiates ----


def slow_keys(query: Tensor, key: Tensor, positive: Tensor, temperature: float, counts: Tensor | None = None) -> Tensor:
    terms = []
    for i in range(len(query)):
        rivals = [j for j in range(len(key)) if positive[i, j] or counts is None or counts[i, j]]
        scores = {j: query[i] @ key[j] / query[i].norm() / key[j].norm() / temperature for j in rivals}
        own = [scores[j] - torch.stack([*scores.values()]).logsumexp(0) for j in rivals if positive[i, j]]
        if own:
            terms.append(-torch.stack(own).mean())
    return torch.stack(terms).mean()


def slow_cross_correlation(a: Tensor, b: Tensor, eps: float = 1e-5) -> Tensor:
    n, d = a.shape
    rows = []
    for i in range(d):
        for j in range(d):
            x, y = (z - sum(z) / n for z in (a[:, i], b[:, j]))
            spread = ((sum(x**2) / n + eps) * (sum(y**2) / n + eps)) ** 0.5
            rows.append(sum(x[k] * y[k] for k in range(n)) / n / spread)
    return torch.stack(rows).view(d, d)


def slow_gaussianity(z: Tensor, directions: Tensor, knots: int = 17, reach: float = 5.0) -> Tensor:
    total, step = z.new_zeros(()), 2 * reach / (knots - 1)
    for k in range(directions.shape[1]):
        for m in range(knots):
            t = -reach + m * step
            real = sum(torch.cos(t * (row @ directions[:, k])) for row in z) / len(z)
            imaginary = sum(torch.sin(t * (row @ directions[:, k])) for row in z) / len(z)
            apart = (real - math.exp(-t * t / 2)) ** 2 + imaginary**2
            total = total + apart * math.exp(-t * t / 2) * step * (0.5 if m in (0, knots - 1) else 1.0)
    return total / directions.shape[1] * len(z)


def slow_triplet(z: Tensor, ids: Tensor, margin: float) -> Tensor:
    u = [row / row.norm() for row in z]
    terms = []
    for i in range(len(u)):
        others = [(u[i] - u[k]).square().sum() for k in range(len(u)) if ids[k] != ids[i]]
        for j in range(len(u)):
            if j != i and ids[j] == ids[i] and others:
                near = (u[i] - u[j]).square().sum()
                farther = [d for d in others if d > near]
                terms.append((near - (min(farther) if farther else max(others)) + margin).clamp(min=0))
    return torch.stack(terms).mean()


def slow_soft_cross_entropy(logits: Tensor, goal: Tensor) -> Tensor:
    terms = []
    for row, share in zip(logits, goal, strict=True):
        total = sum(v.exp() for v in row)
        terms.append(-sum(s * (v.exp() / total).log() for v, s in zip(row, share, strict=True)))
    return torch.stack(terms).mean()


def slow_smooth_l1(a: Tensor, b: Tensor, beta: float = 1.0) -> Tensor:
    apart = [(x - y).abs() for x, y in zip(a.flatten(), b.flatten(), strict=True)]
    return torch.stack([d**2 / (2 * beta) if d < beta else d - beta / 2 for d in apart]).mean()


def slow_gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(x; mean, variance) - log N(x; 0, 1), averaged over x ~ N(mean, variance), one number at a time."""
    total = mean.new_zeros(())
    for m, v in zip(mean.flatten(), log_variance.flatten(), strict=True):
        total = total - 0.5 * v - 0.5 + (m**2 + v.exp()) / 2
    return total / len(mean)


def drawn_mask(*shape: int, seed: int, share: float) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share


def slow_paired(query: Tensor, key: Tensor, known: Tensor, temperature: float) -> Tensor:
    there = [i for i in range(len(query)) if known[i]]
    terms = []
    for i in there:
        similar = [query[i] @ key[j] / query[i].norm() / key[j].norm() / temperature for j in there]
        terms.append(torch.stack(similar).logsumexp(0) - similar[there.index(i)])
    return sum(terms) / len(terms)


def slow_cosines(z: Tensor, y: Tensor) -> Tensor:
    near, far = [], []
    for i in range(len(z)):
        for j in range(len(z)):
            if i == j or y[i] < 0 or y[j] < 0:
                continue
            cosine = z[i] @ z[j] / z[i].norm() / z[j].norm()
            (near if y[i] == y[j] else far).append((cosine - float(y[i] == y[j])) ** 2)
    return sum(sum(part) / max(1, len(part)) for part in (near, far)) / 2


def loops() -> dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[Tensor, ...], tuple[object, ...]]]:
    """Name: loss, its loop, arguments with a gradient, other arguments."""
    a, b, keys = draw(6, 5), draw(6, 5, seed=1), draw(9, 5, seed=2)
    some = drawn_mask(6, 9, seed=3, share=0.3)
    some[2] = False  # a query without any positive
    unit = torch.nn.functional.normalize(draw(5, 3, seed=4), dim=0)
    return {
        "contrast": (contrast, slow_keys, (a, keys), (some, 0.2)),
        "contrast, some keys": (contrast, slow_keys, (a, keys), (some, 0.1, drawn_mask(6, 9, seed=5, share=0.5))),
        "paired": (paired, slow_paired, (a, b), (torch.tensor([1, 1, 0, 1, 1, 1]).bool(), 0.2)),
        "cross_correlation": (cross_correlation, slow_cross_correlation, (a, b), ()),
        "cross_correlation, flat": (cross_correlation, slow_cross_correlation, (a * 1e-3, b), (1e-2,)),
        "gaussianity": (gaussianity, slow_gaussianity, (a, unit), ()),
        "gaussianity, few knots": (gaussianity, slow_gaussianity, (a * 3 + 1, unit), (5, 2.0)),
        "soft_cross_entropy": (soft_cross_entropy, slow_soft_cross_entropy, (a * 3, b.softmax(1)), ()),
        "cosines_of_classes": (cosines_of_classes, slow_cosines, (keys,), (torch.tensor([0, 0, 1, -1, 1, 2, 0, 2, -1]),)),
        "cosines_of_classes, one each": (cosines_of_classes, slow_cosines, (a,), (torch.arange(6),)),
        "triplet": (triplet, slow_triplet, (keys,), (torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 4]), 0.3)),
        "triplet, wide": (triplet, slow_triplet, (keys,), (torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 1]), 4.0)),
        "smooth_l1": (smooth_l1, slow_smooth_l1, (a, b), ()),
        "smooth_l1, narrow": (smooth_l1, slow_smooth_l1, (a, b), (0.3,)),
        "gaussian_divergence": (gaussian_divergence, slow_gaussian_divergence, (a, b), ()),
    }


@pytest.mark.parametrize("name", loops())
def test_value_and_gradient_are_the_loop(name: str) -> None:
    loss, slow, floats, rest = loops()[name]
    fast, twin = ([f.double().requires_grad_() for f in floats] for _ in range(2))
    got, want = inspect.unwrap(loss)(*fast, *rest), slow(*twin, *rest)
    assert got.dtype == torch.float64 and got.shape == want.shape and bool(want.any())
    weight = draw(want.numel(), seed=7).double().view(want.shape)
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    assert torch.allclose(got, want, rtol=1e-6, atol=1e-8)
    for x, y in zip(fast, twin, strict=True):
        assert x.grad is not None and y.grad is not None and bool(y.grad.any())
        assert torch.allclose(x.grad, y.grad, rtol=1e-5, atol=1e-7)
    single = loss(*floats, *rest)
    assert single.dtype == torch.float32 and torch.allclose(single.double(), want, rtol=1e-4, atol=1e-5)


def test_contrast_closed_forms() -> None:
    query, key, answer, t = draw(6, 5), draw(9, 5, seed=1), torch.tensor([3, 0, 8, 8, 1, 5]), 0.2
    one = torch.nn.functional.one_hot(answer, 9).bool()
    unit = [torch.nn.functional.normalize(v, dim=1) for v in (query, key)]
    close(contrast(query, key, one, t), float(cross_entropy(unit[0] @ unit[1].T / t, answer)))  # one positive a row: a classification
    close(contrast(query * 7, key * 0.1, one, t), float(contrast(query, key, one, t)))
    counts = torch.ones(6, 9, dtype=torch.bool)
    counts[:, 2], counts[:, 7] = False, False
    left = [0, 1, 3, 4, 5, 6, 8]
    close(contrast(query, key, one, t, counts), float(contrast(query, key[left], one[:, left], t)))  # as if they were not there
    close(contrast(query, key, one, t, torch.zeros_like(one)), 0.0)  # a positive always counts, and alone it is certain
    close(contrast(query, torch.ones(9, 5), one, t), math.log(9))
    leaf = query.clone().requires_grad_()
    none = contrast(leaf, key, torch.zeros_like(one), t)
    none.backward()
    close(none.detach(), 0.0)
    assert leaf.grad is not None and not leaf.grad.any(), "no positive at all teaches nothing"


def test_contrast_is_info_nce_where_queries_are_keys() -> None:
    z, ids, t = draw(8, 5), torch.tensor([0, 1, 2, 3, 0, 1, 2, 2]), 0.3
    itself = torch.eye(8, dtype=torch.bool)
    positive = (ids[:, None] == ids) & ~itself
    close(contrast(z, z, positive, t, ~itself), float(info_nce(z, ids, t)))
    a, b, own = z[:4], z[4:], torch.eye(4, dtype=torch.bool)
    across = info_nce(z, torch.arange(4).repeat(2), t, torch.arange(2).repeat_interleave(4))
    close((contrast(a, b, own, t) + contrast(b, a, own, t)) / 2, float(across))


def test_cross_correlation_closed_forms() -> None:
    z = draw(4000, 6) * torch.tensor([0.1, 1.0, 2.0, 3.0, 10.0, 100.0]) + 5
    itself = cross_correlation(z, z)
    assert torch.allclose(itself.diagonal(), torch.ones(6), atol=2e-3) and torch.allclose(itself, itself.T, atol=1e-5)
    apart = itself - torch.diag(itself.diagonal())
    assert apart.abs().max() < 4.5 / 4000**0.5, "independent dimensions do not correlate"
    assert cross_correlation(z, draw(4000, 6, seed=1)).abs().max() < 4.5 / 4000**0.5
    assert torch.allclose(cross_correlation(z, -3 * z + 1), -itself, atol=2e-3), "neither sign of the scale nor the mean matters"
    mixed = torch.stack([z[:, 0] / 0.1 + z[:, 1], z[:, 2]], 1)  # a sum of two independent ones of equal variance
    assert cross_correlation(mixed, z)[0, :2].tolist() == pytest.approx([0.5**0.5] * 2, abs=0.03)
    flat = cross_correlation(torch.ones(5, 3), draw(5, 3))
    assert flat.isfinite().all() and flat.abs().max() < 1e-4, "a dimension without variance correlates with nothing"


def gaussianity_of(x: Tensor) -> float:
    """The statistic over the whole real line: integrals of cos(t d) exp(-a t^2) are sqrt(pi / a) exp(-d^2 / 4a)."""
    values, n = x.double().tolist(), len(x)
    pairs = sum(math.exp(-((u - v) ** 2) / 2) for u in values for v in values) * math.sqrt(2 * math.pi)
    singles = sum(math.exp(-(u**2) / 4) for u in values) * math.sqrt(math.pi)
    return pairs / n - 2 * singles + n * math.sqrt(math.pi / 1.5)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.5, 0.0), (0.1, 1.0), (0.0, -2.0)])
def test_gaussianity_is_the_integral_over_the_real_line(scale: float, shift: float) -> None:
    x, one = draw(40, 1) * scale + shift, torch.ones(1, 1)
    want = gaussianity_of(x[:, 0])
    close(gaussianity(x, one, 4001, 15.0), want, 1e-4)
    if scale <= 1:  # 17 points are as good, unless values lie so far apart that they alias
        close(gaussianity(x, one), want, 1e-4)


def test_gaussianity_tells_normal_from_other_samples() -> None:
    # the mean over samples of N(0, 1) is the integral of (1 - exp(-t^2)) exp(-t^2 / 2), whatever their number
    for n in (20, 400):
        expected = math.sqrt(2 * math.pi) - math.sqrt(math.pi / 1.5)
        assert float(gaussianity(draw(n, 800), torch.eye(800))) == pytest.approx(expected, abs=0.08)
    n, every = 1000, torch.eye(50)
    uniform = (torch.rand(n, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1) * math.sqrt(3)  # of variance 1
    normal, narrow, sign = draw(n, 50), draw(n, 50) * 0.3, draw(n, 50).sign()
    ranked = [float(gaussianity(x, every)) for x in (normal, uniform, sign, narrow * 0)]
    assert ranked == sorted(ranked) and ranked[1] > 3 * ranked[0]
    assert float(gaussianity(narrow, every)) < float(gaussianity(narrow * 0, every))
    for place in (0.0, 0.7, -3.0):  # a point mass: B times what one point costs
        apart = math.sqrt(2 * math.pi) - 2 * math.sqrt(math.pi) * math.exp(-(place**2) / 4) + math.sqrt(math.pi / 1.5)
        for b in (1, 30):
            close(gaussianity(torch.full((b, 1), place), torch.ones(1, 1), 101), b * apart, 1e-4)


def test_gaussianity_pulls_towards_a_normal_distribution() -> None:
    z = (draw(256, 2) * 0.2 + 1).requires_grad_()
    for _ in range(100):
        (gradient,) = torch.autograd.grad(gaussianity(z, torch.eye(2)), z)
        z = (z - gradient).detach().requires_grad_()
    assert z.mean(0).abs().max() < 0.1 and (z.std(0) - 1).abs().max() < 0.15


def test_soft_cross_entropy_closed_forms() -> None:
    logits, answer = draw(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    hard = torch.nn.functional.one_hot(answer, 4).float()
    close(soft_cross_entropy(logits, hard), float(cross_entropy(logits, answer)))
    close(soft_cross_entropy(logits, 0.9 * hard + 0.1 / 4), float(cross_entropy(logits, answer, 0.1)))
    close(soft_cross_entropy(torch.zeros(6, 4), draw(6, 4, seed=1).softmax(1)), math.log(4))
    goal = draw(6, 4, seed=1).softmax(1)
    close(soft_cross_entropy(goal.log() + 3, goal), float(-(goal * goal.log()).sum(1).mean()))  # its least value: the entropy


def at_degrees(*angles: float) -> Tensor:
    return torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles]) * 3


def test_triplet_takes_the_nearest_negative_beyond_the_positive() -> None:
    z, ids = at_degrees(0, 60, 30, 90, 180), torch.tensor([0, 0, 1, 2, 3])
    # squared distances: the pair is 1 apart. From 0: 30 is nearer, 90 (2) and 180 (4) beyond; from 60: 30 and 90 are nearer, 180 (3) beyond
    close(triplet(z, ids, 2.5), ((1 - 2 + 2.5) + (1 - 3 + 2.5)) / 2)
    close(triplet(z, ids, 1.5), (0.5 + 0) / 2)
    close(triplet(z, ids, 0.9), 0.0)
    hard = 2 - 2 * math.cos(math.radians(30))
    close(triplet(z[:3], ids[:3], 0.2), 1 - hard + 0.2)  # no negative beyond the positive: the farthest of the nearer ones
    nearer = at_degrees(0, 60, 30, -10)  # from 0: 30 and -10 are nearer, 30 is the farther; from 60: -10 lies beyond
    beyond = 2 - 2 * math.cos(math.radians(70))
    close(triplet(nearer, torch.tensor([0, 0, 1, 2]), 0.5), ((1 - hard + 0.5) + (1 - beyond + 0.5)) / 2)


def test_triplet_without_triplets_is_zero() -> None:
    for ids in (torch.zeros(5).long(), torch.arange(5)):
        z = draw(5, 3).requires_grad_()
        loss = triplet(z, ids, 1.0)
        loss.backward()
        close(loss.detach(), 0.0)
        assert z.grad is not None and not z.grad.any()


def test_smooth_l1_and_gaussian_divergence_closed_forms() -> None:
    zero = torch.zeros(3, 2)
    for apart, beta, want in ((0.5, 1.0, 0.125), (2.0, 1.0, 1.5), (1.0, 1.0, 0.5), (3.0, 2.0, 2.0), (0.5, 0.25, 0.375)):
        close(smooth_l1(zero + apart, zero, beta), want)
        close(smooth_l1(zero, zero + apart, beta), want)
    close(gaussian_divergence(zero, zero), 0.0)
    close(gaussian_divergence(zero + 1.5, zero), 2 * 1.5**2 / 2)  # N(m, 1): m^2 / 2 in each of two dimensions
    close(gaussian_divergence(zero, zero + math.log(4.0)), 2 * (0.5 * (4 - 1) - math.log(2)))
    m, v = draw(3, 2), draw(3, 2, seed=1)
    normal = torch.distributions.Normal
    theirs = torch.distributions.kl_divergence(normal(m, (v / 2).exp()), normal(0.0, 1.0)).sum(1).mean()
    close(gaussian_divergence(m, v), float(theirs))


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
        "likeness": (likeness, (a, b), ()),
        "cosine_distance": (cosine_distance, (a, b), ()),
        "cross_entropy": (cross_entropy, (a,), (torch.tensor([0, 1, 2, 3, 4, 0]),)),
        "masked_mse": (masked_mse, (a, b), (torch.ones(6, 5, dtype=torch.bool),)),
        "instance_contrast": (instance_contrast, (c, d), (ok,)),
        "time_contrast": (time_contrast, (c, d), (ok,)),
        **{name: (loss, floats, rest) for name, (loss, _, floats, rest) in loops().items() if name == loss.__name__},
    }


def test_likeness_is_the_cosine() -> None:
    a, b = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    slow = [[float(x @ y / x.norm() / y.norm()) for y in b] for x in a]
    assert torch.allclose(likeness(a, b), torch.tensor(slow), atol=1e-6) and not likeness(torch.zeros(1, 4), b).any()


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
    loss(*leaves, *rest).sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in leaves)


def test_gradients_stay_finite_where_embeddings_coincide() -> None:
    z = torch.ones(6, 5, requires_grad=True)
    (info_nce(z, torch.arange(3).repeat(2), 0.05) + variance(z) + covariance(z) + cosine_distance(z, z)).backward()
    assert z.grad is not None and z.grad.isfinite().all()
    zero = torch.zeros(6, 5, requires_grad=True)
    (info_nce(zero, torch.arange(3).repeat(2), 0.05) + variance(zero) + cosine_distance(zero, zero)).backward()
    assert zero.grad is not None and zero.grad.isfinite().all()
    for start in (torch.ones(6, 5), torch.zeros(6, 5)):
        for name, (loss, floats, rest) in cases().items():
            if all(f.shape == (6, 5) for f in floats):
                leaves = [start.clone().requires_grad_() for _ in floats]
                loss(*leaves, *rest).sum().backward()
                assert all(x.grad is not None and x.grad.isfinite().all() for x in leaves), name


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
