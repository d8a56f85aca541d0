"""Near copies and boilerplate: estimates against exact Jaccard, recall and false alarms against the curve that the bands promise."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from tacit import likeness
from tacit.likeness import PERMUTATIONS, boilerplate, near, shingles, signatures


def pair(rng: np.random.Generator, alike: float, words: int = 200) -> tuple[str, str]:
    """Two texts of random words that begin alike, so that about this share of their shingles is common."""
    same = round(2 * alike / (1 + alike) * words)
    texts = [[f"w{v}" for v in rng.integers(0, 10**7, words)] for _ in range(2)]
    return " ".join(texts[0]), " ".join(texts[0][:same] + texts[1][same:])


def jaccard(a: str, b: str) -> float:
    one, two = set(shingles(a).tolist()), set(shingles(b).tolist())
    return len(one & two) / len(one | two)


@pytest.mark.parametrize("alike", [0.1, 0.3, 0.5, 0.8, 0.95])
def test_the_estimate_is_right_on_average_with_the_error_that_theory_says(alike: float) -> None:
    rng = np.random.default_rng(5)
    pairs = [pair(rng, alike) for _ in range(200)]
    exact = np.array([jaccard(*p) for p in pairs])
    signs = signatures([shingles(text) for p in pairs for text in p])
    errors = (signs[0::2] == signs[1::2]).mean(1) - exact
    theory = float(np.sqrt(alike * (1 - alike) / PERMUTATIONS))
    assert abs(errors.mean()) < 4 * theory / np.sqrt(200)
    assert np.sqrt((errors**2).mean()) == pytest.approx(theory, rel=0.2)


@pytest.mark.parametrize("alike", [0.2, 0.5, 0.8])
def test_bands_meet_as_often_as_their_curve_says(alike: float) -> None:
    rng = np.random.default_rng(6)
    pairs = [pair(rng, alike) for _ in range(300)]
    signs = signatures([shingles(text) for p in pairs for text in p])
    met = (signs[0::2] == signs[1::2]).reshape(300, likeness.BANDS, -1).all(2).any(1).mean()
    curve = 1 - (1 - alike**4) ** 32
    assert met == pytest.approx(curve, abs=4 * np.sqrt(curve * (1 - curve) / 300) + 0.01)


def test_shingles_are_runs_of_words_counted_with_their_repeats() -> None:
    assert jaccard("one two three four five six", "one two three four five SIX!") == 1
    assert jaccard("one two three four five six", "one two three four five ten") == 3 / 5
    assert len(shingles("la la la la la la")) == 4 and jaccard("la " * 6, "la " * 12) == pytest.approx(4 / 10)
    assert len(shingles("")) == len(shingles(" \n")) == 0 and len(shingles("hi")) == 1
    assert jaccard("short text", "short test") == 4 / 8  # runs of 5 characters
    assert jaccard("敏捷的棕色狐狸跳过了懒狗", "敏捷的棕色狐狸跳过了懒猫") == 7 / 9
    assert jaccard("c1ccccc1", "C1CCCCC1") < 1 and jaccard("\ud800" * 9, "\ud800" * 9) == 1


def test_hashes_are_the_same_on_every_machine() -> None:
    assert [int(x) for x in shingles("one two three four five")] == [939146661762653418, 17993617679827256317, 17529737246015667761]
    assert signatures([shingles("one two three four five")])[0, :3].tolist() == [871366673, 1689440514, 938853474]


def test_copies_are_found_and_strangers_are_not() -> None:
    rng = np.random.default_rng(0)
    found = near(text for _ in range(200) for text in pair(rng, 0.9))
    assert found.count == 200 and found.exact == 0 and found.looked == 400 and found.whole
    assert found.pairs == [(2 * i, 2 * i + 1) for i in range(20)]
    for alike in (0.0, 0.3, 0.6):
        assert near(text for _ in range(200) for text in pair(rng, alike)).count == 0
    assert near((text for _ in range(100) for text in pair(rng, 0.6)), threshold=0.5).count >= 95


def test_exact_copies_are_counted_apart() -> None:
    long = "we have seen that the old house by the river was sold to somebody who is from the city and has a dog"
    found = near([long, long.upper(), f"  {long}\n", long.replace("dog", "cat"), "", "", long.replace("dog", "cat")])
    assert (found.count, found.exact, found.pairs, found.looked) == (1, 3, [(0, 3)], 7)
    assert near([]).looked == 0 and near(["", " "]).exact == 0
    assert near(["c1ccccc1", "C1CCCCC1"]).exact == 0


def test_a_group_of_copies_counts_all_but_the_first() -> None:
    rng = np.random.default_rng(1)
    words = [f"w{v}" for v in rng.integers(0, 10**7, 300)]
    group = [" ".join([*words[:i], "x", *words[i + 1 :]]) for i in range(0, 300, 6)]
    found = near(group)
    assert found.count == 49 and all(a < b for a, b in found.pairs)


def test_a_crowd_of_half_alike_texts_hides_no_copy() -> None:
    rng = np.random.default_rng(2)
    base = [f"w{v}" for v in range(60)]
    crowd = [" ".join([*base, *(f"v{v}" for v in rng.integers(0, 10**7, 60))]) for _ in range(1500)]  # Jaccard 0.33
    copies = [text.rsplit(" ", 2)[0] for text in crowd[:100]]
    assert near([*crowd, *copies]).count >= 98


def test_strings_over_a_small_alphabet_are_not_alike_by_chance() -> None:
    rng = np.random.default_rng(3)
    strands = ["".join(rng.choice(list("ACGT"), 5000)) for _ in range(20)]
    assert near(strands).count == 0
    assert near([*strands, strands[3][:4000] + "A" + strands[3][4000:]]).pairs == [(3, 20)]


def test_only_so_many_are_looked_at() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"text number {taken}"

    found = near(endless(), most=50)
    assert found.looked == 50 and not found.whole and taken == 51
    assert near(["a", "b"], most=2).whole


class Text(str):
    """A string that can be watched."""


def test_texts_are_not_held() -> None:
    alive: weakref.WeakSet[Text] = weakref.WeakSet()
    most = 0

    def watched() -> Iterator[str]:
        nonlocal most
        for i in range(30):
            text = Text(f"this is number {i} of the texts\nand its second line")
            alive.add(text)
            most = max(most, len(alive))
            yield text

    near(watched())
    boilerplate(watched())
    gc.collect()
    assert most <= 4


def test_repeated_lines() -> None:
    texts = [f"Dear reader {i},\nthis is what number {i} says.\n\nUnsubscribe here\n--------" for i in range(300)]
    assert boilerplate(texts) == [("Unsubscribe here", 300)]
    assert boilerplate(texts[:4]) == []  # fewer than 5
    assert boilerplate([*texts[:5], *(f"number {i}\nsays so" for i in range(600))]) == []  # fewer than 1 %
    assert boilerplate(["x" * 200 + "\nand more"] * 6)[0] == ("x" * 80, 6)
    assert len(boilerplate(["\n".join(f"this is line {i}" for i in range(30))] * 9)) == 10


def test_repeated_beginnings_and_ends_of_texts_of_one_line() -> None:
    texts = [f"As an assistant I can say that {i} is {i + 1} and so on for more see our page" for i in range(50)]
    assert dict(boilerplate(iter(texts))) == {"As an assistant I can say": 50, "on for more see our page": 50}
    assert boilerplate(["yes"] * 50) == [] and boilerplate([]) == []


def test_rare_lines_are_forgotten_and_frequent_ones_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "KEPT", 500)
    texts = ("\n".join([*(f"line {i} of {k}" for i in range(20)), *(["the footer of all"] * (k % 10 == 0))]) for k in range(2000))
    assert boilerplate(texts) == [("the footer of all", 200)]
