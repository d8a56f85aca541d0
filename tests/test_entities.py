"""Entities and answers: spans of texts as labels, learned token by token, decided and scored as spans."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tacit
from conftest import call
from tacit.data import entities
from tacit.data.dataset import from_texts
from tacit.data.supervision import supervise
from tacit.errors import BadData
from tacit.heads.tagging import Tagging, marked
from tacit.modality import BadItem

SMALL = {"backbone": {"dim": 32, "depth": 1, "heads": 2}, "modality": {"width": 32}}
NAMES = {"PER": ["Anna Smith", "Ben Ito", "Zoë Kim"], "LOC": ["Lima", "Bern", "São Paulo"]}


def sentences(n: int, seed: int = 0) -> list[list[tuple[str, str]]]:
    """Words with their tags."""
    rng = np.random.default_rng(seed)
    out = []
    for day in range(n):
        words: list[tuple[str, str]] = [("day", "O"), (str(100 * seed + day), "O")]
        for part in ("{PER} went to {LOC} .", "in {LOC} it rained", "nothing happened here")[rng.integers(3)].split():
            kind = part.strip("{}")
            if kind not in NAMES:
                words.append((part, "O"))
                continue
            name = NAMES[kind][rng.integers(3)].split()
            words += [(w, f"{'BI'[i > 0]}-{kind}") for i, w in enumerate(name)]
        out.append(words)
    return out


def conll(path: Path, n: int, seed: int = 0) -> Path:
    path.write_text("\n\n".join("\n".join(f"{w} x {t}" for w, t in s) for s in sentences(n, seed)) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("entities")
    conll(path / "train.conll", 120)
    conll(path / "test.conll", 30, seed=1)
    return path


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    data = tacit.open(folder / "train.conll", options={"case": "keep"})
    made = tacit.pretrain(data, out=folder / "run", method="mlm", backbone="roformer", steps=30, batch_size=32, overrides=SMALL)
    return Path(made.path)


def slow_spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """A span is a maximal run of one label that no B- interrupts."""
    out = set()
    for a in range(len(tags)):
        for b in range(a + 1, len(tags) + 1):
            inside, label = tags[a:b], tags[a][2:]
            if tags[a] == "O" or any(t != f"I-{label}" for t in inside[1:]):
                continue
            begins = tags[a].startswith("B") or a == 0 or tags[a - 1][2:] != label
            ends = b == len(tags) or tags[b] != f"I-{label}"
            if begins and ends:
                out.add((a, b, label))
    return out


def test_spans_of_bio_labels_equal_a_slow_search() -> None:
    classes = ("O", "B-x", "I-x", "B-y", "I-y")
    rng = np.random.default_rng(0)
    for _ in range(200):
        row = rng.integers(0, 5, 8)
        assert set(marked(row, classes)) == slow_spans([classes[k] for k in row])


def test_f1_counts_spans_that_are_right_at_both_ends_and_in_label() -> None:
    head = Tagging(("O", "B-x", "I-x", "B-y", "I-y"))
    true = np.array([[1, 2, 0, 3, 0, 1], [0, 0, 1, -1, -1, -1]])
    said = np.array([[1, 2, 0, 1, 0, 1], [0, 1, 2, 0, 1, 2]])  # right, wrong label, right; wrong begin; behind the end
    found = head.scores(np.eye(5)[said] * 9, true, {})
    assert head.metrics[0] == "span_f1" and found["span_precision"] == 2 / 4 and found["span_recall"] == 2 / 4
    assert found["span_f1"] == 0.5 and found["accuracy"] == pytest.approx(6 / 9)
    assert Tagging(("O", "cat")).metrics[0] == "iou"


def test_labels_are_read_as_json_or_as_a_piece_of_the_text() -> None:
    text = "who? [SEP] Anna asked who Ben was"
    assert entities.spans('[[11, 15, "PER"]]', text) == [(11, 15, "PER")]
    assert entities.spans('[{"end": 15, "start": 11, "entity": "PER"}]', text) == [(11, 15, "PER")]
    assert entities.spans("[]", text) == []
    assert entities.spans("who", text) == [(22, 25, "answer")]  # in the last column, not in the question
    assert entities.spans("ANNA", text) == [(11, 15, "answer")]
    assert entities.spans("E", "who? [SEP] Vitamin E") == [(19, 20, "answer")]  # not the one of the mark
    for wrong in ('[[11, 99, "PER"]]', '[[15, 11, "PER"]]', "Carl", "[1, 2]"):
        with pytest.raises(BadItem):
            entities.spans(wrong, text)
    with pytest.raises(BadItem):
        entities.spans('[[0, 4, ""]]', text)
    for hostile in ('[[0, 1e999, "x"]]', "[" * 100_000, "[[0, 4, null]]", '[[0.5, 4, "x"]]'):
        assert not entities.given([hostile])
    most = ['[[0, 1, "a"]]'] * 19
    assert entities.given([*most, "broken"]) and not entities.given([*most[:5], "broken"])
    assert entities.given(["[]", '[[0, 1, "a"]]']) and not entities.given(["[]", "a"]) and not entities.given([])


def test_a_conll_file_is_texts_with_spans(folder: Path) -> None:
    data = tacit.open(folder / "train.conll", options={"case": "keep"})
    assert len(data) == 150 and len(data.test) == 30 and data.classes == () and "tags of their tokens" in str(data)
    answers = supervise(data)
    assert answers.head == "tagging" and answers.classes == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert data.raws is not None
    texts, wanted = list(data.raws()), sentences(120) + sentences(30, 1)
    for row, (text, words) in enumerate(zip(texts, wanted, strict=True)):
        assert text == " ".join(w for w, _ in words)
        tags = np.asarray(data.tags)[row]
        found = entities.located([marked(tags[tags >= 0], answers.classes)], [text], data.spec.extra["tokenizer"])[0]
        names = [(f["text"], f["label"]) for f in found]
        assert names == [(" ".join(n), k) for n, k in grouped(words)], text


def grouped(words: list[tuple[str, str]]) -> list[tuple[list[str], str]]:
    out: list[tuple[list[str], str]] = []
    for word, tag in words:
        if tag.startswith("B"):
            out.append(([word], tag[2:]))
        elif tag.startswith("I"):
            out[-1][0].append(word)
    return out


def test_finetune_predict_and_export_find_spans_in_characters(folder: Path, run: Path) -> None:
    said = call("finetune", run, folder / "train.conll", "--out", folder / "ner")
    assert said.code == 0 and "span f1" in said.err, said.err
    result = json.loads((folder / "ner" / "result.json").read_text())
    assert result["results"][0]["metric"] == "span_f1" and result["results"][0]["value"] > 0.5
    new = folder / "new.txt"
    new.write_text("Anna Smith went to São Paulo .\nnothing happened here\n" + "in Lima it rained " * 30 + "\n", encoding="utf-8")
    found = tacit.predict(folder / "ner", new)
    spans = found["spans"]
    assert tacit.load(folder / "ner").predict(new)["spans"] == spans
    assert [(s["text"], s["label"]) for s in spans[0]] == [("Anna Smith", "PER"), ("São Paulo", "LOC")] and spans[1] == []
    assert all(s["text"] == new.read_text(encoding="utf-8").splitlines()[2][s["start"] : s["end"]] for s in spans[2])
    assert call("predict", folder / "ner", new, "--out", folder / "p.csv").code == 0
    with (folder / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert json.loads(rows[0]["spans"]) == spans[0]
    assert call("export", folder / "ner", "--to", "torch", "--out", folder / "art").code == 0
    assert tacit.predict(folder / "art", new)["spans"] == spans


def test_answers_are_found_in_the_last_of_joined_columns(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "qa.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "context", "answer"])
        for i in range(60):
            who, where = ("Anna", "Ben", "Carl")[rng.integers(3)], ("Lima", "Bern", "Oslo")[rng.integers(3)]
            asked = (("Who lives there?", who), ("Where is it?", where))[i % 2]
            writer.writerow([asked[0], f"{who} lives in {where}.", "nobody" if i == 5 else asked[1]])
    data = tacit.open(path, text_column="question,context", target="answer")
    answers = supervise(data, head="tagging", target="answer")
    assert answers.classes == ("O", "B-answer", "I-answer") and len(answers) == 59
    assert any("nobody" in note for note in answers.notes)
    assert supervise(data, target="answer").head == "classification"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Anna B-PER\nwent\n", "line 2 has no tag"),
        ("Anna NNP\nwent VB\n", "no BIO tags"),
        ("", "no text with tags"),
        ("\n\n# nothing\n", "no text with tags"),
    ],
    ids=["a line without a tag", "tags of another kind", "empty", "comments only"],
)
def test_a_broken_conll_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.conll").write_text(content)
    with pytest.raises(BadData) as error:
        tacit.open(tmp_path / "a.conll")
    assert words in str(error.value)


def test_places_are_not_read_where_personal_data_was_taken_out(tmp_path: Path) -> None:
    path = conll(tmp_path / "a.conll", 20)
    data: Any = tacit.open(path, options={"redact": True})
    with pytest.raises(tacit.errors.Asked, match="personal data"):
        supervise(data)


def test_one_long_text_without_a_label_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": f"Anna met Ben {i} times", "spans": json.dumps([[0, 4, "PER"]])} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, [*rows, {"text": "word " * 5000, "spans": None}])) + os.linesep)
    data = tacit.open(path, text_column="text", target="spans")
    answers = supervise(data)
    assert len(answers) == 20 and answers.values.shape[1] < 20


def test_spans_that_overlap_and_texts_with_spaces(tmp_path: Path) -> None:
    texts = ["   Anna met Ben", "Ben met Anna Lee Smith"] * 10
    spans: list[Any] = [[[3, 7, "PER"]], [[8, 22, "PER"], [13, 16, "MID"]]] * 10
    path = tmp_path / "a.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": f"{t} {i}", "spans": json.dumps(s)}) for i, (t, s) in enumerate(zip(texts, spans, strict=True)))
    )
    data = tacit.open(path, text_column="text", target="spans")
    answers = supervise(data)
    assert len(answers) == 10 and any("overlap" in note for note in answers.notes)
    assert data.raws is not None
    first = next(iter(data.raws()))
    tags = answers.values[0]
    found = entities.located([marked(tags[tags >= 0], answers.classes)], [first], data.spec.extra["tokenizer"])
    assert found == [[{"start": 3, "end": 7, "label": "PER", "text": "Anna"}]]
    again = from_texts([f"{t.strip()} {i}" for i, t in enumerate(texts)], y=[[[0, 4, "PER"]], []] * 10)
    assert again.tagged is not None and again.tagged.classes == ("O", "B-PER", "I-PER")
    assert entities.located([[[0, 1, "PER"]]], [np.array([3, 4])], "")[0][0]["text"] == ""  # type: ignore[list-item]


def test_a_word_may_begin_with_a_hash(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("# id = 3\nI O\nlove O\n#Berlin B-LOC\n# O\n\n" * 5)
    data = tacit.open(tmp_path / "a.conll")
    assert data.raws is not None and next(iter(data.raws())) == "I love #Berlin #" and data.tag_names == ("O", "B-LOC", "I-LOC")


def test_numbers_are_answers_and_spans_may_come_later(tmp_path: Path) -> None:
    path, late = tmp_path / "qa.csv", tmp_path / "late.csv"
    path.write_text("question,context,answer\n" + "\n".join(f"when?,it was in {1900 + i} or so,{1900 + i}" for i in range(40)) + "\n")
    answers = supervise(tacit.open(path, text_column="question,context", target="answer"), head="tagging")
    assert len(answers) == 40 and answers.classes == ("O", "B-answer", "I-answer")
    (tmp_path / "t.txt").write_text("\n".join(f"Anna met Ben {i}" for i in range(20)))
    data = tacit.open(tmp_path / "t.txt")
    with late.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "spans"), *((data.names[i], '[[0, 4, "PER"]]') for i in (3, 4))])
    found = supervise(data, file=late, head="tagging")
    assert found.items.tolist() == [3, 4] and found.classes == ("O", "B-PER", "I-PER")


def test_predictions_of_many_texts_are_made_part_by_part(folder: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = tacit.finetune(run, folder / "train.conll", strategy="probe", out=tmp_path / "ner")
    texts = [f"day {i} Anna Smith went to " + "Lima " * (i % 7) for i in range(30)]
    whole = tacit.predict(tuned.path, from_texts(texts, spec=tuned.model.spec))
    monkeypatch.setattr("tacit.predictions.PLACES", 300)
    parts = tacit.predict(tuned.path, from_texts(texts, spec=tuned.model.spec))
    assert parts["spans"] == whole["spans"] and len(parts) == 30
    with np.load(whole.write(tmp_path / "p.npz")) as held:
        assert "probability" in held.files and "tags" not in held.files
    rows = list(csv.DictReader(whole.write(tmp_path / "p.csv").open(newline="")))
    assert [json.loads(r["spans"]) for r in rows] == whole["spans"]


def test_texts_that_are_too_long_for_memory_are_refused_with_the_reason(folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.finetuning.fit.HELD", 1000)
    with pytest.raises(tacit.errors.Asked, match="do not fit into memory"):
        tacit.finetune(run, folder / "train.conll", strategy="probe", out=folder / "no")
