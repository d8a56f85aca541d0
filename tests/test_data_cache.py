"""The cache: reused, rebuilt when damaged, safe for two processes, honest when the disk is full."""

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image as Pillow

from tacit.data import cache
from tacit.data.dataset import open as opened
from tacit.errors import TacitError
from tacit.modalities.image import Image

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for i in range(30):
        Pillow.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path / f"{i:02}.png")
        os.utime(path / f"{i:02}.png", (1e9 + i, 1e9 + i))
    return path


@pytest.fixture
def decoded(monkeypatch):
    """How many items were decoded so far."""
    seen = []
    real = Image.decode.__func__
    monkeypatch.setattr(Image, "decode", classmethod(lambda cls, raw, spec: seen.append(1) or real(cls, raw, spec)))
    return seen


def same(a, b):
    np.testing.assert_array_equal(np.asarray(a.x), np.asarray(b.x))
    assert a.fingerprint == b.fingerprint and a.names == b.names and a.spec == b.spec and (a.split == b.split).all()


def test_reused_and_equal_to_memory(folder, decoded):
    said = []
    first = opened(folder, say=said.append)
    assert len(decoded) == 30 and isinstance(first.x, np.memmap) and first.cache_bytes > 30 * 192 and any("decoded data" in s for s in said)
    second = opened(folder)
    assert len(decoded) == 30
    same(first, second)
    memory = opened(folder, cache=False)
    assert len(decoded) == 60 and memory.cache_path is None and not isinstance(memory.x, np.memmap)
    same(first, memory)


def test_content_is_hashed_once(folder, monkeypatch):
    opened(folder)
    monkeypatch.setattr(cache.Tree, "content", lambda self: pytest.fail("read again"))
    opened(folder)


def test_moved_data_is_not_decoded_again_but_changed_data_is(folder, decoded):
    first = opened(folder)
    moved = folder.parent / "moved"
    shutil.copytree(folder, moved)
    assert opened(moved).fingerprint == first.fingerprint and len(decoded) == 30
    shutil.copyfile(moved / "01.png", moved / "00.png")
    assert opened(moved).fingerprint != first.fingerprint and len(decoded) == 60
    opened(folder, size=4)
    assert len(decoded) == 90
    opened(folder, seed=5)
    assert len(decoded) == 90


@pytest.mark.parametrize("harm", ["cut", "flip", "json", "rows", "gone"])
def test_a_damaged_cache_is_rebuilt(folder, decoded, harm):
    first = opened(folder)
    kept = np.array(first.x)
    place = first.cache_path
    target = {"cut": "x.bin", "flip": "x.bin", "json": "meta.json", "rows": "rows.npy", "gone": "rows.npy"}[harm]
    data = bytearray((place / target).read_bytes())
    if harm == "gone":
        (place / target).unlink()
    elif harm == "flip":
        data[777] ^= 1
        (place / target).write_bytes(data)
    else:
        (place / target).write_bytes(data[: len(data) // 2])
    again = opened(folder)
    assert len(decoded) == 60
    np.testing.assert_array_equal(again.x, kept)
    assert [p.name for p in place.parent.iterdir()] == [place.name]


def test_two_processes_at_once(folder):
    code = "import sys; from tacit.data.dataset import open; d = open(sys.argv[1]); print(d.fingerprint, int(d.x.sum()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)
    ]
    said = [p.communicate(timeout=50)[0] for p in both]
    assert [p.returncode for p in both] == [0, 0] and said[0] == said[1] and said[0]
    assert len(list((folder.parent / "cache" / "decoded").iterdir())) == 1


def test_another_process_that_was_first_wins(folder, monkeypatch):
    """The place is taken between our look and our rename."""
    first = opened(folder)
    found = cache.load
    seen = []
    monkeypatch.setattr(cache, "load", lambda place: found(place) if seen.append(1) or len(seen) > 1 else None)
    same(first, opened(folder))
    assert len(list(first.cache_path.parent.iterdir())) == 1


def test_full_disk(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as m:
        m.setattr(cache.shutil, "disk_usage", lambda path: usage(1, 1, 0))
        with pytest.raises(TacitError, match="not enough disk space") as caught:
            opened(folder)
        assert "--no-cache" in caught.value.hint and "TACIT_CACHE" in caught.value.hint
        assert len(opened(folder, cache=False)) == 30

    real = cache.Writer.add

    def fails(self, x):
        self.file.close()
        self.file = open("/dev/full", "wb", buffering=0)
        real(self, x)

    if os.path.exists("/dev/full"):
        monkeypatch.setattr(cache.Writer, "add", fails)
        with pytest.raises(TacitError, match="disk is full"):
            opened(folder)
    assert list((folder.parent / "cache" / "decoded").iterdir()) == []
    assert errno.ENOSPC


def test_interrupted_decoding_leaves_nothing(folder, monkeypatch):
    def stop(raw, spec):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "decode", staticmethod(stop))
    with pytest.raises(KeyboardInterrupt):
        opened(folder)
    assert list((folder.parent / "cache" / "decoded").iterdir()) == []


def test_a_cache_folder_that_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(TacitError, match="cannot be written"):
        opened(folder)


def test_a_trained_model_reads_the_same_cache(folder, decoded):
    first = opened(folder)
    assert opened(folder, spec=first.spec).cache_path == first.cache_path and len(decoded) == 30
    small = opened(folder, size=4)
    again = opened(folder, spec=small.spec)
    assert len(decoded) == 60 and again.spec == small.spec
    same(again, small)


def test_progress_is_told(folder, monkeypatch):
    import tacit.data.decoding as decoding

    clock = iter(range(10_000))
    monkeypatch.setattr(decoding.time, "monotonic", lambda: 2 * next(clock))
    said = []
    opened(folder, say=said.append)
    assert "decoding 15 of 30 images (50%)\r" in said


def test_the_arrays_that_are_read_decide(tmp_path):
    """Which array holds the items may depend on what is named as target, group or split: never another one's cache."""
    np.savez(tmp_path / "y.npz", x=np.arange(12.0)[:, None] + RNG.normal(size=(12, 1)), images=np.arange(12.0)[:, None])
    one = opened(tmp_path / "y.npz", target="x")
    other = opened(tmp_path / "y.npz", target="images")
    assert not np.array_equal(np.asarray(one.x), np.asarray(other.x)) and one.fingerprint != other.fingerprint
