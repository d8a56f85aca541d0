"""What stands in the documents of a data set: languages, copies, what is repeated everywhere, personal data; and the same without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit.data import splits
from tacit.data.listing import few
from tacit.errors import Asked, TacitError
from tacit.later import later

if TYPE_CHECKING:
    from tacit import likeness, personal, tongues
    from tacit.data.dataset import Dataset
else:
    likeness, personal, tongues = later("tacit.likeness"), later("tacit.personal"), later("tacit.tongues")

LOOKED = 50_000  # documents that are looked into for languages and near copies; of more, every n-th


def documents(dataset: Dataset, step: int = 1) -> Iterator[tuple[int, str]]:
    """Row and raw text of every step-th document. Raises Asked where there is no text, or it is not known where it came from."""
    if dataset.raws is None:
        raise Asked(f"{dataset.path} has no text that can be read again", "open a file or a folder of text")
    for row, text in enumerate(dataset.raws()):
        if row % step == 0:
            yield row, text


def survey(dataset: Dataset) -> dict[str, Any]:
    """What `inspect` says of the documents, plain JSON."""
    step = max(1, -(-len(dataset) // LOOKED))
    near = likeness.near(text for _, text in documents(dataset, step))
    names = dataset.names
    return {
        "looked": -(-len(dataset) // step),
        "languages": tongues.languages(text for _, text in documents(dataset, step)),
        "near": {"count": near.count, "pairs": [[names[a * step], names[b * step]] for a, b in near.pairs[:5]]},
        "boilerplate": [list(found) for found in likeness.boilerplate(text for _, text in documents(dataset, step))],
        "personal": personal.count(text for _, text in documents(dataset)),
        "why": dataset.spec.extra.get("why", ""),
        "tokens": int(dataset.lengths.sum()) if dataset.lengths is not None else 0,
        "longer": int((dataset.lengths > dataset.spec.sizes[0]).sum()) if dataset.lengths is not None else 0,
        "context": dataset.spec.sizes[0],
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The survey for the terminal."""
    total = max(1, sum(found["languages"].values()))
    out = [f"languages  {few((f'{name} {n / total:.0%}' for name, n in found['languages'].items()), 6)} (of {total:,} documents)"]
    out.append(f"tokens     {found['tokens']:,}; {found['longer']:,} documents are longer than the training window of {found['context']}")
    if count := found["near"]["count"]:
        shown = "; ".join(" = ".join(pair) for pair in found["near"]["pairs"][:2])
        out.append(f"near       {count:,} of {found['looked']:,} documents are nearly copies of an earlier one: {shown}")
    for text, count in found["boilerplate"][:3]:
        out.append(f"repeated   {count:,} documents: {text!r}")
    kinds = {k: n for k, n in found["personal"].items() if k != "texts" and n}
    if kinds:
        said = ", ".join(f"{n:,} {k}" for k, n in kinds.items())
        out.append(f"personal   {said}, in {found['personal']['texts']:,} documents (--redact FILE; data.redact=true)")
    return out


def redacted(dataset: Dataset, path: Path) -> dict[str, Any]:
    """Write the documents without personal data as .jsonl, with label and part; those of which nothing is left are left out."""
    if path.suffix not in (".jsonl", ".ndjson"):
        raise Asked(f"{path}: documents are written as .jsonl", "name the file like clean.jsonl")
    if path.exists() and str(path.resolve()) == str(Path(dataset.path).resolve()):
        raise Asked(f"{path} is what is read", "write to another file")
    labels = None
    if dataset.labels is not None:
        labels = np.array([*dataset.classes, None], dtype=object)[dataset.labels] if dataset.classes else dataset.labels
    beside = path.with_name(f".{path.name}.new")
    changed = empty = 0
    try:
        with beside.open("w", encoding="utf-8") as file:
            for row, text in documents(dataset):
                clean = personal.redact(text)
                changed += clean != text
                if clean != text and not personal.left(clean):
                    empty += 1
                    continue
                about: dict[str, Any] = {"text": clean, "split": splits.NAMES[dataset.split[row]]}
                if labels is not None and labels[row] is not None:
                    about["label"] = labels[row] if isinstance(labels[row], str) else float(labels[row])
                file.write(json.dumps(about, ensure_ascii=False) + "\n")
        beside.replace(path)
    except OSError as error:
        raise TacitError(f"{path} cannot be written: {error.strerror}", "choose another place") from error
    return {"file": str(path), "changed": changed, "left_out": empty}
