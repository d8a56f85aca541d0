"""Rows as tokens, what predicting a column means, and how what is strange in a row is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import tacit
from tacit import api
from tacit.assemble import make_modality
from tacit.data import dataset
from tacit.data.dataset import Dataset
from tacit.errors import Asked, BadData
from tacit.modalities.table import Table
from tacit.reasons import Strange, number
from tacit.tabletokens import TableTokenizer, chances, kept, likely, logits_of, odds, surprise
from tacit.types import Batch

RNG = np.random.default_rng(3)


def shop(n: int = 400, seed: int = 0) -> pa.Table:
    """Rows whose amount follows from item and pieces."""
    rng = np.random.default_rng(seed)
    prices = {"tea": 3.0, "cake": 5.0, "soup": 8.0}
    item, pieces = rng.choice(list(prices), n), rng.integers(1, 5, n)
    amount = np.array([prices[i] for i in item]) * pieces * rng.normal(1, 0.02, n)
    return pa.table(
        {"item": item, "pieces": pieces, "amount": amount, "town": rng.choice(["Bern", "Basel"], n), "noise": rng.normal(size=n)}
    )


def opened(table: pa.Table, **options: Any) -> Dataset:
    return dataset.from_table(table, **options)


def tokenizer(data: Dataset) -> tuple[Table, TableTokenizer]:
    torch.manual_seed(0)
    modality = make_modality(data.spec, {})
    assert isinstance(modality, Table)
    made = modality.tokenizer(True)
    assert isinstance(made, TableTokenizer)
    return modality, made


def batch_of(x: Any) -> Batch:
    x = torch.as_tensor(np.asarray(x), dtype=torch.float32)
    return Batch(x, torch.arange(len(x)))


def test_every_column_is_a_token_and_missing_and_unseen_have_their_own() -> None:
    data = opened(shop())
    _, tokens = tokenizer(data)
    x = data.x[:4].copy()
    x[1, 0], x[2, 0], x[3, 2] = -1, np.nan, np.nan
    found = tokens(batch_of(x)).x
    assert found.shape == (4, 5, 16) and found.isfinite().all()
    assert torch.equal(found[2, 0], tokens.gone[0]) and torch.equal(found[3, 2], tokens.gone[2])
    unseen = tokens.words[tokens.offset[0]] + tokens.bias[0]
    assert torch.allclose(found[1, 0], unseen) and not torch.allclose(found[0, 0], unseen)
    far = tokens(batch_of(np.where(np.arange(5) == 2, 1e30, x[:1]))).x
    assert far.isfinite().all() and far[0, 2].norm() > 3 * found[0, 2].norm()  # a far value stays far, on a scale that cannot burst


def test_numbers_are_written_in_the_bins_between_quantiles() -> None:
    data = opened(shop())
    _, tokens = tokenizer(data)
    f = [c["name"] for c in data.spec.extra["columns"]].index("amount")
    edges = np.array(data.spec.extra["measured"][f]["edges"])
    values = np.sort(RNG.uniform(edges[0] - 5, edges[-1] + 5, 50)).astype(np.float32)
    x = np.repeat(data.x[:1], 50, 0)
    x[:, f] = values
    slow = [max(0, min(len(edges) - 2, int(np.searchsorted(edges.astype(np.float32), v, "right")) - 1)) for v in values]
    assert tokens.bin(torch.from_numpy(x))[:, f].tolist() == slow
    assert sum(data.spec.extra["measured"][f]["share_of_bins"]) == pytest.approx(1)


def test_the_distance_is_the_cross_entropy_of_each_column_in_units_of_guessing() -> None:
    data = opened(shop())
    _, tokens = tokenizer(data)
    batch = batch_of(data.x[:20])
    where = torch.rand(20, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    head = tokens.head(7, (1,))
    guess = head(torch.randn(int(where.sum()), 7))
    target = tokens.target(batch, (1,))
    total, k = 0.0, 0
    for b in range(20):
        for f in range(5):
            if not where[b, f]:
                continue
            p = odds(tokens, guess[k].detach(), f)
            answer = int(tokens.bin(batch.x)[b, f]) if tokens.numeric[f] else int(tokens.codes(batch.x)[b, f] - tokens.offset[f])
            total += -math.log(float(p[answer])) / float(chances(tokens)[f])
            k += 1
    assert float(target.distance(guess.detach(), where).detach()) == pytest.approx(total / k, rel=1e-4)
    nothing = torch.zeros_like(guess)
    rows = target.each(nothing, where)
    assert target.distance(nothing[:0], torch.zeros(20, 5, dtype=torch.bool)).item() == 0.0
    assert rows.shape == (int(where.sum()),) and rows.isfinite().all()


def test_guessing_by_the_shares_costs_one() -> None:
    data = opened(shop(2000))
    _, tokens = tokenizer(data)
    batch = batch_of(data.x[data.train])
    every = torch.ones(len(data.train), 5, dtype=torch.bool)
    guess = torch.zeros(int(every.sum()), tokens.bins + tokens.dim)
    assert tokens.target(batch, (1,)).distance(guess, every).item() == pytest.approx(1.0, abs=0.02)


def test_columns_of_many_categories_are_predicted_too() -> None:
    words = [f"w{i % 60}" for i in range(600)]
    data = opened(pa.table({"many": words, "few": ["a", "b", "c"] * 200, "n": RNG.normal(size=600)}))
    _, tokens = tokenizer(data)
    assert max(tokens.sizes) == 61
    column = torch.tensor([0, 1, 2])
    guess = torch.randn(3, tokens.bins + tokens.dim, requires_grad=True)
    cost = surprise(tokens, guess, column, torch.tensor([60, 1, 0]))
    assert cost.shape == (3,) and (cost > 0).all()
    assert float(cost[0]) == pytest.approx(-math.log(float(odds(tokens, guess[0].detach(), 0)[60])), rel=1e-4)
    cost.sum().backward()
    assert guess.grad is not None and guess.grad.isfinite().all() and tokens.words.grad is not None
    assert logits_of(tokens, guess, column).shape[0] == 3


def test_numbers_far_out_are_more_surprising_the_farther() -> None:
    data = opened(shop())
    _, tokens = tokenizer(data)
    f = [c["name"] for c in data.spec.extra["columns"]].index("noise")
    x = torch.from_numpy(np.repeat(data.x[:1], 6, 0))
    x[:, f] = torch.tensor([0.0, 1.9, 2.6, 5.0, 9.0, -9.0])
    found = tokens.farther(x)[:, f]
    assert found[0] < 0.05 and (found[1:5].diff() > 0).all() and found[5] > found[2] and (tokens.farther(x)[:, 0] == 0).all()


def test_rare_categories_share_the_vector_of_the_unseen() -> None:
    assert kept({"share": [0.5, 0.4, 0.0, 0.001], "rare": 0.002}) == [0, 1]
    data = opened(pa.table({"c": ["a"] * 700 + ["b"] * 299 + ["once"], "n": RNG.normal(size=1000)}))
    measured = data.spec.extra["measured"][0]
    names = data.spec.extra["columns"][0]["values"]
    assert [names[i] for i in kept(measured)] == ["a", "b"]


def test_the_likeliest_stretches_hold_what_they_promise() -> None:
    assert likely([0.5, 0.45, 0.05], [0, 1, 2, 3]) == [(0.0, 2.0)]
    assert likely([0.48, 0.04, 0.48], [0, 1, 2, 3]) == [(0.0, 1.0), (2.0, 3.0)]
    assert number(9120.0) == "9,120" and number(0.12345) == "0.1235" and number(1234.56) == "1,235"


def test_a_reason_names_the_column_what_was_expected_and_what_is_there() -> None:
    data = opened(shop())
    modality, tokens = tokenizer(data)
    names = [c["name"] for c in data.spec.extra["columns"]]
    x, f, g = data.x[0].copy(), names.index("amount"), names.index("town")
    x[f], x[g] = 9120, -1
    guess = np.zeros((5, tokens.bins + tokens.dim), np.float32)
    guess[f, 3] = 20
    evidence = np.zeros(5)
    evidence[f], evidence[g] = 5, 4
    (where, first), (_, second) = modality.reasons(Strange(x, guess, evidence, (5,), (1,), tokens), 3)
    edges = data.spec.extra["measured"][f]["edges"]
    assert where == (f,) and first == f"amount: expected {number(edges[3])} to {number(edges[4])} given the other columns, observed 9,120"
    assert second.startswith("town: expected ") and "observed a value that was never seen" in second


def test_a_model_of_a_table_is_saved_and_reads_other_tables_by_name(tmp_path: Path) -> None:
    data = opened(shop())
    run = tacit.pretrain(data, steps=5, batch_size=16, out=tmp_path / "r", backbone="mlp", size="tiny")
    again = tacit.load(tmp_path / "r")
    other = shop(30, seed=1)
    mixed = other.select(["noise", "town", "amount", "pieces", "item"]).append_column("more", pa.array(range(30)))
    z = again.embed(mixed).vectors
    np.testing.assert_allclose(z, run.model.embed(opened(other, spec=data.spec)).vectors, atol=1e-6)
    with pytest.raises(BadData, match="reads the column 'amount'"):
        again.embed(other.drop(["amount"]))


def test_a_target_that_was_an_input_is_refused(tmp_path: Path) -> None:
    run = tacit.pretrain(opened(shop()), steps=2, batch_size=16, out=tmp_path / "r", backbone="mlp", size="tiny")
    with pytest.raises(BadData, match="named as the target"):
        api.evaluate(run, opened(shop(), target="town"), supervised=False)


def test_noise_on_a_table_mixes_no_categories() -> None:
    data = opened(shop())
    _, tokens = tokenizer(data)
    x = torch.from_numpy(data.x[:200])
    spoilt = tokens.spoil(x, 0.5, 0.3, torch.Generator().manual_seed(0))
    words = ~tokens.numeric
    assert set(spoilt[:, words].flatten().tolist()) <= set(x[:, words].flatten().tolist())
    changed = (spoilt[:, words] != x[:, words]).float().mean()
    assert 0.05 < changed < 0.3 and (spoilt[:, tokens.numeric] != x[:, tokens.numeric]).float().mean() > 0.95


def test_a_wrong_option_of_the_table_is_said() -> None:
    with pytest.raises(Asked, match="has no option 'column'"):
        opened(shop(), options={"column": "a:number"})
