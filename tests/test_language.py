"""What a run on text can say: how a text goes on, what belongs into its gaps, which words are alike, which documents fit a query."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

import tacit
from conftest import Said, call, small
from tacit import language, retrieval, wording
from tacit.embedding.model import load
from tacit.errors import Asked, TacitError

HOLDS = {"king": "crown", "farmer": "plough", "baker": "bread", "sailor": "rope"}
NUMBERS = "one two three four five six seven eight nine ten".split()
COUNTED = " ".join(NUMBERS[:8])
SMALL = {"modality": {"width": 48}, "backbone": {"dim": 48, "depth": 2, "heads": 2, "dropout": 0.0}, "optim": {"lr": 0.01}}


def sentences(n: int = 240) -> list[str]:
    """Who holds what, and numbers that follow each other; all sentences differ, as copies are held out together."""
    rng = np.random.default_rng(0)
    out = []
    for i in range(n):
        who, start = str(rng.choice(list(HOLDS))), int(rng.integers(10))
        end = " ".join(rng.choice(["morning", "evening", "winter", "summer", "sun", "rain", "man", "queen"], 3))
        row = " ".join(NUMBERS[(start + k) % 10] for k in range(8))
        out.append(f"{row} {end}" if i % 4 else f"the {who} holds the {HOLDS[who]} in the {end} (old).")
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "tales.txt"
    path.write_text("\n".join([*sentences(20), "", " ", *sentences()[20:]]) + "\n", encoding="utf-8")
    return path


def train(data: Path, name: str, steps: int, **options: Any) -> Path:
    parts = {**SMALL, **options.pop("overrides", {})}
    opened = tacit.open(data, **options.pop("reading", {}))
    batch = min(32, len(opened.train))
    run = tacit.pretrain(opened, out=data.parent / name, steps=steps, batch_size=batch, precision="32-true", overrides=parts, **options)
    return Path(run.path)


@pytest.fixture(scope="module")
def causal(corpus: Path) -> Path:
    return train(corpus, "causal", 60, method="autoregressive")


@pytest.fixture(scope="module")
def masked(corpus: Path) -> Path:
    return train(corpus, "masked", 150, method="mlm", backbone="roformer", overrides={"method": {"ratio": 0.3}})


@pytest.fixture(scope="module")
def plain(corpus: Path) -> Path:
    return train(corpus, "plain", 60, method="word2vec", overrides={"backbone": {}, "optim": {}})


def refused(said: Said, *words: str) -> None:
    assert said.code == 2 and said.out == "" and said.err.startswith("error: ") and "hint: " in said.err, said
    for word in words:
        assert word in said.err, said.err


# ---- what is kept ----


def test_what_predicts_is_kept_beside_the_encoder(causal: Path, masked: Path, plain: Path) -> None:
    for run in (causal, masked):
        kept = load_file(run / "model" / "heads.safetensors")
        whole = load_file(sorted((run / "checkpoints").iterdir())[-1] / "model.safetensors")
        assert set(kept) == {"head.weight", "head.bias"}
        for name, value in kept.items():
            (same,) = [v for k, v in whole.items() if k.endswith(name)]
            assert value.equal(same)
    assert not (plain / "model" / "heads.safetensors").exists()


def test_a_damaged_or_missing_head_is_said(causal: Path, tmp_path: Path) -> None:
    net = load(causal)
    net.save(tmp_path / "model")
    (tmp_path / "config.toml").write_text('[method]\nname = "autoregressive"\n')
    with pytest.raises(Asked, match="did not keep what predicts tokens"):
        language.generate(tmp_path)
    (tmp_path / "model" / "heads.safetensors").write_bytes(b"no")
    with pytest.raises(TacitError, match=r"heads\.safetensors is damaged"):
        language.generate(tmp_path)


# ---- generate ----


def test_a_memorised_text_goes_on(causal: Path) -> None:
    said = call("generate", causal, "--prompt", "one two three", "--tokens", 5, "--temperature", 0.01)
    assert said.code == 0 and said.out == f"{COUNTED}\n", said
    assert language.generate(causal, "One two", tokens=3, temperature=0).texts == ("One two three four five",)


def test_the_same_seed_writes_the_same(causal: Path) -> None:
    once = language.generate(causal, tokens=12, temperature=2.0, seed=3, count=3)
    again = language.generate(causal, tokens=12, temperature=2.0, seed=3)
    assert once.texts[0] == again.texts[0] and len(set(once.texts)) == 3
    assert language.generate(causal, tokens=12, temperature=2.0, seed=4).texts != again.texts
    said = json.loads(call("generate", causal, "--tokens", 12, "--temperature", 2, "--seed", 3, "--count", 3, "--json").out)
    assert said["texts"] == list(once.texts) and said["tokens"] == 12 and len(said["model"]) == 32
    assert all(t and t.encode() and language.LOST not in t for t in once.texts)


def test_a_text_ends_where_all_documents_did(causal: Path) -> None:
    said = call("generate", causal, "--prompt", "one two three", "--temperature", 0)
    longest = load(causal).spec.extra["longest"]
    assert said.out.startswith(COUNTED) and f"more than {longest} tokens: the text ends there" in said.err
    got = language.generate(causal, "one two three", temperature=0).result
    assert got["tokens"] == longest - 3


def test_old_tokens_slide_out(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("\n".join(" ".join(sentences(8)) for _ in range(20)))
    run = train(path, "long", 3, method="autoregressive", reading={"size": 16})
    late = " ".join(["two"] * 15)
    notes: list[str] = []
    short, long = (language.generate(run, p, tokens=30, say=notes.append).texts[0] for p in (late, f"{COUNTED} {late}"))
    assert long == f"{COUNTED} {short}" and len(notes) == 1 and "the last 15 are read" in notes[0]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--prompt", "🏴🤗"), "no token of"),
        (("--tokens", 0), "--tokens 0"),
        (("--temperature", -1), "--temperature -1"),
        (("--top-k", -1), "--top-k -1"),
        (("--top-p", 0), "--top-p 0"),
        (("--count", 0), "--count 0"),
        (("--seed", -1), "--seed -1"),
    ],
)
def test_generate_refuses_what_cannot_be_meant(causal: Path, words: tuple[Any, ...], complaint: str) -> None:
    refused(call("generate", causal, *words), complaint)


def test_a_prompt_may_be_empty_long_strange_or_partly_unknown(causal: Path) -> None:
    for prompt in ("", "   ", "the \t", "שלום the king", "THE KING " * 200, "a\u0000b\x1b[31m king"):
        said = call("generate", causal, "--prompt", prompt, "--tokens", 4)
        assert said.code == 0 and said.out.strip() and "Traceback" not in said.err, said
        assert "\x1b" not in said.out and "\0" not in said.out
    assert "never seen in training" in call("generate", causal, "--prompt", "שלום the king", "--tokens", 2).err


def test_drawing_against_a_loop() -> None:
    rng = np.random.default_rng(1)
    odds, at = rng.normal(size=(200, 12)) * 2, rng.random(200)
    for temperature, top_k, top_p in ((1.0, 0, 1.0), (0.5, 3, 1.0), (1.5, 0, 0.6), (0.8, 4, 0.7), (1.0, 1, 1.0), (1.0, 0, 1e-9)):
        got = language.drawn(odds, at, temperature, top_k, top_p)
        for row, u, found in zip(odds, at, got, strict=True):
            p = sorted(((math.exp(v / temperature), i) for i, v in enumerate(row)), reverse=True)[: top_k or None]
            total, kept, mass = sum(v for v, _ in p), [], 0.0
            for v, i in p:
                if mass >= top_p * total:
                    break
                kept.append((v, i))
                mass += v
            edge = 0.0
            for v, i in kept:  # noqa: B007
                edge += v
                if u * mass < edge:
                    break
            assert found == i
    assert (language.drawn(odds, at, 0.0) == odds.argmax(1)).all() and (language.drawn(odds, at, 1e-300) == odds.argmax(1)).all()


def test_characters_over_several_tokens_are_decoded_together(causal: Path) -> None:
    words = language.Words(load(causal))
    text = "the king 🏳️‍🌈 é"
    ids = words.encode(text)
    assert any(language.LOST in words.names[i] for i in ids)  # bytes, of which none is a character
    for cut in range(1, len(ids) + 1):
        got = words.after("the", ids[:1], ids[:cut])
        assert text.startswith(got) and not got.endswith(language.LOST)
    assert words.after("The", ids[:1], ids) == "The" + text[3:]


@pytest.mark.parametrize("kind", ["characters", "unigram", "wordpiece"])
def test_every_kind_of_tokens_goes_on_and_is_filled(kind: str, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("\n".join(sentences(40)))
    run = train(path, "run", 2, method="autoregressive", reading={"options": {"tokens": kind}})
    assert language.generate(run, "the king ", tokens=5).texts[0].startswith("the king")
    assert language.generate(run, tokens=5).texts[0].strip()
    with pytest.raises(Asked, match="no token of"):
        language.generate(run, "日本語")
    run = train(path, "hidden", 2, method="mlm", backbone="roformer", reading={"options": {"tokens": kind}})
    assert len(language.fill(run, "the [MASK] holds [MASK] crown").gaps) == 2
    if kind == "characters":
        with pytest.raises(Asked, match="no tokens of 2 letters"):
            language.similar(run, "king")


# ---- fill ----


def test_the_right_word_comes_first(masked: Path) -> None:
    for start in range(10):
        row = [NUMBERS[(start + k) % 10] for k in range(8)]
        text = " ".join([*row, "sun rain man"])
        done = language.fill(masked, text.replace(row[4], "[MASK]"))
        assert done.gaps[0][0][0] == row[4] and done.gaps[0][0][1] > 0.5 and done.text == text, done
        assert len(done.gaps[0]) == 5 and [p for _, p in done.gaps[0]] == sorted((p for _, p in done.gaps[0]), reverse=True)


def test_several_gaps_and_json(masked: Path) -> None:
    text = "one two [MASK] four five [mask] seven eight sun rain man"
    said = json.loads(call("fill", masked, text, "--top", 2, "--json").out)
    assert said["filled"] == f"{COUNTED} sun rain man" and len(said["masks"][0]) == 2
    assert [gap[0]["token"] for gap in said["masks"]] == ["three", "six"]
    plain = call("fill", masked, text, "--top", 2)
    assert plain.code == 0 and plain.out.endswith(said["filled"] + "\n") and "probability" in plain.out


def test_within_a_word_only_what_goes_on_with_it_is_compared(masked: Path) -> None:
    words = language.Words(load(masked))
    start = language.fill(masked, "the king holds the [MASK]", top=1000).gaps[0]
    within = language.fill(masked, "the king holds the cr[MASK]", top=1000).gaps[0]
    names = [n.strip() for n in words.names]
    begins, others = ({names[i] for i in np.flatnonzero(words.usual & b)} for b in (words.begins, ~words.begins))
    assert {t for t, _ in start} <= begins and {t for t, _ in within} <= others
    assert sum(p for _, p in start) == pytest.approx(1) and sum(p for _, p in within) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
def test_around_a_gap_tokens_are_those_of_the_whole_text(kind: str, corpus: Path, tmp_path: Path) -> None:
    learned = wording.learn(sentences(), kind)

    class Spec:
        extra = {"tokenizer": learned.text, "kind": learned.kind}

    class Net:
        spec = Spec
        encoder = type("Encoder", (), {"tokenizer": None})

    words = language.Words(Net)  # type: ignore[arg-type]
    text = "the king holds the crown in the morning (old). one: the man, (queen)."
    whole = words.encode(text)
    places = wording.places(learned.text, text)
    tried = 0
    for i, (start, end) in enumerate(places):
        hole = text[start:end]
        start += len(hole) - len(hole.lstrip()) if hole.strip() else 0
        if start and text[start - 1].isalnum() and text[start].isalnum() and kind != "characters":
            continue  # within a word
        if i and kind != "characters" and not words.names[whole[i - 1]].strip():
            continue  # of a word whose space is a token of its own
        ids, at = words.gapped([text[:start], text[end:]])
        assert at.tolist() == [i] and np.delete(ids, i).tolist() == np.delete(whole, i).tolist(), hole
        tried += 1
    assert tried > 5


def test_long_text_is_read_around_each_gap(masked: Path) -> None:
    net, notes = load(masked), list[str]()
    words = [NUMBERS[k % 10] for k in range(60)]
    assert len(language.Words(net).encode(" ".join(words))) == 60
    for gap in (0, 30, 59):
        start = min(max(0, gap - net.spec.sizes[0] // 2), 60 - net.spec.sizes[0])
        holed = ["[MASK]" if k == gap else w for k, w in enumerate(words)]
        long, short = (language.fill(masked, " ".join(t), say=notes.append) for t in (holed, holed[start : start + net.spec.sizes[0]]))
        assert long.gaps == short.gaps
    assert len(notes) == 3 and "around each [MASK] are read" in notes[0]


def test_fill_refuses_what_cannot_be_meant(masked: Path, causal: Path, plain: Path, corpus: Path) -> None:
    refused(call("fill", masked, "the king"), "no [MASK]")
    refused(call("fill", masked, "[MASK]"), "nothing around")
    refused(call("fill", masked, "🤗 [MASK]"), "no token of")
    refused(call("fill", masked, "the [MASK]", "--top", 0), "--top 0")
    refused(call("fill", causal, "the [MASK]"), "autoregressive", "what is hidden", "--method mlm")
    refused(call("fill", plain, "the [MASK]"), "word2vec", "--method mlm")
    refused(call("generate", masked), "mlm", "what comes next", f"tacit pretrain {corpus} --method autoregressive")
    refused(call("generate", plain), "word2vec", "--method autoregressive")
    said = call("fill", masked, "שלום king [MASK] 🤗 the crown")
    assert said.code == 0 and "never seen in training" in said.err


def test_other_data_than_text_says_nothing(corpus: Path, tmp_path: Path) -> None:
    run = tacit.pretrain(small("vector"), out=tmp_path / "run", steps=2, batch_size=8).path
    for words in (("generate", run), ("fill", run, "a [MASK]"), ("similar", run, "a"), ("search", run, corpus, "a")):
        refused(call(*words), "vector data, not from text", "tacit pretrain")
    refused(call("similar", corpus.parent / "none", "king"), "no model")


# ---- similar ----


@pytest.fixture(scope="module")
def built(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose vectors are put together: being royal, being a woman, and what is each word's own."""
    import torch

    net, rng = load(plain), np.random.default_rng(0)
    words = language.Words(net)
    table = rng.normal(size=(len(words.names), 48)) * 0.3
    number = {words.names[i].strip(): i for i in words.listed}
    royal, woman = np.eye(48)[:2] * 4
    for name, value in {"king": royal, "queen": royal + woman, "man": 0 * royal, "baker": woman, "crown": 0.6 * royal}.items():
        table[number[name]] += value
    net.encoder.tokenizer.table.data = torch.from_numpy(table + 2.0).float()  # what all have in common says nothing
    return net.save(tmp_path_factory.mktemp("built") / "model")


