"""Event logs: rows as sequences, their views and tokens, what comes next, and what goes wrong in files from outside."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
import torch

import tacit
from conftest import call, small
from tacit import recommendation
from tacit.assemble import make_modality
from tacit.data import dataset
from tacit.data.dataset import Dataset
from tacit.detecting.filler import wide
from tacit.detecting.tails import Tails
from tacit.errors import Asked, BadData
from tacit.evaluation.aggregates import Aggregates
from tacit.eventtokens import each_column
from tacit.recommending.rankings import classics, ended, judged, ndcg, ranks, recall
from tacit.types import Batch, Views

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import logs

LOG = {
    "who": ["a", "b", "a", "c", "b", "a", ""],
    "when": ["2024-01-03", "2024-01-01", "2024-01-01", "2024-01-05", "2024-01-02", "2024-01-03", "2024-01-09"],
    "what": ["tea", "soup", "cake", "tea", "tea", "soup", "tea"],
    "paid": [3, 8, 5, 3, 3, 8, 3],
    "class": ["x", "y", "x", "y", "y", "z", "x"],
}


def written(path: Path, columns: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        made = csv.writer(file)
        made.writerow(columns)
        made.writerows(zip(*columns.values(), strict=True))
    return path


def opened(path: Path, **options: Any) -> Dataset:
    return dataset.open(path, cache=False, **{"sequence_by": "who", "order_by": "when", **options})


def column(data: Dataset, name: str) -> int:
    return [c["name"] for c in data.spec.extra["columns"]].index(name)


# ---- rows become sequences ----


def test_rows_are_gathered_ordered_and_ties_stay(tmp_path: Path) -> None:
    data = opened(written(tmp_path / "log.csv", LOG))
    assert data.modality == "events" and list(data.names) == ["a", "b", "c"] and data.lengths.tolist() == [3, 2, 1]
    f = column(data, "what")
    words = data.spec.extra["columns"][f]["values"]
    assert [[words[int(v)] for v in data[i][f]] for i in range(3)] == [["cake", "tea", "soup"], ["soup", "tea"], ["tea"]]
    gap = data[0][column(data, "days between events")]
    assert np.isnan(gap[0]) and gap[1:].tolist() == [2.0, 0.0]
    said = " | ".join(data.notes)
    assert "1 rows without 'who' are left out" in said and "1 of 3 sequences are a single row" in said
    assert "1 of 6 rows have the same time" in said and "1 of 3 sequences have several values of 'class': the last one counts" in said
    assert [data.classes[k] for k in data.labels] == ["z", "y", "y"]
    assert not {"who", "when", "class"} & {c["name"] for c in (*data.spec.extra["columns"], *data.spec.extra["left"])}


def test_numbers_order_as_numbers_and_without_a_time_the_file_does(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", {"who": ["a"] * 3 + ["b"] * 2, "when": [10, 9, 100, 2, 1], "what": list("xyzxy")})
    data = opened(path)
    f = column(data, "what")
    words = data.spec.extra["columns"][f]["values"]
    assert [words[int(v)] for v in data[0][f]] == ["y", "x", "z"]
    assert data[0][column(data, "when between events")][1:].tolist() == [1.0, 90.0]
    data = opened(path, order_by=None)
    assert any("in the order of the file" in n for n in data.notes) and column(data, "when") >= 0


def test_the_latest_events_are_kept(tmp_path: Path) -> None:
    n = 30
    log = {"who": ["a"] * n + ["b"] * 2, "when": [*range(n), 1, 2], "what": [f"w{i % 5}" for i in range(n + 2)], "paid": [*range(n), 1, 2]}
    data = opened(written(tmp_path / "log.csv", log), size=10)
    assert data.x.shape[2] == 10 and data[0][column(data, "paid")].tolist() == list(range(20, 30))
    assert any("of sequences of up to 30 events the latest 10 are read" in note for note in data.notes)


def test_whole_numbers_under_the_name_of_a_thing_are_its_names(tmp_path: Path) -> None:
    log = {"who": list("aabbcc") * 5, "when": list(range(30)), **{k: [1, 7, 9] * 10 for k in ("movieId", "count", "bid")}}
    data = opened(written(tmp_path / "log.csv", log))
    kinds = {c["name"]: c["kind"] for c in data.spec.extra["columns"]}
    assert kinds["movieId"] == "category" and kinds["count"] == kinds["bid"] == "number"


def test_what_is_asked_wrongly_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", LOG)
    with pytest.raises(Asked, match="no column 'whom' for --sequence-by"):
        opened(path, sequence_by="whom")
    with pytest.raises(Asked, match="no column 'then' for --order-by"):
        opened(path, order_by="then")
    with pytest.raises(Asked, match="--sequence-by is not given"):
        opened(path, sequence_by=None)
    with pytest.raises(Asked, match="neither numbers nor dates"):
        opened(path, order_by="what")
    with pytest.raises(Asked, match="cannot be a label"):
        opened(path, target="who")
    with pytest.raises(Asked, match="which rows are one sequence"):
        dataset.open(path, modality="events")
    with pytest.raises(Asked, match="not image data"):
        opened(path, modality="image")
    alone = {"who": ["a", "b", "c"], "when": [1, 2, 3], "what": ["x", "y", "x"]}
    with pytest.raises(BadData, match="no row follows another"):
        opened(written(tmp_path / "alone.csv", alone))
    never = {"who": ["a", "a"], "when": ["", "?"], "what": ["x", "y"]}
    with pytest.raises(BadData, match="no row says both"):
        opened(written(tmp_path / "never.csv", never))


def test_a_name_in_both_parts_is_two_sequences(tmp_path: Path) -> None:
    some = {"who": list("aabb"), "when": [1, 2, 1, 2], "what": list("xyxy")}
    written(tmp_path / "Shop_TRAIN.csv", some)
    written(tmp_path / "Shop_TEST.csv", some)
    data = opened(tmp_path / "Shop_TRAIN.csv")
    assert sorted(data.names) == ["test/a", "test/b", "train/a", "train/b"] and len(data.train) == len(data.test) == 2


def test_what_a_plain_table_takes_for_a_group_may_be_the_sequence(tmp_path: Path) -> None:
    log = {"patient_id": list("aabb"), "when": [1, 2, 1, 2], "what": list("xyxy")}
    path = written(tmp_path / "log.csv", log)
    assert len(opened(path, sequence_by="patient_id")) == 2
    with pytest.raises(Asked, match="cannot be a label"):
        opened(path, sequence_by="patient_id", group="patient_id")


def test_bad_rows_are_counted_among_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", {"who": [f"u{i % 5}" for i in range(100)], "when": list(range(100)), "what": list("xy") * 50})
    path.write_text(path.read_text() + "u1,7\nu2,8\n")
    data = opened(path)
    assert len(data) == 5 and len(data.bad) == 2
    path.write_text(path.read_text() + "u1,7\n" * 30)
    with pytest.raises(BadData, match="cannot be used"):
        opened(path)


def test_a_column_gives_the_label_away_by_its_last_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(60), 3)
    label = rng.integers(0, 2, 60)
    status = [f"s{label[u]}" if k == 2 else "open" for u in range(60) for k in range(3)]
    device = [f"d{u % 6}" for u in who]
    log = {"who": who.tolist(), "when": list(range(180)), "status": status, "device": device, "label": [f"c{label[u]}" for u in who]}
    data = opened(written(tmp_path / "log.csv", log))
    assert [c["name"] for c in data.spec.extra["left"] if c["kind"] == "leak"] == ["status"]
    assert "device" in [c["name"] for c in data.spec.extra["columns"]]


def test_only_tables_have_sequences(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 5)))
    for place in (tmp_path / "x.npy", "builtin:digits"):
        with pytest.raises(Asked, match="no table"):
            opened(place)
    clock = pa.array([3600, 60, 7200, 120], pa.time32("s"))
    pq.write_table(pa.table({"who": list("aaab"), "when": clock, "what": list("xyxx")}), tmp_path / "t.parquet")
    data = opened(tmp_path / "t.parquet")
    assert data[0][column(data, "days between events")][1:] == pytest.approx([3540 / 86400, 1 / 24])


# ---- views, tokens, targets ----


def batch_of(data: Dataset, rows: int = 8) -> Batch:
    valid = torch.arange(data.x.shape[-1]) < torch.from_numpy(data.lengths[:rows])[:, None]
    return Batch(torch.from_numpy(np.array(data.x[:rows])), torch.arange(rows), valid)


def test_views_are_slices_in_their_order() -> None:
    data = small("events")
    mod = make_modality(data.spec, {"swap": 0.0})
    batch = batch_of(data, 40)
    views = mod.views(batch, Views(global_=1, local=1, weak=1), torch.Generator().manual_seed(0), (1,))
    assert len({v.x.shape for v in views}) == 1
    for view, least in zip(views, (0.5, 0.25, 0.7), strict=True):
        for i in range(40):
            whole, part = batch.x[i][:, batch.valid[i]], view.x[i][:, view.valid[i]]
            n = part.shape[1]
            assert math.ceil(least * whole.shape[1] - 1e-6) <= n <= whole.shape[1]
            found = [s for s in range(whole.shape[1] - n + 1) if torch.equal(whole[:, s : s + n].nan_to_num(-9), part.nan_to_num(-9))]
            assert found and view.x[i][:, ~view.valid[i]].isnan().all()
    (swapped,) = make_modality(data.spec, {"swap": 0.9, "crop": 0.99}).views(
        batch, Views(global_=1), torch.Generator().manual_seed(0), (1,)
    )
    f = column(data, "paid")
    known = set(batch.x[:, f][batch.valid].tolist())
    assert set(swapped.x[:, f][swapped.valid].tolist()) <= known
    assert not torch.equal(swapped.x[:, f].nan_to_num(), batch.x[:, f].nan_to_num())


def test_the_distance_is_the_mean_over_known_cells_and_guessing_costs_one() -> None:
    data = small("events")
    tokens = make_modality(data.spec, {}).tokenizer(dense=False)
    batch = batch_of(data, 40)
    target = tokens.target(batch, (1,))
    guess = torch.zeros(int(batch.valid.sum()), tokens.head(8, (1,)).out_features)
    assert float(target.distance(guess, batch.valid)) == pytest.approx(1.0, abs=0.15)
    x = batch.x.transpose(1, 2)[batch.valid]
    cost = each_column(tokens, guess, x)
    slow = [sum(float(c) for c in row) for row in cost.detach()]
    assert target.each(guess, batch.valid).tolist() == pytest.approx(slow, rel=1e-5)
    where = torch.zeros_like(batch.valid)
    where[3, 1] = True
    assert target.each(guess[:1], where).shape == (1,)


def test_noise_leaves_padding_and_loses_nothing() -> None:
    data = small("events")
    tokens = make_modality(data.spec, {}).tokenizer(dense=False)
    x = batch_of(data, 40).x
    out = tokens.spoil(x, 0.5, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(out.isnan().all(1), x.isnan().all(1)) and (out.isnan() <= x.isnan()).all()
    item = column(data, "item")
    assert set(out[:, item][~out[:, item].isnan()].tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_aggregates_are_the_slow_ones() -> None:
    data = small("events")
    made = Aggregates().fit(data.x, data.spec)
    z = made.plain(data.x)
    rows = made._table.plain(np.concatenate([data[i].T for i in range(len(data))]))
    ends = np.cumsum([0, *data.lengths])
    for i in (0, 1, 7):
        own = rows[ends[i] : ends[i + 1]]
        assert z[i] == pytest.approx(np.concatenate([[math.log(len(own))], own.mean(0), own.std(0), own[-1]]), abs=1e-5)


# ---- what comes next ----


def test_ranks_and_gains_by_hand() -> None:
    scores = np.array([[0.1, 0.5, 0.3, 0.3], [0.1, 0.5, 0.3, 0.3], [1.0, 1.0, 1.0, 1.0]])
    assert ranks(scores, np.array([1, 2, 0])).tolist() == [1.0, 2.5, 2.5]
    places = np.array([1.0, 3.0, 10.0, 11.0])
    assert recall(places).tolist() == [1, 1, 1, 0]
    assert ndcg(places).tolist() == pytest.approx([1, 0.5, 1 / math.log2(11), 0])
    rows = judged({"ssl": places, "popularity": places + 2})
    assert rows[1]["ahead"]["recall"][0] == pytest.approx(0.25) and rows[0]["n"] == 4


def test_classics_of_rankings_by_hand() -> None:
    known = [np.array(s) for s in ([0, 1, 2], [0, 1], [0, 1, 3], [2, 3])]
    found = classics(known, 5)
    before, truth = ended([np.array([0, 1]), np.array([2]), np.array([0, -1])])
    assert truth.tolist() == [1] and [b.tolist() for b in before] == [[0]]
    share = np.array([3.5, 3.5, 2.5, 2.5, 0.5]) / 12.5
    assert found["popularity"](before)[0] == pytest.approx(share)
    chain = found["markov_chain"](before)[0]
    assert chain == pytest.approx((np.array([0, 3, 0, 0, 0]) + share) / 4), "no fold to choose on: the first setting"
    near = found["item_knn"](before)[0]
    assert near.argmax() == 1 and near[1] == pytest.approx(1.0, abs=1e-3), "whoever took 0 took 1"
    assert near[2] == pytest.approx(1 / math.sqrt(3 * 2), abs=1e-3)
    assert found["markov_chain"]([np.array([], np.int64)])[0] == pytest.approx(share)


def test_the_oracle_knows_the_rules(tmp_path: Path) -> None:
    rules = logs.Rules.drawn()
    assert rules.moves.sum(-1) == pytest.approx(1) and rules.takes.sum(-1) == pytest.approx(1)
    first = rules.oracle([np.zeros(0, np.int64)])[0]
    assert first == pytest.approx(rules.takes.mean(0)), "nothing is known before the first item"
    item = int(rules.takes[3].argmax())
    belief = rules.takes[:, item] / rules.takes[:, item].sum()
    slow = sum(0.5 * belief[s] * rules.moves[k, s, t] * rules.takes[t] for k in range(2) for s in range(8) for t in range(8))
    assert rules.oracle([np.array([item])])[0] == pytest.approx(slow)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which each item has one that follows it, and a run on it."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for u in range(200):
        item, day = int(rng.integers(8)), int(rng.integers(100))
        for _ in range(int(rng.integers(3, 13))):
            rows.append((f"c{u}", day, f"i{item}", round(10 * (item + 1) + float(rng.normal()), 2), "yes" if u % 2 else "no"))
            item = (item + (1 if u % 2 else 7)) % 8 if rng.random() < 0.95 else int(rng.integers(8))
            day += int(rng.integers(1, 5))
    log = dict(zip(("who", "when", "item", "paid", "member"), map(list, zip(*rows, strict=True)), strict=True))
    written(folder / "log.csv", log)
    words = ("--sequence-by", "who", "--order-by", "when", "--target", "member", "--steps", 150, "--size", "tiny", "--seed", 1)
    said = call("pretrain", folder / "log.csv", *words, "--out", folder / "run")
    assert said.code == 0, said.err
    return folder


def test_what_follows_is_learned_and_said(shop: Path) -> None:
    out = shop / "next.csv"
    said = call("recommend", shop / "run", shop / "log.csv", "--out", out, "--top", 2)
    assert said.code == 0, said.err
    assert "ssl ahead by" in said.out and "of the others here" in said.err and said.out.splitlines()[-1] == str(out)
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 400 and {r["place"] for r in rows} == {"1", "2"} and all(0 <= float(r["probability"]) <= 1 for r in rows)
    done = recommendation.recommend(shop / "run", shop / "log.csv")
    found = {r["name"]: r for r in done.result["scores"]}
    assert found["ssl"]["ndcg"][0] > found["popularity"]["ndcg"][0] + 0.2
    assert found["ssl"]["ndcg"][0] > found["markov_chain"]["ndcg"][0], "which way a customer goes shows only in what came before"
    assert "column" in done.result and done.result["column"] == "item"


def test_what_was_had_is_left_out_when_asked(shop: Path) -> None:
    done = recommendation.recommend(shop / "run", shop / "log.csv", new=True, top=8)
    data = dataset.open(shop / "log.csv", sequence_by="who", order_by="when")
    f = column(data, "item")
    words = data.spec.extra["columns"][f]["values"]
    had = {name: {words[int(v)] for v in data[i][f]} for i, name in enumerate(data.names)}
    assert all(item not in had[who] for who, item in zip(done.found["id"], done.found["item"], strict=True))


def test_wrong_requests_are_said(shop: Path, trained: Path) -> None:
    said = call("recommend", shop / "run", shop / "log.csv", "--column", "paid")
    assert said.code == 2 and "no column of categories" in said.err and "item" in said.err
    said = call("recommend", trained, "builtin:digits")
    assert said.code == 2 and "in which nothing follows" in said.err
    said = call("recommend", shop / "run", shop / "log.csv", "--out", shop / "next.txt")
    assert said.code == 2 and ".parquet" in said.err
    said = call("embed", shop / "run", "builtin:digits", "--out", shop / "z.npy")
    assert said.code == 2 and said.err.startswith("error")


def test_later_events_give_vectors_and_alarms_without_naming_the_columns_again(shop: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader((shop / "log.csv").open()))
    some = [r for r in rows if r["who"] in ("c3", "c4", "c5")]
    columns = {k: [r[k] for r in some] for k in some[0] if k != "member"}
    later = written(tmp_path / "later.csv", columns)
    said = call("embed", shop / "run", later, "--out", tmp_path / "z.parquet")
    assert said.code == 0, said.err
    columns["paid"][2] = "9999"
    odd, out = written(tmp_path / "odd.csv", columns), tmp_path / "odd.jsonl"
    said = call("detect", shop / "run", odd, "--out", out, "--false-alarms", 0.2, "--steps", 150)
    assert said.code == 0, said.err
    found = [pa.json.read_json(out).to_pylist()][0]
    worst = max(found, key=lambda r: r["score"])
    assert worst["alarm"] and "event 3 of" in worst["reason"] and "paid: expected" in worst["reason"] and "9,999" in worst["reason"]


def test_one_new_event_and_dates_are_read_as_the_model_learned_them(shop: Path, tmp_path: Path) -> None:
    one = written(tmp_path / "one.csv", {"who": ["new"], "when": [5], "item": ["i3"], "paid": ["40.1"]})
    said = call("embed", shop / "run", one, "--out", tmp_path / "z.npy")
    assert said.code == 0 and np.load(tmp_path / "z.npy").shape[0] == 1, said.err
    days = {"who": ["a"] * 3 + ["b"], "when": ["13/01/2020", "14/01/2020", "15/02/2020", "16/01/2020"], "what": list("xyzx")}
    first = opened(written(tmp_path / "days.csv", days))
    later = {"who": ["a"] * 3, "when": ["02/01/2020", "01/02/2020", "03/01/2020"], "what": list("xyz")}
    data = opened(written(tmp_path / "later.csv", later), spec=first.spec)
    assert data[0][column(data, "days between events")][1:].tolist() == [1.0, 29.0], "the second of January first"


@pytest.mark.parametrize("kind", ["table", "events"])
def test_decoded_items_in_memory_give_the_same_vectors(kind: str, tmp_path: Path) -> None:
    data = small(kind)
    net = tacit.pretrain(data, steps=2, size="tiny", batch_size=8, out=tmp_path / "run").model
    again = net.embed([data[i] for i in range(6)] if kind == "events" else np.array(data.x[:6]))
    assert np.allclose(again.vectors, net.embed(data).vectors[:6], atol=1e-5)


def test_frames_are_ranked_and_watched_too(shop: Path) -> None:
    table = pa.csv.read_csv(shop / "log.csv")
    done = recommendation.recommend(shop / "run", table, top=1)
    assert len(done.found["id"]) == 200
    again = recommendation.recommend(shop / "run", shop / "log.csv", top=1)
    assert list(again.found["item"]) == list(done.found["item"])


def test_the_parts_of_a_filler_may_differ_in_width() -> None:
    found = wide([np.zeros((1, 2)), np.ones((2, 3))], np.nan)
    assert found.shape == (3, 3) and np.isnan(found[0, 2]) and found[1:].sum() == 6


def test_places_with_few_values_have_the_tail_of_all() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([rng.exponential(1, 1000), np.where(np.arange(1000) < 3, 0.0, np.nan)], 1)
    tails = Tails.fit(values).shared(Tails.fit(values.reshape(-1, 1)), np.array([False, True]))
    one, other = tails.evidence(np.array([[5.0, 5.0]]))[0]
    assert one == pytest.approx(other, abs=0.3)


def test_a_table_in_memory_is_read_alike(shop: Path) -> None:
    table = pa.csv.read_csv(shop / "log.csv")
    data = dataset.from_table(table, sequence_by="who", order_by="when", target="member")
    same = dataset.open(shop / "log.csv", sequence_by="who", order_by="when", target="member")
    assert np.array_equal(data.x, same.x, equal_nan=True) and list(data.names) == list(same.names)
