"""From text to numbers and back: tokenizers that are learned from a corpus, given, or fixed by what the text is (DNA, SMILES)."""

from __future__ import annotations

import itertools
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tacit.errors import Asked, nearest

KINDS = ("bpe", "wordpiece", "unigram", "characters", "bases", "smiles")
UNKNOWN, SEPARATOR = "[UNK]", "[SEP]"
SPECIAL = (UNKNOWN, SEPARATOR)
MASKS = ("[MASK]", "<mask>", "<extra_id_0>")
LOOKED = 50_000_000  # characters that a tokenizer is learned from; of a larger corpus every n-th text
OFTEN = 3  # a word that occurs so often is worth a token of its own
FEWEST, MOST = 512, 32_768
BASES = re.compile(r"[acgtun\s]+", re.IGNORECASE)
SMILES = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$%/\\.:*~]+")
# atoms in brackets, two-letter halogens, organic and aromatic atoms, bonds, branches, rings of two digits or one
MOLECULE = r"\[[^\]]+\]|Br|Cl|[BCNOPSFIbcnops]|%\d\d|[0-9()=#\-+\\/:~@.$*?>]"
COMPLEMENT = str.maketrans("acgtu", "tgcaa")


@dataclass(frozen=True)
class Learned:
    """A tokenizer as JSON text, how it was chosen in words, and which of KINDS it is ("given" = by the user)."""

    text: str
    kind: str
    why: str


@lru_cache(maxsize=4)
def load(text: str) -> Any:
    """The tokenizer of the package tokenizers that a JSON text describes. Raises Asked for a text that is none."""
    import tokenizers

    try:
        found = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the package raises its own kind of everything
        raise Asked(f"this is no tokenizer: {str(error)[:200]}", "give a tokenizer.json as the package tokenizers writes it") from None
    found.no_padding()
    found.no_truncation()
    return found


def learn(texts: Iterable[str], kind: str = "auto", *, vocabulary: int = 0, case: str = "auto", kmer: int = 1) -> Learned:
    """Learn a tokenizer from texts.

    kind: one of KINDS; auto = bases for DNA and RNA, smiles for molecules, otherwise bpe. vocabulary: tokens, 0 = as many as the
    corpus supports. case: lower or keep; auto = lower for words, keep for characters and SMILES. kmer: bases in a token.
    Raises Asked for what there is not, and where there is no text.
    """
    if kind not in (*KINDS, "auto"):
        raise Asked(f"data.tokens={kind}: there is no such tokenizer", nearest(kind, KINDS))
    some = list(sampled(texts))
    if not any(s.strip() for s in some):
        raise Asked("there is no text to learn a tokenizer from", "every document is empty")
    why = "as asked"
    if kind == "auto":
        kind, why = guessed(some)
    lower = case == "lower" or (case == "auto" and kind not in ("characters", "smiles"))
    if kind == "bases":
        return Learned(_bases(some, kmer), kind, f"{why}: {kmer} base{'s' * (kmer > 1)} a token")
    if kind in ("characters", "smiles"):
        return Learned(_pieces(some, kind, lower), kind, why)
    words, often = _words(some, lower)
    asked = vocabulary or int(np.clip(often, FEWEST, MOST)) + 256
    text = _subwords(some, kind, lower, asked)
    got = load(text).get_vocab_size()
    reason = f"{often:,} of {words:,} words occur {OFTEN} times or more" if not vocabulary else "as asked"
    if got < 0.98 * asked and vocabulary:
        reason = f"asked for {asked:,}, and the corpus supports no more"
    return Learned(text, kind, f"{why}; {got:,} tokens: {reason}")


