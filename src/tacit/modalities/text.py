"""Text: documents in any language, DNA, molecules; one token a piece of a word, a character or a symbol."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tacit import nuisances, wording
from tacit.later import later
from tacit.measured import because
from tacit.modality import RECIPE, BadItem, Modality, Raw
from tacit.reasons import Reason, Strange
from tacit.types import Batch, Count, Fraction, Layout, NonNegative, Share, Spec, Views, Whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tacit import augment, layers, personal, pieces, slices, texttokens
    from tacit.encoder import Tokenizer
else:
    torch, augment, layers, slices = later("torch"), later("tacit.augment"), later("tacit.layers"), later("tacit.slices")
    texttokens, personal, pieces = later("tacit.texttokens"), later("tacit.personal"), later("tacit.pieces")

CONTEXT = (16, 128)  # tokens of a training window at least and at most, unless asked otherwise
LONGEST = 8192  # tokens of a document that are kept
PIECES = 20_000  # vectors for pieces of spelling


class Text(Modality):
    """Documents of a language, DNA, molecules: what tokens are is learned from the corpus, and kept in the model.

    crop: smallest share of a document that a global view keeps. drop: share of its tokens that a global view leaves out. sif: a of the
    weights a / (a + share) of tokens in the mean over a document, 0 = all alike. width: numbers of a token's vector. subwords: a token's
    vector is joined by those of the pieces of its spelling (fastText). pairs: vectors for pairs of neighbouring tokens, 0 = none; not for
    methods that hide tokens.
    """

    unit, tagged = "documents", "tokens"
    tuned, plainly = "plain", "lsa"
    flat, written, directions = True, True, True
    probe_scale, probe_c = "whole", 0.1
    explained_with = {"alone": 0.9}  # without it a document hardly changes, and what changes is mostly its other words' share
    strengths = {"crop": (0.8, 0.5, 0.25), "drop": (0.0, 0.1, 0.3)}
    tasks = {"relation": 3}
    second = "roformer"
    carried = {"method": "mlm", "optim": {"kind": "adamw", "lr": 1e-4, "weight_decay": 0.01, "clip": 1.0}}
    preset = {
        "method": "word2vec",
        "batch": 64,
        "lr": 3e-3,
        "weight_decay": 0.0,
        "passes": 8,
        "optim": {"kind": "adamw", "clip": 0.0},
        "modality": {"pairs": 20_000, "width": 512, "sif": 0.01},
    }
    gives: ClassVar[frozenset[str]] = frozenset({"global_", "local", "weak", "plain"})

    def __init__(
        self,
        spec: Spec,
        *,
        crop: Share = 0.5,
        drop: Fraction = 0.1,
        sif: NonNegative = 1e-3,
        width: Count = 256,
        subwords: bool = False,
        pairs: Whole = 0,
    ) -> None:
        super().__init__(spec)
        self.layout, self.sizes = Layout(1), spec.sizes
        self.crop, self.drop, self.sif, self.width, self.subwords = crop, drop, sif, width, subwords
        self.pairs = pairs
        self.strand = wording.reverse_complement(spec.extra["tokenizer"]) if spec.extra["kind"] == "bases" else None
        strand = ", the strand" if self.strand is not None else ""
        self.ignores = f"which part of a document is seen (down to {crop:.0%}), single tokens{strand}"

    # ---- left of the line ----

    @classmethod
    def nuisances(cls, x: Any, lengths: np.ndarray | None, spec: Spec) -> dict[str, np.ndarray]:
        return nuisances.of_texts(wording.texts_of(x, spec.extra))

    @classmethod
    def plan(
        cls,
        sample: Sequence[Raw],
        *,
        size: int | None = None,
        limit: int = 224,
        tokens: str = "auto",
        vocabulary: int = 0,
        case: str = "auto",
        kmer: int = 1,
        tokenizer: str = "",
        redact: bool = False,
    ) -> Spec:
        """Learn what a token is.

        size: tokens of a training window, None = by the lengths of the documents, at most 128. limit: not used. tokens: bpe, wordpiece,
        unigram, characters, bases or smiles; auto = by what the texts are written with. vocabulary: number of tokens, 0 = as many as the
        corpus supports. case: lower or keep. kmer: bases a token. tokenizer: a tokenizer.json instead, or hf:NAME. redact: personal
        data (e-mail, phone, card, IBAN, keys) is replaced by its kind before anything is learned.
        """

        def texts() -> Iterator[str]:
            for block in _blocks(sample):
                for text in block:
                    if isinstance(text, str) and text.strip():
                        yield personal.redact(text) if redact else text

        if not any(True for _ in itertools.islice(texts(), 1)):
            raise BadItem("there is no text")
        found = wording.given(tokenizer) if tokenizer else wording.learn(texts(), tokens, vocabulary=vocabulary, case=case, kmer=kmer)
        some = list(itertools.islice(wording.sampled(texts()), 5000))
        long = np.array([len(t) for t in wording.encode(found.text, some)])
        context = size or int(np.clip(-(-int(np.quantile(long, 0.9)) // 16) * 16, *CONTEXT))
        extra = {"tokenizer": found.text, "kind": found.kind, "why": found.why, "redact": redact}
        extra["vocabulary"] = len(wording.words(found.text))
        return Spec("text", 1, (context,), ragged=True, extra=extra)

    @classmethod
    def known(cls, sample: Sequence[Raw]) -> Spec:
        return Spec("text", 1, (1,), ragged=True)

    @classmethod
    def decode_many(cls, block: Sequence[Any], spec: Spec) -> Iterator[np.ndarray | BadItem]:
        """Numbers of the tokens of documents, [n] each, as small as the vocabulary allows; what cannot be read stays a BadItem."""
        small = np.uint16 if spec.extra["vocabulary"] <= 65_536 else np.int32
        redact = bool(spec.extra.get("redact"))
        texts = [personal.redact(t) if redact and isinstance(t, str) else t for t in block]
        found = iter(wording.encode(spec.extra["tokenizer"], [t for t in texts if isinstance(t, str)]))
        for raw, text in zip(block, texts, strict=True):
            if isinstance(text, np.ndarray):  # numbers of tokens already
                yield _numbers(text, spec, small)
                continue
            if isinstance(text, BadItem):
                yield text
                continue
            ids = next(found)
            if not text.strip() or not len(ids):
                yield BadItem("no text")
            elif redact and text != raw and not personal.left(text):
                yield BadItem("nothing is left when personal data is taken out")
            else:
                yield ids[:LONGEST].astype(small)

    @classmethod
    def example(cls) -> Spec:
        """Some sentences of a small world."""
        rng = np.random.default_rng(0)
        who, does, what = ["the cat", "a dog", "my horse", "one bird"], ["sees", "likes", "hears"], ["the sea", "a tree", "some rain"]
        texts = [" and ".join(f"{rng.choice(who)} {rng.choice(does)} {rng.choice(what)}" for _ in range(3)) for _ in range(60)]
        sample: list[Any] = texts
        spec = replace(cls.plan(sample), sizes=(32,))
        return cls.finish(spec, list(cls.decode_many(texts, spec)))

    @classmethod
    def finish(cls, spec: Spec, x: Any) -> Spec:
        """Count the tokens of the training documents: numbers of tokens [n] each."""
        counts = np.zeros(spec.extra["vocabulary"], np.int64)
        lengths = []
        for ids in x:
            counts += np.bincount(ids.astype(np.int64), minlength=len(counts))
            lengths.append(len(ids))
        about = {"counts": counts.tolist(), "longest": max(lengths, default=0), "cut": int(sum(n >= LONGEST for n in lengths))}
        about["windowed"] = int(sum(n > spec.sizes[0] for n in lengths))
        about["measured"] = len(lengths)
        return replace(spec, extra={**spec.extra, **about})

    @classmethod
    def notes(cls, spec: Spec) -> list[str]:
        e = spec.extra
        out = [f"tokens: {e['kind']}, {e['why']}"] if e.get("why") else []
        if e.get("windowed"):
            said = f"{e['windowed']:,} of {e['measured']:,} training documents are longer than {spec.sizes[0]} tokens"
            out.append(f"{said}: training sees windows of them, an embedding is the mean over all of their tokens")
        if e.get("cut"):
            out.append(f"{e['cut']:,} documents have more than {LONGEST:,} tokens, and only these are read")
        return out + (["personal data is replaced by its kind"] if e.get("redact") else [])

    @classmethod
    def prefer(cls, spec: Spec, device: str) -> tuple[str, str]:
        return "bag", "vectors of words learn most from a small corpus"

    @classmethod
    def suggest(cls, spec: Spec, items: int, seconds: float | None) -> tuple[str, str]:
        return "word2vec", because("word2vec", "text")

    # ---- right of the line ----

    @property
    def most(self) -> tuple[int, ...]:
        return (int(self.spec.extra["longest"]),)

    def augment(self, batch: Batch, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views = RECIPE) -> Batch:
        batch = slices.known(batch)
        if kind == "plain":
            return batch if layers.exporting() else slices.front(batch, torch.zeros_like(batch.ids), slices.lengths(batch))
        least = want.lowest or self.crop
        share = {"global_": (least, 1.0), "local": (min(self.crop, least) / 2, min(self.crop, least)), "weak": (1.0, 1.0)}[kind]
        b, long, most = len(batch.x), slices.lengths(batch), self.sizes[0]
        n = (long * augment.uniform(generator, (b,), *share)).ceil().long().clamp(min=1, max=most)
        n = torch.minimum(n, long)
        start = (augment.uniform(generator, (b,)) * (long - n + 1)).long().clamp(max=batch.x.shape[-1] - 1)
        view = slices.front(batch, start, n, most)
        if kind == "weak":
            return view
        return self._stranded(_thinned(view, self.drop * want.strength, generator), generator)

    def _stranded(self, view: Batch, generator: torch.Generator) -> Batch:
        """DNA: half of the views are the other strand."""
        if self.strand is None:
            return view
        table, n = torch.as_tensor(self.strand, device=view.x.device), slices.lengths(view)
        place = (n[:, None] - 1 - torch.arange(view.x.shape[-1], device=view.x.device)).clamp(min=0)
        other = table[view.x[:, 0].nan_to_num(0).long().gather(1, place)].to(view.x.dtype)
        flip = augment.uniform(generator, (len(n), 1)) < 0.5
        assert view.valid is not None
        x = torch.where(flip & view.valid, other, view.x[:, 0])
        return replace(view, x=x[:, None])

    def pretext(self, task: str, batch: Batch, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """relation: two neighbouring halves of a window; the answer is 0 where the second follows the first, 1 where it precedes it, and
        2 where it is of another document. source: Wang et al. 2019, arXiv:1908.04577 (next sentence and sentence order in one)."""
        batch = slices.known(batch)
        b, long, half = len(batch.x), slices.lengths(batch), max(1, self.sizes[0] // 2)
        n = torch.minimum((long // 2).clamp(min=1), torch.full_like(long, half))
        start = (augment.uniform(generator, (b,)) * (long - 2 * n + 1).clamp(min=1)).long()
        answer = (augment.uniform(generator, (b,)) * 3).long().clamp(max=2)
        early, late = (slices.front(batch, s.clamp(max=batch.x.shape[-1] - 1), n, half) for s in (start, start + n))
        assert early.valid is not None and late.valid is not None
        swap = answer == 1
        stranger = augment.strangers(b, generator)
        row = torch.where(answer == 2, stranger, torch.arange(b, device=stranger.device))

        def chosen(where: Tensor, a: Tensor, c: Tensor) -> Tensor:
            return torch.where(where.view(-1, *[1] * (a.ndim - 1)), a, c)

        first = replace(early, x=chosen(swap, late.x, early.x), valid=chosen(swap, late.valid, early.valid), frame=None)
        second = replace(late, x=chosen(swap, early.x, late.x[row]), valid=chosen(swap, early.valid, late.valid[row]), frame=None)
        return [first, replace(second, answer=answer)]

    def cut_up(self, view: Batch, tokenizer: Tokenizer, most: int) -> pieces.Pieces:
        """The words, and not what a tokenizer cuts them into; several in a row together where there are more than `most`."""
        ids = view.x[0, 0].nan_to_num(0).long()
        there = torch.ones_like(ids, dtype=torch.bool) if view.valid is None else view.valid[0]
        units = tokenizer.units(view)
        assert units is not None
        of = pieces.runs(torch.where(there, units[0], -1), most)
        names, _ = wording.plain(self.spec.extra["tokenizer"], self.spec.extra["kind"])
        words = ["".join(names[int(i)] for i in ids[of == k]).strip() for k in range(int(of.max()) + 1)]
        return pieces.Pieces(of, tuple(words), "word")

    def without(self, view: Batch, parts: pieces.Pieces, keep: Tensor, background: Tensor | None) -> Batch:
        return pieces.removed(view, parts, keep)

    def reasons(self, item: Strange, most: int) -> list[Reason]:
        """The strangest words, and what was expected there."""
        ids = item.x[0][~np.isnan(item.x[0])].astype(np.int64)
        names, _ = wording.plain(self.spec.extra["tokenizer"], self.spec.extra["kind"])
        out: list[Reason] = []
        for t in [t for t in item.strongest(most) if t < len(ids)]:
            with torch.no_grad():
                guess = torch.as_tensor(np.asarray(item.guess[t]), dtype=torch.float32, device=item.tokenizer.share.device)[None]
                best = item.tokenizer.log_odds(guess)[0].topk(3).indices.tolist()
            before = "".join(names[i] for i in ids[max(0, t - 5) : t]).strip()
            expected = ", ".join(repr(names[i].strip()) for i in best)
            out.append(
                ((t,), f"token {t + 1} of {len(ids)}, after {before[-40:]!r}: expected {expected}, observed {names[ids[t]].strip()!r}")
            )
        return out

    def tokenizer(self, dense: bool) -> Tokenizer:
        extra = self.spec.extra
        names, begins = wording.plain(extra["tokenizer"], extra["kind"])
        counts = torch.tensor(extra.get("counts") or [1] * len(names))
        parts = torch.from_numpy(_pieces(names, begins)) if self.subwords else None
        return texttokens.TextTokenizer(
            counts, torch.from_numpy(begins.copy()), dim=self.width, sif=self.sif, parts=parts, pairs=self.pairs
        )


def _blocks(sample: Any) -> Iterable[Sequence[Any]]:
    """Raw documents, some at a time."""
    if hasattr(sample, "blocks"):
        yield from sample.blocks()
        return
    for i in range(len(sample)):
        try:
            yield [sample[i]]
        except BadItem:
            continue


def _numbers(x: np.ndarray, spec: Spec, small: Any) -> np.ndarray | BadItem:
    """A document that is given as the numbers of its tokens, [n] or [1, n]."""
    if x.ndim > 1 and x.shape[:-1] != (1,) * (x.ndim - 1):
        return BadItem(f"a document is one row of numbers of tokens, not {' x '.join(map(str, x.shape))}")
    flat = x.reshape(-1)
    flat = flat[~np.isnan(flat)] if flat.dtype.kind == "f" else flat
    if not len(flat) or (flat < 0).any() or (flat >= spec.extra["vocabulary"]).any():
        return BadItem("no numbers of tokens of this vocabulary")
    return flat[:LONGEST].astype(small)


def _pieces(names: Sequence[str], begins: np.ndarray, most: int = 24) -> np.ndarray:
    """Numbers of the pieces of 3 to 6 characters of each token's spelling, int64 [V, most], filled up with PIECES.

    source: Bojanowski et al. 2017, arXiv:1607.04606, with tokens in the place of words.
    """
    out = np.full((len(names), most), PIECES, np.int64)
    for i, (name, begin) in enumerate(zip(names, begins, strict=True)):
        word = ("<" if begin else "") + name.strip()
        found = [word[k : k + n] for n in range(3, 7) for k in range(max(0, len(word) - n + 1))][:most]
        out[i, : len(found)] = [zlib.crc32(p.encode()) % PIECES for p in found]
    return out


def _thinned(view: Batch, share: float, generator: torch.Generator) -> Batch:
    """A view without some of its tokens, drawn at random; at least one stays."""
    assert view.valid is not None
    score = augment.uniform(generator, tuple(view.valid.shape))
    kept = view.valid & (score >= share)
    kept = torch.where(kept.any(1, keepdim=True), kept, view.valid)
    place = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
    n = kept.sum(1)
    valid = torch.arange(kept.shape[1], device=kept.device) < n[:, None]
    x = view.x.gather(2, place[:, None]).masked_fill(~valid[:, None], torch.nan)
    return replace(view, x=x, valid=valid, frame=None)
