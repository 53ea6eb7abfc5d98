"""A faulty long table is refused with the place of the fault and what to do, and nothing is left of the attempt."""

from __future__ import annotations

import shutil
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emer.data.long_build import total
from emer.errors import DataError

from .long_tables import (
    COLUMNS,
    IN_ORDER,
    as_text,
    changed,
    log_of,
    prepared,
    refusal,
    requests_in,
    text_id,
    write_long,
    write_mapping,
)
from .toy_views import Row

ROWS = log_of(40)
PLAIN, SIMPLE = ([row | {"topic": "t"} for row in rows] for rows in (ROWS, IN_ORDER))


# CSV


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "log.csv is empty"),
        ("\n", "log.csv is empty"),
        (",".join(COLUMNS), "log.csv: no rows below the names of the columns"),
        (as_text(PLAIN, ";"), "lacks the column request, .* separated by semicolons: write it with commas"),
        (as_text(PLAIN, "\t"), "separated by tabs: write it with commas"),
        (as_text(PLAIN).replace("video", "item", 1), "lacks the column video; it has request, user, item, time"),
        (as_text(PLAIN).replace("video", " video", 1), "lacks the column video; .* spaces around them: remove these"),
        (as_text(PLAIN).replace("length", "video", 1), "has the column video twice; rename one of them"),
        (as_text(PLAIN) + "\n", f"line {len(PLAIN) + 2}, column request: the cell is empty"),
        (as_text(PLAIN) + "1,2", f"line {len(PLAIN) + 2}, column time: the cell is empty"),
        (as_text(changed(SIMPLE, 4, topic="a,b")), "line 6: 19 cells, and the header has 18; a cell with a comma"),
        (as_text(changed(SIMPLE, 4, topic='"a')), r"line 6: this is no CSV .* is a quote not closed\?"),
        (as_text(changed(SIMPLE, 4, topic='a"b')), "line 6: a quote inside a cell; put the cell in quotes"),
    ],
)  # fmt: skip
def test_faulty_csv_is_explained(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(text)
    mapping = write_mapping(tmp_path, item_numbers=None) if "twice" in said else None
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, tmp_path / "log.csv", mapping)
    assert not list((tmp_path / "cache").glob("**/*"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_refused(encoding: str, tmp_path: Path) -> None:
    late = changed([SIMPLE[0]] * 4000, 3999, topic="Ä")
    for rows in ([row | {"topic": "Ä"} for row in IN_ORDER], late):
        (tmp_path / "log.csv").write_bytes(as_text(rows).encode(encoding))
        with pytest.raises(DataError, match=r"log\.csv(, line 4001)?.*UTF-8"):
            prepared(tmp_path, tmp_path / "log.csv")


# Faulty values


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "value", "advice"),
    [
        ("request", None, "request_id must be a whole number; ids that are texts have `text: true`"),
        ("request", "r-1", "request_id must be a whole number; ids that are texts have `text: true`"),
        ("video", 1.5, "item_id must be a whole number"),
        ("user", None, "user_id must be a text in every row"),
        ("user", "", "user_id must be a text in every row"),
        ("time", None, "time_ms must be a whole number of s; dates and timestamps have `unit: iso`"),
        ("time", "2024-05-31", "dates and timestamps have `unit: iso`"),
        ("time", 10**17, "time_ms must be a whole number of s"),
        ("score_click", float("nan"), r"pxtr_pctr must be a probability in \[0, 1\]; .* `unit: s`"),
        ("score_click", float("inf"), r"pxtr_pctr must be a probability in \[0, 1\]"),
        ("score_click", -0.25, r"pxtr_pctr must be a probability in \[0, 1\]"),
        ("score_like", 1.5, r"pxtr_pltr must be a probability in \[0, 1\]"),
        ("score_watch", -1.0, "pxtr_pvtr must be a finite number, 0 or more"),
        ("score_watch", 1e39, "pxtr_pvtr must be a finite number, 0 or more"),
        ("shown", None, "exposed must be 0 or 1"),
        ("clicked", 2, "label_click must be 0 or 1"),
        ("clicked", None, "label_click must be 0 or 1"),
        ("random", -1, "explored must be 0 or 1, and 0 where shown is 0"),
        ("watched_ms", -7, "watch_time must be a finite number, 0 or more"),
        ("watched_ms", None, "watch_time must be a finite number, 0 or more"),
        ("dislikes", -1, "negative must be a finite number, 0 or more"),
        ("old_score", float("-inf"), "previous_score must be a finite number$"),
        ("age", 9, "user_age must be a whole number from 0, unknown, to 8; raise its `size`"),
        ("age", -1, "user_age must be a whole number from 0"),
        ("hour", None, "context_hour must be a whole number from 0"),
        ("length", float("nan"), "number_length must be a finite number$"),
    ],
)
def test_a_bad_value_is_located_with_advice(kind: str, column: str, value: Any, advice: str, tmp_path: Path) -> None:
    rows = changed([row | {"shown": 1} for row in IN_ORDER], 7, **{column: value})
    if isinstance(value, str) and kind == "parquet":
        rows = [row | {column: str(row[column])} for row in rows]
    with pytest.raises(DataError, match=rf"log\.{kind}, (line 9|row 7), column {column}: .*; {advice}"):
        prepared(tmp_path, write_long(tmp_path / f"log.{kind}", rows))
    assert not list((tmp_path / "cache").glob("**/*"))