def given(place: str) -> Learned:
    """A tokenizer that exists: a tokenizer.json, a folder that holds one, or hf:NAME. Raises Asked if there is none."""
    if place.startswith("hf:"):
        from huggingface_hub import hf_hub_download

        try:
            path = Path(place[3:]) if Path(place[3:]).is_dir() else Path(hf_hub_download(place[3:], "tokenizer.json"))
        except Exception as error:
            raise Asked(f"{place} has no tokenizer that can be read: {str(error).splitlines()[0][:200]}", "give a tokenizer.json") from None
    else:
        path = Path(place).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise Asked(f"there is no file {str(path)!r}", "data.tokenizer names a tokenizer.json, a folder with one, or hf:NAME")
    text = path.read_text(encoding="utf-8", errors="replace")
    return Learned(load(text).to_str(), "given", f"{load(text).get_vocab_size():,} tokens of {place}")


def marks(text: str) -> tuple[int | None, int | None, int | None]:
    """Numbers of the tokens that a tokenizer puts before a text and after it, and of the one that hides others; None = there is none."""
    found = load(text)
    bare, whole = (found.encode("a", add_special_tokens=special).ids for special in (False, True))
    more = len(whole) - len(bare)
    first = whole[0] if more and bare and whole[0] != bare[0] else None
    last = whole[-1] if more and bare and whole[-1] != bare[-1] else None
    return first, last, next((k for name in MASKS if (k := found.token_to_id(name)) is not None), None)


def sampled(texts: Iterable[str]) -> Iterator[str]:
    """The texts; once more than LOOKED characters have passed, every second, then every fourth, and so on."""
    seen, step = 0, 1
    for i, text in enumerate(texts):
        if i % step:
            continue
        yield text
        seen += len(text)
        if seen > LOOKED:
            seen, step = seen // 2, step * 2


def guessed(texts: Sequence[str]) -> tuple[str, str]:
    """(kind, why) by what the texts are written with."""
    some = [s for s in itertools.islice((t.strip() for t in texts), 2000) if s]
    dna = sum(bool(BASES.fullmatch(s)) and len(s) >= 8 for s in some)
    if dna >= 0.95 * len(some):
        return "bases", "the texts are written with bases"
    molecules = sum(bool(SMILES.fullmatch(s)) and not re.search(r"[A-Za-z]{8}", re.sub(r"[cnosCNOS]", "", s)) for s in some)
    marked = sum(bool(re.search(r"[A-Za-z\])\d][=#(]|c1|C1|\[[A-Z]", s)) for s in some)
    if molecules >= 0.95 * len(some) and marked >= 0.5 * len(some):
        return "smiles", "the texts are molecules as SMILES"
    return "bpe", "pieces of words, byte by byte where nothing else fits, so that no text is unknown"


def encode(text: str, texts: Sequence[str]) -> list[np.ndarray]:
    """Token numbers, int32 [n] each, of texts by the tokenizer `text`, without special tokens around them."""
    return [np.array(e.ids, np.int32) for e in load(text).encode_batch_fast(list(texts), add_special_tokens=False)]


def places(text: str, document: str) -> np.ndarray:
    """Where each token of a document begins and ends, in characters of the document itself, int64 [n, 2]."""
    found = load(text).encode(document, add_special_tokens=False).offsets
    return np.array(found, np.int64).reshape(-1, 2)


def decode(text: str, rows: Sequence[np.ndarray]) -> list[str]:
    """Texts of token numbers. What the tokenizer made equal (case, spaces) stays equal."""
    return [str(s) for s in load(text).decode_batch([r.tolist() for r in rows], skip_special_tokens=True)]


def texts_of(x: Any, extra: Mapping[str, Any]) -> list[str]:
    """Texts of decoded items x float32 [N, 1, T], NaN = padding; extra: of their spec."""
    out: list[str] = []
    for start in range(0, len(x), 1024):
        block = np.asarray(x[start : start + 1024])[:, 0]
        out += decode(extra["tokenizer"], [row[~np.isnan(row)].astype(np.int64) for row in block])
    return out


def words(text: str) -> list[str]:
    """The tokens by their number, as the tokenizer writes them."""
    found = load(text).get_vocab()
    out = [""] * load(text).get_vocab_size()
    for word, i in found.items():
        if i < len(out):
            out[i] = word
    return out


