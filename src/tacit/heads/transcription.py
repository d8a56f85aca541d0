"""What is said in a recording (or written in a line), character by character."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit.head import ABSENT, Decided, Head
from tacit.later import later
from tacit.types import Count

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch, F = later("torch"), later("torch.nn.functional")

PASSES, LEAST, MOST = 10, 200, 3000  # of the frozen reading over its labels; its steps at least and at most
BATCH, RATE = 32, 3e-3


class Transcription(Head):
    """The characters of an item in their order, wherever they are: every moment gives a character or none, and repeats count once.

    beam: beginnings that are followed at the same time; 1 = the likeliest character of each moment (greedy).
    """

    source = "Graves et al. 2006 (connectionist temporal classification); beams without a language model, as in Hannun 2017"
    level = "sequence"
    calibrates, least, batch = False, 200, BATCH
    metrics: tuple[str, ...] = ("cer", "wer")

    def __init__(self, classes: tuple[str, ...] = (), *, beam: Count = 1) -> None:
        super().__init__(classes)
        self.beam = beam

    def known(self, y: np.ndarray) -> np.ndarray:
        return np.asarray((y >= 0).any(1))

    def loss(self, out: Tensor, answer: Tensor) -> Tensor:
        """out: [B, M, outputs]; answer: int64 [B, L], -1 = the end. Mean over characters; what is too short for its text counts nothing."""
        there = out[..., 0] < ABSENT / 2
        long, said = there.sum(1), (answer >= 0).sum(1)
        p = out.float().log_softmax(-1).transpose(0, 1)
        each = F.ctc_loss(p, answer.clamp(min=0), long, said, reduction="none", zero_infinity=True)
        return (each / said.clamp(min=1)).mean()

    def learn(self, layer: Any, f: np.ndarray, y: np.ndarray, seed: int) -> None:
        x, answer = torch.from_numpy(np.asarray(f, np.float32)), torch.from_numpy(y.astype(np.int64))
        exist, n = ~x[..., 0].isnan(), len(x)
        batch = min(BATCH, n)
        steps = int(np.clip(PASSES * n / batch, LEAST, MOST))
        optimizer = torch.optim.AdamW(layer.parameters(), lr=RATE, weight_decay=0.01)
        none = torch.zeros(self.outputs)
        none[0] = ABSENT
        draw = np.random.default_rng(seed)
        layer.train()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            for step in range(steps):
                rows = draw.choice(n, batch, replace=False)
                there = exist[rows]
                there = there[:, : int(there.sum(1).max())]  # what is padding in the whole batch costs nothing
                for group in optimizer.param_groups:
                    group["lr"] = RATE * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
                out = torch.where(there[..., None], layer(x[rows][:, : there.shape[1]].nan_to_num(0.0), there), none)
                loss = self.loss(out, answer[rows])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
                optimizer.step()
        layer.eval()

    def decide(self, out: np.ndarray, calibration: Mapping[str, Any], lengths: np.ndarray | None = None) -> Decided:
        """out: [N, M, outputs]."""
        texts, sure = [], []
        for row in out:
            p = _known(row)
            best = greedy(p) if self.beam == 1 else beam(p, self.beam)
            texts.append("".join(self.classes[k] for k in best))
            sure.append(float(np.exp(p.max(1).mean())) if len(p) else 0.0)
        columns = {"prediction": texts, "probability": np.array(sure)}
        return Decided(columns, np.zeros(len(out), bool), [""] * len(out), "probability: mean over moments of the likeliest character")

    def scores(self, out: np.ndarray, y: np.ndarray, calibration: Mapping[str, Any]) -> dict[str, float]:
        said = self.decide(out, calibration).columns["prediction"]
        true = ["".join(self.classes[k] for k in row[row >= 0]) for row in y]
        letters = sum(distance(list(a), list(b)) for a, b in zip(said, true, strict=True))
        words = sum(distance(a.split(), b.split()) for a, b in zip(said, true, strict=True))
        return {"cer": letters / max(1, sum(map(len, true))), "wer": words / max(1, sum(len(t.split()) for t in true))}


def _known(row: np.ndarray) -> np.ndarray:
    """Log-probabilities [M, K] of the moments of one item that exist."""
    row = row[(row[:, 0] < ABSENT / 2) & (row != 0).any(1)].astype(np.float64)
    row = row - row.max(1, keepdims=True)
    return np.asarray(row - np.log(np.exp(row).sum(1, keepdims=True)))


def greedy(p: np.ndarray) -> list[int]:
    """The likeliest character of each moment, repeats once, 0 left out; p: [M, K]."""
    best = p.argmax(1).tolist()
    return [k for i, k in enumerate(best) if k and (i == 0 or k != best[i - 1])]


def beam(p: np.ndarray, width: int) -> list[int]:
    """The likeliest text, all of its alignments together, as far as `width` beginnings show; p: log-probabilities [M, K]."""
    held: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}  # ends with no character, ends with its last one
    for row in p:
        new: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(text: tuple[int, ...], none: float, last: float, new: dict[tuple[int, ...], tuple[float, float]] = new) -> None:
            a, b = new.get(text, (-math.inf, -math.inf))
            new[text] = float(np.logaddexp(a, none)), float(np.logaddexp(b, last))

        for text, (none, last) in held.items():
            both = float(np.logaddexp(none, last))
            add(text, both + row[0], -math.inf)
            for k in range(1, len(row)):
                if text and text[-1] == k:
                    add(text, -math.inf, last + row[k])
                    add((*text, k), -math.inf, none + row[k])
                else:
                    add((*text, k), -math.inf, both + row[k])
        held = dict(sorted(new.items(), key=lambda i: -float(np.logaddexp(*i[1])))[:width])
    return list(max(held.items(), key=lambda i: float(np.logaddexp(*i[1])))[0])


def distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Fewest insertions, deletions and replacements that make b of a. source: Levenshtein 1966."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
