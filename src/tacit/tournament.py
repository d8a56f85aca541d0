"""Candidates that train for the same time and are measured on the same training folds: what compare and tune-augmentation share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit.assemble import make_modality, needs_before
from tacit.config import parse_overrides
from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked, BadData, CannotPair, Stopped, TacitError
from tacit.evaluation.labels import fold, plan_levels
from tacit.evaluation.panel import Panel, panel
from tacit.evaluation.probes.knn import KNN
from tacit.evaluation.probes.linear import Linear
from tacit.evaluation.probes.ridge import Ridge
from tacit.evaluation.readers import standardise
from tacit.runtime import rng
from tacit.training.loader import Loader
from tacit.training.pretrain import Pretrained, Progress, pretrain
from tacit.types import LABELS, Views

ROWS, ITEMS, VIEWS, DRAWS = 6000, 100, 10, 5
LEVELS = (10, 5, 2, 1)  # labels a class that candidates are compared with: the first that the data can give
NUMBERS = (50, 10)  # likewise, labels, where the label is a number
Say = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """What may be trained: a method and hyperparameters of any part.

    name: as the user wrote it, simclr or simclr@method.temperature=0.5@optim.lr=1e-3. overrides: {part: {name: value}}.
    """

    name: str
    method: str
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Candidate:
        """From what the user wrote. Raises Asked for what cannot be read."""
        method, *words = [word.strip() for word in text.split("@")]
        if not method:
            raise Asked(f"{text!r} names no method", "write it like simclr or simclr@method.temperature=0.5")
        overrides = {k: v for k, v in parse_overrides(words).items() if v}
        if "steps" in overrides.get("train", {}):
            raise Asked(f"{text}: candidates train for the same time, not for a number of steps", "leave train.steps out")
        return cls(text.strip(), method, overrides)

    @property
    def folder(self) -> str:
        """A name for its run folder."""
        plain = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in self.name)
        return (
            plain
            if plain == self.name and len(plain) < 60
            else f"{plain[:60]}-{hashlib.blake2b(self.name.encode(), digest_size=4).hexdigest()}"
        )


@dataclass(frozen=True)
class Measured:
    """What a candidate reached in a round, all of it on training items.

    seconds: of training. backbone: name and size. right: [draws, items], 1 where the probe was right (numbers: 1 - squared error over
    variance), None without labels; its mean is the score. knn: with all labels. panel: without labels. failed: why there is nothing, or an
    empty string.
    """

    name: str
    run: str = ""
    seconds: float = 0.0
    steps: int = 0
    health: str = ""
    backbone: str = ""
    right: np.ndarray | None = None
    knn: float | None = None
    panel: Panel | None = None
    failed: str = ""

    @property
    def score(self) -> float:
        """Mean score with few labels, NaN without."""
        return float("nan") if self.right is None else float(self.right.mean())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; values that are not finite become None, and are named in "nan"."""
        plain = asdict(replace(self, right=None)) | {"panel": None if self.panel is None else asdict(self.panel)}
        if self.panel is not None:
            plain["nan"] = [k for k, v in plain["panel"].items() if v is not None and not np.isfinite(v)]
            plain["panel"] |= dict.fromkeys(plain["nan"])
        plain["right"] = None if self.right is None else [[round(float(v), 5) for v in row] for row in self.right]
        return plain

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Measured:
        """The inverse of `to_json`."""
        right = None if raw["right"] is None else np.array(raw["right"])
        numbers = None if raw["panel"] is None else Panel(**{**raw["panel"], **dict.fromkeys(raw["nan"], float("nan"))})
        plain = {k: v for k, v in raw.items() if k != "nan"}
        return cls(**{**plain, "right": right, "panel": numbers})


