"""Series and vectors: decoding, layouts on disk, missing values, unequal lengths."""

import gzip
import io

import numpy as np
import pytest

from tacit.data.dataset import from_arrays
from tacit.data.dataset import open as opened
from tacit.data.pairs import part_of
from tacit.errors import Asked, BadData
from tacit.modalities.series import Series
from tacit.modality import BadItem
from tacit.types import Spec

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))


def ucr(path, rows, labels):
    lines = ["\t".join([str(c), *(f"{v:.6f}" for v in row)]) for c, row in zip(labels, rows, strict=True)]
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("end", [".tsv", ".tsv.gz"])
def test_ucr_pair_from_either_file_or_the_folder(tmp_path, end):
    folder = tmp_path / "Beef"
    folder.mkdir()
    train, test = RNG.normal(size=(6, 10)).astype(np.float32), RNG.normal(size=(4, 10)).astype(np.float32)
    ucr(folder / f"Beef_TRAIN{end}", train, ["1.0", "2.0"] * 3)
    ucr(folder / f"Beef_TEST{end}", test, ["-1", "1", "2", "1"])
    seen = [opened(p) for p in (folder, folder / f"Beef_TRAIN{end}", folder / f"Beef_TEST{end}")]
    for d in seen:
        assert d.modality == "series" and d.x.shape == (10, 1, 10) and d.classes == ("-1", "1", "2") and d.task == "classification"
        np.testing.assert_allclose(d.x[:6, 0], train, atol=1e-5)
        assert d.train.tolist() == list(range(6)) and d.test.tolist() == [6, 7, 8, 9] and d.split_rule == "as given"
        assert d.fingerprint == seen[0].fingerprint and d.lengths is None
    assert seen[0].names[0] == f"Beef_TRAIN{end}:1"


def test_ucr_unequal_lengths_missing_values_and_bad_lines(tmp_path):
    (tmp_path / "A_TRAIN.tsv").write_text("1\t1\t2\t3\t4\n2\t5\tNaN\t7\tNaN\n1\t?\t1\t2\t3\n2\tx\t1\t1\t1\n\n")
    d = opened(tmp_path / "A_TRAIN.tsv", max_bad=0.5)
    assert d.lengths.tolist() == [4, 3, 4] and d.spec.ragged and len(d.bad) == 1 and "'x' is not a number" in d.bad[0].reason
    assert np.isnan(d.x[1, 0]).tolist() == [False, True, False, True] and np.isnan(d.x[2, 0, 0])
    assert any("NaN" in n for n in d.notes)


def test_a_folder_of_several_data_sets_asks_for_one(tmp_path):
    for name in "AB":
        ucr(tmp_path / f"{name}_TRAIN.tsv", RNG.normal(size=(4, 5)), [1, 2, 1, 2])
    with pytest.raises(Asked, match="2 data sets"):
        opened(tmp_path)


def test_ts_format(tmp_path):
    head = "#comment\n@problemName P\n@timeStamps false\n@dimensions 2\n@equalLength false\n"
    (tmp_path / "P_TRAIN.ts").write_text(head + "@classLabel true a b\n@data\n1,2,3:4,?,6:a\n7,8:9,10:b\n")
    with gzip.open(tmp_path / "P_TEST.ts.gz", "wt") as file:
        file.write(head + "@classLabel true a b\n@data\n1,2:3,4:a\n1,2:nonsense,4:a\n")
    d = opened(tmp_path, max_bad=0.5)
    assert d.x.shape == (3, 2, 3) and d.lengths.tolist() == [3, 2, 2] and d.classes == ("a", "b") and d.labels.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(d.x[0], [[1, 2, 3], [4, np.nan, 6]])
    assert [p.name for p in d.bad] == ["P_TEST.ts.gz:9"]
    (tmp_path / "R.ts").write_text("@problemName R\n@targetLabel true\n@data\n" + "".join(f"1,2,{i}:{i / 7}\n" for i in range(30)))
    r = opened(tmp_path / "R.ts")
    assert r.task == "regression" and r.labels[3] == pytest.approx(3 / 7)
    (tmp_path / "T.ts").write_text("@timeStamps true\n@data\n(0,1),(1,2):a\n")
    with pytest.raises(BadData, match="timeStamps"):
        opened(tmp_path / "T.ts")


def test_csv_rows_with_bom_target_group_and_split(tmp_path):
    rows = [f"p{i // 4},{['yes', 'no'][i % 2]},{'train' if i < 8 else 'test'},{i},{i + 1},{i * 2}.5" for i in range(12)]
    text = "\ufeffpatient,target,split,t0,t1,t2\n" + "\n".join(rows)
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    d = opened(tmp_path / "a.csv")
    assert d.x.shape == (12, 1, 3) and d.classes == ("no", "yes") and d.group_names == ("p0", "p1", "p2") and len(d.test) == 4
    assert opened(tmp_path / "a.csv", modality="vector").x.shape == (12, 3)
    with pytest.raises(Asked, match="labell"):
        opened(tmp_path / "a.csv", target="labell")
    (tmp_path / "b.csv").write_text("\n".join(f"{i};{i},5;{i}" for i in range(5)).replace(",", "."))
    assert opened(tmp_path / "b.csv").x.shape == (5, 1, 3)
    assert opened(tmp_path / "b.csv", target="-1").x.shape == (5, 1, 2)


