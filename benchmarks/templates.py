"""Generated texts whose labels are known exactly: names of people, places and firms, answers to questions, what follows from what."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

Rows = tuple[list[str], list[list[str]]]
SYLLABLES = "ba be bo da de do fa fe ka ke ko la le lo ma me mi mo na ne no ra re ri ro sa se so ta te to va ve vo".split()
TOLD = {
    "person": ["{0} bought a new bicycle .", "yesterday {0} sang at the wedding .", "{0} and her sister like tea ."],
    "place": ["the train to {0} was late .", "it rained in {0} all week .", "many tourists visit {0} in summer ."],
    "firm": ["shares of {0} fell sharply .", "{0} hired two hundred engineers .", "the board of {0} met on monday ."],
}
PLAIN = ["nothing happened that day .", "the meeting was long and dull .", "all the lights were off ."]
ACTS = {"sleeps": "rests", "runs": "jogs", "eats": "dines", "sings": "hums", "reads": "studies", "paints": "draws"}
AGAINST = {
    "sleeps": "is awake",
    "runs": "stands still",
    "eats": "is fasting",
    "sings": "is silent",
    "reads": "is blind",
    "paints": "hates art",
}


def names(count: int, seed: int) -> list[str]:
    """Invented names of two or three syllables."""
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys("".join(rng.choice(SYLLABLES, rng.integers(2, 4))) for _ in range(3 * count)))[:count]


def entities(path: Path, labels: int, unlabelled: int = 4000, test: int = 500) -> Path:
    """A csv of texts with spans. Names of the test texts stand in no labelled training text, but in unlabelled ones."""
    rng = np.random.default_rng(0)
    pool = names(360, 1)
    known = {kind: pool[k * 120 : (k + 1) * 120] for k, kind in enumerate(TOLD)}

    def one(part: slice) -> tuple[str, list[list[object]]]:
        kind = str(rng.choice([*TOLD, "none"]))
        if kind == "none":
            return f"{rng.choice(PLAIN)} {rng.integers(1000)}", []
        name = str(rng.choice(known[kind][part]))
        text = f"{rng.integers(1000)} " + str(rng.choice(TOLD[kind])).format(name)
        return text, [[text.index(name), text.index(name) + len(name), kind]]

    rows = [(*one(slice(0, 60)), "train") for _ in range(labels)] + [(*one(slice(60, 120)), "test") for _ in range(test)]
    free = [(one(slice(0, 120))[0], None, "train") for _ in range(unlabelled)]
    return _written(path, (["text", "spans", "split"], [[t, "" if s is None else json.dumps(s), p] for t, s, p in [*rows, *free]]))


def answers(path: Path, labels: int, unlabelled: int = 4000, test: int = 500) -> Path:
    """A csv of questions, texts about three people, and the place where the one asked for lives."""
    rng = np.random.default_rng(0)
    people, towns = names(60, 2), names(60, 3)

    def one() -> list[str]:
        who, where = rng.choice(people, 3, replace=False), rng.choice(towns, 3, replace=False)
        k = rng.integers(3)
        return [f"where does {who[k]} live ?", " ".join(f"{p} lives in {t} ." for p, t in zip(who, where, strict=True)), str(where[k])]

    parts = [("train", labels, True), ("test", test, True), ("train", unlabelled, False)]
    rows = [[*(r := one())[:2], r[2] if told else "", part] for part, n, told in parts for _ in range(n)]
    return _written(path, (["question", "context", "answer", "split"], rows))


def entailment(path: Path, labels: int, unlabelled: int = 4000, test: int = 500) -> Path:
    """A csv of two sentences: the second follows from the first, contradicts it, or says something else of the same person."""
    rng = np.random.default_rng(0)
    people = names(200, 4)

    def one() -> list[str]:
        who, act = str(rng.choice(people)), str(rng.choice(list(ACTS)))
        other = str(rng.choice([a for a in ACTS if a != act]))
        kind = ["follows", "contradicts", "neither"][rng.integers(3)]
        second = {"follows": ACTS[act], "contradicts": AGAINST[act], "neither": ACTS[other]}[kind]
        return [f"{who} {act} on day {rng.integers(1000)}", f"{who} {second} on day {rng.integers(1000)}", kind]

    parts = [("train", labels, True), ("test", test, True), ("train", unlabelled, False)]
    rows = [[*(r := one())[:2], r[2] if told else "", part] for part, n, told in parts for _ in range(n)]
    return _written(path, (["first", "second", "label", "split"], rows))


def _written(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        writer.writerows(rows[1])
    return path


# name: maker, options of opening, head
TASKS: dict[str, tuple[Callable[..., Path], dict[str, str], str]] = {
    "entities": (entities, {"text_column": "text", "target": "spans"}, "tagging"),
    "answers": (answers, {"text_column": "question,context", "target": "answer"}, "tagging"),
    "entailment": (entailment, {"text_column": "first,second", "target": "label"}, "pairs"),
}
