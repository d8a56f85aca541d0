"""Labels of every form: one an item, several, tags of positions and pairs, from the data itself or from a table that came later."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import tacit.data.dataset as dataset
from tacit import registry
from tacit.data.dataset import from_arrays
from tacit.data.inspect import inspect, lines
from tacit.data.supervision import Supervision, check, supervise
from tacit.errors import Asked, BadData
from tacit.modality import BadItem
from tacit.types import Spec

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))


def pixels(n: int = 12, size: int = 8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, size, size), dtype=np.uint8)


def images(n: int = 12, **more: object) -> dataset.Dataset:
    """Items array:0, array:1, ..."""
    return from_arrays(pixels(n)[:, None], **more)


def picture(path: Path, values: np.ndarray, **how: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(values).save(path, **how)


def photos(folder: Path, n: int = 12, size: tuple[int, int] = (10, 10), ending: str = "png") -> Path:
    for i in range(n):
        picture(folder / f"{i}.{ending}", RNG.integers(0, 256, (*size, 3), dtype=np.uint8))
    return folder


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# ---- one label an item, as the data was opened with ----


def test_labels_of_the_data_become_classes_or_numbers():
    y = ["b", None, "a", "b"] * 3
    s = supervise(images(y=y))
    assert s.head == "classification" and s.classes == ("a", "b") and len(s) == 9
    assert s.items.tolist() == [i for i in range(12) if y[i]] and [s.classes[k] for k in s.values] == [w for w in y if w]
    s = supervise(images(y=[1.5, np.nan, 3.25] * 4))
    assert (
        s.head == "regression"
        and s.values.dtype == np.float32
        and s.values.tolist() == [1.5, 3.25] * 4
        and s.items.tolist()[:3] == [0, 2, 3]
    )


def test_the_head_says_how_whole_numbers_are_read():
    y = [3, 1, 20, 3] * 3
    assert supervise(images(y=y)).classes == ("1", "3", "20")
    s = supervise(images(y=y), head="regression")
    assert s.head == "regression" and s.values.tolist() == [float(v) for v in y] and s.classes == ()
    data = images(30, y=list(range(30)))
    assert supervise(data).head == "regression"
    s = supervise(data, head="classification")
    assert s.classes == tuple(map(str, range(30))) and s.values.tolist() == list(range(30))
    with pytest.raises(Asked, match=r"0\.5, which are no classes"):
        supervise(images(y=[0.5, 1.25, 3] * 4), head="classification")


def test_words_cannot_be_predicted_as_a_number():
    with pytest.raises(Asked, match="'cat', 'dog'"):
        supervise(images(y=["cat", "dog"] * 6), head="regression")


def test_what_is_not_there_is_said_with_what_to_do(tmp_path):
    data = images()
    for head, words in (
        (None, "no labels to learn from"),
        ("tagging", "for tagging"),
        ("similarity", "for similarity"),
        ("multilabel", "for multilabel"),
    ):
        with pytest.raises(Asked, match=words) as caught:
            supervise(data, head=head)
        assert caught.value.hint
    with pytest.raises(Asked, match="taging") as caught:
        supervise(data, head="taging")
    assert "tagging" in caught.value.hint
    with pytest.raises(Asked, match="not opened with the labels 'age'"):
        supervise(images(y=[0, 1] * 6), target="age")
    with pytest.raises(Asked, match="several labels"):
        supervise(images(y=np.eye(3)[[0, 1, 2] * 4]), head="regression")


# ---- what fine-tuning asks before it starts ----


def classes_of(values: list[int], *names: str) -> Supervision:
    return Supervision("classification", np.arange(len(values)), np.array(values), names)


def test_nothing_to_learn_is_refused():
    s = classes_of([0, 0, 1, 1], "cat", "dog")
    assert check(s, np.array([0, 2])) == []
    with pytest.raises(BadData, match="equal: cat"):
        check(s, np.array([0, 1]))
    with pytest.raises(BadData, match="1 labelled items") as caught:
        check(s, np.array([0]))
    assert caught.value.hint
    with pytest.raises(BadData, match=r"equal: 2\.5"):
        check(Supervision("regression", np.arange(3), np.full(3, 2.5, np.float32)), np.arange(3))
    with pytest.raises(BadData, match="equal: 1"):
        check(Supervision("tagging", np.arange(2), np.array([[1, -1], [1, 1]], np.int16), ("0", "1")), np.arange(2))
    several = np.array([[0, 1], [0, np.nan]], np.float32)
    with pytest.raises(BadData, match="equal"):
        check(Supervision("multilabel", np.arange(2), several, ("a", "b")), np.arange(2))
    (note,) = check(Supervision("multilabel", np.arange(2), np.array([[0, 1], [0, 0]], np.float32), ("a", "b")), np.arange(2))
    assert "cannot be learned: a" in note


def test_rare_and_absent_classes_are_named():
    s = classes_of([0, 0, 1, 1, 2, 3], "a", "b", "single", "elsewhere")
    assert check(s, np.arange(4)) == ["classes that no item to learn from has, so they cannot be predicted: 'single', 'elsewhere'"]
    assert check(s, np.arange(5)) == [
        "classes of a single item, which cannot be held out: 'single'",
        "classes that no item to learn from has, so they cannot be predicted: 'elsewhere'",
    ]
    tags = np.array([[0, 1, -1], [0, 0, 2], [1, 1, 1]], np.int16)
    notes = check(Supervision("tagging", np.arange(3), tags, ("0", "1", "2")), np.array([0, 2]))
    assert notes == ["classes that no item to learn from has, so they cannot be predicted: '2'"]


# ---- several labels an item ----


def test_columns_of_zero_and_one_are_several_labels(tmp_path):
    y = np.array([[0, 1, 1], [1, 0, np.nan], [np.nan] * 3] * 4)
    data = images(y=y)
    np.testing.assert_array_equal(data.multi, y.astype(np.float32))
    assert data.multi_names == ("0", "1", "2") and data.labels is None and data.task is None and "several labels" in str(data)
    s = supervise(data)
    assert s.head == "multilabel" and s.items.tolist() == [0, 1, 3, 4, 6, 7, 9, 10] and s.classes == ("0", "1", "2")
    np.testing.assert_array_equal(s.values, y[s.items].astype(np.float32))
    assert supervise(data, target="2").values.tolist() == [[1]] * 4 and supervise(data, target="2,0").classes == ("2", "0")
    np.savez(tmp_path / "d.npz", x_train=pixels(8), y_train=y[:8], x_test=pixels(4), y_test=y[8:])
    opened = dataset.open(tmp_path / "d.npz")
    np.testing.assert_array_equal(opened.multi, y.astype(np.float32))
    assert json.loads(json.dumps(opened.describe()))["multilabel"] == {"0": 4, "1": 4, "2": 4}
    assert "labels     multi-label: 3 labels, 0 (4), 1 (4), 2 (4)" in lines(inspect(opened))
    np.savez(tmp_path / "part.npz", x_train=pixels(8), y_train=y[:8], x_test=pixels(4))
    assert np.isnan(dataset.open(tmp_path / "part.npz").multi[8:]).all()


def test_one_hot_labels_may_be_classes():
    data = images(y=np.eye(3, dtype=np.uint8)[[0, 2, 1, 1] * 3])
    s = supervise(data)
    assert s.head == "multilabel" and "exactly one" in s.notes[0]
    s = supervise(data, head="classification")
    assert s.values.tolist() == [0, 2, 1, 1] * 3 and s.classes == ("0", "1", "2")


@pytest.mark.parametrize("y", [np.full((12, 3), 2), RNG.random((12, 3)), np.zeros((12, 5, 5), int), np.zeros((12, 0))])
def test_labels_of_another_shape_stay_refused(tmp_path, y):
    with pytest.raises(Asked):
        images(y=y)
    np.savez(tmp_path / "d.npz", x=pixels(), y=y)
    with pytest.raises((Asked, BadData)):
        dataset.open(tmp_path / "d.npz")


def test_several_columns_of_a_table_of_numbers(tmp_path):
    rows = [f"{i},{i * 2},{i % 2},{'yes' if i % 3 else 'no'}" for i in range(20)]
    table(tmp_path / "plain.csv", "u,v,wet\n" + "\n".join(r.rsplit(",", 1)[0] for r in rows))
    table(tmp_path / "d.csv", "u,v,wet,cold\n" + "\n".join(rows))
    data = dataset.open(tmp_path / "d.csv", target="wet,cold", modality="vector")
    assert data.multi_names == ("wet", "cold") and data.x.shape[-1] == 2
    assert data.multi[:4].tolist() == [[0, 0], [1, 1], [0, 1], [1, 0]]
    assert supervise(data, target="cold,wet").classes == ("cold", "wet")
    with pytest.raises(Asked, match="'wet' is part of the items"):
        supervise(dataset.open(tmp_path / "plain.csv", modality="series"), target="wet")


# ---- tags of positions ----


def test_tags_of_arrays_have_the_shape_of_the_items(tmp_path):
    y = RNG.integers(-1, 3, (12, 8, 8))
    y[0] = -1
    data = images(y=y)
    assert data.tags.dtype == np.int16 and data.tag_names == ("0", "1", "2")
    np.testing.assert_array_equal(data.tags, y)
    s = supervise(data)
    assert s.head == "tagging" and s.items.tolist() == list(range(1, 12)) and s.classes == ("0", "1", "2")
    np.testing.assert_array_equal(s.values, y[1:])
    for name, keys in {"y": {"y": y}, "masks": {"masks": y[..., None]}, "named": {"tumour": y, "y": np.arange(12) % 2}}.items():
        np.savez(tmp_path / f"{name}.npz", x=pixels(), **keys)
        opened = dataset.open(tmp_path / f"{name}.npz", target="tumour" if name == "named" else None)
        np.testing.assert_array_equal(opened.tags, y)
        assert opened.labels is None
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "x.npy", pixels())
    np.save(tmp_path / "folder" / "masks.npy", y)
    np.save(tmp_path / "folder" / "y.npy", np.arange(12) % 2)
    opened = dataset.open(tmp_path / "folder")
    np.testing.assert_array_equal(opened.tags, y)
    s = supervise(opened)
    assert s.head == "classification" and "tags of their pixels" in s.notes[0] and supervise(opened, head="tagging").head == "tagging"


def test_tags_of_series_are_padded_with_unknown(tmp_path):
    x, y = RNG.normal(size=(6, 2, 20)), RNG.integers(0, 2, (6, 20)).astype(float)
    y[:, 3] = np.nan
    data = from_arrays(x, y=y)
    np.testing.assert_array_equal(data.tags, np.where(np.isnan(y), -1, y))
    lengths = [20, 12, 7]
    ragged = from_arrays([x[i, :, :n] for i, n in enumerate(lengths)], y=[None, y[1, :12], y[2, :7]])
    assert ragged.tags.shape == (3, 20) and (ragged.tags[0] == -1).all() and (ragged.tags[2, 7:] == -1).all()
    np.testing.assert_array_equal(ragged.tags[1, 4:12], y[1, 4:12])
    report = inspect(ragged)
    assert report["tags"]["share"] == pytest.approx((11 + 6) / 39)
    assert "labels     tags: 2 classes, 44 % of the samples labelled, in 2 items" in lines(report)
    with pytest.raises(Asked, match="item 2 has labels of shape"):
        from_arrays([x[i, :, :n] for i, n in enumerate(lengths)], y=[y[0], y[1, :12], y[2, :8]])
    with pytest.raises(Asked, match="whole numbers are tags"):
        from_arrays(x, y=RNG.random((6, 20)))
    np.savez(tmp_path / "s.npz", x=x[:, 0], segments=np.nan_to_num(y).astype(int))
    assert dataset.open(tmp_path / "s.npz").tags.shape == (6, 20)


def test_class_numbers_with_gaps_become_classes_by_name():
    y = RNG.choice([0, 7, 300], (12, 8, 8))
    data = images(y=y)
    assert data.tag_names == ("0", "7", "300")
    np.testing.assert_array_equal(np.array([0, 7, 300])[data.tags], y)


def test_too_many_or_too_large_class_numbers():
    s = images(y=np.arange(12 * 64).reshape(12, 8, 8) * 2)
    assert len(s.tag_names) == 768
    with pytest.raises(BadData, match="different numbers, which are no classes"):
        supervise(images(30, y=np.arange(30 * 64).reshape(30, 8, 8)))
    y = np.zeros((12, 8, 8), np.int64)
    y[:, :4], y[3, 0, 0] = 1, 40_000
    s = supervise(images(y=y))
    assert 3 not in s.items and len(s) == 11 and any("array:3: class number 40000 is beyond 32767" in n for n in s.notes)
    with pytest.raises(BadData, match="no tag can be used"):
        supervise(images(y=np.full((12, 8, 8), 40_000)))


# ---- masks beside images ----


def squares(folder: Path, n: int = 8, size: tuple[int, int] = (10, 10), classes: int = 2) -> list[np.ndarray]:
    """images/i.png and masks/i.png; returns the masks."""
    photos(folder / "images", n, size)
    out = [RNG.integers(0, classes, size).astype(np.uint8) for _ in range(n)]
    for i, mask in enumerate(out):
        picture(folder / "masks" / f"{i}.png", mask)
    return out


def test_masks_beside_images_are_tags_and_never_items(tmp_path):
    masks = squares(tmp_path / "d", classes=3)
    masks[2][:4] = 255
    picture(tmp_path / "d" / "masks" / "2.png", masks[2])
    (tmp_path / "d" / "masks" / "5.png").unlink()
    picture(tmp_path / "d" / "masks" / "none.png", masks[0])
    data = dataset.open(tmp_path / "d")
    assert data.names == tuple(f"images/{i}.png" for i in range(8)) and data.labels is None and not data.bad
    for i, mask in enumerate(masks):
        expected = np.full(mask.shape, -1) if i == 5 else np.where(mask == 255, -1, mask.astype(int))
        np.testing.assert_array_equal(data.tags[i], expected)
    notes = " ".join(data.notes)
    assert "7 of 8 images have a mask" in notes and "images/5.png" in notes and "masks/none.png" in notes
    assert data.describe()["tags"] is True and "tags of their pixels" in str(data)
    assert "labels     segmentation masks: 3 classes, 82 % of the pixels labelled, in 7 items" in lines(inspect(data))
    s = supervise(data)
    assert s.head == "tagging" and 5 not in s.items and s.classes == ("0", "1", "2")


@pytest.mark.parametrize("layout", ["train/{side}/{i}.png", "{side}/train/{i}.png", "d/{side}/{c}/{i}.png", "{c}/{side}/{i}.png"])
def test_other_layouts_of_masks(tmp_path, layout):
    for i in range(8):
        for side in ("img", "Labels"):
            place = layout.format(side=side, i=i, c="ab"[i % 2])
            picture(tmp_path / "d" / place.replace("train", ("train", "test")[i % 4 == 3]), np.full((6, 6), i % 3, np.uint8))
    data = dataset.open(tmp_path / "d")
    assert len(data) == 8 and all("img" in n for n in data.names)
    assert [int(t.max()) for t in data.tags] == [int(Path(n).stem) % 3 for n in data.names]
    if "{c}" in layout:
        assert data.classes == ("a", "b")
    else:
        assert len(data.test) == 2 and data.labels is None


def test_masks_named_with_a_suffix_in_a_zip(tmp_path):
    photos(tmp_path / "d" / "images", 4, ending="jpg")
    for i in range(4):
        picture(tmp_path / "d" / "masks" / f"{i}_mask.png", np.eye(10, dtype=bool))
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for file in sorted((tmp_path / "d").rglob("*.*")):
            archive.write(file, file.relative_to(tmp_path))
    for path in (tmp_path / "d", tmp_path / "d.zip"):
        data = dataset.open(path)
        assert len(data) == 4
        np.testing.assert_array_equal(data.tags, np.stack([np.eye(10)] * 4))


def test_folders_that_share_no_name_are_classes_as_before(tmp_path):
    photos(tmp_path / "d" / "images", 4)
    for i in range(4):
        picture(tmp_path / "d" / "labels" / f"other{i}.png", np.zeros((10, 10), np.uint8))
    data = dataset.open(tmp_path / "d")
    assert len(data) == 8 and data.classes == ("images", "labels") and data.tags is None


def test_masks_of_0_and_255_are_two_classes(tmp_path):
    masks = squares(tmp_path / "d")
    for i, mask in enumerate(masks):
        picture(tmp_path / "d" / "masks" / f"{i}.png", mask * 255)
    data = dataset.open(tmp_path / "d")
    np.testing.assert_array_equal(data.tags, np.stack(masks))
    assert data.tag_names == ("0", "255") and any("255 is a class" in n for n in supervise(data).notes)


def test_a_mask_of_another_size_makes_its_item_bad(tmp_path):
    squares(tmp_path / "d", n=20)
    picture(tmp_path / "d" / "masks" / "3.png", np.zeros((5, 7), np.uint8))
    data = dataset.open(tmp_path / "d")
    assert len(data) == 19 and [(p.name, p.reason) for p in data.bad] == [
        ("images/3.png", "its mask masks/3.png is 5 x 7 pixels, the image 10 x 10")
    ]


def test_masks_that_cannot_be_used_leave_their_image_unlabelled(tmp_path):
    squares(tmp_path / "d")
    folder = tmp_path / "d" / "masks"
    (folder / "0.png").write_bytes(b"no picture")
    picture(folder / "1.png", np.zeros((10, 10, 3), np.uint8))
    (folder / "2.png").unlink()
    picture(folder / "2.jpg", np.zeros((10, 10), np.uint8))
    picture(folder / "3.png", np.full((10, 10), 40_000, np.uint16))
    data = dataset.open(tmp_path / "d")
    assert len(data) == 8 and not data.bad
    s = supervise(data)
    assert s.items.tolist() == [4, 5, 6, 7]
    reasons = {p.name: p.reason for p in data.tagged.bad}
    for i, words in enumerate(("not an image", "colours", "JPEG", "40000 is beyond")):
        assert words in reasons[f"images/{i}.png"]
    assert lines(inspect(data))[0].startswith("warning: the tags of 4 items cannot be used")


def test_palette_and_turned_masks(tmp_path):
    values = np.arange(60, dtype=np.uint8).reshape(6, 10) % 4
    turned = Pillow.Exif()
    turned[274] = 6
    for i in range(3):
        picture(tmp_path / "d" / "images" / f"{i}.png", RNG.integers(0, 256, (6, 10, 3), dtype=np.uint8), exif=turned)
        mask = Pillow.fromarray(values, "P")
        mask.putpalette(list(range(30)))
        (tmp_path / "d" / "masks").mkdir(exist_ok=True)
        mask.save(tmp_path / "d" / "masks" / f"{i}.png", exif=turned)
    data = dataset.open(tmp_path / "d")
    assert not data.bad
    np.testing.assert_array_equal(data.tags[0], np.rot90(values, -1))


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (90, 90)])
def test_masks_are_placed_as_their_images(fit, shape):
    """A picture that shows its mask: wherever the picture is plainly one value, the mask says the same."""
    kind = registry.find("modalities", "image")
    mask = np.zeros(shape, np.int32)
    mask[shape[0] // 4 : shape[0] // 2, shape[1] // 3 :] = 1
    mask[-10:, :15] = 2
    spec = Spec("image", 1, (32, 32), extra={"fit": fit, "scale": [0, 255]})
    x, tags = kind.decode((mask * 100).astype(np.uint8), spec)[0], kind.tags(mask, spec)
    assert tags.shape == (32, 32) and tags.dtype == np.int16
    inside = tags >= 0
    assert inside.all() == (fit != "pad" or shape == (90, 90)) and (x[~inside] == 0).all()
    far = np.abs(x.astype(int) - 100 * np.rint(x / 100)) < 3
    assert (far & inside).mean() > 0.5
    agree = (tags == np.rint(x / 100))[far & inside]
    assert agree.mean() > 0.99 and set(np.unique(tags[inside])) <= {0, 1, 2}


def test_tags_that_do_not_fit_are_refused():
    image, series = registry.find("modalities", "image"), registry.find("modalities", "series")
    spec = Spec("series", 1, (9,))
    for kind, raw, where, words in (
        (series, np.zeros(8, int), spec, "8 tags for 9"),
        (series, np.zeros((2, 9), int), spec, "one for each sample"),
        (series, np.full(9, 0.5), spec, "no class number"),
        (series, np.array(["a"] * 9), spec, "not numbers"),
        (image, np.zeros((8, 8, 3), int), Spec("image", 1, (8, 8)), "not a mask"),
        (registry.find("modalities", "vector"), np.zeros(3, int), Spec("vector", 3, ()), "shape"),
    ):
        with pytest.raises(BadItem, match=words):
            kind.tags(raw, where)


def test_a_model_of_another_size_gets_masks_of_that_size(tmp_path):
    masks = squares(tmp_path / "d", size=(20, 20))
    data = dataset.open(tmp_path / "d")
    half = dataset.replace(data.spec, sizes=(10, 10))
    again = data.decoded_for(half)
    assert again.x.shape[2:] == (10, 10) and again.tags.shape == (8, 10, 10)
    assert (again.tags == np.stack(masks)[:, 1::2, 1::2]).mean() > 0.99
    assert data.whole().tagged is data.tagged
    several = images(y=np.eye(3)[[0, 1, 2] * 4]).decoded_for(dataset.replace(images().spec, sizes=(4, 4)))
    assert several.x.shape[2:] == (4, 4) and several.multi.shape == (12, 3) and several.multi_names == ("0", "1", "2")


def test_opening_decodes_no_mask_and_the_cache_does_not_depend_on_them(tmp_path, monkeypatch):
    squares(tmp_path / "d")
    kind = registry.find("modalities", "image")
    real, seen = kind.tags, []
    monkeypatch.setattr(kind, "tags", classmethod(lambda cls, raw, spec: seen.append(raw) or real(raw, spec)))
    data = dataset.open(tmp_path / "d")
    place = data.cache_path
    data.describe(), str(data), data.whole()
    assert not seen
    assert len(data.tags) == 8 and len(seen) == 8 and data.tags is data.whole().tags and len(seen) == 8
    picture(tmp_path / "d" / "masks" / "0.png", np.full((10, 10), 3, np.uint8))
    again = dataset.open(tmp_path / "d")
    assert again.cache_path == place and again.fingerprint == data.fingerprint and (again.tags[0] == 2).all() and again.tag_names[2] == "3"


# ---- a table with masks and several labels that describes images ----


def described(folder: Path, rows: list[str], head: str) -> Path:
    masks = squares(folder, n=6)
    np.save(folder / "masks" / "2.npy", masks[2])
    table(folder / "metadata.csv", "\n".join([head, *rows]))
    return folder


def test_metadata_names_masks_and_several_targets(tmp_path):
    rows = [f"images/{i}.png,masks/{i}.{'npy' if i == 2 else 'png'},{i % 2},{'' if i == 1 else i % 3 % 2},{'ab'[i % 2]}" for i in range(6)]
    folder = described(tmp_path / "d", rows, "file_name,mask,wet,cold,label")
    for path in (folder, folder / "metadata.csv"):
        data = dataset.open(path)
        assert data.names == tuple(f"images/{i}.png" for i in range(6)) and data.classes == ("a", "b") and not data.bad
        expected = [np.asarray(Pillow.open(folder / "masks" / f"{i}.png")) for i in range(6)]
        np.testing.assert_array_equal(data.tags, np.stack(expected))
        data = dataset.open(path, target="wet,cold")
        assert data.labels is None and data.multi_names == ("wet", "cold")
        np.testing.assert_array_equal(data.multi, [[0, 0], [1, np.nan], [0, 0], [1, 0], [0, 1], [1, 0]])
        assert dataset.open(path, target="mask").labels is None
        plain = dataset.open(path)
        np.testing.assert_array_equal(supervise(plain, target="wet,cold").values, data.multi)
        assert supervise(plain, target="cold").head == "classification" and supervise(plain, target="mask").head == "tagging"
        with pytest.raises(Asked, match="wett"):
            supervise(plain, target="wett")
    with pytest.raises(Asked, match="wett"):
        dataset.open(folder, target="wett,cold")
    with pytest.raises(Asked, match="'a', 'b' where yes or no"):
        dataset.open(folder, target="wet,label")


def test_metadata_masks_outside_the_folder_are_refused(tmp_path):
    picture(tmp_path / "secret.png", np.ones((10, 10), np.uint8))
    cells = ["../secret.png", str(tmp_path / "secret.png"), "masks/gone.png", "", "masks/4.png", "masks/5.png"]
    rows = [f"images/{i}.png,{cell}" for i, cell in enumerate(cells)]
    squares(tmp_path / "d", n=6)
    for i in range(4):
        (tmp_path / "d" / "masks" / f"{i}.png").unlink()
    table(tmp_path / "d" / "metadata.csv", "\n".join(["file_name,mask", *rows]))
    data = dataset.open(tmp_path / "d", max_bad=0.5)
    assert [p.name for p in data.bad] == cells[:2] and all("outside the folder: refused" in p.reason for p in data.bad)
    assert supervise(data).items.tolist() == [4, 5] and any("masks/gone.png" in n for n in data.notes)


# ---- a table that came later ----


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_labels_items_by_name(tmp_path, form):
    photos(tmp_path / "d" / "sub")
    data = dataset.open(tmp_path / "d")
    known = [(f"sub/{i}.png", f"/somewhere/{i}.png", str(i))[i % 3] for i in range(10)]
    records = [{"id": n, "kind": ("cat", "dog")[i % 2], "age": i * 1.5} for i, n in enumerate([*known, "stranger"])]
    path = tmp_path / f"labels.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    else:
        mark = "\t" if form == "tsv" else ","
        path.write_text("\n".join(mark.join(map(str, row)) for row in [list(records[0]), *(r.values() for r in records)]))
    s = supervise(data, file=path, target="kind")
    assert (
        s.head == "classification"
        and s.classes == ("cat", "dog")
        and [data.names[i] for i in s.items] == [f"sub/{i}.png" for i in range(10)]
    )
    assert s.values.tolist() == [0, 1] * 5 and any("'stranger'" in n and "1 names" in n for n in s.notes)
    s = supervise(data, file=path, target="age", head="regression")
    assert s.head == "regression" and s.values.tolist() == [i * 1.5 for i in range(10)]
    with pytest.raises(Asked, match="'cat', 'dog'"):
        supervise(data, file=path, target="kind", head="regression")
    with pytest.raises(Asked, match="kind, age"):
        supervise(data, file=path)
    with pytest.raises(Asked, match="kindd"):
        supervise(data, file=path, target="kindd")


def test_labels_of_unknown_items_are_refused(tmp_path):
    path = table(tmp_path / "l.csv", "id,label\n" + "".join(f"patient{i},a\n" for i in range(7)) + "array:1,b\n")
    with pytest.raises(Asked) as caught:
        supervise(images(), file=path)
    words = caught.value.message
    assert (
        "7 of 8 rows" in words and "'patient0', 'patient1', 'patient2' and 4 more" in words and "'array:0', 'array:1', 'array:2'" in words
    )


def test_a_name_that_fits_several_items_is_left_out(tmp_path):
    photos(tmp_path / "d" / "x", 3)
    photos(tmp_path / "d" / "y", 2)
    data = dataset.open(tmp_path / "d")
    s = supervise(data, file=table(tmp_path / "l.csv", "id,label\nx/0.png,a\ny/0.png,b\n2,a\n1.png,b\n"))
    assert [data.names[i] for i in s.items] == ["x/0.png", "x/2.png", "y/0.png"] and any(
        "fit several items" in n and "'1.png'" in n for n in s.notes
    )


def test_numbers_after_a_point_are_no_ending(tmp_path):
    photos(tmp_path / "p", 2)
    for i in range(2):
        (tmp_path / "p" / f"{i}.png").rename(tmp_path / "p" / f"patient.{i}.png")
    data = dataset.open(tmp_path / "p")
    s = supervise(data, file=table(tmp_path / "l.csv", "id,label\npatient.0,a\npatient.1,b\npatient.7,a\n"))
    assert s.items.tolist() == [0, 1] and any("'patient.7'" in n for n in s.notes)


def test_an_item_with_two_labels_is_refused_and_a_repeated_one_counts_once(tmp_path):
    path = table(tmp_path / "l.csv", "id,label\narray:0,1\narray:1,2\narray:0,1.0\narray:2,\narray:2,2\narray:1,\n")
    s = supervise(images(), file=path)
    assert s.items.tolist() == [0, 1, 2] and [s.classes[v] for v in s.values] == ["1", "2", "2"]
    path = table(tmp_path / "l.csv", "id,label\narray:0,cat\narray:1,dog\narray:0,dog\n")
    with pytest.raises(Asked, match="array:0 is labelled 'cat' and also 'dog'"):
        supervise(images(), file=path)


def test_bad_tables_are_refused_with_words(tmp_path):
    data = images()
    for name, text, error, words in (
        ("gone.csv", None, Asked, "no file of labels"),
        ("empty.csv", "", BadData, "holds no label"),
        ("head.csv", "id,label\n", BadData, "holds no label"),
        ("one.csv", "label\na\nb\n", Asked, "one column only"),
        ("blank.csv", "id,label\narray:0,\narray:1,?\n", BadData, "is empty"),
        ("cut.parquet", "PAR1", BadData, "truncated or damaged"),
    ):
        path = tmp_path / name if text is None else table(tmp_path / name, text)
        with pytest.raises(error, match=words) as caught:
            supervise(data, file=path)
        assert caught.value.hint


def test_mixed_labels_are_classes_with_a_note(tmp_path):
    path = table(tmp_path / "l.csv", "id,label\narray:0,1\narray:1,cat\narray:2,2.5\narray:3,n/a\n")
    s = supervise(images(), file=path)
    assert s.classes == ("1", "2.5", "cat") and len(s) == 3 and any("mix numbers with words such as 'cat'" in n for n in s.notes)
    with pytest.raises(Asked, match="'cat'"):
        supervise(images(), file=path, head="regression")


def test_a_table_without_a_header_loses_no_row(tmp_path):
    s = supervise(images(), file=table(tmp_path / "l.csv", "array:0,cat\narray:1,dog\narray:2,cat\n"))
    assert s.items.tolist() == [0, 1, 2] and s.values.tolist() == [0, 1, 0]
    s = supervise(images(), file=table(tmp_path / "l.csv", "array:0,0.5\narray:1,1.5\n"))
    assert s.head == "regression" and s.values.tolist() == [0.5, 1.5]


def test_several_labels_of_a_table(tmp_path):
    path = table(tmp_path / "l.csv", "id,wet,cold\narray:2,0,yes\narray:0,1,no\narray:1,TRUE,\narray:0,yes,0\n")
    s = supervise(images(), file=path, target="wet,cold")
    assert s.head == "multilabel" and s.classes == ("wet", "cold") and s.items.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(s.values, np.array([[1, 0], [1, np.nan], [0, 1]], np.float32))
    np.testing.assert_array_equal(supervise(images(), file=path, head="multilabel").values, s.values)
    with pytest.raises(Asked, match="'maybe' where yes or no"):
        supervise(images(), file=table(tmp_path / "l.csv", "id,wet,cold\narray:0,1,maybe\n"), target="wet,cold")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_several_words_in_one_cell_are_several_labels(tmp_path, form):
    lists = [["cat", "dog"], [], ["dog"], None]
    if form == "jsonl":
        text = "".join(json.dumps({"id": f"array:{i}", "label": w}) + "\n" for i, w in enumerate(lists))
    else:
        text = "id,label\narray:0,cat|dog\narray:1,none\narray:2,dog\narray:3,\n"
    s = supervise(images(), file=table(tmp_path / f"l.{form}", text), head="multilabel")
    assert s.classes == ("cat", "dog") and s.items.tolist() == [0, 1, 2] and s.values.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert any("look like several labels" in n for n in supervise(images(4, y=["a;b", "b", "c", None])).notes)
    assert supervise(images(4, y=["a;b", "b", "c", None]), head="multilabel").values.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_pairs_of_items_with_a_number(tmp_path):
    rows = "a,b,score\narray:0,array:1,0.5\narray:2,array:3,1\narray:1,array:0,0.5\narray:4,gone,0\narray:5,array:6,\n"
    s = supervise(images(), file=table(tmp_path / "p.csv", rows))
    assert s.head == "similarity" and s.items.tolist() == [[0, 1], [2, 3]] and s.values.tolist() == [0.5, 1.0]
    assert s.items.dtype == np.int64 and s.values.dtype == np.float32 and any("'gone'" in n for n in s.notes)
    s = supervise(
        images(), file=table(tmp_path / "p.csv", "id_1,id_2,note,how\narray:0,array:1,x,yes\narray:1,array:2,y,different\n"), target="how"
    )
    assert s.values.tolist() == [1, 0]
    s = supervise(images(), file=table(tmp_path / "p.csv", "u,v,w\narray:0,array:1,3\narray:1,array:2,4\n"), head="similarity")
    assert s.values.tolist() == [3, 4]
    for text, words in (
        ("a,b,score\narray:0,array:1,0.5\narray:1,array:0,0.7\n", "has 0.7 and also 0.5|has 0.5 and also 0.7"),
        ("a,b,score\narray:0,array:1,near\n", "'near'"),
        ("a,b,score\narray:0,gone,1\nelse,array:1,0\narray:2,array:1,0\n", "2 of 3 rows"),
        ("a,b,u,v\narray:0,array:1,1,2\n", "which column"),
    ):
        with pytest.raises(Asked, match=words):
            supervise(images(), file=table(tmp_path / "p.csv", text))


def test_a_table_of_masks(tmp_path):
    masks = [RNG.integers(0, 3, (8, 8)).astype(np.uint8) for _ in range(4)]
    np.save(tmp_path / "0.npy", masks[0])
    picture(tmp_path / "m" / "1.png", masks[1])
    picture(tmp_path / "2.png", np.zeros((5, 5), np.uint8))
    (tmp_path / "3.npy").write_bytes(b"\x80\x04pickle")
    rows = [
        "array:0,0.npy",
        "array:1,m/1.png",
        "array:2,2.png",
        "array:3,3.npy",
        "array:4,gone.png",
        "array:5,../../etc/passwd",
        "array:6,",
        "array:0,0.npy",
    ]
    path = table(tmp_path / "l.csv", "\n".join(["id,mask", *rows]))
    s = supervise(images(), file=path)
    assert s.head == "tagging" and s.items.tolist() == [0, 1] and s.classes == ("0", "1", "2")
    np.testing.assert_array_equal(s.values, np.stack(masks[:2]))
    (note,) = [n for n in s.notes if "cannot be used" in n]
    assert "4 items" in note and "5 x 5 pixels, the item has 8 x 8" in note
    with pytest.raises(BadData, match=r"passwd: points outside the folder: refused"):
        supervise(images(), file=table(tmp_path / "l.csv", "id,mask\narray:5,../../etc/passwd\n"), head="tagging")
    with pytest.raises(Asked, match="array:0 is labelled"):
        supervise(images(), file=table(tmp_path / "l.csv", "id,mask\narray:0,0.npy\narray:0,m/1.png\n"))
    wearing = supervise(images(), file=table(tmp_path / "l.csv", "id,mask\narray:0,yes\narray:1,no\n"))
    assert wearing.head == "classification" and wearing.classes == ("no", "yes")


def test_tags_of_a_series_of_another_length_are_refused(tmp_path):
    data = from_arrays([RNG.normal(size=(1, n)) for n in (9, 7, 5)])
    for i, n in enumerate((9, 7, 6)):
        np.save(tmp_path / f"{i}.npy", np.arange(n) % 2)
    s = supervise(data, file=table(tmp_path / "l.csv", "id,tags\n" + "".join(f"array:{i},{i}.npy\n" for i in range(3))))
    assert s.items.tolist() == [0, 1] and (s.values[1, 7:] == -1).all() and any("6 samples, the item has 5" in n for n in s.notes)


# ---- what others see of it ----


def test_pretraining_decodes_no_mask_and_learns_the_same_without_them(tacit, tmp_path, monkeypatch):
    squares(tmp_path / "d", n=20)
    kind = registry.find("modalities", "image")
    monkeypatch.setattr(kind, "tags", classmethod(lambda cls, raw, spec: pytest.fail("a mask was decoded")))
    stored = []
    for name in ("with", "without"):
        said = tacit("pretrain", tmp_path / "d", "--steps", 2, "--size", "tiny", "--out", tmp_path / name)
        assert said.code == 0, said.err
        stored.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
        for mask in (tmp_path / "d" / "masks").iterdir():
            picture(mask, np.zeros((10, 10), np.uint8))
    assert stored[0] == stored[1]


def test_evaluate_says_what_it_measures_and_what_to_use(tacit, trained, tmp_path):
    np.savez(tmp_path / "d.npz", x=pixels(), y=RNG.integers(0, 2, (12, 8, 8)))
    said = tacit("evaluate", trained, tmp_path / "d.npz")
    assert (
        said.code == 2
        and "evaluate measures one label an item" in said.err
        and "tags of their pixels" in said.err
        and "tacit finetune" in said.err
    )


def test_labels_are_read_without_torch(tmp_path):
    squares(tmp_path / "d")
    table(tmp_path / "l.csv", "id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(8)))
    code = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from tacit.data.dataset import open as opened
from tacit.data.inspect import inspect, lines
from tacit.data.supervision import check, supervise
from tacit.types import Spec
folder = Path(sys.argv[1])
spec = Spec("image", 3, (10, 10), extra={"size": [10, 10], "fit": "crop", "scale": [0, 255], "grey": False})
data = opened(folder / "d", spec=spec)
s = supervise(data)
assert s.head == "tagging" and s.values.shape == (8, 10, 10) and not check(s, s.items)
assert supervise(data, file=folder / "l.csv").classes == ("a", "b") and lines(inspect(data))
assert not {"torch", "sklearn"} & {name for name, module in sys.modules.items() if module}
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
