"""What the measurements of text stand on: the n-gram model, the sets, the page."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import corpora  # noqa: E402
import ngrams  # noqa: E402
import part5  # noqa: E402
import templates  # noqa: E402
import text_page  # noqa: E402
from part1 import Cells  # noqa: E402


@pytest.mark.parametrize("order", [1, 2, 3])
def test_kneser_ney_is_a_distribution(order: int) -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 6, 20).tolist() for _ in range(5)]
    model = ngrams.KneserNey(order, 9).fit(documents)
    for context in ([], [3], [3, 1], [8, 8], [1, 2, 3, 4]):
        assert sum(model.probability(context, token) for token in range(9)) == pytest.approx(1)
    assert model.nats([[0, 1]]) == pytest.approx(
        -np.log(model.probability([-1] * (order - 1), 0))
        - np.log(model.probability([*[-1] * (order - 1), 0][1 - order :] if order > 1 else [], 1))
    )


def test_kneser_ney_counts_the_ways_a_word_is_reached() -> None:
    """Francisco is frequent, but follows one word only; source: Chen & Goodman 1999, section 2.7."""
    model = ngrams.KneserNey(2, 5).fit([[0, 1, 0, 1, 0, 1, 2, 3, 4, 3, 2, 3]])
    assert model.probability([9], 1) < model.probability([9], 3), "1 comes three times after 0, 3 three times after two words"


def test_recall_ranks_rows_by_cosine() -> None:
    own = np.eye(4)
    found = part5.recalls(own, own[[0, 1, 3, 2]])
    assert found["recall@1"][0] == 0.5 and found["recall@5"][0] == 1.0


def test_messages_lose_what_gives_their_group_away() -> None:
    raw = "From: a@b.c\nNewsgroups: sci.space\n\nA said:\n> quoted\nwhat I say\n\n--\nmy signature\n"
    assert corpora.stripped(raw).strip() == "what I say"


def test_the_page_is_written_from_the_cells() -> None:
    cells = Cells(ROOT / "benchmarks" / "results" / "part5")
    assert (ROOT / "docs" / "text.md").read_text(encoding="utf-8") == "\n".join(text_page.page(cells)) + "\n"


@pytest.mark.parametrize("name", templates.TASKS)
def test_templates_hold_the_labels_that_they_promise(tmp_path: Path, name: str) -> None:
    import tacit
    from tacit.data.paired import paired
    from tacit.data.supervision import supervise

    make, opening, head = templates.TASKS[name]
    data = tacit.open(make(tmp_path / "t.csv", 30, unlabelled=50, test=20), **opening)
    assert len(data.test) == 20 and len(data) == 100
    if head == "pairs":
        _, answers = paired(data, head)
        assert len(answers) == 50 and set(answers.classes) == {"follows", "contradicts", "neither"}
        return
    answers = supervise(data, target=opening["target"], head=head)
    assert len(answers) == 50 and not any("cannot be used" in note for note in answers.notes)
    if name == "entities":
        named: dict[bool, set[tuple[float, ...]]] = {}
        for row, tags in zip(answers.items, answers.values, strict=True):
            ids = data[row][0][: (tags >= 0).sum()][tags[tags >= 0] > 0]
            named.setdefault(bool(data.split[row]), set()).add(tuple(ids.tolist()))
        assert not (named[True] & named[False]) - {()}, "a name of a test text stands in a labelled training text"