def test_near_words_and_sums_of_words(built: Path) -> None:
    assert language.similar(built, "King", top=2).words[0][0] in ("queen", "crown")
    assert language.similar(built, "king - man + baker").words[0][0] == "queen"
    done = language.similar(built, "king")
    assert len(done.words) == 10 and "king" not in dict(done.words) and done.words[0][1] <= 1
    assert [c for _, c in done.words] == sorted((c for _, c in done.words), reverse=True)
    said = json.loads(call("similar", built, "king", "--top", 3, "--json").out)
    assert [s["word"] for s in said["similar"]] == [w for w, _ in done.words[:3]]
    assert done.words[0][0] in call("similar", built, "king").out


def test_a_word_of_several_tokens_is_their_mean(built: Path) -> None:
    said = call("similar", built, "king queen", "--top", 1)
    assert said.code == 0 and "the mean of 'king' + 'queen'" in said.err and "crown" in said.out


def test_terms_of_a_sum() -> None:
    assert language.terms("king - man + woman") == [(1, "king"), (-1, "man"), (1, "woman")]
    assert language.terms("king-man+woman") == language.terms("king −man +woman") == [(1, "king"), (-1, "man"), (1, "woman")]
    assert language.terms("new york - usa") == [(1, "new york"), (-1, "usa")] and language.terms("well-known") == [(1, "well-known")]
    assert language.terms("-man") == [(-1, "man")] and language.terms("c++") == [(1, "c++")]


