"""A label for every part of an item: words of a text, frames of a recording, segments of a series, regions of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit import calibration
from tacit.evaluation.probes.linear import Linear
from tacit.head import Decided, Head
from tacit.later import later
from tacit.types import Count

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = later("torch")


class Tagging(Head):
    """A label for every token of an item. It is learned and decided at the resolution of the features, and brought to that of the data.

    A token's answer is the share of each label in the part of the item that it covers. Labels O, B-x and I-x mark spans (entities,
    answers), which are what is decided and scored then. most: tokens that the linear probe learns from.
    """

    source = "spans, exact by both ends and label: Tjong Kim Sang & De Meulder 2003, arXiv:cs/0306050"

    level = "token"
    metrics: tuple[str, ...] = ("iou", "accuracy", "nll", "ece")

    def __init__(self, classes: tuple[str, ...] = (), *, most: Count = 30_000) -> None:
        super().__init__(classes)
        self.most = most
        self.spans = "O" in self.classes and all(c == "O" or c[:2] in ("B-", "I-") for c in self.classes)
        if self.spans:
            self.metrics = ("span_f1", "span_precision", "span_recall", "accuracy", "nll", "ece")

    def known(self, y: np.ndarray) -> np.ndarray:
        return np.asarray((y.reshape(len(y), -1) >= 0).any(1))

    def probe(self, f: np.ndarray, y: np.ndarray, *, small: bool, seed: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """f: [N, M, D]; y: [N, M, K], the share of each label in each token, 0 everywhere = unknown."""
        share = y.sum(-1)
        rows, tokens = np.nonzero(share > 0)
        if len(rows) > self.most:
            keep = np.sort(np.random.default_rng([seed, 303]).permutation(len(rows))[: self.most])
            rows, tokens = rows[keep], tokens[keep]
        whole = rows if groups is None else groups[rows]  # tokens of one item stay together
        answer = y[rows, tokens].argmax(-1)
        fitted = Linear(by="likelihood").fit(f[rows, tokens], answer, self.outputs, small=small, seed=seed, groups=whole)
        weight, bias = fitted.coefficients()
        return weight, np.where(np.isfinite(bias), bias, -30.0)

    def loss(self, out: Tensor, answer: Tensor) -> Tensor:
        """answer: [B, M, K], shares."""
        each = -(answer * torch.log_softmax(out.float(), -1)).sum(-1)
        return each.sum() / answer.sum().clamp(min=1)

    def calibrate(self, out: np.ndarray, y: np.ndarray, alpha: float) -> dict[str, Any]:
        rows = y >= 0
        flat, truth = out[rows], y[rows].astype(np.int64)
        step = max(1, len(flat) // 50_000)
        return {"temperature": calibration.temperature(flat[::step], truth[::step]), "n": len(out)}

    def decide(self, out: np.ndarray, calibration_: Mapping[str, Any], lengths: np.ndarray | None = None) -> Decided:
        """out: [N, *S, K], at the data's own resolution; of ragged items only the first `lengths` places count."""
        n, k = len(out), out.shape[-1]
        p = calibration.softmax(out.reshape(-1, k), calibration_.get("temperature", 1.0)).reshape(out.shape)
        tags = list(p.argmax(-1).astype(np.int16))
        sure = list(p.max(-1))
        if lengths is not None:
            tags, sure = ([v[..., :m] for v, m in zip(part, lengths, strict=True)] for part in (tags, sure))
        if self.spans:
            return self._marked(tags, sure)
        share = np.array([np.bincount(t.ravel(), minlength=k) / max(1, t.size) for t in tags]).reshape(n, k)
        columns: dict[str, Any] = {"prediction": [self.classes[j] for j in share.argmax(1)]}
        columns["probability"] = np.array([float(s.mean()) if s.size else float("nan") for s in sure])
        columns |= {f"share:{name}": share[:, j] for j, name in enumerate(self.classes)}
        columns["tags"] = tags
        return Decided(columns, np.zeros(n, bool), [""] * n, "prediction names the commonest label; tags holds one for every place")

    def _marked(self, tags: list[np.ndarray], sure: list[np.ndarray]) -> Decided:
        """The spans of each item: first place, one after the last, label."""
        found = [marked(t, self.classes) for t in tags]
        columns: dict[str, Any] = {"prediction": [", ".join(dict.fromkeys(label for *_, label in f)) or "none" for f in found]}
        columns["probability"] = np.array([float(s.min()) if s.size else float("nan") for s in sure])
        columns |= {"spans": [list(map(list, f)) for f in found], "tags": tags}
        promise = "prediction names the labels of the spans; probability is that of the least certain place"
        return Decided(columns, np.zeros(len(found), bool), [""] * len(found), promise)

    def scores(self, out: np.ndarray, y: np.ndarray, calibration_: Mapping[str, Any]) -> dict[str, float]:
        known = y >= 0
        guess, truth = out.argmax(-1)[known], y[known].astype(np.int64)
        found = self._found(out, y) if self.spans else {"iou": self._overlap(guess, truth)}
        found["accuracy"] = float((guess == truth).mean())
        flat = out[known]
        step = max(1, len(flat) // 200_000)
        p = calibration.softmax(flat[::step], calibration_.get("temperature", 1.0))
        found |= {"nll": calibration.nll(p, truth[::step]), "ece": calibration.ece(p.max(1), (guess == truth)[::step])}
        return found

    def _overlap(self, guess: np.ndarray, truth: np.ndarray) -> float:
        """Intersection over union, the mean over the labels that occur."""
        table = np.bincount(truth * self.outputs + guess, minlength=self.outputs**2).reshape(self.outputs, -1)
        union = table.sum(0) + table.sum(1) - np.diag(table)
        here = table.sum(1) > 0
        return float((np.diag(table)[here] / union[here]).mean())

    def _found(self, out: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """F1, precision and recall of the spans of all items together."""
        ours, true, both = 0, 0, 0
        for row, answer in zip(out, y, strict=True):
            known = answer >= 0
            a, b = (set(marked(t, self.classes)) for t in (row[known].argmax(-1), answer[known]))
            ours, true, both = ours + len(a), true + len(b), both + len(a & b)
        precision, recall = both / ours if ours else 0.0, both / true if true else float("nan")
        return {"span_f1": 2 * both / (ours + true) if true else float("nan"), "span_precision": precision, "span_recall": recall}


def marked(tags: np.ndarray, classes: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """The spans of a row of BIO labels: first place, one after the last, label. An I- that follows nothing of its label begins one."""
    out: list[tuple[int, int, str]] = []
    first, label = 0, ""
    for t, k in enumerate([*tags.tolist(), -1]):
        mark, _, name = (classes[k] if k >= 0 else "O").partition("-")
        if label and (mark != "I" or name != label):
            out.append((first, t, label))
            label = ""
        if mark in ("B", "I") and not label:
            first, label = t, name
    return out
