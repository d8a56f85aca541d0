"""Tables: what columns are, how their cells are read, and what goes wrong in files from outside."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import call
from tacit import celltypes
from tacit.data import dataset
from tacit.data.dataset import Dataset
from tacit.errors import Asked, BadData

RNG = np.random.default_rng(5)


def opened(path: Path, **options: Any) -> Dataset:
    return dataset.open(path, cache=False, **options)


def written(path: Path, columns: dict[str, list[Any]], mark: str = ",") -> Path:
    rows = [mark.join(columns), *(mark.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


def people(n: int = 60) -> dict[str, list[Any]]:
    """A table of every kind of column."""
    return {
        "id": list(range(1, n + 1)),
        "age": [18 + i * 7 % 60 for i in range(n)],
        "city": [["Bern", "Basel", "Genf"][i % 3] for i in range(n)],
        "member": [["yes", "no"][i % 2] for i in range(n)],
        "since": [f"2020-0{i % 9 + 1}-{i % 28 + 1:02d}" for i in range(n)],
        "zip": [f"0{3000 + i % 5}" for i in range(n)],
        "score": [-999 if i % 9 == 0 else round(50 + (i * 37 % 11) / 3, 2) for i in range(n)],
        "same": ["x"] * n,
        "note": [f"a long remark number {i} about this person" for i in range(n)],
        "kind": [["good", "bad"][i * 5 % 7 % 2] for i in range(n)],
    }


def kinds(data: Dataset) -> dict[str, str]:
    return {c["name"]: c["kind"] for c in data.spec.extra["columns"]}


def left(data: Dataset) -> dict[str, str]:
    return {c["name"]: c["kind"] for c in data.spec.extra["left"]}


def test_columns_are_typed_by_what_they_hold(tmp_path: Path) -> None:
    data = opened(written(tmp_path / "p.csv", people()), target="kind")
    expected = {"age": "number", "city": "category", "member": "boolean", "since": "date", "zip": "category", "score": "number"}
    assert data.modality == "table" and kinds(data) == expected
    assert left(data) == {"id": "id", "same": "constant", "note": "text"}
    assert data.x.shape == (60, 6) and data.classes == ("bad", "good")
    city = data.spec.extra["columns"][1]["values"]
    assert data.x[1, [0, 3]].tolist() == [25, 18294] and city[int(data.x[1, 1])] == "Basel" and data.x[1, 2] == 0  # 2020-02-02; no
    assert np.isnan(data.x[::9, 5]).all() and np.isfinite(data.x[1::9, 5]).all()
    assert any("score (-999)" in n for n in data.notes) and any("note (free text" in n for n in data.notes)


def test_columns_as_asked_win(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", people())
    data = opened(path, target="kind", options={"columns": "zip:number,age:category,city:text,score:number"})
    assert kinds(data)["zip"] == "number" and kinds(data)["age"] == "category" and left(data)["city"] == "text"
    assert (data.x[::9, list(kinds(data)).index("score")] == -999).all()  # asked for as a number: no code is looked for
    with pytest.raises(Asked, match="'agee', which is no column"):
        opened(path, options={"columns": "agee:number"})
    with pytest.raises(Asked, match="'age:numbers' is not understood"):
        opened(path, options={"columns": "age:numbers"})


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "jsonl", "parquet", "arrow", "pandas"])
def test_every_format_says_the_same(tmp_path: Path, ending: str) -> None:
    columns = people()
    wanted = opened(written(tmp_path / "w.csv", columns), target="kind")
    table = pa.table({k: pa.array(v) for k, v in columns.items()})
    path = tmp_path / f"p.{ending}"
    if ending == "csv.gz":
        path.write_bytes(gzip.compress((tmp_path / "w.csv").read_bytes()))
    elif ending in ("csv", "tsv"):
        written(path, columns, "\t" if ending == "tsv" else ",")
    elif ending == "jsonl":
        path.write_text("\n".join(str(row).replace("'", '"') for row in table.to_pylist()))
    elif ending == "parquet":
        pq.write_table(table, path, row_group_size=17)
    elif ending == "arrow":
        with pa.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table, max_chunksize=13)
    data = dataset.from_table(table, target="kind") if ending == "pandas" else opened(path, target="kind")
    assert kinds(data) == kinds(wanted) and left(data) == left(wanted) and data.classes == wanted.classes
    np.testing.assert_array_equal(data.x, wanted.x)


def test_dates_in_three_formats_and_with_the_day_first() -> None:
    written_as = [
        "2021-03-04",
        "04.03.2021",
        "Mar 4, 2021",
        "2021-03-04T12:00:00",
        "13/03/2021",
        "04/03/2021",
        "soon",
        None,
        "4 March 2021",
    ]
    cells = pa.array(written_as)
    days = celltypes.dates(cells, day_first=True)
    assert days[[0, 1, 2, 8]].tolist() == [18690.0] * 4 and days[3] == 18690.5
    assert days[4] == 18699 and days[5] == 18690
    assert np.isnan(days[6:8]).all()
    assert celltypes.dates(pa.array(["04/13/2021", "04/03/2021", "13/04/2021"])).tolist() == [18730.0, 18720.0, 18730.0]


def test_one_day_beyond_twelve_decides_for_the_whole_column() -> None:
    when = ["03/04/2021"] * 300 + ["13/04/2021"]
    table = pa.table({"when": when, "n": RNG.normal(size=301)})
    batches = pa.Table.from_batches(table.to_batches(max_chunksize=100))  # the one that decides is in the last block
    x = dataset.from_table(batches).x
    assert x[0, 0] == 18720 and x[-1, 0] == 18730 and kinds(dataset.from_table(batches))["when"] == "date"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2", "x", *map(str, range(3, 40))], "number"),  # a stray word is a missing value
        (["1"] * 5 + list("abcdefgh") * 3, "category"),
        ([str(i) for i in range(100, 200)], "id"),  # counts the rows
        ([f"u{i}" for i in range(100)], "id"),
        (["007", "008", "009"] * 9, "category"),
        (["1e3", "2.5", "-3", "+4", ".5"] * 9, "number"),
        (["inf", "1", "2"] * 9, "number"),
        (["", "?", "NA"] * 9, "empty"),
        (["0", "1"] * 9, "boolean"),
        (["TRUE", "False"] * 9, "boolean"),
    ],
)
def test_kinds_of_columns(cells: list[str], kind: str) -> None:
    seen = celltypes.Seen("c")
    seen.look(pa.array(cells[:7]))
    seen.look(pa.array(cells[7:]))
    assert celltypes.kind_of(seen)[0] == kind and seen.rows == len(cells)


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([*RNG.uniform(0, 50, 200), *[-999] * 9], [-999]),
        ([*RNG.uniform(0, 50, 200), *[-1] * 9], [-1]),
        ([*RNG.uniform(-2, 50, 200), *[-1] * 9], []),  # where numbers are negative, -1 is one of them
        ([*RNG.uniform(0, 2000, 200), *[999] * 9], []),  # in the midst of the others
        ([*RNG.uniform(0, 50, 200), *[9999] * 9], [9999]),
        ([*RNG.uniform(0, 50, 200), -999], []),  # once is a mistake, not a code
    ],
)
def test_codes_of_missing_values(values: list[float], codes: list[float]) -> None:
    seen = celltypes.Seen("c")
    seen.look(pa.array([f"{v:.3f}" for v in values]))
    assert celltypes.missing_codes(seen) == codes


def test_a_column_that_says_the_target_is_left_out(tmp_path: Path) -> None:
    columns = people(120)
    columns["verdict"] = [f"it is {k}" for k in columns["kind"]]
    columns["points"] = [round(10 + RNG.normal(), 3) if k == "good" else round(RNG.normal(), 3) for k in columns["kind"]]
    path = written(tmp_path / "p.csv", columns)
    data = opened(path, target="kind")
    assert left(data)["verdict"] == left(data)["points"] == "leak" and any("gives the target away" in n for n in data.notes)
    assert "points" in kinds(opened(path, target="kind", options={"columns": "points:number"}))
    assert "verdict" in kinds(opened(path))  # where nothing is the target, nothing gives it away


def test_unseen_missing_and_infinite_values(tmp_path: Path) -> None:
    written(tmp_path / "d_train.csv", {"a": list(range(0, 80, 2)), "c": ["u", "v"] * 20, "label": ["p", "q"] * 20})
    written(tmp_path / "d_test.csv", {"a": ["inf", "", "1e999", "7"] * 3, "c": ["w", "u", "v", "?"] * 3, "label": ["p", "q"] * 6})
    data = opened(tmp_path, target="label")
    trained = data.spec
    rows = data.x[data.test]
    assert len(data.test) == 12 and np.isnan(rows[:3, 0]).all() and rows[3, 0] == 7
    assert any("infinite" in n for n in data.notes)
    later = dataset.from_table(pa.table({"c": ["never", "u", None], "a": [1.0, 2.0, 3.0], "more": [1, 2, 3]}), spec=trained)
    assert dataset.from_table(pa.table({"a": [5.0], "c": ["v"]}), spec=trained).x.shape == (1, 2)  # a single row
    place = trained.extra["columns"][1]["values"].index("u")
    np.testing.assert_array_equal(later.x, np.array([[1, -1], [2, place], [3, np.nan]], np.float32))
    with pytest.raises(BadData, match="reads the column 'a'"):
        dataset.from_table(pa.table({"c": ["u"], "b": [1]}), spec=trained)


def test_what_is_wrong_with_files_is_said(tmp_path: Path) -> None:
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("a,b,c\n" + "1,x,3\n" * 30 + "1,2\n" + "4,y,6\n" * 10)
    data = opened(ragged)
    assert len(data) == 40 and data.bad[0].name == "ragged.csv:32" and "2 cells where the others have 3" in data.bad[0].reason
    twice = tmp_path / "twice.csv"
    twice.write_text("a,a,b\n" + "".join(f"{i % 7},{i % 5},w{i % 3}\n" for i in range(30)))
    data = opened(twice)
    assert list(kinds(data)) == ["a", "a (2)", "b"] and any("several columns have one name" in n for n in data.notes)
    bare = tmp_path / "bare.csv"
    bare.write_text("".join(f"{i % 7},w{i % 3},{i % 11 * 100}\n" for i in range(30)))
    data = opened(bare)
    assert list(kinds(data)) == ["0", "1", "2"] and len(data) == 30 and any("no header" in n for n in data.notes)
    western = tmp_path / "western.csv"
    western.write_bytes(("place;size\n" + "Zürich;3\nKöln;4\n" * 9).encode("cp1252"))
    data = opened(western)
    assert data.spec.extra["columns"][0]["values"] == ["Köln", "Zürich"] and any("Windows-1252" in n for n in data.notes)
    one = tmp_path / "one.csv"
    one.write_text("a,b\n1,x\n")
    with pytest.raises(BadData, match="no column is left"):
        opened(one)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(BadData, match="holds no row"):
        opened(tmp_path / "empty.csv", modality="table")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadData, match="truncated or damaged"):
        opened(tmp_path / "cut.parquet")
    said = call("inspect", ragged, "--target", "cc")
    assert said.code == 2 and "no column 'cc'" in said.err


def test_mixed_types_in_a_column_are_read_as_most_of_it_is(tmp_path: Path) -> None:
    data = opened(written(tmp_path / "m.csv", {"a": ["n.a.", *range(50)], "b": [*"xyzxyz" * 8, 1, 2, 3]}))
    assert kinds(data) == {"a": "number", "b": "category"} and np.isnan(data.x[0, 0]) and data.x[1, 0] == 0
    assert any("cells that are no numbers" in n and "'n.a.'" in n for n in data.notes)


def test_nearly_empty_and_nearly_full_columns_stay(tmp_path: Path) -> None:
    n = 300
    sparse = ["" if i % 100 else i for i in range(n)]
    data = opened(written(tmp_path / "s.csv", {"sparse": sparse, "full": [i * 3 % 17 if i != 5 else "" for i in range(n)]}))
    assert kinds(data) == {"sparse": "number", "full": "number"}
    assert np.isnan(data.x[:, 0]).sum() == n - 4 and len(data) == n - 1 and data.spec.extra["measured"][0]["gone"] > 0.9


def test_five_thousand_columns(tmp_path: Path) -> None:
    x = RNG.normal(size=(30, 5000)).round(3)
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"gene {chr(97 + j % 26)}{j}" for j in range(5000)) + "\n" + "\n".join(",".join(map(str, row)) for row in x))
    data = opened(path, modality="table")
    assert data.x.shape == (30, 5000) and np.allclose(data.x, x, atol=1e-3)


def test_inspect_shows_the_columns(tmp_path: Path) -> None:
    same = call(
        "inspect", written(tmp_path / "s.csv", {"a": [i % 2 for i in range(40)], "b": [i // 2 % 2 for i in range(40)]}), "--no-cache"
    )
    assert same.code == 0 and "items of one value" not in same.out
    said = call("inspect", written(tmp_path / "p.csv", people()), "--target", "kind", "--no-cache")
    assert said.code == 0 and "city   category  " in said.out and "id     left out  counts the rows" in said.out
    assert all(len(line) <= 110 for line in said.out.splitlines() if line.startswith("  "))


def test_blank_lines_before_the_header_and_letters_that_are_no_utf8_further_on(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    body = "".join(f"{i * 7 % 97},word {i % 5}\n" for i in range(120_000))  # the first megabyte, by which the encoding is judged, is plain
    path.write_bytes(("\n\nsize,place\n" + body).encode() + "7,Köln\n8,Zürich\n9,Köln\n".encode("cp1252"))
    data = opened(path)
    assert kinds(data) == {"size": "number", "place": "category"} and len(data) == 120_003
    assert {"Köln", "Zürich"} <= set(data.spec.extra["columns"][1]["values"]) and data.names[0] == "late.csv:4"
    marked = tmp_path / "marked.csv"
    marked.write_text("\ufeffsize,place\n" + body[:600], encoding="utf-8")
    assert list(kinds(opened(marked))) == ["size", "place"]
