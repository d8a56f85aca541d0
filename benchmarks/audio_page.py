"""docs/audio.md, written from the cells of part 6."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parts import sources
from recordings import ACCENTS
from tables_page import value

WAYS = (
    ("ssl", "linear"),
    ("untrained", "linear"),
    ("mfcc", "linear"),
    ("mfccforest", "itself"),
    ("melpca", "linear"),
    ("ssl", "knn"),
    ("mfcc", "knn"),
)
HEADS = "Tacit | untrained | MFCC + LR | MFCC + forest | log-mel PCA + LR | Tacit, kNN | MFCC, kNN"
LEVELS = (1, 5, 10, 50, "all")


def page(cells: Any) -> Iterator[str]:
    """The page, line by line."""
    found = cells.every()
    yield "# Sound: what was measured\n"
    yield f"Written by `python benchmarks/part6.py --write` from the cells in `benchmarks/results/part6` (commits: {sources(found)})."
    yield "One preset, from scratch on the training speakers; no speaker that is tested on was pretrained on. What is missing was not measured.\n"
    yield from _digits(found)
    yield from _robust(found)
    yield from _methods(found)
    yield from _preset(found)
    yield from _speakers(found)
    yield from _emotion(found)
    yield from _denoise(found)
    yield from _asr(found)
    yield from _speed(found)


def _shown(row: list[float]) -> str:
    best = max((v for v in row if v == v), default=0.0)
    return " | ".join("n/a" if v != v else f"**{v:.1f}**" if v == best else f"{v:.1f}" for v in row)


def _of(cell: dict[str, Any], way: tuple[str, str], level: Any) -> float:
    return 100 * value(cell, *way, level)


def _digits(found: dict[str, Any]) -> Iterator[str]:
    folds = {n: c for n, c in found.items() if n.startswith("digits_")}
    if not folds:
        return
    yield "## Spoken digits of unseen speakers (fsdd)\n"
    yield f"Accuracy in %, mean of {len(folds)} folds of two held-out speakers ({next(iter(folds.values()))['n_test']:,} recordings each); 10 draws of 1, 5 and 10 labels a class, 3 of 50.\n"
    yield f"| labels a class | {HEADS} |\n| --- | {' | '.join(['---'] * len(WAYS))} |"
    for level in LEVELS:
        yield f"| {level} | {_shown([float(np.mean([_of(c, w, level) for c in folds.values()])) for w in WAYS])} |"
    yield "\nEach fold, Tacit minus MFCC + LR in points:\n"
    yield f"| held out | {' | '.join(map(str, LEVELS))} |\n| --- | {' | '.join(['---'] * len(LEVELS))} |"
    for n, c in folds.items():
        gaps = [_of(c, WAYS[0], level) - _of(c, WAYS[2], level) for level in LEVELS]
        yield f"| {n.removeprefix('digits_').replace('_', ', ')} | {' | '.join(f'{g:+.1f}' for g in gaps)} |"
    yield "\nWhat the verdict says:\n"
    for n, c in folds.items():
        yield f"- {n.removeprefix('digits_').replace('_', ' and ')} held out ({c['train']:,} recordings, {c['steps']:,} steps): {c['verdict']}"
    yield "\nEach speaker with all labels (all six are men, so sexes cannot be told apart):\n"
    yield "| speaker | accent | Tacit | MFCC + LR |\n| --- | --- | --- | --- |"
    for c in folds.values():
        for s in c["apart"]["ssl"]:
            yield f"| {s} | {ACCENTS.get(s, '')} | {100 * c['apart']['ssl'][s]:.1f} | {100 * c['apart']['mfcc'][s]:.1f} |"
    yield ""


def _robust(found: dict[str, Any]) -> Iterator[str]:
    folds = [c for n, c in found.items() if n.startswith("digits_")]
    if not folds:
        return
    yield "## Noise and lost frequencies\n"
    yield "The same probes (all labels of clean training speakers) on test recordings with white noise, or without the upper half of their frequencies; mean of the folds, accuracy in %.\n"
    kinds = list(folds[0]["robust"]["ssl"])
    yield f"| | {' | '.join(kinds)} |\n| --- | {' | '.join(['---'] * len(kinds))} |"
    for name, words in (("ssl", "Tacit"), ("mfcc", "MFCC + LR")):
        means = [100 * float(np.mean([c["robust"][name][k] for c in folds])) for k in kinds]
        yield f"| {words} | {' | '.join(f'{m:.1f}' for m in means)} |"
    yield ""


def _methods(found: dict[str, Any]) -> Iterator[str]:
    rows = {n.removeprefix("method_"): c for n, c in found.items() if n.startswith("method_")}
    if not rows:
        return
    yield "## Other pretext tasks, three minutes each\n"
    yield f"Digits, the first fold; the encoder is frozen and read by logistic regression, in brackets the same encoder untrained.\n\n| method | {' | '.join(map(str, LEVELS))} | steps |\n| --- | {' | '.join(['---'] * len(LEVELS))} | --- |"
    for name, c in sorted(rows.items(), key=lambda i: -_of(i[1], WAYS[0], 10)):
        cells = [f"{_of(c, WAYS[0], level):.1f} ({_of(c, WAYS[1], level):.1f})" for level in LEVELS]
        yield f"| {name} | {' | '.join(cells)} | {c['steps']:,} |"
    yield ""


def _preset(found: dict[str, Any]) -> Iterator[str]:
    rows = {n.removeprefix("preset_").replace("-", " "): c for n, c in found.items() if n.startswith("preset_")}
    if not rows:
        return
    yield "## What each part of the preset brings\n"
    yield "200 steps on three training speakers of the first fold, tested on the fourth, mean of two; the first fold's own test speakers have no part in it.\n"
    yield f"| changed | {' | '.join(map(str, LEVELS))} |\n| --- | {' | '.join(['---'] * len(LEVELS))} |"
    for name, c in rows.items():
        means = []
        for level in LEVELS:
            held = [r["value"] for r in c["rows"] if r["representation"] == "ssl" and r["labels_per_class"] == level]
            means.append(100 * float(np.mean(held)) if held else float("nan"))
        yield f"| {name} | {' | '.join(f'{m:.1f}' for m in means)} |"
    yield ""


def _speakers(found: dict[str, Any]) -> Iterator[str]:
    if (c := found.get("speakers_identification")) is not None:
        yield "## Who speaks (fsdd, six speakers, takes 0 to 4 held out)\n"
        yield f"| labels a speaker | {HEADS} |\n| --- | {' | '.join(['---'] * len(WAYS))} |"
        for level in LEVELS:
            yield f"| {level} | {_shown([_of(c, w, level) for w in WAYS])} |"
        yield ""
    folds = {n: c for n, c in found.items() if n.startswith("speakers_") and n != "speakers_identification"}
    if folds:
        yield "## One speaker or two? (two speakers whom pretraining has not heard)\n"
        yield "Cosine of embeddings around the mean of the training speakers; equal error rate in % and minimum detection cost (prior 0.05), with 95 % intervals.\n"
        yield "| held out | pairs | representation | equal error rate | minimum cost |\n| --- | --- | --- | --- | --- |"
        for n, c in folds.items():
            for r in c["results"]:
                eer = f"{100 * r['eer']:.1f} [{100 * r['eer_low']:.1f}, {100 * r['eer_high']:.1f}]"
                yield f"| {n.removeprefix('speakers_').replace('_', ', ')} | {c['trials']:,} | {r['representation']} | {eer} | {r['min_dcf']:.2f} |"
        yield ""


def _emotion(found: dict[str, Any]) -> Iterator[str]:
    folds = {n: c for n, c in found.items() if n.startswith("emotion_")}
    if not folds:
        return
    truth = np.concatenate([c["truth"] for c in folds.values()])
    yield f"## Acted emotions of unseen speakers (emodb)\n\n{len(folds)} folds of two held-out speakers, all labels, {len(truth)} recordings, seven classes; mean recall of the classes in %, pooled over the folds, 95 % interval over recordings.\n"
    yield "| representation | mean recall | 95 % interval |\n| --- | --- | --- |"
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(1000)]
    for name in ("ssl", "untrained", "mfcc", "ssl + mfcc"):
        guess = np.concatenate([c[f"{name} predicted"] for c in folds.values()])

        def recall(rows: np.ndarray, guess: np.ndarray = guess) -> float:
            return 100 * float(np.mean([(guess[rows][truth[rows] == k] == k).mean() for k in np.unique(truth[rows])]))

        low, high = np.quantile([recall(d) for d in draws], [0.025, 0.975])
        yield f"| {name} | {recall(np.arange(len(truth))):.1f} | {low:.1f} to {high:.1f} |"
    yield ""


def _denoise(found: dict[str, Any]) -> Iterator[str]:
    if (c := found.get("denoise")) is None:
        return
    yield f"## Noise taken away (`tacit enhance`)\n\nGain of SI-SNR in dB on {c['n']} recordings of held-out speakers, {c['steps']:,} steps, 95 % interval.\n"
    yield "| noise | gain |\n| --- | --- |"
    for name, v in c.items():
        if name.endswith("dB"):
            yield f"| {name} | {v[0]:+.1f} [{v[1]:+.1f}, {v[2]:+.1f}] |"
    yield ""


def _asr(found: dict[str, Any]) -> Iterator[str]:
    if (c := found.get("asr")) is None:
        return
    yield "## What is said: three to five digits in a row, by CTC\n"
    yield f"Rows of recordings of one speaker with gaps of up to 0.1 s; {c['n_test']} rows of two held-out speakers; greedy, without a language model; error rates in % with 95 % intervals.\n"
    yield "| labelled rows | encoder | word errors | character errors |\n| --- | --- | --- | --- |"
    for r in c["rows"] + found.get("asr_longer", {"rows": []})["rows"]:
        shown = [f"{100 * v[0]:.1f} [{100 * v[1]:.1f}, {100 * v[2]:.1f}]" for v in (r["wer"], r["cer"])]
        yield f"| {r['labels']:,} | {r['encoder']} | {' | '.join(shown)} |"
    yield ""


def _speed(found: dict[str, Any]) -> Iterator[str]:
    if (c := found.get("speed")) is None:
        return
    step = c["step"]
    yield f"## Speed ({c['threads']} threads)\n"
    yield f"- training: {c['hours_per_hour']:.0f} hours of sound an hour; {100 * step['outside']:.0f} % of a step is outside forward and backward"
    yield f"- embedding: {c['embedded_per_s']:,.0f} recordings a second"
    d = c["decoding"]
    yield f"- a FLAC file of {c['file_hours']:g} hours (44.1 kHz, stereo) becomes {d['long']['items']:,} items in {d['long']['seconds']:.0f} s, with a peak of {d['long']['peak_mb']:,.0f} MB; one of a twentieth of that takes {d['short']['peak_mb']:,.0f} MB"
    yield ""