def test_csv_of_text_explains_itself(tmp_path):
    (tmp_path / "a.csv").write_text("city,a,b\n" + "".join(f"{c},1,2\n" for c in "xyxyxy"))
    assert opened(tmp_path / "a.csv").modality == "table"
    with pytest.raises(BadData, match="'city' holds text") as caught:
        opened(tmp_path / "a.csv", modality="series")
    assert "--target 'city'" in caught.value.hint
    assert opened(tmp_path / "a.csv", target="city", modality="series").classes == ("x", "y")


def test_csv_in_a_western_encoding(tmp_path):
    (tmp_path / "a.csv").write_bytes("label,a,b\nGrün,1,2\nrot,3,4\nGrün,5,6\nrot,1,1\n".encode("cp1252"))
    d = opened(tmp_path / "a.csv")
    assert d.classes == ("Grün", "rot") and any("Windows-1252" in n for n in d.notes)


def test_regression_targets(tmp_path):
    np.savez(tmp_path / "a.npz", x=RNG.normal(size=(40, 2, 9)), y=RNG.normal(size=40))
    d = opened(tmp_path / "a.npz")
    assert d.task == "regression" and d.classes == () and d.labels.dtype == np.float32 and any("regression" in n for n in d.notes)


def test_infinite_values_are_missing_and_counted(tmp_path):
    x = RNG.normal(size=(6, 1, 8))
    x[0, 0, 0], x[1, 0, 1], x[2, 0, 2] = np.inf, -np.inf, np.nan
    np.save(tmp_path / "x.npy", x)
    d = opened(tmp_path / "x.npy")
    assert np.isnan(d.x).sum() == 3 and any("2 infinite" in n for n in d.notes)
    np.testing.assert_allclose(d.spec.mean[0], np.nanmean(d.x[d.train].astype(np.float64)), rtol=1e-6)


def test_series_of_nothing_and_of_one_value():
    x = np.ones((10, 1, 5), np.float32)
    d = from_arrays(x)
    assert d.spec.std == (1.0,) and d.spec.mean == (1.0,)
    x[3] = np.nan
    d = from_arrays(x, max_bad=0.2)
    assert len(d) == 9 and d.bad[0].name == "array:3" and "missing" in d.bad[0].reason
    with pytest.raises(BadData, match="10 of 10"):
        from_arrays(np.full((10, 1, 5), np.nan))


def test_decode_refuses_other_shapes():
    spec = Series.plan([np.zeros((2, 5))] * 3)
    assert spec.channels == 2 and spec.sizes == (5,) and spec.extra["length"] == 5
    for raw, why in ((np.zeros((3, 5)), "3 channels"), (np.zeros((2, 4)), "4 samples"), (np.array(["a"]), "not numbers"), (b"", "file")):
        with pytest.raises(BadItem, match=why):
            Series.decode(raw, spec)
    assert Series.plan([np.zeros((1, 9))], size=4).extra["length"] == 4


def test_pictures():
    from PIL import Image

    x = RNG.normal(size=(2, 50)).astype(np.float32)
    x[0, 10:20] = np.nan
    spec = Series.plan([x])
    assert Image.open(io.BytesIO(Series.picture(x, spec))).size == (96, 32)
    Series.picture(np.full((1, 3), np.nan, np.float32), spec)


def test_from_arrays_in_all_ranks():
    x = RNG.normal(size=(20, 4))
    d = from_arrays(x, ["a", "b"] * 10, groups=[i // 5 for i in range(20)])
    assert d.modality == "vector" and d.x.shape == (20, 4) and d.task == "classification" and d.cache_path is None
    assert len(set(d.groups[d.train]) & set(d.groups[d.test])) == 0
    assert from_arrays(RNG.normal(size=(20, 3, 7))).modality == "series"
    assert from_arrays(RNG.integers(0, 255, (20, 8, 8, 3), dtype=np.uint8)).x.shape == (20, 3, 8, 8)
    d = from_arrays([RNG.normal(size=(2, n)) for n in (5, 9, 7)])
    assert d.lengths.tolist() == [5, 9, 7] and np.isnan(d.x[0, :, 5:]).all()
    d = from_arrays(x, split=["train"] * 15 + ["test"] * 5)
    assert d.test.tolist() == [15, 16, 17, 18, 19]
    for bad in ({"y": [1, 2]}, {"groups": [1]}):
        with pytest.raises(Asked, match="entries"):
            from_arrays(x, **bad)
    with pytest.raises(Asked, match="objects"):
        from_arrays(np.array([[None, 1]] * 3))


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("Beef_TRAIN.tsv", ("Beef", "train")), ("Beef-test.tsv.gz", ("Beef", "test")), ("Beef.val.csv", ("Beef", "val")),
        ("test.csv", ("", "test")), ("latest.csv", ("latest", "")), ("interval.tsv", ("interval", "")), ("Contest.ts", ("Contest", "")),
    ],
)  # fmt: skip
def test_a_part_is_a_word_of_its_own(name, want):
    assert part_of(name) == want


def test_batches_of_long_series_are_small() -> None:
    def batch(stored: int, method: str = "simclr", **extra: int) -> int:
        return int(Series.settings(method, Spec("series", 1, (stored,), extra=extra))["batch"])

    assert [batch(n) for n in (24, 144, 300, 3000, 100_000)] == [128, 64, 32, 16, 16]
    assert batch(3000, length=100) == 64  # what is trained on counts, not what is stored
    assert batch(24, "mae") == 64 and batch(24, "ts2vec") == 8
