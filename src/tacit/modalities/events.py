"""Event logs: each item is a sequence of rows (purchases of a customer, visits of a patient), one token an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tacit import celltypes
from tacit.later import later
from tacit.modality import RECIPE, BadItem, Raw
from tacit.reasons import Reason, Strange
from tacit.tabular import Tabular, said, words_of
from tacit.types import Batch, Count, Fraction, Layout, Share, Spec, Views

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tacit import augment, eventtokens, layers, pieces, slices
    from tacit.encoder import Tokenizer
else:
    torch, augment, layers, eventtokens = later("torch"), later("tacit.augment"), later("tacit.layers"), later("tacit.eventtokens")
    slices, pieces = later("tacit.slices"), later("tacit.pieces")

LATEST = 200  # events of a sequence that are kept unless asked otherwise
WEAKEST = 0.7  # of a sequence that a weak view shows


class Events(Tabular):
    """Sequences of rows in the order of their time: columns of numbers, categories, yes or no, dates; values may be missing.

    crop: smallest share of a sequence that a global view keeps. swap: share of its cells that a global view takes from other events.
    width: numbers that stand for a cell. event: numbers that stand for an event.
    source: Babaev et al. 2022, arXiv:2002.08232 (views are slices of one sequence); ours swaps cells, too.
    """

    unit, tagged, named = "sequences", "events", "events"
    values: ClassVar[int] = 20_000  # of an item that people buy or visit there are many
    gives: ClassVar[frozenset[str]] = frozenset({"global_", "local", "weak", "plain"})
    tuned, plainly = "plain", "aggregates"
    strengths = {"crop": (0.8, 0.5, 0.25), "swap": (0.0, 0.1, 0.3)}
    # larger networks learn some thousand sequences by heart: docs/decisions.md
    preset = {
        "method": "autoregressive",
        "batch": 64,
        "lr": 2e-3,
        "weight_decay": 0.01,
        "passes": 40,
        "optim": {"kind": "adamw"},
        "size": "tiny",
    }

    def __init__(self, spec: Spec, *, crop: Share = 0.5, swap: Fraction = 0.1, width: Count = 32, event: Count = 128) -> None:
        super().__init__(spec)
        self.layout, self.sizes = Layout(1), spec.sizes
        self.crop, self.swap, self.width, self.event = crop, swap, width, event
        self.ignores = f"which part of a sequence is seen (down to {crop:.0%}), and single values"

    # ---- left of the line ----

    @classmethod
    def plan(cls, sample: Sequence[Raw], *, size: int | None = None, limit: int = 224, columns: str = "") -> Spec:
        """Look at every cell and say what the columns are, and how long a sequence is.

        size: events kept of each sequence, the latest ones; None = 200. limit: not used. columns: what columns are, against the first look.
        """
        if getattr(sample, "sequences", None) is None:
            raise BadItem("events are rows of a table, and it has to be said which belong together (--sequence-by)")
        found = super().plan(sample, columns=columns)
        return cls._long(found, sample, size or LATEST)

    @classmethod
    def known(cls, sample: Sequence[Raw]) -> Spec:
        found = super().known(sample)
        if not found.extra.get("decoded"):
            return cls._long(found, sample, LATEST)
        longest = max(np.asarray(sample[i]).shape[-1] for i in range(len(sample)))
        return replace(found, sizes=(longest,), ragged=True, extra={**found.extra, "longest": longest})

    @classmethod
    def _long(cls, spec: Spec, sample: Sequence[Raw], latest: int) -> Spec:
        about = sample.sequences  # type: ignore[attr-defined]
        longest = int(about.lengths.max())
        extra = {**spec.extra, "by": about.by, "time": about.time, "dated": about.dated, "day_first": about.day_first}
        extra |= {"latest": latest, "longest": longest}
        return replace(spec, sizes=(min(longest, latest),), ragged=True, extra=extra)

    @classmethod
    def prefer(cls, spec: Spec, device: str) -> tuple[str, str]:
        return "gru", "reads events in their order; the best on the drawn log of docs/tables.md"

    @classmethod
    def naming(cls, seen: celltypes.Seen) -> tuple[str, str]:
        """As in other tables, but whole numbers under the name of a thing are its names."""
        kind, why = super().naming(seen)
        known = seen.rows - seen.missing
        counted = sum(seen.counts.values())  # of a word in a row of its own there is one, however many words there are
        often = counted > 1.5 * seen.distinct if seen.more else seen.distinct < known / 2
        if often and kind in ("number", "id") and seen.number == known and seen.whole and celltypes.THING.search(seen.name):
            return "category", celltypes.NAMES
        return ("category", "words") if kind == "id" and seen.number < known and often else (kind, why)

    @classmethod
    def decode(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """The latest events of one sequence, float32 [F, T]; raw: [F, T] as `decode_block` gives them."""
        if not isinstance(raw, np.ndarray) or raw.ndim != 2 or len(raw) != spec.channels or not raw.shape[1]:
            raise BadItem(f"no sequence of rows with {spec.channels} columns")
        x = raw[:, -spec.sizes[0] :].astype(np.float32)
        if np.isnan(x).all():
            raise BadItem("every value is missing")
        return x

    @classmethod
    def example(cls) -> Spec:
        """Two numbers and two categories, up to 16 events."""
        columns: list[dict[str, Any]] = [{"name": f"number {i}", "kind": "number", "why": "numbers"} for i in range(2)]
        columns += [{"name": w, "kind": "category", "why": "words", "values": list("abcd")} for w in ("item", "place")]
        rng = np.random.default_rng(0)
        x = np.concatenate([rng.normal(size=(60, 2, 16)), rng.integers(0, 4, (60, 2, 16))], 1).astype(np.float32)
        about = {"by": "user", "time": "", "dated": False, "day_first": False, "latest": LATEST, "longest": 16}
        spec = replace(cls.described(columns, []), sizes=(16,), ragged=True)
        return cls.finish(replace(spec, extra={**spec.extra, **about}), x)

    @classmethod
    def finish(cls, spec: Spec, x: np.ndarray) -> Spec:
        """Measure the events of x float32 [n, F, T], padding (nothing known in any column) left out."""
        rows = np.moveaxis(np.asarray(x), 1, 2).reshape(-1, spec.channels)
        return super().finish(spec, rows[~np.isnan(rows).all(1)])

    @classmethod
    def like(cls, planned: Spec, trained: Spec) -> Spec:
        """The columns that the model was trained with, and as many of the latest events as it took at most."""
        found = super().like(planned, trained)
        longest, latest = int(planned.extra["longest"]), int(trained.extra["latest"])
        return replace(found, sizes=(min(longest, latest),), extra={**found.extra, "longest": longest})

    @classmethod
    def notes(cls, spec: Spec) -> list[str]:
        longest, latest = spec.extra["longest"], spec.extra["latest"]
        cut = f"of sequences of up to {longest:,} events the latest {latest} are read (--image-size takes more)"
        return super().notes(spec) + ([cut] if longest > latest else [])

    # ---- right of the line ----

    def augment(self, batch: Batch, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views = RECIPE) -> Batch:
        batch = slices.known(batch)
        if kind == "plain":
            return batch if layers.exporting() else slices.front(batch, torch.zeros_like(batch.ids), slices.lengths(batch))
        least = want.lowest or self.crop
        share = {"global_": (least, 1.0), "local": (min(self.crop, least) / 2, min(self.crop, least)), "weak": (WEAKEST, 1.0)}[kind]
        b, long = len(batch.x), slices.lengths(batch)
        n = (long * augment.uniform(generator, (b,), *share)).ceil().long().clamp(min=1)
        n = torch.minimum(n, long)
        view = slices.front(batch, (augment.uniform(generator, (b,)) * (long - n + 1)).long().clamp(max=batch.x.shape[-1] - 1), n)
        return view if kind == "weak" else self._swapped(view, self.swap * want.strength, generator)

    def _swapped(self, view: Batch, share: float, generator: torch.Generator) -> Batch:
        """Some cells with the value that other events of the batch have in that column."""
        assert view.valid is not None
        x = view.x
        rows = x.transpose(1, 2)[view.valid]  # [V, F]
        other = (augment.uniform(generator, tuple(rows.shape)) * len(rows)).long().clamp(max=len(rows) - 1)
        swapped = augment.uniform(generator, tuple(rows.shape)) < share
        out = x.transpose(1, 2).clone()
        out[view.valid] = torch.where(swapped, rows.gather(0, other), rows)
        return replace(view, x=out.transpose(1, 2).contiguous())

    def cut_up(self, view: Batch, tokenizer: Tokenizer, most: int) -> pieces.Pieces:
        """The events; several in a row together where there are more than `most`."""
        assert view.valid is not None
        count = int(view.valid[0].sum())
        of = pieces.runs(torch.where(view.valid[0], torch.arange(view.x.shape[2], device=view.x.device), -1), most)
        rows = [f"event {t + 1}: {', '.join(words_of(self.spec, view.x[0, :, t].tolist()))}" for t in range(count)]
        names = ["; ".join(rows[t] for t in (of == k).nonzero()[:, 0].tolist()) for k in range(int(of.max()) + 1)]
        return pieces.Pieces(of, tuple(names), "event")

    def without(self, view: Batch, parts: pieces.Pieces, keep: Tensor, background: Tensor | None) -> Batch:
        return pieces.removed(view, parts, keep)

    def reasons(self, item: Strange, most: int) -> list[Reason]:
        """The strangest events, each with its strangest column."""
        cells, count, strongest = item.tokenizer.cells, self.spec.channels, item.strongest(most)
        x, length = item.x, int((~np.isnan(item.x).all(0)).nonzero()[0].max(initial=0)) + 1
        out: list[Reason] = []
        if item.evidence[strongest[0]] < 1:
            return [(tuple(range(length)), f"no single event of {length} stands out: the sequence as a whole is unlike the others")]
        for t in [t for t in strongest if t < length]:
            guess = item.guess[t].reshape(count, -1)
            with torch.no_grad():
                pair = (torch.from_numpy(np.array(v)[None]).to(cells.prior.device) for v in (guess, x[:, t]))
                f = int(eventtokens.each_column(item.tokenizer, *pair).argmax())
            words = said(self.spec, f, replace(item, x=x[:, t], guess=guess, tokenizer=cells), "the other events")
            out.append(((t,), f"event {t + 1} of {length}: {words}"))
        return out

    def tokenizer(self, dense: bool) -> Tokenizer:
        return eventtokens.EventTokenizer(self.spec.extra["measured"], self.spec.mean, self.spec.std, dim=self.event, width=self.width)
