"""`forget`: a run trained again without some items, what still holds them, and what it changed for whoever asks about them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tacit import asking
from tacit.api import Say, digest, opened
from tacit.auditors import trail
from tacit.auditors.membership import TIMES, signs
from tacit.auditors.rates import auc
from tacit.config import RunConfig
from tacit.data import keep
from tacit.data.dataset import Dataset
from tacit.data.itemnames import Names
from tacit.data.splits import LEFT_OUT
from tacit.embedding.model import Model, load
from tacit.errors import Asked, BadData, nearest
from tacit.origin import training_data
from tacit.runtime import commit
from tacit.statistics import interval
from tacit.terminal import clock
from tacit.training.pretrain import Pretrained, pretrain
from tacit.training.run import Run, finite, write_json

FEWEST, DRAWS, MOST = 10, 8, 1000  # forgotten items that an effect is measured on; views of each; items of the attack
HOLDING = (
    *("embeddings/*", "explain/*", "detect/*", "finetune/*", "map/*", "audit/*.json", "evaluation/*", "checkpoints/*"),
    *("report.*", "data.json", "seen.npy", "log.txt"),
)


@dataclass(frozen=True)
class Forgotten:
    """path: the new run, None = nothing was done yet. result: plain JSON: which items, what it takes, what holds them, the effect."""

    path: Path | None
    result: dict[str, Any] = field(repr=False)


def forget(
    run: str | Path,
    ids: Sequence[str],
    *,
    train: Any = None,
    out: str | Path | None = None,
    replace: bool = False,
    dry_run: bool = False,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
    show: Callable[[Any], None] | None = None,
) -> Forgotten:
    """Train a run again without some items, from the same configuration and seed, and say what that changed.

    run: folder of a run. ids: names of the items; exact copies of them go, too. train: its data, None = where the run says. out: folder of
    the new run, None = <run>_without_<n>. replace: the new run takes the old one's place, which is removed with all that holds the items.
    dry_run: only say what would happen. options: for opening the data. The decoded data in the cache is removed in any case.
    Raises Asked for items that it did not learn from, BadData where too few are left.
    """
    say = say or (lambda words: None)
    path = Path(run)
    if not (path / "config.toml").is_file():
        raise Asked(f"{path} is no run", "give the folder of `tacit pretrain`")
    net = load(path)
    data = training_data(net, path, train, dict(options or {}), say)
    rows, copies = _rows(data, ids)
    info, config = Run(path).info(), RunConfig.read(path / "config.toml")
    left = np.setdiff1d(data.train, rows)
    if len(left) < 2:
        raise BadData(f"{len(left)} training items would be left", "forget fewer, or remove the run")
    goal = Path(out) if out else path.with_name(f"{path.name}_without_{len(rows)}")
    if goal.exists():
        raise Asked(f"{goal} is there already", "choose another --out")
    seconds = float(info.get("seconds") or 0.0)
    result: dict[str, Any] = {
        "run": str(path), "model": digest(path), "data": data.path, "commit": commit(), "ids": [str(data.names[r]) for r in rows],
        "copies": copies, "left": len(left), "steps": config.train.steps, "estimate_seconds": seconds,
        "holding": sorted(str(p.relative_to(path)) for pattern in HOLDING for p in path.glob(pattern)),
    }  # fmt: skip
    said = f" and {copies} exact copies of them" if copies else ""
    say(
        f"{len(rows) - copies} items{said} of {len(data.train):,} are left out; training {config.train.steps} steps again takes about "
        f"{clock(seconds)}"
    )
    if data.modality == "text":
        say("note: the vocabulary is learned anew from what is left; a vocabulary that was given stays")
    if info.get("init"):
        say(f"note: the run started from {info['init']}: what that one saw is not forgotten by this")
    if dry_run:
        return Forgotten(None, result)
    stay = np.setdiff1d(np.flatnonzero(data.split != LEFT_OUT), rows)  # what was left out before stays so
    listed = goal.with_name(f".{goal.name}-kept.csv")
    goal.parent.mkdir(parents=True, exist_ok=True)
    keep.write(data.names, stay, listed)
    try:
        again = _opened(data, listed)
        done = pretrain(again, out=goal, command="", say=say, show=show, **_as_before(config, info))
    finally:
        listed.unlink(missing_ok=True)  # the run has taken a copy
    assert isinstance(done, Pretrained)
    result["effect"] = _effect(net, done.model, data, rows, left, say)
    if data.cache_path is not None:  # and whatever else was decoded from the same files
        same = sorted(data.cache_path.parent.glob(f"{data.cache_path.name.split('-')[0]}-*"))
        for place in same:
            shutil.rmtree(place, ignore_errors=True)
        result["cache_removed"] = [str(p) for p in same]
    if replace:
        aside = path.with_name(f".{path.name}-forgotten")
        path.rename(aside)
        goal.rename(path)
        if (aside / "audit" / "log.jsonl").is_file():  # what was done stays on record; what was found names items
            (path / "audit").mkdir(exist_ok=True)
            shutil.copy2(aside / "audit" / "log.jsonl", path / "audit" / "log.jsonl")
        shutil.rmtree(aside)
        goal, result["holding"] = path, []
    write_json(goal / "forgotten.json", finite({**result, "ids": None, "count": len(rows)}))  # who was forgotten stays unnamed
    trail.append(goal / "audit" / "log.jsonl", {"command": "forget", "count": len(rows), "model": digest(goal), "before": result["model"]})
    return Forgotten(goal, result)


def _rows(data: Dataset, ids: Sequence[str]) -> tuple[np.ndarray, int]:
    """(rows of the items and of their exact copies, number of these copies). Raises Asked."""
    if not ids:
        raise Asked("forget needs to know which items", "--ids a.jpg,b.jpg, or --ids @FILE with a name in each line")
    names = Names(data.names)
    found = [names.row(i) for i in ids]
    if lost := [i for i, r in zip(ids, found, strict=True) if r < 0]:
        raise Asked(f"{data.path} has no item {lost[0]!r}", nearest(lost[0], [str(n) for n in data.names[:20_000]][:2000]))
    rows = np.unique(found)
    every = np.flatnonzero(np.isin(data.hashes, data.hashes[rows]))
    if not np.isin(every, data.train).any():
        raise Asked(f"the run learned from none of these {len(rows)} items: there is nothing to forget", "they are held out")
    return every, len(every) - len(rows)


def _opened(data: Dataset, listed: Path) -> Dataset:
    """The data again without what the list leaves out, and without a copy of the decoded items on disk."""
    asked = {k: v for k, v in data.opened.items() if v is not None and k not in ("path", "cache", "keep")}
    if "path" not in data.opened:
        raise Asked("data in memory cannot be opened again", "train from a file or folder")
    return opened(data.opened["path"], **{**asked, "cache": False, "keep": listed})


def _as_before(config: RunConfig, info: Mapping[str, Any]) -> dict[str, Any]:
    """What `pretrain` was asked, so that nothing but the items differs."""

    def rest(part: Mapping[str, Any], *known: str) -> dict[str, Any]:
        return {k: v for k, v in part.items() if k not in ("name", *known)}

    private = {k: v for k, v in asdict(config.private).items() if k in ("epsilon", "delta", "clip") and v}
    return {
        "method": config.method["name"], "backbone": config.backbone["name"], "size": config.backbone.get("size"),
        "steps": config.train.steps, "batch_size": config.train.batch, "seed": config.train.seed, "device": config.device,
        "precision": config.precision, "init": info.get("init"),
        "overrides": {
            "method": rest(config.method), "backbone": rest(config.backbone, "size", "norm"), "modality": rest(config.modality),
            "optim": asdict(config.optim), "train": rest(asdict(config.train), "steps", "batch", "seed"),
            **({"private": private} if config.private.epsilon else {}),
        },
    }  # fmt: skip


def _effect(old: Model, new: Model, data: Dataset, rows: np.ndarray, left: np.ndarray, say: Say) -> dict[str, Any]:
    """How well the forgotten items are told from unseen ones, by the old encoder and by the new one."""
    others = np.setdiff1d(data.test, rows)
    if len(rows) < FEWEST or len(others) < 4 * FEWEST or not asking.kind_of_view(old):
        return {"measured": False, "why": f"an effect is measured on at least {FEWEST} forgotten and {4 * FEWEST} unseen items"}
    rng = np.random.default_rng(828)
    members, others = (rng.permutation(r)[:MOST] for r in (left, others))
    half = len(others) // 2
    out: dict[str, Any] = {"measured": True, "n": len(rows), "unseen": len(others) - half}
    for when, net in (("before", old.eval()), ("after", new.eval())):
        say(f"asking about the forgotten items, {when}\r")
        own = signs(asking.asks(net, data, 0), np.concatenate([members, others, rows]), DRAWS)
        x = np.concatenate(list(own.values()), 1)
        score = _score(x[: len(members)], x[len(members) : len(members) + half], x[len(members) + half :])
        unseen, gone = score[: len(others) - half], score[len(others) - half :]
        draws = [_auc(rng.choice(gone, len(gone)), rng.choice(unseen, len(unseen))) for _ in range(TIMES)]
        low, high = interval(np.array(draws))
        out[when] = {"auc": _auc(gone, unseen), "low": low, "high": high}
    return out


def _score(members: np.ndarray, others: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """How much each asked item looks like a member."""
    import warnings

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = np.concatenate([members, others]), np.r_[np.ones(len(members)), np.zeros(len(others))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, class_weight="balanced")).fit(x, y)
    return np.asarray(fitted.decision_function(asked))


def _auc(yes: np.ndarray, no: np.ndarray) -> float:
    return auc(np.concatenate([yes, no]), np.arange(len(yes) + len(no)) < len(yes))
