"""`verify`: whether two held-out items come from the same speaker, by the likeness of their embeddings, beside classics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.api import Say, untrained
from tacit.data.dataset import Dataset
from tacit.data.listing import ALONE
from tacit.embedding.model import load
from tacit.errors import Asked
from tacit.evaluation.verification import Trials, cosines, trials, verified
from tacit.keeping import digest_of
from tacit.origin import as_read


@dataclass(frozen=True)
class Verification:
    """Errors by representation. result: plain JSON."""

    rows: tuple[dict[str, Any], ...]
    result: dict[str, Any] = field(repr=False)


def verify(
    run: str | Path,
    data: Any,
    *,
    group: str | None = None,
    apart: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Verification:
    """Equal error rate and minimum detection cost of pairs of held-out items: the run, the same network untrained, and the classics.

    run: a run folder. data: as the run reads. group: column that says what belongs together (the speaker). apart: column (the label, the
    word) in which the two of a pair must differ. options: for opening the data. Raises Asked where there are no groups, or no pairs.
    """
    say = say or (lambda words: None)
    path = Path(run)
    net = load(path)
    asked = {**(options or {}), **({"group": group} if group else {}), **({"target": apart} if apart else {})}
    items = as_read(net, path, data, asked, say)
    if items.groups is None:
        raise Asked(f"{items.path} does not say what belongs together", "name the column with --group")
    if apart and (items.labels is None or not items.classes):
        raise Asked(f"{apart!r} holds no classes in which pairs could differ", "name a column of words with --apart")
    alone = np.array([g.startswith(ALONE) for g in items.group_names] + [True])[items.groups]  # nobody knows whose voice that is
    t = trials(np.where((items.split == 1) & ~alone, items.groups, -1), items.labels if apart else None, seed=seed)
    if not len(t) or not t.same.any() or t.same.all():
        raise Asked("the held-out items give no pairs of one group and of two", "hold out several groups of several items each")
    seen = np.intersect1d(items.groups[items.train], items.groups[items.test])
    if (known := int((seen >= 0).sum())) and path.is_dir():
        say(f"note: {known} of the groups also have training items: the errors do not hold for new ones")
    say(f"{len(t):,} pairs of {len(np.unique(np.concatenate([t.a, t.b]))):,} items, {int(t.same.sum()):,} of them of one group")
    rows = tuple(_rows(net, items, t, seed, say))
    result = {
        "run": str(path), "model": digest_of(path), "data": items.path, "fingerprint": items.fingerprint, "trials": len(t),
        "same": int(t.same.sum()), "groups": len(np.unique(items.groups[items.test])), "apart": apart, "results": list(rows),
    }  # fmt: skip
    return Verification(rows, result)


def _rows(net: Any, items: Dataset, t: Trials, seed: int, say: Say) -> Any:
    """Errors of each representation, the run's first."""
    used, back = np.unique(np.concatenate([t.a, t.b]), return_inverse=True)
    own = Trials(back[: len(t)], back[len(t) :], t.same)
    train = items.train[:: max(1, -(-len(items.train) // 5000))]

    def of(name: str, z: np.ndarray, middle: np.ndarray, scale: np.ndarray | None = None) -> dict[str, Any]:
        unit = 1.0 if scale is None else scale
        found = verified(cosines(z / unit, own, middle / unit), own, seed=seed)
        return {
            "representation": name, "eer": found.eer[0], "eer_low": found.eer[1], "eer_high": found.eer[2], "min_dcf": found.dcf[0],
            "min_dcf_low": found.dcf[1], "min_dcf_high": found.dcf[2],
        }  # fmt: skip

    for name, model in (("ssl", net), ("untrained", untrained(net, seed))):
        z, before = (model.vectors(*items.some(rows)) for rows in (used, train))
        yield of(name, z, before.mean(0))
    for name, cls in registry.every("classics").items():
        if items.modality in cls.modalities and hasattr(cls, "transform"):
            say(f"{name}: computing")
            found = cls().fit(items.x[train], items.spec)
            z, before = found.transform(items.x[used]), found.transform(items.x[train])
            spread = before.std(0)
            yield of(name, z, before.mean(0), np.where(spread > 1e-9, spread, 1.0))
