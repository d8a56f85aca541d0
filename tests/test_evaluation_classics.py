"""The classics of images and series against slow, clear versions and published numbers."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from tacit.errors import MissingExtra
from tacit.evaluation import shrink
from tacit.evaluation.classics.dtw import DTW
from tacit.evaluation.classics.hog import HOG
from tacit.evaluation.classics.minirocket import MiniRocket
from tacit.evaluation.classics.pca import PCA
from tacit.evaluation.classics.pixels import Pixels
from tacit.evaluation.classics.raw import Raw
from tacit.evaluation.regular import regular
from tacit.types import Spec

DATA = Path(os.environ.get("TACIT_DATA", Path(__file__).parents[2] / "shared" / "data"))


def images(n: int, channels: int, height: int, width: int) -> tuple[np.ndarray, Spec]:
    x = np.random.default_rng(0).integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    return x, Spec("image", channels, (height, width))


def slow_hog(image: np.ndarray, cell: int) -> np.ndarray:
    """One image [C, H, W] in 0..1, pixel by pixel."""
    channels, height, width = image.shape
    rows, columns = height // cell, width // cell
    cells = np.zeros((rows, columns, 9))
    for i in range(rows * cell):
        for j in range(columns * cell):
            best = (0.0, 0.0, -1.0)
            for c in range(channels):
                dy = image[c, i + 1, j] - image[c, i - 1, j] if 0 < i < height - 1 else 0.0
                dx = image[c, i, j + 1] - image[c, i, j - 1] if 0 < j < width - 1 else 0.0
                size = (dy * dy + dx * dx) ** 0.5
                if size > best[2]:
                    best = (dy, dx, size)
            angle = np.degrees(np.arctan2(best[0], best[1])) % 180
            for b in range(9):
                gap = abs(angle - (20 * b + 10))
                cells[i // cell, j // cell, b] += best[2] * max(0.0, 1 - min(gap, 180 - gap) / 20) / cell**2
    out = []
    for i in range(rows - 1):
        for j in range(columns - 1):
            v = np.concatenate([cells[i, j], cells[i, j + 1], cells[i + 1, j], cells[i + 1, j + 1]])
            v = np.minimum(v / np.sqrt((v**2).sum() + 1e-6), 0.2)
            out.append(v / np.sqrt((v**2).sum() + 1e-6))
    return np.concatenate(out)


@pytest.mark.parametrize(("channels", "cell"), [(1, 4), (3, 3)])
def test_hog_equals_a_slow_loop(channels: int, cell: int) -> None:
    x, spec = images(3, channels, 13, 16)
    fast = HOG(cell=cell).fit(x, spec).transform(x)
    for image, row in zip(x, fast, strict=True):
        np.testing.assert_allclose(row, slow_hog(image / 255.0, cell), atol=2e-5)


def test_hog_of_an_edge_points_across_it_and_ignores_brightness() -> None:
    x = np.zeros((1, 1, 16, 16), dtype=np.uint8)
    x[..., 8:] = 100
    spec = Spec("image", 1, (16, 16))
    hog = HOG(cell=8).fit(x, spec).transform(x).reshape(4, 9)
    np.testing.assert_allclose(hog[:, [0, 8]], hog[:, [8, 0]])  # 0 degrees lies between the first and the last bin
    assert np.abs(hog[:, 1:8]).max() == 0
    np.testing.assert_allclose(HOG(cell=8).fit(x, spec).transform(x + 50), hog.reshape(1, -1), atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 5)])
def test_image_classics_survive_tiny_and_constant_images(size: tuple[int, int]) -> None:
    x, spec = images(4, 3, *size)
    for make in (HOG, PCA, Pixels):
        for items in (x, np.full_like(x, 7)):
            z = make().fit(items, spec).transform(items)
            assert z.dtype == np.float32 and z.ndim == 2 and z.shape[1] > 0 and np.isfinite(z).all()


def test_pixels_and_pca() -> None:
    x, spec = images(50, 1, 6, 5)
    pixels = Pixels().fit(x, spec).transform(x)
    np.testing.assert_allclose(pixels, x.reshape(50, -1) / 255, rtol=1e-6)
    z = PCA(components=4).fit(x, spec).transform(x)
    from sklearn.decomposition import PCA as Reference

    np.testing.assert_allclose(np.abs(z), np.abs(Reference(4).fit_transform(x.reshape(50, -1) / 255)), atol=1e-4)
    assert PCA(components=40).fit(x[:10], spec).transform(x).shape == (50, 9)


def test_images_that_take_too_much_memory_are_averaged_down(monkeypatch: pytest.MonkeyPatch) -> None:
    x, spec = images(20, 3, 64, 96)
    assert Pixels().fit(x, spec).transform(x).shape == (20, 3 * 64 * 96) and not Pixels().fit(x, spec).note
    monkeypatch.setattr(shrink.side_for, "__defaults__", (4 * x.size - 1,))
    small = Pixels().fit(x, spec)
    z = small.transform(x).reshape(20, 3, 21, 32)
    assert "32 pixels a side" in small.note
    np.testing.assert_allclose(z.mean((2, 3)), x.mean((2, 3)) / 255, rtol=1e-5)
    np.testing.assert_allclose(shrink.flat(x, 48).reshape(20, 3, 32, 48), x.reshape(20, 3, 32, 2, 48, 2).mean((3, 5)) / 255, rtol=1e-5)
    pca = PCA(components=4).fit(x, spec)
    np.testing.assert_allclose(pca.transform(x), (small.transform(x) - small.transform(x).mean(0)) @ pca._basis, atol=1e-4)
    assert "32 pixels a side" in pca.note
    grey, own = images(5, 1, 16, 16)
    monkeypatch.setattr(shrink.side_for, "__defaults__", (1,))
    assert Pixels().fit(grey, own).transform(grey).shape == (5, 256) and not Pixels().fit(grey, own).note, "small ones stay as they are"


def test_gaps_are_bridged_and_unequal_lengths_stretched() -> None:
    nan = np.nan
    x = np.array([[[nan, 1, nan, 3, nan]], [[0, 2, 4, nan, nan]], [[nan] * 5], [[1, 2, 3, 4, 5]]], dtype=np.float32)
    ragged = regular(x, Spec("series", 1, (5,), ragged=True))[:, 0]
    np.testing.assert_allclose(ragged, [[1, 1, 1.5, 2.25, 3], [0, 1, 2, 3, 4], [0] * 5, [1, 2, 3, 4, 5]])
    fixed = regular(x, Spec("series", 1, (5,)))[:, 0]
    np.testing.assert_allclose(fixed, [[1, 1, 2, 3, 3], [0, 2, 4, 4, 4], [0] * 5, [1, 2, 3, 4, 5]])


def test_raw_values_are_standardised_on_the_training_split() -> None:
    x = np.random.default_rng(0).normal([[[5.0], [100.0]]], [[[2.0], [30.0]]], (200, 2, 10)).astype(np.float32)
    x[0, 1, 3:6] = np.nan
    z = Raw().fit(x, Spec("series", 2, (10,))).transform(x).reshape(200, 2, 10)
    assert z.mean((0, 2)) == pytest.approx([0, 0], abs=1e-5) and z.std((0, 2)) == pytest.approx([1, 1], abs=1e-4)
    assert np.isfinite(Raw().fit(x * 0, Spec("series", 2, (10,))).transform(x)).all()


def slow_dtw(a: np.ndarray, b: np.ndarray, reach: int) -> float:
    """Squared DTW distance of two series [C, n] and [C, m], cell by cell."""
    n, m = a.shape[1], b.shape[1]
    table = np.full((n + 1, m + 1), np.inf)
    table[0, 0] = 0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            if abs(i - j) <= reach:
                gap = ((a[:, i - 1] - b[:, j - 1]) ** 2).sum()
                table[i, j] = gap + min(table[i - 1, j], table[i, j - 1], table[i - 1, j - 1])
    return float(table[n, m])


@pytest.mark.parametrize("window", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("channels", "n", "m"), [(1, 12, 12), (3, 9, 9), (2, 7, 11), (1, 1, 5), (1, 11, 7)])
def test_dtw_equals_a_slow_loop(channels: int, n: int, m: int, window: float) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, channels, n)), rng.standard_normal((6, channels, m))
    found = DTW(window=window).distances(a, b)
    reach = max(int(window * max(n, m)), abs(n - m))
    expected = [[slow_dtw(p, q, reach) for q in b] for p in a]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dtw_leaves_the_padding_of_shorter_series_out() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((1, 1, 8)), rng.standard_normal((1, 1, 10))
    padded = np.concatenate([a, np.full((1, 1, 2), np.nan)], axis=2)
    np.testing.assert_allclose(DTW().distances(padded, b), [[slow_dtw(a[0], b[0], 99)]], rtol=1e-5)
    assert DTW().fit(np.concatenate([b, padded]), np.array([3, 4])).predict(padded + 1e-3).tolist() == [4]


def test_minirocket_separates_frequencies() -> None:
    pytest.importorskip("aeon")
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = np.sin(np.arange(50) * np.where(y, 0.3, 0.9)[:, None] + rng.uniform(0, 6, (40, 1)))[:, None].astype(np.float32)
    x[3, 0, 10:14] = np.nan
    spec = Spec("series", 1, (50,))
    first, again = (MiniRocket(kernels=84).fit(x[:20], spec).transform(x) for _ in range(2))
    assert first.dtype == np.float32 and len(first) == 40 and first.min() >= 0 and first.max() <= 1
    np.testing.assert_array_equal(first, again)
    from tacit.evaluation.probes.ridge import Ridge

    assert (Ridge().fit(first[:20], y[:20], 2, small=False).predict(first[20:]) == y[20:]).all()
    assert MiniRocket(kernels=84).fit(x[:, :, :4], spec).transform(x[:, :, :4]).shape[0] == 40
    wide = np.concatenate([x, -x], axis=1)
    assert np.isfinite(MiniRocket(kernels=84).fit(wide, spec).transform(wide)).all()


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "aeon.transformations.collection.convolution_based", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tacit\[series\]'"):
        MiniRocket().fit(np.zeros((3, 1, 20), np.float32), Spec("series", 1, (20,)))


def ucr(name: str) -> list[np.ndarray]:
    """[x_train, y_train, x_test, y_test] of a UCR set; skips where the data is absent."""
    out = []
    for part in ("TRAIN", "TEST"):
        files = sorted((DATA / "ucr" / name).glob(f"*{part}*"))
        if not files:
            pytest.skip(f"the UCR set {name} is not here")
        table = np.loadtxt(gzip.open(files[0], "rt"), ndmin=2)
        out += [table[:, None, 1:].astype(np.float32), table[:, 0]]
    return out


@pytest.mark.parametrize(("name", "warped", "euclidean"), [("ItalyPowerDemand", 0.0496, 0.0447), ("TwoLeadECG", 0.0957, 0.2529)])
def test_nearest_neighbours_have_the_error_published_for_the_ucr_archive(name: str, warped: float, euclidean: float) -> None:
    x, y, query, truth = ucr(name)
    assert np.mean(DTW().fit(x, y).predict(query) != truth) == pytest.approx(warped, abs=6e-5)
    assert np.mean(DTW(window=0).fit(x, y).predict(query) != truth) == pytest.approx(euclidean, abs=6e-5)