def plain(tokenizer: str, kind: str) -> tuple[list[str], np.ndarray]:
    """What each token stands for as text, and whether it begins a word, bool [V]."""
    names = words(tokenizer)
    if kind in ("characters", "bases", "smiles"):
        spaces = np.array([n.isspace() for n in names])
        return names, np.ones(len(names), bool) if kind != "characters" else spaces
    if any(n.startswith("##") for n in names):
        return [n.removeprefix("##") for n in names], np.array([not n.startswith("##") for n in names])
    if any(n.startswith("\u2581") for n in names):
        return [n.replace("\u2581", " ") for n in names], np.array([n.startswith("\u2581") for n in names])
    found = load(tokenizer)
    # a mark that stands after a word is no part of it
    begins = np.array([n.startswith("\u0120") or n[:1] in string.punctuation for n in names])
    return [found.decoder.decode([n]) if found.decoder else n for n in names], begins


def reverse_complement(tokenizer: str) -> np.ndarray:
    """The number of the token that stands for the other strand of each token, int64 [V]; of what is no base itself."""
    names = words(tokenizer)
    index = {n: i for i, n in enumerate(names)}
    other = [n if n in SPECIAL else n.translate(COMPLEMENT)[::-1] for n in names]
    return np.array([index.get(n, i) for i, n in enumerate(other)], np.int64)


def _words(texts: Iterable[str], lower: bool) -> tuple[int, int]:
    """How many different words there are, and how many of them occur OFTEN."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(re.findall(r"\w+|[^\w\s]", text.lower() if lower else text))
    return len(counts), sum(n >= OFTEN for n in counts.values())


def _normal(lower: bool) -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()] if lower else [normalizers.NFC()])


def _subwords(texts: Sequence[str], kind: str, lower: bool, vocabulary: int) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    options: dict[str, Any] = {"vocab_size": vocabulary, "special_tokens": list(SPECIAL), "show_progress": False}
    if kind == "bpe":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = decoders.ByteLevel()
        made.post_processor = processors.ByteLevel(trim_offsets=True)
        trainer: Any = trainers.BpeTrainer(min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
    elif kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(min_frequency=2, **options)
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token=UNKNOWN, **options)
    made.normalizer = _normal(lower)
    made.train_from_iterator(texts, trainer)
    return str(made.to_str())


def _fixed(vocabulary: Sequence[str], pattern: str, lower: bool) -> str:
    """Pieces that a regular expression cuts, each a token of its own."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(dict.fromkeys([*SPECIAL, *vocabulary]))}, unk_token=UNKNOWN))
    made.normalizer = _normal(lower)
    made.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens(list(SPECIAL))
    return str(made.to_str())


def _pieces(texts: Sequence[str], kind: str, lower: bool) -> str:
    """Single characters, or the symbols of molecules, that occur."""
    pattern = r"[\s\S]" if kind == "characters" else MOLECULE
    normal, counts = _normal(lower), Counter[str]()
    for text in texts:
        counts.update(re.findall(pattern, normal.normalize_str(text)))
    return _fixed([w for w, _ in counts.most_common(MOST)], pattern, lower)


def _bases(texts: Sequence[str], kmer: int) -> str:
    """All words of up to `kmer` bases, and those with an N that occur."""
    if not 1 <= kmer <= 6:
        raise Asked(f"data.kmer={kmer}: tokens of 1 to 6 bases are understood")
    letters = "acgu" if sum("u" in t.lower() for t in texts) > sum("t" in t.lower() for t in texts) else "acgt"
    known = ["".join(p) for n in range(1, kmer + 1) for p in itertools.product(letters, repeat=n)]
    pattern = rf"[\s\S]{{1,{kmer}}}"
    rare = Counter(w for t in texts for w in re.findall(pattern, t.lower()) if w.strip(letters))
    return _fixed([*known, *(w for w, _ in rare.most_common(1000))], pattern, True)
