"""Few-shot episodes: what is drawn, how it is read, and that it stays out of the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from conftest import Said
from tacit.errors import Asked
from tacit.evaluation.episodes import QUERIES, SHARED, Kind, check, draw, episodes, kind_of
from tacit.evaluation.evaluate import evaluate
from tacit.evaluation.readers import Representation, standardise

NAMES = tuple("abcdefgh")


def data(n: int = 320, classes: int = 8, apart: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(features [n, 12], classes): each class has its own middle."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    x = rng.standard_normal((n, 12)).astype(np.float32)
    x[np.arange(n), y] += apart
    return x, y


def pair(apart: float = 2.0) -> tuple[list[Representation], np.ndarray, np.ndarray]:
    """Ours, two others of which the first is better, and the classes of training and test items."""
    (x, y), (xt, yt) = data(seed=1, apart=apart), data(seed=2, apart=apart)
    rng = np.random.default_rng(3)
    noise, more = rng.standard_normal(x.shape), rng.standard_normal(xt.shape)
    reps = [Representation("ssl", "ssl", x, xt), Representation("near", "classic", x + noise, xt + more)]
    return [*reps, Representation("untrained", "untrained", noise, more)], y, yt


@pytest.mark.parametrize("word", ["5way1shot", " 5Way1Shot", "5-way-1-shot"])
def test_words_of_a_kind(word: str) -> None:
    assert kind_of(word) == Kind(5, 1) and str(kind_of(word)) == "5way1shot"


@pytest.mark.parametrize("word", ["5way", "0way1shot", "1way1shot", "5way0shot", "fiveway1shot", "", "5way1shot1"])
def test_what_is_no_kind_is_refused(word: str) -> None:
    with pytest.raises(Asked, match="--episodes"):
        kind_of(word)


def test_support_and_queries_are_disjoint_balanced_and_the_same_for_one_seed() -> None:
    _, y = data()
    y[:40] = -1
    kind = Kind(5, 3)
    enough, _ = check(kind, y, NAMES)
    drawn = list(draw(y, enough, kind, 50, 0))
    seen = set()
    for support, queries in drawn:
        assert support.shape == (5, 3) and queries.shape == (5, QUERIES)
        assert len(set(support.ravel()) | set(queries.ravel())) == 5 * (3 + QUERIES), "no item twice"
        for a, b in zip(y[support], y[queries], strict=True):
            assert len({*a, *b}) == 1 and a[0] >= 0
        assert len(set(y[support][:, 0])) == 5
        seen |= set(y[support][:, 0].tolist())
    assert seen == set(range(8))
    again = list(draw(y, enough, kind, 50, 0))
    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(drawn, again, strict=True))
    assert any((a[0] != b[0]).any() for a, b in zip(drawn, draw(y, enough, kind, 50, 1), strict=True))


def test_classes_with_too_few_items_are_left_out_and_named() -> None:
    y = np.repeat([0, 1, 2, 3], [40, 16, 15, 2])
    enough, (note,) = check(Kind(2, 1), y, ("a", "b", "c", "d"))
    assert enough.tolist() == [0, 1] and note == "2way1shot leaves out classes with fewer than 16 test items: c, d"
    with pytest.raises(Asked, match=r"2 of 4 classes have the 16 labelled test items .* which 5 ways need") as error:
        check(Kind(5, 1), y, ("a", "b", "c", "d"))
    assert error.value.hint == "at most 2 ways"
    with pytest.raises(Asked, match="these labels are numbers"):
        check(Kind(2, 1), np.zeros(50), ())
    assert not check(Kind(2, 1), y[:56], ("a", "b", "c"))[1], "a class without any test item is not named"


def test_both_readers_against_clear_versions() -> None:
    reps, y, yt = pair(apart=1.5)
    rows, notes = episodes(reps[:1], y, yt, Kind(4, 2), NAMES, count=30)
    z = standardise(reps[0].train, reps[0].test)[1]
    enough, _ = check(Kind(4, 2), yt, NAMES)
    right: dict[str, list[float]] = {"centroid": [], "logistic": []}
    for support, queries in draw(yt, enough, Kind(4, 2), 30, 0):
        a, b = z[support.ravel()], z[queries.ravel()]
        truth, taught = np.repeat(np.arange(4), QUERIES), np.repeat(np.arange(4), 2)
        unit, query = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
        centres = [unit[taught == k].mean(0) for k in range(4)]
        guess = [min(range(4), key=lambda k: ((q - centres[k]) ** 2).sum()) for q in query]
        right["centroid"].append(float((np.array(guess) == truth).mean()))
        right["logistic"].append(float((LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(a, taught).predict(b) == truth).mean()))
    for row in rows:
        each = np.array(right[row["probe"].split(":")[2]])
        half = 1.96 * each.std(ddof=1) / 30**0.5
        assert row["value"] == pytest.approx(each.mean(), abs=1e-3)
        assert row["high"] - row["value"] == pytest.approx(half, abs=1e-3) and row["value"] - row["low"] == pytest.approx(half, abs=1e-3)
        assert (row["labels_per_class"], row["metric"], row["seeds"], row["n_train_labels"], row["n_test"]) == (2, "accuracy", 30, 8, 320)
    assert notes == [SHARED] and {r["probe"] for r in rows} == {"episodes:4way2shot:centroid", "episodes:4way2shot:logistic"}


def test_the_difference_is_paired_and_the_other_chosen_on_training_items() -> None:
    reps, y, yt = pair()
    rows, _ = episodes(reps, y, yt, Kind(5, 1), NAMES, count=80)
    ours = next(r for r in rows if r["representation"] == "ssl" and r["probe"].endswith("centroid"))
    other = next(r for r in rows if r["representation"] == "near" and r["probe"].endswith("centroid"))
    assert ours["best_other"] == "near"
    assert ours["difference"] == pytest.approx(ours["value"] - other["value"])
    assert 0 < ours["low_difference"] < ours["difference"] < ours["high_difference"]
    unpaired = (ours["high"] - ours["value"]) + (other["high"] - other["value"])
    assert ours["high_difference"] - ours["difference"] < unpaired
    assert not any("difference" in r for r in rows if r["representation"] != "ssl")
    swapped = [reps[0], Representation("near", "classic", reps[2].train, reps[1].test), reps[2]]
    swapped[2] = Representation("untrained", "untrained", reps[1].train, reps[2].test)
    rows, _ = episodes(swapped, y, yt, Kind(5, 1), NAMES, count=80)
    assert next(r for r in rows if r["representation"] == "ssl")["best_other"] == "untrained", "good in training, bad on the test"
    rare = np.where(np.arange(len(y)) < 40, y, -1)
    assert not any("difference" in r for r in episodes(reps, rare, yt, Kind(5, 1), NAMES, count=5)[0])


def test_chance_without_a_signal() -> None:
    reps, y, yt = pair(apart=0.0)
    rows, _ = episodes(reps, y, yt, Kind(4, 1), NAMES, count=150)
    assert all(abs(r["value"] - 0.25) < 0.03 for r in rows)


def test_episodes_join_the_results_and_not_the_verdict() -> None:
    reps, y, yt = pair()
    reps = reps[:2]
    plain = evaluate(reps, y, yt, classes=NAMES, levels=[1, "all"], resamples=200)
    more = evaluate(reps, y, yt, classes=NAMES, levels=[1, "all"], resamples=200, episodes=[Kind(3, 1)])
    assert more.verdict == plain.verdict and more.results[: len(plain.results)] == plain.results
    rows = more.results[len(plain.results) :]
    assert len(rows) == 2 * 2 and {r["seeds"] for r in rows} == {600} and more.notes.count(SHARED) == 1
    json.dumps(rows, allow_nan=False)


def test_asked_on_the_command_line(trained: Path, tacit: Callable[..., Said]) -> None:
    for words, said in (("5way", "no kind of episode"), ("11way1shot", "10 of 10 classes have"), ("5way60shot", "0 of 10 classes have")):
        done = tacit("evaluate", trained, "builtin:digits", "--no-supervised", "--labels", "1", "--episodes", words)
        assert done.code == 2 and said in done.err
