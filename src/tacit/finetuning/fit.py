"""One fine-tuning: the probe's solution first, then the encoder with it, stopped where held-out labels are read best."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tacit import losses
from tacit.config import OptimConfig, RunConfig, TrainConfig
from tacit.data.dataset import Dataset
from tacit.data.flat import Flat
from tacit.data.supervision import Supervision
from tacit.embedding.model import Model
from tacit.errors import Asked, Stopped
from tacit.finetuning.config import FROZEN, FinetuneConfig, strategy
from tacit.finetuning.depth import depths, frozen
from tacit.finetuning.loaders import Pairs, Tagged, wide
from tacit.finetuning.lora import adapt, merge
from tacit.finetuning.moments import Moments
from tacit.finetuning.network import Network, Scaled, shares
from tacit.finetuning.prototypes import prototyped
from tacit.head import Head, of_pair
from tacit.method import Method
from tacit.training import checkpoint
from tacit.training.loader import Loader
from tacit.training.loop import Loop, deterministic, make_fabric
from tacit.training.session import interruptible
from tacit.types import Batch, Context, Info, Step, Views

LOOKS = 20  # at held-out labels, during one training
HELD = 4 * 2**30  # numbers of features that are held at once
STANDARD = 20_000  # items that mean and deviation of the features are measured on


class FineTuning(Method):
    """A network with a head as something that the loop can train."""

    needs = frozenset({"labels"})

    def __init__(self, network: Network, config: FinetuneConfig, stay: set[str], kind: str) -> None:
        super().__init__(network.model.encoder, Info(items=0))
        self.network, self.settings = network, config
        view = network.model.modality.tuned if config.view == "auto" else config.view
        if network.head.level == "sequence" or (network.head.level == "token" and network.model.spec.ragged):
            view = "plain"  # a part does not hold all that is said, and a stretched view does not say which places it shows
        if network.head.level == "token" and view == "global" and getattr(network.model.modality, "turn", None):
            raise Asked("finetune.view=global turns the item and not its labels (modality.turn)", "use finetune.view=weak")
        self.alike = kind == "setfit"
        self.views = Views(plain=1) if view == "plain" else Views(weak=1) if view == "weak" else Views(global_=1)
        self.where, self.deepest = depths(network.encoder)
        if kind == "lora":
            adapt(network.encoder, config.rank, stay)
        else:
            for name, parameter in network.encoder.named_parameters():
                parameter.requires_grad_(name not in stay)
        self.start = {n: p.detach().clone() for n, p in network.encoder.named_parameters() if p.requires_grad} if config.l2sp else {}

    def pace(self, name: str) -> float:
        name = name.removeprefix("encoder.").replace("parametrizations.", "").removeprefix("network.model.encoder.")
        for tail in (".original", ".0.down", ".0.up"):
            name = name.removesuffix(tail)
        return self.settings.decay ** (self.deepest + 1 - self.where[name]) if name in self.where else 1.0

    def train(self, mode: bool = True) -> FineTuning:
        super().train(mode)
        if mode and self.settings.norms == "frozen":
            for part in self.network.encoder.modules():
                if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (view,), net, head = views, self.network, self.network.head
        assert view.label is not None
        answer, other, share = view.label, None, 1.0
        if self.settings.mixup and head.mixes and not self.alike:
            view, other, share = self._mixed(view, ctx)
        cast = torch.is_autocast_enabled(view.x.device.type)
        f, there = net.moments(view, cast) if head.level == "sequence" else (net.read(view, cast), None)
        if self.alike:
            loss = losses.cosines_of_classes(f, answer)
        elif head.level == "pair":
            loss = head.loss(net.pairs(f), answer[: len(answer) // 2])
        elif there is not None:
            loss = head.loss(net.read_out(f, there), answer)
        elif head.level == "token":
            assert isinstance(net.layer, Scaled)
            loss = head.loss(net.layer(f), shares(answer, view, net.grid(view), net.cell, head.outputs))
        else:
            assert isinstance(net.layer, Scaled)
            out = net.layer(f)
            loss = head.loss(out, answer)
            if other is not None:
                loss = share * loss + (1 - share) * head.loss(out, other)
        if self.settings.l2sp:
            apart = [(p - self.start[n]).square().sum() for n, p in net.encoder.named_parameters() if n in self.start]
            loss = loss + 0.5 * self.settings.l2sp * torch.stack(apart).sum()
        return Step(loss, f.detach() if f.ndim == 2 else f.detach().mean(1))

    def _mixed(self, view: Batch, ctx: Context) -> tuple[Batch, Tensor, float]:
        """Every item mixed with another one of the batch, the other's answer, and the share of the first.

        source: Zhang et al. 2017, arXiv:1710.09412.
        """
        g, a = ctx.generator, self.settings.mixup
        order = torch.randperm(len(view.x), generator=g, device=g.device)
        seed = int(torch.randint(2**31, (1,), generator=g, device=g.device))
        share = float(np.random.default_rng(seed).beta(a, a))
        assert view.label is not None
        mixed = replace(view, x=share * view.x + (1 - share) * view.x[order])
        if view.valid is not None:
            mixed = replace(mixed, valid=view.valid | view.valid[order])
        return mixed, view.label[order], share


@dataclass
class Task:
    """What one fine-tuning after the other shares: the pretrained model, the data, what is to be predicted, and features computed once.

    seed: of everything random. mitigation: learns the reading in the head's place: (features, classes, rows) -> weight [D, K], bias [K].
    """

    model: Model
    data: Dataset
    answers: Supervision
    head: Callable[[], Head]
    config: FinetuneConfig
    strategy: str = "lp-ft"
    seed: int = 0
    mitigation: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None

    def __post_init__(self) -> None:
        strategy(self.strategy)
        self._features: dict[bool, dict[int, np.ndarray]] = {True: {}, False: {}}
        self._standard: dict[bool, tuple[np.ndarray, np.ndarray]] = {}

    def tiled(self, small: bool) -> bool:
        """Whether items are read in parts too; small: few labels."""
        if self.config.tiles == "auto":
            return small or self.strategy == "probe"
        return self.config.tiles == "yes"

    def fresh(self, tiles: bool = True) -> Network:
        """An untouched network."""
        head = self.head()
        head.few = self.model.modality.probe_c
        return Network(copy.deepcopy(self.model), head, tiles)

    def read(self, network: Network, rows: np.ndarray) -> np.ndarray:
        """Features of these rows of the data."""
        x, lengths = self.data.x[rows], None if self.data.lengths is None else self.data.lengths[rows]
        most = 0
        if network.head.level == "token" and isinstance(x, Flat):
            most = -(-self.answers.values.shape[1] // network.cell[-1])
        elif network.head.level == "sequence" and self.data.lengths is not None:  # rows are read in several calls, and joined
            most = -(-int(self.data.lengths.max()) // self.model.modality.samples_of(self.model.encoder.cell))
        return network.features(x, lengths, most)

    def pretrained(self, rows: np.ndarray, tiles: bool) -> np.ndarray:
        """Features of these rows by the pretrained encoder, each computed once."""
        held = self._features[tiles]
        new = np.array([r for r in dict.fromkeys(rows.tolist()) if r not in held], dtype=np.int64)
        if len(new):
            held.update(zip(new.tolist(), self.read(self.fresh(tiles), new), strict=True))
        return np.stack([held[r] for r in rows.tolist()])

    def standard(self, tiles: bool) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the features over the training items, labelled or not."""
        if tiles not in self._standard:
            rows, level, lengths = self.data.train, self.head().level, self.data.lengths
            tokens = level == "token"
            if tokens and isinstance(self.data.x, Flat):  # of another one the longest may have no end
                rows = np.intersect1d(rows, self.answers.items)
            rows = rows[:: max(1, -(-len(rows) // (500 if level in ("token", "sequence") else STANDARD)))]
            f = self.pretrained(rows, tiles)
            if tokens and lengths is not None:
                net = self.fresh(tiles)
                f = f[np.arange(f.shape[1]) * (net.cell[0] * net.step) < lengths[rows, None]]  # without padding
            f = f.reshape(-1, f.shape[-1]).astype(np.float64)
            f = f[~np.isnan(f[:, 0])] if level == "sequence" else f
            mean, scale = f.mean(0), f.std(0)
            scale[scale <= 1e-6 * np.abs(mean)] = 1.0
            scale[scale == 0] = 1.0
            self._standard[tiles] = mean, scale
        return self._standard[tiles]

    def items(self, chosen: np.ndarray) -> np.ndarray:
        """Rows of the data behind these examples, each once."""
        return np.unique(self.answers.items[chosen])

    def probed(self, chosen: np.ndarray, small: bool, seed: int) -> Network:
        """The network with its head set to the linear probe's solution on these examples."""
        tiles = self.tiled(small)
        network = self.fresh(tiles)
        head, y = network.head, self.answers.values[chosen]
        encoder = network.model.encoder
        cells = y.size // math.prod(network.cell) if head.level == "token" else 0
        if head.level == "sequence":
            cells = len(y) * math.prod(-(-s // c) for s, c in zip(network.model.modality.most, encoder.cell, strict=True))
        if cells * encoder.dim > HELD:
            said = f"features of {len(y):,} items, each padded to the longest, do not fit into memory"
            raise Asked(said, "cut the long items into parts, such as sentences, or label fewer")
        head.prepare(y)
        where = self.answers.items[chosen]
        groups = None if self.data.groups is None else self.data.groups[where if where.ndim == 1 else where[:, 0]]
        if self.strategy == "prototypes":
            return prototyped(network, self.data, where, y, self.config.prototypes, small=small, seed=seed, groups=groups)
        mean, scale = self.standard(tiles)
        if head.level == "pair":
            network.inner = Scaled(mean, scale, 1)
            a, b = ((self.pretrained(where[:, k], tiles) - mean) / scale for k in (0, 1))
            f = of_pair(a, b, head.ordered)
            own = f.std(0)
            mean, scale = f.mean(0), np.where(own > 1e-12, own, 1.0)
        else:
            f = self.pretrained(where, tiles)
        if head.level == "token":
            y = network.shares_of(y)
        if head.level == "sequence":
            network.layer = Moments(mean, scale, head.outputs)
            network.layer.reset(seed)
            if strategy(self.strategy)[0] != "full":
                head.learn(network.layer, f, y, seed)
        else:
            z, own = (f - mean) / scale, self.mitigation
            weight, bias = head.probe(z, y, small=small, seed=seed, groups=groups) if own is None else own(z, y, where)
            network.layer = Scaled(mean, scale, head.outputs)
            network.layer.set(weight, bias)
        return network.to(next(self.model.parameters()).device)

    def ceiling(self, chosen: np.ndarray) -> float:
        """The best score that any head of tokens could have on these examples: that of every token's own shares of the labels."""
        network, y = self.fresh(), self.answers.values[chosen]
        out = np.log(np.maximum(network.shares_of(y), 1e-9))
        found = network.head.scores(network.spread(out, y.shape[1:]), y, {})
        return found[network.head.metrics[0]]

    def outputs(self, network: Network, chosen: np.ndarray) -> np.ndarray:
        """The head's outputs for these examples; of tokens at every place of the item."""
        where = self.answers.items[chosen]
        if where.ndim == 2:
            rows, back = np.unique(where, return_inverse=True)
            return network.outcome(self.read(network, rows), back.reshape(where.shape))
        out = network.outcome(self.read(network, where))
        return network.spread(out, self.answers.values.shape[1:]) if network.head.level == "token" else out

    def steps(self, count: int) -> tuple[int, int]:
        """(batch, steps) that are planned for so many labels."""
        c = self.config
        usual = min(64, int(self.model.modality.settings("simclr", self.model.spec)["batch"]))
        head = self.head()
        batch = max(2, min(c.batch or min(usual, head.batch or usual), count))
        return batch, int(np.clip(math.ceil(c.passes * count / batch), max(c.least, min(head.least, c.most)), c.most))

    def fit(
        self,
        chosen: np.ndarray,
        held: np.ndarray | None = None,
        *,
        small: bool = False,
        seed: int = 0,
        steps: int | None = None,
        folder: Path | None = None,
        say: Callable[[str], None] | None = None,
        show: Callable[[int, int, float, float], None] | None = None,
    ) -> tuple[Network, dict[str, Any]]:
        """Fine-tune on some examples; the network and what is worth knowing of the training.

        chosen, held: positions in the answers to learn from, and to stop by. small: too few to tune the probe. folder: of checkpoints.
        """
        kind, last = strategy(self.strategy)
        if kind == "lora" and self.config.l2sp:
            raise Asked("finetune.l2sp pulls weights back that lora never moves", "leave one of them out")
        if kind == "setfit" and self.answers.head != "classification":
            raise Asked(f"--strategy setfit compares items of classes, and {self.answers.head} has none", "lp-ft, full or lora")
        network = self.probed(chosen, small, seed)
        if kind in FROZEN:
            return network, {"steps": 0, "seconds": 0.0}
        if kind == "full" and isinstance(network.layer, Scaled):  # what fine-tuning is where no probe comes first
            network.layer.set(np.zeros((network.layer.linear.in_features, network.head.outputs)), np.zeros(network.head.outputs))
        stay = frozen(network.encoder, self.config.freeze, last)
        if kind == "setfit":  # the head is learned afterwards, so there is nothing to stop by
            held = None
        trainer = _Trainer(self, network, FineTuning(network, self.config, stay, kind), chosen, held, seed, steps, folder)
        try:
            about = trainer.run(show)
        finally:
            if kind == "lora":
                merge(network.encoder)
        network.encoder.requires_grad_(True)
        network.eval()
        if kind == "setfit":
            network = replace(self, model=network.model).probed(chosen, small, seed)
        return network, about


class _Trainer:
    """The loop of one fine-tuning, its looks at held-out labels and its checkpoints."""

    def __init__(
        self,
        task: Task,
        network: Network,
        method: FineTuning,
        chosen: np.ndarray,
        held: np.ndarray | None,
        seed: int,
        steps: int | None,
        folder: Path | None,
    ) -> None:
        self.task, self.network, self.held, self.folder = task, network, held, folder
        c, data = task.config, task.data
        count = len(chosen)
        model = task.model
        batch, planned = task.steps(count)
        total = steps or planned
        device = next(model.parameters()).device
        config = RunConfig(
            data={},
            modality=dict(model.config["modality"]),
            method={"name": "finetune"},
            backbone=dict(model.config["backbone"]),
            optim=OptimConfig(kind="adamw", lr=c.lr, weight_decay=c.weight_decay, warmup=0.1, clip=1.0, beta2=0.999),
            train=TrainConfig(steps=total, batch=batch, seed=task.seed * 1000 + seed),
            device=str(device),
            precision=model.precision,
        )
        fabric = make_fabric(config)
        modality = network.model.modality
        if count < 2:  # a batch holds two items at least
            chosen = np.tile(chosen, 2)
        where, values = task.answers.items[chosen], task.answers.values[chosen]
        loader: Loader
        if network.head.level == "pair":
            loader = Pairs(data, where, values, modality, fabric.device)
        else:
            kind = Tagged if network.head.level == "token" else Loader
            loader = kind(replace(data, labels=None), where, modality, fabric.device)
            loader.labels = torch.from_numpy(np.ascontiguousarray(values, dtype=wide(values.dtype)))
        self.loop = Loop.build(fabric, method, loader, modality, config)
        self.loop.method.train()
        self.best, self.best_step, self.spent = self._score(), 0, 0.0
        self.kept = self._state()

    def run(self, show: Callable[[int, int, float, float], None] | None) -> dict[str, Any]:
        loop = self.loop
        self._restore()
        begin, saved = time.perf_counter() - self.spent, time.perf_counter()
        every = self.every
        with deterministic(), interruptible() as interrupted:
            while not self._over():
                step = loop.advance()
                self.spent = time.perf_counter() - begin
                if loop.step % every == 0 or loop.step == loop.total:
                    loss = float(step.loss.detach())
                    if self.held is not None:
                        now = self._score()
                        if now > self.best:
                            self.best, self.best_step, self.kept = now, loop.step, self._state()
                    if show is not None:
                        show(loop.step, loop.total, loss, self.best[0])
                stop = interrupted()
                if self.folder is None:
                    if stop:
                        raise KeyboardInterrupt
                    continue
                if stop or time.perf_counter() - saved > loop.config.train.checkpoint:
                    self._save()
                    saved = time.perf_counter()
                if stop:
                    raise Stopped(f"interrupted at step {loop.step} of {loop.total}; everything is saved", self.folder)
        if self.folder is not None:  # a fold that is done stays done, whatever happens to the next one
            self._save()
        done = loop.step
        if self.held is not None:
            self._load(self.kept)
        loop.method.eval()
        return {"steps": done, "planned": loop.total, "best_step": self.best_step if self.held is not None else done, "seconds": self.spent}

    @property
    def every(self) -> int:
        """Steps between two looks at held-out labels."""
        return max(1, self.loop.total // LOOKS)

    def _over(self) -> bool:
        """Whether all steps are done, or held-out labels were not read better for long."""
        loop, patience = self.loop, self.task.config.patience
        if loop.step >= loop.total:
            return True
        late = self.held is not None and patience and loop.step - self.best_step > patience * loop.total
        return bool(late and loop.step % self.every == 0)

    def _score(self) -> tuple[float, float]:
        """(metric that decides, minus the loss) on the held-out examples; larger is better."""
        if self.held is None or not len(self.held):
            return (-math.inf, -math.inf)
        head, y = self.network.head, self.task.answers.values[self.held]
        was = self.loop.method.training
        self.loop.method.eval()
        out = self.task.outputs(self.network, self.held)
        self.loop.method.train(was)
        found = head.scores(out, y, {})
        name = head.metrics[0]
        second = found.get("nll", found.get("rmse", 0.0))
        value = -found[name] if name in head.errors else found[name]
        return (value if value == value else -math.inf, -second)

    def _state(self) -> dict[str, Tensor]:
        return {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}

    def _load(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(dict(state))

    def _save(self) -> None:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / ".best.safetensors"
        save_file({k: v.contiguous() for k, v in self.kept.items()}, beside)
        beside.replace(self.folder / f"best-{self.best_step:08d}.safetensors")
        meta = {"best": [v if math.isfinite(v) else None for v in self.best], "best_step": self.best_step, "seconds": self.spent}
        checkpoint.save(self.folder / "steps", self.loop.step, self.loop.trainee, self.loop.optimizer, meta)
        for old in self.folder.glob("best-*.safetensors"):
            if old.name != f"best-{self.best_step:08d}.safetensors" and old.name not in self._named():
                old.unlink()

    def _named(self) -> set[str]:
        """Best states that a kept checkpoint still refers to."""
        steps = (self.folder or Path()) / "steps"
        return {f"best-{json.loads(p.read_text())['best_step']:08d}.safetensors" for p in steps.glob("[0-9]*/meta.json")}

    def _restore(self) -> None:
        newest = None if self.folder is None else checkpoint.latest(self.folder / "steps")
        if newest is None or self.folder is None:
            return
        meta = checkpoint.restore(newest, self.loop.trainee, self.loop.optimizer, self.loop.fabric.device)
        self.loop.step, self.best_step, self.spent = meta["step"], meta["best_step"], meta["seconds"]
        low, second = (-math.inf if v is None else v for v in meta["best"])
        self.best = (low, second)
        self.kept = load_file(self.folder / f"best-{self.best_step:08d}.safetensors")