def test_similar_refuses_what_cannot_be_meant(built: Path) -> None:
    refused(call("similar", built, "kign"), "'kign' is not in the vocabulary", "did you mean 'king'?")
    refused(call("similar", built, "zzzqqq"), "not in the vocabulary", "frequent words: ")
    refused(call("similar", built, "日本"), "not in the vocabulary")
    refused(call("similar", built, " "), "no word to look for")
    refused(call("similar", built, "king - king"), "nothing is left")
    refused(call("similar", built, "king", "--top", 0), "--top 0")


# ---- search ----

DOCS = ["the cat sat", "the dog and the cat", "a dog", "", "The Dog, the dog!"]


def slow_bm25(texts: list[str], query: str, k1: float = 1.2, b: float = 0.75) -> list[float]:
    words = [retrieval.words(t) for t in texts]
    mean = sum(map(len, words)) / len(words)
    out = []
    for doc in words:
        score = 0.0
        for word in retrieval.words(query):
            n, tf = sum(word in d for d in words), Counter(doc)[word]
            rarity = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            score += rarity * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(doc) / mean))
        out.append(score)
    return out


def test_bm25_against_a_loop_and_by_hand() -> None:
    found = retrieval.BM25(DOCS)
    for query in ("dog", "the cat", "cat cat", "DOG the unicorn", "unicorn", ""):
        np.testing.assert_allclose(found.scores(query), slow_bm25(DOCS, query), rtol=1e-12)
    # "cat" is in 2 of 5 documents; the first has 3 words, and 14 words / 5 documents = 2.8
    by_hand = math.log(1 + 3.5 / 2.5) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 3 / 2.8))
    assert found.scores("cat")[0] == pytest.approx(by_hand) and by_hand == pytest.approx(0.8506, abs=1e-4)
    other = retrieval.BM25(DOCS, k1=2.0, b=0.0)
    np.testing.assert_allclose(other.scores("dog the"), slow_bm25(DOCS, "dog the", 2.0, 0.0))
    assert retrieval.BM25([]).scores("cat").shape == (0,) and retrieval.BM25(["", " "]).scores("cat").tolist() == [0, 0]


