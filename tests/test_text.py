"""Text: what is read, how it is cut into tokens, and that tokens map back to the characters they stand for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tacit
from conftest import call, small
from tacit import personal, wording
from tacit.assemble import make_encoder, make_modality
from tacit.data import dataset
from tacit.data.flat import Flat
from tacit.errors import Asked, BadData, CannotPair
from tacit.masking import unit_mask
from tacit.types import Batch, Cells, Views

STRANGE = [
    "Grüße aus Köln — 100 €",
    "שלום עולם",
    "🤗🏳️‍🌈 emoji",
    "ﬁne naïve cafe\u0301",
    "日本語のテキスト",
    "tab\there\u200bzero",
    "ÅNGSTRÖM İstanbul",
    "x" * 300,
]


def rows_of(n: int = 60) -> list[str]:
    rng = np.random.default_rng(0)
    return [f"the {rng.choice(['cat', 'dog'])} sees the {rng.choice(['sea', 'tree', 'rain'])} number {i}" for i in range(n)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(rows_of()) + "\n", encoding="utf-8")
    return path


# ---- tokens ----


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
@pytest.mark.parametrize("text", STRANGE)
def test_tokens_map_back_to_characters(kind: str, text: str) -> None:
    found = wording.learn([*rows_of(), *STRANGE], kind)
    ids, places = wording.encode(found.text, [text])[0], wording.places(found.text, text)
    assert len(ids) == len(places) > 0
    assert (places[:, 0] <= places[:, 1]).all() and (np.diff(places[:, 0]) >= 0).all() and places.max() <= len(text)
    covered = np.zeros(len(text), bool)
    for start, end in places:
        covered[start:end] = True
    lost = [c for c, there in zip(text, covered, strict=True) if not there and c.isalnum()]
    assert not lost, f"no token stands for {lost}"


def test_byte_level_tokens_lose_nothing_but_case() -> None:
    found = wording.learn(rows_of(), "bpe")
    texts = ["The CAT sees 2,000 Seas!", "שלום 🤗", "a\nb"]
    assert [t.strip() for t in wording.decode(found.text, wording.encode(found.text, texts))] == [t.lower() for t in texts]
    kept = wording.learn(rows_of(), "bpe", case="keep")
    assert [t.strip() for t in wording.decode(kept.text, wording.encode(kept.text, texts))] == texts


def test_what_the_texts_are_written_with_decides() -> None:
    dna, molecules = ["acgtacgtac" * 3, "GGGTTTACGN"], ["CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "ClCCBr.[Na+]", "C#N=C"]
    assert wording.learn(dna).kind == "bases" and wording.learn(molecules).kind == "smiles" and wording.learn(rows_of()).kind == "bpe"
    found = wording.learn(molecules)
    names = wording.words(found.text)
    assert [names[i] for i in wording.encode(found.text, ["ClCCBr.[Na+]"])[0]] == ["Cl", "C", "C", "Br", ".", "[Na+]"]


def test_the_vocabulary_is_no_larger_than_the_corpus_supports() -> None:
    found = wording.learn(["a few words"] * 3, "bpe", vocabulary=5000)
    assert len(wording.words(found.text)) < 400 and "supports no more" in found.why
    with pytest.raises(Asked, match="no such tokenizer"):
        wording.learn(rows_of(), "bpee")
    with pytest.raises(Asked, match="no text"):
        wording.learn(["", "  "])


@pytest.mark.parametrize("kmer", [1, 2, 3])
def test_reverse_complement_by_tokens_is_that_of_the_text(kmer: int) -> None:
    found = wording.learn(["acgtacgtnacg" * 2], kmer=kmer)
    other = wording.reverse_complement(found.text)
    text = "acgttgcaacgg"
    ids = wording.encode(found.text, [text])[0]
    back = wording.decode(found.text, [other[ids[::-1]]])[0]
    assert back.replace(" ", "") == text.translate(str.maketrans("acgt", "tgca"))[::-1]


def test_a_given_tokenizer_is_taken_as_it_is(tmp_path: Path, corpus: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(wording.learn(rows_of(), "wordpiece").text)
    data = dataset.open(corpus, options={"tokenizer": str(path)}, cache=False)
    assert data.spec.extra["kind"] == "given" and "tokenizer.json" in data.spec.extra["why"]
    with pytest.raises(Asked, match="no file"):
        dataset.open(corpus, options={"tokenizer": str(tmp_path / "none.json")}, cache=False)
    path.write_text("{}")
    with pytest.raises(Asked, match="no tokenizer"):
        dataset.open(corpus, options={"tokenizer": str(path)}, cache=False)


# ---- reading ----


def test_one_document_a_line_without_the_empty_ones(corpus: Path) -> None:
    data = dataset.open(corpus)
    assert (data.modality, len(data), data.names[1]) == ("text", 60, "corpus.txt:3")
    assert list(data.raws()) == rows_of()  # type: ignore[misc]
    again = dataset.open(corpus)
    assert again.cache_path is not None and again.fingerprint == data.fingerprint
    assert isinstance(again.x, Flat) and all(np.array_equal(again[i], data[i]) for i in range(60))


def test_a_folder_is_one_document_a_file_with_classes(tmp_path: Path) -> None:
    for i, text in enumerate(rows_of(12)):
        (tmp_path / ("pets", "weather")[i % 2]).mkdir(exist_ok=True)
        (tmp_path / ("pets", "weather")[i % 2] / f"{i}.txt").write_text(text + "\nsecond line")
    (tmp_path / "pets" / "page.html").write_text("<html><script>var x</script><p>one <b>cat</b></p><p>a dog</p></html>")
    data = dataset.open(tmp_path)
    assert len(data) == 13 and data.classes == ("pets", "weather")
    assert list(data.raws())[list(data.names).index("pets/page.html")] == "one cat\na dog"  # type: ignore[misc]


def test_train_and_test_files_are_parts(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n".join(rows_of(20)))
    (tmp_path / "test.txt").write_text("\n".join(rows_of(8)[5:]))
    for path in (tmp_path, tmp_path / "train.txt"):
        data = dataset.open(path)
        assert (len(data.train), len(data.test)) == (20, 3)


def test_columns_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    rows = [f'"said ""{t}""\nand left",{("good", "bad")[i % 2]},{i * i % 17}' for i, t in enumerate(rows_of(30))]
    path.write_text("body,label,price\n" + "\n".join(rows))
    data = dataset.open(path, text_column="body", target="label")
    assert (data.modality, len(data), data.classes) == ("text", 30, ("bad", "good"))
    assert next(iter(data.raws())) == f'said "{rows_of()[0]}"\nand left'  # type: ignore[misc]
    assert dataset.open(path).modality == "table"
    with pytest.raises(Asked, match="no column 'bdy'") as error:
        dataset.open(path, text_column="bdy")
    assert "body" in error.value.hint
    with pytest.raises(Asked, match="cannot be a label"):
        dataset.open(path, text_column="label")
    lines = tmp_path / "data.jsonl"
    lines.write_text("\n".join(json.dumps({"text": t, "label": i % 2}) for i, t in enumerate(rows_of(20))))
    assert dataset.open(lines).modality == "text"  # nothing else is left to learn from


def test_several_columns_of_text(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("en,de\n" + "\n".join(f"{t},der Hund sieht das Meer zum {i}. Mal" for i, t in enumerate(rows_of(20))))
    with pytest.raises(Asked, match="several columns of text: 'en', 'de'") as error:
        dataset.open(path, modality="text")
    assert "--text-column en" in error.value.hint and "en,de" in error.value.hint
    data = dataset.open(path, text_column="en,de")
    sep = wording.words(data.spec.extra["tokenizer"]).index(wording.SEPARATOR)
    assert all((data.x.item(i) == sep).sum() == 1 for i in range(20))


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("Größe\nÄrger\nstraße\n".encode("cp1252") * 10, "not UTF-8"),
        ("Größe\nÄrger\nStraße\n".encode("utf-16") + "mehr\n".encode("utf-16-le") * 20, "UTF-16"),
        (("Größe und Maß\n" * 10).encode() + "Ärger\n".encode("cp1252") * 10, ""),
        (b"nul\0 bytes\n" + b"here is more of it\n" * 20, ""),
        (b"\xef\xbb\xbfmark at the beginning\r\nand line ends\r\n" * 10, ""),
    ],
)
def test_encodings_and_bytes_that_nobody_promised(tmp_path: Path, content: bytes, note: str) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    data = dataset.open(path)
    texts = list(data.raws())  # type: ignore[misc]
    assert not any("\ufffd" in t or "\0" in t or "\ufeff" in t or "\r" in t for t in texts) and len(texts) >= 20
    assert not note or any(note in n for n in data.notes)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes())
    with pytest.raises(BadData, match="not a text file"):
        dataset.open(path)
    path.write_text("\n\n  \n")
    with pytest.raises(BadData, match="no item"):
        dataset.open(path)
    path.write_text("a single line\n")
    with pytest.raises(BadData, match="1 training item"):
        tacit.pretrain(dataset.open(path), steps=5)
    with pytest.raises(Asked, match="documents=line"):
        dataset.open(path, options={"documents": "line"})


def test_a_long_line_and_a_large_gzip_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "long.txt.gz"
    with gzip.open(path, "wt") as file:
        file.write("word and another word " * 150_000 + "\nshort line\n" + "x y\n" * 30)
    data = dataset.open(path)
    assert len(data) == 35 and any("several documents" in n for n in data.notes)
    assert data.lengths is not None and data.lengths.max() == 8192
    pieces = dataset.open(path, options={"documents": "passages"})
    assert pieces.spec.extra["documents"] == "passages" and len(pieces) > 1000


def test_personal_data_is_taken_out_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "letters.txt"
    path.write_text("\n".join([*rows_of(20), "write to bob@example.com or call +49 30 1234567", "bob@example.com"]))
    data = dataset.open(path, options={"redact": True})
    texts = wording.texts_of(data.x, data.spec.extra)
    assert len(data) == 21 and not any("@" in t for t in texts) and any("[e-mail]" in t for t in texts)
    assert [p.reason for p in data.bad] == ["nothing is left when personal data is taken out"]
    clean = tmp_path / "clean.jsonl"
    said = call("inspect", path, "--redact", clean)
    assert said.code == 0 and "personal   2 e-mail, 1 phone" in said.out and "1 left out" in said.out
    assert "@" not in clean.read_text() and len(clean.read_text().splitlines()) == 21
    assert dataset.open(clean).modality == "text"
    assert call("inspect", path, "--redact", path).code == 2


def test_inspect_says_what_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "mixed.txt"
    long = "we have seen that the old house by the river was sold to somebody who is from the city and has a dog"
    texts = [*rows_of(20), "der Hund sieht das Meer und ist nicht bei den anderen", long, long.replace("dog", "cat")]
    path.write_text("\n".join(texts))
    found = tacit.inspect(path)["text"]
    assert found["languages"]["English"] >= 20 and found["languages"]["German"] == 1
    assert found["near"]["count"] == 1 and found["near"]["pairs"] == [["mixed.txt:22", "mixed.txt:23"]]


# ---- views, tokens, windows ----


def batch_of(data: dataset.Dataset, rows: int = 8) -> Batch:
    x = torch.from_numpy(np.asarray(data.x[np.arange(rows)]))
    assert data.lengths is not None
    return Batch(x, torch.arange(rows), torch.arange(x.shape[-1]) < torch.from_numpy(data.lengths[:rows])[:, None])


def test_views_hold_tokens_of_the_document_in_its_order() -> None:
    data = small("text")
    mod = make_modality(data.spec, {})
    batch = batch_of(data)
    for view in mod.views(batch, Views(global_=2, weak=1, local=1), torch.Generator().manual_seed(0), (1,)):
        assert view.valid is not None and torch.equal(~view.x[:, 0].isnan(), view.valid) and view.valid.any(1).all()
        for row in range(8):
            own, seen = batch.x[row, 0].tolist(), view.x[row, 0][view.valid[row]].tolist()
            place = iter(own)
            assert all(token in place for token in seen)  # a subsequence


def test_the_other_strand_is_a_view_of_dna() -> None:
    data = dataset.from_texts(["acgttgcaacgg" * 2, "ttgacctgaacc" * 2] * 4)
    mod = make_modality(data.spec, {"drop": 0.0, "crop": 0.99})
    batch, names = batch_of(data), wording.words(data.spec.extra["tokenizer"])
    seen = set()
    for seed in range(8):
        (view,) = mod.views(batch, Views(global_=1), torch.Generator().manual_seed(seed), (1,))
        seen.add("".join(names[int(i)] for i in view.x[0, 0][view.valid[0]])[:6])  # type: ignore[index]
    assert "acgttg" in seen and any(s.startswith(("ccgttg", "cgttgc")) for s in seen)


def test_whole_words_are_hidden_together() -> None:
    units = torch.tensor([[1, 1, 1, 2, 3, 3, 4, 5, 5, 5]])
    cells = Cells((10,), torch.ones(1, 10, dtype=torch.bool))
    hidden = 0
    for seed in range(200):
        mask = unit_mask(cells, units, 0.3, torch.Generator().manual_seed(seed))[0]
        for unit in range(1, 6):
            assert mask[units[0] == unit].unique().numel() == 1
        hidden += int(mask.sum())
    assert 0.3 < hidden / 2000 < 0.6
    alone = unit_mask(Cells((4,), torch.ones(2, 4, dtype=torch.bool)), torch.ones(2, 4, dtype=torch.int64), 0.5, torch.Generator())
    assert alone.sum(1).tolist() == [2, 2]  # a single word: its tokens are hidden one by one
    with pytest.raises(CannotPair):
        unit_mask(Cells((1,), torch.ones(2, 1, dtype=torch.bool)), torch.ones(2, 1, dtype=torch.int64), 0.5, torch.Generator())


@pytest.mark.parametrize("needs", [frozenset(), frozenset({"causal"})])
def test_packing_and_windows_change_nothing(needs: frozenset[str]) -> None:
    data = small("text")
    mod, batch = make_modality(data.spec, {}), batch_of(data)
    torch.manual_seed(0)
    packed = make_encoder(mod, {"name": "roformer", "size": "tiny"}, needs).eval()
    torch.manual_seed(0)
    padded = make_encoder(mod, {"name": "roformer", "size": "tiny", "pack": False}, needs).eval()
    with torch.no_grad():
        a, b = packed(batch), padded(batch)
        alone = packed(Batch(batch.x[1:2, :, :4], batch.ids[1:2]))
    assert torch.allclose(a.tokens[a.valid], b.tokens[b.valid], atol=1e-5) and torch.allclose(a.pooled, b.pooled, atol=1e-5)
    assert torch.allclose(alone.pooled, a.pooled[1:2], atol=1e-5)  # the second document has four words
    torch.manual_seed(0)
    short = make_encoder(mod, {"name": "roformer", "size": "tiny", "window": 5}, needs).eval()
    with torch.no_grad():
        found, first = short(batch), short(Batch(batch.x[:1, :, :5], batch.ids[:1]))
    assert found.tokens.shape == a.tokens.shape and torch.allclose(found.tokens[0, :5], first.tokens[0], atol=1e-5)


def test_embeddings_do_not_depend_on_what_else_is_in_the_batch() -> None:
    run = tacit.pretrain(small("text"), steps=5, method="mlm", backbone="roformer", size="tiny", precision="32-true")
    texts = ["sun", "the storm falls over the sea " * 40, "rain and wind"]
    z = run.model.embed(texts).vectors
    assert np.allclose(z, np.concatenate([run.model.embed([t]).vectors for t in texts]), atol=1e-4)


def test_common_tokens_count_less() -> None:
    from tacit.encoder import pool

    x, weight = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1.0, 3.0, 5.0]])
    assert pool(x, torch.tensor([[True, True, False]]), "mean", weight).item() == pytest.approx(2.5)


def test_a_run_reads_other_text_as_it_read_the_first(tmp_path: Path, corpus: Path) -> None:
    run = tacit.pretrain(corpus, steps=5, out=tmp_path / "run", precision="32-true")
    z = run.model.embed([rows_of()[0], "ganz anders"])
    assert z.shape == (2, run.model.dim) and np.allclose(z.vectors[0], run.model.embed(str(corpus)).vectors[0], atol=1e-5)
    with pytest.raises(BadData, match="one row of numbers"):
        run.model.embed(np.zeros((3, 4, 5), np.float32).tolist())


def test_redaction_and_counts_agree() -> None:
    texts = ["a@b.co", "nothing", "card 4111 1111 1111 1111"]
    assert personal.count(texts) == {"e-mail": 1, "phone": 0, "card": 1, "iban": 0, "key": 0, "texts": 2}


@pytest.mark.parametrize("sif", [0.0, 0.05])
def test_an_embedding_is_the_mean_of_its_tokens_by_how_rare_they_are(sif: float) -> None:
    data = small("text")
    mod, batch = make_modality(data.spec, {"sif": sif}), batch_of(data)
    encoder = make_encoder(mod, {"name": "bag"}, frozenset()).eval()
    share = encoder.tokenizer.share
    for row in range(3):
        ids = [int(i) for i in batch.x[row, 0] if i == i]
        weight = [sif / (sif + float(share[i])) if sif else 1.0 for i in ids]
        want = sum(w * encoder.tokenizer.vectors[i] for w, i in zip(weight, ids, strict=True)) / sum(weight)
        assert torch.allclose(encoder(batch).pooled[row], want, atol=1e-6)


def test_pieces_of_spelling_join_the_vectors_of_tokens() -> None:
    data = small("text")
    encoder = make_encoder(make_modality(data.spec, {"subwords": True}), {"name": "bag"}, frozenset())
    tokenizer = encoder.tokenizer
    assert not torch.allclose(tokenizer.vectors, tokenizer.table)
    batch = batch_of(data)
    ids = tokenizer.symbols(batch.x)
    assert torch.allclose(tokenizer(batch).x, tokenizer.vectors[ids], atol=1e-6)
    names, _ = wording.plain(data.spec.extra["tokenizer"], data.spec.extra["kind"])
    parts = [set(tokenizer.parts[names.index(f" {w}")].tolist()) - {int(tokenizer.parts.max())} for w in ("shines", "sun")]
    assert len(parts[0]) > len(parts[1]) > 0


def test_pairs_tell_the_order_of_tokens_apart() -> None:
    data = small("text")
    batch = batch_of(data, 1)
    turned = Batch(batch.x.flip(-1), batch.ids, batch.valid)
    for pairs, alike in ((0, True), (50, False)):
        encoder = make_encoder(make_modality(data.spec, {"pairs": pairs}), {"name": "bag"}, frozenset())
        if pairs:
            torch.nn.init.normal_(encoder.tokenizer.pairs)
        assert torch.allclose(encoder(batch).pooled, encoder(turned).pooled, atol=1e-6) is alike
    with pytest.raises(CannotPair, match="shows the one before"):
        make_encoder(make_modality(data.spec, {"pairs": 50}), {"name": "roformer", "size": "tiny"}, frozenset({"mask"}))


def test_embeddings_are_directions_from_the_mean_of_the_training_items(tmp_path: Path) -> None:
    data = small("text")
    run = tacit.pretrain(data, steps=5, out=tmp_path / "run", precision="32-true")
    z = run.model.embed(data).vectors
    assert np.allclose(np.linalg.norm(z, axis=1), run.model.dim**0.5, rtol=1e-4)
    again = tacit.load(tmp_path / "run")
    assert torch.equal(again.centre, run.model.centre) and np.allclose(again.embed(data).vectors, z, atol=1e-5)
    again.centre = None
    raw = again.embed(data).vectors
    assert np.allclose(raw[data.train].mean(0), run.model.centre.numpy(), atol=1e-5)


def test_the_relation_of_two_parts_is_what_the_answer_says() -> None:
    texts = [" ".join(f"w{i}n{k}" for k in range(8)) for i in range(12)]
    data = dataset.from_texts(texts, options={"tokens": "characters"})
    mod = make_modality(data.spec, {})
    batch = batch_of(data, 12)
    first, second = mod.pretext("relation", batch, torch.Generator().manual_seed(0), (1,))
    seen = set()
    for row in range(12):
        a, b = ([int(i) for i in v.x[row, 0] if i == i] for v in (first, second))
        own = [int(i) for i in batch.x[row, 0] if i == i]
        joined = {0: a + b, 1: b + a}
        runs = {k: any(own[i : i + len(v)] == v for i in range(len(own))) for k, v in joined.items()}
        answer = int(second.answer[row])  # type: ignore[index]
        assert [k for k, fits in runs.items() if fits] == ([answer] if answer < 2 else [])
        seen.add(answer)
    assert seen == {0, 1, 2}


# ---- the classics ----


def test_the_classics_read_words(tmp_path: Path) -> None:
    from tacit.evaluation.classics.lsa import LSA
    from tacit.evaluation.classics.tfidf import Tfidf
    from tacit.evaluation.lexical import Lexicon

    texts = [f"the {('cat', 'storm')[i % 2]} was {w} on day {i}" for i, w in enumerate(["old", "loud", "grey"] * 20)]
    data = dataset.from_texts(texts, y=["pet" if i % 2 == 0 else "sky" for i in range(60)])
    assert data.labels is not None
    train, test = data.train, data.test
    model = Tfidf().prepare(data.x[train], data.spec).fit(data.x[train[:8]], data.labels[train[:8]])
    assert (model.predict(data.x[test]) == data.labels[test]).all()
    lexicon = Lexicon().fit(data.x[train], data.spec)
    rows = lexicon.matrix(data.x[test])
    fresh = lexicon._parts[0].transform(wording.texts_of(data.x[test], data.spec.extra))
    assert abs(rows[:, : fresh.shape[1]] - fresh).max() < 1e-6  # remembered rows stay those of their texts
    again = lexicon.matrix(data.x[np.r_[test, train]])
    assert abs(again[: len(test)] - rows).max() == 0
    lsa = LSA(size=5).fit(data.x[train], data.spec)
    z = lsa.transform(data.x[test])
    assert z.shape == (len(test), 5) and np.allclose(np.linalg.norm(z, axis=1), 1, atol=1e-4)
    numbers = Tfidf().prepare(data.x[train], data.spec).fit(data.x[train], data.labels[train].astype(float))
    assert np.corrcoef(numbers.predict(data.x[test]), data.labels[test])[0, 1] > 0.9


# ---- what else a run on text goes through ----


def test_a_decider_of_text_leaves_as_onnx_and_alarms_know_the_word(tmp_path: Path) -> None:
    rows = rows_of(80)
    path = tmp_path / "animals.csv"
    path.write_text("text,label\n" + "\n".join(f"{t},{t.split()[1]}" for t in rows))
    run = tacit.pretrain(str(path), steps=60, out=tmp_path / "run")
    tuned = tacit.finetune(run, str(path), strategy="probe", out=tmp_path / "model")
    tacit.export(tuned.path, to="onnx", out=tmp_path / "onnx")
    assert "tokenizers" in (tmp_path / "onnx" / "requirements.txt").read_text()
    ours, theirs = (tacit.predict(m, str(path)) for m in (tuned.path, tmp_path / "onnx"))
    assert list(ours["prediction"]) == list(theirs["prediction"])
    assert np.mean([p == t.split()[1] for p, t in zip(ours["prediction"], rows, strict=True)]) > 0.9
