from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from tacit import registry
from tacit.encoder import Encoder
from tacit.errors import Asked, CannotPair
from tacit.method import Method
from tacit.types import Batch, Context, Info, Step, Views

DEFAULT = "simclr,vicreg"


class Combine(Method):
    """A weighted sum of several methods on one encoder, a supervised one included (labels are read then).

    parts: names of the methods, with commas (or +, where a comma separates something else); each has its default hyperparameters.
    weights: of their losses, likewise; all 1 if left out. Views of the same kind are shared; all items are looked at as often as
    the part that wants it most asks for; the encoder that is kept is that of the first part.
    """

    family = "combination"
    when = "two ideas complement each other, or a few labels should steer the embedding"
    source = "Doersch & Zisserman 2017, arXiv:1708.07860 (multi-task self-supervision)"

    def __init__(self, encoder: Encoder, info: Info, *, parts: str = DEFAULT, weights: str | float = "") -> None:
        super().__init__(encoder, info)
        names = _names(parts)
        self.weights = _weights(str(weights), len(names))
        self.parts = nn.ModuleList(registry.find("methods", name)(encoder, info) for name in names)
        for part in self.each:  # held, but not registered a second time: its weights are saved once
            part.__dict__["encoder"] = part._modules.pop("encoder")
        self.needs = _together([m.needs for m in self.each])
        self.surveys = max(m.surveys for m in self.each)
        self.views = _shared([m.views for m in self.each], parts)

    @property
    def each(self) -> list[Method]:
        """The methods that are added up."""
        return list(self.parts)  # type: ignore[arg-type]

    @classmethod
    def wants(cls, knobs: Mapping[str, Any]) -> frozenset[str]:
        return _together([registry.find("methods", name).wants({}) for name in _names(str(knobs.get("parts", DEFAULT)))])

    @classmethod
    def shows(cls, knobs: Mapping[str, Any]) -> Views:
        parts = str(knobs.get("parts", DEFAULT))
        return _shared([registry.find("methods", name).shows({}) for name in _names(parts)], parts)

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        self.encoder.memo = {}
        try:
            steps = [part(self._slice(views, part.views), ctx) for part in self.each]
        finally:
            self.encoder.memo = None
        loss = torch.stack([w * s.loss for w, s in zip(self.weights, steps, strict=True)]).sum()
        log = {f"part{i}": s.loss.detach() for i, s in enumerate(steps)}
        known = [w * s.chance for w, s in zip(self.weights, steps, strict=True) if s.chance is not None]
        return Step(loss, steps[0].embedding, log, chance=sum(known) if len(known) == len(steps) and sum(known) > 0 else None)

    def _slice(self, views: list[Batch], want: Views) -> list[Batch]:
        """Of all views, those that one part asked for."""
        out, start = [], 0
        for kind in ("global_", "local", "weak", "plain", "crop"):
            out += views[start : start + getattr(want, kind)]
            start += getattr(self.views, kind)
        return out + (views[start:] if want.task else [])

    def after_step(self, ctx: Context) -> None:
        for part in self.each:
            part.after_step(ctx)

    def survey(self, z: Tensor, ctx: Context) -> None:
        for part in self.each:
            if part.surveys:
                part.survey(z, ctx)

    def deploy(self) -> Encoder:
        return self.each[0].deploy()


def _names(parts: str) -> list[str]:
    names = [name.strip() for name in parts.replace("+", ",").split(",") if name.strip()]
    if len(names) < 2 or "combine" in names:
        raise Asked(f"method.parts={parts}: give at least two methods, none of them combine", "for example method.parts=simclr,rotation")
    files = [name for name in names if ":" in name or name.endswith(".py")]
    if files:  # a stored configuration names parts too, and must not run code by it
        said = f"method.parts={parts}: {files[0]} is a file, and only installed methods can be combined"
        raise Asked(said, "publish it as an entry point in the group tacit.methods")
    return names


def _weights(said: str, count: int) -> list[float]:
    try:
        weights = [float(w) for w in said.replace("+", ",").split(",")] if said else [1.0] * count
    except ValueError:
        weights = []
    if len(weights) != count or not all(0 < w < float("inf") for w in weights):
        raise Asked(f"method.weights={said}: give {count} positive numbers, one for each method", "for example method.weights=1,0.5")
    return weights


def _together(each: list[frozenset[str]]) -> frozenset[str]:
    """All needs; if only some methods need a label for each item, the others go on learning from the items without one."""
    needs: frozenset[str] = frozenset().union(*each)
    if "labels" in needs and not all("labels" in n for n in each):
        needs = (needs - {"labels"}) | {"some labels"}
    return needs


def _shared(each: list[Views], parts: str) -> Views:
    """Views that serve all: of each kind as many as the method that wants most. Raises CannotPair where two exclude each other."""
    tasks = sorted({v.task for v in each if v.task})
    if len(tasks) > 1:
        said = f"{parts}: two pretext tasks at once ({', '.join(tasks)}) would each need a view of its own"
        raise CannotPair(said, "combine one of them with simclr")
    recipes = {(v.lowest, v.strength) for v in each if v.global_}
    if len(recipes) > 1:
        raise CannotPair(
            f"{parts}: these methods want different global views", "combine such as look at the same ones, for example simclr,vicreg"
        )
    counts = {f.name: max(getattr(v, f.name) for v in each) for f in fields(Views) if isinstance(f.default, int)}
    lowest, strength = next(iter(recipes), (0.0, 1.0))
    return Views(**counts, task="".join(tasks), lowest=lowest, strength=strength)
