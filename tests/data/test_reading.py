"""Every way in which a file may break the format: the error names file, row, request, column and reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emer.data.parquet import read_requests, write_requests
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.requests import Schema

Make = Callable[..., RequestTable]
Edit = Callable[[pa.Table], pa.Table]


def plain(table: RequestTable, path: Path) -> pa.Table:
    """What a writer without emer would write: no ranks."""
    write_requests(table, path)
    data = pq.read_table(path)
    return data.drop_columns([name for name in data.column_names if "rank_" in name])


def put(name: str, row: int, value: Any, position: int | None = None) -> Edit:
    """Set the value of ``row`` (or of one list position in it)."""

    def edit(data: pa.Table) -> pa.Table:
        values = data[name].to_pylist()
        if position is None:
            values[row] = value
        else:
            values[row][position] = value
        return replaced(data, name, pa.array(values, data[name].type))

    return edit


def replaced(data: pa.Table, name: str, array: pa.Array) -> pa.Table:
    """``data`` with another, nullable column."""
    place = data.column_names.index(name)
    return data.set_column(place, pa.field(name, array.type), array)


def retyped(name: str, kind: pa.DataType) -> Edit:
    return lambda data: replaced(data, name, data[name].cast(kind))


def dropped(name: str) -> Edit:
    return lambda data: data.drop_columns([name])


def renamed(old: str, new: str) -> Edit:
    return lambda data: data.rename_columns({old: new}).replace_schema_metadata(data.schema.metadata)


def shortened(name: str, row: int) -> Edit:
    def edit(data: pa.Table) -> pa.Table:
        values = data[name].to_pylist()
        values[row] = values[row][:-1]
        return replaced(data, name, pa.array(values, data[name].type))

    return edit


def emptied(row: int) -> Edit:
    def edit(data: pa.Table) -> pa.Table:
        for name in data.column_names:
            if pa.types.is_list(data[name].type):
                data = put(name, row, [])(data)
        return data

    return edit


BREACHES = {
    "missing column": (
        dropped("exposed"),
        "column exposed: the column is missing; the file has request_id, ",
    ),
    "misnamed column": (
        renamed("pxtr_pltr", "pxtr_ltr"),
        "column pxtr_pltr: the column is missing; did you misname it pxtr_ltr?",
    ),
    "misnamed optional column": (
        renamed("watch_time", "watchtime"),
        "column watchtime: the format knows no such column; did you mean watch_time?",
    ),
    "column twice": (
        lambda data: data.append_column("user_id", data["user_id"]),
        "column user_id: the file has two columns of this name",
    ),
    "scalar for list": (
        lambda data: replaced(data, "item_id", data["user_id"].combine_chunks()),
        "column item_id: has type int64, expected list<int64>",
    ),
    "list for scalar": (
        lambda data: replaced(data, "user_id", data["item_id"].combine_chunks()),
        "column user_id: has type list<int64>, expected int64",
    ),
    "strings": (retyped("user_id", pa.string()), "column user_id: has type string, expected int64"),
    "strings in lists": (
        retyped("pxtr_pctr", pa.list_(pa.string())),
        "column pxtr_pctr: has type list<string>, expected list<float>",
    ),
    "floats for ids": (
        retyped("item_topic", pa.list_(pa.float32())),
        "column item_topic: has type list<float>, expected list<int64>",
    ),
    "timestamps": (
        retyped("time_ms", pa.timestamp("ms")),
        "column time_ms: has type timestamp[ms], expected int64",
    ),
    "null value": (put("user_id", 5, None), "row 5 (request_id 105), column user_id: a value is null"),
    "null request id": (put("request_id", 5, None), "row 5, column request_id: a value is null"),
    "null list": (put("item_topic", 4, None), "row 4 (request_id 104), column item_topic: the list is null"),
    "null in list": (
        put("pxtr_pctr", 3, None, -1),
        "row 3 (request_id 103), column pxtr_pctr: a value is null",
    ),
    "lengths differ": (
        shortened("label_like", 6),
        "row 6 (request_id 106), column label_like: has 5 values while item_id has 6",
    ),
    "nan": (
        put("number_duration", 7, float("nan"), 0),
        "row 7 (request_id 107), column number_duration: nan at list position 0 is NaN or infinite",
    ),
    "infinite score": (
        put("previous_score", 7, float("-inf"), 0),
        "row 7 (request_id 107), column previous_score: -inf at list position 0 is NaN or infinite",
    ),
    "nan probability": (
        put("pxtr_pcmtr", 0, float("nan"), 0),
        "row 0 (request_id 100), column pxtr_pcmtr: nan at list position 0 is NaN or infinite",
    ),
    "probability above 1": (
        put("pxtr_pctr", 2, 1.5, 0),
        "row 2 (request_id 102), column pxtr_pctr: 1.5 at list position 0 is a probability outside [0, 1]",
    ),
    "probability below 0": (
        put("pxtr_pltr", 2, -0.25, 0),
        "row 2 (request_id 102), column pxtr_pltr: -0.25 at list position 0 is a probability outside [0, 1]",
    ),
    "negative predicted seconds": (
        put("pxtr_pvtr", 2, -3.0, 0),
        "row 2 (request_id 102), column pxtr_pvtr: -3.0 at list position 0 is a negative number of seconds",
    ),
    "negative watched seconds": (
        put("watch_time", 8, -3.0, 0),
        "row 8 (request_id 108), column watch_time: -3.0 at list position 0 is a negative number of seconds",
    ),
    "negative count": (
        put("negative", 8, -1.0, 0),
        "row 8 (request_id 108), column negative: -1.0 at list position 0 is a negative count",
    ),
    "flag 2": (
        lambda data: put("label_like", 9, 2, 0)(retyped("label_like", pa.list_(pa.int8()))(data)),
        "row 9 (request_id 109), column label_like: a flag is neither 0 nor 1",
    ),
    "huge id": (
        lambda data: put("user_id", 1, 2**64 - 1)(retyped("user_id", pa.uint64())(data)),
        "row 1 (request_id 101), column user_id: an integer does not fit into int64",
    ),
    "duplicate request": (
        put("request_id", 9, 103),
        "row 9 (request_id 103), column request_id: the request id stands in an earlier row",
    ),
    "duplicate item": (
        lambda data: put("item_id", 6, 5, 4)(put("item_id", 6, 5, 1)(data)),
        "row 6 (request_id 106), column item_id: 5 at list position 4 is twice in the request",
    ),
    "user category": (
        put("user_activity", 4, 5),
        "row 4 (request_id 104), column user_activity: 5 is outside the ids 0..4 of the category",
    ),
    "context category": (
        put("context_hour", 4, -1),
        "row 4 (request_id 104), column context_hour: -1 is outside the ids 0..23 of the category",
    ),
    "item category": (
        put("item_topic", 4, 7, 0),
        "row 4 (request_id 104), column item_topic: 7 at list position 0 is outside the ids 0..6",
    ),
    "empty request": (emptied(11), "row 11 (request_id 111), column item_id: the request is empty"),
    "no rows": (lambda data: data.slice(0, 0), "the file has no rows"),
}


@pytest.fixture
def folder(table_of: Make, tmp_path: Path) -> Callable[[Edit], Path]:
    """Writes a sound first file and an edited second one, whose path it returns."""

    def write(edit: Edit) -> Path:
        write_requests(table_of(5, first_id=0), tmp_path / "part-0.parquet")
        path = tmp_path / "part-1.parquet"
        # Seven candidates at most; rows 2, 4, 6 to 9 have enough of them for the edits below.
        pq.write_table(edit(plain(table_of(12, first_id=100), path)), path)
        return path

    return write


@pytest.mark.parametrize("name", BREACHES)
def test_names_file_row_column_and_reason(folder: Callable[[Edit], Path], name: str) -> None:
    edit, said = BREACHES[name]
    path = folder(edit)
    with pytest.raises(DataError) as raised:
        read_requests(path.parent)
    assert str(raised.value).startswith(f"{path}")
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"), [("label_click", True), ("watch_time", 2.0), ("negative", 1.0), ("label_like", True)]
)
def test_feedback_on_an_unexposed_item(folder: Callable[[Edit], Path], name: str, value: float) -> None:
    def edit(data: pa.Table) -> pa.Table:
        exposed = data["exposed"].to_pylist()
        row, position = next((r, i) for r, flags in enumerate(exposed) for i, flag in enumerate(flags) if not flag)
        place.append(f"row {row} (request_id {100 + row}), column {name}: {value} at list position {position}")
        return put(name, row, value, position)(data)

    place: list[str] = []
    path = folder(edit)
    with pytest.raises(DataError) as raised:
        read_requests(path.parent)
    assert f"{path}, {place[0]} is feedback on an item that was not exposed" in str(raised.value)


def test_counts_further_rows_with_the_same_problem(folder: Callable[[Edit], Path]) -> None:
    path = folder(lambda data: put("pxtr_pctr", 9, 2.0, 0)(put("pxtr_pctr", 4, 3.0, 0)(data)))
    with pytest.raises(DataError, match=r"row 4 .* 3.0 at list position 0 .* \(1 more such rows\)"):
        read_requests(path)


def test_too_many_candidates(tmp_path: Path) -> None:
    n = 32_769
    data = pa.table(
        {
            "request_id": [1, 2],
            "user_id": [0, 0],
            "time_ms": [0, 0],
            "item_id": [[1], list(range(n))],
            "pxtr_pctr": [[0.5], [0.5] * n],
            "exposed": [[True], [False] * n],
        }
    )
    pq.write_table(data, tmp_path / "a.parquet")
    schema = Schema.from_dict({"objectives": [{"name": "pctr"}]})
    with pytest.raises(DataError, match=r"a.parquet, row 1 \(request_id 2\), column item_id: 32769 .* 32,768"):
        read_requests(tmp_path, schema=schema)


@pytest.mark.parametrize("column", ["rank_pltr", "iput_rank_pltr"])
def test_wrong_stored_ranks(table_of: Make, tmp_path: Path, column: str) -> None:
    path = tmp_path / "a.parquet"
    write_requests(table_of(12), path)
    data = pq.read_table(path)
    pq.write_table(put(column, 11, 9, 0)(data), path)
    with pytest.raises(DataError, match=rf"a.parquet, row 11 \(request_id 11\), column {column}: .* 9 .*drop all"):
        read_requests(path)


def test_some_rank_columns_missing(table_of: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_requests(table_of(12), path)
    pq.write_table(pq.read_table(path).drop_columns(["iput_rank_pltr"]), path)
    with pytest.raises(DataError, match=r"column iput_rank_pltr: .* all of them or none"):
        read_requests(path)


def test_rank_that_does_not_fit(table_of: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_requests(table_of(12), path)
    data = retyped("rank_pctr", pa.list_(pa.int64()))(pq.read_table(path))
    pq.write_table(put("rank_pctr", 2, 40_000, 0)(data), path)
    with pytest.raises(DataError, match=r"row 2 \(request_id 2\), column rank_pctr: .* int16"):
        read_requests(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", r"empty \(0 bytes\)"), (b"request_id,user_id\n1,2\n", "not a Parquet file"), (None, "cut short")],
)
def test_not_parquet(table_of: Make, tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.parquet"
    write_requests(table_of(12), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DataError, match=rf"a\.parquet: .*{said}"):
        read_requests(tmp_path)


def test_damaged_inside(table_of: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_requests(table_of(300), path)
    raw = bytearray(path.read_bytes())
    raw[4 : len(raw) // 2] = bytes(len(raw) // 2 - 4)  # head and footer stay
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.parquet: the file is damaged or truncated"):
        read_requests(path)


def test_request_in_two_files(table_of: Make, tmp_path: Path) -> None:
    write_requests(table_of(8, first_id=0), tmp_path / "a.parquet")
    write_requests(table_of(8, first_id=6, seed=1), tmp_path / "b.parquet")
    with pytest.raises(DataError) as raised:
        read_requests(tmp_path)
    assert f"{tmp_path / 'b.parquet'}, row 0 (request_id 6), column request_id" in str(raised.value)
    assert f"{tmp_path / 'a.parquet'}, row 6" in str(raised.value)


def test_files_of_different_schemas(table_of: Make, tmp_path: Path, schema: Schema) -> None:
    other = Schema(objectives=schema.objectives, feedback=schema.feedback)
    write_requests(table_of(5), tmp_path / "a.parquet")
    bare = {
        "user_categories": None,
        "context_categories": None,
        "item_categories": None,
        "item_numbers": None,
    }
    write_requests(table_of(5, first_id=50, **bare, schema=other), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet: the schema is not that of .*a\.parquet: user_categories"):
        read_requests(tmp_path)


def test_optional_column_in_some_files_only(table_of: Make, tmp_path: Path) -> None:
    write_requests(table_of(5), tmp_path / "a.parquet")
    write_requests(table_of(5, first_id=50, watch_time=None), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet, column watch_time: .*a\.parquet has this column"):
        read_requests(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"schema\.json is not JSON"),
        ("[]", r"schema\.json must be a JSON object"),
        ('{"format": 1}', r"schema\.json must be a JSON object with the keys"),
        ('{"format": 2, "schema": {}}', r"schema\.json says format 2"),
        ('{"schema": {"objectives": [{"name": "pctr"}]}}', "says format None"),
        ('{"format": 1, "schema": {"objectives": []}}', r"schema\.json: .*at least one objective"),
        ('{"format": 1, "schema": {"objectives": [{"name": "a"}]}, "iput_floor": -1}', "iput_floor -1"),
        (
            '{"format": 1, "schema": {"objectives": [{"name": "a"}]}}',
            r"schema\.json and .* differ: objectives",
        ),
    ],
)
def test_bad_sidecar(table_of: Make, tmp_path: Path, text: str, said: str) -> None:
    write_requests(table_of(5), tmp_path / "a.parquet")
    (tmp_path / "schema.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_requests(tmp_path)


def test_schema_asked_for_must_agree(table_of: Make, tmp_path: Path, schema: Schema) -> None:
    write_requests(table_of(5), tmp_path / "a.parquet")
    reordered = Schema.from_dict({**schema.to_dict(), "objectives": schema.to_dict()["objectives"][::-1]})
    with pytest.raises(DataError, match=r"the schema asked for and .* differ: the order of objectives"):
        read_requests(tmp_path, schema=reordered)
    (tmp_path / "schema.json").write_text(json.dumps({"format": 1, "schema": schema.to_dict()}))
    assert len(read_requests(tmp_path, schema=schema)) == 5


def test_missing_file_among_those_listed(table_of: Make, tmp_path: Path) -> None:
    write_requests(table_of(5), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"b\.parquet: there is no such file or folder"):
        read_requests([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert np.array_equal(read_requests(tmp_path / "a.parquet").request_id, np.arange(5))
