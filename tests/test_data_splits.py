"""Which items are held out: stable, by groups, copies on one side, and never by label."""

import numpy as np
import pytest
from PIL import Image as Pillow

from tacit.data.dataset import from_arrays
from tacit.data.dataset import open as opened
from tacit.data.labels import codes, encode
from tacit.data.splits import TEST, TRAIN, VAL, assign
from tacit.errors import Asked


def named(n):
    return [f"item{i}" for i in range(n)]


def different(n):
    return np.arange(n, dtype=np.uint64)


def test_share_and_stability():
    names, hashes = named(1000), different(1000)
    split, rule = assign(names, hashes, None, None, 0)
    assert (split == TEST).sum() == 300 and split.dtype == np.int8 and "30%" in rule
    order = np.random.default_rng(0).permutation(1000)
    again, _ = assign([names[i] for i in order], hashes[order], None, None, 0)
    np.testing.assert_array_equal(again, split[order])  # the order of files does not matter
    other, _ = assign(names, hashes, None, None, 1)
    assert (other != split).mean() > 0.3
    more, _ = assign(named(1010), different(1010), None, None, 0)
    assert (more[:1000] != split).mean() < 0.01  # ten new items move almost nobody


def test_groups_and_copies_stay_together():
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in rng.integers(0, 100, 500)]
    hashes = different(500)
    hashes[[3, 77, 200, 410]] = hashes[[4, 78, 201, 411]]
    split, rule = assign(named(500), hashes, groups, None, 0)
    for keys in (groups, hashes.tolist()):
        for key in set(keys):
            assert len({int(s) for s, k in zip(split, keys, strict=True) if k == key}) == 1
    assert "groups together" in rule


def test_unknown_groups_are_on_their_own():
    split, _ = assign(named(100), different(100), [""] * 50 + [None] * 50, None, 0)
    assert (split == TEST).sum() == 30


def test_share_with_few_large_groups():
    split, _ = assign(named(100), different(100), [f"g{i // 20}" for i in range(100)], None, 0)
    assert (split == TEST).sum() in (20, 40)


def test_tiny_and_hopeless():
    assert assign(["a"], different(1), None, None, 0)[0].tolist() == [TRAIN]
    assert sorted(assign(["a", "b"], different(2), None, None, 0)[0].tolist()) == [TRAIN, TEST]
    split, rule = assign(named(10), np.zeros(10, np.uint64), None, None, 0)
    assert (split == TRAIN).all() and "nothing is held out" in rule


def test_given_parts():
    hashes = different(4)
    assert assign(named(4), hashes, None, ["train", "test", "val", "train"], 0)[0].tolist() == [TRAIN, TEST, VAL, TRAIN]
    split, rule = assign(named(4), hashes, None, ["train", "val", "val", "train"], 0)
    assert split.tolist() == [TRAIN, TEST, TEST, TRAIN] and "validation" in rule
    split, rule = assign(named(4), hashes, None, ["train"] * 4, 0)
    assert (split == TEST).sum() == 1 and "split again" in rule
    split, rule = assign(named(4), hashes, None, ["test"] * 4, 0)
    assert (split == TEST).sum() == 1 and "only a test part" in rule


def test_labels_by_rule():
    y, classes, _ = encode(["b", "a", None, "b"])
    assert y.tolist() == [1, 0, -1, 1] and classes == ("a", "b") and y.dtype == np.int64
    assert encode(["10", "9", "2"])[1] == ("2", "9", "10")
    y, classes, rule = encode([0.0, 1.0, 1.0, float("nan")])
    assert y.tolist() == [0, 1, 1, -1] and classes == ("0", "1") and "class" in rule
    y, classes, rule = encode(np.linspace(0, 1, 50).tolist())
    assert classes == () and y.dtype == np.float32 and "regression" in rule
    assert encode(np.arange(100).tolist())[1] == ()  # a year, an age: whole, but many
    assert len(encode(np.repeat(np.arange(100), 3).tolist())[1]) == 100  # class codes: exactly 0..99, repeated
    assert encode([None, None]) == (None, (), "") and encode(None)[0] is None
    assert codes(["p2", "", "p10", "p2"])[0].tolist() == [1, -1, 0, 1]