def test_explored_is_of_what_was_shown(tmp_path: Path) -> None:
    rows = changed(IN_ORDER, 4, shown=0, random=1)
    said = refusal(tmp_path, write_long(tmp_path / "log.csv", rows))
    assert "line 6, column random: '1' is not possible; explored must be 0 or 1, and 0 where shown is 0" in said


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("video", [2.0**53 + 2 * i for i in range(24)], "row 0, column video: 9007199254740992.0 is not a value"),
        ("video", [float("nan") if i == 5 else float(i % 3) for i in range(24)], "row 5, column video: nan is not"),
        ("video", [{"id": i} for i in range(24)], r"row 0, column video: Struct\(.*\) is not a value of type Int64"),
        ("score_click", [[0.5]] * 24, r"row 0, column score_click: List\(.*\) is not a value of type Float32"),
        ("time", [datetime(2024, 5, 1)] * 24, "row 0, column time: datetime.* have `unit: iso`"),
        ("time", [date(2024, 5, 1)] * 24, "row 0, column time: datetime.date.* have `unit: iso`"),
        ("video", [datetime(2024, 5, 1)] * 24, "row 0, column video: datetime.* is not a value of type Int64"),
        ("clicked", ["yes"] * 24, "row 0, column clicked: 'yes' is not .*; label_click must be 0 or 1"),
    ],
)
def test_parquet_types_that_would_be_misread(column: str, values: list[Any], said: str, tmp_path: Path) -> None:
    frame = pl.DataFrame(IN_ORDER, infer_schema_length=None).with_columns(pl.Series(column, values))
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, tmp_path / "log.parquet")


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    sound = write_long(tmp_path / "sound.parquet", ROWS).read_bytes()
    upper = tmp_path / "log.PARQUET"
    upper.write_bytes(sound)
    assert len(requests_in(prepared(tmp_path / "upper", upper, write_mapping(tmp_path)))) == 40
    for content in (b"", sound[: len(sound) // 2], sound[:300] + bytes(300) + sound[600:], as_text(ROWS).encode()):
        (tmp_path / "log.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"log\.parquet is not a Parquet file, or one that was cut short"):
            prepared(tmp_path, tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_bytes(sound)
    with pytest.raises(DataError, match=r"log\.csv is not a UTF-8 text file"):
        prepared(tmp_path, tmp_path / "log.csv")
    table = pl.DataFrame(ROWS, infer_schema_length=None).to_arrow()
    pq.write_table(table.append_column("user", pa.nulls(len(ROWS), pa.string())), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log\.parquet.* '?user'? "):
        prepared(tmp_path, tmp_path / "log.parquet")


# Faulty requests


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": "user-9"}, f"column user: its rows say {text_id('user-2')} and {text_id('user-9')}"),
        ({"time": 1_700_009_999}, "column time: its rows say 1700000060000 and 1700009999000; one request has one"),
        ({"age": 7}, "column age: its rows say 2 and 7; one request has one user_age"),
        ({"hour": 23}, "column hour: its rows say 2 and 23; one request has one context_hour"),
        ({"video": 1}, "column video: the item 1 is twice in the request; leave one out"),
    ],
)
def test_rows_that_do_not_go_together_are_located(changes: Row, said: str, tmp_path: Path) -> None:
    rows = changed(IN_ORDER, 8, **changes)
    request = IN_ORDER[8]["request"]
    first = 9 if "video" in changes else 8
    found = refusal(tmp_path, write_long(tmp_path / "log.csv", rows))
    assert found.startswith(f"{tmp_path}/log.csv, line {first} and {tmp_path}/log.csv, line 10: request_id {request}, ")
    assert said in found
    root = tmp_path / "log"
    write_long(root / "a.parquet", rows[:8])
    write_long(root / "b.csv", rows[8:])
    assert f"{root}/a.parquet, row {first - 2} and {root}/b.csv, line 2: " in refusal(tmp_path, root)


def test_a_list_that_is_too_long_is_refused(tmp_path: Path) -> None:
    mapping = {"request_id": "r", "user_id": "u", "item_id": "i", "time_ms": "t", "objectives": {"pctr": "p"}}
    path = write_mapping(tmp_path, mapping)
    n = 32_769
    frame = pl.DataFrame({"r": [*[1] * n, 2, 3], "u": 1, "i": range(n + 2), "t": [*[1] * n, 2, 3], "p": 0.5})
    frame.head(n - 1).vstack(frame.tail(2)).write_parquet(tmp_path / "log.parquet")
    assert len(requests_in(prepared(tmp_path, tmp_path / "log.parquet", path))[1]["item_id"]) == 32_768
    shutil.rmtree(tmp_path / "cache")
    frame.write_parquet(tmp_path / "log.parquet")
    said = refusal(tmp_path, tmp_path / "log.parquet", path)
    assert "row 0: request_id 1, column i: the request has 32,769 candidates, more than the 32,768" in said


@pytest.mark.parametrize("requests", [1, 2])
def test_a_split_along_time_needs_three_times(requests: int, tmp_path: Path) -> None:
    rows = [row | {"time": row["request"] % (requests * 7) // 7} for row in IN_ORDER]
    said = refusal(tmp_path, write_long(tmp_path / "log.csv", rows))
    assert f"the log has {requests} distinct times; a split along time into train, validation and test needs 3" in said


def test_a_split_without_requests_is_refused() -> None:
    one = {"requests": 1, "candidates": 3}
    counts = {"train": one, "validation": one, "test": {"requests": 0, "candidates": 0}}
    assert total([counts, {**counts, "test": one}]) == {
        "train": {"requests": 2, "candidates": 6}, "validation": {"requests": 2, "candidates": 6}, "test": one
    }  # fmt: skip
    with pytest.raises(DataError, match="no request falls into the test split"):
        total([counts])