class Judge:
    """Measures models of one data set on a fold of its training items; the test items are not touched.

    data: the data set; labels are used where it has any. level: labels a class (numbers: labels) of the score, None = no labels.
    """

    def __init__(self, data: Dataset, seed: int = 0) -> None:
        self.data, self.seed, self.viewer = data, seed, make_modality(data.spec, {})
        self.rows = _spread(data.train, ROWS)
        self.classes = len(data.classes)
        self.level: int | None = None
        self.labelled = data.train[:0]
        self.plan = self.fit = self.held = None
        if data.labels is None:
            return
        y = data.labels[data.train]
        self.labelled = _spread(data.train[y >= 0 if self.classes else np.isfinite(y)], ROWS)
        y = data.labels[self.labelled]
        if len(y) < 8 or len(np.unique(y)) < 2:
            return
        groups = None if data.groups is None else data.groups[self.labelled]
        fit, held = fold(y, self.classes, seed, 1 / 3, groups)
        for level in LEVELS if self.classes else NUMBERS:
            own = None if groups is None else groups[fit]
            plan = plan_levels(y[fit], self.classes, (level,), DRAWS, seed, groups=own)[0]
            if not plan.reason and len(held):
                self.level, self.plan, self.fit, self.held = level, plan, self.labelled[fit], self.labelled[held]
                return

    @property
    def criterion(self) -> str:
        """What decides, in words."""
        if self.level is None:
            few = f", as {len(self.labelled)} labels are too few, or too alike, to score with" if len(self.labelled) else ""
            return f"mean rank over the label-free measures{few}"
        amount = f"{self.level} label{'s' if self.level > 1 else ''} {'a class' if self.classes else 'in all'}"
        return f"{'accuracy' if self.classes else 'R2'} of a linear probe with {amount}, on held-out training items"

    def measure(self, model: Model) -> dict[str, Any]:
        """{right, knn, panel} of a model. Raises BadData where its vectors are not finite."""
        data = self.data
        every = self.rows if self.plan is None else np.union1d(self.rows, self.labelled)
        z = model.vectors(data.x[every], None if data.lengths is None else data.lengths[every])
        if not np.isfinite(z).all():
            raise BadData("the embedding holds values that are not finite")
        own = z[np.searchsorted(every, self.rows)]
        found: dict[str, Any] = {"panel": panel(own, self._views(model), self.seed), "right": None, "knn": None}
        if self.plan is None or self.fit is None or self.held is None:
            return found
        assert data.labels is not None
        y, truth = data.labels[self.fit], data.labels[self.held]
        fit, held = (z[np.searchsorted(every, rows)] for rows in (self.fit, self.held))
        s, t = standardise(fit, held, model.modality.probe_scale or "columns")
        right = []
        for draw in self.plan.draws:
            if self.classes:
                right.append(
                    Linear(few=model.modality.probe_c).fit(s[draw.rows], y[draw.rows], self.classes, small=self.plan.small).predict(t)
                    == truth
                )
            else:
                guess = Ridge().fit(s[draw.rows], y[draw.rows], 0, small=self.plan.small).predict(t)
                right.append(1 - (guess - truth) ** 2 / max(float(truth.var()), 1e-12))
        found["right"] = np.array(right, dtype=np.float64)
        if self.classes:
            neighbours = KNN(k=min(20, len(y))).fit(fit, y, self.classes, small=False).predict(held)
            found["knn"] = float((neighbours == truth).mean())
        return found

    @torch.no_grad()
    def _views(self, model: Model) -> np.ndarray | None:
        """Embeddings [n, VIEWS, D] of augmented views of a few items, the whole view alone; None where there is no such view."""
        modality, device = self.viewer, next(model.parameters()).device  # the same views for all, however a candidate was trained
        if "global_" not in modality.gives:
            return None
        few = _spread(self.rows, ITEMS)
        batch = Loader(self.data, few, modality, device).batch(np.arange(len(few)))
        model.eval()
        views = modality.views(batch, Views(global_=VIEWS), rng(self.seed, "panel", 0, device), model.encoder.cell)
        return torch.stack([model.encoder(view).pooled.float() for view in views], 1).cpu().numpy()


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of these rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)] if len(rows) else rows


def train(
    candidate: Candidate,
    data: Dataset,
    judge: Judge,
    out: Path,
    seconds: float,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
    show: Callable[[Progress], None] | None = None,
) -> Measured:
    """Train a candidate for so many seconds in the run folder `out` (or go on with the run there), and measure it.

    options: further ones of `pretrain`, the same for all candidates. A candidate that cannot be trained is measured as failed;
    Stopped is raised on an interrupt, with everything saved, TacitError where the machine failed, such as a full disk.
    """
    quiet = say or (lambda words: None)
    resume = (out / "config.toml").is_file()
    begin = time.perf_counter()
    try:
        done = pretrain(
            data, out=out, resume=resume or out.exists(), budget=seconds, method=candidate.method, overrides=candidate.overrides, seed=seed,
            command=f"compare: {candidate.name}", show=show, **(options or {}),
        )  # fmt: skip
        assert isinstance(done, Pretrained)
        health = "" if done.health is None else done.health.state
        took, body = time.perf_counter() - begin, done.config.backbone
        network = f"{body['name']} {body['size']}"
        return Measured(candidate.name, str(out), took, done.config.train.steps, health, network, **judge.measure(done.model))
    except Exception as error:  # one that fails, a plug-in's own fault too, must not end the others' comparison
        if isinstance(error, Stopped) or type(error) is TacitError:
            raise
        said = _why(error)
        quiet(f"{candidate.name}: {said}")
        return Measured(candidate.name, str(out), time.perf_counter() - begin, failed=said)


def check(candidate: Candidate, data: Dataset, **options: Any) -> str:
    """Why this candidate cannot run on this data, or an empty string. Raises Asked for what cannot be meant at all."""
    if needs_before({**candidate.overrides.get("method", {}), "name": candidate.method}) & LABELS:
        return "it reads labels, and would be measured with labels that it was trained on"
    try:
        pretrain(data, method=candidate.method, overrides=candidate.overrides, steps=1, dry_run=True, **options)
    except CannotPair as error:
        return error.message
    except TacitError:
        raise
    except Exception as error:  # a plug-in's
        return _why(error)
    return ""


def _why(error: Exception) -> str:
    if isinstance(error, TacitError):
        return error.message
    memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return f"{'out of memory' if memory else type(error).__name__}: {error}"