def numbered(path, split):
    """Rows of numbers with a column `fold`."""
    rows = [f"{i},{i * i % 7},{split(i)}" for i in range(20)]
    path.write_text("a,b,fold\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("kind", ["csv", "metadata", "npz", "memory"])
def test_an_asked_split_with_other_words_is_refused(kind, tmp_path, monkeypatch):
    """A split that was asked for and not understood must not become another split."""
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for words, wrong in ((("0", "1"), "'0', '1'"), (("train", "holdout"), "'holdout'"), (("train", "test"), "")):

        def split(i, words=words):
            return words[i % 4 == 0]

        def opened_so(split=split):
            if kind == "csv":
                return opened(numbered(tmp_path / "x.csv", split), split="fold")
            if kind == "metadata":
                for i in range(20):
                    Pillow.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
                (tmp_path / "metadata.csv").write_text("file_name,fold\n" + "".join(f"{i}.png,{split(i)}\n" for i in range(20)))
                return opened(tmp_path, split="fold")
            column = [split(i) for i in range(20)]
            if kind == "memory":
                return from_arrays(rng.normal(size=(20, 3)), split=column)
            np.savez(tmp_path / "x.npz", x=rng.normal(size=(20, 9)), fold=np.array(column))
            return opened(tmp_path / "x.npz", split="fold")

        if not wrong:
            assert len(opened_so().test) == 5
            continue
        with pytest.raises(Asked, match=f"says {wrong} where a part") as error:
            opened_so()
        assert "train, training" in error.value.hint and "dev" in error.value.hint


def test_a_guessed_split_with_other_words_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.csv").write_text("a,b,split\n" + "".join(f"{i},{i % 7},{'AB'[i % 2]}\n" for i in range(20)))
    data = opened(tmp_path / "x.csv", modality="vector")
    assert any("'split' says 'A', 'B'" in n and "not taken" in n for n in data.notes) and len(data.test) == 6
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(20, 9)), split=np.array(["train", "test", "odd", ""] * 5))
    data = opened(tmp_path / "x.npz")
    assert any("'odd'" in n and "count as training" in n for n in data.notes) and len(data.test) == 5


def test_missing_means_the_same_for_labels_and_values(tmp_path, monkeypatch):
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))
    rows = [f"{i},{'None' if i == 3 else i % 7},{('x', 'None')[i % 2]}\n" for i in range(20)]
    (tmp_path / "x.csv").write_text("a,b,label\n" + "".join(rows))
    data = opened(tmp_path / "x.csv", modality="vector")
    assert data.classes == ("x",) and (data.labels == -1).sum() == 10 and np.isnan(data.x).sum() == 1
    assert any("'None' count as unlabelled" in n for n in data.notes)


def test_infinite_labels_are_none():
    inf = float("inf")
    for found in ([1.0, inf, 2.0, 1.0, -inf, 2.0], [1.0, float("nan"), 2.0, 1.0, None, 2.0]):
        index, classes, _ = encode(found)
        assert index.tolist() == [0, -1, 1, 0, -1, 1] and classes == ("1", "2")
    values, classes, _ = encode([0.5, inf, 1.5, -inf, 1e300])
    assert not classes and np.isnan(values[[1, 3, 4]]).all() and values[2] == 1.5
    assert encode([inf, -inf]) == (None, (), "")


def test_very_many_items_are_split_by_the_same_rule(monkeypatch):
    from tacit.data import splits

    names = [f"row:{i:04d}" for i in range(3000)]
    hashes = np.arange(3000, dtype=np.uint64)
    hashes[100:200] = hashes[:100]
    slow, rule = splits.assign(names, hashes, None, None, 3)
    monkeypatch.setattr(splits, "MANY", 1000)
    fast, same = splits.assign(names, hashes, None, None, 3)
    assert rule == same and (fast[100:200] == fast[:100]).all() and abs((fast == 1).mean() - 0.3) < 0.001
    assert (fast != slow).mean() < 0.01  # but at the edge
