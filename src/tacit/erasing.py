"""`erase`: a model whose embeddings hold nothing linear of an attribute, verified on items that it was not fitted on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit.api import Say, digest
from tacit.auditing import attributes_of
from tacit.auditors import erasure
from tacit.auditors.attributes import FEWEST, Attribute
from tacit.auditors.probes import leak
from tacit.data.splits import LEFT_OUT
from tacit.embedding.model import Model
from tacit.errors import Asked, BadData
from tacit.runtime import commit
from tacit.subject import Subject
from tacit.training.run import Run, finite, write_json, write_text

KEPT = ("run.json", "config.toml", "data.json", "seen.npy")
PROBED = ("linear", "network")


@dataclass(frozen=True)
class Erased:
    """path: folder of the new model. model: it. result: what was measured, plain JSON: for each attribute AUC before and after."""

    path: Path
    model: Model
    result: dict[str, Any] = field(repr=False)

    @property
    def verified(self) -> bool:
        """Whether a linear reading of held-out items stays within what chance lets expect, for every attribute."""
        return all(a["verified"] for a in self.result["attributes"])


def erase(
    run: str | Path,
    data: Any,
    *,
    groups: Any,
    out: str | Path,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Erased:
    """Take attributes out of the embeddings of a run, by LEACE fitted on the training items, and write it as a run of its own.

    run: folder of a run. data: a path, an array or open data. groups: columns ("sex,age:25/45"), or name -> a value for each item. out:
    folder of the new model, which embeds, is fine-tuned and exported like any other. options: for opening the data.
    What is not linear stays, and is measured. Raises Asked where the folder is taken or there is nothing to erase, BadData.
    """
    say = say or (lambda words: None)
    subject, place = Subject.open(run), Path(out)
    if subject.path is None or not isinstance(subject.net, Model) or subject.decides:
        raise Asked(f"{subject.name} is no run", "give the folder of `tacit pretrain`; a decision is made anew from what is written")
    if subject.net.erasers:
        raise Asked(f"{subject.path} has been erased from before", "name all attributes at once, from the run that it was made from")
    if place.exists() and any(place.iterdir() if place.is_dir() else [place]):
        raise Asked(f"{place} is there already", "choose another --out")
    items = subject.items(data, dict(options or {}), say)
    found = attributes_of(items, groups, None)
    if not found:
        raise Asked("erase needs to know what to take out", "--groups sex")
    net = subject.net
    rows, held = items.train, items.test
    if min(len(rows), len(held)) < 4 * FEWEST:
        every = np.random.default_rng([seed, 404]).permutation(np.flatnonzero(items.split != LEFT_OUT))
        rows, held = np.sort(every[: len(every) // 2]), np.sort(every[len(every) // 2 :])
    x, lengths = items.x, items.lengths
    say(f"embedding {len(items):,} items\r")
    whole = {True: net.vectors(x, lengths)} if net.modality.tiles else {}
    whole[False] = net.vectors(x, lengths, tiles=False)
    codes = [a.codes[rows] for a in found]
    for z in whole.values():
        eraser = erasure.leace(z[rows], codes)
        net.erasers[z.shape[1]] = (torch.from_numpy(eraser.matrix.astype(np.float32)), torch.from_numpy(eraser.bias.astype(np.float32)))
    net.config["erased"] = [a.name for a in found]
    before = whole[True] if net.modality.tiles else whole[False]
    after = net.vectors(x, lengths)
    result: dict[str, Any] = {
        "run": str(subject.path), "model": digest(subject.path), "data": items.path, "fingerprint": items.fingerprint, "commit": commit(),
        "fitted_on": len(rows), "moved": float(np.square(after - before).sum() / np.square(before - before.mean(0)).sum()),
        "left": erasure.left(after[rows], codes),
        "attributes": [_measured(a, before, after, rows, held, seed, say) for a in found],
    }  # fmt: skip
    place.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (subject.path / name).is_file():
            shutil.copy2(subject.path / name, place / name)
    net.save(place / "model")
    if (place / "run.json").is_file():
        Run(place).note(erased=[a.name for a in found], erased_from=str(subject.path), private=None)
    write_text(place / "model" / "CARD.md", _card(place, subject.path, result))
    write_json(place / "erasure.json", finite(result))
    return Erased(place, net, result)


def _measured(
    a: Attribute, before: np.ndarray, after: np.ndarray, rows: np.ndarray, held: np.ndarray, seed: int, say: Say
) -> dict[str, Any]:
    """AUC of the attribute on held-out items before and after; verified: the linear one lies within the band of chance."""
    large = [g for g in range(len(a.values)) if all((a.codes[r] == g).sum() >= FEWEST for r in (rows, held))]
    if len(large) < 2:
        raise BadData(f"{a.name}: two groups need {FEWEST} items on either side, or nothing can be verified", "collect more of them")
    fit, held = (r[np.isin(a.codes[r], large)] for r in (rows, held))
    say(f"verifying {a.name}\r")
    out: dict[str, Any] = {"name": a.name, "n": len(held)}
    for when, z in (("before", before), ("after", after)):
        out[when] = {p: leak(z[fit], a.codes[fit], z[held], a.codes[held], p, seed).plain() for p in PROBED}
    linear = out["after"]["linear"]
    out["verified"] = bool(linear["auc"] <= linear["chance"][1] or linear["p"] > 0.025)
    return out


def _card(place: Path, run: Path, result: Mapping[str, Any]) -> str:
    lines = []
    for a in result["attributes"]:
        b, c = a["before"], a["after"]
        lines.append(
            f"- {a['name']}: a linear reading of {a['n']:,} held-out items has AUC {b['linear']['auc']:.3f} before and "
            f"{c['linear']['auc']:.3f} "
            f"after (chance: {c['linear']['chance'][0]:.3f} to {c['linear']['chance'][1]:.3f}); a network {b['network']['auc']:.3f} and "
            f"{c['network']['auc']:.3f}"
        )
    return "\n".join(
        [
            f"# {place.name}",
            "",
            f"The encoder of `{run}` with {', '.join(a['name'] for a in result['attributes'])} erased from its embeddings (LEACE, "
            "fitted on "
            f"{result['fitted_on']:,} items; {100 * result['moved']:.1f} % of the variance moved).",
            "",
            *lines,
            "",
            "What is not linear stays: a network on top can still find it. The input is read as before, with the attribute if it is in it.",
            "",
        ]
    )
