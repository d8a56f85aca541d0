"""Explanations beyond one map of a run: packages, exports, recommendations, links of two items, words, and images that neighbours fill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit
from conftest import call, small
from tacit import pieces
from tacit.errors import Asked, CannotPair
from tacit.explainers.links import links, strongest
from tacit.explainers.problem import Problem
from tacit.explanation import explain
from tacit.operate.export import export
from tacit.overviews import words
from tacit.subject import seen
from test_explain import by, game, linear

rng = np.random.default_rng(0)


# ---- packages ----


@pytest.mark.parametrize("engine", ["shap", "captum"])
def test_packages_agree_with_ours_where_both_define_the_same(engine: str) -> None:
    problem, exact = linear(6)
    np.testing.assert_allclose(by(f"by_{engine}", problem).each, exact, atol=1e-6)
    w = torch.tensor(rng.normal(size=6))
    curved = game(rng.normal(size=6), lambda v: torch.tanh(v.double() @ w) + v[:, 0].double() * v[:, 3].double())
    ours, theirs = by("shapley" if engine == "shap" else "integrated", curved), by(f"by_{engine}", curved)
    np.testing.assert_allclose(theirs.each, ours.each, atol=1e-6 if engine == "shap" else 2e-4)
    assert theirs.said == f"by the package {engine}" and float(theirs.each.sum()) == pytest.approx(theirs.total, abs=1e-4)


def test_lime_finds_the_weights_of_a_sum() -> None:
    problem, exact = linear(8)
    found = by("by_lime", problem, draws=500).each
    np.testing.assert_allclose(found, exact, atol=0.02 * float(exact.abs().max()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("beyond")
    assert call("pretrain", "builtin:digits", "--steps", "30", "--out", root / "run", "-q").code == 0
    assert call("finetune", root / "run", "builtin:digits", "--strategy", "probe", "--out", root / "model", "-q").code == 0
    for name, kind in (("onnx", "onnx"), ("int8", "int8")):
        assert call("export", root / "run", "--to", kind, "--out", root / name, "-q").code in (0, 3)
    assert call("export", root / "model", "--to", "onnx", "--out", root / "decides", "-q").code == 0
    return root


def test_values_in_the_packages_own_objects(made: Path) -> None:
    (one,) = explain(made / "model", "builtin:digits", item=17, how="occlusion", parts=16)
    held = one.to_shap()
    assert type(held).__module__.startswith("shap") and held.feature_names == list(one.names)
    np.testing.assert_allclose(held.values, one.each)
    listed = one.to_lime().as_list(label=1)
    assert [name for name, _ in listed] == [name for name, _ in one.top(len(one.names))]
    said = call("explain", made / "model", "builtin:digits", "--item", "17", "--engine", "captum", "--parts", "16")
    assert said.code == 0 and "by_captum" in said.err
    assert "both say how" in call("explain", made / "run", "builtin:digits", "--engine", "shap", "--how", "lime").err
    assert "no engine 'shapp'" in call("explain", made / "run", "builtin:digits", "--engine", "shapp").err


# ---- exported models ----


def test_an_exported_model_is_explained_without_gradients(made: Path) -> None:
    (run,) = explain(made / "run", "builtin:digits", item=17, how="occlusion")
    (out,) = explain(made / "onnx", "builtin:digits", item=17)
    assert out.how == "occlusion" and out.names == run.names and out.path is not None and out.path.parent.parent == made / "onnx"
    # the same number, but of whole and parts of the image, as an export embeds it, and on whole grey levels
    assert np.corrcoef(out.each, run.each)[0, 1] > 0.9
    if (made / "int8" / "artefact.json").is_file():
        (small_,) = explain(made / "int8", "builtin:digits", item=17)
        assert np.corrcoef(small_.each, out.each)[0, 1] > 0.9
    with pytest.raises(CannotPair, match="no gradients"):
        explain(made / "onnx", "builtin:digits", item=17, how="integrated")
    (toward,) = explain(made / "onnx", "builtin:digits", item=17, these="7", how="shapley", parts=16)
    assert toward.verdict in ("passed", "failed") and np.isfinite(toward.each).all()
    with pytest.raises(Asked, match="is no run"):
        explain(made / "onnx", "builtin:digits", pretext=True)
    for words_ in (["explain", made / "onnx", "builtin:digits", "--concepts", "4"], ["map", made / "onnx"], ["map", made / "model"]):
        said = call(*words_)
        assert said.code == 2 and ("only its outputs" in said.err or "name the data" in said.err)


def test_an_exported_decision_is_explained(made: Path) -> None:
    (run,) = explain(made / "model", "builtin:digits", item=17, how="occlusion")
    (out,) = explain(made / "decides", "builtin:digits", item=17)
    assert out.said == run.said and [c.name for c in out.tested.checks] == ["deletion", "insertion"]
    assert np.corrcoef(out.each, run.each)[0, 1] > 0.9
    with pytest.raises(CannotPair, match="no copy of this decision"):
        explain(made / "decides", "builtin:digits", item=17, untrained_copy=True)
    with pytest.raises(Asked, match="no class 'x'"):
        explain(made / "decides", "builtin:digits", these="x")
    with pytest.raises(Asked, match="decides: what it says"):
        explain(made / "decides", "builtin:digits", pair=(1, 2))


@pytest.mark.parametrize("kind", ["series", "text", "table"])
def test_exports_of_other_kinds(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    size = {} if kind == "text" else {"size": "tiny"}
    run = tacit.pretrain(data, steps=2, batch_size=8, out=tmp_path / "run", **size)
    export(run.path, "onnx", tmp_path / "onnx", data)
    (out,) = explain(tmp_path / "onnx", data, item=1, how="occlusion")
    (own,) = explain(run.path, data, item=1, how="occlusion")
    assert len(out.each) == len(own.each) and np.corrcoef(out.each, own.each)[0, 1] > 0.9


def test_an_open_model_is_explained() -> None:
    data = small("image")
    net = tacit.pretrain(data, steps=2, batch_size=8, size="tiny").model
    (one,) = explain(net, data, item=0)
    assert one.path is None and one.verdict in ("passed", "failed", "not testable") and one.picture[:4] == b"\x89PNG"


# ---- recommendations ----


def test_past_events_that_make_the_next(tmp_path: Path) -> None:
    rows = ["who,when,item"]
    for i in range(60):
        first = ["milk", "nails"][i % 2]
        after = {"milk": "bread", "nails": "hammer"}[first]
        for t, word in enumerate([f"other{rng.integers(5)}", first, f"other{rng.integers(5)}", after] * 2):
            rows.append(f"u{i},{t},{word}")
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    run = tmp_path / "run"
    reading = ("--sequence-by", "who", "--order-by", "when")
    assert call("pretrain", tmp_path / "log.csv", *reading, "--steps", "60", "--out", run, "-q").code == 0
    said = call("explain", run, tmp_path / "log.csv", "--item", "0", "--next", "bread", "--json")
    assert said.code == 0, said.err
    (found,) = json.loads(said.out)
    assert found["explains"] == "how likely bread comes next (log-odds)" and found["kind"] == "event"
    assert all(p["name"].startswith("event ") for p in found["parts_of_item"])
    assert "no value of item" in call("explain", run, tmp_path / "log.csv", "--next", "breadd").err
    assert call("explain", run, tmp_path / "log.csv", "--next", "top", "-q").code == 0
    assert "nothing follows" in _refused(small("image"), tmp_path, next_="top")


def _refused(data: Any, root: Path, **asked: Any) -> str:
    run = tacit.pretrain(data, steps=1, batch_size=8, size="tiny", out=root / "image")
    with pytest.raises(Asked) as error:
        explain(run.path, data, **asked)
    return str(error.value)


# ---- two items ----


@pytest.mark.parametrize("kind", ["image", "text", "series"])
def test_links_sum_to_the_cosine(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    size = {} if kind == "text" else {"size": "tiny"}
    run = tacit.pretrain(data, steps=3, batch_size=8, out=tmp_path / "run", **size)
    pair_ = explain(run.path, data, pair=(0, 1))
    net = tacit.load(run.path)
    items = net.prepare(data)
    views = [seen(net, items, r) for r in (0, 1)]
    cut = [net.modality.cut_up(v, net.encoder.tokenizer, 64) for v in views]
    found = links(net, *views, *cut)
    if net.encoder.backbone.pool != "mean":
        assert found is None and "links" not in pair_[0].result
        return
    assert found is not None
    each, own, others = found
    a, b = (net.centred(net.encoder(v).pooled.float())[0].detach() for v in views)
    assert each.sum() == pytest.approx(float(torch.nn.functional.cosine_similarity(a, b, dim=0)), abs=1e-4)
    assert each.shape == (len(own), len(others))
    top = pair_[0].result["links"]
    assert top == strongest(each, own, others) and abs(top[0]["adds"]) == pytest.approx(np.abs(each).max())
    assert pair_[1].result["links"][0]["part"] == top[0]["with"]


# ---- words ----


def test_words_that_are_used_alike_are_near(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    kinds = [["cat", "dog", "horse"], ["red", "blue", "green"], ["runs", "sleeps", "eats"]]
    texts = [f"the {draw.choice(kinds[1])} {draw.choice(kinds[0])} {draw.choice(kinds[2])} all day" for _ in range(400)]
    run = tacit.pretrain(texts, steps=200, batch_size=32, out=tmp_path / "run")
    found = words(run.path, texts, ["cat", "red dog"])
    one = found["words"][0]
    near = [n["word"] for n in one["near"][:2]]
    assert set(near) <= {"dog", "horse"}, near
    assert [n["cosine"] for n in one["near"]] == sorted((n["cosine"] for n in one["near"]), reverse=True)
    assert 0 < found["words"][1]["occurrences"] <= sum("red dog" in t for t in texts)
    assert all("[cat]" in c["text"] for c in one["contexts"])
    with pytest.raises(Asked, match="does not occur"):
        words(run.path, texts, ["tiger"])
    with pytest.raises(Asked, match="no word"):
        words(run.path, texts, [" "])


# ---- images that neighbours fill ----


def test_neighbours_fill_as_their_equations_say() -> None:
    import scipy.sparse
    import scipy.sparse.linalg

    x = torch.tensor(rng.normal(size=(1, 1, 7, 6)))
    stay = torch.ones(1, 1, 7, 6, dtype=torch.bool)
    stay[..., 2:5, 1:4] = False
    stay[..., 6, 5] = False
    index = {tuple(p): i for i, p in enumerate((~stay[0, 0]).nonzero().tolist())}
    a, b = scipy.sparse.lil_array((len(index), len(index))), np.zeros(len(index))
    for (r, c), i in index.items():
        total = 0.0
        for dr in (-1, 0, 1):
            for dc in (-1, 0, 1):
                at = (r + dr, c + dc)
                if (dr or dc) and 0 <= at[0] < 7 and 0 <= at[1] < 6:
                    w = 1 / 6 if not (dr and dc) else 1 / 12
                    total += w
                    if at in index:
                        a[i, index[at]] -= w
                    else:
                        b[i] += w * float(x[0, 0, at[0], at[1]])
        a[i, i] += total
    exact = scipy.sparse.linalg.spsolve(a.tocsr(), b)
    found = pieces.imputed(x, stay, torch.Generator().manual_seed(0), noise=0.0)
    np.testing.assert_allclose([float(found[0, 0, r, c]) for r, c in index], exact, atol=1e-3)
    assert torch.equal(found[stay], x[stay])


def test_what_is_hidden_does_not_shine_through() -> None:
    a, b = (torch.tensor(rng.random((1, 2, 32, 32))) for _ in range(2))
    stay = torch.tensor(rng.random((1, 1, 32, 32)) < 0.1)
    b = torch.where(stay, a, b)
    a[..., 0, 0] = b[..., 0, 0] = torch.nan
    one, other = (pieces.imputed(v, stay, torch.Generator().manual_seed(0), noise=0.0) for v in (a, b))
    torch.testing.assert_close(one, other, equal_nan=True)
    assert int(one.isnan().sum()) == 2


def test_road_tells_a_good_order_from_a_bad_one(made: Path) -> None:
    from tacit.explainers import values
    from tacit.explainers.checks import ranked, road

    net = tacit.load(made / "run")
    items = net.prepare(tacit.open("builtin:digits"))
    view = seen(net, items, 17)
    problem = Problem(net, view, values.itself(net, view))
    assert problem.pictured
    order = ranked(by("occlusion", problem).each)
    assert road(problem, order, 0) > 0.02 > -0.02 > road(problem, order[::-1], 0)
    said = call("explain", made / "run", "builtin:digits", "--global", "--how", "occlusion", "--parts", "16", "--json")
    found = json.loads(said.out)["methods"]
    assert said.code == 0 and list(found) == ["occlusion"] and found["occlusion"]["gains"]["road"][0] > 0
