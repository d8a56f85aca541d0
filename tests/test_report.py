"""The report: it says what was measured, says what was not, and is one file that opens anywhere."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import io
import itertools
import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tacit.errors import Asked, BadData, TacitError
from tacit.report import charts, costing, deciders, scores
from tacit.report import map as maps
from tacit.report.build import LIMIT, MODELS, build, thin
from tacit.report.read import sayings, words

HOSTILE = "<script>alert('x')</script>\"&\u202egnp.exe"
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def picture(rng: np.random.Generator, kind: int, size: int = 32) -> bytes:
    """A small PNG: a shape on a noisy ground."""
    ground = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(ground)
    draw = ImageDraw.Draw(image)
    x, y, r = *rng.integers(8, size - 8, 2), int(rng.integers(4, 9))
    colour = tuple(int(c) for c in np.random.default_rng(kind).integers(80, 255, 3))
    (draw.ellipse if kind % 2 else draw.rectangle)((x - r, y - r, x + r, y + r), fill=colour)
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def result(representation: str, probe: str, level: int | str, value: float | None, half: float = 0.03, **more: Any) -> dict[str, Any]:
    """One row of an evaluation file."""
    row = {"representation": representation, "probe": probe, "labels_per_class": level, "metric": "accuracy", "value": value}
    row |= {"low": None if value is None else value - half, "high": None if value is None else value + half, "n_test": 1000, "seeds": 5}
    return row | more


def evaluation() -> dict[str, Any]:
    """A realistic evaluation file: five representations, two probes, five numbers of labels."""
    levels: list[int | str] = [1, 5, 10, 50, "all"]
    curves = {
        ("ssl", "linear"): (0.512, 0.681, 0.742, 0.812, 0.861),
        ("untrained", "linear"): (0.338, 0.502, 0.571, 0.701, 0.799),
        ("pca", "linear"): (0.401, 0.566, 0.633, 0.741, 0.842),
        ("hog", "linear"): (0.447, 0.634, 0.702, 0.798, 0.873),
        ("ssl", "knn"): (0.498, 0.640, 0.701, 0.775, 0.840),
        ("untrained", "knn"): (0.351, 0.470, 0.520, 0.640, 0.770),
        ("pca", "knn"): (0.411, 0.571, 0.622, 0.727, 0.851),
        ("hog", "knn"): (0.430, 0.601, 0.660, 0.751, 0.845),
        ("supervised", "finetune"): (0.312, 0.488, 0.602, 0.780, 0.902),
    }
    rows = [
        result(name, probe, level, value, 0.06 / (k + 1), seeds=5)
        for (name, probe), values in curves.items()
        for k, (level, value) in enumerate(zip(levels, values, strict=True))
    ]
    rows[7] |= {"value": None, "low": None, "high": None, "reason": "the solver did not converge"}
    gaps = [(1, 0.065, 0.021, 0.11, "hog"), (5, 0.047, 0.012, 0.081, "hog"), (10, 0.04, 0.01, 0.07, "hog"),
            (50, 0.014, -0.008, 0.035, "hog"), ("all", -0.041, -0.06, -0.021, "supervised")]  # fmt: skip
    keys = ("labels_per_class", "difference", "low", "high", "best_other")
    levels = [dict(zip(keys, gap, strict=True)) | {"count": 941.2 if gap[0] == "all" else gap[0], "reason": ""} for gap in gaps]
    saved = {
        "best_other": {"name": "supervised", "all": 0.902, "labels_per_class": None}, "supervised": None,
        "worth": {"ours_with": 10, "others_with": 18.7, "more_than": None},
    }  # fmt: skip
    verdict = {
        "helps": True, "ours": "ssl", "best_other": "hog", "difference": 0.04, "low": 0.01, "high": 0.07, "level": 10, "metric": "accuracy",
        "n_test": 1000, "levels": levels, "labels_saved": saved, "turns_at": 109.0, "turn_is_clear": True,
        "sentence": "Self-supervision helped: with 10 labels a class it reaches 74.2 % against 70.2 % of hog, the best of the others: +4.0 "
        "points (95 % interval +1.0 to +7.0, 1000 test items). The order turns at about 109 labels a class: from there on supervised is "
        "ahead. Its 10 labels a class do the work of about 19 labels a class without it.",
    }  # fmt: skip
    notes = ["Intervals: 95 %, bootstrap over test items and label draws.", "Probe strength was chosen on a validation split."]
    return {"results": rows, "verdict": verdict, "notes": notes}


def fake_run(path: Path, *, n: int = 120, size: int = 32, evaluated: dict[str, Any] | None = None, embedded: bool = True) -> Path:
    """A run folder as `pretrain` and `evaluate` leave it, with hostile and long names among the items."""
    rng = np.random.default_rng(0)
    for folder in ("model", "evaluation", "embeddings", "checkpoints"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    plan = [("method", "vicreg", "images without groups; stable at batch 256"), ("backbone", "resnet18", "32 px images, no GPU"),
            ("batch_size", 256, "largest that keeps a step below 3 s"), ("steps", 2000, "fills 10 min at 105 images a second")]  # fmt: skip
    run = {
        "id": "2026-11-20-vicreg-7f3a", "tacit": "0.1.0", "commit": "9adf0b8c12", "created": "2026-11-20T18:14:51Z", "status": "done",
        "seconds": 603.2, "command": ["tacit", "pretrain", "photos of clothes/", "--budget", "10min"], "seed": 0,
        "device": {"value": "cpu", "reason": "no GPU found; 2 threads"}, "precision": {"value": "bf16-mixed", "reason": "in hardware"},
        "labels_seen": False, "plan": [dict(zip(("name", "value", "reason"), p, strict=True)) for p in plan], "steps": 2000,
        "items_per_s": 105.3, "parameters": 11_173_962,
        "health": {"state": "healthy", "words": "The loss fell below guessing and the embeddings spread over 61 of 128 directions."},
    }  # fmt: skip
    data = {
        "path": "photos of clothes/", "modality": "image", "why": "10,412 of 10,420 files are images", "sizes": [28, 28],
        "counts": {"items": 10412}, "classes": {c: 1000 + 7 * i for i, c in enumerate(CLASSES)}, "n_train": 9412, "n_test": 1000,
        "split_rule": "train/ and test/ subfolders", "bad": [{"file": HOSTILE, "reason": "truncated"}] * 3,
        "duplicates": {"exact": 12, "across splits": 3}, "leaks": [], "notes": ["EXIF orientation was applied to 41 files."],
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(run))
    (path / "data.json").write_text(json.dumps(data))
    config = 'method = "vicreg"\nbackbone = "resnet18"\n[knobs.method]\nvariance = 25.0\n[knobs.optim]\nlr = 0.001\n'
    (path / "config.toml").write_text(config)
    ignores = "position and scale (down to 20% of the area), mirroring, colour, brightness and contrast, slight blur"
    (path / "model" / "model.json").write_text(json.dumps({"spec": {"modality": "image"}, "ignores": ignores}))
    (path / "checkpoints" / "last.pt").write_bytes(b"x" * 5000)
    lines = []
    for step in range(0, 2001, 4):
        fall = np.exp(-step / 400)
        loss, lr = 3.1 + 2.4 * fall + 0.08 * rng.normal(), 1e-3 * (1 - step / 2000)
        row = {"step": step, "progress": step / 2000, "loss": loss, "chance": 5.545, "lr": lr, "items_per_s": 105.0, "seconds": step * 0.3}
        lines.append(json.dumps(row | {"spread": 0.9 - 0.5 * fall, "rank": 61 - 50 * fall}))
    (path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 2004, "lo')
    if evaluated is not None:
        (path / "evaluation" / "test.json").write_text(json.dumps(evaluated))
    if embedded:
        labels = rng.integers(0, 10, n)
        z = rng.normal(size=(10, 64))[labels] * 0.45 + rng.normal(size=(n, 64)) * 0.9
        names = [f"test/{CLASSES[c]}/img_{i:05d}.png" for i, c in enumerate(labels)]
        names[1], names[2] = HOSTILE, "a/very/" + "long_name_without_any_space_" * 8 + ".png"
        pngs = [picture(rng, int(c), size) for c in labels]
        offsets = np.cumsum([0, *map(len, pngs)])
        arrays = {"z": z.astype(np.float32), "labels": labels, "names": np.array(names), "classes": np.array(CLASSES)}
        np.savez(path / "embeddings" / "report.npz", **arrays, png=np.frombuffer(b"".join(pngs), np.uint8), png_offsets=offsets)
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("full") / "run & <b>bold", evaluated=evaluation())


@pytest.fixture(scope="module")
def page(full: Path) -> str:
    return build(full).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def twin(full: Path, page: str) -> dict[str, Any]:
    return json.loads((full / "report.json").read_text(encoding="utf-8"))


def text_of(page: str) -> str:
    """What a person reads: without styles, scripts and tags, white space folded."""
    bare = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", bare)))


def svgs(page: str) -> list[ET.Element]:
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


# ---- one file that opens anywhere ----


def test_nothing_is_fetched(page: str) -> None:
    for value in re.findall(r"(?:src|href|srcset|action|data)\s*=\s*[\"']?([^\"'\s>]+)", page):
        assert value.startswith(("data:", "#")), value
    for value in re.findall(r"url\(([^)]*)\)", page):
        assert value.startswith("data:image/")
    assert "@import" not in page and "http://" not in page and "https://" not in page
    assert "default-src 'none'" in page


def test_drawings_are_valid_and_named(page: str) -> None:
    drawn = svgs(page)
    assert len(drawn) == 2 * 2 + 2 + 3 + 1  # two probes and the loss, wide and narrow; spread, rank, learning rate; the map
    for svg in drawn:
        assert svg.get("role") in ("img", "application") and svg.get("aria-label")
        numbers = re.findall(r"-?[\d.]+|nan|inf", " ".join(e.get("d", "") for e in svg.iter("path")))
        assert "nan" not in numbers and "inf" not in numbers


def test_labels_of_lines_do_not_overlap(page: str) -> None:
    for svg in svgs(page):
        names = [e for e in svg.iter("text") if (e.get("class") or "").startswith("n") and e.get("text-anchor") is None]
        ys = sorted(float(e.get("y", 0)) for e in names)
        assert all(b - a >= 17 for a, b in itertools.pairwise(ys))
        width = float(svg.get("viewBox", "").split()[2])
        assert all(float(e.get("x", 0)) + 6.6 * len(e.text or "") <= width + 10 for e in names)


def test_markup_is_balanced_and_reachable(page: str) -> None:
    opened: list[str] = []
    ids: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            held = dict(attrs)
            ids.extend([str(held["id"])] if "id" in held else [])
            assert tag != "img" or held.get("alt")
            if tag not in ("meta", "img", "input", "br", "link", "hr"):
                opened.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Checker().feed(page)
    assert opened == [] and len(ids) == len(set(ids))
    assert all(f'id="{target}"' in page for target in re.findall(r'href="#([^"]+)"', page))


def test_hostile_names_are_only_text(page: str) -> None:
    assert "<script>alert" not in page and "\u202e" not in page
    assert "&lt;script&gt;alert" in page
    points = re.search(r'<script type="application/json" id="points">(.*?)</script>', page, re.DOTALL)
    assert points and json.loads(points.group(1))["names"][1] == words(HOSTILE, 120)
    assert "run &amp; &lt;b&gt;bold" in page and "<b>bold" not in page


def test_size_limit_holds(tmp_path: Path) -> None:
    """1,000 incompressible pictures with names as long as a file system allows."""
    run = fake_run(tmp_path / "run", evaluated=evaluation())
    rng = np.random.default_rng(0)
    held = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(held, "PNG")
    n, png = 1000, held.getvalue()
    names = np.array([f"{i:04d}" + "\u6f22" * 250 for i in range(n)])
    arrays = {"z": rng.normal(size=(n, 4)).astype(np.float32), "labels": rng.integers(0, 40, n), "names": names}
    arrays |= {"classes": np.array([f"class {i}" for i in range(40)])}
    joined = np.frombuffer(png * n, np.uint8)
    np.savez(run / "embeddings" / "report.npz", **arrays, png=joined, png_offsets=np.arange(n + 1) * len(png))
    path = build(run)
    assert path.stat().st_size <= LIMIT
    page = path.read_text(encoding="utf-8")
    assert "25 other classes" in page and len(re.findall(r'data-i="', page)) == n
    assert not list(run.glob(".*"))


# ---- what was measured ----


def test_verdict_and_numbers_are_said(page: str) -> None:
    text = text_of(page)
    assert "\u25b2 Helped" in text and evaluation()["verdict"]["sentence"] in text
    assert "74.2 %" in text and "72.2 to 76.2 %" in text and "n = 1,000" in text
    assert "+4.0 points" in text and "+1.0 to +7.0" in text
    assert "Trustworthiness" in text and "guessing: 5.54" in text
    assert "not read during pretraining" in text and "views of one item differ in it: position and scale" in text
    assert "did not converge" in text and "n/a" in text
    assert "\u2248 19" in text and "does it reach what supervised from scratch reaches with all labels (90.2 %)" in text
    assert "\u2248 no clear difference" in text and "\u25bc did not help" in text


def test_every_value_is_in_the_tables(page: str) -> None:
    text = text_of(page)
    for row in evaluation()["results"]:
        if row["value"] is not None:
            assert f"{100 * row['value']:.1f} %" in text
            assert f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %" in text


def test_twin_holds_the_numbers(twin: dict[str, Any], page: str) -> None:
    assert twin["verdict"]["state"] == "helped" and twin["verdict"]["raw"]["difference"] == 0.04
    assert twin["evaluations"]["test"] == evaluation()["results"]
    assert twin["map"]["n"] == 120 and 0.5 < twin["map"]["trustworthiness"] <= 1
    assert twin["neighbours"]["low"] <= twin["neighbours"]["value"] <= twin["neighbours"]["high"]
    assert "Fairness" in twin["not_checked"] and twin["not_measured"] == []
    assert twin["html_bytes"] == len(page.encode())
    assert any("metrics.jsonl" in p for p in twin["problems"])
    hashes = {f["path"]: f["sha256"] for f in twin["files"]}
    assert hashes["checkpoints/last.pt"] == hashlib.sha256(b"x" * 5000).hexdigest()
    assert "report.html" not in hashes


def test_built_twice_is_the_same(full: Path, page: str) -> None:
    assert build(full).read_text(encoding="utf-8") == page


@pytest.mark.parametrize(("helps", "word"), [(True, "Helped"), (False, "Did not help"), (None, "No clear difference")])
def test_each_verdict_has_its_word(helps: bool | None, word: str) -> None:
    held = evaluation()
    held["verdict"]["helps"] = helps
    assert scores.show("test", held, None).verdict.word == word


def test_regression_counts_downwards() -> None:
    kinds = (("ssl", 0.41), ("untrained", 0.62), ("mean_std", 0.48))
    rows = [result(k, "linear", 50, v, metric="rmse") for k, v in kinds]
    rows += [result(k, "linear", 50, 1 - v, metric="r2") for k, v in kinds]
    verdict = {"helps": True, "best_other": "mean_std", "difference": -0.07, "low": -0.11, "high": -0.02, "sentence": "It helped."}
    shown = scores.show("test", {"results": rows, "verdict": verdict}, None)
    assert [c.value for c in shown.cards] == ["0.410", "0.480", "\u22120.070"]
    assert shown.cards[0].interval == "0.380 to 0.440" and "50 labels," in shown.cards[0].note
    assert [p.name for p in shown.panels] == ["linear probe \u00b7 RMSE", "linear probe \u00b7 R\u00b2"]
    assert "less is better" in shown.panels[0].wide and "%" not in shown.panels[0].wide
    ET.fromstring(shown.panels[0].wide)
    del verdict["best_other"]
    assert [c.value for c in scores.show("test", {"results": rows, "verdict": verdict}, None).cards] == ["0.410", "\u22120.070"]


def test_values_that_are_absent() -> None:
    rows = [result("ssl", "linear", 5, None, reason="fewer than 5 items of class 'rare'"), result("ssl", "linear", "all", 0.5)]
    rows += [result("untrained", "linear", 5, float("nan")), result("pca", "linear", 5, None)]
    shown = scores.show("test", {"results": rows, "verdict": {"helps": None}}, 900)
    cells = {name: [c.value for c in cells] for name, _, cells in shown.panels[0].rows}
    assert cells == {"self-supervised": ["n/a", "50.0 %"], "untrained encoder": ["n/a", "\u2013"], "PCA": ["n/a", "\u2013"]}
    assert shown.footnotes[0].endswith("class 'rare'") and len(shown.footnotes) == 3
    assert "all \u2248 900" in shown.panels[0].wide
    nothing = scores.show("test", {"results": rows[:1], "verdict": {"helps": False, "sentence": "?"}}, None)
    rough = {"results": rows, "verdict": {"helps": None, "difference": 0.01, "sentence": "Nothing could be measured with few labels, so"}}
    assert scores.show("test", rough, None).verdict.word == "No verdict"
    none = {"results": rows, "verdict": {"helps": None, "difference": None, "sentence": "Whether it helped was not measured: no rival."}}
    assert scores.show("test", none, None).verdict.state == "unmeasured"
    assert nothing.verdict.state == "unmeasured" and nothing.panels[0].wide == "" and nothing.cards == ()


# ---- what was not ----


def test_a_run_that_was_not_evaluated(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=None, embedded=False)
    text = text_of(build(run).read_text(encoding="utf-8"))
    assert text.count(f"tacit evaluate {run} 'photos of clothes/'") >= 4
    assert "Not measured" in text and "points(" not in text
    assert len(json.loads((run / "report.json").read_text())["not_measured"]) == 2


def test_a_bare_and_damaged_run_still_reports(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "data.json").write_text("{cut")
    (tmp_path / "evaluation" / "test.json").write_text('{"results": [], "verdict": {}}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2}\n[]\n')
    text = text_of(build(tmp_path).read_text(encoding="utf-8"))
    assert "Not measured" in text and "data.json could not be read" in text and "No training curve" in text


def test_data_as_the_dataset_describes_it(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=evaluation(), n=10)
    split = {"rule": "random, 20 %", "train": 40, "test": [1, 2, 3], "val": []}
    data = {"path": "x.npz", "modality": "image", "items": 60, "spec": {"sizes": [28, 28]}, "classes": ["a", "b"], "split": split}
    (run / "data.json").write_text(json.dumps(data))
    text = text_of(build(run).read_text(encoding="utf-8"))
    assert "40 training, 3 test" in text and "28 x 28" in text and "random, 20 %" in text and "a, b" in text
    assert json.loads((run / "report.json").read_text())["data"]["n_test"] == 3


def test_not_a_run_and_bad_embeddings(tmp_path: Path) -> None:
    with pytest.raises(Asked, match=r"no run\.json"):
        build(tmp_path)
    run = fake_run(tmp_path / "run", evaluated=evaluation())
    np.savez(run / "embeddings" / "report.npz", z=np.zeros((3, 2), np.float32), labels=np.zeros(2, np.int64))
    with pytest.raises(BadData, match=r"report\.npz"):
        build(run)
    whole = (run / "embeddings" / "report.npz").read_bytes()
    for damaged in (b"not a zip", whole[: len(whole) // 2], whole[:40] + b"xxxx" + whole[44:], b"PK\x03\x04"):
        (run / "embeddings" / "report.npz").write_bytes(damaged)
        with pytest.raises(BadData, match=r"report\.npz"):
            build(run)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 12, 40])
def test_few_items(tmp_path: Path, n: int) -> None:
    run = fake_run(tmp_path / "run", n=12)
    rng = np.random.default_rng(0)
    arrays = {"z": rng.normal(size=(n, 6)).astype(np.float32), "names": np.array([f"item {i}" for i in range(n)], dtype=str)}
    np.savez(run / "embeddings" / "report.npz", **arrays)
    text = text_of(build(run).read_text(encoding="utf-8"))
    expected = "fewer than three" if n < 3 else "principal component" if n < 30 else "t\u2011SNE"
    assert expected in text and "Not measured" in text


def test_a_collapsed_embedding_has_no_map(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", n=12)
    info = json.loads((run / "run.json").read_text())
    info["health"] = {"state": "collapsed", "words": "All items are the same.", "cause": "lr too high", "cure": "optim.lr=1e-4"}
    (run / "run.json").write_text(json.dumps(info))
    np.savez(run / "embeddings" / "report.npz", z=np.ones((40, 6), np.float32))
    text = text_of(build(run).read_text(encoding="utf-8"))
    assert "all 40 test items have the same embedding" in text and "\u25a0 Collapsed" in text and "Cure. optim.lr=1e-4" in text


# ---- models that decide, and costs ----


def tuned(**more: Any) -> dict[str, Any]:
    """result.json of a fine-tuned classifier with everything in it."""
    rows = [
        {"representation": "ssl", "probe": probe, "labels_per_class": "all", "metric": k, "value": v, "low": v - 0.01, "high": v + 0.02,
         "n_test": 539, "seeds": 1, "n_train_labels": 908}
        for probe, values in (
            ("finetune:lp-ft", {"accuracy": 0.937, "nll": 0.211, "ece": 0.013, "ece_before": 0.142, "coverage": 0.885,
                                "coverage_shown": 0.951, "set_size": 1.23}),
            ("linear", {"accuracy": 0.902, "nll": 0.322, "ece": 0.108}),
        )
        for k, v in values.items()
    ]  # fmt: skip
    bins = [{"confidence": c, "accuracy": a, "low": a - 0.1, "high": min(1.0, a + 0.05), "n": 36} for c, a in ((0.45, 0.71), (0.8, 0.97))]
    convention = "higher scores are stranger; fpr95: outside is the positive class"
    found = {"auroc": 0.871, "low": 0.84, "high": 0.9, "aupr_out": 0.812, "aupr_in": 0.905, "fpr95": 0.333, "fpr95_in": 0.444}
    found |= {"n_in": 539, "n_out": 200, "convention": convention}
    ood = {"knn": found, "false_alarms": {"knn": 0.061}, "outside": {"data": HOSTILE, "items": 200}}
    verdict = {"helps": True, "difference": 0.035, "low": 0.01, "high": 0.06, "sentence": "Fine-tuning helped: lp-ft reaches 93.7 %."}
    cost = {
        "parameters": 23408,
        "flops": 1574912,
        "latency": [{"batch": 1, "p50_ms": 1.234, "p95_ms": 9.87, "n": 50}],
        "latency_of": "here",
    }
    return {
        "created": "2026-11-21", "strategy": "lp-ft", "head_kind": "classification", "learned_from": 908, "stopped_by": 100,
        "calibrated_on": 250, "training": {"steps": 40, "seconds": 3.8}, "results": rows,
        "reliability": {"before": bins, "after": bins[1:]},
        "ood": ood, "verdict": verdict, "alpha": 0.1, "seed": 3, "target": "kind of cloth", "notes": ["A note."],
        "forgotten": {"kept": 0.93, "neighbours": 0.81, "cka": 0.9, "n": 539}, "cost": cost,
        "folds": [{"n": 20, "accuracy": 0.9}, {"n": 21, "accuracy": 0.8}], "config": {"lr": 0.01, "tiles": False, "rank": 8},
        "read": {"data": "photos of clothes/", "fingerprint": "f", "options": {"group": "patient"}},
    } | more  # fmt: skip


def with_tuned(run: Path, **held: Any) -> Path:
    """The run with fine-tuned models: name -> content of result.json (text as it is)."""
    for name, content in held.items():
        (run / "finetune" / name).mkdir(parents=True)
        (run / "finetune" / name / "result.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return run


def test_a_fine_tuned_model_is_shown_with_all_that_was_measured(tmp_path: Path) -> None:
    run = with_tuned(fake_run(tmp_path / "run", evaluated=evaluation(), n=12), mine=tuned())
    page = build(run).read_text(encoding="utf-8")
    text = text_of(page)
    assert "\u25b2 Fine-tuning helped" in text and "Fine-tuning helped: lp-ft reaches 93.7 %." in text
    for said in ("93.7 %", "92.7 to 95.7 %", "90.2 %", "0.211", "1.3 %", "14.2 %", "88.5 %", "promised: 90 %", "1.230"):
        assert said in text, said
    for said in ("0.871", "0.840 to 0.900", "0.812", "0.905", "33.3 %", "44.4 %", "Higher scores are stranger; fpr95: outside", "6.1 % by"):
        assert said in text, said
    assert "7 % of what the pretrained embedding told apart" in text and "81 % of the 10 nearest" in text
    assert "mean 85.0 %" in text and "1.57 MFLOP" in text and "1.23 ms" in text and "250 that calibrated it" in text
    command = "tacit finetune PLACE 'photos of clothes/' --strategy lp-ft --target 'kind of cloth' --group patient --head classification"
    more = f" --seed 3 --folds 2 --outside {shlex.quote(HOSTILE)} finetune.lr=0.01 finetune.tiles=false"
    assert deciders.command(tuned(), "PLACE") == (command + more).replace("\u202e", "\ufffd")
    assert deciders.command(tuned(command="tacit finetune x"), "PLACE") == "tacit finetune x"
    twin = json.loads((run / "report.json").read_text())
    assert twin["deciders"]["mine"]["results"] == tuned()["results"]
    assert "Calibration" not in twin["not_checked"] and "whether a confidence of 90 %" not in text
    assert "<script>alert" not in page


def test_the_reliability_plot_lies_where_the_numbers_are() -> None:
    bins = [charts.Bin(0.6, 0.8, 0.7, 0.85, 40), charts.Bin(0.9, 0.9, 0.8, 1.0, 40)]
    drawn = ET.fromstring(charts.reliability(bins, title="T", note="error 5.0 %", lowest=0.6, size=400))
    (diagonal,) = [e.get("d") for e in drawn.iter("path") if e.get("class") == "level"]
    x0, y0, x1, y1 = (float(v) for v in re.findall(r"[\d.]+", diagonal or ""))
    places = [[float(v) for v in re.findall(r"[\d.]+", e.get("transform") or "")] for e in drawn.iter("path") if e.get("transform")]
    for (x, y), b in zip(places, bins, strict=True):
        assert (x - x0) / (x1 - x0) == pytest.approx((b.confidence - 0.6) / 0.4, abs=0.01)
        assert (y - y0) / (y1 - y0) == pytest.approx((b.accuracy - 0.6) / 0.4, abs=0.01)
    assert abs((x1 - x0) - (y0 - y1)) < 0.2, "as wide as high, so that the diagonal is one"
    assert [e.text for e in drawn.iter("title")] == ["60.0 % sure, 80.0 % right, n = 40", "90.0 % sure, 90.0 % right, n = 40"]
    assert "60.0 % sure and 80.0 % right" in (drawn.get("aria-label") or "") and drawn.get("role") == "img"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"helps": False}, "Fine-tuning hurt"),
        ({"helps": None}, "No clear difference"),
        ({"difference": None, "helps": None}, "Not compared"),
    ],
)
def test_each_verdict_of_fine_tuning_has_its_word(change: dict[str, Any], word: str) -> None:
    assert deciders.show("x", tuned(verdict=tuned()["verdict"] | change), "run").word == word


def test_older_damaged_and_empty_results_do_not_stop_the_report(tmp_path: Path) -> None:
    bare = {"results": [], "reliability": {"before": [{"confidence": 2}, 3], "after": None}, "ood": {"knn": 1}, "folds": [1, {"n": 3}]}
    held = {"cut": '{"results": [', "bare": bare, "nothing": {"results": []}, "list": [], "wrong": {"results": 3}}
    held |= {"numbers": tuned(head_kind="regression", reliability=None, calibrated_on=0, verdict="?", training=3, cost=[1], read=None)}
    text = text_of(build(with_tuned(fake_run(tmp_path / "run", n=12), **held)).read_text(encoding="utf-8"))
    assert "finetune/cut/result.json could not be read" in text and "What it reaches was not measured." in text
    assert "Coverage of the intervals" in text and "whether a confidence of 90 %" in text, "nothing was calibrated"


def test_without_a_fine_tuned_model_the_command_is_said(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", n=12)
    text = text_of(build(run).read_text(encoding="utf-8"))
    assert f"tacit finetune {run} 'photos of clothes/'" in text and "Calibration whether a confidence" in text
    assert "Operations, latency, memory and energy were not measured" in text


def test_many_models_stay_below_the_limit_and_the_oldest_are_named(tmp_path: Path) -> None:
    many = {f"m{i:02d}": tuned(created=f"2026-01-{i + 1:02d}") for i in range(20)}
    run = with_tuned(fake_run(tmp_path / "run", evaluated=evaluation(), n=12), **many)
    page = build(run).read_text(encoding="utf-8")
    assert len(page.encode()) <= LIMIT and page.count('class="model"') == MODELS
    assert (
        "Older ones, in report.json: m07, m06, m05" in text_of(page)
        and len(json.loads((run / "report.json").read_text())["deciders"]) == 20
    )


def test_costs_are_told_with_their_method(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", n=12)
    slow = {"batch": 64, "p50_ms": None, "p95_ms": None, "n": 0, "reason": "would take about 40 s"}
    cost = {"parameters": 11_173_962, "flops": 3_640_000_000, "flops_of": "2 for each multiply-add", "peak_memory_mb": 1234.5,
            "latency": [{"batch": 1, "p50_ms": 12.34, "p95_ms": 123.4, "n": 41}, slow], "latency_of": "on the cpu with 2 threads",
            "energy": {"kwh": 0.0034, "watts": 20.0, "method": "an estimate: assumed 10 W a thread"}, "seconds": 603.2}  # fmt: skip
    info = json.loads((run / "run.json").read_text()) | {"cost": cost}
    (run / "run.json").write_text(json.dumps(info))
    text = text_of(build(run).read_text(encoding="utf-8"))
    for said in ("11,173,962", "3.64 GFLOP for one item", "2 for each multiply-add", "10.1 min", "3.4 Wh, 20 W on average", "assumed 10 W"):
        assert said in text, said
    for said in ("1.23 GB", "12.3 ms", "123 ms", "81", "would take about 40 s", "on the cpu with 2 threads"):
        assert said in text, said
    assert json.loads((run / "report.json").read_text())["cost"] == cost
    assert costing.energy_words(1.5) == "1.5 kWh" and costing.milliseconds(12_000) == "12.00 s" and costing.operations(12) == "12 FLOP"


def test_fine_tuning_and_episodes_stand_beside_the_curves() -> None:
    held = evaluation()
    plain = scores.show("x", held, None)
    held["results"] += [result("ssl", "finetune:lp-ft", level, 0.9) for level in (10, "all")]
    held["results"] += [result("ssl", "finetune:full", "all", 0.87, **{"from": "finetune/mine"})]
    apart = {"difference": 0.047, "low_difference": 0.041, "high_difference": 0.053, "best_other": "hog"}
    for name in ("ssl", "hog"):
        held["results"].append(result(name, "episodes:5way1shot:centroid", 1, 0.803, **(apart if name == "ssl" else {})))
    shown = scores.show("x", held, None)
    assert [p.name for p in shown.panels] == [p.name for p in plain.panels] and shown.cards == plain.cards
    rows = {name: [c.value for c in cells] for name, _, cells in shown.panels[0].rows}
    assert rows["fine-tuned (lp-ft)"] == ["\u2013", "\u2013", "90.0 %", "\u2013", "90.0 %"] and "fine-tuned (lp-ft)" in shown.panels[0].wide
    assert rows["self-supervised"] == ["51.2 %", "68.1 %", "74.2 %", "81.2 %", "86.1 %"], "episodes are not in the curves"
    assert any("fine-tuned (full), all labels: measured by finetune/mine" in note for note in shown.footnotes)
    columns, table = shown.episodes
    assert columns == ("5way1shot, centroid",) and [name for name, _ in table] == ["self-supervised", "HOG", "ours minus the best other"]
    (gap,) = table[-1][1]
    assert (gap.value, gap.interval, gap.basis) == ("+4.7 points", "+4.1 to +5.3", "to HOG")
    assert plain.episodes == ((), ())


# ---- the parts ----


def test_neighbours_against_a_loop() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(40, 5)).astype(np.float32)
    labels = rng.integers(-1, 3, 40)
    items = maps.Items(z, labels, tuple(map(str, range(40))), ("a", "b", "c"), (b"",) * 40)
    for row, others in maps.neighbours(items):
        cosine = [-2.0 if j == row else float(z[row] @ z[j] / np.linalg.norm(z[row]) / np.linalg.norm(z[j])) for j in range(40)]
        assert [n.row for n in others] == sorted(range(40), key=lambda j: -cosine[j])[:5]
        for n in others:
            assert n.cosine == pytest.approx(cosine[n.row], abs=1e-5)
            assert n.same is (None if min(labels[row], labels[n.row]) < 0 else bool(labels[row] == labels[n.row]))


def test_agreement_of_separate_classes_and_its_interval() -> None:
    z = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
    items = maps.Items(z, np.repeat([0, 1], 10), ("",) * 20, ("a", "b"), (b"",) * 20)
    found = maps.agreement(items)
    assert found is not None and (found.value, found.n, found.chance) == (1.0, 20, 0.5)
    assert maps.agreement(dataclasses.replace(items, labels=np.zeros(20, np.int64))) is None


def test_rows_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    z = np.ones((5, 2), np.float32)
    z[3, 0] = np.nan
    np.savez(tmp_path / "report.npz", z=z, labels=np.array([0, 1, 7, 0, -1]), classes=np.array(["a", "b"]))
    items = maps.read_items(tmp_path / "report.npz")
    assert items is not None and items.dropped == 1 and items.names == ("0", "1", "2", "4")
    assert items.labels.tolist() == [0, 1, -1, -1], "a label without a name is unknown"


def test_sheet_keeps_order_and_survives_broken_pictures() -> None:
    def flat(colour: tuple[int, int, int]) -> bytes:
        held = io.BytesIO()
        Image.new("RGB", (20, 10), colour).save(held, "PNG")
        return held.getvalue()

    made = maps.sheet([flat((255, 0, 0)), b"broken", flat((0, 0, 255)), b""], 10)
    assert made is not None and (made.width, made.height) == (20, 10)
    image = Image.open(io.BytesIO(base64.b64decode(made.uri.split(",")[1]))).convert("RGB")
    assert image.size == (made.columns * 20, made.rows * 10)
    place = 2 % made.columns * 20 + 10, 2 // made.columns * 10 + 5
    assert np.allclose(image.getpixel(place), (0, 0, 255), atol=6) and np.allclose(image.getpixel((10, 5)), (255, 0, 0), atol=6)
    assert maps.sheet([b"", b"broken"], 10) is None


def test_spread_out_keeps_order_gap_and_bounds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        wanted = rng.uniform(0, 200, rng.integers(1, 10)).tolist()
        placed = charts.spread_out(wanted, 18, 0, 200)
        order = np.argsort(wanted, kind="stable")
        assert (np.diff(np.array(placed)[order]) >= 18 - 1e-9).all()
        assert min(placed) >= -1e-9 and max(placed) <= 200 + 1e-9
    assert charts.spread_out([10, 100], 18, 0, 200) == [10, 100]
    assert charts.spread_out([100, 100], 18, 0, 200) == [91, 109]


def test_ticks_and_numbers() -> None:
    assert charts.nice_ticks(0.31, 0.93) == [0.2, 0.4, 0.6, 0.8, 1.0]
    low = charts.nice_ticks(5.0, 5.0)
    assert low[0] < 5 < low[-1]
    assert [charts.number(v) for v in (0.914, 1234.6, 0, 3.2e-7)] == ["0.914", "1,235", "0", "3.20e-07"]
    assert charts.number(0.9142, percent=True) == "91.4 %"


def test_no_line_across_what_was_not_measured() -> None:
    ticks = [(float(x), str(x)) for x in (1, 5, 10, 50)]
    points = tuple(charts.Point(x, 0.5, 0.4, 0.6) for x in (1.0, 10.0, 50.0))
    drawn = ET.fromstring(charts.efficiency([charts.Line("a", 0, points)], ticks, width=860, metric="m", percent=True, x_title="x"))
    classes = [e.get("class") for e in drawn.iter("path")]
    assert classes.count("band k0") == 1 and classes.count("line k0 strong") == 2
    assert classes.count("line k0") == 3, "the lone point has an error bar of three strokes"


def test_curve_has_gaps_and_a_level() -> None:
    nan = float("nan")
    points = [(1, 2.0), (2, 1.0), (3, nan), (4, 1.0)]
    drawn = ET.fromstring(charts.curve(points, width=300, height=200, title="Loss", level=(2.5, "guessing")))
    assert len([e for e in drawn.iter("path") if "line" in (e.get("class") or "")]) == 2
    assert charts.curve([(1, nan)], width=300, height=200, title="Loss") == ""


def test_thin_keeps_means() -> None:
    points = [(float(i), float(i % 2)) for i in range(1000)]
    thinned = thin(points, 250)
    assert len(thinned) == 250 and all(y == 0.5 for _, y in thinned) and thinned[-1][0] == 999


def test_words() -> None:
    assert words([28, 28]) == "28 x 28" and words(True) == "yes" and words(None) == "" and words(float("inf")) == "not a finite number"
    assert words("a\u202eb\x00") == "a\ufffdb\ufffd" and len(words("x" * 1000, 100)) <= 100
    assert sayings({"exact": 3, "near": 0}) == ["exact: 3"] and sayings(0) == [] and len(sayings(list(range(1, 50)), 5)) == 6


def test_no_best_other_is_chosen_on_the_test() -> None:
    held = evaluation()
    assert any("the best other" in card.label for card in scores.show("x", held, None).cards)
    held["verdict"] |= {"best_other": None, "difference": None, "helps": None}
    assert not any("best other" in card.label + card.note for card in scores.show("x", held, None).cards)


@pytest.mark.parametrize("name", ["report.html", "report.json"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    run = fake_run(tmp_path / "run", n=12)
    (run / name / "in the way").mkdir(parents=True)
    with pytest.raises(TacitError, match=re.escape(f"{run / name} cannot be written")):
        build(run)
    assert not list(run.glob(".report*"))


def test_report_needs_no_torch() -> None:
    code = "import sys, tacit.report.build; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
