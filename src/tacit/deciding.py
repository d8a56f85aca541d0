"""What is known beside a network to turn its outputs into decisions: head, calibration, and what the training items looked like.

Plain JSON and arrays, read and used without torch, so that an exported model decides exactly as the trained one does.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.errors import Asked, TacitError
from tacit.head import Decided, Head, at_places, of_pair
from tacit.outliers import Reference

FORMAT = 1
FALSE_ALARM = 0.05
TELLS = "mahalanobis"  # which distance says that an item is strange: the cosine of neighbours misses plain images (docs/deciding.md)
NEAREST = 5
LISTS = ("set", "nearest", "nearest_labels", "nearest_cosine", "spans")  # columns of lists, which are no arrays
FILES = ("decider.json", "reference.npz")


@dataclass(frozen=True)
class Knowledge:
    """Everything but the network.

    calibration: of the head, {} = none. reference: of the pretrained features, None = none. ids, labels: of the reference's items. cell:
    samples that one feature covers. seen: the size to which items are brought, None = their own. pair: mean, scale, weight and bias of
    a pair's reading. about: what a person may want to know of the training, plain JSON. step: stored values along the last axis that one
    tag stands for.
    """

    head: Head
    name: str
    knobs: Mapping[str, Any]
    calibration: Mapping[str, Any]
    reference: Reference | None
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    cell: tuple[int, ...]
    seen: tuple[int, ...] | None
    pair: Mapping[str, np.ndarray] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    step: int = 1

    def write(self, folder: Path) -> None:
        """Write decider.json and reference.npz, atomically."""
        plain = {
            "format": FORMAT,
            "head": {"name": self.name, "knobs": dict(self.knobs), "state": self.head.state()},
            "classes": list(self.head.classes),
            "calibration": dict(self.calibration),
            "cell": list(self.cell),
            "seen": None if self.seen is None else list(self.seen),
            "step": self.step,
            **self.about,
        }
        arrays = {f"pair.{k}": v for k, v in self.pair.items()}
        if self.reference is not None:
            arrays |= {f"reference.{k}": v for k, v in self.reference.arrays().items()}
        arrays |= {"ids": np.array(self.ids, dtype=str), "labels": np.array(self.labels, dtype=str)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            beside = folder / f".reference.{os.getpid()}.npz"
            np.savez(beside, **arrays)  # type: ignore[arg-type]
            os.replace(beside, folder / "reference.npz")
            beside = folder / f".decider.{os.getpid()}.json"
            beside.write_text(json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
            os.replace(beside, folder / "decider.json")
        except OSError as error:
            raise TacitError(f"the model cannot be written to {folder}: {error}", "free some space or choose another folder") from error

    @classmethod
    def read(cls, folder: Path) -> Knowledge:
        """The inverse of `write`. Raises Asked where there is nothing, TacitError where it is damaged or too new."""
        if not (folder / "decider.json").is_file():
            raise Asked(f"{folder} holds no head that decides", "make one with `tacit finetune RUN DATA`")
        try:
            raw = json.loads((folder / "decider.json").read_text(encoding="utf-8"))
            if int(raw["format"]) > FORMAT:
                said = f"the model in {folder} has format {raw['format']}, and this version of tacit reads up to {FORMAT}"
                raise TacitError(said, "pip install --upgrade tacit")
            registry.check_stored("heads", raw["head"]["name"], folder / "decider.json")
            kind = registry.find("heads", raw["head"]["name"])
            head = kind(tuple(raw["classes"]), **registry.check_knobs(kind, raw["head"]["knobs"], "head"))
            head.restore(raw["head"]["state"])
            with np.load(folder / "reference.npz", allow_pickle=False) as held:
                arrays = {k: held[k] for k in held.files}
            known = {k.removeprefix("reference."): v for k, v in arrays.items() if k.startswith("reference.")}
            pair = {k.removeprefix("pair."): v for k, v in arrays.items() if k.startswith("pair.")}
            own = {"format", "head", "classes", "calibration", "cell", "seen", "step"}
            return cls(
                head,
                raw["head"]["name"],
                raw["head"]["knobs"],
                raw["calibration"],
                Reference.from_arrays(known) if known else None,
                tuple(arrays["ids"].tolist()),
                tuple(arrays["labels"].tolist()),
                tuple(raw["cell"]),
                None if raw["seen"] is None else tuple(raw["seen"]),
                pair,
                {k: v for k, v in raw.items() if k not in own},
                int(raw.get("step", 1)),
            )
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
            raise TacitError(f"the model in {folder} is damaged: {said}", "copy it again, or fine-tune anew") from error

    def outcome(self, raw: np.ndarray, places: Sequence[int], pairs: np.ndarray | None = None) -> np.ndarray:
        """The head's outputs from those of the network.

        raw: [N, K]; of tokens [N, M, K], brought to all places of the item; of pairs the features [N, D] of single items, of which `pairs`
        int64 [R, 2] names the rows.
        """
        if pairs is not None and self.head.level != "pair":
            raise Asked("this model decides about single items, not about pairs", "leave --pairs out")
        if self.head.level == "pair":
            if pairs is None:
                raise Asked("this model compares two items", "name the pairs with --pairs FILE, a table with two columns of ids")
            a, b = (raw[pairs[:, k]].astype(np.float64) for k in (0, 1))
            f = of_pair(a, b, self.head.ordered)
            return ((f - self.pair["mean"]) / self.pair["scale"]) @ self.pair["weight"].T + self.pair["bias"]
        if self.head.level == "token":
            places = [*places[:-1], -(-places[-1] // self.step)]
            size = self.seen or tuple(places)
            grid = tuple(-(-s // c) for s, c in zip(size, self.cell, strict=True))
            return at_places(raw, grid, self.cell, size, places)
        return raw

    def told(self, out: np.ndarray, lengths: np.ndarray | None = None) -> Decided:
        """What the head says of outputs from `outcome`; lengths: of ragged items, in stored values."""
        return self.head.decide(out, self.calibration, None if lengths is None else -(-lengths // self.step))

    def decide(
        self, ids: Sequence[str], z: np.ndarray, out: np.ndarray, pairs: np.ndarray | None = None, lengths: np.ndarray | None = None
    ) -> Predictions:
        """Decisions, each with its certainty, how strange the item is, and the training items nearest to it.

        ids: of the items. z: pretrained features [N, D]. out: from `outcome`. pairs: as there. lengths: of ragged
        items, whose places end there.
        """
        decided = self.told(out, lengths)
        rows = {"id": list(ids)} if pairs is None else {"a": [ids[i] for i in pairs[:, 0]], "b": [ids[i] for i in pairs[:, 1]]}
        columns: dict[str, Any] = {**rows, **decided.columns}
        strange, why = np.zeros(len(out), bool), list(decided.why)
        notes = [decided.promise] if decided.promise else []
        if self.reference is not None:
            scores = self.reference.score(z)
            far = self.reference.strange(z, FALSE_ALARM, by=TELLS) if self.reference.held else np.zeros(len(z), bool)
            ranks = {k: self.reference.rank(k, v) if self.reference.held else v for k, v in scores.items()}
            if pairs is not None:
                far, ranks = far[pairs].any(1), {k: v[pairs].max(1) for k, v in ranks.items()}
            strange = far
            columns |= {f"ood_{k}": v for k, v in ranks.items()}
            columns["ood"] = far
            if self.reference.held:
                notes.append(
                    f"ood_*: share of {self.reference.held} held-out items that are less strange; ood is set above "
                    f"{1 - FALSE_ALARM:.0%} of them by the Mahalanobis distance in the pretrained embedding"
                )
            if pairs is None:
                near, cosine = self.reference.neighbours(z, NEAREST)
                columns["nearest"] = [[self.ids[i] for i in row] for row in near]
                columns["nearest_labels"] = [[self.labels[i] for i in row] for row in near]
                columns["nearest_cosine"] = [[round(float(c), 4) for c in row] for row in cosine]
        why = [", ".join(filter(None, (w, "unlike the training data" if s else ""))) for w, s in zip(why, strange, strict=True)]
        columns["abstain"] = decided.unsure | strange
        columns["why"] = why
        return Predictions(columns, notes)


@dataclass(frozen=True)
class Predictions:
    """One entry an item (or pair) in every column. notes: what the columns mean."""

    columns: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def rows(self) -> list[dict[str, Any]]:
        """Plain JSON, one object an item."""
        plain = {k: _plain(v) for k, v in self.columns.items()}
        return [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]

    def write(self, path: str | Path) -> Path:
        """Write FILE.parquet, .csv, .jsonl, or .npz (the arrays alone, such as masks), atomically. Raises Asked for another ending."""
        path = Path(path)
        if path.suffix not in (".parquet", ".csv", ".jsonl", ".npz"):
            raise Asked(f"{path}: predictions are written as .parquet, .csv, .jsonl or .npz", "name the file like predictions.csv")
        beside = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(beside)
            os.replace(beside, path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise TacitError(f"{path} cannot be written: {error.strerror or error}", "free some space or choose another --out") from error
        return path

    def _write(self, path: Path) -> None:
        if path.suffix == ".npz":
            arrays = {k: np.array(v) for k, v in self.columns.items() if k not in LISTS and len({np.shape(one) for one in v}) < 2}
            np.savez(path, **{k: v for k, v in arrays.items() if v.dtype != object})  # type: ignore[arg-type]
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows()), encoding="utf-8")
        elif path.suffix == ".csv":
            import csv

            with open(path, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                names = [k for k in self.columns if k != "tags"]
                writer.writerow(names)
                for row in self.rows():
                    writer.writerow([json.dumps(row[k], ensure_ascii=False) if k == "spans" else _cell(row[k]) for k in names])
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({k: pa.array(_plain(v)) for k, v in self.columns.items()}), path)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Decisions about several parts of the data as one."""
    if len(parts) == 1:
        return parts[0]
    columns = {}
    for name, first in parts[0].columns.items():
        held = [p.columns[name] for p in parts]
        columns[name] = np.concatenate(held) if isinstance(first, np.ndarray) else [v for part in held for v in part]
    return Predictions(columns, parts[0].notes)


def _plain(column: Any) -> list[Any]:
    if isinstance(column, np.ndarray):
        return column.tolist()
    return [v.ravel().tolist() if isinstance(v, np.ndarray) else v for v in column]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "|".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else value
