"""`generate`, `fill` and `similar`: how a text goes on, what belongs into its gaps, and which words are alike, read from a run on text."""

from __future__ import annotations

import difflib
import json
import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tacit import wording
from tacit.api import Say
from tacit.embedding.model import Model, load
from tacit.errors import Asked, few, nearest
from tacit.keeping import digest_of, filled, folder_of, method_of
from tacit.runtime import choose_device
from tacit.training.pretrain import HEADS
from tacit.types import Batch

MASK = re.compile(r"\[MASK\]", re.IGNORECASE)
LETTERS, OFTEN = 2, 5  # a word has so many letters at least, and was seen so often
LOST = "\ufffd"  # what stands for bytes that are no character


# ---- what comes next ----


@dataclass(frozen=True)
class Generated:
    """Texts that a model wrote, each with its prompt. result: plain JSON."""

    texts: tuple[str, ...]
    result: dict[str, Any] = field(repr=False)


@torch.no_grad()
def generate(
    run: str | Path,
    prompt: str = "",
    *,
    tokens: int = 200,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    count: int = 1,
    seed: int = 0,
    say: Say | None = None,
) -> Generated:
    """Write on, token by token, with a model that learned what comes next.

    run: folder of a run of `autoregressive` on text. prompt: the beginning, "" = a token drawn by the shares of tokens that begin a word.
    tokens: so many are added at most; a text is no longer than the longest one of training, if that fits a window. temperature: below 1
    likely tokens become likelier, 0 = always the likeliest. top_k: only so many of the likeliest tokens are drawn from, 0 = all. top_p:
    only the likeliest that together have this probability. count: texts; each depends on `seed` and its number alone.
    Raises Asked for a run that learned otherwise, and a prompt of which no token is known.
    source: Fan et al. 2018, arXiv:1805.04833 (top_k); Holtzman et al. 2020, arXiv:1904.09751 (top_p).
    """
    say = say or (lambda words: None)
    for name, value, fine, hint in (
        ("tokens", tokens, tokens >= 1, "1 or more"),
        ("count", count, count >= 1, "1 or more"),
        ("temperature", temperature, 0 <= temperature < float("inf"), "0 or more; 0 is always the likeliest token"),
        ("top-k", top_k, top_k >= 0, "1 or more, or 0 for all tokens"),
        ("top-p", top_p, 0 < top_p <= 1, "more than 0 and at most 1"),
        ("seed", seed, seed >= 0, "0 or more"),
    ):
        if not fine:
            raise Asked(f"--{name} {value} is not possible", f"give {hint}")
    path = Path(run)
    net = text_model(path)
    head = _head(net, path, "autoregressive")
    words = Words(net)
    begun = prompt if words.spaces else prompt.rstrip()
    ids = words.encode(begun) if begun.strip() else np.zeros(0, np.int64)
    if len(ids) and not (known := words.known(ids)).all():
        if not known.any():
            raise Asked(f"no token of {short(prompt)!r} was seen in training", "begin with other words, or leave --prompt out")
        say(f"note: {int((~known).sum()):,} of {len(known):,} tokens of the prompt were never seen in training")
    draws = np.stack([np.random.default_rng([seed, i]).random(tokens + 1) for i in range(count)])
    begin = ids
    if not len(ids):
        share = words.counts * words.opening
        first = np.log(np.maximum(share, 1e-300))[None].repeat(count, 0)
        rows = drawn(first, draws[:, 0])[:, None]
        begun, begin = "", rows[0, :0]
        tokens -= 1
    else:
        rows = np.tile(ids, (count, 1))
    # of a window of training, the last token was never asked what comes next
    context = max(1, net.spec.sizes[0] - 1)
    if len(ids) > context:
        say(f"note: of the prompt's {len(ids):,} tokens the last {context:,} are read")
    longest = int(net.spec.extra.get("longest") or 0)
    if 0 < longest <= net.spec.sizes[0] and rows.shape[1] + tokens > longest:
        # nothing was ever learned about what stands behind the end of a document
        fits = longest - rows.shape[1]
        said = "the text ends there" if fits > 0 else "the prompt is as long, and what follows it was never learned"
        say(f"note: no training document has more than {longest:,} tokens: {said}")
        tokens = fits if fits > 0 else tokens
    for i in range(tokens):
        x = torch.from_numpy(rows[:, None, -context:].astype(np.float32)).to(next(net.parameters()).device)
        f = net.encoder(Batch(x, torch.arange(count, device=x.device)))
        odds = words.odds(head(f.tokens[:, -1]))
        odds[:, ~words.usual] = -np.inf
        rows = np.concatenate([rows, drawn(odds, draws[:, i + 1], temperature, top_k, top_p)[:, None]], 1)
    texts = tuple(words.after(begun, begin, row) for row in rows)
    asked = {"tokens": rows.shape[1] - len(begin), "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    return Generated(texts, {"run": str(path), "model": digest_of(path), "prompt": prompt, **asked, "texts": list(texts)})


def drawn(odds: np.ndarray, at: np.ndarray, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> np.ndarray:
    """A symbol for each row of log-odds [n, V], int64 [n]: the one where the number at [n], 0..1, falls among the sorted probabilities."""
    if not temperature:
        return np.asarray(odds.argmax(1))
    order = np.argsort(-odds, 1, kind="stable")
    p = np.take_along_axis(odds, order, 1).astype(np.float64)
    with np.errstate(over="ignore"):
        p = np.exp((p - p[:, :1]) / temperature)
    if top_k:
        p[:, top_k:] = 0
    if top_p < 1:
        p[p.cumsum(1) - p >= top_p * p.sum(1, keepdims=True)] = 0
    edges = p.cumsum(1)
    place = (edges <= at[:, None] * edges[:, -1:]).sum(1)
    return np.asarray(order[np.arange(len(order)), np.minimum(place, order.shape[1] - 1)])


# ---- what belongs into a gap ----


@dataclass(frozen=True)
class Filled:
    """What belongs into the gaps of a text. text: with the likeliest. gaps: for each gap (token, probability), the likeliest first."""

    text: str
    gaps: tuple[tuple[tuple[str, float], ...], ...]
    result: dict[str, Any] = field(repr=False)


@torch.no_grad()
def fill(run: str | Path, text: str, *, top: int = 5, say: Say | None = None) -> Filled:
    """The likeliest tokens for each [MASK] in a text, by a model that learned to guess what is hidden.

    run: folder of a run of `mlm` on text. text: with one [MASK] or more. top: so many tokens for each. Where a word begins, only tokens
    that begin one are compared; within a word only those that go on with it. Raises Asked for a run that learned otherwise, and where
    there is no [MASK].
    """
    say = say or (lambda words: None)
    if top < 1:
        raise Asked(f"--top {top} is not possible", "give 1 or more")
    parts = MASK.split(text)
    if len(parts) < 2:
        raise Asked("there is no [MASK] in the text", "put it where a word is missing: 'the cat [MASK] on the mat'")
    path = Path(run)
    net = text_model(path)
    head = _head(net, path, "mlm")
    words = Words(net)
    ids, places = words.gapped(parts)
    others = np.delete(ids, places)
    if not len(others):
        raise Asked("there is nothing around [MASK] to guess from", "put it into a sentence: 'the cat [MASK] on the mat'")
    if not (known := words.known(others)).any():
        raise Asked(f"no token of {short(text)!r} was seen in training", "use words of the training texts")
    if not known.all():
        say(f"note: {int((~known).sum()):,} of {len(known):,} tokens of the text were never seen in training")
    window = min(len(ids), net.spec.sizes[0])
    if window < len(ids):
        say(f"note: of the text's {len(ids):,} tokens {window:,} around each [MASK] are read")
    starts = np.clip(places - window // 2, 0, len(ids) - window)
    columns = starts[:, None] + np.arange(window)
    device = next(net.parameters()).device
    x = torch.from_numpy(ids[columns][:, None].astype(np.float32)).to(device)
    hidden = torch.from_numpy(np.isin(columns, places)).to(device)
    f = net.encoder(Batch(x, torch.arange(len(x), device=device)), mask=hidden)
    row = torch.arange(len(x), device=device)
    odds = words.odds(head(f.tokens[row, torch.from_numpy(places - starts).to(device)]))
    gaps, said = [], parts[0]
    for k, values in enumerate(odds):
        fits = words.fitting(parts[k][-1:] if parts[k] or not k else "]")
        p = np.exp(values - values[fits].max()) * fits
        p /= p.sum()
        best = np.argsort(-p, kind="stable")[:top]
        gaps.append(tuple((words.names[i].strip() or words.names[i], float(p[i])) for i in best if fits[i]))
        said += gaps[-1][0][0] + parts[k + 1]
    found = [[{"token": token, "probability": round(p, 6)} for token, p in gap] for gap in gaps]
    return Filled(said, tuple(gaps), {"run": str(path), "model": digest_of(path), "text": text, "filled": said, "masks": found})


# ---- which words are alike ----


@dataclass(frozen=True)
class Similar:
    """Words near to what was asked for. words: (word, cosine), the nearest first. result: plain JSON."""

    words: tuple[tuple[str, float], ...]
    result: dict[str, Any] = field(repr=False)


def similar(run: str | Path, word: str, *, top: int = 10, say: Say | None = None) -> Similar:
    """The words of the vocabulary whose vectors have the largest cosine with that of a word, or with a sum such as "king - man + woman".

    run: folder of a run on text. word: of several tokens counts as their mean; what is asked for is left out of the answer. top: so many.
    Vectors are those of the input, without the mean of all words. Raises Asked for a word of which something was never seen in training.
    source: Mikolov et al. 2013, arXiv:1301.3781 (sums of words); Mu & Viswanath 2018, arXiv:1702.01417 (the mean is removed).
    """
    say = say or (lambda words: None)
    if top < 1:
        raise Asked(f"--top {top} is not possible", "give 1 or more")
    path = Path(run)
    net = text_model(path)
    words = Words(net)
    listed = words.listed
    if not len(listed):
        seen = f"of {LETTERS} letters or more that begin a word and were seen {OFTEN} times"
        raise Asked(f"the run in {path} has no tokens {seen}", "train on more text, with data.tokens=bpe or wordpiece")
    with torch.no_grad():
        vectors = net.encoder.tokenizer.vectors.float().cpu().numpy()  # type: ignore[union-attr, operator]
    vectors = _unit(vectors - vectors[listed].mean(0))
    index = {words.names[i].strip(): i for i in listed.tolist()}
    aim, given = np.zeros(vectors.shape[1]), []
    for sign, term in terms(word, index):
        ids = words.of(term, index)
        close = difflib.get_close_matches(words.normal(term), list(index), n=1, cutoff=0.6)
        meant = nearest(close[0], close) if close else f"frequent words: {few(sorted(index, key=lambda w: -words.counts[index[w]]), 5)}"
        if not len(known := words.known(ids)) or not known.all():
            raise Asked(f"{term!r} is not in the vocabulary of the run", meant)
        if len(ids) > 1:
            pieces = " + ".join(repr(words.names[i].strip()) for i in ids)
            say(f"note: {term!r} is no token of its own: the mean of {pieces} stands for it" + (f" ({meant})" if close else ""))
        aim += sign * _unit(vectors[ids].mean(0))
        given += ids.tolist()
    if np.linalg.norm(aim) < 1e-9:
        raise Asked(f"nothing is left of {word!r}", "add words that differ, such as 'king - man + woman'")
    near = vectors @ _unit(aim)
    rest = listed[~np.isin(listed, given)]
    best = rest[np.argsort(-near[rest], kind="stable")[:top]]
    found = tuple((words.names[i].strip(), float(near[i])) for i in best)
    result = {"run": str(path), "model": digest_of(path), "word": word, "words": len(listed)}
    return Similar(found, {**result, "similar": [{"word": w, "cosine": round(c, 6)} for w, c in found]})


def terms(text: str, known: Any = ()) -> list[tuple[int, str]]:
    """(1 or -1, words) for each term of a sum such as "king - man + woman". known: words that no sign divides. Raises Asked for none."""
    text = text.replace("\u2212", "-")
    if text.strip().lower() not in known and re.fullmatch(r"\w+([+-]\w+)*\+\w+([+-]\w+)*", text.strip()):
        text = re.sub(r"([+-])", r" \1 ", text)  # king-man+woman; without a plus it may be a word with a hyphen
    out: list[tuple[int, str]] = []
    sign, held = 1, list[str]()
    for piece in [*text.split(), "+"]:
        mark, rest = (piece[0], piece[1:]) if piece[0] in "+-" and (len(piece) == 1 or piece[1:].isalpha()) else ("", piece)
        if mark:
            out += [(sign, " ".join(held))] if held else []
            sign, held = (-1 if mark == "-" else 1), []
        held += [rest] if rest else []
    if not out:
        raise Asked("there is no word to look for", "give a word, or a sum such as 'king - man + woman'")
    return out


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


# ---- what all of them need ----


class Words:
    """The vocabulary of a model of text.

    names: what each token stands for. begins: whether it begins a word. counts: how often it occurs in the training texts. usual: tokens
    that a model may say: those seen in training, without the one for what is unknown. opening: tokens that a text may begin with. spaces:
    a space is a token of its own (characters), or means nothing (bases, SMILES).
    """

    def __init__(self, net: Model) -> None:
        extra = net.spec.extra
        self.text, self.tokenizer = str(extra["tokenizer"]), net.encoder.tokenizer
        self.spaces = extra["kind"] in ("characters", "bases", "smiles")
        self.names, self.begins = wording.plain(self.text, extra["kind"])
        self.counts = np.array(extra.get("counts") or [1] * len(self.names), np.float64)
        made = wording.words(self.text)
        self.usual = (self.counts > 0) & np.array([w not in ("", wording.UNKNOWN, "<unk>") for w in made])
        letters = np.array(
            [any(c.isalnum() for c in n) and LOST not in n and made[i] not in wording.SPECIAL for i, n in enumerate(self.names)]
        )
        opening = self.usual & letters & (self.spaces | self.begins)
        self.opening = opening if opening.any() else self.usual

    @property
    def listed(self) -> np.ndarray:
        """Numbers of the tokens that are words, int64: they begin one, have LETTERS and were seen OFTEN."""
        made = wording.words(self.text)
        letters = np.array(
            [sum(c.isalpha() for c in n) >= LETTERS and w not in wording.SPECIAL for n, w in zip(self.names, made, strict=True)]
        )
        return np.flatnonzero(self.begins & letters & (self.counts >= OFTEN))

    def encode(self, text: str) -> np.ndarray:
        """Numbers of the tokens of a text, int64 [n]."""
        return wording.encode(self.text, [text])[0].astype(np.int64)

    def normal(self, text: str) -> str:
        """A text as the tokenizer reads it: its case, its forms of letters."""
        found = wording.load(self.text).normalizer
        return str(found.normalize_str(text)) if found is not None else text

    def known(self, ids: np.ndarray) -> np.ndarray:
        """Which of the tokens that are more than a space were seen in training, bool."""
        return np.array([self.usual[i] for i in ids.tolist() if self.names[i].strip()], bool)

    def of(self, term: str, index: dict[str, int]) -> np.ndarray:
        """The token of a word, or those that it is made of. index: word -> number."""
        own = index.get(self.normal(term).strip())
        return np.array([own]) if own is not None else self.encode(term)

    def gapped(self, parts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of a text that has a gap between its parts, one token each, and where these are, int64 [n] and [gaps]."""
        ids, places = list[int](), list[int]()
        for k, part in enumerate(parts):
            if k:
                places.append(len(ids))
                ids.append(0)
            last = k == len(parts) - 1
            text = part if self.spaces or last else part.rstrip()  # the space belongs to the word in the gap
            ids += self._going_on(text) if k and text else self.encode(text).tolist() if text else []
        return np.array(ids, np.int64), np.array(places, np.int64)

    def _going_on(self, text: str) -> list[int]:
        """Tokens of a text that follows something without a space between them, unless it begins with one."""
        if self.spaces or text[0].isspace():
            return self.encode(text).tolist()
        # a digit before a letter and a letter before all else are cut apart by every kind of tokenizer
        joined = ("1" if text[0].isalpha() else "x") + text
        ids, where = self.encode(joined), wording.places(self.text, joined)
        if (where[:, 1] <= 1).any() and not ((where[:, 0] < 1) & (where[:, 1] > 1)).any():
            return ids[where[:, 1] > 1].tolist()
        return self.encode(text).tolist()

    def fitting(self, before: str) -> np.ndarray:
        """Tokens that fit into a gap after this character ("" = the text begins), bool [V]."""
        if self.spaces or not self.begins.any():
            return self.usual
        if not before or before.isspace():
            fits = self.begins
        else:
            fits = ~self.begins if before.isalnum() else np.ones_like(self.begins)
        fits = fits & self.usual
        return fits if fits.any() else self.usual

    def odds(self, predicted: Tensor) -> np.ndarray:
        """Log-odds of all tokens, float64 [n, V], for what a head predicts."""
        return np.asarray(self.tokenizer.log_odds(predicted).cpu().double().numpy())  # type: ignore[operator]

    def after(self, begun: str, begin: np.ndarray, ids: np.ndarray) -> str:
        """A text that begins as it was given, and goes on with what its further tokens stand for.

        All tokens are decoded together: a character may be spread over several, and the last one may be incomplete.
        """
        whole, first = wording.decode(self.text, [ids, begin])
        rest = whole[len(first) :] if whole.startswith(first) else wording.decode(self.text, [ids[len(begin) :]])[0]
        text = (begun + rest if begun else rest.lstrip()).rstrip(LOST)
        return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")  # a terminal obeys control characters


def text_model(path: Path) -> Model:
    """The model of a run on text. Raises Asked for one on other data."""
    net = load(path, choose_device().value)
    if net.spec.modality != "text":
        raise Asked(
            f"the run in {path} learned from {net.spec.modality} data, not from text", "train on text: tacit pretrain DATA --modality text"
        )
    return net


def _head(net: Model, path: Path, method: str) -> nn.Module:
    """What turns features into predictions, as `method` left it beside the encoder. Raises Asked for a run that has none of its kind."""
    causal, folder = method == "autoregressive", folder_of(path)
    fits = net.encoder.causal if causal else net.encoder.mask_token is not None and not net.encoder.causal
    does = "what comes next" if causal else "what is hidden"
    again = f"tacit pretrain {_learned_from(path)} --method {method}"
    if not fits or (not (folder / HEADS).is_file() and method_of(path) != method):
        raise Asked(f"the run in {path} learned with {method_of(path) or 'another method'}, which does not say {does}", again)
    if not (folder / HEADS).is_file():
        raise Asked(f"the run in {path} is of a version that did not keep what predicts tokens", f"train anew: {again}")
    return filled(net.encoder.head(), path).to(next(net.parameters()).device)


def _learned_from(path: Path) -> str:
    """The data of the run as a command names it; DATA if it was in memory."""
    try:
        own = json.loads((path / "data.json").read_text(encoding="utf-8"))
        column = own["options"].get("text_column")
        return "DATA" if own["place"] is None else shlex.join([own["path"], *(["--text-column", column] if column else [])])
    except (OSError, ValueError, KeyError):
        return "DATA"


def short(text: str, most: int = 40) -> str:
    """The beginning of a text."""
    return text if len(text) <= most else text[: most - 3] + "..."
