"""How differently groups lie in the embedding, before any label: distance, neighbourhoods, density, strangeness, pretext loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.attributes import FEWEST, Attribute
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.errors import BadData
from tacit.outliers import Reference
from tacit.statistics import interval
from tacit.types import Count

TIMES = 300
ASKED = 600  # items whose pretext loss is asked for, one by one


class Groups(Check):
    """Of each attribute: the distance between its groups (MMD with a Gaussian kernel, by permutation), how alike their covariances are
    (linear CKA over features), how often neighbours are of one group, how many items of each group lie outside what is known, and how
    well the pretext task is solved on each."""

    section, needs = "representation", ("vectors", "attributes")
    source = "Gretton et al. 2012 (MMD); arXiv:2406.02361 for the distances between groups"

    def __init__(self, *, most: Count = 1500) -> None:
        """most: items of which all pairs are compared."""
        self.most = most

    def look(self, case: Case) -> Iterator[Finding]:
        assert case.vectors is not None
        loss = self._losses(case)
        strange = self._strange(case)
        told = False
        for a in case.attributes:
            rows = np.flatnonzero(a.codes >= 0)
            large = a.large()
            rows = rows[np.isin(a.codes[rows], large)]
            if len(large) < 2:
                continue
            told = True
            case.say(f"comparing the groups of {a.name}\r")
            yield self._apart(case, a, case.some(rows, self.most))
            if strange is not None:
                yield from self._gap(
                    case, a, strange, "representation.strange", "items outside what the encoder knows", (0.15, 0.08, 0.04),
                    "the encoder has hardly seen such items: what it says of them is a guess",
                )  # fmt: skip
            if loss is not None:
                yield from self._gap(
                    case, a, loss, "representation.loss", "pretext loss, in deviations", (np.inf, 0.5, 0.25),
                    "the pretext task is solved worse there: the encoder learned less of such items",
                )  # fmt: skip
        if not told:
            raise BadData(f"no attribute has two groups with {FEWEST} items", "collect more of them")

    def _apart(self, case: Case, a: Attribute, rows: np.ndarray) -> Finding:
        assert case.vectors is not None
        z = case.vectors[rows].astype(np.float64)
        z = (z - z.mean(0)) / np.maximum(z.std(0), 1e-9)
        code = np.unique(a.codes[rows], return_inverse=True)[1]
        squared = np.maximum((z**2).sum(1)[:, None] + (z**2).sum(1) - 2 * z @ z.T, 0)
        kernel = np.exp(-squared / max(float(np.median(squared[np.triu_indices(len(z), 1)])), 1e-12))
        rng = np.random.default_rng([case.seed, 707])
        value = mmd(kernel, code)
        chance = np.array([mmd(kernel, rng.permutation(code)) for _ in range(TIMES)])
        p = (1 + int((chance >= value).sum())) / (TIMES + 1)
        np.fill_diagonal(squared, np.inf)
        near = np.argpartition(squared, min(10, len(z) - 2), axis=1)[:, :10]
        same = float((code[near] == code[:, None]).mean())
        expected = float(((np.bincount(code) / len(code)) ** 2).sum())
        purity = (same - expected) / max(1 - expected, 1e-9)
        alike = min(cka(z[code == g], z[code != g]) for g in range(code.max() + 1))
        severity = grade(purity, 2.0, 0.5, 0.15) if p < 0.01 else "fine"
        return Finding(
            "representation.apart", severity,
            f"{a.name}: {percent(same)} of the ten nearest neighbours are of the same group, {percent(expected)} by chance; MMD^2 "
            f"{value:.4f} "
            f"(p = {p:.3f}), covariances alike by {alike:.2f} (CKA, 1 = the same)", "neighbours of the same group beyond chance",
            purity, len(rows), "" if severity == "fine" else "neighbours decide in search, kNN and clusters: look at what separates them",
            group=a.name, weight=purity, more={"mmd": value, "p": p, "cka": alike, "purity": same, "expected": expected},
        )  # fmt: skip

    def _gap(
        self, case: Case, a: Attribute, values: np.ndarray, name: str, what: str, bounds: tuple[float, float, float], means: str
    ) -> Iterator[Finding]:
        """The largest difference between the means of two groups of values [N], NaN = not known."""
        codes = np.where(np.isfinite(values), a.codes, -1)
        large = [g for g in range(len(a.values)) if (codes == g).sum() >= FEWEST]
        if len(large) < 2:
            return
        mean = [float(values[codes == g].mean()) for g in large]
        most, least = large[int(np.argmax(mean))], large[int(np.argmin(mean))]
        gap = max(mean) - min(mean)
        rng = np.random.default_rng([case.seed, 708])
        x, y = values[codes == most], values[codes == least]
        low, high = interval(rng.choice(x, (TIMES, len(x))).mean(1) - rng.choice(y, (TIMES, len(y))).mean(1))
        keep = np.isin(codes, large)
        v, c = values[keep], np.searchsorted(large, codes[keep])
        hits = 0
        for _ in range(TIMES):
            mixed = rng.permutation(c)
            each = np.bincount(mixed, v, len(large)) / np.bincount(mixed, minlength=len(large))
            hits += float(each.max() - each.min()) >= gap
        severity = grade(gap, *bounds) if (hits + 1) / (TIMES + 1) < 0.01 and low > 0 else "fine"
        number = (lambda m: percent(m)) if "items" in what else (lambda m: f"{m:+.2f}")
        yield Finding(
            name, severity,
            f"{a.name}: {what}: {number(max(mean))} of {a.values[most]}, {number(min(mean))} of {a.values[least]}"
            + ("" if severity == "fine" else f": {means}"), f"difference of the {what}", gap, int(keep.sum()),
            "" if severity == "fine" else "pretrain on more items of that group", low, high, group=a.name, weight=gap,
            more={"means": {a.values[g]: m for g, m in zip(large, mean, strict=True)}},
        )  # fmt: skip

    @staticmethod
    def _strange(case: Case) -> np.ndarray | None:
        """1.0 for unseen items that lie further out than 95 % of other unseen ones, NaN for items that were learned from."""
        assert case.vectors is not None
        data = case.data
        if len(data.train) < 100 or len(data.test) < 4 * FEWEST:
            return None
        reference = Reference.fit(case.vectors[data.train], most=5000, seed=case.seed)
        score = reference.score(case.vectors[data.test])["mahalanobis"]
        out = np.full(len(data), np.nan)
        out[data.test] = score > np.quantile(score, 0.95)
        return out

    @staticmethod
    def _losses(case: Case) -> np.ndarray | None:
        if "losses" not in case.asks:
            return None
        rows = case.some(case.data.test if len(case.data.test) >= 4 * FEWEST else np.arange(len(case.data)), ASKED)
        found = case.asks["losses"](rows)
        if found is None:
            return None
        out = np.full(len(case.data), np.nan)
        out[rows] = (found - np.nanmean(found)) / max(float(np.nanstd(found)), 1e-12)
        return out


def mmd(kernel: np.ndarray, code: np.ndarray) -> float:
    """Largest squared maximum mean discrepancy, unbiased, between a group and all others; kernel [n, n] with ones on its diagonal."""
    best = -np.inf
    for g in range(int(code.max()) + 1):
        one = (code == g).astype(np.float64)
        n, m = one.sum(), (1 - one).sum()
        if n < 2 or m < 2:
            continue
        mine = kernel @ one
        inside = one @ mine
        across = (1 - one) @ mine
        rest = kernel.sum() - inside - 2 * across
        best = max(best, (inside - n) / (n * (n - 1)) + (rest - m) / (m * (m - 1)) - 2 * across / (n * m))
    return float(best)


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """How alike the covariances of two sets of embeddings [n, D], [m, D] are, 1 = the same up to scale."""
    first, second = (np.cov(v.T) for v in (a, b))
    return float((first * second).sum() / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-30))