def test_ranks_are_fused() -> None:
    assert retrieval.places(np.array([0.2, 0.9, 0.2, -1.0])).tolist() == [2, 1, 2, 4]
    got = retrieval.fused(np.array([1, 2, 3]), np.array([0, 2, 1]))
    np.testing.assert_allclose(got, [1 / 61, 2 / 62, 1 / 63 + 1 / 61])


def test_documents_are_found_by_meaning_and_by_words(plain: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.jsonl"
    said = call("search", plain, corpus, "the baker holds bread", "--top", 3, "--out", out, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    hits = found["hits"]
    assert len(hits) == 3 and found["documents"] == 240 and hits == [json.loads(line) for line in out.read_text().splitlines()]
    lines = corpus.read_text().splitlines()
    assert [lines[int(h["name"].split(":")[1]) - 1] for h in hits] == [h["text"] for h in hits] and hits[0]["row"] >= 0
    assert hits[0]["fusion"] == pytest.approx(1 / (60 + hits[0]["cosine_rank"]) + 1 / (60 + hits[0]["bm25_rank"]))
    told = call("search", plain, corpus, "the baker holds bread", "--top", 3, "--order", "bm25")
    assert told.code == 0 and "BM25 rank" in told.out and told.out.count("baker holds") == 3


def test_each_order_sorts_by_its_own_score(plain: Path) -> None:
    texts = sentences(60)
    net = load(plain)
    for order, key in (("fusion", "fusion"), ("embedding", "cosine"), ("bm25", "bm25")):
        done = retrieval.search(plain, texts, "sailor rope", top=60, order=order)
        values = [getattr(h, key) for h in done.hits]
        assert values == sorted(values, reverse=True) and [h.place for h in done.hits] == list(range(1, len(values) + 1))
    assert all("sailor" in h.text for h in done.hits) and len(done.hits) == sum("sailor" in t for t in texts)
    (hit,) = retrieval.search(plain, texts, "sailor rope", top=1, order="embedding").hits
    z = net.vectors(net.prepare([*texts, "sailor rope"]).x)
    cosines = retrieval.unit(z[:-1]) @ retrieval.unit(z[-1:])[0]
    assert hit.cosine == pytest.approx(cosines.max(), abs=1e-4) and hit.row == int(cosines.argmax())


def test_personal_data_that_the_model_never_saw_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "mails.txt"
    path.write_text("\n".join(f"write to the king at king{i}@castle.org today" for i in range(60)))
    opened = {"modality": {"width": 8}, "backbone": {}, "optim": {}}
    run = train(path, "run", 2, method="word2vec", overrides=opened, reading={"options": {"redact": True}})
    said = call("search", run, path, "king3@castle.org")
    assert said.code == 0 and "[e-mail]" in said.out and "castle" not in said.out


def test_search_refuses_what_cannot_be_meant(plain: Path, corpus: Path, tmp_path: Path) -> None:
    refused(call("search", plain, corpus, "  "), "query is empty")
    refused(call("search", plain, corpus, "🤗"), "no token of")
    refused(call("search", plain, corpus, "king", "--order", "best"), "no such order", "fusion, embedding, bm25")
    refused(call("search", plain, corpus, "king", "--top", 0), "--top 0")
    refused(call("search", plain, corpus, "king", "--out", tmp_path / "x.csv"), ".jsonl")
    refused(call("search", plain, "builtin:digits", "king"), "image")
    refused(call("search", plain, tmp_path / "none", "king"), "none")
    with pytest.raises(Asked, match="image"):
        retrieval.search(plain, small("image"), "king")


def test_a_query_may_be_long_strange_or_without_a_known_word(plain: Path, corpus: Path) -> None:
    for query in ("the king " * 3000, "שלום the king", "kings", "'\"()[]{} king \\ \n"):
        said = call("search", plain, corpus, query, "--top", 2)
        assert said.code == 0 and "Traceback" not in said.err, said
    assert "note: " not in call("search", plain / "model", corpus, "king", "--top", 2).err  # a model folder will do
    assert "only the meaning decides" in call("search", plain, corpus, "kings", "--top", 2).err


def test_columns_that_were_joined_are_shown_apart(plain: Path) -> None:
    (hit,) = retrieval.search(plain, ["the king [SEP] the crown", "the man"], "king", top=1).hits
    assert hit.text == "the king | the crown"


# ---- retrieval between two sets ----


def test_recall_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    other = rng.normal(size=(60, 8))
    own = other[:40] + rng.normal(size=(40, 8)) * 0.9
    several = [[i, (i + 1) % 60] if i % 3 else [i] for i in range(40)]
    for relevant in (np.arange(40), several):
        found = retrieval.recall(own, other, relevant)
        ranks = []
        for i in range(40):
            cosines = [float(own[i] @ o / np.linalg.norm(own[i]) / np.linalg.norm(o)) for o in other]
            best = max(cosines[j] for j in np.atleast_1d(relevant[i]))
            ranks.append(1 + sum(c > best + 1e-12 for c in cosines))
        for k in (1, 5, 10):
            value, low, high = found[f"recall@{k}"]
            assert value == pytest.approx(np.mean([r <= k for r in ranks])) and low <= value <= high and 0 <= low < high <= 1
        assert found["median_rank"][0] == np.median(ranks)
    assert retrieval.recall(own, other, several) == retrieval.recall(own, other, several)


def test_recall_of_the_same_of_nothing_and_of_what_is_wrong() -> None:
    z = np.random.default_rng(0).normal(size=(30, 4))
    assert retrieval.recall(z, z, np.arange(30), ks=(1,))["recall@1"] == (1.0, 1.0, 1.0)
    assert retrieval.ranked(np.ones((3, 4)), np.ones((9, 4)), np.arange(3)).tolist() == [5, 5, 5]  # all alike: as by chance
    for wrong in (np.arange(29), np.full(30, 30), np.full(30, -1), [[]] * 30):
        with pytest.raises(Asked):
            retrieval.recall(z, z, wrong)
