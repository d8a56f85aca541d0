"""How good an embedding looks without any label: several measures, because none of them is right everywhere.

None of these numbers is an accuracy. They order runs of one method on one data set, and where they contradict each other, `rank` says so.
Every function takes any N and D without a warning; it returns NaN where the embedding holds NaN or inf, or where the rows are too few.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tacit.statistics import rankme

ORDER = {
    "rankme": "higher",
    "lidar": "higher",
    "alpha": "nearest to 1",
    "alignment": "lower",
    "uniformity": "lower",
    "learnability": "higher",
    "dimension": "lower",
}
NAMES = {
    "rankme": "RankMe", "lidar": "LiDAR", "alpha": "alpha-ReQ", "alignment": "alignment", "uniformity": "uniformity",
    "learnability": "cluster learnability", "dimension": "intrinsic dimension",
}  # fmt: skip
FIT = 0.9  # R2 of the power law below which its exponent is not reported
DISAGREE = 0.3  # mean rank correlation between the measures below which they contradict each other
FIRST, LAST, FEWEST = 5, 100, 5  # ranks of the spectrum that the power law is fitted to, and how few of them are no fit
PAIRS, ROWS, CLUSTERS = 2000, 4000, 50  # rows compared pair by pair; rows clustered, and into how many clusters
SIZES = (250, 500, 1000, 2000, 4000)
ROUNDING = 1e-6  # of the largest entry: what float32 arithmetic leaves between rows that are meant to be equal
NAN = float("nan")


@dataclass(frozen=True)
class Panel:
    """The measures of one embedding; None = cannot be measured here, NaN = too few rows, or the embedding is not finite.

    rankme, rankme_centred: dimensions in use, without and with the mean taken out. rankme_paper: with the paper's epsilon of 1e-7.
    rankme_share: of the dimensions that could be in use, min(N, D). lidar: the same, of what views of an item share.
    alpha: exponent of the spectrum, None where it is no power law; alpha_r2: how well one fits. alignment: distance between views of
    one item. uniformity: how unevenly the directions fill the sphere. learnability: how well nearest neighbours predict clusters.
    dimension: intrinsic dimension. items, width: N and D.
    """

    rankme: float
    rankme_centred: float
    lidar: float | None
    alpha: float | None
    alpha_r2: float
    alignment: float | None
    uniformity: float
    learnability: float
    dimension: float
    items: int
    width: int
    rankme_paper: float = NAN
    rankme_share: float = NAN

    @property
    def collapsed(self) -> bool:
        """All items have the same embedding, or it is not finite."""
        return not self.rankme_centred > 0


@dataclass(frozen=True)
class Ranking:
    """Several candidates in the order of the measures.

    ranks: candidate -> measure -> rank, 1 = best, ties share theirs; the measures are those that all candidates have.
    mean: candidate -> mean rank, best first. rho: Spearman's correlation between two measures, mean over all pairs of them; NaN where
    fewer than two measures tell the candidates apart. disagree: rho is below DISAGREE, so that the order depends on whom you ask.
    left_out: measure -> why it has no say.
    """

    ranks: dict[str, dict[str, float]]
    mean: dict[str, float]
    rho: float
    disagree: bool
    left_out: dict[str, str]


def panel(z: np.ndarray, views: np.ndarray | None = None, seed: int = 0) -> Panel:
    """All measures of one embedding.

    z: embedding [N, D], of what the probes read, not of the projector.
    views: embeddings of q augmented views of n items [n, q, D] (100 x 10 is usual); None = no lidar, no alignment. LiDAR sees them at
    unit mean variance: its delta is a length, and candidates differ in theirs.
    seed: of subsamples and clusters; the same for all candidates.
    """
    z = np.asarray(z, dtype=np.float64)
    centred = _centred(z)
    alpha, fit = alpha_req(z)
    effective = NAN if centred is None else rankme(z)
    shared = near = None
    if views is not None and np.shape(views)[1] > 1:
        clean = _clean(views)
        near = alignment(views)
        if clean is None:
            shared = NAN
        elif len(clean) > 1:
            shared = lidar(clean / (np.sqrt(clean.var((0, 1)).mean()) or 1.0))
    return Panel(
        rankme=effective,
        rankme_centred=NAN if centred is None else rankme(centred),
        lidar=shared,
        alpha=alpha if fit >= FIT else None,
        alpha_r2=fit,
        alignment=near,
        uniformity=uniformity(z),
        learnability=cluster_learnability(z, seed=seed),
        dimension=mst_dimension(z, seed=seed),
        items=z.shape[0],
        width=z.shape[1],
        rankme_paper=NAN if centred is None else rankme(z, eps=1e-7),
        rankme_share=effective / max(1, min(z.shape)),
    )


def rank(panels: Mapping[str, Panel], one_method: bool = True) -> Ranking:
    """Order several candidates, measured on the same items, by each measure of ORDER and by the mean of the ranks.

    A measure that one candidate does not have (None) is left out for all; rankme and lidar also where the widths differ, because they
    grow with it. A NaN is last, and so is a collapsed candidate everywhere: alignment and dimension alone would reward it.

    panels: name -> its panel. one_method: all were trained by the same method; rankme is left out where not, because methods differ in it.
    """
    from scipy.stats import rankdata

    everyone = list(panels.values())
    same_width = len({p.width for p in everyone}) == 1
    measures, table, left_out = [], [], {}
    for measure, better in ORDER.items():
        values = [getattr(p, measure) for p in everyone]
        if not values:
            continue
        if None in values:
            left_out[measure] = "not every candidate has it"
        elif measure in ("rankme", "lidar") and not same_width:
            left_out[measure] = "it grows with the width of an embedding, and widths differ"
        elif measure == "rankme" and not one_method:
            left_out[measure] = "methods differ in it whatever they learn"
        if measure in left_out:
            continue
        value = np.array(values, dtype=np.float64)
        worse = -value if better == "higher" else value if better == "lower" else np.abs(value - 1)
        last = np.isnan(worse) | np.array([p.collapsed for p in everyone])
        measures.append(measure)
        table.append(rankdata(np.where(last, np.inf, worse)))
    mean = np.mean(table, axis=0) if table else np.full(len(everyone), NAN)
    telling = [row for row in table if np.ptp(row) > 0]
    rho = float(np.corrcoef(telling)[np.triu_indices(len(telling), 1)].mean()) if len(telling) > 1 else NAN
    names = list(panels)
    return Ranking(
        ranks={name: {m: float(row[i]) for m, row in zip(measures, table, strict=True)} for i, name in enumerate(names)},
        mean={names[i]: float(mean[i]) for i in np.argsort(mean, kind="stable")},
        rho=rho,
        disagree=rho < DISAGREE,
        left_out=left_out,
    )


def agreement(label_free: Sequence[float], labelled: Sequence[float]) -> float:
    """Spearman's correlation between a measure of several candidates and their score with labels.

    NaN with fewer than 3 candidates that have both, or where one side is constant. A measure of which less is better, such as the mean
    rank, agrees where this is -1.

    label_free, labelled: one number for each candidate, in the same order.
    """
    from scipy.stats import rankdata

    both = np.array([label_free, labelled], dtype=np.float64)
    both = both[:, ~np.isnan(both).any(0)]
    if both.shape[1] < 3 or (both == both[:, :1]).all(1).any():
        return NAN
    return float(np.corrcoef(rankdata(both, axis=1))[0, 1])


def lidar(views: np.ndarray, delta: float = 1e-4, eps: float = 1e-8) -> float:
    """Effective rank of what distinguishes items, measured in units of how views of one item differ; at most min(D, n - 1).

    0 where all items have the same mean, although eps alone would make that the highest rank. It depends on the scale of the embedding
    through delta. source: LiDAR, Thilak et al. 2024, arXiv 2312.04000.

    views: embeddings of q >= 2 views of n >= 2 items [n, q, D].
    delta: added to the variance of views along every axis.
    eps: added to every eigenvalue.
    """
    views = np.asarray(views, dtype=np.float64)
    n, q, d = views.shape
    if n < 2 or q < 2 or d < 1 or not np.isfinite(views).all():
        return NAN
    size = max(np.abs(views).max(), 1.0)
    views, delta = views / size, delta / size / size  # the same number, and no square overflows
    middle = views.mean(1)
    between = _without_mean(middle)
    if not between.any():
        return 0.0
    inner = (views - middle[:, None]).reshape(n * q, d)
    variance, axes = np.linalg.eigh(inner.T @ inner / (n * (q - 1)))
    # Without delta, axes along which no view differs would weigh infinitely more than the others: then rounding is the floor.
    tiny = np.finfo(np.float64).eps
    floor = max(delta, max(variance[-1], tiny) * max(n * q, d) * tiny)
    white = between @ axes / np.sqrt(np.maximum(variance, 0) + floor)
    # Squared singular values are the eigenvalues of S; beyond n - 1 they are zero, and eps would count them as directions.
    values = (np.linalg.svd(white, compute_uv=False) ** 2 / (n - 1))[: min(d, n - 1)] + eps
    p = values / values.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def alpha_req(z: np.ndarray) -> tuple[float, float]:
    """(alpha, R2): exponent of the power law k^-alpha of the covariance's eigenvalues, and how well it fits; near 1 is good.

    Straight line through log eigenvalue over log rank, weights 1 / rank, ranks 5 to 100 but at most half of those that there can be.
    Do not report alpha where R2 < FIT. (NaN, NaN) where there are fewer than 5 such ranks (D < 18 or N < 19), or where one of their
    eigenvalues is zero: a collapsed spectrum is no power law.
    source: alpha-ReQ, Agrawal et al., NeurIPS 2022; the fit of Stringer et al. 2019.

    z: embedding [N, D].
    """
    centred = _centred(z)
    if centred is None:
        return NAN, NAN
    last = min(LAST, min(len(centred) - 1, centred.shape[1]) // 2)
    if last - FIRST + 1 < FEWEST:
        return NAN, NAN
    values = _eigenvalues(centred)[FIRST - 1 : last]
    if values[-1] <= 0:
        return NAN, NAN
    ranks = np.arange(FIRST, last + 1)
    weight = 1 / ranks
    x, y = np.log(ranks), np.log(values)
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    slope = (weight * x * y).sum() / (weight * x * x).sum()
    total, left = (weight * y * y).sum(), (weight * (y - slope * x) ** 2).sum()
    # A flat spectrum is the power law with alpha = 0; its R2 would be rounding over rounding.
    return float(-slope), float(1 - left / total) if total > 1e-18 else 1.0


def alignment(views: np.ndarray) -> float:
    """Squared distance between the directions of two views of one item, mean over pairs and items: 0 = equal, lower is better.

    A collapsed embedding has 0 too. source: Wang & Isola 2020, arXiv 2005.10242.

    views: embeddings of q >= 2 views of n items [n, q, D].
    """
    clean = _clean(views)
    if clean is None or clean.shape[1] < 2:
        return NAN
    unit = _unit(clean)
    # Over pairs of q vectors the mean squared distance is twice their variance.
    return float(2 * unit.var(1, ddof=1).sum(1).mean())


def uniformity(z: np.ndarray) -> float:
    """log mean exp(-2 d^2) over pairs of directions at distance d: 0 = collapsed, lower is better, -4 for all at right angles.

    Of more than 2,000 rows it takes 2,000 that lie evenly. source: Wang & Isola 2020, arXiv 2005.10242.

    z: embedding [N, D].
    """
    clean = _clean(z)
    if clean is None or len(clean) < 2:
        return NAN
    unit = _unit(_some(clean, PAIRS))
    far = _distances(unit)
    np.fill_diagonal(far, np.inf)
    near = np.exp(-2 * far).sum() / (len(unit) * (len(unit) - 1))
    return float(min(np.log(near), 0.0))


def cluster_learnability(z: np.ndarray, clusters: int = CLUSTERS, seed: int = 0) -> float:
    """Share of items whose k-means cluster is that of their nearest neighbour by cosine among the other half, in 0..1.

    Clusters are those of directions, which is all that the cosine sees. 0 where all are the same: there is nothing to learn. Of more
    than 4,000 rows it takes 4,000 that lie evenly. NaN below 8 rows.
    source: Lu et al. 2022, arXiv 2206.01251.

    z: embedding [N, D].
    clusters: how many, but at most a quarter of the rows; it must be the same for all that is compared.
    seed: of the clusters and of the halves.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    clean = _clean(z)
    if clean is None or len(clean) < 8:
        return NAN
    unit = _unit(_some(clean, ROWS))
    n = len(unit)
    if not _without_mean(unit).any():
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters
        own = KMeans(min(clusters, n // 4), n_init=3, random_state=seed).fit_predict(unit)
    order = np.random.default_rng([seed, 3]).permutation(n)
    known, asked = order[: n // 2], order[n // 2 :]
    nearest = known[(unit[asked] @ unit[known].T).argmax(1)]
    return float((own[nearest] == own[asked]).mean())


def mst_dimension(z: np.ndarray, sizes: Sequence[int] = SIZES, resamples: int = 5, seed: int = 0) -> float:
    """Intrinsic dimension 1 / (1 - m), m = slope of log length over log n of the minimum spanning tree of n items; lower is better.

    Low by 6 % for 4 and 12 % for 8 dimensions, and by far more above: it orders, it does not count. 0 where all items are the same,
    inf where the tree grows faster than n. source: IdEst, arXiv 2606.03338; the limit by Steele 1988.

    z: embedding [N, D].
    sizes: numbers of items n; those above N are dropped, and where fewer than three remain, N / 8, N / 4, N / 2 and N take their place.
    NaN below 32 items.
    resamples: draws of every n, whose lengths are averaged; one where n = N.
    seed: of the draws.
    """
    centred = _centred(z)
    if centred is None or len(centred) < 32:
        return NAN
    n = len(centred)
    kept = sorted({size for size in sizes if size <= n})
    if len(kept) < min(3, len(set(sizes))):
        kept = [n // 8, n // 4, n // 2, n]
    length = []
    for size in kept:
        rng = np.random.default_rng([seed, size])
        draws = [rng.permutation(n)[:size] for _ in range(resamples if size < n else 1)]
        length.append(np.mean([_tree(centred[rows]) for rows in draws]))
    seen = np.array(length) > 0
    if seen.sum() < 2:
        return 0.0
    x, y = np.log(np.array(kept)[seen]), np.log(np.array(length)[seen])
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return float(1 / (1 - slope)) if slope < 1 else float("inf")


def _clean(z: np.ndarray) -> np.ndarray | None:
    """float64 with the largest entry 1, so that no square overflows; None where it is empty or an entry is NaN or infinite."""
    z = np.asarray(z, dtype=np.float64)
    if not z.size or not np.isfinite(z).all():
        return None
    return z / (np.abs(z).max() or 1.0)


def _without_mean(z: np.ndarray) -> np.ndarray:
    """z [N, D] minus its mean; exactly zero where the rows differ by rounding only, which would pass for directions otherwise."""
    centred = z - z.mean(0)
    return centred if np.abs(centred).max() > ROUNDING * np.abs(z).max() else np.zeros_like(z)


def _centred(z: np.ndarray) -> np.ndarray | None:
    clean = _clean(z)
    return None if clean is None else _without_mean(clean)


def _unit(z: np.ndarray) -> np.ndarray:
    """Rows (last axis) of length 1; a zero row stays zero."""
    tiny = np.finfo(np.float64).tiny
    z = z / np.maximum(np.abs(z).max(-1, keepdims=True), tiny)  # or the squares of a tiny row would vanish
    return z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), tiny)


def _some(z: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows of z, evenly spaced."""
    return z if len(z) <= most else z[np.linspace(0, len(z) - 1, most).astype(np.int64)]


def _eigenvalues(z: np.ndarray) -> np.ndarray:
    """Squared singular values of z [N, D], largest first; what is rounding is 0."""
    gram = z.T @ z if z.shape[1] <= z.shape[0] else z @ z.T
    values = np.linalg.eigvalsh(gram)[::-1].copy()
    values[values < values[0] * max(z.shape) * np.finfo(np.float64).eps] = 0.0
    return values


def _distances(z: np.ndarray) -> np.ndarray:
    """Squared distances [N, N] between the rows; nearly equal ones may come out slightly negative."""
    square = (z * z).sum(1)
    far = z @ z.T
    far *= -2
    far += square
    far += square[:, None]
    return far


def _tree(z: np.ndarray) -> float:
    """Length of the minimum spanning tree of the rows of z [n, D]: Prim, in n^2 steps."""
    n = len(z)
    far = _distances(z)
    nearest, joined = np.full(n, np.inf), np.zeros(n)
    parent = np.zeros(n, dtype=np.int64)
    here = 0
    for _ in range(n - 1):
        joined[here] = nearest[here] = np.inf
        row = far[here]
        row += joined
        closer = row < nearest
        np.copyto(nearest, row, where=closer)
        parent[closer] = here
        here = int(nearest.argmin())
    # Lengths from the rows, not from their products: an edge between equal rows is then exactly 0.
    return float(np.linalg.norm(z - z[parent], axis=1).sum())
