"""Bad input: everything that users and attackers put into folders, each with the reason that they read."""

import gzip
import io
import os
import pickle
import time
import zipfile

import numpy as np
import pytest
from PIL import Image as Pillow

from tacit.data import tree
from tacit.data.dataset import open as opened
from tacit.data.inspect import inspect, lines
from tacit.errors import Asked, BadData

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for i in range(20):
        Pillow.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path / f"{i:02}.png")
    return path


def reasons(d):
    return {p.name: p.reason for p in d.bad}


def test_missing_path_names_the_nearest(folder):
    with pytest.raises(Asked, match="no file or folder") as caught:
        opened(folder.parent / "photo")
    assert "photos" in caught.value.hint and caught.value.exit_code == 2
    with pytest.raises(Asked):
        opened(folder.parent / "no" / "such" / "place")


def test_empty_folder_and_foreign_files(tmp_path):
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(BadData, match="no file"):
        opened(tmp_path / "empty")
    (tmp_path / "empty" / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(BadData, match=r"\.pdf \(1\)"):
        opened(tmp_path / "empty")


def test_one_image_and_one_class(tmp_path, folder):
    Pillow.new("RGB", (5, 5), "red").save(tmp_path / "one.png")
    d = opened(tmp_path / "one.png")
    assert len(d) == 1 and any("only one item" in line for line in lines(inspect(d)))
    (tmp_path / "only").mkdir()
    os.replace(folder, tmp_path / "only" / "cat")
    d = opened(tmp_path / "only")
    assert d.classes == ("cat",) and any("one class" in w for w in inspect(d)["warnings"])


def test_one_pixel_and_one_huge_image_beside_others(folder):
    Pillow.new("RGB", (1, 1), "red").save(folder / "tiny.png")
    Pillow.new("RGB", (9000, 6000), "blue").save(folder / "huge.jpg")
    d = opened(folder)
    assert d.x.shape == (22, 3, 8, 8) and not d.bad
    assert d.x[d.names.index("huge.jpg")].mean((1, 2)).round().tolist() == [0, 0, 254]


def test_bad_files_are_listed_and_skipped(folder):
    whole = (folder / "00.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("this is no image")
    d = opened(folder)
    assert len(d) == 20 and set(reasons(d)) == {"cut.png", "text.png"}
    assert "not an image" in reasons(d)["text.png"] and ("truncated" in reasons(d)["cut.png"] or "damaged" in reasons(d)["cut.png"])
    assert reasons(opened(folder)) == reasons(d)  # also from the cache
    (folder / "empty.png").write_bytes(b"")
    with pytest.raises(BadData, match=r"3 of 23 .*\n.*cut.png"):
        opened(folder)
    assert len(opened(folder, max_bad=0.2)) == 20


def test_a_folder_of_nothing_but_bad_files(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_text("no")
    with pytest.raises(BadData, match="not an image"):
        opened(tmp_path)


def test_unreadable_file(folder, monkeypatch):
    import tacit.modalities.image as image

    real = image.Pillow.open

    def refuse(file, *args, **options):
        if str(file).endswith("03.png"):
            raise PermissionError(13, "Permission denied")
        return real(file, *args, **options)

    monkeypatch.setattr(image.Pillow, "open", refuse)
    assert "permission" in reasons(opened(folder, cache=False))["03.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder(folder):
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0)
    try:
        assert "cannot be read" in reasons(opened(folder))["closed"]
    finally:
        (folder / "closed").chmod(0o700)


def test_links(folder):
    (folder / "loop").symlink_to(folder)
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    d = opened(folder)
    assert len(d) == 20 and set(reasons(d)) == {"self.png", "lost.png"} and sum("not followed" in n for n in d.notes) == 2
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    os.replace(folder / "00.png", elsewhere / "00.png")
    (folder / "more").symlink_to(elsewhere)
    assert "more/00.png" in opened(folder).names
    with pytest.raises(Asked, match="loop"):
        opened(folder / "self.png")


def test_a_pipe_is_not_read(folder):
    os.mkfifo(folder / "pipe.png")
    assert len(opened(folder)) == 20
    with pytest.raises(Asked, match="neither"):
        opened(folder / "pipe.png")


def test_pickles_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    (tmp_path / "a.npy").write_bytes(pickle.dumps(Evil()))
    np.save(tmp_path / "b.npy", np.array([{"a": 1}, Evil()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "c.npz", x=np.zeros((3, 4)), y=np.array([None, Evil(), 2], dtype=object))
    for name in ("a.npy", "b.npy", "c.npz"):
        with pytest.raises(BadData, match="pickle"):
            opened(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_damaged_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((50, 3, 20)))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:5000])
    (tmp_path / "t.npy").write_text("text")
    (tmp_path / "e.npy").write_bytes(b"")
    (tmp_path / "z.npz").write_bytes(b"PK\x03\x04 no zip")
    for name in ("a.npy", "t.npy", "e.npy", "z.npz"):
        with pytest.raises(BadData, match=name):
            opened(tmp_path / name)
    np.save(tmp_path / "none.npy", np.zeros((0, 3, 5)))
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.save(tmp_path / "words.npy", np.array([["a", "b"], ["c", "d"]]))
    for name in ("none.npy", "flat.npy", "words.npy"):
        with pytest.raises(BadData):
            opened(tmp_path / name)


def test_hostile_zip_names(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(20):
            archive.write(folder / f"{i:02}.png", f"{i:02}.png")
        archive.write(folder / "00.png", "../outside.png")
        archive.writestr("/absolute.png", b"x")
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("C:\\windows.png", b"x")
    d = opened(tmp_path / "a.zip", max_bad=0.3)
    assert len(d) == 20 and len(d.bad) == 4 and not (tmp_path / "outside.png").exists()
    assert sum("refused" in r for r in reasons(d).values()) == 4


def test_zip_bombs(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(tree, "SUSPECT", 10**6)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(20):
            archive.write(folder / f"{i:02}.png", f"{i:02}.png")
        archive.writestr("bomb.bmp", b"\0" * 10**7)
        archive.writestr("nested.zip", b"\0" * 1000)
    d = opened(tmp_path / "a.zip")
    assert "zip bomb" in reasons(d)["bomb.bmp"] and len(d) == 20
    (tmp_path / "b_TRAIN.tsv.gz").write_bytes(gzip.compress(b"1\t2\t3\t4\n" + b"0" * 10**7))
    with pytest.raises(BadData, match="gzip bomb"):
        opened(tmp_path / "b_TRAIN.tsv.gz")
    np.savez_compressed(tmp_path / "c.npz", x=np.zeros((1000, 4, 1000)))
    with pytest.raises(BadData, match="zip bomb"):
        opened(tmp_path / "c.npz")


def test_damaged_containers(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(20):
            archive.write(folder / f"{i:02}.png", f"{i:02}.png")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadData, match="not a whole zip"):
        opened(tmp_path / "cut.zip")
    data[60] ^= 255
    (tmp_path / "a.zip").write_bytes(data)
    assert "damaged" in reasons(opened(tmp_path / "a.zip"))["00.png"]
    (tmp_path / "a_TRAIN.tsv.gz").write_bytes(gzip.compress(b"1\t2\t3\n" * 1000)[:-20])
    with pytest.raises(BadData, match="damaged"):
        opened(tmp_path / "a_TRAIN.tsv.gz")


def test_damaged_metadata(folder):
    (folder / "metadata.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadData, match=r"metadata\.parquet"):
        opened(folder)


def test_constant_and_missing_series(tmp_path):
    x = RNG.normal(size=(20, 1, 6))
    x[0], x[1] = 3, np.nan
    np.save(tmp_path / "x.npy", x)
    d = opened(tmp_path / "x.npy")
    report = inspect(d)
    assert reasons(d) == {"row:1": "every value is missing"} and report["constant"]["names"] == ["row:0"]


def test_strange_file_names(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    for name in ("naïve émoji 😀.png", "new\nline.png", "a" * 200 + ".PNG", "-rf.png"):
        Pillow.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / name)
    (folder / os.fsdecode(b"\xff\xfe.png")).write_bytes((folder / "-rf.png").read_bytes())
    for _ in range(2):
        assert len(opened(folder)) == 5
    (folder / ".hidden.png").write_text("no")
    assert len(opened(folder)) == 5


def test_wide_scan_is_quick(tmp_path):
    for i in range(300):
        (tmp_path / f"{i % 10}").mkdir(exist_ok=True)
        Pillow.new("L", (4, 4), i % 256).save(tmp_path / f"{i % 10}" / f"{i}.png")
    began = time.monotonic()
    assert len(opened(tmp_path)) == 300
    assert time.monotonic() - began < 10


def lying(shape, real, dtype="<f4"):
    """A .npy file whose header promises another shape than its values have."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": shape})
    return out.getvalue() + b"\0" * real


@pytest.mark.parametrize("shape", [(10**12, 8), (2**62, 2, 2), (10**11, 0), (30, 10**9)])
@pytest.mark.parametrize("form", ["npy", "npz", "zip"])
def test_numpy_headers_that_lie(shape, form, tmp_path):
    """Nothing is named or made room for before the size is known to be real."""
    data = lying(shape, 960)
    path = tmp_path / f"x.{form}"
    if form == "npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x.npy", data)
    begin = time.monotonic()
    with pytest.raises(BadData, match=r"promises|without a value|cannot|truncated") as error:
        opened(path)
    assert time.monotonic() - begin < 2 and error.value.hint
    np.save(tmp_path / "good.npy", np.zeros((4, 9), np.float32) + np.arange(9))
    assert len(opened(tmp_path / "good.npy")) == 4


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(2**32 - 1, 28, 28), (2**32 - 1, 0, 5), (10, 2**31, 2**31)])
def test_idx_headers_that_lie(shape, packed, tmp_path):
    data = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + b"\0" * 100
    path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed)
    path.write_bytes(gzip.compress(data) if packed else data)
    begin = time.monotonic()
    with pytest.raises(BadData, match=r"promises|empty") as error:
        opened(path)
    assert time.monotonic() - begin < 2 and error.value.hint


def test_an_array_that_does_not_fit_into_memory_is_told(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", x=np.zeros((5, 9), np.float32))

    def full(*args, **options):
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_array", full)
    with pytest.raises(BadData, match="do not fit into memory"):
        opened(tmp_path / "x.npz", cache=False)
