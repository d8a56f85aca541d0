"""Layouts of image data on disk: folders, parts, metadata tables, arrays, IDX, zip files."""

import gzip
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tacit.data.dataset import open as opened
from tacit.data.inspect import inspect, lines
from tacit.errors import Asked, BadData

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))


def photos(folder: Path, *names: str, size: int = 12) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(RNG.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
    return folder


def test_class_subfolders(tmp_path):
    d = opened(photos(tmp_path / "d", *(f"{c}/{i}.png" for c in ("dog", "cat") for i in range(10))))
    assert d.modality == "image" and d.classes == ("cat", "dog") and d.names[0] == "cat/0.png" and len(d.train) == 14 and len(d.test) == 6
    assert d.x.shape == (20, 3, 12, 12) and d.x.dtype == np.uint8 and len(d) == 20 and d.task == "classification"
    expected = np.asarray(Pillow.open(tmp_path / "d" / "cat" / "3.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(d.x[d.names.index("cat/3.png")], expected)
    json.dumps(d.describe())


def test_flat_and_all_different_folders_are_unlabelled(tmp_path):
    assert opened(photos(tmp_path / "flat", "a.png", "b.png", "c.png")).labels is None
    d = opened(photos(tmp_path / "each", "a/1.png", "b/1.png", "c/1.png"))
    assert d.labels is None and any("not taken as classes" in n for n in d.notes)


def test_train_and_test_folders(tmp_path):
    names = [f"{p}/{c}/{i}.png" for p in ("Train", "test", "val") for c in "ab" for i in range(3)]
    d = opened(photos(tmp_path / "d" / "inner", *names).parent)
    assert d.classes == ("a", "b") and len(d.train) == 6 and len(d.test) == 6 and "validation part stays unused" in d.split_rule
    assert all("/test/" in d.names[i] for i in d.test)
    only = opened(photos(tmp_path / "only", "train/a/0.png", "train/a/1.png", "train/b/0.png", "train/b/1.png"))
    assert only.classes == ("a", "b") and "split again" in only.split_rule


def test_nested_folders_state_their_rule(tmp_path):
    d = opened(photos(tmp_path / "d", *(f"{c}/day{k}/{i}.png" for c in "ab" for k in (1, 2) for i in range(2))))
    assert d.classes == ("a", "b") and any("outermost folder" in n for n in d.notes)
    d = opened(photos(tmp_path / "e", *(f"photos/{c}/{i}.png" for c in "ab" for i in range(2))))
    assert d.classes == ("a", "b")
    d = opened(photos(tmp_path / "f", "a/1.png", "a/2.png", "3.png"))
    assert d.labels.tolist() == [-1, 0, 0] and any("unlabelled" in n for n in d.notes)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_table(tmp_path, kind):
    folder = photos(tmp_path / "d", *(f"{i}.png" for i in range(8)))
    table = [
        {"file_name": f"{i}.png", "label": "ab"[i % 2], "patient": f"p{i // 2}", "split": "test" if i > 5 else "train"} for i in range(8)
    ]
    if kind == "csv":
        text = "\ufefffile_name,label,patient,split\n" + "".join(",".join(r.values()) + "\n" for r in table)
        (folder / "metadata.csv").write_text(text, encoding="utf-8")
    elif kind == "jsonl":
        (folder / "metadata.jsonl").write_text("".join(json.dumps(r) + "\n" for r in table))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), folder / "metadata.parquet")
    for path in (folder, folder / f"metadata.{kind}"):
        d = opened(path)
        assert d.modality == "image" and d.classes == ("a", "b") and d.group_names == ("p0", "p1", "p2", "p3") and d.test.tolist() == [6, 7]
        assert d.names == tuple(f"{i}.png" for i in range(8))
    assert opened(folder, target="patient").classes == ("p0", "p1", "p2", "p3")
    with pytest.raises(Asked, match="lable"):
        opened(folder, target="lable")


def test_metadata_with_missing_and_extra_rows(tmp_path):
    folder = photos(tmp_path / "d", *(f"{i}.png" for i in range(20)))
    rows = [f"{i}.png,{'ab'[i % 2]}" for i in range(17)] + ["gone.png,a", "../../etc/passwd,b"]
    (folder / "metadata.csv").write_text("file_name,label\n" + "\n".join(rows))
    d = opened(folder)
    assert len(d) == 20 and (d.labels == -1).sum() == 3 and any("3 images have no row" in n for n in d.notes)
    reasons = {p.name: p.reason for p in d.bad}
    assert "no such image" in reasons["gone.png"] and "outside" in reasons["../../etc/passwd"]


def test_metadata_in_each_part(tmp_path):
    folder = photos(tmp_path / "d", *(f"{p}/{i}.png" for p in ("train", "test") for i in range(4)))
    for part in ("train", "test"):
        (folder / part / "metadata.csv").write_text("file_name,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(4)))
    d = opened(folder)
    assert d.classes == ("a", "b") and len(d.test) == 4 and (d.labels >= 0).all()


def test_numeric_target_is_regression(tmp_path):
    folder = photos(tmp_path / "d", *(f"{i}.png" for i in range(30)))
    (folder / "metadata.csv").write_text("file_name,age\n" + "".join(f"{i}.png,{i * 1.5}\n" for i in range(30)))
    d = opened(folder, target="age")
    assert d.task == "regression" and any("regression" in n for n in d.notes)
    assert opened(folder).labels is None


def test_medmnist_keys(tmp_path):
    arrays = {}
    for part, n in (("train", 10), ("val", 3), ("test", 5)):
        arrays[f"{part}_images"] = RNG.integers(0, 256, (n, 9, 9), dtype=np.uint8)
        arrays[f"{part}_labels"] = RNG.integers(0, 2, (n, 1), dtype=np.uint8)
    np.savez_compressed(tmp_path / "m.npz", **arrays)
    d = opened(tmp_path / "m.npz")
    assert d.x.shape == (18, 1, 9, 9) and len(d.train) == 10 and d.classes == ("0", "1") and "unused" in d.split_rule
    np.testing.assert_array_equal(d.x[d.test][:, 0], arrays["test_images"])
    np.testing.assert_array_equal(d.labels[d.test], arrays["test_labels"][:, 0])


def test_arrays_in_a_folder_and_kinds(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    np.save(folder / "X_train.npy", RNG.normal(size=(8, 2, 30)))
    np.save(folder / "X_test.npy", RNG.normal(size=(4, 2, 30)))
    np.save(folder / "y_train.npy", np.array(["u", "v"] * 4))
    np.save(folder / "y_test.npy", np.array(["u", "v"] * 2))
    d = opened(folder)
    assert d.modality == "series" and d.x.shape == (12, 2, 30) and d.classes == ("u", "v") and len(d.test) == 4
    for shape, dtype, kind in (((9, 6, 6), np.uint8, "image"), ((9, 6, 6, 3), np.uint8, "image"), ((9, 30), np.float64, "series")):
        path = tmp_path / f"{kind}{len(shape)}.npy"
        np.save(path, RNG.integers(0, 200, shape).astype(dtype))
        d = opened(path)
        assert d.modality == kind and d.why
    assert opened(path, modality="vector").x.shape == (9, 30)
    assert opened(tmp_path / "image3.npy", modality="series").x.shape == (9, 6, 6)
    with pytest.raises(Asked, match="modality"):
        opened(path, modality="imagee")


def test_labels_of_another_length_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 3, 4)), y=np.arange(6))
    with pytest.raises(BadData, match="5 items but 6 labels"):
        opened(tmp_path / "a.npz")


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx(tmp_path, end):
    folder = tmp_path / "d"
    folder.mkdir()
    images = {"train": RNG.integers(0, 256, (6, 5, 7), dtype=np.uint8), "t10k": RNG.integers(0, 256, (3, 5, 7), dtype=np.uint8)}
    for part, x in images.items():
        labels = (np.arange(len(x)) % 2).astype(np.uint8)
        for word, array in (("images", x), ("labels", labels)):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            data = head + array.tobytes()
            path = folder / f"{part}-{word}-idx{array.ndim}-ubyte{end}"
            path.write_bytes(gzip.compress(data) if end else data)
    d = opened(folder)
    assert d.x.shape == (9, 1, 5, 7) and d.classes == ("0", "1") and d.test.tolist() == [6, 7, 8]
    np.testing.assert_array_equal(d.x[:6, 0], images["train"])
    assert opened(folder / f"train-images-idx3-ubyte{end}").fingerprint == d.fingerprint
    if not end:
        path.with_name("train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">III", 6, 5, 7) + b"1")
        with pytest.raises(BadData, match="promises"):
            opened(folder)


def zipped(path, folder):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_zip_files_read_like_folders(tmp_path):
    folder = photos(tmp_path / "d", *(f"{p}/{c}/{i}.png" for p in ("train", "test") for c in "ab" for i in range(3)))
    d = opened(folder)
    z = opened(zipped(tmp_path / "d.zip", folder))
    assert z.fingerprint == d.fingerprint and z.classes == d.classes and (z.split == d.split).all()
    (tmp_path / "n").mkdir()
    np.savez(tmp_path / "n" / "a.npz", train_images=np.zeros((4, 5, 5), np.uint8), test_images=np.ones((4, 5, 5), np.uint8))
    assert opened(zipped(tmp_path / "n.zip", tmp_path / "n")).x.shape == (8, 1, 5, 5)
    alone = tmp_path / "alone"
    alone.mkdir()
    os.replace(tmp_path / "d.zip", alone / "d.zip")
    (alone / "README.txt").write_text("about")
    assert opened(alone).fingerprint == d.fingerprint


def test_digits():
    d = opened("builtin:digits")
    assert d.x.shape == (1797, 1, 8, 8) and d.x.max() == 255 and len(d.classes) == 10 and len(d.test) == round(0.3 * 1797)
    assert d.cache_path is None and d.fingerprint == opened("builtin:digits").fingerprint
    with pytest.raises(Asked, match="digit"):
        opened("builtin:digit")


def test_options_and_size(tmp_path):
    folder = photos(tmp_path / "d", "a.png", "b.png", size=100)
    assert opened(folder, size=32, options={"fit": "pad"}).spec.extra["fit"] == "pad"
    assert opened(folder, size=32).x.shape == (2, 3, 40, 40)
    with pytest.raises(Asked, match="fitt"):
        opened(folder, options={"fitt": "pad"})
    with pytest.raises(Asked, match="fit"):
        opened(folder, options={"fit": "stretch"})


def test_inspect_warns_of_leaks_and_conflicts(tmp_path):
    folder = photos(tmp_path / "d", *(f"{p}/{c}/{i}.png" for p in ("train", "test") for c in "ab" for i in range(4)))
    copy = (folder / "train/a/0.png").read_bytes()
    for name in ("train/a/9.png", "test/b/9.png"):
        (folder / name).write_bytes(copy)
    Pillow.new("RGB", (12, 12), "red").save(folder / "train/b/flat.png")
    report = inspect(opened(folder))
    json.dumps(report)
    assert report["duplicates"]["within"] == 1 and report["duplicates"]["across_names"] == [["test/b/9.png", "train/a/0.png"]]
    assert report["constant"]["names"] == ["train/b/flat.png"] and report["labels"]["parts"]["train"] == {"a": 5, "b": 5}
    text = lines(report)
    assert text[0].startswith("warning: held-out items that are also in training: 1") and "different labels" in text[1]


def test_inspect_of_a_series_with_gaps(tmp_path):
    (tmp_path / "A_TRAIN.tsv").write_text("1\t1\t2\t3\t4\n1\t5\tNaN\t7\tNaN\n1\t1\t1\t1\t1\n1\t2\t2\t3\t1\n")
    report = inspect(opened(tmp_path / "A_TRAIN.tsv"))
    assert (
        report["missing"] == {"values": 1, "share": 1 / 15, "items": 1}
        and report["lengths"]["min"] == 3
        and report["constant"]["count"] == 1
    )
    assert any("one class" in w for w in report["warnings"])
    assert any(line.startswith("missing") for line in lines(report))


DATA = Path(os.environ.get("TACIT_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


@pytest.mark.skipif(not (DATA / "ucr" / "Beef").is_dir(), reason="real data is absent")
def test_real_data():
    assert opened(DATA / "ucr" / "Beef").x.shape == (60, 1, 470)
    d = opened(DATA / "aeon_multivariate" / "JapaneseVowels_TRAIN.ts.gz")
    assert d.x.shape == (640, 12, 29) and len(d.train) == 270 and d.spec.ragged
    assert opened(DATA / "pneumoniamnist").split.tolist().count(2) == 524
